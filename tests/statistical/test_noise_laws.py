"""Draws at full size against exact laws: binomial tails on intervals of the law, alpha 1e-9 a test."""

import numpy as np
import pytest

from dpkit.entropy import seeded
from dpkit.samplers import centred_discrete_gaussian, draw_around, lattice_gaussian, lattice_laplace, lattice_step
from tests.oracles.noise import gaussian_cdf, laplace_cdf, smallest_p_value

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
    assert smallest_p_value(draws.astype(np.int64), gaussian_cdf(c + s / 20, s, low, low + int(24 * s)), low) < ALPHA


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

    draws = draw_around(np.full(COUNT, center), rounded_laplace(scale), seeded(7).child(f"{scale} {center}"))
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
