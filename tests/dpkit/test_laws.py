"""Laws of integer noise: every probability, spread and tail against 40 digits."""

import math
from fractions import Fraction
from functools import lru_cache

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit._laws import GaussianLaw, LaplaceLaw, SkellamLaw, half_width, nearest
from dpkit.entropy import seeded
from dpkit.samplers import centred_discrete_gaussian, discrete_laplace, skellam

STDDEVS = [2.0**-10, 0.1, 0.3, math.nextafter(0.5, 0), 0.5, 0.7, 1.0, 2.0, 37.5, 2.0**20, 2.0**40]
SCALES = [2.0**-10, 0.1, 1.0, 7.3, 1e5, 2.0**40]
VARIANCES = [2.0**-20, 1e-3, 0.3, 5.3, 20.0, math.nextafter(64, 0), 64.0, 100.0, 333.3, 1e5, 1e9, 2.0**40]


def _gaussian(k, fraction, stddev):
    """P[K = k] around a fraction of a centre, in closed form by Jacobi's theta function, or summed."""
    with mp.workdps(40):
        f, s = mp.mpf(fraction), mp.mpf(stddev)
        weight = mp.exp((f * f - (k - f) ** 2) / (2 * s * s))
        if stddev < 2:
            total = mp.fsum(mp.exp((f * f - (j - f) ** 2) / (2 * s * s)) for j in range(-40, 41))
        else:
            total = s * mp.sqrt(2 * mp.pi) * mp.exp(f * f / (2 * s * s))
            total *= mp.jtheta(3, mp.pi * f, mp.exp(-2 * mp.pi**2 * s * s))
        return weight / total


def _laplace(k, scale):
    with mp.workdps(40):
        return mp.tanh(1 / (2 * mp.mpf(scale))) * mp.exp(-abs(mp.mpf(k)) / mp.mpf(scale))


@lru_cache
def _skellam_row(variance):
    """exp(-v) I_k(v) for k = 0, 1, ...: ratios I_k / I_(k-1) by continued fraction, and the sum over all k is 1."""
    with mp.workdps(40):
        v, ratio, ratios = mp.mpf(variance), mp.mpf(0), []
        for k in range(math.ceil(60 * math.sqrt(variance)) + 300, 0, -1):
            ratio = 1 / (2 * k / v + ratio)
            ratios.append(ratio)
        row = [mp.mpf(1)]
        for ratio in reversed(ratios):
            row.append(row[-1] * ratio)
        total = row[0] + 2 * mp.fsum(row[1:])
        return [mass / total for mass in row]


def _skellam(k, variance):
    """exp(-v) I_k(v); where v is large, the trapezoidal rule on the line through the saddle, good to 40 digits."""
    k = abs(k)
    if variance < 400:
        return _skellam_row(variance)[k]
    with mp.workdps(40):
        v = mp.mpf(variance)
        saddle = mp.asinh(k / v)
        step = 1 / (8 * mp.sqrt(mp.hypot(k, v)))
        points = (saddle + mp.mpc(0, i * step) for i in range(-110, 111))
        around = mp.fsum(mp.re(mp.exp(v * (mp.cosh(z) - mp.cosh(saddle)) - k * (z - saddle))) for z in points)
        return mp.exp(v * (mp.cosh(saddle) - 1) - k * saddle) * around * step / (2 * mp.pi)


def _distances(spread):
    return sorted({0, 1, 2, 3, 10, 63, 64, 65, *(int(spread * x) for x in (0.5, 1, 3, 8, 20, 36))})


def _check(law, distance_law, centers=(0.0,)):
    """Relative 1e-12 wherever the truth is above 1e-300; both sides."""
    checked = 0
    for center in centers:
        middle = int(np.rint(center))
        for distance in _distances(law.spread):
            for k in (middle + distance, middle - distance):
                truth = distance_law(k - middle, Fraction(center) - middle)
                if truth > mp.mpf("1e-300"):
                    got = float(law.pmf(np.array([float(k)]), np.array([center]))[0])
                    assert abs(got / truth - 1) <= 1e-12, (law, k, center)
                    checked += 1
    assert checked >= len(centers)


@pytest.mark.parametrize("stddev", STDDEVS)
def test_gaussian_pmf(stddev):
    centers = (0.0, 0.5, -0.5, 0.25, 7.125, -3.4375, 1000.0 + 2.0**-20)
    _check(GaussianLaw(stddev), lambda k, f: _gaussian(k, mp.mpf(f.numerator) / f.denominator, stddev), centers)


@pytest.mark.parametrize("scale", SCALES)
def test_laplace_pmf(scale):
    _check(LaplaceLaw(scale), lambda k, _: _laplace(k, scale), (0.0, -5.0))


@pytest.mark.parametrize("variance", VARIANCES)
def test_skellam_pmf(variance):
    _check(SkellamLaw(variance), lambda k, _: _skellam(k, variance), (0.0, 9.0))


def test_the_oracles_of_skellam_are_bessel():
    for k, v in ((0, 400.0), (7, 400.0), (300, 400.0), (5, 3.0), (90, 3.0)):
        with mp.workdps(40):
            assert abs(_skellam(k, v) / (mp.exp(-v) * mp.besseli(k, v)) - 1) < mp.mpf("1e-30")


@given(st.floats(0.05, 30), st.floats(-100, 100))
def test_probabilities_add_up(parameter, center):
    """All probabilities add up to 1, and those of two opposite centres are mirrored."""
    middle = math.floor(center)
    outputs = np.arange(middle - 1800.0, middle + 1801.0)
    for law in (GaussianLaw(parameter), LaplaceLaw(parameter), SkellamLaw(parameter * parameter)):
        pmf = law.pmf(outputs, np.array(center))
        assert math.fsum(pmf) == pytest.approx(1.0, abs=1e-12)
        if law.rounds and (2 * center).is_integer() and not center.is_integer():
            continue  # halves are rounded upward on both sides
        assert law.pmf(-outputs, np.array(-center)) == pytest.approx(pmf, rel=1e-11, abs=1e-300)


# the tables of discrete noise with sensitivity 1 in the literature review: sigma^2 -> variance, P[0]
PUBLISHED = {
    0.25: (0.2150126750881385, 0.7865707070419479),
    1.0: (0.9999997887677281, 0.3989422782668617),
    4.0: (4.0, 0.1994711402007163),
    10.0: (10.0, 0.126156626101008),
    100.0: (100.0, 0.03989422804014327),
}


@pytest.mark.parametrize("square", PUBLISHED)
def test_published_discrete_gaussians(square):
    variance, zero = PUBLISHED[square]
    law = GaussianLaw(math.sqrt(square))
    assert law.variance(0.0) == pytest.approx(variance, rel=2e-15)
    assert float(law.pmf(np.array(0.0), np.array(0.0))) == pytest.approx(zero, rel=2e-15)
    lower = 1 / math.expm1(1 / square)  # Canonne, Kamath & Steinke 2020, Corollary 24
    assert lower <= law.variance(0.0) <= math.nextafter(square, 2 * square)


def test_published_discrete_laplaces():
    assert LaplaceLaw(1.0).variance() == pytest.approx(1.841347188415585, rel=2e-15)
    assert LaplaceLaw(2.0).variance() == pytest.approx(7.835396178065528, rel=2e-15)
    assert float(LaplaceLaw(1.0).pmf(np.array(0.0), np.array(0.0))) == math.tanh(0.5)


@pytest.mark.parametrize("stddev", [0.05, 0.3, math.nextafter(0.5, 0), 0.5, 0.7, 1.0, 3.0])
def test_gaussian_variance_and_its_worst_centre(stddev):
    """To 1e-13 of the sum; largest at 1/2, smallest at 0."""

    def summed(fraction):
        with mp.workdps(120):
            f, s = mp.mpf(fraction), mp.mpf(stddev)
            weights = [(j - f, mp.exp(-((j - f) ** 2) / (2 * s * s))) for j in range(-90, 91)]
            return mp.fsum(d * d * w for d, w in weights) / mp.fsum(w for _, w in weights)

    law = GaussianLaw(stddev)
    for fraction in (0.0, 0.125, 0.25, 0.4375, 0.5):
        assert abs(law.variance(fraction) / summed(fraction) - 1) < 1e-13
        with mp.workdps(120):
            assert summed(0) <= summed(fraction) <= summed(0.5)


@pytest.mark.parametrize("parameter", SCALES)
def test_laplace_variance(parameter):
    with mp.workdps(40):
        q = mp.exp(-1 / mp.mpf(parameter))
        truth = 2 * q / (1 - q) ** 2
    got = LaplaceLaw(parameter).variance()
    assert abs(got - truth) <= 1e-13 * truth or (truth < 1e-300 and got < 1e-300)


def test_skellam_variance_is_its_parameter():
    k = np.arange(-400.0, 401.0)
    for variance in (0.1, 9.0, 250.0):
        assert math.fsum(k * k * SkellamLaw(variance).pmf(k, np.zeros(801))) == pytest.approx(variance, rel=1e-12)
        assert SkellamLaw(variance).variance() == variance


LAWS = [
    *(GaussianLaw(s) for s in (2.0**-10, 0.3, 0.5, 1.0, 6.7)),
    *(LaplaceLaw(s) for s in (2.0**-10, 0.4, 3.0, 15.0)),
    *(SkellamLaw(v) for v in (2.0**-20, 0.4, 3.0, 100.0)),
]
LEVELS = [1e-9, 0.3, 0.5, 0.95, 1 - 1e-9, 1 - 2.0**-53]


def _truth(law):
    """P[|noise| <= m] at a whole centre for m = 0, 1, ..., 40 digits."""
    one = {GaussianLaw: lambda k: _gaussian(k, 0, law.spread), LaplaceLaw: lambda k: _laplace(k, law.spread)}
    pmf = one.get(type(law), lambda k: _skellam(k, law.variance()))
    with mp.workdps(40):
        masses = [pmf(k) for k in range(min(800, math.ceil(45 * law.spread) + 8))]
        return [masses[0] + 2 * mp.fsum(masses[1 : m + 1]) for m in range(len(masses))]


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_half_widths_hold_their_level_and_no_smaller_ones_do(law):
    covered = _truth(law)
    for level in LEVELS:
        m = half_width(law, level, real=False)
        assert covered[m] >= mp.mpf(level)
        # what is below the level by less than the room for rounding may be passed over
        assert m == 0 or covered[m - 1] < mp.mpf(level) + (1 - mp.mpf(level)) * mp.mpf("1e-10")


@pytest.mark.parametrize("stddev", [2.0**-10, 0.3, 0.5, 1.0, 6.7])
def test_half_widths_hold_around_every_real_centre(stddev):
    law = GaussianLaw(stddev)
    for level in LEVELS:
        m = half_width(law, level, real=True)
        assert half_width(law, level, real=False) <= m <= half_width(law, level, real=False) + 1
        for fraction in (0.0, 2.0**-30, 0.125, 0.375, 0.5 - 2.0**-30, 0.5):
            with mp.workdps(40):
                inside = [k for k in range(-m - 1, m + 2) if abs(k - fraction) <= m]
                assert mp.fsum(_gaussian(k, fraction, stddev) for k in inside) >= mp.mpf(level)


@given(st.floats(13, 40), st.floats(0.01, 0.999999))
def test_half_widths_of_wide_laws(power, level):
    """Within a thousandth of the closed forms of the Laplace law and of the real Gaussian, from above."""
    spread = 2.0**power
    q = -math.expm1(-1 / spread)
    exact = math.ceil(spread * (math.log(2 / (2 - q)) - math.log1p(-level)) * (1 - 1e-12) - 1)
    assert exact <= half_width(LaplaceLaw(spread), level, real=False) <= exact + spread / 2048 + 1
    with mp.workdps(30):
        normal = float(mp.sqrt(2) * mp.erfinv(level)) * spread
    for real in (False, True):
        assert normal - 1 <= half_width(GaussianLaw(spread), level, real=real) <= normal + spread / 1024 + 2
    if spread <= 2.0**20:  # near a Gaussian, by a relative 1/spread^2
        assert normal - 1 <= half_width(SkellamLaw(spread**2), level, real=False) <= normal + spread / 1024 + 2


def _log_tail(law):
    """log P[|noise| > reach], from above: the first term beyond and a geometric series."""
    k = math.floor(law.reach) + 1
    pmf = _laplace if isinstance(law, LaplaceLaw) else _skellam
    parameter = law.spread if isinstance(law, LaplaceLaw) else law.variance()
    with mp.workdps(40):
        first, second = pmf(k, parameter), pmf(k + 1, parameter)
        return mp.log(2 * first / (1 - second / first), 10)


@pytest.mark.parametrize("law", [*(SkellamLaw(v) for v in VARIANCES), *(LaplaceLaw(s) for s in SCALES)], ids=repr)
def test_nothing_is_out_of_reach(law):
    """P[|noise| > reach] < 1e-346, and the reach is not twice as far as need be."""
    assert _log_tail(law) < -346
    if law.spread > 0.1:
        assert law.reach < 2 * 40 * law.spread + 800 * max(1.0, isinstance(law, LaplaceLaw) * law.spread)


@pytest.mark.parametrize("stddev", [2.0**-10, 2.0**-5, 0.3, 1.0, 3.0, 500.0])
def test_the_reach_of_a_gaussian(stddev):
    """Around every centre, the least noise included, where what is drawn is the rounding."""
    law = GaussianLaw(stddev)
    assert 40 * stddev < law.reach < 41 * stddev + 2
    for fraction in (0.0, 0.25, 0.5):
        first = math.floor(law.reach + fraction) + 1
        with mp.workdps(40):
            low, next_one = _gaussian(first, fraction, stddev), _gaussian(first + 1, fraction, stddev)
            assert 2 * low / (1 - next_one / low) < mp.mpf("1e-346")


@given(st.floats(-(2.0**52), 2.0**52), st.integers(-1000, 1000))
def test_nearest_is_the_floor_of_x_plus_half_exactly(x, shift):
    for number in (x, math.fmod(x, 4), math.nextafter(shift + 0.5, 0), shift + 0.5, math.nextafter(shift - 0.5, shift)):
        assert nearest(np.array([number]))[0] == math.floor(Fraction(number) + Fraction(1, 2))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.integers(0, 2**64))
def test_draws_are_the_samplers_around_the_nearest_integer(values, seed):
    centers = np.array(values)
    whole = np.floor(centers + 0.5).astype(np.int64)  # exact for these: |x| < 2**51
    keep = np.abs(centers - np.floor(centers) - 0.5) > 1e-9
    drawn = LaplaceLaw(3.0).draw(centers, seeded(seed)) - discrete_laplace(len(values), 3.0, seeded(seed))
    assert (drawn[keep] == whole[keep]).all()
    drawn = SkellamLaw(9.0).draw(centers, seeded(seed)) - skellam(len(values), 9.0, seeded(seed))
    assert (drawn[keep] == whole[keep]).all()
    drawn = GaussianLaw(3.0).draw(centers, seeded(seed))
    assert (drawn == centred_discrete_gaussian(centers, 3.0, seeded(seed))).all()
