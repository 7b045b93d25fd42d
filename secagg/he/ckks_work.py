"""What a CKKS sum does at a client and at the server: scale, pair and encrypt; add; flood, decrypt and check."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.checks import check_unmasked
from secagg.errors import DecodeError, ParameterError
from secagg.he.flooding import Flood
from secagg.he.precision import Precision
from secagg.he.slots import SlotBackend, SlotCipher
from secagg.he.work import join_blobs, split_blobs
from secagg.onemessage import Progress
from secagg.prg import derive_key

__all__ = ["CKKSClient", "CKKSServer", "SlotLayout"]

_ROUNDED = 1 + 2.0**-24
"""What was clipped in float32 is as far beyond the clip at most; there is room, in sqrt(2) rounded up to 1.41422."""


@final
@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Where values stand: two to a complex slot, ``degree`` to a chunk, zeros behind the last.

    Args:
        clip: largest absolute value of an entry.
        shift: entries are divided by ``2**shift``, which brings `clip` into (1/2, 1].
        precision: ring, scale and flood.
    """

    clip: float
    shift: int
    precision: Precision

    def slots(self, vector: NDArray[np.float64], chunk: int) -> NDArray[np.complex128]:
        """A chunk of a vector as complex slots, shape ``(degree / 2,)``, zero behind its end."""
        degree = self.precision.ring.degree
        values = np.zeros(degree)
        part = vector[chunk * degree : (chunk + 1) * degree]
        with np.errstate(under="ignore"):
            values[: part.size] = np.ldexp(part, -self.shift)
        return values.view(np.complex128)

    def values_of(self, slots: NDArray[np.complex128], chunk: int, parties: int) -> NDArray[np.float64]:
        """The sums in a chunk's slots; raises DecodeError on what `parties` inputs cannot give.

        A sum under a wrong key is uniform, and so are nearly all of its slots beyond what may be in them.
        """
        degree = self.precision.ring.degree
        values, length = slots.view(np.float64), min(degree, self.precision.dim - chunk * degree)
        error = float(self.precision.error) * 1.001
        largest = math.ldexp(self.clip, -self.shift) * _ROUNDED * parties + error
        if not (np.abs(values[:length]) <= largest).all() or not (np.abs(values[length:]) <= error).all():
            raise DecodeError("the sum is out of range.")
        with np.errstate(under="ignore"):
            return np.ldexp(values[:length], self.shift)


@final
class CKKSClient:
    """A client's work.

    Args:
        layout: where values stand.
        cipher: the secret key's side.
        backend: the public side.
        group_key: 32 bytes that all parties share and the server does not know.
        session: 32 bytes, of this session only.
        config: the plan's digest.
    """

    __slots__ = ("_backend", "_cipher", "_config", "_group_key", "_layout", "_session")

    def __init__(
        self,
        layout: SlotLayout,
        cipher: SlotCipher,
        backend: SlotBackend,
        *,
        group_key: bytes,
        session: bytes,
        config: bytes,
    ) -> None:
        self._layout = layout
        self._cipher = cipher
        self._backend = backend
        self._group_key = group_key
        self._session = session
        self._config = config

    def check(self, vector: Any) -> NDArray[np.float64]:
        """Finite floats of at most the plan's clip."""
        array, dim, clip = check_unmasked("vector", vector), self._layout.precision.dim, self._layout.clip
        if array.shape != (dim,):
            raise ParameterError(f"vector must have shape ({dim},), got {array.shape}.")
        if array.dtype.kind != "f" or array.dtype.itemsize > 8:
            raise ParameterError(
                f"vector must have a floating dtype of at most 64 bits, got {array.dtype}; integers, and with them "
                "every share of a noised sum, go into a protocol that is exact, BFVSum for one."
            )
        with np.errstate(invalid="ignore"):  # signalling NaNs
            values = array.astype(np.float64)  # before it is compared: numpy would round the clip to a narrower dtype
        if not (np.abs(values) <= (clip if array.dtype.itemsize == 8 else clip * _ROUNDED)).all():
            raise ParameterError(
                f"vector must hold finite numbers in [-{clip}, {clip}], got values outside; clip them first, in no "
                "narrower dtype than float32, or plan with a larger clip."
            )
        return values

    def seal(self, vector: NDArray[np.float64], progress: Progress) -> bytes:
        """Scale, pair and encrypt."""
        blobs, chunks = [], self._layout.precision.chunks
        for chunk in range(chunks):
            blobs.append(self._cipher.encrypt(self._layout.slots(vector, chunk)))
            if progress is not None:
                progress(chunk + 1, chunks)
        return join_blobs(blobs)

    def open(self, body: bytes, survivors: list[int], progress: Progress) -> NDArray[np.float64]:
        """Flood every chunk, decrypt it, and check the range of what comes out."""
        ring, chunks = self._layout.precision.ring, self._layout.precision.chunks
        flood, total = self._flood(body, survivors), np.empty(self._layout.precision.dim)
        for chunk, blob in enumerate(split_blobs(body, chunks)):
            cipher = self._backend.load(blob, ring.full_bytes)
            self._backend.add_polynomial(cipher, flood.coefficients(chunk, ring.degree))
            values = self._layout.values_of(self._cipher.decrypt(cipher), chunk, len(survivors))
            total[chunk * ring.degree : (chunk + 1) * ring.degree] = values
            if progress is not None:
                progress(chunk + 1, chunks)
        return total

    def _flood(self, body: bytes, survivors: list[int]) -> Flood:
        """The flood of these very ciphertexts: the same at every party, and another for any other sum."""
        roster = b"".join(party.to_bytes(4, "little") for party in survivors)
        parts = (self._config, roster, hashlib.sha256(body).digest())
        key = derive_key(self._group_key, salt=self._session, purpose=b"flood", parts=parts)
        return Flood(key, self._layout.precision.width)


@final
class CKKSServer:
    """The server's work: it holds one ciphertext per chunk, whatever the number of parties.

    Args:
        layout: where values stand.
        backend: the public side.
    """

    __slots__ = ("_backend", "_layout", "_sums")

    def __init__(self, layout: SlotLayout, backend: SlotBackend) -> None:
        self._layout = layout
        self._backend = backend
        self._sums: list[Any] = []

    def parse(self, body: bytes) -> list[Any]:
        """The ciphertexts of a body, loaded."""
        precision = self._layout.precision
        return [self._backend.load(blob, precision.ring.seeded_bytes) for blob in split_blobs(body, precision.chunks)]

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
