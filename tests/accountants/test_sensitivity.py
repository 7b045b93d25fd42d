"""Sensitivities of correlated noise against every pattern and sign, in rational numbers."""

import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from accountants import EventError, Gaussian, GDPAccountant, Ledger, epsilon
from accountants import sensitivity as module
from accountants.participation import Participation
from accountants.sensitivity import Sensitivity, matrix_sensitivity, toeplitz_sensitivity, tree_sensitivity
from tests.oracles.participation import (
    intervals,
    is_signed,
    toeplitz,
    worst_absolute,
    worst_signed,
    worst_tree,
)

entries = st.floats(-4.0, 4.0, allow_subnormal=False)
positive = st.floats(0.0, 4.0, allow_subnormal=False)


@st.composite
def participations(draw, steps):
    gap = draw(st.integers(1, steps))
    return Participation(steps=steps, min_separation=gap, max_participations=draw(st.none() | st.integers(1, steps)))


@st.composite
def matrices(draw, numbers=entries):
    """(matrix as lists, participation): dense, or with a few bands below the diagonal."""
    steps, more, bands = draw(st.integers(1, 6)), draw(st.integers(0, 2)), draw(st.integers(1, 7))
    row = st.lists(numbers, min_size=steps, max_size=steps)
    matrix = draw(st.lists(row, min_size=steps + more, max_size=steps + more))
    if bands < 7:
        matrix = [[v if 0 <= r - t < bands else 0.0 for t, v in enumerate(row)] for r, row in enumerate(matrix)]
    return matrix, draw(participations(steps))


def rounding(rows, count):
    """By how much a square may be above the exact one, relative: twice what the code adds, as its sums may err up."""
    return Fraction(2 * (count * (rows + 3) + 30)) / 2**52


def square(found):
    return Fraction(found.value) ** 2


@given(matrices())
@example(([[1.0] * 3] * 3, Participation(steps=3, min_separation=1)))  # the first and the last step interact too
@example(([[1.0] * 4] * 4, Participation(steps=4, min_separation=1)))  # and steps with two others between them
def test_matrices_are_never_below_any_pattern(given_):
    matrix, allowed = given_
    found = matrix_sensitivity(matrix, allowed)
    least = worst_signed(matrix, allowed.min_separation, allowed.max_participations)
    most = worst_absolute(matrix, allowed.min_separation, allowed.max_participations)
    assert square(found) >= most >= least


@given(st.one_of(matrices(), matrices(positive)))
def test_an_exact_matrix_sensitivity_is_attained(given_):
    """By equal contributions, as then no product is negative."""
    matrix, allowed = given_
    found = matrix_sensitivity(matrix, allowed)
    assume(found.is_exact)
    attained = worst_signed(matrix, allowed.min_separation, allowed.max_participations)
    assert square(found) <= attained * (1 + rounding(len(matrix), allowed.count))


@given(st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=5, max_size=5), participations(5))
def test_a_negative_product_is_never_called_exact(matrix, allowed):
    if is_signed(matrix, allowed.min_separation, allowed.max_participations):
        assert not matrix_sensitivity(matrix, allowed).is_exact


def test_vectors_of_contributions_do_not_exceed_the_bound():
    """Unit vectors in the plane at 120 degrees are worse than any signs; the bound holds them too."""
    third = 2.0 * math.pi / 3.0
    vectors = np.array([[math.cos(k * third), math.sin(k * third)] for k in range(3)])
    products = 1.5 * np.eye(3) - 0.5  # of the columns: each pair -1/2
    strategy = np.linalg.svd(products)[0] * np.sqrt(np.linalg.svd(products)[1])
    norm = np.linalg.norm(strategy.T @ vectors)
    signs = max(np.linalg.norm(strategy.T @ s) for s in np.array(np.meshgrid(*[[-1, 1]] * 3)).T.reshape(-1, 3))
    found = matrix_sensitivity(strategy.T, Participation(steps=3))
    assert norm > signs + 0.1
    assert found.value >= norm
    assert not found.is_exact


@given(matrices(), st.integers(-600, 600))
def test_units_do_not_matter(given_, power):
    """Scaling by a power of two is exact, also where squares would overflow or vanish."""
    matrix, allowed = given_
    assume(all(value == 0.0 or abs(value) > 1e-50 for row in matrix for value in row))
    scaled = np.ldexp(np.array(matrix), power)
    one, other = matrix_sensitivity(matrix, allowed), matrix_sensitivity(scaled, allowed)
    assert other.is_exact is one.is_exact
    assert math.ldexp(other.value, -power) == pytest.approx(one.value, rel=1e-14)


@given(st.integers(1, 12), st.data())
def test_trees_are_the_worst_of_all_patterns(steps, data):
    allowed = data.draw(participations(steps))
    found = tree_sensitivity(allowed)
    worst = worst_tree(steps, allowed.min_separation, allowed.max_participations)
    assert found.is_exact
    assert worst <= square(found) <= worst * (1 + Fraction(20, 2**52))


@given(st.integers(1, 12), st.data())
def test_a_tree_is_a_matrix(steps, data):
    """The programme over starts, and the one over products of columns, share no line."""
    allowed = data.draw(participations(steps))
    strategy = [[int(start <= step < end) for step in range(steps)] for start, end in intervals(steps)]
    tree, matrix = tree_sensitivity(allowed), matrix_sensitivity(strategy, allowed)
    assert matrix.value >= tree.value * (1 - 1e-15)
    assert not matrix.is_exact or matrix.value == pytest.approx(tree.value, rel=1e-12)


@given(st.integers(1, 8), st.lists(entries, min_size=1, max_size=8), st.sampled_from(["any", "falling"]), st.data())
def test_toeplitz_is_its_matrix(steps, coefficients, kind, data):
    allowed = data.draw(participations(steps))
    if kind == "falling":
        coefficients = sorted(map(abs, coefficients), reverse=True)
    coefficients = coefficients[:steps]
    found = toeplitz_sensitivity(coefficients, allowed)
    matrix = toeplitz(coefficients, steps)
    worst = worst_absolute(matrix, allowed.min_separation, allowed.max_participations)
    assert square(found) >= worst
    if kind == "falling":
        assert found.is_exact
    if found.is_exact:
        assert square(found) <= worst * (1 + rounding(steps, allowed.count))


def test_coefficients_that_rise_are_not_packed():
    """An echo after five steps: five apart is worse than as near as allowed."""
    echo = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    allowed = Participation(steps=20, min_separation=3, max_participations=2)
    found = toeplitz_sensitivity(echo, allowed)
    assert found.value**2 == pytest.approx(6.0)
    assert found.is_exact


@given(st.lists(entries, min_size=1, max_size=7), st.data())
def test_a_long_toeplitz_is_bounded_without_its_matrix(coefficients, data):
    allowed = data.draw(participations(7))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_DENSE", 0)
        found = toeplitz_sensitivity(coefficients, allowed)
    matrix = toeplitz(coefficients, 7)
    assert square(found) >= worst_absolute(matrix, allowed.min_separation, allowed.max_participations)
    assert not found.is_exact or square(found) <= worst_signed(
        matrix, allowed.min_separation, allowed.max_participations
    ) * (1 + rounding(7, 7))


def test_bands_within_the_separation_add_up():
    """400 bands, 484 apart, at most 3 of the 5 that fit: columns of norm 1 give the square root of 3."""
    steps, bands = 2000, 400
    weights = 1.0 / np.sqrt(np.arange(1.0, bands + 1))
    banded = np.zeros((steps, steps))
    for band, weight in enumerate(weights):
        banded[np.arange(band, steps), np.arange(steps - band)] = weight
    banded /= np.linalg.norm(banded, axis=0)
    for most, square_ in ((3, 3.0), (None, 5.0)):
        found = matrix_sensitivity(banded, Participation(steps=steps, min_separation=484, max_participations=most))
        assert found.is_exact
        assert found.value**2 == pytest.approx(square_, rel=1e-10)


def _square_root(steps):
    """The first column of the square root of prefix sums."""
    odd = np.arange(1.0, 2.0 * steps - 1.0, 2.0)
    return np.concatenate([[1.0], np.cumprod(odd / (odd + 1.0))])


@pytest.mark.parametrize("kind", ["tree", "square root", "bands", "wide bands", "dense"])
def test_two_thousand_steps_take_less_than_a_second(kind):
    steps = 2000
    allowed = Participation(steps=steps, min_separation=314, max_participations=6)
    column = _square_root(steps)
    index = np.subtract.outer(np.arange(steps), np.arange(steps))
    dense = np.where(index >= 0, column[index], 0.0)
    ask = {
        "tree": lambda: tree_sensitivity(allowed),
        "square root": lambda: toeplitz_sensitivity(column, allowed),
        "bands": lambda: matrix_sensitivity(np.where(index < 300, dense, 0.0), allowed),
        "wide bands": lambda: matrix_sensitivity(np.where(index < 600, dense, 0.0), allowed),
        "dense": lambda: matrix_sensitivity(dense, allowed),
    }[kind]
    seconds = []
    for _ in range(3):
        start = time.process_time()
        assert ask().is_exact
        seconds.append(time.process_time() - start)
        if seconds[-1] < 1.0:
            break
    assert min(seconds) < 1.0


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_the_event_never_claims_more_noise(noise_multiplier, value):
    event = Sensitivity(value, is_exact=True).event(noise_multiplier)
    exact = Fraction(noise_multiplier) / Fraction(value)
    assert exact * (1 - Fraction(4, 2**52)) <= Fraction(event.noise_multiplier) <= exact


def test_end_to_end():
    """The ledger's epsilon is that of a Gaussian of separation sqrt(79) / 7, doubled where a record is replaced."""
    allowed = Participation(steps=2000, min_separation=314, max_participations=6)
    event = tree_sensitivity(allowed).event(7.0)
    for relation, distance in (("zero_out", 1.0), ("replace_one", 2.0)):
        ledger = Ledger(relation=relation, unit="user")
        ledger.record(event, note="DP-FTRL, 2000 rounds")
        assert GDPAccountant().mu(ledger) == pytest.approx(distance * math.sqrt(79.0) / 7.0, rel=1e-14)
        plain = epsilon(Gaussian(7.0 / math.sqrt(79.0)), delta=1e-10, relation=relation)
        assert ledger.epsilon(delta=1e-10) == pytest.approx(plain, rel=1e-12)


def test_one_step_each_is_the_largest_column():
    found = matrix_sensitivity([[3.0, 0.0], [4.0, 1.0]], Participation(steps=2, max_participations=1))
    assert found.value == pytest.approx(5.0)
    assert found.is_exact


def test_a_strategy_of_zeros_is_not_recorded():
    allowed = Participation(steps=3)
    for found in (matrix_sensitivity(np.zeros((3, 3)), allowed), toeplitz_sensitivity([0.0], allowed)):
        assert found == Sensitivity(0.0, is_exact=True)
        with pytest.raises(EventError, match="record nothing"):
            found.event(1.0)


@pytest.mark.parametrize(
    ("strategy", "text"),
    [
        ([[1.0, 2.0]], "a column for each of the 3 steps"),
        (np.zeros((0, 3)), "at least one row"),
        ([1.0, 2.0, 3.0], "2 dimension"),
        ([[1.0, math.nan, 0.0]], "finite"),
        ([[1.0, math.inf, 0.0]], "finite"),
        ([[1j, 0.0, 0.0]], "real numbers"),
        ([[True, False, True]], "real numbers"),
        ([["a", "b", "c"]], "real numbers"),
        ([[1.0], [1.0, 2.0]], "real numbers"),
        (np.full((3, 3), 1.7e308), "divide it"),
    ],
)
def test_matrices_that_make_no_sense(strategy, text):
    with pytest.raises(EventError, match=text):
        matrix_sensitivity(strategy, Participation(steps=3))


def test_coefficients_that_make_no_sense():
    with pytest.raises(EventError, match="1 to 3 numbers"):
        toeplitz_sensitivity([1.0] * 4, Participation(steps=3))
    with pytest.raises(EventError, match="1 to 3 numbers"):
        toeplitz_sensitivity([], Participation(steps=3))
    with pytest.raises(EventError, match="noise_multiplier"):
        toeplitz_sensitivity([1.0], Participation(steps=3)).event(0.0)
    with pytest.raises(EventError, match="sensitivity"):
        Sensitivity(math.inf, is_exact=False)
