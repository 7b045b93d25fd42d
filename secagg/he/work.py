"""What a BFV sum does at a client and at the server: pack, pad, tag and encrypt; add; decrypt, verify and unpack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.checks import check_vector
from secagg.codec import field_bits, pack, unpack
from secagg.errors import DecodeError
from secagg.he.planner import fields_per_slot
from secagg.he.seal import FULL_BYTES, RING, SEEDED_BYTES, Backend, Cipher
from secagg.onemessage import Progress
from secagg.tag import SumTag

__all__ = ["BFVClient", "BFVServer", "Layout", "join_blobs", "split_blobs"]


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """Where values stand: chunks of ``RING - 1`` slots of `fields` fields; the last slot of a chunk is the tag.

    Args:
        dim: entries of a vector.
        num_parties: parties of the sum.
        value_bits: bits of one entry.
    """

    dim: int
    num_parties: int
    value_bits: int

    @property
    def width(self) -> int:
        """Bits of one field."""
        return field_bits(self.num_parties, self.value_bits)

    @property
    def fields(self) -> int:
        """Fields of one slot."""
        return fields_per_slot(self.num_parties, self.value_bits)

    @property
    def values(self) -> int:
        """Values of one chunk."""
        return self.fields * (RING - 1)

    @property
    def chunks(self) -> int:
        """Chunks of one vector."""
        return -(-self.dim // self.values)

    def slots(self, vector: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """A vector as slots, shape ``(chunks, RING - 1)``, zero behind its end."""
        words = np.zeros(self.chunks * (RING - 1), dtype=np.uint64)
        packed = pack(vector, self.width, self.fields)
        words[: packed.size] = packed
        return words.reshape(self.chunks, RING - 1)

    def values_of(self, slots: NDArray[np.uint64], parties: int) -> NDArray[np.uint64]:
        """The sums in slots, shape ``(chunks, RING - 1)``; raises DecodeError on what `parties` inputs cannot give."""
        words = slots.reshape(-1)
        if int(words.max()) >> (self.width * self.fields):
            raise DecodeError("a slot holds more than its fields.")
        values = unpack(words, self.width, self.fields, words.size * self.fields)
        if values[self.dim :].any() or int(values.max()) > parties * ((1 << self.value_bits) - 1):
            raise DecodeError("the sum is out of range.")
        return values[: self.dim].copy()


def join_blobs(blobs: Iterable[bytes]) -> bytes:
    """Ciphertexts to a body: each behind its length in 4 bytes."""
    return b"".join(len(blob).to_bytes(4, "little") + blob for blob in blobs)


def split_blobs(body: bytes, count: int) -> list[bytes]:
    """A body back to exactly `count` ciphertexts; raises DecodeError."""
    blobs, start = [], 0
    for _ in range(count):
        end = start + 4 + int.from_bytes(body[start : start + 4], "little")
        if end > len(body) or end == start + 4:
            raise DecodeError("the message is shorter than its ciphertexts.")
        blobs.append(body[start + 4 : end])
        start = end
    if start != len(body):
        raise DecodeError("the message is longer than its ciphertexts.")
    return blobs


@final
class BFVClient:
    """A client's work.

    Args:
        layout: where values stand.
        party: whose work.
        cipher: the secret key's side.
        backend: the public side.
        tag: tags of this session.
    """

    __slots__ = ("_backend", "_cipher", "_layout", "_party", "_tag")

    def __init__(self, layout: Layout, party: int, cipher: Cipher, backend: Backend, tag: SumTag) -> None:
        self._layout = layout
        self._party = party
        self._cipher = cipher
        self._backend = backend
        self._tag = tag

    def check(self, vector: Any) -> NDArray[np.uint64]:
        """Integers of the plan's range."""
        return check_vector("vector", vector, shape=(self._layout.dim,), value_bits=self._layout.value_bits)

    def seal(self, vector: NDArray[np.uint64], progress: Progress) -> bytes:
        """Pack, pad, tag and encrypt."""
        blobs = []
        for chunk, slots in enumerate(self._layout.slots(vector)):
            blobs.append(self._encrypt(slots, chunk))
            if progress is not None:
                progress(chunk + 1, self._layout.chunks)
        return join_blobs(blobs)

    def open(self, body: bytes, survivors: list[int], progress: Progress) -> NDArray[np.uint64]:
        """Decrypt, verify every chunk's tag, take off the pads, and unpack."""
        slots = np.empty((self._layout.chunks, RING - 1), dtype=np.uint64)
        for chunk, blob in enumerate(split_blobs(body, self._layout.chunks)):
            plain = self._cipher.decrypt(self._backend.load(blob, FULL_BYTES))
            slots[chunk] = self._tag.open(plain, chunk=chunk, survivors=survivors)
            if progress is not None:
                progress(chunk + 1, self._layout.chunks)
        return self._layout.values_of(slots, len(survivors))

    def _encrypt(self, slots: NDArray[np.uint64], chunk: int) -> bytes:
        """One chunk: its slots, padded, and their tag."""
        return self._cipher.encrypt(self._tag.seal(slots, chunk=chunk, party=self._party))


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
        return [self._backend.load(blob, SEEDED_BYTES) for blob in split_blobs(body, self._layout.chunks)]

    def add(self, parts: list[Any]) -> None:
        """Add a party's ciphertexts."""
        if not self._sums:
            self._sums = parts
            return
        for total, part in zip(self._sums, parts, strict=True):
            self._backend.add(total, part)

    def body(self) -> bytes:
        """The summed ciphertexts."""
        return join_blobs(self._backend.save(total) for total in self._sums)

    def total(self) -> None:
        """None: the server cannot read the sum."""
