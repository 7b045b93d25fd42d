"""Convolution powers against enumeration: every mass within its error, what is missing within what is called lost."""

import math

import mpmath as mp
import numpy as np
import pytest

from accountants._convolve import LOG_SCALE, Law, binomial, convolve, masses, power
from tests.oracles import curves as oracle

SCALE = mp.mpf(2) ** 500


def _check(law, exact):
    """Every entry to its relative error, the missing mass to ``lost``."""
    with mp.workdps(60):
        missing = mp.fsum(
            p for k, p in exact.items() if not 0 <= k - law.first < len(law.mass) or not law.mass[k - law.first]
        )
        assert missing * SCALE <= law.lost
        for k, value in enumerate(law.mass):
            if value:
                assert abs(mp.mpf(float(value)) / (SCALE * exact[law.first + k]) - 1) <= law.error


@pytest.mark.parametrize("times", [1, 2, 3, 7, 12])
def test_powers_are_the_enumerated_law(times):
    log_p = np.array([-0.3, -2.0, -40.0, -1.5])
    law = power(masses(log_p, np.array([0.0, 2.0, 3.0, 7.0])), times)
    exact = {k: mp.exp(mp.mpf(float(p))) for p, k in zip(log_p, (0, 2, 3, 7), strict=True)}
    _check(law, oracle.compose(exact, times))


def test_faint_atoms_survive_and_fainter_ones_are_counted_as_lost():
    law = power(masses(np.array([0.0, -600.0, -800.0]), np.array([0.0, 1.0, 2.0])), 2)
    with mp.workdps(60):
        exact = oracle.compose({0: mp.mpf(1), 1: mp.exp(-600), 2: mp.exp(-800)}, 2)
    assert law.mass[1] > 0.0
    _check(law, exact)


def test_what_is_too_long_is_refused():
    wide = masses(np.full(1 << 14, -14.0 * math.log(2.0)), np.arange(float(1 << 14)))
    assert convolve(wide, wide) is None
    assert power(wide, 3) is None
    assert binomial(10**15, math.log(0.5), math.log(0.5), 1) is None


def test_trimmed_ends_are_counted():
    law = power(masses(np.array([-30.0, math.log1p(-math.exp(-30.0))]), np.array([0.0, 1.0])), 1000)
    assert len(law.mass) < 1001
    assert -780.0 < math.log(law.lost) - LOG_SCALE < -710.0


@pytest.mark.parametrize(("times", "log_odds", "stride"), [(1, 0.0, 1), (40, 0.5, 1), (300, 3.0, 1), (25, -9.0, 3)])
def test_binomials_are_binomial(times, log_odds, stride):
    log_p, log_rest = -math.log1p(math.exp(-log_odds)), -math.log1p(math.exp(log_odds))
    with mp.workdps(60):
        p = 1 / (1 + mp.exp(-mp.mpf(log_odds)))
        exact = {j * stride: mp.binomial(times, j) * p**j * (1 - p) ** (times - j) for j in range(times + 1)}
    _check(binomial(times, log_p, log_rest, stride), exact)


def test_an_outcome_that_is_all_but_certain():
    law = binomial(1000, -1e-320, -735.0, 2)
    assert (law.first, len(law.mass)) == (2000, 1)
    assert 0.0 <= math.log(law.lost) - LOG_SCALE - (math.log(1000) - 735.0) < 0.1
    assert binomial(1000, -2000.0, 0.0, 2).first == 0


def test_one_entry_is_a_shift():
    one = masses(np.array([0.0]), np.array([0.0]))
    law = convolve(Law(5, one.mass, 0.0, 0.0), masses(np.log([0.25, 0.75]), np.array([0.0, 1.0])))
    assert law.first == 5
    assert law.mass * math.exp(-LOG_SCALE) == pytest.approx([0.25, 0.75], rel=1e-12)
