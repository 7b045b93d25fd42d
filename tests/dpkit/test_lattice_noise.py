"""The noise of a release on the lattice: what comes out, and what is said of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import Gaussian, epsilon
from accountants.errors import CalibrationError
from dpkit import (
    Bounded,
    DiscreteGaussianMechanism,
    DiscreteLaplaceMechanism,
    ParameterError,
    SkellamMechanism,
)
from dpkit.entropy import seeded
from dpkit.lattice import on_lattice
from dpkit.lattice_noise import least_multiplier
from dpkit.mechanism import query_vector
from dpkit.samplers import to_lattice

STEPS = st.integers(-4, 3).map(lambda e: 2.0**e)
MECHANISMS = (DiscreteGaussianMechanism, DiscreteLaplaceMechanism, SkellamMechanism)


@pytest.mark.parametrize("kind", MECHANISMS)
def test_integers_in_integers_out(kind):
    torch = pytest.importorskip("torch")
    cases = [
        (np.array([3, -4], dtype=np.int16), 1.0, np.dtype(np.int64)),
        (np.array([3, 4], dtype=np.uint64), 8.0, np.dtype(np.int64)),
        (np.array([3, -4]), 2048.0, np.dtype(np.float64)),
        (np.array([3, -4]), 0.5, np.dtype(np.float64)),
        (np.array([3, -4], dtype=np.float32), 1.0, np.dtype(np.float32)),
        (torch.tensor([3, -4]), 1.0, torch.int64),
        (torch.tensor([3.0, -4.0]), 1.0, torch.float32),
    ]
    for value, step, dtype in cases:
        release = kind(4.0, step).release(Bounded(value, 2.0 * step, "l1"), entropy=seeded(1))
        assert release.value.dtype == dtype
        assert (np.asarray(release.value) % step == 0).all()
    mixed = Bounded({"a": np.array([1]), "b": np.array(0.5)}, 2.0, "l1")
    value = kind(4.0, 1.0).release(mixed, entropy=seeded(1)).value
    assert value["a"].dtype == value["b"].dtype == np.float64
    assert value["b"].shape == ()


EXTREMES = [
    np.array([2**63 - 1, -(2**63), 2**53 + 1, -(2**53) - 1, 2**62]),
    np.array([2**64 - 1, 2**63, 2**53 + 1, 0, 1], dtype=np.uint64),
    np.array([1.7e308, -1.7e308, 2.0**52 + 1, 5e-324, -0.0]),
]


@pytest.mark.parametrize("kind", MECHANISMS)
@pytest.mark.parametrize("value", EXTREMES, ids=lambda value: str(value.dtype))
@pytest.mark.parametrize("step", [2.0**-3, 1.0, 4.0])
def test_extreme_queries_are_clamped_and_never_wrap(kind, value, step):
    """What comes out is the clamped query and noise, order and sign kept: nothing wraps and nothing is refused."""
    released = kind(4.0, step).release(Bounded(value, 2.0, "l1"), entropy=seeded(2)).value.astype(np.float64)
    clamped = query_vector(Bounded(value, 1.0))
    assert value.dtype.kind == "f" or np.abs(clamped).max() == 2.0**53
    clamped = np.clip(clamped, -(2.0**52) * step, 2.0**52 * step)
    assert (np.abs(released - clamped) <= 1000 * max(step, 1.0)).all()


@pytest.mark.parametrize("step", [1.0, 4.0, 2.0**9])
def test_neighbours_beyond_float64_stay_neighbours(step):
    """One float64 spacing at 2**60 is 256: integers that differ by one may not be drawn further apart than one."""
    for base in (2**53, 2**60, 2**62 + 2**9):
        low, middle, high = (to_lattice(query_vector(Bounded(np.array([base + i]), 1.0)), step) for i in (-1, 0, 1))
        assert max(abs(low - middle), abs(high - middle)) * step <= 1.0


def test_probabilities_off_the_lattice_are_zero_and_shapes_are_kept():
    query = Bounded(np.array([[0.3], [7.0]]), 2.0, "l1")
    for kind in MECHANISMS:
        mechanism = kind(2.0, 0.5)
        outputs = np.array([0.0, 0.25, 0.5, np.nan, np.inf, 1e300])
        pmf = mechanism.pmf(np.broadcast_to(outputs, (2, 6)), query)
        assert pmf.shape == (2, 6)
        assert (pmf[:, [0, 2]] > 0).all()
        assert (pmf[:, [1, 3, 4, 5]] == 0).all()
        tree = Bounded({"b": np.array([7.0]), "a": np.array(0.3)}, 2.0, "l1")
        both = mechanism.pmf({"a": np.array(0.5), "b": np.array([0.0])}, tree)
        assert list(both) == ["b", "a"]
        assert (both["a"], both["b"][0]) == (pmf[0, 2], pmf[1, 0])


def test_outputs_of_another_structure_are_refused():
    mechanism, query = SkellamMechanism(2.0, 0.5), Bounded(np.zeros((2, 3)), 2.0)
    for outputs in (np.zeros(3), np.zeros((1, 3)), np.zeros((2, 4)), {"a": np.zeros((2, 3))}, 0.0):
        with pytest.raises(ParameterError, match="outputs must have"):
            mechanism.pmf(outputs, query)
    tree = Bounded({"a": np.zeros(2)}, 2.0)
    for outputs in (np.zeros(2), {"b": np.zeros(2)}, {"a": np.zeros(3)}):
        with pytest.raises(ParameterError, match="outputs must have"):
            mechanism.pmf(outputs, tree)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 2.0, float("nan"), "high", True])
def test_levels_are_probabilities(level):
    with pytest.raises(ParameterError, match="level must be"):
        SkellamMechanism(2.0, 0.5).interval(Bounded(np.zeros(3), 2.0), level=level)


@given(st.floats(1.0, 50), STEPS, st.floats(0.01, 0.999), st.integers(0, 2**32))
def test_intervals_hold_around_the_query_itself(noise, step, level, seed):
    """Summing the mechanism's own pmf: what is within w of the query, wherever on the line the query is."""
    value = np.random.default_rng(seed).normal(size=5) * 3 * step
    value[0] = np.nextafter(0.5 * step, 0)
    value[1] = 0.5 * step
    steps = np.arange(-900, 901)[:, np.newaxis] + np.rint(value / step)
    for kind in MECHANISMS:
        mechanism, query = kind(noise, step), Bounded(value, step, "l1")
        width = mechanism.interval(query, level=level)
        assert (2 * width / step).is_integer()
        inside = np.abs(steps * step - value) <= width
        assert ((mechanism.pmf(steps * step, query) * inside).sum(axis=0) >= level - 1e-12).all()
        whole = Bounded(np.array([3]), max(1.0, step), "l1")
        exact = kind(noise, min(step, 1.0))
        outputs = np.arange(-9000, 9001)[:, np.newaxis] * exact.step + 3.0
        pmf, width = exact.pmf(outputs, whole), exact.interval(whole, level=level)
        smaller = np.abs(outputs - 3.0) <= width - exact.step
        assert width == 0.0 or (pmf * smaller).sum() <= level + 1e-10


@given(st.floats(0.3, 50), STEPS)
def test_variance_is_that_of_what_is_drawn(noise, step):
    """The published bug of a Skellam that drew twice the variance it was accounted for: drawn, said and recorded."""
    for kind in MECHANISMS:
        mechanism = kind(noise, step)
        query = Bounded(np.array([0]) if step <= 1.0 else np.zeros(1), step, "l1")
        outputs = np.arange(-4000.0, 4001.0) * step
        mass = mechanism.pmf(outputs[:, np.newaxis], query)[:, 0]
        square = math.fsum(outputs**2 * mass)
        if on_lattice(query, step) or kind is not DiscreteGaussianMechanism:
            assert mechanism.variance(query) == pytest.approx(square, rel=1e-9)
        else:
            assert mechanism.variance(query) >= square * (1 - 1e-9)


def test_calibration_is_on_the_safe_side():
    least = least_multiplier(Gaussian, epsilon=1.0, delta=1e-6, relation="replace_one")
    assert epsilon(Gaussian(least), delta=1e-6, relation="replace_one") <= 1.0
    assert epsilon(Gaussian(least * (1 - 2e-6)), delta=1e-6, relation="replace_one") > 1.0


def test_noise_that_the_lattice_refuses_is_too_little():
    """The refusal is told, and nothing of dpkit's own exceptions gets in the way of the search."""
    query = Bounded(np.zeros(1), 1.0)
    mechanism = SkellamMechanism.for_epsilon(50.0, 1e-3, "add_remove", query=query, step=2.0**10)
    assert mechanism.noise(query).law.variance() >= 2.0**-20
    with pytest.raises(CalibrationError, match="choose another step"):
        SkellamMechanism.for_epsilon(1.0, 1e-6, "add_remove", query=query, step=2.0**-40)
