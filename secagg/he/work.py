"""What a BFV sum does: pack, pad, tag and encrypt; add; decrypt, verify and unpack. One chunk at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from secagg.checks import check_vector
from secagg.codec import field_bits, pack, unpack
from secagg.errors import DecodeError
from secagg.he.planner import fields_per_slot
from secagg.he.rings import SHARED_RING, Ring
from secagg.he.seal import Backend, Decryptor
from secagg.onemessage import Progress
from secagg.tag import SumTag

__all__ = ["BFVReader", "BFVSealer", "BFVServer", "Encryptor", "Layout", "join_blobs", "split_blobs"]


class Encryptor(Protocol):
    """Who encrypts: by a secret key or by a public one."""

    def encrypt(self, slots: NDArray[np.uint64]) -> bytes:
        """A ciphertext of uint64 slots in ``[0, t)``, shape ``(degree,)``."""


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """Where values stand: chunks of ``degree - 1`` slots of `fields` fields; the last slot of a chunk is the tag.

    Args:
        dim: entries of a vector.
        num_parties: parties of the sum.
        value_bits: bits of one entry.
        ring: where ciphertexts live.
    """

    dim: int
    num_parties: int
    value_bits: int
    ring: Ring = SHARED_RING

    @property
    def width(self) -> int:
        """Bits of one field."""
        return field_bits(self.num_parties, self.value_bits)

    @property
    def fields(self) -> int:
        """Fields of one slot."""
        return fields_per_slot(self.num_parties, self.value_bits, self.ring)

    @property
    def values(self) -> int:
        """Values of one chunk."""
        return self.fields * (self.ring.degree - 1)

    @property
    def chunks(self) -> int:
        """Chunks of one vector."""
        return -(-self.dim // self.values)

    def slots(self, vector: NDArray[np.uint64], chunk: int) -> NDArray[np.uint64]:
        """A chunk of a vector as slots, shape ``(degree - 1,)``, zero behind its end."""
        words = np.zeros(self.ring.degree - 1, dtype=np.uint64)
        packed = pack(vector[chunk * self.values : (chunk + 1) * self.values], self.width, self.fields)
        words[: packed.size] = packed
        return words

    def values_of(self, slots: NDArray[np.uint64], chunk: int, parties: int) -> NDArray[np.uint64]:
        """The sums in a chunk's slots; raises DecodeError on what `parties` inputs cannot give."""
        if int(slots.max()) >> (self.width * self.fields):
            raise DecodeError("a slot holds more than its fields.")
        values = unpack(slots, self.width, self.fields, self.values)
        length = min(self.values, self.dim - chunk * self.values)
        if values[length:].any() or int(values.max()) > parties * ((1 << self.value_bits) - 1):
            raise DecodeError("the sum is out of range.")
        return values[:length]


def join_blobs(blobs: Iterable[bytes]) -> bytes:
    """Ciphertexts to a body: each behind its length in 4 bytes."""
    return b"".join(len(blob).to_bytes(4, "little") + blob for blob in blobs)


def split_blobs(body: bytes, count: int) -> Iterator[bytes]:
    """A body back to exactly `count` ciphertexts, one at a time; raises DecodeError before the first."""
    places = _places(body, count)
    return (body[start:end] for start, end in places)


def _places(body: bytes, count: int) -> list[tuple[int, int]]:
    """Where each ciphertext starts and ends."""
    places, start = [], 0
    for _ in range(count):
        end = start + 4 + int.from_bytes(body[start : start + 4], "little")
        if end > len(body) or end == start + 4:
            raise DecodeError("the message is shorter than its ciphertexts.")
        places.append((start + 4, end))
        start = end
    if start != len(body):
        raise DecodeError("the message is longer than its ciphertexts.")
    return places


def _report(progress: Progress, done: int, total: int) -> None:
    """Tell whoever wants to know."""
    if progress is not None:
        progress(done, total)


@final
class BFVSealer:
    """A party's work.

    Args:
        layout: where values stand.
        party: whose work.
        encryptor: the party's key.
        tag: tags of this session.
    """

    __slots__ = ("_encryptor", "_layout", "_party", "_tag")

    def __init__(self, layout: Layout, party: int, encryptor: Encryptor, tag: SumTag) -> None:
        self._layout = layout
        self._party = party
        self._encryptor = encryptor
        self._tag = tag

    def check(self, vector: Any) -> NDArray[np.uint64]:
        """Integers of the plan's range."""
        return check_vector("vector", vector, shape=(self._layout.dim,), value_bits=self._layout.value_bits)

    def seal(self, vector: NDArray[np.uint64], progress: Progress) -> bytes:
        """Pack, pad, tag and encrypt."""
        return join_blobs(self._sealed(vector, progress))

    def _sealed(self, vector: NDArray[np.uint64], progress: Progress) -> Iterator[bytes]:
        """The ciphertexts, one at a time."""
        chunks = self._layout.chunks
        for chunk in range(chunks):
            slots = self._layout.slots(vector, chunk)
            yield self._encryptor.encrypt(self._tag.seal(slots, chunk=chunk, party=self._party))
            _report(progress, chunk + 1, chunks)


@final
class BFVReader:
    """The work of who opens the sum.

    Args:
        layout: where values stand.
        decryptor: the secret key.
        backend: the public side.
        tag: tags of this session.
    """

    __slots__ = ("_backend", "_decryptor", "_layout", "_tag")

    def __init__(self, layout: Layout, decryptor: Decryptor, backend: Backend, tag: SumTag) -> None:
        self._layout = layout
        self._decryptor = decryptor
        self._backend = backend
        self._tag = tag

    def open(self, body: bytes, survivors: list[int], progress: Progress) -> NDArray[np.uint64]:
        """Decrypt, verify every chunk's tag, take off the pads, and unpack: all chunks, also where one does not verify.

        Which one it is may hang on the secret key, and the time until a refusal would tell.
        """
        layout, chunks, is_whole = self._layout, self._layout.chunks, True
        total = np.empty(layout.dim, dtype=np.uint64)
        for chunk, blob in enumerate(split_blobs(body, chunks)):
            plain = self._decryptor.decrypt(self._backend.load(blob, layout.ring.full_bytes))
            try:
                slots = self._tag.open(plain, chunk=chunk, survivors=survivors)
                start = chunk * layout.values
                total[start : start + layout.values] = layout.values_of(slots, chunk, len(survivors))
            except DecodeError:
                is_whole = False
            _report(progress, chunk + 1, chunks)
        if not is_whole:
            raise DecodeError("a chunk of the sum did not verify.")
        return total


@final
class BFVServer:
    """The server's work: it holds one ciphertext per chunk, whatever the number of parties.

    Args:
        layout: where values stand.
        backend: the public side.
    """

    __slots__ = ("_backend", "_layout", "_sums")

    def __init__(self, layout: Layout, backend: Backend) -> None:
        self._layout = layout
        self._backend = backend
        self._sums: list[Any] = []

    def parse(self, body: bytes) -> list[Any]:
        """The ciphertexts of a body, loaded."""
        sent = self._layout.ring.sent_bytes
        return [self._backend.load(blob, sent) for blob in split_blobs(body, self._layout.chunks)]

    def add(self, parts: list[Any]) -> None:
        """Add a party's ciphertexts, all of them or none; raises DecodeError."""
        if not self._sums:
            self._sums = parts
            return
        added: list[tuple[Any, Any]] = []
        try:
            for total, part in zip(self._sums, parts, strict=True):
                self._backend.add(total, part)
                added.append((total, part))
        except DecodeError:
            for total, part in added:
                self._backend.subtract(total, part)
            raise

    def body(self) -> bytes:
        """The summed ciphertexts."""
        return join_blobs(self._backend.save(total) for total in self._sums)

    def total(self) -> None:
        """None: the server cannot read the sum."""
