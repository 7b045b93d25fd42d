"""Buffers: the recursion, its matrix, the centres that it releases, the worst pattern, and published optima."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants.participation import Participation
from dpkit.correlated import BandedNoise, BufferedToeplitzNoise
from dpkit.correlated._fixed import ONE
from dpkit.correlated.toeplitz import _coefficients_up, _drift
from dpkit.entropy import seeded
from dpkit.errors import ParameterError
from dpkit.samplers import discrete_gaussian
from tests.oracles.participation import toeplitz, worst_absolute, worst_signed

SCALES = st.lists(st.floats(1e-6, 1), min_size=1, max_size=4).map(lambda s: [x / max(1.0, sum(s)) * 0.999 for x in s])
DECAYS = st.lists(st.one_of(st.floats(0, 1, exclude_max=True), st.floats(0.99, 0.9999)), min_size=4, max_size=4)


def _stream(steps, output_scale, buf_decay, dim=1, seed=0):
    return BufferedToeplitzNoise(
        np.zeros(dim),
        noise_multiplier=1.0,
        bound=1.0,
        steps=steps,
        output_scale=output_scale,
        buf_decay=buf_decay[: len(output_scale)],
        entropy=seeded(seed),
    )


def _exact(stream):
    """The coefficients as rational numbers."""
    pairs = [(Fraction(s), Fraction(d)) for s, d in zip(stream.output_scale, stream.buf_decay, strict=True)]
    return [Fraction(1), *(sum(s * d**k for s, d in pairs) for k in range(stream.steps - 1))]


@given(SCALES, DECAYS, st.integers(1, 12), st.integers(0, 2**64))
def test_rows_solve_the_buffered_recursion(scales, decays, steps, seed):
    """C n = Z, row by row, within half of what two roundings can differ by, and a fiftieth."""
    stream, source = _stream(steps, scales, decays, dim=2, seed=seed), seeded(seed)
    coefficients = _exact(stream)
    allowed = _drift(stream._scales, stream._decays, steps) / 2
    rows = []
    for _ in range(steps):
        drawn = discrete_gaussian(2, stream.stddev / stream.step, source)
        rows.insert(0, [int(number) for number in stream.next() / stream.step])
        for place in range(2):
            back = sum(c * row[place] for c, row in zip(coefficients, rows, strict=False))
            assert abs(back - int(drawn[place])) <= allowed


def _centre(stream, t, kept, release, query):
    """Where the release of this step is centred, and what is kept, given the path: by the shipped recursion."""
    earlier = -stream._advance(t, kept, lambda: np.zeros(1, dtype=np.int64))[0]
    noise = np.array([release - query])
    row, kept = stream._advance(t, kept, lambda: noise + earlier)
    assert row == noise
    return query - int(earlier[0]), kept


@given(SCALES, DECAYS, st.data())
def test_centres_move_by_the_strategy_and_the_roundings(scales, decays, data):
    """The lemma behind the event: on any path of releases, other data move the centres by C(x - x') and the drift."""
    steps = 12
    numbers = st.lists(st.integers(-(2**45), 2**45), min_size=steps, max_size=steps)
    query, other, path = data.draw(numbers), data.draw(numbers), data.draw(numbers)
    stream, one, two = _stream(steps, scales, decays), (), ()
    coefficients = _exact(stream)
    for t in range(steps):
        centre, one = _centre(stream, t, one, path[t], query[t])
        moved_to, two = _centre(stream, t, two, path[t], other[t])
        moved = sum(c * (query[t - k] - other[t - k]) for k, c in enumerate(coefficients[: t + 1]))
        assert abs(centre - moved_to - moved) <= _drift(stream._scales, stream._decays, steps)


@given(SCALES, DECAYS, st.integers(2, 60))
def test_prefix_variance_is_that_of_the_matrix(scales, decays, steps):
    stream = _stream(steps, scales, decays)
    strategy = np.array(toeplitz([float(c) for c in _exact(stream)], steps))
    rows = np.linalg.solve(strategy.T, np.tril(np.ones((steps, steps))).T).T
    assert np.allclose(stream.prefix_variance(), (rows**2).sum(axis=1), rtol=1e-9)
    assert (stream.prefix_variance() <= np.arange(1, steps + 1) * (1 + 1e-12)).all(), "never above independent noise"


@given(SCALES, DECAYS, st.integers(1, 7), st.integers(1, 6), st.sampled_from([None, 1, 2]))
def test_buffered_sensitivity_is_that_of_every_pattern(scales, decays, steps, gap, most):
    stream = _stream(steps, scales, decays)
    found = stream.sensitivity(Participation(steps=steps, min_separation=gap, max_participations=most))
    strategy = toeplitz(_exact(stream), steps)
    worst = worst_signed(strategy, gap, most)
    assert worst == worst_absolute(strategy, gap, most), "all products are >= 0"
    assert found.is_exact
    assert Fraction(found.value) ** 2 >= worst
    assert math.isclose(found.value**2, worst, rel_tol=1e-12)


@given(SCALES, DECAYS, st.integers(1, 300))
def test_coefficients_are_rounded_up_and_fall(scales, decays, steps):
    stream = _stream(steps, scales, decays)
    found = _coefficients_up(stream.output_scale, stream.buf_decay, steps)
    assert (np.diff(found) <= 0).all()
    for given_up, exact in zip(found, _exact(stream), strict=True):
        assert exact <= Fraction(given_up) <= exact * (1 + Fraction(steps + 20, 1 << 51)) + Fraction(1, 1 << 999)


def _objective(scales, decays, steps, allowed):
    """The largest standard deviation of a prefix sum for one unit of privacy."""
    stream = _stream(steps, list(scales), list(decays))
    return math.sqrt(stream.prefix_variance()[-1]) * stream.sensitivity(allowed).value


def test_published_parameters_are_the_optimum():
    """jax_privacy's two buffers for the largest error of 100000 prefix sums, one participation: no neighbour is better.

    Each parameter is moved by a hundredth of itself, or of what is missing to 1, either way; an optimum of a smooth
    function loses the square of that.
    """
    steps, allowed = 100_000, Participation(steps=100_000, max_participations=1)
    scales = np.array([0.0122853238, 0.1878393665])
    decays = np.array([0.9999528892, 0.9857068667])
    best = _objective(scales, decays, steps, allowed)
    for place in range(2):
        for sign in (-1, 1):
            moved = scales.copy()
            moved[place] *= 1 + sign / 100
            assert best < _objective(moved, decays, steps, allowed) < best * 1.001
            moved = decays.copy()
            moved[place] += sign * (1 - moved[place]) / 100
            assert best < _objective(scales, moved, steps, allowed) < best * 1.001


@pytest.mark.parametrize(("steps", "counts"), [(100, (3, 4, 6)), (1000, (4, 6, 8)), (10_000, (6, 8, 12))])
def test_buffers_are_near_the_root(steps, counts):
    """The largest error per privacy is within 2 %, 1 % and 1/4 % of the root's, which is the sum of its squares."""
    root = np.cumprod([1.0, *(1 - 0.5 / k for k in range(1, steps))])
    allowed = Participation(steps=steps, max_participations=1)
    for buffers, within in zip(counts, (0.02, 0.01, 0.0025), strict=True):
        stream = BufferedToeplitzNoise(np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=steps, buffers=buffers)
        assert math.isclose(stream.output_scale.sum(), 1 / 2, rel_tol=1e-8)
        assert math.isclose(stream.output_scale @ stream.buf_decay, 3 / 8, rel_tol=1e-8)
        error = _objective(stream.output_scale, stream.buf_decay, steps, allowed)
        assert error <= (1 + within) * (root**2).sum()


def test_two_buffers_beat_sixteen_bands_of_long_sums():
    steps, allowed = 2048, Participation(steps=2048, max_participations=1)
    buffered = _objective([0.05, 0.35], [0.998, 0.8], steps, allowed)
    banded = BandedNoise(np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=steps, bands=16)
    assert buffered < math.sqrt(banded.prefix_variance()[-1]) * banded.sensitivity(allowed).value


def test_memory_is_the_buffers():
    stream = _stream(50, [0.2, 0.3], [0.9, 0.5])
    for _ in range(50):
        stream.next()
        assert len(stream._state.kept) == 2


@pytest.mark.parametrize(
    ("scales", "decays", "message"),
    [
        ([], [], "one length from 1 to 64"),
        ([0.5, 0.1], [0.5], "one length from 1 to 64"),
        ([0.01] * 65, [0.5] * 65, "one length from 1 to 64"),
        ([0.5], [1.0], r"buf_decay must be in \[0, 1\)"),
        ([0.5], [-0.1], r"buf_decay must be in \[0, 1\)"),
        ([0.0], [0.5], "output_scale must be > 0"),
        ([0.75, 0.5], [0.5, 0.4], "output_scale must sum to at most 1"),
        ([math.inf], [0.5], "output_scale must be finite"),
        (0.5, [0.5], "one dimension"),
        (None, [0.5], "give either buffers or"),
        ([0.5], None, "give either buffers or"),
        (None, None, "give either buffers or"),
    ],
)
def test_bad_buffers_are_refused(scales, decays, message):
    with pytest.raises(ParameterError, match=message):
        BufferedToeplitzNoise(
            np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=8, output_scale=scales, buf_decay=decays
        )


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"buffers": 1}, "buffers must be an integer >= 2"),
        ({"buffers": 65}, "one length from 1 to 64"),
        ({"buffers": 3, "output_scale": [0.5], "buf_decay": [0.5]}, "give either buffers or"),
        ({"buffers": 3, "buf_decay": [0.5]}, "give either buffers or"),
    ],
)
def test_bad_numbers_of_buffers_are_refused(chosen, message):
    with pytest.raises(ParameterError, match=message):
        BufferedToeplitzNoise(np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=8, **chosen)


@pytest.mark.parametrize("steps", [1, 2, 100, 1 << 20])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999, 1 - 2.0**-31])
def test_drift_counts_every_rounding(steps, decay):
    """Beside R's own: one of 1/256 step in each buffer and step, shrunk by every decay since; small for short runs."""
    scales, decays = (ONE // 2, ONE // 4), (int(decay * ONE), ONE // 4)
    one = Fraction(1) + Fraction(1, 1 << 21)  # by how much two errors of a combination of one row differ, at most
    own = Fraction(255, 256) + (1 + Fraction(2, 1 << 21)) / 256
    series = []
    for weight in decays:
        ratio = weight / ONE
        series.append(Fraction((1.0 - ratio ** (steps - 1)) / (1.0 - ratio)) * (1 - Fraction(1, 10**9)))
    needed = own + one * sum(Fraction(s, ONE) * total for s, total in zip(scales, series, strict=True)) / 256
    assert needed <= _drift(scales, decays, steps) <= 2 * needed
