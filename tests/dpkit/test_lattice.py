"""The lattice of the integer mechanisms: how far a record moves a rounded query, and by which facts."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit import (
    Bounded,
    DiscreteGaussianMechanism,
    DiscreteLaplaceMechanism,
    ParameterError,
    SkellamMechanism,
)
from dpkit.lattice import check_step, holds_integers, movement, on_lattice, require_step

STEPS = st.integers(-4, 3).map(lambda e: 2.0**e)
MECHANISMS = (DiscreteGaussianMechanism, DiscreteLaplaceMechanism, SkellamMechanism)


def _rounded(mechanism, value, bound, norm):
    """Where the law of a release is centred, from its own pmf: the most likely output, in steps."""
    query = Bounded(value, bound, norm)
    near = np.floor(value / mechanism.step)
    outputs = [(near + k) * mechanism.step for k in (-1, 0, 1, 2)]
    likely = np.argmax([mechanism.pmf(output, query) for output in outputs], axis=0)
    return near + likely - 1


def _norms(vector):
    return float(np.abs(vector).sum()), float((vector**2).sum())


@given(
    st.integers(1, 6),
    st.sampled_from(("l1", "l2")),
    st.floats(0.01, 9),
    STEPS,
    st.sampled_from((DiscreteLaplaceMechanism, SkellamMechanism)),
    st.integers(0, 2**32),
)
def test_no_rounded_query_moves_further(dim, norm, bound, step, kind, seed):
    """Real neighbours, many of them near the halves where rounding is worst, never move by more than is recorded."""
    if kind is DiscreteLaplaceMechanism:
        norm = "l1"
    rng = np.random.default_rng(seed)
    mechanism = kind(0.5 * step / bound, step)  # half a step of noise: the mode is the centre
    moved = movement(Bounded(np.zeros(dim), bound, norm), step)
    event = mechanism.event(Bounded(np.zeros(dim), bound, norm))
    for sparse in (0.0, 0.5, 0.9):
        delta = rng.normal(size=dim) * (rng.random(dim) >= sparse) ** 3 + 1e-9
        size = np.abs(delta).sum() if norm == "l1" else math.sqrt((delta**2).sum())
        delta *= bound / size * (1 - 2.0**-40)
        x = (rng.integers(-9, 9, size=dim) + 0.5) * step - np.nextafter(0, 1) * rng.integers(0, 2, size=dim)
        x = np.where(rng.random(dim) < 0.7, np.nextafter(x, -1e9), rng.normal(size=dim))
        l1, l2_square = _norms(_rounded(mechanism, x + delta, bound, norm) - _rounded(mechanism, x, bound, norm))
        assert l1 <= moved.l1 == event.l1_bound
        assert l2_square <= Fraction(moved.l2) ** 2


@given(st.integers(1, 8), st.floats(0.1, 30), STEPS)
def test_the_growth_in_l1_is_reached(dim, bound, step):
    """All coordinates just below a half: one takes nearly all of the bound, the others cross by a hair."""
    hair = 2.0**-30 * step
    size = Fraction(bound) / Fraction(step)
    room = size - math.ceil(size) + 1  # how far the bound is above the last whole step below it
    if float(room) < 2 * dim * 2.0**-30:
        return
    x = np.full(dim, 0.5 * step - hair)
    moved = x + hair
    moved[0] = 0.5 * step + (math.ceil(size) - 1) * step
    assert np.abs(moved - x).sum() <= bound
    mechanism = DiscreteLaplaceMechanism(0.5 * step / bound, step)
    change = _rounded(mechanism, moved, bound, "l1") - _rounded(mechanism, x, bound, "l1")
    exact = movement(Bounded(x, bound, "l1"), step)
    assert np.abs(change).sum() == exact.l1
    assert Fraction(exact.l2) ** 2 >= (change**2).sum() >= Fraction(exact.l2) ** 2 * (1 - Fraction(1, 2**50))


@given(st.integers(1, 50), st.floats(0.01, 1e6), STEPS, st.sampled_from(("l1", "l2")))
def test_the_growth_is_no_more_than_the_triangle_inequality_gives(dim, bound, step, norm):
    moved, size = movement(Bounded(np.zeros(dim), bound, norm), step), bound / step
    room = 1 + 1e-12
    assert moved.l1 <= (size + dim if norm == "l1" else math.sqrt(dim) * (size + math.sqrt(dim))) * room
    assert moved.l2 <= (size + math.sqrt(dim)) * room
    assert moved.l2 <= moved.l1
    if dim == 1:
        assert moved.l1 == moved.l2 == math.ceil(Fraction(bound) / Fraction(step))


@given(st.integers(1, 4), st.floats(0.3, 5), st.integers(-2, 0), st.sampled_from(("l1", "l2")), st.integers(0, 2**32))
def test_integers_move_by_what_their_bound_allows(dim, bound, power, norm, seed):
    """The bound recorded for integer queries holds for every integer contribution within it, and is one's."""
    step = 2.0**power
    moved = movement(Bounded(np.zeros(dim, dtype=np.int32), bound, norm), step)
    reach = range(-math.floor(bound), math.floor(bound) + 1)
    grid = np.stack(np.meshgrid(*[reach] * dim), axis=-1).reshape(-1, dim)
    sizes = np.abs(grid).sum(axis=1) if norm == "l1" else np.sqrt((grid**2).sum(axis=1))
    inside = grid[sizes <= bound] / step
    assert (np.abs(inside).sum(axis=1) <= moved.l1).all()
    assert ((inside**2).sum(axis=1) <= float(Fraction(moved.l2) ** 2) * (1 + 1e-15)).all()
    if float(bound).is_integer() or step == 1.0:
        assert moved.l1 == max(1, np.abs(inside).sum(axis=1).max()) or norm == "l2"


def test_events_read_no_numbers():
    """Not even whether they are finite: what is recorded, or refused before, is the same for every value."""
    for kind in MECHANISMS:
        mechanism = kind(2.0, 0.5)
        for value in (np.array([np.nan, 1.0]), np.array([np.inf, 1e308])):
            assert mechanism.event(Bounded(value, 2.0, "l1")) == mechanism.event(Bounded(np.zeros(2), 2.0, "l1"))
            with pytest.raises(ParameterError, match="finite"):
                mechanism.release(Bounded(np.array([np.nan, 1.0]), 2.0, "l1"))


def test_only_types_decide_what_is_exact():
    assert on_lattice(Bounded(np.array([1, 2], dtype=np.uint8), 1.0), 0.25)
    torch = pytest.importorskip("torch")
    assert on_lattice(Bounded({"a": np.array([1]), "b": torch.tensor([3])}, 1.0), 1.0)
    assert not on_lattice(Bounded(np.array([1.0, 2.0]), 1.0), 1.0)  # whole today, another neighbour may not be
    assert not on_lattice(Bounded(np.array([1, 2]), 1.0), 2.0)
    assert not on_lattice(Bounded({"a": np.array([1]), "b": np.zeros(1)}, 1.0), 1.0)
    assert not on_lattice(Bounded(5, 1.0), 1.0)  # a Python number becomes float64
    assert holds_integers(np.zeros(0, dtype=np.int64))


def test_steps_are_checked():
    assert check_step(None) is None
    assert check_step(4) == 4.0
    assert require_step(0.25) == 0.25
    with pytest.raises(ParameterError, match="step must be given"):
        require_step(None)
    for step in (0.0, -2.0, 3, 0.3, "1", True, float("inf"), float("nan"), 2.0**501):
        with pytest.raises(ParameterError, match="step must be"):
            check_step(step)
