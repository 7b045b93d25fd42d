"""The contour integral at one tilt: its identity, what is left out, and its rounding, against many digits."""

import math
from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from accountants._integral import (
    Contour,
    Mixture,
    _cut,
    _integrate,
    _intervals,
    _reach,
    build,
    log_chernoff,
    saddle_width,
)
from accountants._points import Law
from accountants._tilt import tilted
from accountants.contour import _guess_log_delta, _saddle_of_epsilon
from tests.oracles import sampled as oracle
from tests.oracles.accounting import gaussian_delta

REMOVE, ADD = Law(1.0, 0.01, False), Law(1.0, 0.01, True)
TOLERANCE = math.log(1e-4) - 9.0


def _gaussian(order, spacing, count, beyond):
    """The integral of unsampled Gaussians with mu = 1, by so many nodes; what lies beyond e^-s^2/2 is nothing."""
    mixture = Mixture((), 1.0)
    return _integrate(
        mixture, [], order, spacing * np.arange(count, dtype=np.float64), 0.0, (beyond, mixture.bound(beyond))
    )


@pytest.mark.parametrize("order", [0.4, 2.0, 6.0])
@pytest.mark.parametrize("spacing", [0.1, 0.8, 1.5, 2.5])
@pytest.mark.parametrize("epsilon", [-1.0, 0.5, 3.0])
def test_the_sum_is_the_curve_and_its_images(order, spacing, epsilon):
    # S_h = sum over m of e^{2 pi m t/h} delta(eps + 2 pi m/h); the upper end holds at any h, the lower one less them
    contour = _gaussian(order, spacing, 400, order + 2.0)
    period = 2 * mp.pi / mp.mpf(spacing)
    with mp.workdps(40):
        images = {m: mp.exp(m * period * order) * gaussian_delta(1.0, epsilon + m * period) for m in range(-60, 30)}
        whole = float(mp.log(mp.fsum(images.values())))
        rest = mp.fsum(value for m, value in images.items() if m)
    value, _ = contour.log_delta(epsilon)
    base = contour.log_scale - order * epsilon
    assert value == pytest.approx(whole, abs=1e-11 + 1e-14 * math.exp(base - whole))
    lower, upper = contour.log_delta_bounds(epsilon)
    truth = mp.log(gaussian_delta(1.0, epsilon))
    assert lower <= truth <= upper
    aliases = contour._aliases(epsilon, base)
    assert float(rest * mp.exp(-base)) <= aliases


def test_images_are_not_forgotten_in_the_lower_end():
    # a coarse step: the sum is 3 times the curve, and its lower end must know it
    contour = _gaussian(0.4, 1.5, 400, 2.4)
    truth = float(mp.log(gaussian_delta(1.0, 0.5)))
    assert contour.log_delta(0.5)[0] > truth + 0.5
    assert contour.log_delta_bounds(0.5)[0] <= truth


def test_an_aliased_bound_needs_an_order_beyond():
    # the right image is bounded by Chernoff at the order given; a better one tells more
    near = _gaussian(2.0, 0.8, 400, 2.01)
    far = _gaussian(2.0, 0.8, 400, 5.0)
    base = far.log_scale - 2.0 * 1.0
    assert far._aliases(1.0, base) < near._aliases(1.0, base)


@pytest.mark.parametrize("order", [0.01, 0.7, 3.0, 500.0])
def test_chernoff_constant_is_the_largest_value(order):
    with mp.workdps(30):
        t = mp.mpf(order)
        best = mp.log(1 / (1 + t)) + t * mp.log(t / (1 + t))  # at e^-x = t/(1+t)
        nearby = [(-t * x) + mp.log(-mp.expm1(-x)) for x in (mp.log1p(1 / t) * f for f in (0.9, 0.99, 1.01, 1.1))]
    assert log_chernoff(order) == pytest.approx(float(best), rel=1e-14)
    assert all(value <= best for value in nearby)


def test_intervals_cover_without_gaps():
    for first, last, widest in ((1.0, 50.0, 0.5), (2.0, 2.1, 1.0), (1.0, 1.0, 5.0), (3.0, 1e4, 400.0)):
        nodes = _intervals(first, last, widest)
        assert nodes[0] == first
        assert nodes[-1] >= last
        assert np.all(np.diff(nodes) > 0.0)
    assert _intervals(1.0, 1e9, 1e-3) is None


def _built(mixture, epsilon):
    """The integral at the saddle of epsilon."""
    order = _saddle_of_epsilon(mixture, epsilon)
    return build(mixture, order, epsilon, _guess_log_delta(mixture, order, epsilon), TOLERANCE)


CASES = [
    (Mixture(((REMOVE, 1000),), 0.0), (1.8, 1.2, 3.0)),
    (Mixture(((ADD, 1000),), 0.0), (1.4, 0.9)),
    (Mixture(((Law(0.8, 0.2, False), 80),), 0.0), (30.0, 26.0)),
    (Mixture(((Law(2.0, 0.5, True), 20), (Law(1.0, 0.05, True), 50)), 0.3), (2.0, -1.0)),
    (Mixture(((Law(4.0, 1.0 - 1e-6, True), 40),), 0.01), (6.0,)),
]


@pytest.mark.parametrize(("mixture", "epsilons"), CASES, ids=range(len(CASES)))
@pytest.mark.parametrize("allowed", [-12.0, -22.0])
def test_what_is_left_out_is_below_its_bound(mixture, epsilons, allowed):
    order = _saddle_of_epsilon(mixture, epsilons[0])
    width = saddle_width(order, mixture.cumulants(order)[2])
    spacing = 0.2 * width
    parts = [(tilted(law, order, _reach(order), 4), times) for law, times in mixture.parts]
    last, tail, _ = _cut(mixture, parts, width, spacing, allowed, 1e8)
    assert 0.0 < tail <= math.exp(allowed)
    s = spacing * np.arange(math.ceil(last / spacing) + 1, 5.0 * last / spacing)
    s = s[[max(float(part.strip(np.array([value]))[0]) for part, _ in parts) < 1e-9 for value in s]]
    assert s.size > 20
    modulus = -0.5 * mixture.variance * s * s
    for part, times in parts:
        modulus = modulus + part.sampled(s, times).log_modulus
    left_out = float((np.exp(modulus) / np.abs((order + 1j * s) * (1.0 + order + 1j * s))).sum()) * spacing / math.pi
    assert left_out <= tail


def test_every_node_of_an_interval_is_counted():
    # nodes much closer than the intervals, and a modulus that is known: e^{-s^2/2}
    mixture, order, width, spacing = Mixture((), 1.0), 2.0, 0.6, 0.003
    last, tail, _ = _cut(mixture, [], width, spacing, -8.0, 1e8)
    s = spacing * np.arange(math.ceil(last / spacing) + 1, 12.0 / spacing)
    z = order + 1j * s
    left_out = float((np.exp(-0.5 * s * s) / np.abs(z * (1.0 + z))).sum()) * spacing / math.pi
    assert left_out <= tail <= 100.0 * left_out


def test_left_out_nodes_count_in_both_ends():
    contour = _built(*_first(CASES[0]))
    more = replace(contour, tail=contour.tail + 1e-3)
    assert more.log_delta_bounds(1.8)[1] > contour.log_delta_bounds(1.8)[1]
    assert more.log_delta_bounds(1.8)[0] < contour.log_delta_bounds(1.8)[0]


def _first(case):
    return case[0], case[1][0]


@pytest.mark.parametrize(("mixture", "epsilons"), CASES, ids=range(len(CASES)))
def test_bounds_hold_the_integral_of_mpmath(mixture, epsilons):
    contour = _built(mixture, epsilons[0])
    for epsilon in epsilons:
        lower, upper = contour.log_delta_bounds(epsilon)
        truth = oracle.log_delta(mixture.parts, mixture.variance, epsilon, contour.order)
        assert lower <= truth <= upper
    lower, upper = contour.log_delta_bounds(epsilons[0])
    assert upper - lower <= 1e-4


@pytest.mark.parametrize("times", [10**6, 10**7])
@pytest.mark.parametrize("law", [Law(2.0, 1e-4, False), Law(2.0, 1e-4, True), Law(30.0, 0.01, False)], ids=str)
def test_rounding_of_many_steps_is_counted(law, times):
    # ten million times the rounding of one step: it must be inside what is claimed, and that must stay useful
    mixture = Mixture(((law, times),), 0.0)
    _, mean, curvature = mixture.cumulants(3.0)
    epsilon = mean + 0.3 * math.sqrt(curvature)
    contour = _built(mixture, epsilon)
    lower, upper = contour.log_delta_bounds(epsilon)
    truth = oracle.log_delta(mixture.parts, 0.0, epsilon, contour.order, 25)
    assert lower <= truth <= upper
    assert upper - lower <= 1e-4


@given(
    law=st.builds(Law, st.floats(0.04, 20.0), st.floats(1e-6, 0.9999), st.booleans()),
    times=st.integers(1, 10**5),
    order=st.floats(0.05, 20.0),
    place=st.floats(-1.0, 1.0),
)
@example(law=Law(0.05, 0.37, True), times=1, order=0.1, place=0.0)  # a grid that ended before N(1) did
def test_bounds_at_any_tilt_hold_the_same_number(law, times, order, place):
    mixture = Mixture(((law, times), (Law(1.0, 0.37, law.add), 400)), 0.0)
    assume(mixture.is_reachable(2.0 * order))
    _, mean, curvature = mixture.cumulants(order)
    epsilon = mean + place * math.sqrt(curvature)
    guess = _guess_log_delta(mixture, order, epsilon)
    built = [build(mixture, tilt * order, epsilon, guess, TOLERANCE) for tilt in (0.3, 1.0, 1.5, 2.0)]
    bounds = [contour.log_delta_bounds(epsilon) for contour in built if contour is not None]
    assert not bounds or max(lower for lower, _ in bounds) <= min(upper for _, upper in bounds)


def test_the_oracle_does_not_depend_on_the_tilt():
    parts = ((Law(1.0, 0.02, False), 400),)
    values = [oracle.log_delta(parts, 0.1, 1.5, order) for order in (2.0, 3.3)]
    assert abs(values[0] - values[1]) <= 1e-15
    with pytest.raises(ValueError, match="far from the saddle"):
        oracle.log_delta(parts, 0.1, 1.5, 9.0)


def test_errors_of_nodes_widen_both_ends():
    contour = _built(*_first(CASES[0]))
    assert contour.errors > 0.0
    assert contour.scale_error > 0.0
    lower, upper = contour.log_delta_bounds(1.8)
    value, slope = contour.log_delta(1.8)
    assert lower < value < upper
    assert slope < 0.0
    wide = replace(contour, errors=1e3 * contour.errors + 1e-6).log_delta_bounds(1.8)
    assert wide[0] < lower
    assert wide[1] > upper
    loose = replace(contour, scale_error=1e-3).log_delta_bounds(1.8)
    assert loose[0] <= lower - 0.9e-3
    assert loose[1] >= upper + 0.9e-3


def test_a_node_whose_growth_is_large_errs_by_all_of_it():
    # where quadrature says nothing any more: the node and its bound are both counted
    law, order = Law(4.0, 0.5, False), 1.0
    part = tilted(law, order, 2.0, 0)
    candidates = np.linspace(1.0, 40.0, 20000) / math.sqrt(part.variance)
    growth = part.sampled(candidates, 2).growth
    first = int(np.flatnonzero(growth > 1.0)[0])
    s = candidates[first : first + 2]
    contour = _integrate(Mixture(((law, 2),), 0.0), [(part, 2)], order, s, 0.0, (1.5, 10.0))
    node = part.sampled(s, 2)
    z = order + 1j * s
    bound = np.exp(np.minimum(0.0, node.log_modulus + node.growth)) / np.abs(z * (1.0 + z))
    bound[0] *= 0.5  # as the first value is
    assert contour.errors >= float((bound + np.abs(contour.values)).sum()) * (1.0 - 1e-12)


def test_a_contour_without_parts_is_the_closed_form():
    contour = build(Mixture((), 4.0), 2.0, 8.0, math.log(1e-3), TOLERANCE)
    assert isinstance(contour, Contour)
    for epsilon in (6.0, 8.0, 9.0):
        lower, upper = contour.log_delta_bounds(epsilon)
        assert lower <= mp.log(gaussian_delta(2.0, epsilon)) <= upper


def test_what_is_too_much_work_is_refused():
    assert build(Mixture(((Law(1.0, 0.5, False), 1),), 0.0), 2.0, 1.0, math.log(1e-5), TOLERANCE) is None
