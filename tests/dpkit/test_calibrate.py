"""Noise for an epsilon: private in exact arithmetic, and no more of it than needed."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accountants import RelationError, epsilon
from accountants.events import Gaussian, Laplace
from dpkit._calibrate import gaussian_multiplier, laplace_multiplier
from dpkit.bounded import Bounded
from dpkit.continuous import GaussianMechanism, LaplaceMechanism
from dpkit.errors import ParameterError

DISTANCE = {"add_remove": 1, "zero_out": 1, "replace_one": 2}
RELATIONS = st.sampled_from(sorted(DISTANCE))
EPSILONS = st.floats(-6, 3).map(lambda x: 10.0**x) | st.sampled_from([1e-6, 1e3])
DELTAS = st.floats(-300, -0.31).map(lambda x: 10.0**x) | st.sampled_from([1e-300, 0.5])

# (epsilon, delta): standard deviation at sensitivity 1, rounded up at 17 digits
VECTORS = {
    (0.01, 1e-5): 243.78543767567803,
    (0.01, 1e-10): 501.29213292600075,
    (0.1, 1e-6): 36.304690426195785,
    (0.5, 1e-5): 7.0318266755824914,
    (1.0, 1e-5): 3.7306316348159418,
    (1.0, 1e-15): 7.487009467986591,
    (1.0, 1e-20): 8.838226921980564,
    (1.0, 1e-50): 14.604918341799501,
    (2.0, 1e-6): 2.2304762711864173,
    (5.0, 1e-10): 1.2807779778932222,
    (10.0, 1e-5): 0.49988861970900851,
    (20.0, 1e-6): 0.30908468121885963,
    (100.0, 1e-10): 0.10876042602012664,
}


def exact_delta(stddev, epsilon):
    """Delta of N(1, stddev²) against N(0, stddev²), to 60 digits (Balle & Wang 2018, Theorem 8)."""
    with mpmath.workdps(60):
        mu, epsilon = 1 / mpmath.mpf(stddev), mpmath.mpf(epsilon)
        tails = [mpmath.erfc((epsilon / mu + side * mu / 2) / mpmath.sqrt(2)) / 2 for side in (-1, 1)]
        return tails[0] - mpmath.exp(epsilon) * tails[1]


@given(EPSILONS, DELTAS, RELATIONS)
def test_gaussian_for_epsilon_is_private_and_least(target, delta, relation):
    mechanism = GaussianMechanism.for_epsilon(target, delta=delta, relation=relation)
    noise, distance = mpmath.mpf(mechanism.noise_multiplier), DISTANCE[relation]
    with mpmath.workdps(60):
        assert exact_delta(noise / distance, target) <= mpmath.mpf(delta)
        assert exact_delta(noise * (1 - mpmath.mpf(10) ** -12) / distance, target) > mpmath.mpf(delta)
    assert epsilon(mechanism.event(Bounded(0.0, 1.0)), delta=delta, relation=relation) <= target


@pytest.mark.parametrize("target", [1e-6, 1e3])
@pytest.mark.parametrize("delta", [1e-300, 0.5])
@pytest.mark.parametrize("relation", sorted(DISTANCE))
def test_the_corners_of_the_range(target, delta, relation):
    noise = gaussian_multiplier(target, delta, relation)
    with mpmath.workdps(60):
        scaled = mpmath.mpf(noise) / DISTANCE[relation]
        assert exact_delta(scaled, target) <= mpmath.mpf(delta)
        assert exact_delta(scaled * (1 - mpmath.mpf(10) ** -12), target) > mpmath.mpf(delta)
    assert epsilon(Gaussian(noise), delta=delta, relation=relation) <= target


@pytest.mark.parametrize(("target", "delta"), VECTORS)
def test_known_multipliers(target, delta):
    known = VECTORS[target, delta]
    assert exact_delta(known * (1 + 1e-14), target) <= mpmath.mpf(delta) < exact_delta(known * (1 - 1e-14), target)
    assert abs(gaussian_multiplier(target, delta, "add_remove") / known - 1) < 1e-13
    assert gaussian_multiplier(target, delta, "replace_one") == pytest.approx(2 * known, rel=1e-13)


@example(3.0, 0.0, "add_remove")
@given(EPSILONS, DELTAS | st.just(0.0), RELATIONS)
def test_laplace_for_epsilon_is_private_and_least(target, delta, relation):
    """Against 1 - e^((epsilon - loss)/2), the largest loss being the distance over the multiplier."""
    mechanism = LaplaceMechanism.for_epsilon(target, delta=delta, relation=relation)
    noise = mechanism.noise_multiplier
    with mpmath.workdps(400):
        allowed = mpmath.mpf(target) - 2 * mpmath.log(1 - mpmath.mpf(delta))
        assert DISTANCE[relation] / mpmath.mpf(noise) <= allowed
        assert DISTANCE[relation] / (mpmath.mpf(noise) * (1 - mpmath.mpf(10) ** -13)) > allowed
    if delta > 0.0:
        assert epsilon(mechanism.event(Bounded(0.0, 1.0, "l1")), delta=delta, relation=relation) <= target
    else:
        assert Fraction(noise) * Fraction(target) >= DISTANCE[relation]
        assert Fraction(math.nextafter(noise, 0.0)) * Fraction(target) < DISTANCE[relation]


def test_targets_are_rounded_down():
    third, tenth = Fraction(1, 3), Fraction(1, 10)
    noise = laplace_multiplier(third, 0.0, "add_remove")
    assert Fraction(noise) * third >= 1
    over = Fraction(math.nextafter(0.1, 1.0)) - Fraction(1, 10**30)  # nearest float64 is above
    assert float(over) > over
    assert gaussian_multiplier(1.0, over, "add_remove") >= gaussian_multiplier(1.0, 0.1, "add_remove")
    assert gaussian_multiplier(over, 1e-5, "add_remove") == gaussian_multiplier(0.1, 1e-5, "add_remove")
    assert laplace_multiplier(1, tenth, "add_remove") >= laplace_multiplier(1, 0.1, "add_remove")
    assert laplace_multiplier(np.uint8(3), 0.0, "add_remove") == laplace_multiplier(3.0, 0.0, "add_remove")


def test_bad_targets():
    for make in (GaussianMechanism, LaplaceMechanism):
        for bad in (0.0, -1.0, math.nan, math.inf, True, "1", None):
            with pytest.raises(ParameterError, match="epsilon must be"):
                make.for_epsilon(bad, delta=1e-5, relation="add_remove")
        for bad in (-1e-9, 1.0, 2.0, math.nan, True, "1", None):
            with pytest.raises(ParameterError, match="delta must be"):
                make.for_epsilon(1.0, delta=bad, relation="add_remove")
        for bad in ("swap", None, 1):
            with pytest.raises(RelationError, match="relation must be"):
                make.for_epsilon(1.0, delta=1e-5, relation=bad)
        with pytest.raises(ParameterError, match="2\\*\\*300"):
            make.for_epsilon(1e-200, delta=1e-300, relation="add_remove")
    with pytest.raises(ParameterError, match="LaplaceMechanism"):
        GaussianMechanism.for_epsilon(1.0, delta=0.0, relation="add_remove")


@pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-10])
@pytest.mark.parametrize("target", [0.01, 0.1, 0.5, 0.9, 1.0])
def test_the_classic_formula_is_private_up_to_one(target, delta):
    """The baseline (Dwork & Roth 2014, Theorem A.1): noise that is enough, and more than needed."""
    classic = math.sqrt(2 * math.log(1.25 / delta)) / target
    assert exact_delta(classic, target) < delta
    assert classic > 1.05 * gaussian_multiplier(target, delta, "add_remove")


def test_the_classic_formula_is_a_baseline_only():
    for target, delta, times in ((10.0, 1e-5, 2.2), (20.0, 1e-5, 150), (100.0, 1e-5, 99_999)):
        classic = math.sqrt(2 * math.log(1.25 / delta)) / target
        assert exact_delta(classic, target) > times * delta
        assert classic < gaussian_multiplier(target, delta, "add_remove")
        assert epsilon(Gaussian(classic), delta=delta, relation="add_remove") > target


def _from_error_function(target, delta):
    """Balle & Wang's Algorithm 1 with the normal law as (1 + erf)/2: what IBM's library computes. Known to be bad."""

    def upper(x):
        def normal(t):
            return (1.0 + math.erf(t / math.sqrt(2.0))) / 2.0

        return normal(-math.sqrt(target * x)) - math.exp(target) * normal(-math.sqrt(target * (x + 2.0)))

    low, high = 0.0, 1.0
    while upper(high) > delta:
        low, high = high, 2.0 * high
    while low < (middle := 0.5 * (low + high)) < high:
        low, high = (middle, high) if upper(middle) > delta else (low, middle)
    return (math.sqrt(1.0 + high / 2.0) + math.sqrt(high / 2.0)) / math.sqrt(2.0 * target)


def test_cancellation_in_the_normal_law_is_caught():
    """At small deltas the common way leaves too little noise; the same check passes at moderate ones."""
    assert exact_delta(_from_error_function(1.0, 1e-5) * (1 + 1e-10), 1.0) <= 1e-5
    bad = _from_error_function(1.0, 1e-20)
    assert exact_delta(bad, 1.0) > 100 * mpmath.mpf(1e-20)
    assert bad < 0.95 * gaussian_multiplier(1.0, 1e-20, "add_remove")
    assert exact_delta(gaussian_multiplier(1.0, 1e-20, "add_remove"), 1.0) <= mpmath.mpf(1e-20)


@given(EPSILONS, DELTAS, st.floats(1.001, 2.0))
def test_more_budget_needs_less_noise(target, delta, factor):
    for multiplier in (gaussian_multiplier, laplace_multiplier):
        noise = multiplier(target, delta, "add_remove")
        assert multiplier(target * factor, delta, "add_remove") < noise
        if delta * factor < 0.5:
            assert multiplier(target, delta * factor, "add_remove") <= noise * (1 + 1e-13)
        assert multiplier(target, delta, "replace_one") == pytest.approx(2 * noise, rel=1e-12)


def test_laplace_needs_no_delta():
    assert LaplaceMechanism.for_epsilon(2.0, 0.0, "add_remove") == LaplaceMechanism(0.5)
    assert epsilon(Laplace(0.5), delta=1e-300, relation="add_remove") == pytest.approx(2.0, rel=1e-15)
    assert LaplaceMechanism.for_epsilon(2.0, delta=0.0, relation="zero_out") == LaplaceMechanism(0.5)
    assert GaussianMechanism.for_epsilon(1.0, 1e-5, "zero_out") == GaussianMechanism.for_epsilon(
        1.0, delta=1e-5, relation="add_remove"
    )
