"""Variance and intervals of lattice noise hold at every real centre, and are close to least."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from dpkit._spread import gaussian_half_width, gaussian_variance, laplace_half_width, laplace_variance
from dpkit.bounded import Bounded
from dpkit.continuous import GaussianMechanism, LaplaceMechanism
from dpkit.entropy import seeded
from dpkit.errors import ParameterError
from dpkit.samplers import lattice_step

NOISE = st.floats(1024.0, 2048.0, exclude_max=True)  # in lattice steps: the step is 1
LEVELS = st.floats(0.001, 0.999) | st.sampled_from([1e-300, 1e-9, 0.5, 0.95, 1 - 1e-9, 1 - 2.0**-53])
FRACTIONS = [0.0, 1e-9, 0.1, 0.25, 0.5]
CENTERS = pytest.mark.parametrize("fraction", FRACTIONS)


def laplace_mean_square(s, f):
    """Mean square around f of f + s Laplace(1), rounded to an integer, in closed form."""
    h = 1 / (2 * mpmath.mpf(s))
    f = mpmath.mpf(f)
    curved = mpmath.cosh(2 * h * f) * mpmath.cosh(h) / (2 * mpmath.sinh(h) ** 2)
    return curved - f * mpmath.sinh(2 * h * f) / mpmath.sinh(h) + f**2


def laplace_outside(s, f, n):
    """Probability that the rounded law around f lies more than n >= 1 steps away."""
    s, f = mpmath.mpf(s), mpmath.mpf(f)
    low = -n + 1 if f > 0 else -n  # the least integer within
    return (mpmath.exp(-(n + mpmath.mpf(1) / 2 - f) / s) + mpmath.exp((low - mpmath.mpf(1) / 2 - f) / s)) / 2


@pytest.mark.parametrize("s", [0.5, 1.0, 3.0])
@CENTERS
def test_the_rounded_laplace_law_in_closed_form(s, fraction):
    """The closed forms against the sum over the law itself, at scales where it is short."""
    with mpmath.workdps(40):

        def below(x):
            away = mpmath.exp(-abs(x) / mpmath.mpf(s)) / 2
            return away if x < 0 else 1 - away

        f, half = mpmath.mpf(fraction), mpmath.mpf(1) / 2
        mass = {k: below(k + half - f) - below(k - half - f) for k in range(-300, 301)}
        total = sum(p * (k - f) ** 2 for k, p in mass.items())
        assert abs(total - laplace_mean_square(s, fraction)) < mpmath.mpf(10) ** -30
        for n in (1, 2, 5):
            outside = 1 - sum(p for k, p in mass.items() if abs(k - f) <= n)
            assert abs(outside - laplace_outside(s, fraction, n)) < mpmath.mpf(10) ** -30


@example(1500.0, 0)
@given(NOISE, st.integers(-40, 40))
def test_laplace_variance_at_every_center(scale, power):
    held = mpmath.mpf(laplace_variance(math.ldexp(scale, power))) / mpmath.mpf(4) ** power
    with mpmath.workdps(50):
        for fraction in FRACTIONS:
            exact = laplace_mean_square(scale, fraction)
            assert exact <= held <= exact * (1 + mpmath.mpf(10) ** -14)


@given(NOISE, LEVELS, st.integers(-40, 40))
def test_laplace_intervals_hold_at_every_center(scale, level, power):
    held = laplace_half_width(math.ldexp(scale, power), level) / 2.0**power
    n = int(held)
    assert n == held >= 1
    with mpmath.workdps(50):
        for fraction in [*FRACTIONS, 2.0**-60]:
            assert laplace_outside(scale, fraction, n) <= 1 - mpmath.mpf(level)
        least = (1 - mpmath.mpf(level)) * (1 - mpmath.mpf(2) ** -39)
        assert n == 1 or laplace_outside(scale, 2.0**-60, n - 1) > least, "one step less does not hold"


def gaussian_law(s, f):
    """Distances from f and masses of the discrete Gaussian around f, to about 1e-13."""
    distances = np.arange(-12 * 2048, 12 * 2048 + 1) - f
    weights = np.exp(-(distances**2) / (2 * s * s))
    return distances, weights / weights.sum()


@given(NOISE, st.sampled_from(FRACTIONS), st.integers(-40, 40))
def test_gaussian_variance_at_every_center(stddev, fraction, power):
    held = Fraction(gaussian_variance(math.ldexp(stddev, power))) / Fraction(4) ** power
    assert Fraction(stddev) ** 2 < held <= Fraction(stddev) ** 2 * (1 + Fraction(1, 2**51))
    distances, masses = gaussian_law(stddev, fraction)
    assert float(masses @ distances**2) == pytest.approx(float(held), rel=1e-12)
    assert abs(masses @ distances) < 1e-9 * stddev, "unbiased at every centre"


@example(1500.0, 0.95, 0)
@given(NOISE, LEVELS, st.integers(-40, 40))
def test_gaussian_intervals_hold_at_every_center(stddev, level, power):
    n = gaussian_half_width(math.ldexp(stddev, power), level) / 2.0**power
    assert n == int(n) >= 1
    for fraction in FRACTIONS:
        distances, masses = gaussian_law(stddev, fraction)
        # a mass of 1e-16 is beyond these sums; the bound of the module's text is not
        assert masses[np.abs(distances) > n].sum() <= (1 - level) * (1 + 1e-12)
    assert n <= stddev * stats.norm.isf((1 - level) / 2) * (1 + 1e-11) + 2


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_releases_are_within_the_interval_as_often_as_said(level, fraction):
    """The law of the count is between two binomials; each tail has probability 1e-10."""
    size = 100_000
    for mechanism, norm in ((GaussianMechanism(1.0), "l2"), (LaplaceMechanism(1.0), "l1")):
        value = np.full(size, 1.0 + fraction / 1024)
        query = Bounded(value, 1.0, norm)
        width = mechanism.interval(query, level=level)
        inside = int((np.abs(mechanism.release(query, entropy=seeded(5)).value - value) <= width).sum())
        surplus = 3 * lattice_step(1.0)  # three steps of a density that is at most 1/2, on both sides
        assert stats.binom.ppf(1e-10, size, level) <= inside <= stats.binom.isf(1e-10, size, level + surplus)


def test_the_mean_square_of_releases_is_the_variance():
    """7 standard errors of a mean of 100 000 squares: 3e-12 for a normal mean, and no one square reaches that far:

    that would take 99 scales of Laplace noise.
    """
    size = 100_000
    for mechanism, norm, kurtosis in ((GaussianMechanism(2.0), "l2", 3.0), (LaplaceMechanism(2.0), "l1", 6.0)):
        query = Bounded(np.full(size, 0.7), 0.5, norm)
        noise = mechanism.release(query, entropy=seeded(6)).value - 0.7
        error = math.sqrt((kurtosis - 1) / size)
        assert abs(float((noise**2).mean()) / mechanism.variance(query) - 1) < 7 * error


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.5, math.nan, True, "0.95", None])
def test_bad_levels(level):
    for mechanism, norm in ((GaussianMechanism(1.0), "l2"), (LaplaceMechanism(1.0), "l1")):
        with pytest.raises(ParameterError, match="level must be"):
            mechanism.interval(Bounded(0.0, 1.0, norm), level=level)
