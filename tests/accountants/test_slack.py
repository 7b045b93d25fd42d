"""Slack: perturbed releases enumerated atom by atom stay below the bound, which is met where it can be."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accountants._numerics import EPS
from accountants.slack import Slack, total_slack
from tests.oracles.accounting import gaussian_delta

ROOM = 1e-13  # sums of at most a few hundred float products of numbers <= e^4


def _delta(p, q, epsilon):
    """The hockey-stick divergence of two laws given as {outcome: mass}, at any real epsilon."""
    return math.fsum(max(0.0, mass - math.exp(epsilon) * q.get(key, 0.0)) for key, mass in p.items())


def _law(weights):
    total = math.fsum(weights)
    return {index: weight / total for index, weight in enumerate(weights)}


def _product(first, second):
    """The joint law of an outcome and one whose law depends on it."""
    return {(a, b): mass * inner for a, mass in first.items() for b, inner in second(a).items()}


def _tilted(law, chosen, up, down):
    """The law within [e^-down, e^up] of the given one that has the most mass on the chosen outcomes."""
    mass = math.fsum(law[key] for key in chosen if key in law)
    if mass == 0.0 or mass >= 1.0:
        return law
    rise = min(math.exp(up), (1.0 - (1.0 - mass) * math.exp(-down)) / mass)
    fall = (1.0 - rise * mass) / (1.0 - mass)
    return {key: value * (rise if key in chosen else fall) for key, value in law.items()}


def _moved(law, key, distance):
    """The law with up to this much mass moved onto one outcome from the others, in proportion."""
    distance = min(distance, 1.0 - law[key])
    keep = (1.0 - law[key] - distance) / (1.0 - law[key]) if law[key] < 1.0 else 1.0
    return {k: value + distance if k == key else value * keep for k, value in law.items()}


def _failing(law, failure, name):
    return {name: failure, **{key: (1.0 - failure) * value for key, value in law.items()}}


weights = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3)
small = st.floats(0.0, 0.3)


@st.composite
def releases(draw):
    """(base P, base Q, slack, perturbation of P and of Q that may depend on what came before)."""
    p, q = _law(draw(weights)), _law(draw(weights))
    slack = Slack(draw(small), draw(small), draw(small), draw(small))
    order = draw(st.permutations(["within", "distance"]))
    keys = draw(st.lists(st.sampled_from(range(3)), min_size=4, max_size=4))

    def perturbed(before):
        one, other = _failing(p, slack.failure, "P"), _failing(q, slack.failure, "Q")
        chosen = {keys[hash(before) % 2], "P"}
        low = {keys[2 + hash(before) % 2]}
        for step in order:
            if step == "within":
                one, other = _tilted(one, chosen, slack.up, slack.down), _tilted(other, low, slack.up, slack.down)
            else:
                one, other = _moved(one, keys[0], slack.distance), _moved(other, keys[2], slack.distance)
        return one, other

    return p, q, slack, perturbed


@given(first=releases(), second=releases(), epsilon=st.floats(0.0, 4.0))
def test_slack_bounds_perturbed_releases(first, second, epsilon):
    """Two adaptive releases, each almost equal to its pair, in every order of the perturbations."""
    one, other = first[3](0)
    true_p = _product(one, lambda key: second[3](key)[0])
    true_q = _product(other, lambda key: second[3](key)[1])
    base_p = _product(first[0], lambda key: second[0])
    base_q = _product(first[1], lambda key: second[1])
    slack = first[2] + second[2]
    bound = slack.delta(lambda inner: _delta(base_p, base_q, inner), epsilon)
    assert _delta(true_p, true_q, epsilon) <= bound + ROOM


@given(release=releases(), epsilon=st.floats(0.0, 2.0))
def test_three_equal_releases(release, epsilon):
    p, q, slack, perturbed = release
    one, other = perturbed(0)
    triple, base = [], []
    for law, into in ((one, triple), (other, triple), (p, base), (q, base)):
        twice = _product(law, lambda key, law=law: law)
        into.append(_product(twice, lambda key, law=law: law))
    bound = slack.times(3).delta(lambda inner: _delta(*base, inner), epsilon)
    assert _delta(*triple, epsilon) <= bound + ROOM


@pytest.mark.parametrize("epsilon", [0.3, 0.7, 1.0])
def test_each_part_of_the_bound_is_attained(epsilon):
    p, q = {0: 0.4, 1: 0.35, 2: 0.25}, {0: 0.1, 1: 0.35, 2: 0.55}

    def base(inner):
        return _delta(p, q, inner)

    up, down, failure, distance = 0.2, 0.1, 0.07, 0.02
    tilted = _delta(_tilted(p, {0}, up, 0.2), _tilted(q, {1, 2}, 0.2, down), epsilon)
    # the most mass on 1 and 2 leaves 0 with e^-down, where the tilt has room
    assert tilted == pytest.approx(Slack(up, down).delta(base, epsilon), rel=1e-12)
    failing = _delta(_failing(p, failure, "P"), _failing(q, failure, "Q"), epsilon)
    assert failing == pytest.approx(Slack(failure=failure).delta(base, epsilon), rel=1e-12)
    moved = _delta(_moved(p, 0, distance), {0: 0.1 - distance, 1: 0.35, 2: 0.55 + distance}, epsilon)
    assert moved == pytest.approx(Slack(distance=distance).delta(base, epsilon), rel=1e-12)


@given(release=releases(), prob=st.floats(0.0, 1.0), epsilon=st.floats(-2.0, 2.0))
def test_failure_of_a_sampled_release(release, prob, epsilon):
    """(1-q)Q + qP against Q, and back: with failure F inside, qF outside, for every real epsilon."""
    p, q, slack, _ = release
    failing_p, failing_q = _failing(p, slack.failure, "P"), _failing(q, slack.failure, "Q")

    def mixed(one, other):
        return {key: prob * one.get(key, 0.0) + (1.0 - prob) * other.get(key, 0.0) for key in {*one, *other}}

    failure = Slack(failure=slack.failure).sampled(prob).failure
    assert failure <= prob * slack.failure * (1.0 + 1e-14) + 1e-320
    for true, base in (
        ((mixed(failing_p, failing_q), failing_q), (mixed(p, q), q)),
        ((failing_q, mixed(failing_p, failing_q)), (q, mixed(p, q))),
    ):
        bound = failure + (1.0 - failure) * _delta(*base, epsilon)
        assert _delta(*true, epsilon) <= bound + ROOM


def test_slack_composed_as_a_pure_part_is_unsound():
    """A law within .05 of N(1, 1) that loses more at epsilon 3 than slack composed as a pure part would admit."""
    with mp.workdps(30):
        slack, epsilon = mp.mpf("0.05"), mp.mpf(3)
        threshold = epsilon - 2 * slack + mp.mpf(1) / 2  # where log(P/Q) = epsilon - up - down
        p, q = mp.ncdf(1 - threshold), mp.ncdf(-threshold)
        # P' = e^.05 P and Q' = e^-.05 Q beyond the threshold; there is room below it, within the same ratios
        assert (1 - mp.exp(slack) * p) / (1 - p) > mp.exp(-slack)
        assert (1 - mp.exp(-slack) * q) / (1 - q) < mp.exp(slack)
        truth = mp.exp(slack) * p - mp.exp(epsilon - slack) * q
        heads = mp.exp(2 * slack) / (1 + mp.exp(2 * slack))
        apart = [gaussian_delta(1, epsilon + sign * 2 * slack) for sign in (-1, 1)]
        composed = heads * apart[0] + (1 - heads) * apart[1]
    assert float(truth) == pytest.approx(0.0021805, abs=5e-8)
    assert float(composed) == pytest.approx(0.0016253, abs=5e-8)
    bound = Slack(0.05, 0.05).delta(lambda inner: float(gaussian_delta(1, inner)), 3.0)
    assert float(truth) <= bound <= float(truth) * (1.0 + 1e-12)


numbers = st.floats(0.0, 5.0) | st.floats(0.0, 1e-9)
probs = st.floats(0.0, 1.0) | st.floats(0.0, 1e-12) | st.floats(1.0 - 1e-9, 1.0)


@given(up=numbers, down=numbers, failure=probs, distance=probs, log_delta=st.floats(-600.0, -1e-3))
@example(up=1e-12, down=0.0, failure=0.0, distance=0.0, log_delta=-690.0)
@example(up=0.0, down=0.0, failure=1e-6, distance=0.0, log_delta=math.log(1e-6))
@example(up=0.0, down=0.0, failure=0.0, distance=1e-6, log_delta=math.log(1e-5))
def test_slack_is_rounded_outward(up, down, failure, distance, log_delta):
    """Against 60 digits, for the pair of laws with log delta0 = -3 epsilon0: both ends hold, and meet."""
    slack = Slack(up, down, failure, distance)
    high = slack.epsilon(lambda log: math.nextafter(-log / 3.0, math.inf), log_delta)
    low = slack.lower_epsilon(lambda log: math.nextafter(-log / 3.0, 0.0), log_delta)
    assert 0.0 <= low <= high

    def truth(epsilon):
        # the pairs' own curve is exp(-3 epsilon) from 0 on; below 0 it is 1
        with mp.workdps(60):
            e = mp.mpf(epsilon)
            pairs = mp.exp(-3 * max(mp.mpf(0), e - mp.mpf(up) - mp.mpf(down)))
            return mp.exp(up) * (failure + (1 - mp.mpf(failure)) * pairs + (1 + mp.exp(e)) * distance)

    with mp.workdps(60):
        target = mp.exp(mp.mpf(log_delta))
    if math.isfinite(high):
        assert truth(high) <= target
        assert slack.delta(lambda inner: min(1.0, math.exp(-3.0 * inner) * (1 + 1e-13)), high) <= target * (1 + 1e-9)
    if 0.0 < low < math.inf:
        with mp.workdps(60):
            assert truth(mp.mpf(low) * (1 - mp.mpf("1e-25"))) > target
    if math.isfinite(high) and low > 0.0 and distance == 0.0 and failure == 0.0:
        assert high <= low * (1.0 + 1e-12) + 1e-12


@given(failures=st.lists(probs, min_size=1, max_size=6), times=st.integers(0, 10**7))
def test_failures_multiply_and_round_up(failures, times):
    whole = total_slack(Slack(failure=failure) for failure in failures).times(times).failure
    with mp.workdps(400):
        truth = 1 - mp.fprod((1 - mp.mpf(failure)) ** times for failure in failures)
        assert truth <= whole <= min(1, truth * (1 + mp.mpf(1e-13)) + mp.mpf(1e-300))


@given(parts=st.lists(st.builds(Slack, numbers, numbers, probs, probs), max_size=5), data=st.data())
def test_a_total_is_the_same_in_any_order_and_rounded_up(parts, data):
    total = total_slack(parts)
    assert total_slack(data.draw(st.permutations(parts))) == total
    assert total_slack([*parts, Slack()]) == total
    with mp.workdps(60):
        for name in ("up", "down", "distance"):
            truth = mp.fsum(mp.mpf(getattr(part, name)) for part in parts)
            assert truth <= getattr(total, name) <= truth * (1 + mp.mpf(1e-15)) + mp.mpf(5e-324)


def test_nothing_left_of_delta_is_infinite():
    asked = []
    for slack in (Slack(failure=1.0), Slack(failure=1e-5), Slack(distance=1e-5)):
        assert slack.epsilon(lambda log: asked.append(log) or 1.0, math.log(1e-5) - 1e-9) == math.inf
    assert Slack(failure=1e-5).lower_epsilon(lambda log: 1.0, math.log(1e-6)) == math.inf
    assert Slack(up=1e308, down=1e308).epsilon(lambda log: 0.0, -1.0) == math.inf
    assert Slack(up=1e308, down=1e308).delta(lambda inner: 0.0, 1.0) == 1.0
    assert asked == []
    assert Slack(failure=1.0).delta(lambda inner: 0.0, 700.0) == 1.0
    assert Slack(distance=1e-300).delta(lambda inner: 0.0, 800.0) == 1.0


def test_no_slack_asks_for_the_very_numbers():
    assert Slack().epsilon(lambda log: -log, -1.25) == 1.25
    assert Slack().lower_epsilon(lambda log: -log, -1.25) == 1.25
    assert Slack().delta(lambda inner: inner / 8, 1.0) == 0.125


def test_the_smallest_deltas_keep_their_digits():
    """Up and down work on log delta itself: e^-700 is as good as e^-7."""
    for log_delta in (-7.0, -700.0, -7000.0):
        epsilon = Slack(1e-9, 2e-9).epsilon(lambda log: -log, log_delta)
        assert -log_delta + 4e-9 <= epsilon <= (-log_delta + 4e-9) * (1 + 1e-15) + 1e-15


@pytest.mark.parametrize("distance", [1e-10, 1e-12, 1e-20])
def test_a_small_distance_asks_twice(distance):
    """The pairs' epsilon is the costly part: one question at delta, one at what the distance leaves of it."""
    asked = []

    def base(log_delta):
        asked.append(log_delta)
        return math.sqrt(-2.0 * log_delta)

    epsilon = Slack(distance=distance).epsilon(base, math.log(1e-6))
    assert len(asked) == 2
    # Of log delta0 = -13.8 at most .0166 is lost. The guess is above by half of .0166 / 13.8 of epsilon, .0032, for
    # which e^epsilon takes .0032 of the .0166 more; epsilon is above by that / 5.3 = 1e-5, which is 2e-6 of itself.
    left = 1e-6 - (1 + math.exp(epsilon)) * distance
    assert epsilon == pytest.approx(math.sqrt(-2.0 * math.log(left)), rel=3e-6)


def test_truncation_that_eats_delta_away():
    """Distance times e^epsilon close to delta: the search must find the epsilon that needs no more than itself."""
    distance, log_delta = 1e-6, math.log(1e-5)
    epsilon = Slack(distance=distance).epsilon(lambda log: -0.14 * log, log_delta)
    left = [math.exp(log_delta) - (1 + math.exp(e)) * distance for e in (epsilon, epsilon * (1 - 1e-7))]
    assert -0.14 * math.log(left[0]) <= epsilon
    assert -0.14 * math.log(left[1]) > epsilon * (1 - 1e-7)
    assert Slack(distance=distance).epsilon(lambda log: -0.18 * log, log_delta) == math.inf  # no epsilon will do


SLACKS = st.builds(Slack, small, small, small, small)


def _falling(inner, side=0.0):
    """1 / (1 + e^x), which falls and errs by less than 4 EPS; with a side, by 8 EPS towards it."""
    return (1.0 + side * 8.0 * EPS) / (1.0 + np.exp(inner))


@given(SLACKS, st.lists(st.floats(-4.0, 4.0), min_size=1, max_size=4))
def test_many_epsilons_are_each_of_them(slack, epsilons):
    together = slack.deltas(_falling, np.array(epsilons))
    assert together.tolist() == [slack.delta(lambda inner: float(_falling(inner)), e) for e in epsilons]


@given(SLACKS, st.floats(-4.0, 4.0))
def test_both_ends_of_delta_enclose_the_formula(slack, epsilon):
    with mp.workdps(40):
        up, down, failure, distance, e = map(mp.mpf, (slack.up, slack.down, slack.failure, slack.distance, epsilon))
        inner = 1 / (1 + mp.exp(e - up - down))
        whole = min(mp.mpf(1), mp.exp(up) * (failure + (1 - failure) * inner + (1 + mp.exp(e)) * distance))
        upper = slack.deltas(lambda x: _falling(x, 1.0), np.array([epsilon]))[0]
        lower = slack.lower_deltas(lambda x: _falling(x, -1.0), np.array([epsilon]))[0]
        assert lower <= whole <= upper
    assert upper <= lower * (1.0 + 1e-13)  # at most 200 EPS each


@pytest.mark.parametrize(
    ("slack", "lower", "upper"),
    [
        (Slack(), 0.25, 0.25),
        (Slack(failure=1.0), 1.0, 1.0),
        (Slack(up=1e308, down=1e308), 0.0, 1.0),
        (Slack(up=800.0), 0.0, 1.0),
        (Slack(distance=1e-300), 1.0, 1.0),
    ],
)
def test_ends_of_delta_at_extremes(slack, lower, upper):
    far = np.array([800.0])
    assert slack.lower_deltas(lambda inner: np.full_like(inner, 0.25), far)[0] == pytest.approx(lower, rel=1e-14)
    assert slack.deltas(lambda inner: np.full_like(inner, 0.25), far)[0] == pytest.approx(upper, rel=1e-14)


def test_ends_of_delta_are_asked_where_the_slack_says():
    """e^up e^-(epsilon - up - down) for a base e^-x, from both sides."""
    slack, epsilon = Slack(up=0.1, down=0.25), np.array([1.0])
    whole = math.exp(0.1 - (1.0 - 0.1 - 0.25))
    assert slack.deltas(lambda inner: np.exp(-inner), epsilon)[0] == pytest.approx(whole, rel=1e-13)
    assert slack.lower_deltas(lambda inner: np.exp(-inner), epsilon)[0] == pytest.approx(whole, rel=1e-13)


def test_nothing_above_and_no_slack_is_nothing():
    for slack in (Slack(), Slack(up=0.1), Slack(down=0.1)):
        assert slack.deltas(np.zeros_like, np.array([1.0]))[0] == 0.0
        assert slack.lower_deltas(np.zeros_like, np.array([1.0]))[0] == 0.0
