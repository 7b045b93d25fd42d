r"""How exact a sum of reals can be: what encoding, encryption and the flood add to it.

Vectors are scaled by a power of two so that no entry is beyond c, 1/2 < c <= 1; two entries make a complex slot, of
absolute value at most :math:`\sqrt 2 c`; slots are multiplied by a scale of 2^k, transformed, and rounded to integer
coefficients. A coefficient is the mean of N slots turned by roots of unity, so at most :math:`\sqrt 2 c 2^k`. A slot is
:math:`\sum_j v_j \zeta^j` over N coefficients, so that what is added to coefficients shows in it as follows:

- *noise of n ciphertexts*, each coefficient a centred binomial of 42 bits, and the *flood*, three uniform integers of m
  values (:mod:`secagg.he.flooding`), all independent. Both are strictly sub-Gaussian: their moment generating functions
  are below those of Gaussians of their variances 21/2 and (m²-1)/4. The squared cosines of a slot's real part, and the
  sines of its imaginary part, add to N/2, so with :math:`v = 21n/2 + m^2/4` one entry is beyond
  :math:`\sqrt{v N \lambda}` with probability at most 2·exp(-λ); λ = (65 + ⌈log2 NC⌉)·ln 2 makes that 2^-64 for all
  entries of the C ciphertexts of a vector together;
- *rounding*, at most n/2 in each coefficient: at most nN/2, with certainty;
- *SEAL's transforms in float64*: 13 stages, of a relative error below 2^-49.2 in the 2-norm each (roots of unity within
  2^-50), and SEAL's conversion of coefficients to float64, within 2^-51 of them and of 2^64: together at most 2^-45 of
  the 2-norm, and 2^13. A slot is at most :math:`\sqrt N` times the 2-norm of the coefficients.

The sum is right modulo q, and is read as if it were below q/2 in absolute value: all of it is, with certainty, by
:math:`n(\sqrt 2 c 2^k (1 + 2^{-44}) + 22) + 3m/2 < q/2`.

References:
    Cheon, Kim, Kim & Song, "Homomorphic encryption for arithmetic of approximate numbers" (ASIACRYPT 2017); Higham,
    "Accuracy and stability of numerical algorithms" (2nd ed.), theorem 24.2, for the transforms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import final

from secagg.errors import CapacityError
from secagg.he.flooding import flood_width
from secagg.he.slots import RINGS, SlotRing

__all__ = ["MAX_FLOOD_BITS", "MIN_FLOOD_BITS", "Precision", "precise"]

MIN_FLOOD_BITS = 30
"""A plan is refused if its flood is not within 2^-30 of hiding the noise of all ciphertexts of a vector."""

MAX_FLOOD_BITS = 64
"""What is left of the allowed error beyond this is not spent."""

_MAX_WIDTH = 1 << 60
"""Three uniform integers below this add up in 64 bits."""

_FAILURE_BITS = 64
"""The error bound fails for any entry of a vector with probability at most 2^-64."""

_ROOT_2 = Fraction(141422, 100000)
_LN_2 = Fraction(69315, 100000)
_TRANSFORM = Fraction(1, 2**45)
_CONVERSION = 2**13


def _root(value: Fraction) -> int:
    """The square root, rounded up to an integer."""
    return math.isqrt(math.ceil(value) - 1) + 1


@final
@dataclass(frozen=True, slots=True)
class Precision:
    """A ring, a scale and a flood for sums of a given size.

    Guarantee:
        Every entry of an opened sum is within :attr:`error` of the exact sum, except with probability 2^-64 for all of
        them together, and the sum never wraps around the modulus; held by ``test_error_bound_holds_at_the_extremes``
        and ``test_no_sum_wraps_at_the_largest_coefficients``.

    Args:
        ring: the ring.
        num_parties: n.
        dim: entries of a vector.
        reach: c, the largest absolute entry after scaling.
        flood_bits: s: the flood is within 2^-s of hiding the noise.
    """

    ring: SlotRing
    num_parties: int
    dim: int
    reach: Fraction
    flood_bits: int

    @property
    def chunks(self) -> int:
        """Ciphertexts of a vector."""
        return -(-self.dim // self.ring.degree)

    @property
    def width(self) -> int:
        """m, the values of one of the flood's uniform integers."""
        return flood_width(self.flood_bits, num_parties=self.num_parties, coefficients=self.chunks * self.ring.degree)

    @property
    def scale_bits(self) -> int:
        """k: the largest scale 2^k under which the sum fits the modulus; below 1 if none does."""
        room = Fraction(self.ring.modulus, 2) - Fraction(3 * self.width, 2) - 22 * self.num_parties
        units = math.floor(room / (self.num_parties * _ROOT_2 * self.reach * (1 + 2 * _TRANSFORM)))
        # "below q/2" is strict, and the factors above are rounded up beyond that
        return units.bit_length() - 1 if units > 1 and self.width < _MAX_WIDTH else 0

    @property
    def error(self) -> Fraction:
        """The bound of an entry's error, in units of the scaled vectors."""
        parties, degree = self.num_parties, self.ring.degree
        tail = (_FAILURE_BITS + 1 + (self.chunks * degree - 1).bit_length()) * _LN_2
        noise = _root((Fraction(21 * parties, 2) + Fraction(self.width**2, 4)) * degree * tail)
        certain = Fraction(parties * degree, 2) + degree * _CONVERSION
        added = degree * (22 * parties + Fraction(3 * self.width, 2)) * _TRANSFORM
        transforms = 3 * _root(Fraction(degree)) * _TRANSFORM * _ROOT_2 * self.reach * parties
        return (noise + certain + added) / (1 << self.scale_bits) + transforms


@lru_cache(maxsize=256)
def precise(num_parties: int, dim: int, reach: Fraction, error: Fraction) -> Precision:
    """The smallest ring that allows an error, with the widest flood that it allows.

    Args:
        num_parties: n, >= 1.
        dim: entries of a vector, >= 1.
        reach: c, in (1/2, 1].
        error: the largest error of an entry, > 0.

    Returns:
        The precision.

    Raises:
        CapacityError: no ring has room for it; its message says what there is room for, in units of `reach`.
    """
    for ring in RINGS:
        for flood_bits in range(MAX_FLOOD_BITS, MIN_FLOOD_BITS - 1, -1):
            found = Precision(ring, num_parties, dim, reach, flood_bits)
            if found.scale_bits > 0 and found.error <= error:
                return found
    least = Precision(RINGS[-1], num_parties, dim, reach, MIN_FLOOD_BITS)
    if least.scale_bits < 1:
        raise CapacityError(
            f"num_parties = {num_parties} vectors of {dim} entries are too many: their sum does not fit beside the "
            f"noise that hides the noise of their ciphertexts; use fewer parties or a smaller dim."
        )
    raise CapacityError(
        f"error must be at least {float(least.error / reach) * 1.001:.3g} * clip for {num_parties} parties and {dim} "
        f"entries, got {float(error / reach):.3g} * clip: the rest is the noise that hides the noise of the "
        "ciphertexts; allow a larger error, or sum integers exactly with BFVSum."
    )
