"""Bands: the recursion, its matrix, the centres that it releases, and the worst pattern."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants.participation import Participation
from dpkit.correlated import BandedNoise, TreeNoise
from dpkit.entropy import seeded
from dpkit.errors import ParameterError
from dpkit.samplers import discrete_gaussian
from tests.oracles.participation import toeplitz, worst_absolute, worst_signed

FALLING = st.lists(st.floats(0, 1), max_size=6).map(lambda rest: [1.0, *sorted(rest, reverse=True)])


def _stream(steps, dim=1, seed=0, **chosen):
    return BandedNoise(np.zeros(dim), noise_multiplier=1.0, bound=1.0, steps=steps, entropy=seeded(seed), **chosen)


@given(FALLING, st.integers(7, 40), st.integers(0, 2**64))
def test_rows_solve_the_banded_recursion(coefficients, steps, seed):
    """C n = Z, row by row, within half a lattice step and what the guard bits cut."""
    stream, source = _stream(steps, dim=2, seed=seed, coefficients=coefficients), seeded(seed)
    used = [Fraction(c) for c in stream.coefficients]
    rows = []
    for _ in range(steps):
        drawn = discrete_gaussian(2, stream.stddev / stream.step, source)
        rows.insert(0, [int(number) for number in stream.next() / stream.step])
        for place in range(2):
            back = sum(c * row[place] for c, row in zip(used, rows, strict=False))
            assert abs(back - int(drawn[place])) <= Fraction(1, 2) + Fraction(len(used), 1 << 21)


def _centre(stream, t, kept, release, query):
    """Where the release of this step is centred, and what is kept, given the path: by the shipped recursion."""
    earlier = -stream._advance(t, kept, lambda: np.zeros(1, dtype=np.int64))[0]
    noise = np.array([release - query])
    row, kept = stream._advance(t, kept, lambda: noise + earlier)
    assert row == noise
    return query - int(earlier[0]), kept


@given(FALLING, st.data())
def test_centres_move_by_the_strategy_and_two_roundings(coefficients, data):
    """The lemma behind the event: on any path of releases, other data move the centres by C(x - x') and less than 2."""
    steps = 12
    numbers = st.lists(st.integers(-(2**45), 2**45), min_size=steps, max_size=steps)
    query, other, path = data.draw(numbers), data.draw(numbers), data.draw(numbers)
    stream, one, two = _stream(steps, coefficients=coefficients), (), ()
    used = [Fraction(c) for c in stream.coefficients]
    for t in range(steps):
        centre, one = _centre(stream, t, one, path[t], query[t])
        moved_to, two = _centre(stream, t, two, path[t], other[t])
        moved = sum(c * (query[t - k] - other[t - k]) for k, c in enumerate(used[: t + 1]))
        assert abs(centre - moved_to - moved) < 2


def test_low_digits_of_unrounded_rows_give_the_query_away():
    """c = (1, 1/3): without R, thirds in the second release tell the first draw modulo 3, and so the first query."""

    def guess(first, second):
        return (first - np.rint(-3 * second)) % 3

    for query in (0, 1, 2):
        drawn = discrete_gaussian((2, 200), 1e6, seeded(query))
        assert (guess(query + drawn[0], drawn[1] - drawn[0] / 3) == query).all(), "the baseline fails every time"
        stream = _stream(2, dim=200, coefficients=[1.0, 1 / 3])
        row, kept = stream._advance(0, (), lambda z=drawn[0]: z)
        second, _ = stream._advance(1, kept, lambda z=drawn[1]: z)
        assert (guess(query + row, second) == (query + row) % 3).all(), "it learns nothing from the second release"


@given(FALLING, st.integers(7, 60))
def test_prefix_variance_is_that_of_the_matrix(coefficients, steps):
    stream = _stream(steps, coefficients=coefficients)
    strategy = np.array(toeplitz(stream.coefficients, steps))
    rows = np.linalg.solve(strategy.T, np.tril(np.ones((steps, steps))).T).T  # sums times the inverse
    assert np.allclose(stream.prefix_variance(), (rows**2).sum(axis=1), rtol=1e-9)
    assert (stream.prefix_variance() <= np.arange(1, steps + 1) * (1 + 1e-12)).all(), "never above independent noise"


@given(st.lists(st.integers(0, 8), max_size=4), st.integers(5, 8), st.integers(1, 6), st.sampled_from([None, 1, 2]))
def test_banded_sensitivity_is_that_of_every_pattern(eighths, steps, gap, most):
    coefficients = [1.0, *sorted((e / 8 for e in eighths), reverse=True)]
    allowed = Participation(steps=steps, min_separation=gap, max_participations=most)
    found = _stream(steps, coefficients=coefficients).sensitivity(allowed)
    strategy = toeplitz(coefficients, steps)
    worst = worst_signed(strategy, gap, most)
    assert worst == worst_absolute(strategy, gap, most), "all products are >= 0"
    assert found.is_exact
    assert Fraction(found.value) ** 2 >= worst
    assert math.isclose(found.value**2, worst, rel_tol=1e-12)


def test_bands_are_those_of_the_root():
    stream = _stream(3000, bands=2048)
    exact = [math.comb(2 * k, k) / 4**k for k in range(500)]
    assert np.allclose(stream.coefficients[:500], exact, rtol=0, atol=2.0**-32 + 1e-13)
    assert len(stream.coefficients) == 2048


def test_bands_beat_the_tree_for_the_same_privacy():
    """2048 steps, eight passes in a fixed order: the root mean square error of prefix sums, noise per privacy."""
    allowed = Participation(steps=2048, min_separation=256, max_participations=8)
    tree = TreeNoise(np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=2048)
    errors = [
        math.sqrt(stream.prefix_variance().mean()) * stream.sensitivity(allowed).value
        for stream in (_stream(2048, bands=256), _stream(2048, bands=64), tree, _stream(2048, bands=1))
    ]
    assert errors == sorted(errors)
    assert 2 * errors[0] < errors[2]


def test_memory_is_the_bands():
    stream = _stream(50, bands=5)
    for drawn in range(1, 51):
        stream.next()
        assert len(stream._state.kept) == min(drawn, 4)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({}, "exactly one of bands and coefficients"),
        ({"bands": 2, "coefficients": [1.0]}, "exactly one of bands and coefficients"),
        ({"bands": 0}, "bands must be an integer >= 1"),
        ({"bands": 9}, "bands must be 1 to 8"),
        ({"coefficients": []}, "bands must be 1 to 8"),
        ({"coefficients": [0.5, 0.25]}, "begin with 1.0"),
        ({"coefficients": [1.0, 0.5, 0.75]}, "nowhere increase"),
        ({"coefficients": [1.0, -0.5]}, ">= 0"),
        ({"coefficients": [1.0, math.nan]}, "coefficients must be finite"),
        ({"coefficients": [[1.0], [0.5]]}, "one dimension"),
        ({"coefficients": [[1.0], 0.5]}, "coefficients must be an array of one shape"),
        ({"coefficients": ["a"]}, "coefficients must hold real numbers"),
    ],
)
def test_bad_bands_are_refused(chosen, message):
    with pytest.raises(ParameterError, match=message):
        _stream(8, **chosen)


def test_many_bands_are_refused():
    with pytest.raises(ParameterError, match="bands must be 1 to 2048"):
        _stream(10_000, bands=3000)
