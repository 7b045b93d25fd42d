"""Comparisons that are exact: a uniform number against exp of a rational, each refined until they are apart."""

from __future__ import annotations

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import final

from dpkit.entropy import Source, read_bytes

__all__ = ["LazyUniform", "exp_bounds", "truncated_exponential_bounds"]

_REFINE_BYTES = 8
_GUARD_BITS = 64


def exp_bounds(exponent: Fraction, bits: int) -> tuple[int, int]:
    r"""Integers lo, hi with :math:`lo \le 2^{bits} e^{-exponent} \le hi` and hi - lo <= 3; equal for exponent 0.

    ``Decimal`` divides and takes exp correctly rounded. With D digits the exponent x carries a relative error of at
    most 10^(1-D)/2, so exp(-x) one of x 10^(1-D)/2, and its own rounding one of 10^(1-D)/2; since x <= bits where the
    result is not negligible, D = 0.302 bits + digits(bits) + 5 keeps both together below one unit.
    """
    if exponent == 0:
        return 1 << bits, 1 << bits
    if exponent > bits:  # exp(-bits) < 2**-bits
        return 0, 1
    digits = bits * 302 // 1000 + len(str(bits)) + 5
    # all of it given: what is left out comes from decimal.DefaultContext, which is anyone's to change
    context = Context(digits, ROUND_HALF_EVEN, MIN_EMIN, MAX_EMAX, capitals=1, clamp=0, flags=[], traps=[])
    ratio = context.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
    numerator, denominator = context.exp(ratio.copy_negate()).as_integer_ratio()
    scaled = (numerator << bits) // denominator
    return max(0, scaled - 1), scaled + 2


def truncated_exponential_bounds(theta: Fraction, scale: Fraction, bits: int) -> tuple[int, int]:
    r"""Integers around :math:`2^{bits} P[T < \theta]`, T of density proportional to :math:`e^{-t/scale}` on [0, 1)."""
    work = bits + _GUARD_BITS + scale.__ceil__().bit_length()
    one = 1 << work
    low_theta, high_theta = exp_bounds(theta / scale, work)
    low_one, high_one = exp_bounds(1 / scale, work)
    low = ((one - high_theta) << bits) // (one - low_one)
    high = -(-((one - low_theta) << bits) // (one - high_one))
    return max(0, low), high


@final
class LazyUniform:
    """A uniform number in [0, 1) of which the first `bits` bits are known and more are drawn when they are needed."""

    __slots__ = ("_source", "bits", "prefix")

    def __init__(self, source: Source, prefix: int = 0, bits: int = 0) -> None:
        self._source = source
        self.prefix = prefix
        self.bits = bits

    def refine(self) -> None:
        """Draw 64 more bits."""
        more = int.from_bytes(read_bytes(self._source, _REFINE_BYTES), "big")
        self.prefix = self.prefix << 8 * _REFINE_BYTES | more
        self.bits += 8 * _REFINE_BYTES

    def below(self, bounds: Callable[[int], tuple[int, int]]) -> bool:
        """Whether the number is below p, where bounds(b) encloses p 2**b ever more closely: a Bernoulli(p) draw."""
        while True:
            low, high = bounds(self.bits + _GUARD_BITS)
            if (self.prefix + 1) << _GUARD_BITS <= low:
                return True
            if self.prefix << _GUARD_BITS >= high:
                return False
            self.refine()
