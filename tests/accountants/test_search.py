"""The search for a crossing: it ends on a probe that meets the target, beside one that fails, after few probes."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants._search import Probe, Target, close_in, enclose

TARGET = Target(epsilon=1.0, delta=1e-5)
LOW, HIGH = 1e-9, 1e12


def _between(tolerance):
    def between(low, high, proposal):
        x = min(max(proposal, low * (1 + 0.9 * tolerance)), high * (1 - 0.9 * tolerance))
        return None if low >= high * (1 - tolerance) else x

    return between


def _search(cost, tolerance, target=TARGET, falls=True):
    """(the probe found, all probes) of a cost that is 1 somewhere between LOW and HIGH."""
    probes = []

    def probe(x):
        probes.append(target.probe(x, cost(x)))
        return probes[-1]

    seen = enclose(probe, 1.0, LOW, HIGH, power=-1.0 if falls else 1.0)
    fails, meets = sorted(seen[-2:], key=lambda probe: probe.meets)
    assert (fails.meets, meets.meets) == (False, True)
    return close_in(probe, fails, meets, seen, _between(tolerance)), probes


def _is_enclosed(found, probes, tolerance):
    beside = [
        probe for probe in probes if not probe.meets and abs(probe.x / found.x - 1) <= tolerance / (1 - tolerance)
    ]
    return found.meets and bool(beside)


def _gaussian_cost(mu, delta):
    return mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta))


@given(st.floats(-6, 3), st.floats(-100, -1))
def test_height_is_the_log_of_mu(log_mu, log_delta):
    delta = 10.0**log_delta
    target = Target(_gaussian_cost(1.0, delta), delta)
    height = target.probe(1.0, _gaussian_cost(10.0**log_mu, delta)).height
    assert height == pytest.approx(log_mu * math.log(10), abs=1e-9)


def test_gaussian_costs_need_five_probes():
    for root in (1e-3, 0.7, 40.0, 1e6):
        found, probes = _search(lambda x, root=root: _gaussian_cost(root / x, 1e-5), 1e-4)
        assert _is_enclosed(found, probes, 1e-4)
        # one at 1, leaps of a factor 64 towards the crossing, one beyond it, one beside it on either side
        leaps = math.ceil(abs(math.log(root)) / math.log(64.0))
        assert len(probes) <= 5 + leaps


@settings(max_examples=200)
@given(
    log_root=st.floats(-15, 20),
    slopes=st.tuples(st.floats(0.3, 4), st.floats(0.3, 4)),
    tolerance=st.sampled_from([0.5, 1e-2, 1e-4, 1e-8]),
    falls=st.booleans(),
)
def test_crossings_of_any_slope_are_found_in_few_probes(log_root, slopes, tolerance, falls):
    def cost(x):
        way = (math.log(x) - log_root) * (-1.0 if falls else 1.0)
        return math.exp(slopes[0] * way if way > 0 else slopes[1] * way)  # kinked at the crossing, the worst place

    found, probes = _search(cost, tolerance, falls=falls)
    assert _is_enclosed(found, probes, tolerance)
    assert len(probes) <= 30


@settings(max_examples=100)
@given(st.floats(-20, 27), st.sampled_from([0.5, 1e-2, 1e-4, 1e-8]), st.sampled_from([(0.0, math.inf), (0.5, 1.0001)]))
def test_a_step_is_found_by_halving(log_root, tolerance, values):
    found, probes = _search(lambda x: values[0] if math.log(x) > log_root else values[1], tolerance)
    assert _is_enclosed(found, probes, tolerance)
    # at worst every fourth proposal halves the bracket, in log x
    halvings = math.log2((math.log(HIGH) - math.log(LOW)) / tolerance)
    assert len(probes) <= 12 + 4 * math.ceil(halvings)


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from([1e-2, 1e-6]))
def test_a_cost_that_wiggles_is_still_enclosed(seed, tolerance):
    def cost(x):
        return 3.0 / x * (1.0 + 0.3 * math.sin(1e4 * math.log(x) + seed))

    found, probes = _search(cost, tolerance)
    assert cost(found.x) <= 1.0
    assert _is_enclosed(found, probes, tolerance)


def test_costs_that_are_no_number_fail():
    assert not TARGET.probe(1.0, math.nan).meets
    assert not TARGET.probe(1.0, math.inf).meets
    assert TARGET.probe(1.0, math.inf).height == math.inf
    assert TARGET.probe(1.0, 0.0) == Probe(1.0, True, -math.inf)
    assert TARGET.probe(1.0, 1.0) == Probe(1.0, True, 0.0)
    assert not TARGET.probe(1.0, math.nextafter(1.0, 2.0)).meets


@pytest.mark.parametrize(("cost", "end"), [(0.0, LOW), (math.inf, HIGH), (0.999, LOW), (1.001, HIGH)])
def test_a_cost_that_never_crosses_ends_at_the_end(cost, end):
    seen = enclose(lambda x: TARGET.probe(x, cost), 1.0, LOW, HIGH, power=-1.0)
    assert seen[-1].x == end
    assert len(seen) <= 12


@settings(max_examples=50)
@given(st.floats(-690, 690), st.booleans())
def test_the_widest_brackets_end(log_root, step):
    def probe(x):
        away = math.log(x) - log_root
        return TARGET.probe(x, (0.0 if away > 0 else math.inf) if step else math.exp(min(max(-away, -700.0), 700.0)))

    low, high = probe(1e-300), probe(1e300)
    found = close_in(probe, low, high, [low, high], _between(1e-6))
    assert found.meets
    assert not probe(found.x * (1 - 1.1e-6)).meets
