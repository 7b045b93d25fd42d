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
    calibrate,
    epsilon,
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
