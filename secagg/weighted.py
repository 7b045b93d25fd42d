"""Weighted means whose weights stay as hidden as the values: both travel inside the vector, and only sums come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.api import Entropy
from secagg.checks import check_integer, check_unmasked, check_words
from secagg.codec import FixedPoint
from secagg.errors import CapacityError, ParameterError

__all__ = ["WeightedMean"]


@final
@dataclass(frozen=True, slots=True)
class WeightedMean:
    r"""Vectors with integer weights as unsigned integers, and their sum back to Σ w·x / Σ w.

    A party of weight w sends w·q for each entry, q the integer that `codec` makes of it, and w itself as one entry
    more, into a plan that does not wrap, of ``plan_dim(dim)`` entries of `value_bits` bits. What is opened tells Σ w·x
    and Σ w over the survivors, and no party's values or weight; but one weight that outweighs all others makes the mean
    that party's values. Nothing is clamped but the values, by `codec`: a weight that does not fit is refused.

    Guarantee:
        The decoded mean differs from the exact weighted mean of the clamped values by at most ``error_bound``, whatever
        the weights and whoever dropped out, float rounding included; held by
        ``test_a_weighted_mean_is_within_its_bound_in_exact_arithmetic``.

    Args:
        codec: what makes integers of the values.
        weight_bits: a weight is below ``2**weight_bits``; 1 to 32.

    Example:
        >>> from secagg import PlainSum, simulate
        >>> codec = WeightedMean(FixedPoint(value_bits=16, clip=1.0), weight_bits=8)
        >>> plan = PlainSum.plan(2, codec.plan_dim(1), codec.value_bits)
        >>> result = simulate(plan, codec.encode([[0.5], [-0.25]], weight=[3, 1]))
        >>> mean = codec.decode(result.total, len(result.survivors))
        >>> abs(mean[0] - (3 * 0.5 - 0.25) / 4) <= codec.error_bound
        np.True_
    """

    codec: FixedPoint
    weight_bits: int

    def __post_init__(self) -> None:
        if not isinstance(self.codec, FixedPoint):
            raise ParameterError(f"codec must be a FixedPoint, got {type(self.codec).__name__}.")
        object.__setattr__(self, "weight_bits", check_integer("weight_bits", self.weight_bits, at_least=1, at_most=32))

    @property
    def value_bits(self) -> int:
        """Bits of one entry of the plan."""
        return self.codec.value_bits + self.weight_bits

    @property
    def error_bound(self) -> float:
        r"""Bound of the error of a decoded mean, in units of the values.

        A mean of errors is no larger than the largest: half a step (stochastic: one) of rounding and one division by
        the step, as in `codec`; and two conversions, a division and a product. These five float64 roundings of relative
        size 2^-53 of at most 2^(b-1) steps each are bounded by 2^(b-51) steps.
        """
        rounding = 0.5 if self.codec.rounding == "nearest" else 1.0
        return self.codec.step * (rounding + 2.0 ** (self.codec.value_bits - 51))

    def plan_dim(self, dim: int) -> int:
        """Entries that a plan needs for vectors of `dim` entries: the weight is one more."""
        return check_integer("dim", dim, at_least=1) + 1

    def encode(self, array: Any, weight: Any, entropy: Entropy | None = None) -> NDArray[np.uint64]:
        """Reals and their weight to integers in ``[0, 2**value_bits)``.

        Args:
            array: real numbers, shape ``(..., dim)``; all finite.
            weight: integers in ``[0, 2**weight_bits)``, shape ``(...)``: one for each vector. 0 counts for nothing.
            entropy: source of the random bits of stochastic rounding; None means the system's.

        Returns:
            uint64, shape ``(..., dim + 1)``: what ``set_input`` takes, or ``simulate`` for all parties at once.

        Raises:
            ParameterError: not finite real numbers, or not one integer weight in range for each vector; neither is
                printed.
        """
        vectors, weights = check_unmasked("array", array), check_unmasked("weight", weight)
        if vectors.ndim == 0 or weights.shape != vectors.shape[:-1]:
            raise ParameterError(
                f"weight must have one entry for each vector, shape {vectors.shape[:-1]}, got {weights.shape}."
            )
        if weights.dtype.kind not in "iu":
            raise ParameterError(
                f"weight must have an integer dtype, got {weights.dtype}; count records, or scale and round weights."
            )
        if weights.size and (int(weights.min()) < 0 or int(weights.max()) >> self.weight_bits):
            raise ParameterError(
                f"weight must be in [0, 2**{self.weight_bits}), got one outside; use more weight_bits, or divide all "
                "parties' weights alike."
            )
        column = weights.astype(np.uint64)[..., None]
        return np.concatenate((self.codec.encode(vectors, entropy) * column, column), axis=-1)

    def decode(self, total: NDArray[np.uint64], num_parties: int) -> NDArray[np.float64]:
        """The weighted mean behind a sum of encoded vectors.

        Args:
            total: uint64, the sum of `num_parties` encoded vectors, shape ``(dim + 1,)``.
            num_parties: how many parties are in the sum (the survivors), >= 1.

        Returns:
            float64, shape ``(dim,)``, in units of the values.

        Raises:
            ParameterError: not uint64 of one dimension and an entry at least, or the weights of all survivors are 0.
            CapacityError: a total that no `num_parties` vectors can have, or more than 64 bits can hold.
        """
        parties = check_integer("num_parties", num_parties, at_least=1)
        array = check_words("total", total)
        if array.size < 2:
            raise ParameterError(f"total must have an entry and the weight at least, got {array.size} entries.")
        largest = (1 << self.codec.value_bits) - 1
        most = parties * ((1 << self.weight_bits) - 1)
        if most * largest >> 64:
            raise CapacityError(
                f"the sum of {parties} entries of {self.value_bits} bits must fit 64; use fewer value_bits or "
                "weight_bits."
            )
        entries, weight = array[:-1], int(array[-1])
        if weight > most or int(entries.min()) < weight or int(entries.max()) > weight * largest:
            raise CapacityError(
                f"total is none of {parties} vectors of this codec; check num_parties and that the plan does not wrap."
            )
        if weight == 0:
            raise ParameterError("total has the weight 0: of survivors that all count for nothing there is no mean.")
        # offsets of all weights together: below 2**64 as the entries are, and what is left fits int64
        signed = (entries - np.uint64(weight << (self.codec.value_bits - 1))).view(np.int64)
        return signed.astype(np.float64) / float(weight) * self.codec.step
