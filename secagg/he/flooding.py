r"""Noise that hides the noise of a decrypted sum.

What CKKS decrypts is the encoded sum plus the noise e of its ciphertext. Whoever sees both the ciphertext and these
integers knows e, and with it a linear equation in the secret key for every coefficient: that opens everything. So f is
added to the polynomial *before* it is decrypted, and nobody ever holds the sum without it.

Each coefficient of f is the sum of three uniform integers of m values (m odd), centred: exact from the key stream,
never beyond 3(m-1)/2, and smooth enough for a bound in the 2-norm. With p its law, the terms of

.. math:: \frac12 \sum_x \left(\sqrt{p(x)} - \sqrt{p(x-1)}\right)^2
   \le \frac12 \sum_x \frac{(p(x) - p(x-1))^2}{p(x) + p(x-1)}

are 1/m³ on the first m places and, by symmetry, on the last m: there p(x) = (x+1)(x+2)/2m³, so the difference is
(x+1)/m³ and the sum (x+1)²/m³. On the m-1 places between, the difference is less than 1/m² and the sum at least 1/m,
for terms below 1/m³. So a shift by one has a squared Hellinger distance below 3/2m², a shift by d one below 3d²/2m²
(it is a metric), and shifts :math:`e_j` of independent coefficients together one below :math:`3 \sum e_j^2 / 2m^2`. The
statistical distance is at most :math:`\sqrt 2` Hellinger distances, and concave in the squared shifts, so

.. math:: \mathrm{TV}\big((e, e + f), (e, f)\big) \le \frac{\sqrt{3 \, \mathrm{E} \sum_j e_j^2}}{m}.

A ciphertext's noise has variance 42/4 in each coefficient, independent of what was encrypted; n of them over M
coefficients give a distance of at most :math:`\sqrt{63nM/2}/m`. :func:`flood_width` takes m so that this is below
2^-s, for the whole vector.

References:
    Li & Micciancio, "On the security of homomorphic encryption on approximate numbers" (EUROCRYPT 2021); Li,
    Micciancio, Schultz & Sorrell, "Securing approximate homomorphic encryption using differential privacy" (CRYPTO
    2022), which floods by a Gaussian.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np
from numpy.typing import NDArray

from secagg.prg import uniform

__all__ = ["SUMMANDS", "Flood", "flood_width"]

SUMMANDS = 3
"""Uniform integers in one coefficient; with fewer, the law is not smooth enough for a bound in the 2-norm."""

_VARIANCE_TERMS = 63
"""Twice SUMMANDS times the variance of a fresh ciphertext's coefficient: a centred binomial of 42 bits, 42/4."""


def flood_width(flood_bits: int, *, num_parties: int, coefficients: int) -> int:
    r"""The least odd m for which a flood of this width is within 2^-s of hiding the noise.

    Guarantee:
        The statistical distance between a flooded sum with the noise of its ciphertexts and one without is at most
        2^-s, whatever was encrypted; held by ``test_distance_of_a_shift_is_below_the_bound``.

    Args:
        flood_bits: s, >= 1.
        num_parties: n, ciphertexts in the sum.
        coefficients: M, of all polynomials of a vector together.

    Returns:
        m.
    """
    squared = -(-_VARIANCE_TERMS * num_parties * coefficients // 2) << 2 * flood_bits
    return (math.isqrt(squared - 1) + 1) | 1


@final
class Flood:
    """The flood of one sum: it follows from a key, so that whoever opens this sum, and opens it again, adds the same.

    Guarantee:
        Coefficients are exactly three uniform integers each (AES ideal); held by
        ``test_coefficients_are_sums_of_three_uniform_integers``.

    Args:
        key: 32 bytes, for this sum only: two sums under one flood would give away the difference of their noise.
        width: m, odd, below 2**60.
    """

    __slots__ = ("_key", "_width")

    def __init__(self, key: bytes, width: int) -> None:
        self._key = key
        self._width = width

    def coefficients(self, chunk: int, count: int) -> NDArray[np.int64]:
        """The polynomial of a chunk, int64 in ``[-3(m-1)/2, 3(m-1)/2]``, shape ``(count,)``."""
        drawn = uniform(self._key, index=chunk, count=SUMMANDS * count, modulus=self._width)
        rows = drawn.astype(np.int64).reshape(SUMMANDS, count)
        flood: NDArray[np.int64] = rows.sum(axis=0) - SUMMANDS * (self._width - 1) // 2
        return flood
