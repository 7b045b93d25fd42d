"""Draws at full size against exact laws: binomial tails on intervals of the law, alpha 1e-9 a test."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import special, stats

from dpkit.entropy import seeded
from dpkit.samplers import (
    centred_discrete_gaussian,
    discrete_gaussian,
    discrete_laplace,
    lattice_gaussian,
    lattice_laplace,
    lattice_step,
    skellam,
)
from tests.oracles.noise import (
    ScalarOracle,
    gaussian_cdf,
    laplace_cdf,
    smallest_p_value,
    smallest_p_value_of_two,
)

pytestmark = pytest.mark.statistical
ALPHA = 1e-9
COUNT = 200_000
FRACTIONS = [0.0, 0.25, -0.5, 0.3]


@pytest.mark.parametrize("center", FRACTIONS)
@pytest.mark.parametrize("stddev", [0.5, 4.0, 100.0, 1500.0, 5000.0])
def test_gaussian_law(stddev, center):
    draws = centred_discrete_gaussian(np.full(COUNT, center), stddev, seeded(int(1000 * stddev)).child(str(center)))
    low, high = int(-12 * stddev) - 3, int(12 * stddev) + 3
    cdf = gaussian_cdf(center, stddev, low, high)
    assert smallest_p_value(draws, cdf, low) > ALPHA
    if stddev < 1000:
        wrong = gaussian_cdf(center, stddev * 1.05, low, high)
        assert smallest_p_value(draws, wrong, low) < ALPHA, "five percent more noise would be seen"


@pytest.mark.parametrize("center", [0.0, 1 / 3, -7.25])
def test_lattice_gaussian_law(center):
    step = lattice_step(1.5)
    draws = lattice_gaussian(np.full(COUNT, center), 1.5, seeded(11).child(str(center))) / step
    s, c = 1.5 / step, center / step
    low = int(c - 12 * s)
    cdf = gaussian_cdf(c, s, low, low + int(24 * s))
    assert smallest_p_value(draws.astype(np.int64), cdf, low) > ALPHA
    assert smallest_p_value(draws.astype(np.int64), gaussian_cdf(c + s / 10, s, low, low + int(24 * s)), low) < ALPHA


@pytest.mark.parametrize("center", FRACTIONS)
@pytest.mark.parametrize("scale", [1.0, 1.9])
def test_laplace_law(scale, center):
    step = lattice_step(scale)
    # a fraction of a lattice step beside a whole number of them
    draws = lattice_laplace(np.full(COUNT, (center + 3) * step), scale, seeded(int(10 * scale)).child(str(center)))
    draws = (draws / step).astype(np.int64)
    low = int(-40 * scale / step)
    cdf = laplace_cdf(center + 3, scale / step, low, -low)
    assert smallest_p_value(draws, cdf, low) > ALPHA
    assert smallest_p_value(draws, laplace_cdf(center + 3, scale / step * 1.05, low, -low), low) < ALPHA


@pytest.mark.parametrize("center", FRACTIONS)
@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_laplace_law_on_a_coarse_lattice(scale, center):
    """The fraction's Bernoulli decides most of the law here; the public sampler's lattice is finer."""
    from dpkit._laplace import rounded_laplace

    sampler, source = rounded_laplace(scale), seeded(7).child(f"{scale} {center}")
    draws = np.rint(center).astype(int) + sampler.offsets(np.full(COUNT, center - np.rint(center)), source)
    cdf = laplace_cdf(center, scale, -60, 60)
    assert smallest_p_value(draws, cdf, -60) > ALPHA
    # a shift of 0.2 changes most cells by a tenth at least: above ten standard deviations of their counts
    assert smallest_p_value(draws, laplace_cdf(center + 0.2, scale, -60, 60), -60) < ALPHA


@pytest.mark.parametrize("low_bits", [1, 4, 6])
def test_low_bits_of_wide_noise_are_uniform(low_bits):
    """At s = 1500 and at block widths of 4 the residues modulo 2**b are uniform to 1e-30: a binomial for each."""
    for stddev in (1500.0, 5000.0):
        draws = centred_discrete_gaussian(np.full(COUNT, 0.3), stddev, seeded(low_bits).child(str(stddev)))
        size = 1 << low_bits
        cdf = np.arange(1, size + 1) / size
        assert smallest_p_value(draws % size, cdf, 0, cells=size) > ALPHA


@pytest.mark.parametrize("stddev", [0.3, 4.0, 100.0, 10_000.0, 2.0**15])
def test_integer_gaussian_law(stddev):
    """Up to 2**14 by one table, above by blocks."""
    draws = discrete_gaussian(COUNT, stddev, seeded(3).child(str(stddev)))
    low = int(-12 * stddev) - 3
    assert smallest_p_value(draws, gaussian_cdf(0.0, stddev, low, -low), low) > ALPHA
    if stddev > 1:
        assert smallest_p_value(draws, gaussian_cdf(0.0, stddev * 1.05, low, -low), low) < ALPHA


@pytest.mark.parametrize("scale", [0.3, 1.0, 100.0, 1023.5, 1025.0, 50_000.0])
def test_discrete_laplace_law(scale):
    draws = discrete_laplace(COUNT, scale, seeded(4).child(str(scale)))
    low = int(-45 * scale) - 3
    k = np.arange(low, -low + 1)
    for factor, fits in ((1.0, True), (1.05, False)):
        q = np.exp(-1.0 / (scale * factor))
        cdf = np.cumsum((1 - q) / (1 + q) * np.exp(-np.abs(k) / (scale * factor)))
        assert bool(smallest_p_value(draws, cdf, low) > ALPHA) == fits


@pytest.mark.parametrize("variance", [0.1, 1.0, 30.0, 1e4, 1e7])
def test_skellam_law(variance):
    """The law by the exponentially scaled Bessel function; 1e7 is beyond one table of Poisson numbers' half."""
    draws = skellam(COUNT, variance, seeded(5).child(str(variance)))
    low = int(-12 * variance**0.5) - 40
    k = np.abs(np.arange(low, -low + 1))
    for factor, fits in ((1.0, True), (1.1, False)):
        cdf = np.cumsum(special.ive(k, variance * factor))
        assert cdf[-1] == pytest.approx(1.0, abs=1e-10)
        assert bool(smallest_p_value(draws, cdf, low) > ALPHA) == fits


@pytest.mark.parametrize("rate", [2.0**25, 2.0**32 + 0.5, 2.0**39])
def test_poisson_law_of_large_rates(rate):
    from dpkit._poisson import poisson_sampler

    draws = poisson_sampler(rate).values(COUNT, seeded(6).child(str(rate))) + int(rate)
    for factor, fits in ((1.0, True), (1.0 + 0.1 / rate**0.5, False)):
        law = stats.poisson(rate * factor)
        edges = np.unique(law.ppf(np.linspace(0, 1, 65)[1:-1]))
        cells = np.diff(np.concatenate([[0.0], law.cdf(edges), [1.0]]))
        counts = np.bincount(np.searchsorted(edges, draws), minlength=len(edges) + 1)
        tails = [
            min(stats.binom.cdf(n, COUNT, p), stats.binom.sf(n - 1, COUNT, p))
            for n, p in zip(counts, cells, strict=True)
        ]
        assert bool(2 * len(tails) * min(tails) > ALPHA) == fits


@pytest.mark.parametrize(
    ("name", "sampler", "oracle", "wrong"),
    [
        ("gaussian", lambda n, e: discrete_gaussian(n, 3.5, e), lambda o: o.gaussian(Fraction(49, 4)), 4.2),
        ("laplace", lambda n, e: discrete_laplace(n, 2.5, e), lambda o: o.laplace(Fraction(5, 2)), 4.2),
        ("skellam", lambda n, e: skellam(n, 9.0, e), lambda o: o.skellam(9.0), 4.2),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_samplers_agree_with_a_scalar_oracle(name, sampler, oracle, wrong):
    scalar = ScalarOracle(name)
    slow = np.array([oracle(scalar) for _ in range(4000)])
    assert smallest_p_value_of_two(slow, sampler(COUNT, seeded(9).child(name))) > ALPHA
    assert smallest_p_value_of_two(slow, discrete_gaussian(COUNT, wrong, seeded(9))) < ALPHA, (
        "another law would be seen"
    )


@pytest.mark.parametrize(("scale", "bits"), [(2.0**40, 31), (2.0**40, 12), (5e6, 12)])
def test_wide_discrete_laplace_and_its_low_digits(scale, bits):
    """At the largest scale: the standardised law by its real limit, and residues modulo 2**b, geometric."""
    draws = discrete_laplace(COUNT, scale, seeded(8).child(f"{scale} {bits}"))
    fractions = (draws & (1 << bits) - 1) / (1 << bits)
    cells = np.minimum((fractions * 16).astype(int), 15)
    q = np.exp(-1.0 / scale * (1 << bits) / 16)
    # within a residue class the law is geometric on both sides: q^i on one, mirrored on the other
    weights = q ** np.arange(16)
    cdf = np.cumsum((weights + weights[::-1]) / (2 * weights.sum()))
    assert smallest_p_value(cells, cdf, 0, cells=16) > ALPHA
    real = np.clip(np.rint(draws / scale * 64), -3000, 3000).astype(int)
    assert smallest_p_value(real, laplace_cdf(0.0, 64.0, -3000, 3000), -3000) > ALPHA
    assert smallest_p_value(real, laplace_cdf(0.0, 68.0, -3000, 3000), -3000) < ALPHA


@pytest.mark.parametrize("stddev", [2.0**20, 2.0**40])
def test_wide_gaussian_law(stddev):
    """Against the real Gaussian's law, which the lattice's is to 1e-300 at these scales."""
    draws = centred_discrete_gaussian(np.full(COUNT, 0.3), stddev, seeded(10).child(str(stddev)))
    real = np.rint(draws / stddev * 64).astype(int)
    for factor, fits in ((1.0, True), (1.05, False)):
        cdf = special.ndtr((np.arange(-1000, 1001) + 0.5) / 64 / factor)
        assert bool(smallest_p_value(real, cdf, -1000) > ALPHA) == fits
