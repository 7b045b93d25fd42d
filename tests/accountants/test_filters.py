import math
from fractions import Fraction

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import (
    ZCDP,
    ApproxDP,
    DiscreteGaussian,
    EventError,
    Gaussian,
    Laplace,
    NonPrivate,
    PoissonSampled,
    PureDP,
    RDPAccountant,
    Relation,
    TruncatedPoissonSampled,
    UnsupportedEventError,
    Within,
    max_times,
)
from accountants.filters import RULES, Charge, GaussianRule, RenyiRule, Sums, log_remainder, order_for, renyi_charge

ADD = Relation.add_remove
promises = {"epsilon": st.floats(0.01, 50.0), "log_delta": st.floats(-200.0, -1.0)}


@given(noise=st.floats(0.05, 1e4), order=st.floats(1.001, 1e4), up=st.floats(0.0, 2.0), down=st.floats(0.0, 2.0))
def test_the_charge_is_the_theorem_and_never_less(noise, order, up, down):
    given_ = renyi_charge(Within(ApproxDP(0.0, 1e-3, ADD) + Gaussian(noise), up, down), ADD, order)
    with mpmath.workdps(40):
        t = mpmath.mpf(order) - 1
        exact = t * order / (2 * mpmath.mpf(noise) ** 2) + order * mpmath.mpf(up) + t * mpmath.mpf(down)
        assert exact <= given_.loss <= exact * (1 + mpmath.mpf(1e-9))
        assert mpmath.exp(up) * mpmath.mpf(1e-3) <= given_.failure <= mpmath.exp(up) * mpmath.mpf(1e-3) * (1 + 1e-13)
    assert given_.distance == 0.0


def test_failures_and_distances_are_charged():
    batch = TruncatedPoissonSampled(Gaussian(1.0), 0.1, 100, 30)
    plain = renyi_charge(batch, ADD, 4.0)
    assert 0.0 < plain.distance < 1e-6
    raised = renyi_charge(Within(batch, 0.5, 0.25), ADD, 4.0)
    assert raised.distance == pytest.approx(math.exp(0.5) * plain.distance, rel=1e-12)
    assert raised.loss == pytest.approx(plain.loss + 4.0 * 0.5 + 3.0 * 0.25, rel=1e-12)
    assert renyi_charge(ApproxDP(1.0, 1e-7, ADD), ADD, 4.0).failure == 1e-7


def test_zcdp_charges_rho():
    for event, rho in ((Gaussian(2.0), 0.125), (ZCDP(0.5, ADD), 0.5), (Gaussian(2.0) * 3 + ZCDP(0.1, ADD), 0.475)):
        assert renyi_charge(event, ADD, 5.0, "zcdp").loss == pytest.approx(20.0 * rho, rel=1e-13)
    with pytest.raises(UnsupportedEventError):
        renyi_charge(PoissonSampled(Gaussian(1.0), 0.5), ADD, 5.0, "zcdp")


@given(**promises, t=st.floats(0.01, 1e4), method=st.sampled_from(["rdp", "zcdp"]))
def test_the_limit_is_the_promise(epsilon, log_delta, t, method):
    with mpmath.workdps(60):
        tt = mpmath.mpf(1.0 + t) - 1
        offset = tt * mpmath.log(tt) - (1 + tt) * mpmath.log1p(tt)
        exact = mpmath.mpf(log_delta) + tt * mpmath.mpf(epsilon) - offset
        scale = abs(log_delta) + tt * epsilon + abs(offset)
        if exact <= 1e-12 * scale:
            return
        rule = RULES[method](method, 1.0 + t, epsilon, log_delta)
        assert exact - mpmath.mpf(1e-14) * scale <= rule.limit <= exact
        assert rule.order == 1.0 + t
    assert rule.log_delta(epsilon) >= min(0.0, log_delta) - 1e-12 * float(scale)
    if method == "rdp":
        assert rule.epsilon(log_delta) == pytest.approx(epsilon, abs=1e-13 * float(scale) / t)


def test_an_order_without_room_is_refused():
    with pytest.raises(EventError, match="order must leave room"):
        RULES["rdp"]("rdp", 1.5, 0.1, math.log(1e-6))


@given(**promises)
def test_the_order_of_gaussians_is_the_best(epsilon, log_delta):
    rule = RULES["rdp"]("rdp", None, epsilon, log_delta)

    def rho(order):
        offset = (order - 1) * math.log(order - 1) - order * math.log(order)
        return (log_delta + (order - 1) * epsilon - offset) / order / (order - 1)

    own = rule.limit / rule.order / (rule.order - 1.0)
    for factor in (0.3, 0.8, 0.95, 1.05, 1.25, 3.0):
        assert rho(1.0 + factor * (rule.order - 1.0)) <= own * (1.0 + 1e-6)


def test_the_order_for_an_event_is_the_best():
    step = PoissonSampled(Gaussian(1.0), 0.01)
    log_delta = math.log(1e-5)
    order = order_for(step, ADD, "rdp", 2.0, log_delta)
    rule = RULES["rdp"]("rdp", order, 2.0, log_delta)
    steps = int(rule.limit / rule.charge(step, ADD).loss)
    assert steps == max_times(step, epsilon=2.0, delta=1e-5, relation="add_remove", accountant=RDPAccountant())
    with pytest.raises(EventError, match="finite cost"):
        order_for(NonPrivate(), ADD, "rdp", 2.0, log_delta)


def _gaussian_delta(mu, epsilon):
    def normal(x):
        return mpmath.erfc(-x / mpmath.sqrt(2)) / 2

    return normal(mu / 2 - epsilon / mu) - mpmath.exp(epsilon) * normal(-mu / 2 - epsilon / mu)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.01, 1e-6), (1.0, 1e-5), (1.0, 1e-100), (30.0, 0.3)])
def test_the_gaussian_limit_is_the_promise(epsilon, delta):
    log_delta = log_remainder(epsilon, delta, 0.0, 0.0)
    rule = RULES["gdp"]("gdp", None, epsilon, log_delta)
    with mpmath.workdps(150):
        mu = mpmath.sqrt(mpmath.mpf(rule.limit))
        assert _gaussian_delta(mu, mpmath.mpf(epsilon)) <= delta
        assert _gaussian_delta(mu * (1 + mpmath.mpf(1e-10)), mpmath.mpf(epsilon)) > delta
    assert rule.epsilon(log_delta) == pytest.approx(epsilon, rel=1e-9)
    assert rule.log_delta(epsilon) <= log_delta


def test_gaussians_alone_are_gaussian():
    rule = GaussianRule(1.0)
    assert rule.charge(Gaussian(2.0), ADD).loss == pytest.approx(0.25, rel=1e-14)
    assert rule.charge(Gaussian(2.0) * 3, Relation.replace_one).loss == pytest.approx(3.0, rel=1e-14)
    others = (
        Laplace(1.0),
        PoissonSampled(Gaussian(1.0), 0.5),
        Within(Gaussian(1.0), 0.1, 0.1),
        DiscreteGaussian(8.0, 1.0),
        DiscreteGaussian(8.0, 1.0, 4),
        ApproxDP(0.1, 1e-9, ADD) + Gaussian(1.0),
        ZCDP(0.1, ADD),
    )
    for event in others:
        with pytest.raises(UnsupportedEventError):
            rule.charge(event, ADD)
    with pytest.raises(EventError, match="order must be None"):
        RULES["gdp"]("gdp", 3.0, 1.0, -10.0)
    with pytest.raises(EventError, match="leave room"):
        RULES["gdp"]("gdp", None, 1e-300, -600.0)


@given(epsilon=st.floats(0.01, 20.0), delta=st.floats(1e-300, 0.9), share=st.floats(0.0, 1.2), part=st.floats(0, 1))
def test_what_is_set_aside_is_taken_from_delta(epsilon, delta, share, part):
    failure, distance = share * part * delta, share * (1.0 - part) * delta / (1.0 + math.exp(epsilon))
    with mpmath.workdps(400):
        left = mpmath.mpf(delta) - mpmath.mpf(failure) - (1 + mpmath.exp(epsilon)) * mpmath.mpf(distance)
        if left <= 1e-12 * delta:
            if left <= 0:
                with pytest.raises(EventError, match="must leave something of delta"):
                    log_remainder(epsilon, delta, failure, distance)
            return
        exact = mpmath.log(left)
        value = log_remainder(epsilon, delta, failure, distance)
        slack = 1e-14 * (1 + abs(exact)) + 1e-13 * delta / left
        assert exact - slack <= value <= exact


def test_a_distance_at_a_huge_epsilon_leaves_nothing():
    with pytest.raises(EventError, match="must leave something of delta"):
        log_remainder(1e6, 0.5, 0.0, 1e-300)


@given(
    rows=st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 1e-3), st.integers(0, 50)), max_size=12),
    limit=st.floats(1.0, 100.0),
)
def test_sums_are_exact_and_room_is_the_last_that_fits(rows, limit):
    sums = Sums(limit, 0.01, 0.0)
    loss = failure = Fraction(0)
    for part, fails, times in rows:
        room = sums.room(Charge(part, fails, 0.0))
        for count, fits in ((room, True), (room + 1, False)):
            whole = loss + count * Fraction(part) <= Fraction(limit) and failure + count * Fraction(fails) <= Fraction(
                0.01
            )
            assert whole is fits or room == 2**53
        taken = min(times, room)
        sums.add(Charge(part, fails, 0.0), taken)
        loss, failure = loss + taken * Fraction(part), failure + taken * Fraction(fails)
        assert max(loss / Fraction(limit), failure / Fraction(0.01)) <= sums.share <= 1.0
    assert sums.room(Charge(0.0, 0.0, 1e-300)) == 0
    assert sums.room(Charge(math.inf, 0.0, 0.0)) == 0


def test_higher_orders_of_concentrated_sums():
    """A sum of charges at one order bounds the sum at every higher one, by the factor of the module's text."""
    for event in (Gaussian(2.0), Within(Gaussian(3.0), 0.02, 0.1), Within(ZCDP(0.3, ADD), 0.5, 0.0)):
        low = renyi_charge(event, ADD, 3.0, "zcdp").loss
        for order in (3.0, 4.0, 10.0, 1000.0):
            assert renyi_charge(event, ADD, order, "zcdp").loss <= low * order * (order - 1.0) / 6.0 * (1.0 + 1e-12)
    rule = RenyiRule("zcdp", 3.0, 6.0 * 0.5)  # rho 1/2
    zcdp = min(order * 0.5 + (14.0 + _offset(order)) / (order - 1.0) for order in [3.0 + k / 500 for k in range(5000)])
    assert rule.epsilon(-14.0) == pytest.approx(zcdp, rel=1e-6)
    assert rule.epsilon(-14.0) < RenyiRule("rdp", 3.0, 3.0).epsilon(-14.0)


def _offset(order):
    return (order - 1) * math.log(order - 1) - order * math.log(order)


def test_pure_events_are_charged_no_more_than_pure():
    assert renyi_charge(PureDP(0.5, ADD), ADD, 1e9).loss <= 0.5 * (1e9 - 1.0) * (1.0 + 1e-12)
