"""Tilted sampled Gaussians: characteristic functions and every bound of their modulus, against 40 digits."""

import math

import mpmath as mp
import numpy as np
import pytest

from accountants._points import Law, grid_of, reachable
from accountants._tilt import tilted
from tests.oracles import sampled as oracle

CORNERS = [
    (Law(scale, prob, add), order)
    for scale, prob in ((0.3, 0.1), (0.4, 1e-6), (1.0, 0.01), (1.0, 1.0 - 1e-7), (4.0, 0.9), (20.0, 1e-3))
    for add in (False, True)
    for order in (0.3, 6.0, 40.0)
]
SOME = CORNERS[::3] + CORNERS[1::6]


def _reach(order):
    return max(2.0, 1.3 * order)


def _tilted(law, order, fineness=0):
    return tilted(law, order, _reach(order), fineness)


def _within_strip(part, stretches, most=1e-13):
    """s as multiples of the loss's deviation, as far as quadrature is exact."""
    s = np.asarray(stretches) / math.sqrt(part.variance)
    return s[part.strip(s) < most]


@pytest.mark.parametrize(("law", "order"), CORNERS, ids=str)
def test_characteristic_function_errs_by_less_than_growth(law, order):
    part = _tilted(law, order)
    assert reachable(law, _reach(order), 0)
    s = _within_strip(part, [1e-6, 1e-3, 0.1, 0.8, 2.5])
    assert s.size
    exact = oracle.Tilt(law, order, float(s[-1]))
    assert abs(part.log_moment - exact.log_moment) <= part.log_moment_error
    once, often = part.sampled(s, 1), part.sampled(s, 10**7)
    with mp.workdps(45):
        for index, value in enumerate(s):
            t = mp.mpf(float(value))
            truth = mp.log(exact.at(t)) + 1j * t * (exact.mean - mp.mpf(part.mean))
            for node, times in ((once, 1), (often, 10**7)):
                mine = mp.mpc(float(node.log_modulus[index]), float(node.angle[index]))
                apart = abs(mp.expm1(mine - times * truth))
                assert apart <= mp.expm1(mp.mpf(float(node.growth[index])))
    small = np.exp(once.log_modulus) > 0.1
    assert np.all(once.growth[small] <= 1e-10 * (1.0 + s[small] * part.size))  # and it is not idle


def test_growth_holds_where_the_sum_is_lost_in_rounding():
    # far out the modulus is below EPS: what is reported is then an upper bound and nothing else
    law, order = Law(4.0, 0.5, False), 1.0
    part = _tilted(law, order, 2)
    s = _within_strip(part, [6.0, 8.0, 10.0, 12.0], 1e-18)
    assert s.size
    node = part.sampled(s, 1)
    exact = oracle.Tilt(law, order, float(s[-1]))
    for index, value in enumerate(s):
        truth = float(mp.log(abs(exact.at(mp.mpf(float(value))))))
        assert truth <= node.log_modulus[index] + node.growth[index]


def test_at_zero_the_function_is_one():
    node = _tilted(Law(1.0, 0.1, False), 2.0).sampled(np.array([0.0, 0.1]), 1000)
    assert node.log_modulus[0] == node.angle[0] == 0.0
    assert node.growth[0] < 1e-15


@pytest.mark.parametrize(("law", "order"), SOME, ids=str)
@pytest.mark.parametrize("stretch", [0.5, 3.0, 20.0])
def test_far_and_interval_bounds_are_above_the_modulus(law, order, stretch):
    part = _tilted(law, order)
    deviation = math.sqrt(part.variance)
    rng = np.random.default_rng(5)
    # not so far out that the oracle would need thousands of points
    first = min(stretch / deviation, 1e4 * law.scale**2 / (order + 20.0 * law.scale))
    nodes = first * np.array([1.0, 1.07, 1.3, 1.9])
    inside = [nodes[k] + f * (nodes[k + 1] - nodes[k]) for k in range(3) for f in (0.0, *rng.uniform(0.1, 0.95, 2))]
    exact = oracle.Tilt(law, order, float(inside[-1]), 25)
    truths = np.array([float(mp.log(abs(exact.at(mp.mpf(float(s)))) + mp.mpf(10) ** -24)) for s in inside])
    far = part.log_far(np.array(inside))
    assert np.all(truths <= far + 1e-23)
    assert np.all(far <= 0.0)
    near, both = part._log_near(nodes), part.log_modulus_bound(nodes)
    for index, truth in enumerate(truths):
        assert truth <= near[index // 3]
        assert truth <= both[index // 3]


@pytest.mark.parametrize("law", [Law(1.0, 0.1, False), Law(1.0, 0.1, True), Law(0.5, 0.3, False)], ids=str)
def test_far_bound_falls_with_s_and_is_not_idle(law):
    part = _tilted(law, 4.0)
    ladder = 2.0 ** np.arange(0.0, 60.0) / math.sqrt(part.variance)
    far = part.log_far(ladder)
    assert np.all(np.diff(far) <= 0.0)
    assert far[-1] < -11.0
    # the modulus itself falls like a Gaussian here, so no bound of order 1/s is near it: ask for the order alone
    assert np.all(np.diff(far[20:30]) < -1e-3)


@pytest.mark.parametrize(("law", "order"), SOME, ids=str)
def test_masses_variations_and_slopes_are_bounded(law, order):
    part, fine = _tilted(law, order), grid_of(law, _reach(order), 4)
    weight = np.exp(fine.base + order * fine.loss)
    weight /= weight.sum()  # of mass 1; its sums are good to 1e-4 of themselves at sixteen times the points
    variance = law.scale**2
    ratio = weight / fine.step * variance * (1.0 + (1.0 - law.prob) / law.prob * np.exp(-fine.ratio))
    ratio = np.where(weight > 0.0, ratio, 0.0)
    for claimed, bound in zip(part.mass, part.decay, strict=True):
        # some threshold c has at least this mass and at most this V: the last that has the mass has the least V
        beyond = np.flatnonzero(np.cumsum(weight[::-1])[::-1] >= claimed * (1.0 - 1e-9))
        assert beyond.size
        start = int(beyond[-1])
        assert np.abs(np.diff(ratio[start:])).sum() + ratio[start] <= bound * (1.0 + 1e-6)
    assert np.abs(np.diff(ratio)).sum() + ratio[0] <= part.decay[0] * (1.0 + 1e-6)
    assert part.mass[0] == 1.0
    assert np.abs(np.diff(weight)).sum() / fine.step <= part.variation * (1.0 + 1e-6)
    slope = float(weight @ fine.share) / variance
    assert slope <= part.slope <= 1.01 * slope + 1e-6 / variance


def test_the_modulus_may_rise_between_two_points():
    # two clusters of losses: the modulus has a crest, and an interval around it must know
    part = _tilted(Law(0.25, 0.5, False), 0.05, 4)
    ends = np.array([0.5, 0.75])
    crest = float(part.sampled(np.linspace(0.5, 0.75, 50), 1).log_modulus.max())
    assert crest > float(part.sampled(ends, 1).log_modulus.max()) + 1e-3
    assert part.log_modulus_bound(ends)[0] >= crest


def test_a_tilted_law_may_have_two_modes():
    # small noise: the mass of N(0) and of N(1) stand apart, and twice the largest weight is not the variation
    part = _tilted(Law(0.2, 1e-6, False), 0.25)
    rising = np.diff(part.weight) > 0.0
    maxima = np.count_nonzero(rising[:-1] & ~rising[1:])
    assert maxima == 2
    assert part.variation == pytest.approx(4.0 * float(part.weight.max()) / part.step, rel=0.02)


def test_a_coarse_cell_costs_its_variation():
    # where the strip says nothing, half a step times the variation is still a bound of what a cell errs by
    law, order = Law(20.0, 0.5, True), 3.0
    part = _tilted(law, order)
    s = np.array([900.0, 901.0]) / math.sqrt(part.variance)
    assert part.strip(s)[1] > 1.0
    real, imag = part._parts(s)
    exact = oracle.Tilt(law, order, float(s[1]), 20)
    coarse = 0.5 * part.step * (part.variation + s * part.slope)
    for index, value in enumerate(s):
        t = mp.mpf(float(value))
        truth = exact.at(t) * mp.expj(t * (exact.mean - mp.mpf(part.mean)))
        assert abs(mp.mpc(1.0 + float(real[index]), float(imag[index])) - truth) <= coarse[index]


@pytest.mark.parametrize("fineness", [0, 3])
def test_what_is_dropped_is_counted(fineness):
    law, order = Law(1.0, 0.01, False), 3.0
    part = _tilted(law, order, fineness)
    dropped = 1.0 - math.fsum(part.weight)
    assert part.weight.size < grid_of(law, _reach(order), fineness).base.size
    assert part.missing > 0.0
    assert abs(dropped) <= part.missing + part.weight.size * 2.0**-52
    assert float(part.weight @ part.centred) == pytest.approx(0.0, abs=1e-13)
