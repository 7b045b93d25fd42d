"""Calibration: the safe side always, the smallest within tolerance, and an end to every search."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants import (
    CalibrationError,
    DistributedDiscreteGaussian,
    EventError,
    Gaussian,
    Laplace,
    PoissonSampled,
    RDPAccountant,
    Relation,
    RelationError,
    UnsupportedEventError,
    calibrate,
    epsilon,
    max_times,
)


@settings(max_examples=15)
@given(
    log_target=st.floats(math.log(1e-3), math.log(1e3)),
    q=st.sampled_from([1.0, 0.3, 0.01]),
    times=st.sampled_from([1, 10, 1000]),
    relation=st.sampled_from(Relation),
    tolerance=st.sampled_from([1e-2, 1e-4, 1e-6]),
)
def test_calibrate_is_on_the_safe_side(log_target, q, times, relation, tolerance):
    target = math.exp(log_target)

    def cost(z):
        return epsilon(PoissonSampled(Gaussian(z), q) * times, delta=1e-6, relation=relation)

    x = calibrate(
        lambda z: PoissonSampled(Gaussian(z), q) * times,
        epsilon=target,
        delta=1e-6,
        relation=relation,
        tolerance=tolerance,
    )
    assert cost(x) <= target
    assert cost(x * (1.0 - 1.01 * tolerance)) > target * (1.0 - 1e-8)


@pytest.mark.parametrize("target", [1e-3, 1.0, 1e3])
def test_other_parameters_and_accountants(target):
    for build in (Laplace, lambda s: DistributedDiscreteGaussian(s, 10, 4.0, 100)):
        accountant = RDPAccountant(conversion="mironov2017")
        x = calibrate(build, epsilon=target, delta=1e-6, relation="add_remove", accountant=accountant)
        assert accountant.epsilon(build(x), delta=1e-6, relation="add_remove") <= target


def test_a_better_accountant_needs_less_noise():
    def build(z):
        return PoissonSampled(Gaussian(z), 0.01) * 1000

    older = calibrate(
        build, epsilon=2.0, delta=1e-5, relation="add_remove", accountant=RDPAccountant(conversion="mironov2017")
    )
    assert calibrate(build, epsilon=2.0, delta=1e-5, relation="add_remove") < older


def test_a_bracket_is_searched_and_nothing_else():
    seen = []

    def build(z):
        seen.append(z)
        return Gaussian(z)

    x = calibrate(build, epsilon=1.0, delta=1e-6, relation="add_remove", bracket=(2.0, 9.0))
    assert 4.2 < x < 4.9
    assert 2.0 <= min(seen) <= max(seen) <= 9.0
    assert calibrate(Gaussian, epsilon=1.0, delta=1e-6, relation="add_remove", bracket=(5.0, 9.0)) == 5.0
    with pytest.raises(CalibrationError, match="high end 3"):
        calibrate(Gaussian, epsilon=1.0, delta=1e-6, relation="add_remove", bracket=(2.0, 3.0))


def test_targets_out_of_reach_end():
    with pytest.raises(CalibrationError, match="within reach"):
        calibrate(lambda z: Gaussian(z) + Gaussian(0.1), epsilon=1.0, delta=1e-6, relation="add_remove")
    with pytest.raises(CalibrationError, match="bind somewhere"):
        calibrate(lambda z: Gaussian(z + 100.0), epsilon=1.0, delta=1e-6, relation="add_remove")
    with pytest.raises(CalibrationError, match="within reach"):
        calibrate(lambda q: PoissonSampled(Gaussian(0.1), 0.5 + q), epsilon=1.0, delta=1e-6, relation="add_remove")


def test_the_reason_of_a_refusal_is_told():
    def build(z):
        return PoissonSampled(PoissonSampled(Gaussian(z), 0.1) * 2, 0.5)

    with pytest.raises(CalibrationError, match=r"within reach.*draw a batch per release"):
        calibrate(build, epsilon=1.0, delta=1e-6, relation="add_remove")
    with pytest.raises(CalibrationError, match=r"high end 3.*noise_multiplier must be"):
        calibrate(lambda z: Gaussian(z - 3.0), epsilon=1.0, delta=1e-6, relation="add_remove", bracket=(2.0, 3.0))


def test_the_least_tolerance_ends_between_neighbouring_floats():
    def cost(z):
        return epsilon(Gaussian(z), delta=1e-6, relation="add_remove")

    x = calibrate(Gaussian, epsilon=1.0, delta=1e-6, relation="add_remove", tolerance=1e-17)
    assert cost(x) <= 1.0 < cost(math.nextafter(x, 0.0))


def test_errors_of_build_itself_are_not_swallowed():
    def build(z):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        calibrate(build, epsilon=1.0, delta=1e-6, relation="add_remove")


@pytest.mark.parametrize(
    "arguments",
    [
        {"epsilon": 0.0},
        {"epsilon": math.inf},
        {"epsilon": True},
        {"delta": 0.0},
        {"delta": 1.0},
        {"tolerance": 0.0},
        {"tolerance": 1.0},
        {"bracket": 3.0},
        {"bracket": (1.0,)},
        {"bracket": (2.0, 1.0)},
        {"bracket": (0.0, 1.0)},
        {"bracket": (1.0, math.inf)},
    ],
)
def test_parameters_are_checked(arguments):
    with pytest.raises(EventError, match=f"^{next(iter(arguments))} must be"):
        calibrate(Gaussian, **{"epsilon": 1.0, "delta": 1e-6, "relation": "add_remove", **arguments})


def test_relation_is_required():
    with pytest.raises(RelationError):
        calibrate(Gaussian, epsilon=1.0, delta=1e-6, relation=None)


def test_a_build_that_is_no_event_is_said_so():
    with pytest.raises(EventError, match="build must return an event, got float"):
        calibrate(lambda x: 3.0, epsilon=1.0, delta=1e-5, relation="add_remove")


def test_useless_lattices_end_at_once():
    def shares(x):
        return DistributedDiscreteGaussian(x, 10, 16.0, 10)

    found = calibrate(shares, epsilon=1.0, delta=1e-5, relation="add_remove", bracket=(1e-6, 1e3))
    assert 5.0 < found < 100.0


class Counting:
    """The Rényi accountant, with the number of questions it was asked."""

    def __init__(self):
        self.asked = 0
        self.inner = RDPAccountant()

    def epsilon(self, what, *, delta, relation=None):
        self.asked += 1
        return self.inner.epsilon(what, delta=delta, relation=relation)

    def delta(self, what, *, epsilon, relation=None):
        return self.inner.delta(what, epsilon=epsilon, relation=relation)

    def supports(self, what, *, relation=None):
        return self.inner.supports(what, relation=relation)


@pytest.mark.parametrize("delta", [1e-5, 1e-100])
@pytest.mark.parametrize("target", [1e-3, 0.1, 2.0, 50.0])
def test_few_evaluations_from_no_bracket_at_all(target, delta):
    for q, times in [(1.0, 1), (1.0, 10**6), (0.1, 100), (0.01, 10**4), (1e-4, 10**5)]:
        accountant = Counting()
        calibrate(
            lambda z, q=q, times=times: PoissonSampled(Gaussian(z), q) * times,
            epsilon=target,
            delta=delta,
            relation="add_remove",
            accountant=accountant,
        )
        assert accountant.asked <= 10


@settings(max_examples=20)
@given(
    log_z=st.floats(math.log(0.3), math.log(300.0)),
    q=st.sampled_from([1.0, 0.1, 0.01]),
    log_target=st.floats(math.log(1e-3), math.log(50.0)),
    log_delta=st.floats(-100.0, -1.0),
    relation=st.sampled_from(Relation),
)
def test_max_times_is_the_last_that_fits(log_z, q, log_target, log_delta, relation):
    event = PoissonSampled(Gaussian(math.exp(log_z)), q)
    target, delta = math.exp(log_target), 10.0**log_delta
    times = max_times(event, epsilon=target, delta=delta, relation=relation)
    assert times == 0 or epsilon(event * times, delta=delta, relation=relation) <= target
    assert epsilon(event * (times + 1), delta=delta, relation=relation) > target


def test_max_times_counts_every_release():
    accountant = Counting()
    event = PoissonSampled(Gaussian(3.0), 0.1)
    fits = [n for n in range(1, 200) if RDPAccountant().epsilon(event * n, delta=1e-6, relation="add_remove") <= 2.0]
    found = max_times(event, epsilon=2.0, delta=1e-6, relation="add_remove", accountant=accountant)
    assert type(found) is int
    assert fits == list(range(1, found + 1))
    assert accountant.asked <= 10
    pair = max_times(event * 2, epsilon=2.0, delta=1e-6, relation="add_remove", accountant=accountant)
    assert pair == found // 2


def test_max_times_of_extremes():
    assert max_times(Gaussian(0.1), epsilon=0.1, delta=1e-6, relation="add_remove") == 0
    many = max_times(Gaussian(1e6), epsilon=1.0, delta=1e-6, relation="add_remove")
    assert epsilon(Gaussian(1e6) * many, delta=1e-6, relation="add_remove") <= 1.0
    assert epsilon(Gaussian(1e6) * (many + 1), delta=1e-6, relation="add_remove") > 1.0
    assert many > 10**10


@pytest.mark.parametrize(
    "event", [PoissonSampled(Gaussian(1.0), 0.0), Gaussian(1e12), Gaussian(1e12) * 2**50, Gaussian(1e12) * 0]
)
def test_max_times_of_what_costs_next_to_nothing(event):
    with pytest.raises(CalibrationError, match="bind somewhere"):
        max_times(event, epsilon=50.0, delta=1e-6, relation="add_remove")


@pytest.mark.parametrize(
    "arguments", [{"epsilon": 0.0}, {"epsilon": math.nan}, {"delta": 0.0}, {"delta": 1.0}, {"event": 3.0}]
)
def test_max_times_checks_its_parameters(arguments):
    with pytest.raises(EventError, match=f"^{next(iter(arguments))} must be"):
        max_times(**{"event": Gaussian(1.0), "epsilon": 1.0, "delta": 1e-6, "relation": "add_remove", **arguments})
    with pytest.raises(RelationError):
        max_times(Gaussian(1.0), epsilon=1.0, delta=1e-6, relation=None)


def test_max_times_says_why_an_event_has_no_bound():
    event = PoissonSampled(PoissonSampled(Gaussian(1.0), 0.1) * 2, 0.5)
    with pytest.raises(UnsupportedEventError, match="draw a batch per release"):
        max_times(event, epsilon=1.0, delta=1e-6, relation="add_remove")
