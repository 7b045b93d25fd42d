"""Log-moments against quadrature with 34 digits: never below, and above by less than the rounding stated."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accountants.atoms import (
    AtomPair,
    add_atoms,
    discrete_laplace,
    given_laws,
    mirror_atoms,
    remove_atoms,
    response_laws,
)
from accountants.moments import log_moment, majorant, max_log_ratio, moments
from accountants.pairs import Noise, Pair, Shape
from tests.oracles.accounting import (
    DIGITS,
    atom_log_moment,
    discrete_laplace_pmf,
    gauss_log_moment,
    group_log_moment,
    laplace_log_moment,
    mirror_log_moment,
    sampled_atoms,
)

RELATIVE = 2e-11  # 32 to 64 EPS times the mean exponent, which stays below 10^3 in these cases

GAUSS_GRID = [
    (0.3, 1e-6, 1.5),
    (0.3, 0.01, 1.001),
    (0.3, 0.5, 3.0),
    (0.3, 1e-3, 12.0),
    (0.5, 1e-6, 2.0),
    (0.5, 0.1, 7.25),
    (0.5, 0.9, 20.0),
    (0.7, 1e-4, 1.0001),
    (0.7, 0.02, 33.3),
    (1.0, 1e-6, 1.2),
    (1.0, 0.01, 2.0),
    (1.0, 0.01, 32.0),
    (1.0, 0.1, 1.5),
    (1.0, 0.6, 9.9),
    (1.5, 0.04, 8.0),
    (1.5, 0.999, 4.0),
    (2.5, 0.01, 1.5),
    (2.5, 1e-5, 70.0),
    (4.0, 0.25, 100.5),
    (10.0, 1e-6, 3.0),
    (10.0, 0.3, 250.0),
    (50.0, 1e-6, 1.01),
    (50.0, 0.01, 500.0),
    (50.0, 0.97, 300.0),
]
LAPLACE_GRID = [
    (0.1, 0.01, 1.5),
    (0.1, 0.5, 8.3),
    (0.5, 1e-6, 2.0),
    (0.5, 0.2, 1.0001),
    (1.0, 0.1, 17.0),
    (1.0, 0.97, 200.0),
    (3.0, 1e-3, 64.0),
    (3.0, 0.4, 2.5),
    (100.0, 1e-6, 1.3),
    (100.0, 0.5, 500.0),
]


def _check(value, truth):
    excess = (value - truth) / truth
    assert 0 <= excess < RELATIVE


SHAPED = [(Shape.REMOVE, *row) for row in GAUSS_GRID] + [
    (Shape.ANTIPODAL, *row) for row in GAUSS_GRID if row[2] < 110.0
]


@pytest.mark.parametrize(("shape", "scale", "prob", "order"), SHAPED)
def test_gauss_moment_is_the_integral(shape, scale, prob, order):
    _check(
        log_moment(Pair(Noise.GAUSSIAN, scale, shape, prob), order), gauss_log_moment(shape.value, scale, prob, order)
    )


@pytest.mark.parametrize("shape", [Shape.SHIFT, Shape.REMOVE, Shape.ANTIPODAL])
@pytest.mark.parametrize(("scale", "prob", "order"), LAPLACE_GRID)
def test_laplace_moment_is_the_integral(shape, scale, prob, order):
    pair = Pair(Noise.LAPLACE, scale, shape, prob)
    _check(log_moment(pair, order), laplace_log_moment(shape.value, scale, prob, order))


@pytest.mark.parametrize(("scale", "prob", "order"), GAUSS_GRID[:20:3])
def test_remove_dominates_add_gauss(scale, prob, order):
    assert majorant(Pair(Noise.GAUSSIAN, scale, Shape.ADD, prob)).shape is Shape.REMOVE
    assert gauss_log_moment("add", scale, prob, order) <= gauss_log_moment("remove", scale, prob, order)


@pytest.mark.parametrize(("scale", "prob", "order"), LAPLACE_GRID)
def test_remove_dominates_add(scale, prob, order):
    add = Pair(Noise.LAPLACE, scale, Shape.ADD, prob)
    assert laplace_log_moment("add", scale, prob, order) <= log_moment(add, order)


@pytest.mark.parametrize("shape", [Shape.REMOVE, Shape.ANTIPODAL])
@pytest.mark.parametrize(("noise", "scale"), [(Noise.GAUSSIAN, 1e-2), (Noise.GAUSSIAN, 0.3), (Noise.LAPLACE, 0.02)])
def test_beyond_the_tables_the_bound_is_coarser_and_still_a_bound(noise, scale, shape):
    pair = Pair(noise, scale, shape, 0.01)
    order = {0.3: 33.0, 1e-2: 1.5, 0.02: 60.0}[scale]
    oracle = gauss_log_moment if noise is Noise.GAUSSIAN else laplace_log_moment
    truth = oracle(shape.value, scale, 0.01, order)
    assert truth <= log_moment(pair, order) <= 4.1 * truth


@given(
    noise=st.sampled_from(Noise),
    shape=st.sampled_from([Shape.REMOVE, Shape.ANTIPODAL]),
    scale=st.floats(1e-5, 1e8),
    prob=st.floats(1e-12, 1.0 - 1e-12),
    order=st.floats(1.0 + 1e-9, 1e6),
)
def test_moments_are_numbers_and_grow_with_order_and_sampling(noise, shape, scale, prob, order):
    value = log_moment(Pair(noise, scale, shape, prob), order)
    whole = log_moment(Pair(noise, scale / (2.0 if shape is Shape.ANTIPODAL else 1.0), Shape.SHIFT), order)
    assert value >= 0.0
    assert value <= max(whole, 0.0) * (1 + 1e-9) + 1e-34 * order**2


def test_tables_are_shared_by_orders_and_tilt_is_not():
    pair = Pair(Noise.GAUSSIAN, 1.0, Shape.REMOVE, 0.01)
    values = [log_moment(pair, order) / (order - 1.0) for order in np.linspace(1.1, 40.0, 50)]
    assert np.all(np.diff(values) > 0.0), "RDP grows with the order, across the tables' edges too"


@pytest.mark.parametrize("prob", [5e-324, 1e-300, 1e-20, 1.0 - 2.0**-53])
@pytest.mark.parametrize("shape", [Shape.REMOVE, Shape.ANTIPODAL])
@pytest.mark.parametrize("noise", Noise)
def test_extreme_probabilities(noise, shape, prob):
    for order in (1.0 + 1e-9, 2.0, 100.0):
        assert 0.0 < log_moment(Pair(noise, 1.0, shape, prob), order) < math.inf


def test_gauss_has_no_pure_epsilon():
    assert math.isinf(max_log_ratio(Pair(Noise.GAUSSIAN, 1.0, Shape.SHIFT)))


@pytest.mark.parametrize(("scale", "prob"), [(0.5, 0.2), (2.0, 0.9), (30.0, 1e-3)])
def test_pure_epsilon_of_laplace_is_the_largest_log_ratio(scale, prob):
    s = 1.0 / scale
    remove, add = math.log(1 - prob + prob * math.exp(s)), -math.log(1 - prob + prob * math.exp(-s))
    for shape, truth in ((Shape.REMOVE, remove), (Shape.ADD, add), (Shape.ANTIPODAL, remove + add), (Shape.SHIFT, s)):
        value = max_log_ratio(Pair(Noise.LAPLACE, scale, shape, prob))
        assert truth * (1 - 1e-12) <= value <= truth * (1 + 1e-11)  # the formula here cancels; the module's does not


MIRROR_GRID = [
    (Noise.GAUSSIAN, 1.0, 0.01, 2.0),
    (Noise.GAUSSIAN, 1.0, 0.01, 33.3),
    (Noise.GAUSSIAN, 0.5, 0.3, 1.0001),
    (Noise.GAUSSIAN, 4.0, 0.2, 100.5),
    (Noise.GAUSSIAN, 50.0, 0.97, 300.0),
    (Noise.GAUSSIAN, 10.0, 1e-6, 1.5),
    (Noise.GAUSSIAN, 0.3, 1e-3, 6.0),
    (Noise.GAUSSIAN, 2.0, 0.1, 17.0),
    (Noise.LAPLACE, 1.0, 0.1, 1.5),
    (Noise.LAPLACE, 0.5, 0.9, 20.0),
    (Noise.LAPLACE, 3.0, 1e-6, 2.0),
    (Noise.LAPLACE, 100.0, 0.5, 500.0),
    (Noise.LAPLACE, 0.1, 0.01, 8.3),
]


@pytest.mark.parametrize(("noise", "scale", "prob", "order"), MIRROR_GRID)
def test_mirrored_moment_is_the_integral(noise, scale, prob, order):
    value = log_moment(Pair(noise, scale, Shape.MIRROR, prob), order)
    _check(value, mirror_log_moment(noise.value, scale, prob, order))


@pytest.mark.parametrize("noise", Noise)
def test_mirrored_moment_without_sampling_is_the_shift(noise):
    for order in (1.01, 2.0, 9.5):
        whole = log_moment(Pair(noise, 1.5, Shape.SHIFT), order)
        assert log_moment(Pair(noise, 1.5, Shape.MIRROR, 1.0), order) == pytest.approx(whole, rel=1e-11)


@given(
    noise=st.sampled_from(Noise),
    scale=st.floats(0.3, 1e3),
    prob=st.floats(1e-9, 1.0 - 1e-9),
    order=st.floats(1.0001, 100.0),
)
def test_mirrored_moment_is_above_both_directions(noise, scale, prob, order):
    mirrored = log_moment(Pair(noise, scale, Shape.MIRROR, prob), order)
    removed = log_moment(Pair(noise, scale, Shape.REMOVE, prob), order)
    assert mirrored >= removed * (1 - 1e-11)
    assert mirrored <= log_moment(Pair(noise, scale, Shape.SHIFT), order) * (1 + 1e-11)


GROUP_GRID = [
    (Noise.GAUSSIAN, 1.0, 0.1, 2, 2.5),
    (Noise.GAUSSIAN, 4.0, 0.01, 10, 7.0),
    (Noise.GAUSSIAN, 10.0, 0.3, 5, 1.01),
    (Noise.GAUSSIAN, 0.7, 0.3, 3, 9.0),
    (Noise.GAUSSIAN, 20.0, 1e-4, 30, 4.0),
    (Noise.LAPLACE, 2.0, 0.1, 4, 3.3),
    (Noise.LAPLACE, 5.0, 0.9, 3, 20.0),
]


@pytest.mark.parametrize("shape", [Shape.REMOVE, Shape.ADD])
@pytest.mark.parametrize(("noise", "scale", "prob", "size", "order"), GROUP_GRID)
def test_group_moment_is_the_integral(noise, scale, prob, size, order, shape):
    pair = Pair(noise, scale, shape, prob, size)
    assert majorant(pair) == pair, "a group has no reflection: each direction stands for itself"
    _check(log_moment(pair, order), group_log_moment(noise.value, shape.value, scale, prob, size, order))


@pytest.mark.parametrize("shape", [Shape.REMOVE, Shape.ADD])
@pytest.mark.parametrize("noise", Noise)
def test_group_of_one_is_no_group(noise, shape):
    """And of two records by the definition: P = (1-q)^2 N(0) + 2q(1-q) N(1) + q^2 N(2), held by the integral above."""
    one = Pair(noise, 1.3, shape, 0.2)
    assert log_moment(one, 3.0) < log_moment(Pair(noise, 1.3, shape, 0.2, 2), 3.0)
    assert max_log_ratio(Pair(Noise.LAPLACE, 1.3, shape, 0.2, 3)) == pytest.approx(
        3.0 * max_log_ratio(Pair(Noise.LAPLACE, 1.3, shape, 0.2)), rel=1e-12
    )


@given(size=st.integers(2, 300), prob=st.floats(1e-9, 0.999), order=st.floats(1.001, 300.0), scale=st.floats(0.01, 1e4))
@example(size=160, prob=0.5, order=2.0, scale=7.0)  # value - 1 is close to the largest float, 160 times it none
def test_group_moments_are_numbers_below_the_unsampled_group(size, prob, order, scale):
    whole = log_moment(Pair(Noise.GAUSSIAN, scale / size, Shape.SHIFT), order)
    for shape in (Shape.REMOVE, Shape.ADD):
        assert 0.0 < log_moment(Pair(Noise.GAUSSIAN, scale, shape, prob, size), order) <= whole * (1 + 1e-9)


ATOM_CASES = {"response": lambda: response_laws(0.8, 3), "laplace": lambda: discrete_laplace(3.0, 4)}


def _atoms_exact(name):
    if name == "response":
        total = mp.exp(mp.mpf(0.8)) + 2
        truth, other = mp.exp(mp.mpf(0.8)) / total, 1 / total
        return [(truth, other), (other, truth), (other, other)]
    p, q = (discrete_laplace_pmf(3.0, centre, 0, 4) for centre in (4, 0))
    return [(p[k], q[k]) for k in p]


@pytest.mark.parametrize("order", [1.0001, 1.5, 2.0, 17.3, 400.0])
@pytest.mark.parametrize("prob", [1.0, 0.4, 1e-3, 1e-9])
@pytest.mark.parametrize("shape", ["remove", "add", "mirror"])
@pytest.mark.parametrize("name", ATOM_CASES)
def test_atom_moment_is_the_sum(name, shape, prob, order):
    build = {"remove": remove_atoms, "add": add_atoms, "mirror": mirror_atoms}[shape]
    with mp.workdps(2 * DIGITS):  # the smallest is 1e-22 above 1
        truth = atom_log_moment(sampled_atoms(shape, _atoms_exact(name), prob), order)
    _check(log_moment(build(ATOM_CASES[name](), prob), order), truth)


@pytest.mark.parametrize("order", [1.001, 2.0, 30.0])
def test_atom_moment_with_mass_on_one_side_only(order):
    """P = (.5, .3, .2, 0), Q = (.4, .25, 0, .35): P is taken on the first two and normalised, Q divided by the same."""
    p, q = (0.5, 0.3), (0.4, 0.25)
    laws = given_laws(
        (math.log(0.5), math.log(0.3), math.log(0.2), -math.inf),
        (math.log(0.4), math.log(0.25), -math.inf, math.log(0.35)),
    )
    truth = math.log(sum((a / 0.8) ** order * (b / 0.8) ** (1 - order) for a, b in zip(p, q, strict=True)))
    atoms = remove_atoms(laws, 1.0)
    value = log_moment(atoms, order)
    assert max(truth, 0.0) <= value <= max(truth, 0.0) + 1e-12 * order
    summed = AtomPair(atoms.log_p, atoms.loss, atoms.failure)  # without the deficit: it is summed up
    assert value * (1 - 1e-12) <= log_moment(summed, order) <= value + 1e-12 * order


def test_atom_moment_of_losses_beyond_all_floats_is_infinite():
    assert math.isinf(log_moment(remove_atoms(response_laws(1e300), 1.0), 1e10))
    assert max_log_ratio(remove_atoms(response_laws(1e300), 1.0)) >= 1e300


@given(
    atoms=st.lists(st.tuples(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0)), min_size=2, max_size=8),
    low=st.floats(1.001, 50.0),
    step=st.floats(0.01, 50.0),
)
def test_curve_of_atoms_grows_and_is_convex(atoms, low, step):
    """RDP does not fall in the order, and K is convex, up to the rounding that each value was widened by."""
    p, q = (np.array(side) / sum(side) for side in zip(*atoms, strict=True))
    pair = remove_atoms(given_laws(tuple(np.log(p)), tuple(np.log(q))), 1.0)
    orders = (low, low + step, low + 2 * step)
    k = [log_moment(pair, order) for order in orders]
    slack = 1e-12 * (1.0 + orders[2] * 14.0)
    assert k[0] / (orders[0] - 1) <= k[1] / (orders[1] - 1) + slack
    assert k[1] <= (k[0] + k[2]) / 2 + slack


@pytest.mark.parametrize("function", [moments, max_log_ratio, majorant])
def test_what_is_no_pair_is_refused(function):
    with pytest.raises(NotImplementedError, match="pair must be"):
        function("a pair")
