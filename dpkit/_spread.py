r"""How far lattice noise reaches: variance, and half-widths that hold at a level. Private to dpkit.

With g the lattice step, s the noise in steps (1024 <= s < 2048) and c the query's real value in steps, all per
coordinate and for every c.

* *Gauss.* By Poisson summation the normaliser is :math:`s\sqrt{2\pi}` and the mean square around c is s², both up to a
  relative e^-20000000, and the mean is c. The weights fall away from c, so beyond n >= 1 steps on either side lies at
  most the integral of the density beyond n - 1.
* *Laplace*, L of scale s and c + L rounded with the error R, which is a sawtooth of c + L. The mean square is
  :math:`2s^2 + 2\,E[LR] + E[R^2]`; by the sawtooth's Fourier series :math:`|E[R^2] - 1/12| \le
  \sum_m 1/(4\pi^4 m^4 s^2) = 1/(360 s^2)` and :math:`|2\,E[LR]| \le \sum_m 1/(2\pi^4 m^4 s^2) = 1/(180 s^2)`. Beyond
  n >= 1 steps lies at most :math:`e^{-n/s} \cosh(1/2s)`, which a c just beside a lattice point reaches.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from dpkit._checks import check_real
from dpkit.errors import ParameterError
from dpkit.mechanism import product_up
from dpkit.samplers import lattice_step

__all__ = ["check_level", "gaussian_half_width", "gaussian_variance", "laplace_half_width", "laplace_variance"]

_ROOM = 2.0**-40  # of the probability left outside: it covers every rounding that follows


def check_level(level: Any) -> float:
    """A number in (0, 1)."""
    number = check_real("level", level, "0.95 is usual.")
    if not 0.0 < number < 1.0:
        raise ParameterError(f"level must be in (0, 1), got {number!r}; 0.95 is usual.")
    return number


def gaussian_variance(stddev: float) -> float:
    """stddev², rounded up past any mean square of the lattice law."""
    return math.nextafter(product_up(stddev, stddev), math.inf)


def gaussian_half_width(stddev: float, level: float) -> float:
    """A multiple of the step: at most two steps beyond the quantile of the real Gaussian."""
    outside = (1.0 - level) * (1.0 - _ROOM)
    low, high = 0.0, 9.0
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (low, middle) if math.erfc(middle * math.sqrt(0.5)) <= outside else (middle, high)
    step = lattice_step(stddev)
    return (math.ceil(Fraction(stddev) * Fraction(high) / Fraction(step)) + 1) * step


def laplace_variance(scale: float) -> float:
    """2 scale² + step²/12 + step⁴/(120 scale²), rounded up."""
    square, grain = Fraction(scale) ** 2, Fraction(lattice_step(scale)) ** 2
    return product_up(2 * square + grain / 12 + grain**2 / (120 * square))


def laplace_half_width(scale: float, level: float) -> float:
    """The least multiple of the step that holds, up to the rounding of the logarithm; log cosh x <= x²/2."""
    outside = (1.0 - level) * (1.0 - _ROOM)
    step = lattice_step(scale)
    steps = Fraction(scale) / Fraction(step)
    return max(1, math.ceil(steps * Fraction(-math.log(outside)) + 1 / (8 * steps))) * step
