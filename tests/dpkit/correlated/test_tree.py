"""The tree: a function of its noisy nodes, to the last integer; Honaker's estimates; the worst pattern."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants.participation import Participation
from dpkit.correlated import TreeNoise
from dpkit.correlated._fixed import ONE
from dpkit.correlated.tree import _children_weight
from dpkit.entropy import seeded
from dpkit.samplers import discrete_gaussian
from tests.oracles.participation import tree, worst_tree


def _stream(steps, dim=1, noise_multiplier=1.0, seed=0):
    return TreeNoise(np.zeros(dim), noise_multiplier=noise_multiplier, bound=1.0, steps=steps, entropy=seeded(seed))


def _run(steps, nodes):
    """The rows in lattice steps that a tree makes of the noise of its nodes, in the order of their ends."""
    stream, rest, rows, kept = _stream(steps), iter(nodes), [], ()
    for drawn in range(steps):
        row, kept = stream._advance(drawn, kept, lambda: np.array([next(rest)]))
        rows.append(row[0])
    assert next(rest, None) is None, "every node's noise is used once"
    return [int(row) for row in rows]


def _complete(steps):
    """The nodes as (start, end) in the order in which the stream asks for their noise."""
    return [(end - (1 << level), end) for end in range(1, steps + 1) for level in range((end & -end).bit_length())]


@given(st.integers(1, 40), st.data())
def test_increments_are_a_function_of_the_noisy_nodes(steps, data):
    """Given the noisy sums s of the nodes instead of their noise, the same formula gives query plus noise, exactly."""
    nodes = _complete(steps)
    assert sorted(nodes) == sorted((row.index(1), row.index(1) + sum(row)) for row in tree(steps))
    noise = data.draw(st.lists(st.integers(-(2**40), 2**40), min_size=len(nodes), max_size=len(nodes)))
    query = data.draw(st.lists(st.integers(-(2**50), 2**50), min_size=steps, max_size=steps))
    noisy = [z + sum(query[start:end]) for z, (start, end) in zip(noise, nodes, strict=True)]
    assert _run(steps, noisy) == [x + n for x, n in zip(query, _run(steps, noise), strict=True)]


def _estimate(start, end, weight):
    """The weights of the nodes in the estimate of one of them, and a bound of its rounding."""
    if end - start == 1:
        return {(start, end): Fraction(1)}, Fraction(0)
    middle, level = (start + end) // 2, (end - start).bit_length() - 1
    left, error = _estimate(start, middle, weight)
    right, _ = _estimate(middle, end, weight)
    share = weight(level)
    halves = {node: share * value for node, value in (left | right).items()}
    return {(start, end): 1 - share} | halves, 2 * share * error + Fraction(1, 2) + Fraction(1, 2**21)


def _prefix(end, weight):
    """The same for the sum of the first steps."""
    total, error, start = {}, Fraction(0), 0
    for level in range(end.bit_length() - 1, -1, -1):
        if end >> level & 1:
            part, more = _estimate(start, start + (1 << level), weight)
            total, error, start = total | part, error + more, start + (1 << level)
    return total, error


def _honaker(level):
    return Fraction((1 << level) - 1, (2 << level) - 1)


@given(st.integers(1, 40), st.integers(0, 2**64))
def test_rows_are_the_estimators_increments(steps, seed):
    """The stream is its matrix times the integers that it drew, within the rounding of the estimates' recursion."""
    stream = _stream(steps, dim=2, seed=seed)
    source = seeded(seed)
    drawn = {node: discrete_gaussian(2, stream.stddev / stream.step, source) for node in _complete(steps)}
    rows = np.array([stream.next() for _ in range(steps)]) / stream.step
    sums = np.cumsum(rows, axis=0)
    for end in range(1, steps + 1):
        weights, error = _prefix(end, lambda level: Fraction(_children_weight(level), ONE))
        for place in range(2):
            exact = sum(weight * int(drawn[node][place]) for node, weight in weights.items())
            assert abs(int(sums[end - 1][place]) - exact) <= error <= end.bit_length() ** 2 / 2


def test_weights_are_honakers():
    for level in range(1, 21):
        assert abs(Fraction(_children_weight(level), ONE) - _honaker(level)) <= Fraction(1, 2 * ONE)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 16])
def test_no_unbiased_estimate_from_below_is_better(steps):
    """The variance of a node's estimate is that of least squares on the noisy sums of its subtree."""
    strategy = np.array(tree(steps), dtype=float)
    best = np.linalg.inv(strategy.T @ strategy).sum()
    assert math.isclose(_stream(steps).prefix_variance()[-1], best, rel_tol=1e-12)


@given(st.integers(1, 40))
def test_prefix_variance_is_that_of_the_matrix(steps):
    """… and below a plain tree's, the number of binary digits, from the second step on."""
    variance = _stream(steps).prefix_variance()
    for end in range(1, steps + 1):
        weights, _ = _prefix(end, _honaker)
        assert math.isclose(variance[end - 1], float(sum(w**2 for w in weights.values())), rel_tol=1e-12)
        assert variance[end - 1] < end.bit_count() or end == 1


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 11])
@pytest.mark.parametrize("gap", [1, 2, 3, 5])
@pytest.mark.parametrize("most", [None, 1, 2])
def test_tree_sensitivity_is_that_of_every_pattern(steps, gap, most):
    found = _stream(steps).sensitivity(Participation(steps=steps, min_separation=gap, max_participations=most))
    assert found.is_exact
    assert found.value**2 >= worst_tree(steps, gap, most) * (1 - 1e-15)
    assert math.isclose(found.value**2, worst_tree(steps, gap, most), rel_tol=1e-12)


def test_a_record_in_each_of_eight_steps():
    assert math.isclose(_stream(8).sensitivity(Participation(steps=8)).value ** 2, 120, rel_tol=1e-14)


def test_constant_nodes_give_the_values_of_tf_privacy():
    """EfficientTreeAggregator on nodes that are all 1, from its tests; here all nodes are 2^40."""
    one, steps = 1 << 40, 1029
    sums = np.cumsum(_run(steps, [one] * len(_complete(steps)))) / one
    tall = 11 / (2 - 0.5**10)
    known = {1: 1, 2: 4 / 3, 3: 7 / 3, 4: 12 / 7, 5: 19 / 7, 6: 12 / 7 + 4 / 3, 7: 12 / 7 + 7 / 3, 8: 32 / 15}
    known |= {
        1024: tall,
        1025: tall + 1,
        1026: tall + 4 / 3,
        1027: tall + 7 / 3,
        1028: tall + 12 / 7,
        1029: tall + 19 / 7,
    }
    for end, value in known.items():
        # ten levels at most, at each a weight off by 2^-32 times a correction below 2 value
        assert math.isclose(sums[end - 1], value, rel_tol=20 * 2.0**-32)


def test_memory_is_logarithmic():
    stream = _stream(1000)
    for drawn in range(1, 1001):
        stream.next()
        assert len(stream._state.kept) == drawn.bit_count()
