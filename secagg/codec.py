r"""Reals and signed integers to the unsigned integers that protocols add, and several of those to one word.

::

    reals ─► FixedPoint.encode ─┐
    signed ─► offset_encode ────┴─► [0, 2**value_bits) ─► pack ─► one word per slot

The capacity of a sum is computed here and nowhere else: :func:`field_bits`. Rounding *for privacy* is not done here:
noise shares are integers already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from secagg.api import Entropy
from secagg.checks import check_finite, check_integer, check_unmasked, check_words
from secagg.errors import CapacityError, ParameterError
from secagg.prg import draw, system

__all__ = ["FixedPoint", "field_bits", "offset_decode", "offset_encode", "pack", "summand_bits", "unpack"]


def field_bits(num_parties: int, value_bits: int) -> int:
    r"""Bits that the sum of `num_parties` values of `value_bits` bits needs: the least w with n·(2^b - 1) < 2^w.

    Args:
        num_parties: n, >= 1.
        value_bits: b, >= 1.

    Returns:
        The width, at most b + ceil(log2 n).

    Example:
        >>> field_bits(15, 16), field_bits(16, 16), field_bits(17, 16)
        (20, 20, 21)
    """
    return (num_parties * ((1 << value_bits) - 1)).bit_length()


def summand_bits(num_parties: int, value_bits: int, *, wrap: bool) -> int:
    """Bits of values whose exact sum a plan can carry: all of its own, or fewer where it wraps at ``2**value_bits``.

    Args:
        num_parties: parties of the plan, >= 1.
        value_bits: bits of one entry of the plan.
        wrap: whether its sum is taken modulo ``2**value_bits``.

    Returns:
        The bits; 0 or less where no value would fit.

    Example:
        >>> summand_bits(5, 24, wrap=False), summand_bits(5, 24, wrap=True)
        (24, 21)
    """
    return value_bits - (num_parties - 1).bit_length() if wrap else value_bits


def offset_encode(ints: NDArray[np.int64], value_bits: int) -> NDArray[np.uint64]:
    """Signed integers to unsigned ones: k becomes k + 2**(value_bits - 1).

    Args:
        ints: signed integers in ``[-2**(value_bits - 1), 2**(value_bits - 1))``, any shape.
        value_bits: bits of one entry, 1 to 64.

    Returns:
        uint64 in ``[0, 2**value_bits)``, the same shape.

    Raises:
        ParameterError: not a signed integer dtype.
        CapacityError: an entry is out of range; it is not printed.

    Example:
        >>> offset_encode(np.array([-2, 0, 1]), value_bits=2).tolist()
        [0, 2, 3]
    """
    bits = check_integer("value_bits", value_bits, at_least=1, at_most=64)
    array = check_unmasked("ints", ints)
    if array.dtype.kind != "i":
        raise ParameterError(f"ints must have a signed integer dtype, got {array.dtype}.")
    half = 1 << (bits - 1)
    if array.size and (int(array.min()) < -half or int(array.max()) >= half):
        raise CapacityError(
            f"ints must lie in [-2**{bits - 1}, 2**{bits - 1}), got values outside; use more value_bits."
        )
    # two's complement: modulo 2**64, adding the offset is exact whatever the sign
    return array.astype(np.int64).view(np.uint64) + np.uint64(half)


def offset_decode(total: NDArray[np.uint64], num_parties: int, value_bits: int) -> NDArray[np.int64]:
    """The signed sum behind a sum of offset-encoded entries.

    Args:
        total: uint64 sums of `num_parties` entries each, any shape.
        num_parties: how many parties are in the sum (the survivors), >= 1.
        value_bits: bits of one entry, 1 to 64.

    Returns:
        int64, the same shape.

    Raises:
        ParameterError: not of dtype uint64.
        CapacityError: a total that no `num_parties` entries can have, or a signed sum that int64 may not hold.

    Example:
        >>> offset_decode(np.array([2, 4, 5], dtype=np.uint64), num_parties=2, value_bits=2).tolist()
        [-2, 0, 1]
    """
    bits = check_integer("value_bits", value_bits, at_least=1, at_most=64)
    parties = check_integer("num_parties", num_parties, at_least=1)
    array = check_unmasked("total", total)
    if array.dtype != np.uint64:
        raise ParameterError(f"total must have dtype uint64, got {array.dtype}.")
    # signed sums lie in [-offset, offset - parties] and totals in [0, 2 * offset - parties]: both fit if -offset does
    offset = parties << (bits - 1)
    if offset > 1 << 63:
        raise CapacityError(
            f"the signed sum of {parties} entries of {bits} bits must fit int64: num_parties * 2**(value_bits - 1) "
            "must be at most 2**63; use fewer value_bits."
        )
    if array.size and int(array.max()) > parties * ((1 << bits) - 1):
        raise CapacityError(f"total is larger than any sum of {parties} entries of {bits} bits; check num_parties.")
    return (array - np.uint64(offset)).view(np.int64)


def pack(values: NDArray[np.uint64], field_bits: int, fields: int) -> NDArray[np.uint64]:
    r"""Several fields to one word: word s is Σ_j values[s·fields + j]·2^(j·field_bits).

    Adding words adds their fields, as long as no field outgrows `field_bits`.

    Args:
        values: uint64 in ``[0, 2**field_bits)``, shape ``(m,)``.
        field_bits: bits of one field, >= 1.
        fields: fields of one word; ``fields * field_bits <= 64``.

    Returns:
        uint64, shape ``(ceil(m / fields),)``; fields past the end are zero.

    Raises:
        ParameterError: not an array of dtype uint64 and one dimension.
        CapacityError: a value does not fit its field, or the fields do not fit a word; no value is printed.

    Example:
        >>> [hex(word) for word in pack(np.array([1, 2, 3], dtype=np.uint64), field_bits=8, fields=2)]
        ['0x201', '0x3']
    """
    field_bits, fields = _check_layout(field_bits, fields)
    array = check_words("values", values)
    if array.size and int(array.max()) >> field_bits:
        raise CapacityError(f"values must be below 2**{field_bits}, got larger ones.")
    padded = np.zeros(-(-array.size // fields) * fields, dtype=np.uint64)
    padded[: array.size] = array
    columns = padded.reshape(-1, fields)
    words = columns[:, 0].copy()
    for j in range(1, fields):
        words |= columns[:, j] << np.uint64(j * field_bits)
    return words


def unpack(words: NDArray[np.uint64], field_bits: int, fields: int, length: int) -> NDArray[np.uint64]:
    """The fields of :func:`pack`, without its padding.

    Args:
        words: uint64 in ``[0, 2**(fields * field_bits))``, shape ``(s,)``.
        field_bits: bits of one field, >= 1.
        fields: fields of one word; ``fields * field_bits <= 64``.
        length: how many values to return, at most ``s * fields``.

    Returns:
        uint64, shape ``(length,)``.

    Raises:
        ParameterError: not an array of dtype uint64 and one dimension, or more values asked for than there are.
        CapacityError: the fields do not fit a word, or a word holds more than its fields; no word is printed.

    Example:
        >>> unpack(np.array([0x201, 0x3], dtype=np.uint64), field_bits=8, fields=2, length=3).tolist()
        [1, 2, 3]
    """
    field_bits, fields = _check_layout(field_bits, fields)
    array = check_words("words", words)
    length = check_integer("length", length, at_least=0, at_most=array.size * fields)
    if array.size and int(array.max()) >> (fields * field_bits):
        raise CapacityError(f"words must be below 2**{fields * field_bits}, got larger ones: a field has overflowed.")
    columns = np.empty((array.size, fields), dtype=np.uint64)
    mask = np.uint64((1 << field_bits) - 1)
    for j in range(fields):
        columns[:, j] = (array >> np.uint64(j * field_bits)) & mask
    return columns.reshape(-1)[:length]


def _check_layout(field_bits: int, fields: int) -> tuple[int, int]:
    """Both as ints; fields must fit a word of 64 bits."""
    bits = check_integer("field_bits", field_bits, at_least=1)
    count = check_integer("fields", fields, at_least=1)
    if count * bits > 64:
        raise CapacityError(f"{count} fields of {bits} bits do not fit a word of 64 bits.")
    return bits, count


@final
@dataclass(frozen=True, slots=True)
class FixedPoint:
    r"""Reals in [-clip, clip] as unsigned integers, and the sum of several parties' integers back to a real sum.

    x becomes round(x / step) + 2^(b-1), step = clip / (2^(b-1) - 1); zero is represented exactly. Values beyond the
    clip are clamped coordinate by coordinate: choose `clip` so that it does not bite, or mean it to.

    Guarantee:
        The decoded sum differs from the real sum of the clamped inputs by at most ``error_bound`` per party, float
        rounding included; held by ``test_error_bound_holds_and_is_tight``.

    Args:
        value_bits: b, bits of one entry, 2 to 32.
        clip: largest absolute value that is represented, in units of the values, in [2**-900, 2**900]; kept as a float.
        rounding: "nearest", or "stochastic": up with probability equal to the fraction (within 2^-53), so that the
            error of a sum has mean zero.

    Example:
        >>> codec = FixedPoint(value_bits=16, clip=1.0)
        >>> total = codec.encode(np.array([0.5])) + codec.encode(np.array([-0.25]))
        >>> abs(codec.decode(total, num_parties=2)[0] - 0.25) <= 2 * codec.error_bound
        np.True_
    """

    value_bits: int
    clip: float
    rounding: Literal["nearest", "stochastic"] = "nearest"

    def __post_init__(self) -> None:
        object.__setattr__(self, "value_bits", check_integer("value_bits", self.value_bits, at_least=2, at_most=32))
        object.__setattr__(self, "clip", check_finite("clip", self.clip))
        if not 2.0**-900 <= self.clip <= 2.0**900:
            raise ParameterError(
                f"clip must be in [2**-900, 2**900], where no sum under- or overflows, got {self.clip}."
            )
        if self.rounding not in ("nearest", "stochastic"):
            raise ParameterError(f'rounding must be "nearest" or "stochastic", got {self.rounding!r}.')

    @property
    def step(self) -> float:
        """Distance of two neighbouring values, in units of the values."""
        return self.clip / self._largest

    @property
    def error_bound(self) -> float:
        r"""Bound of one party's part of the error of a decoded sum, in units of the values.

        Half a step (stochastic: one step) of rounding; and three float64 roundings of relative size 2^-53 of at most
        2^(b-1) steps each (division, conversion, product), bounded by 2^(b-52) steps.
        """
        rounding = 0.5 if self.rounding == "nearest" else 1.0
        return self.step * (rounding + 2.0 ** (self.value_bits - 52))

    @property
    def _largest(self) -> int:
        """The integer that stands for `clip`."""
        return (1 << (self.value_bits - 1)) - 1

    def encode(self, array: Any, entropy: Entropy | None = None) -> NDArray[np.uint64]:
        """Reals to integers in ``[1, 2**value_bits)``.

        Args:
            array: real numbers, any shape; all finite.
            entropy: source of the random bits of stochastic rounding; None means the system's.

        Returns:
            uint64, the same shape.

        Raises:
            ParameterError: not real numbers, or NaN or infinity among them.
        """
        values = check_unmasked("array", array)
        if values.dtype.kind not in "iuf":
            raise ParameterError(f"array must hold real numbers, got dtype {values.dtype}.")
        with np.errstate(invalid="ignore", over="ignore"):  # signalling NaNs, and what only wider floats hold
            values = values.astype(np.float64)
        if not np.isfinite(values).all():
            raise ParameterError("array must be finite, got NaN or infinity; clip or replace such records first.")
        steps = np.clip(values, -self.clip, self.clip) / self.step
        rounded = np.rint(steps) if self.rounding == "nearest" else _stochastic(steps, entropy)
        largest = self._largest
        return offset_encode(np.clip(rounded, -largest, largest).astype(np.int64), self.value_bits)

    def decode(self, total: NDArray[np.uint64], num_parties: int) -> NDArray[np.float64]:
        """The sum of integers back to the sum of reals.

        Args:
            total: uint64 sums of `num_parties` encoded entries each, any shape.
            num_parties: how many parties are in the sum (the survivors), >= 1.

        Returns:
            float64, the same shape, in units of the values.

        Raises:
            ParameterError: not uint64.
            CapacityError: a total that no `num_parties` entries can have.
        """
        return offset_decode(total, num_parties, self.value_bits).astype(np.float64) * self.step


def _stochastic(steps: NDArray[np.float64], entropy: Entropy | None) -> NDArray[np.float64]:
    """Round up with probability equal to the fraction: a 53-bit word decides."""
    source = system() if entropy is None else entropy
    words = np.frombuffer(draw(source, 8 * steps.size), dtype="<u8").reshape(steps.shape) >> np.uint64(11)
    floor = np.floor(steps)
    up: NDArray[np.bool_] = words.astype(np.float64) * 2.0**-53 < steps - floor
    return floor + up
