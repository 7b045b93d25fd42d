r"""Vectors under a party's secret, their sum, and how the sum of the secrets takes the mask off.

Chunk k of party i is :math:`b_{ik} = a_k s_i + e_{ik} + \Delta m_{ik} \bmod Q`, of which
:math:`c_{ik} = \lfloor (b_{ik} + \lfloor 2^{cut}/2 \rfloor) / 2^{cut} \rfloor` is sent, coefficient by coefficient.
The server adds :math:`2^{cut} c_{ik}` modulo Q, and subtracts :math:`a_k S`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from secagg.codec import pack, unpack
from secagg.errors import DecodeError
from secagg.masking.packing import pack_bits, unpack_bits
from secagg.threshold.noise import BOUND, gaussian
from secagg.threshold.parameters import Packing
from secagg.threshold.ring import RING, Q, forward, from_signed, inverse, lift, multiply, uniform

__all__ = ["Progress", "add_input", "mask_input", "open_total"]

Progress = Callable[[int, int], None] | None
"""Called with the chunks that are done, and how many there are."""

_BLOCK = 16
"""Chunks at a time: what is held beside the message does not grow with the vector."""

_UNVERIFIED = "the sum did not verify; it is not shown, and this session is over."


def mask_input(
    vector: NDArray[np.uint64],
    packing: Packing,
    *,
    session: bytes,
    secret: NDArray[np.int64],
    noise_key: bytes,
    progress: Progress = None,
) -> bytes:
    """A party's masked vector, as it is sent.

    Args:
        vector: integers in ``[0, 2**value_bits)``, shape ``(dim,)``.
        packing: the plan's.
        session: 32 bytes; they say what the a_k are.
        secret: s, int64, shape ``(RING,)``.
        noise_key: 32 bytes, used for one vector only: the same noise twice would show the difference of two.
        progress: called after each block of chunks.

    Returns:
        ``packing.input_bytes`` bytes.
    """
    mask, parts, step = forward(from_signed(secret)), [], packing.fields * RING
    delta, half, cut = np.uint64(packing.delta), np.uint64(packing.half), np.uint64(packing.cut)
    for start, end in _blocks(packing):
        coefficients = np.zeros((end - start, RING), dtype=np.uint64)
        words = pack(vector[start * step : end * step], packing.width, packing.fields)
        coefficients.reshape(-1)[: words.size] = words
        coefficients *= delta
        coefficients += _products(mask, session, start, end)
        noise = np.stack([gaussian(noise_key, index=k, count=RING) for k in range(start, end)])
        coefficients += (noise + Q).astype(np.uint64)
        coefficients = (_reduced(coefficients) + half) >> cut
        parts.append(pack_bits(coefficients.reshape(-1), packing.bits))
        if progress is not None:
            progress(end, packing.chunks)
    return b"".join(parts)


def add_input(total: NDArray[np.uint64], body: memoryview, packing: Packing) -> NDArray[np.uint64]:
    """The total with one more masked vector.

    Args:
        total: uint64 below `Q`, shape ``(chunks * RING,)``; left as it is.
        body: what :func:`mask_input` returned.
        packing: the plan's.

    Returns:
        A new total.

    Raises:
        DecodeError: another length, or a coefficient that there is none of.
    """
    coefficients = unpack_bits(bytes(body), total.size, packing.bits)
    if int(coefficients.max()) > packing.largest:
        raise DecodeError("the message holds a number that is no coefficient.")
    coefficients <<= np.uint64(packing.cut)
    coefficients += total
    return _reduced(coefficients)


def open_total(
    total: NDArray[np.uint64],
    packing: Packing,
    *,
    session: bytes,
    secrets: NDArray[np.int64],
    survivors: int,
    progress: Progress = None,
) -> NDArray[np.uint64]:
    """The sum behind a masked total.

    Args:
        total: of the survivors' masked vectors, uint64 below `Q`, shape ``(chunks * RING,)``.
        packing: the plan's.
        session: 32 bytes.
        secrets: S, the sum of the survivors' secrets, int64, shape ``(RING,)``.
        survivors: how many are in the total.
        progress: called after each block of chunks.

    Returns:
        uint64, shape ``(dim,)``.

    Raises:
        DecodeError: S is no sum of so many secrets, or what is left over is not noise; what is wrong is not told.
    """
    if int(np.abs(secrets).max()) > BOUND * survivors:
        raise DecodeError(_UNVERIFIED)
    mask, rows = forward(from_signed(secrets)), total.reshape(-1, RING)
    values = np.empty(packing.chunks * RING * packing.fields, dtype=np.uint64)
    delta, middle, bound = np.uint64(packing.delta), packing.delta // 2, packing.left_over(survivors)
    step, above, largest = packing.fields * RING, 1 << (packing.fields * packing.width), 0
    for start, end in _blocks(packing):
        sums = rows[start:end] + np.uint64(Q + middle)
        sums -= _products(mask, session, start, end)
        sums = _reduced(sums)
        words = sums // delta
        left = (sums - words * delta).astype(np.int64) - middle
        if int(words.max()) >= above or int(np.abs(left).max()) > bound:
            raise DecodeError(_UNVERIFIED)
        fields = unpack(words.reshape(-1), packing.width, packing.fields, words.size * packing.fields)
        values[start * step : end * step] = fields
        largest = max(largest, int(fields.max()))
        if progress is not None:
            progress(end, packing.chunks)
    if largest > survivors * ((1 << packing.value_bits) - 1) or values[packing.dim :].any():
        raise DecodeError(_UNVERIFIED)
    return values[: packing.dim]


def _blocks(packing: Packing) -> list[tuple[int, int]]:
    """First chunk of each block, and the one behind its last."""
    return [(start, min(start + _BLOCK, packing.chunks)) for start in range(0, packing.chunks, _BLOCK)]


def _products(mask: NDArray[np.uint64], session: bytes, start: int, end: int) -> NDArray[np.uint64]:
    """Coefficients of a_k times a transformed secret, in ``[0, Q)``, one row for each k."""
    publics = np.stack([uniform(session, k) for k in range(start, end)])
    return lift(inverse(multiply(publics, mask)))


def _reduced(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Modulo Q; numpy divides by one number much faster than it takes %."""
    reduced: NDArray[np.uint64] = values - values // np.uint64(Q) * np.uint64(Q)
    return reduced
