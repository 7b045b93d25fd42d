"""Weights of one side as certain integers and as float64 logarithms, against closed forms with many digits."""

from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest

from dpkit._ladder import MARGIN, Empty, Ladder, Law

CASES = {
    "gaussian, s=1": Ladder(Fraction(0), Fraction(1, 2), Fraction(1)),
    "gaussian, s=1500, from 1": Ladder(Fraction(1, 4500000), Fraction(3, 4500000), Fraction(1, 2250000)),
    "blocks of 4, s=7": Ladder(Fraction(0), Fraction(12, 98), Fraction(16, 49)),
    "geometric": Ladder(Fraction(1, 3), Fraction(1, 3), Fraction(0)),
    "digit": Ladder(Fraction(0), Fraction(1, 9), Fraction(0), limit=16),
    "all in the first": Ladder(Fraction(0), Fraction(500000), Fraction(10**6)),
    "nothing at all": Ladder(Fraction(500000), Fraction(10**6), Fraction(10**6)),
}


def exponent(ladder, k):
    return ladder.start + k * ladder.first + Fraction(k * (k - 1), 2) * ladder.step


def weight(ladder, k):
    e = exponent(ladder, k)
    return mp.exp(-mp.mpf(e.numerator) / e.denominator)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("bits", "depth"), [(64, 10), (200, 60)])
def test_integers_enclose_the_weights(name, bits, depth):
    ladder = CASES[name]
    found, error, rest = ladder.integers(bits, depth)
    with mp.workprec(2 * bits + 100):
        unit = mp.mpf(2) ** bits
        for k in {*range(min(6, len(found))), *range(max(0, len(found) - 3), len(found))}:
            assert found[k] <= weight(ladder, k) * unit <= found[k] + error
        last = ladder.limit or len(found) + 40_000
        beyond = mp.fsum(weight(ladder, k) for k in range(len(found), last, max(1, (last - len(found)) // 3000)))
        assert beyond * unit <= rest, "even a part of what is left out is below the bound"
        if ladder.limit is None:
            after = weight(ladder, len(found)) * unit
            ratio = weight(ladder, len(found) + 1) * unit / after if after else 0
            assert rest <= (after + 4 * error) / (1 - ratio) * (1 + mp.mpf(2) ** -10) + 4 * error


@pytest.mark.parametrize("name", CASES)
def test_logs_are_within_the_stated_error(name):
    ladder = CASES[name]
    logs, rest = ladder.logs(46)
    with mp.workdps(40):
        for k in np.unique(np.linspace(0, max(0, logs.size - 1), 50).astype(int)[: logs.size]):
            e = exponent(ladder, int(k))
            assert abs(mp.mpf(float(logs[k])) + mp.mpf(e.numerator) / e.denominator) < MARGIN / 2**8
        if ladder.limit is None:
            after, following = weight(ladder, logs.size), weight(ladder, logs.size + 1)
            beyond = mp.fsum(weight(ladder, logs.size + k) for k in range(20_000))
            assert beyond <= rest + mp.mpf(2) ** -1000, "an underflow aside, which the margin of the sum covers"
            assert rest <= after / (1 - following / after) * (1 + 2 * mp.mpf(MARGIN)), "a geometric series and no more"
            assert weight(ladder, logs.size) < mp.mpf(2) ** -46, "nothing large is left to the rest"
        else:
            assert (logs.size, rest) == (ladder.limit, 0.0)


def test_a_law_lists_its_sides_upwards_and_bounds_their_sum():
    law = Law(CASES["gaussian, s=1"], Ladder(Fraction(1, 2), Fraction(3, 2), Fraction(1)))
    first, weights, above = law.floats(46)
    k = np.arange(first, first + weights.size)
    np.testing.assert_allclose(weights, np.exp(-0.5 * k**2), rtol=1e-12)
    assert first < -5
    with mp.workdps(30):
        total = mp.fsum(mp.exp(-(mp.mpf(j) ** 2) / 2) for j in range(-60, 61))
        assert total <= above <= total * (1 + 2 * mp.mpf(MARGIN))


def test_an_empty_side_is_empty():
    assert Empty().integers(64, 10) == ([], 0, 0)
    assert Empty().logs(46)[0].size == 0
    assert Law(CASES["digit"], Empty()).floats(46)[0] == 0


@pytest.mark.parametrize("depth", [3, 8])
def test_the_sum_of_a_law_counts_what_both_sides_leave_out(depth):
    for up, down in ((0, 5), (5, 0)):
        sides = [Ladder(Fraction(start), Fraction(1, 40), Fraction(0)) for start in (up, down)]
        with mp.workdps(30):
            total = mp.fsum(weight(side, k) for side in sides for k in range(8000))
            assert total <= Law(*sides).floats(depth)[2] <= total * (1 + 2 * mp.mpf(MARGIN))
