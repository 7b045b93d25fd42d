"""Lattice laws against exact sums: the pessimistic nowhere below, the optimistic nowhere above, composed too."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants._cells import QUARTERS, Beyond, Cells, Lattice, Reach, cells, heaviest
from accountants._grid import optimistic, pessimistic
from accountants._numerics import EPS
from accountants.pairs import AtomPair, Noise, Pair, Shape
from accountants.profile import log_delta_bounds

DIGITS = 40
ALL = Reach(-2000.0)
NOTHING = Beyond(*[-math.inf] * 4)


def _atoms(grid):
    """(P-mass, loss) of a lattice law, its floats taken for exact numbers."""
    step = mp.mpf(grid.spacing)
    return [
        (mp.exp(mp.mpf(float(mass))), mp.mpf(grid.offset) + (grid.first + k) * step)
        for k, mass in enumerate(grid.log_p)
        if mass > -math.inf
    ]


def _sum(atoms, epsilon):
    return mp.fsum(-p * mp.expm1(epsilon - loss) for p, loss in atoms if loss > epsilon)


def _grid_delta(grid, epsilon, atoms=None):
    """delta of a lattice law moved by its slip."""
    e = mp.mpf(epsilon) - mp.mpf(grid.slip)
    rest = mp.exp(mp.mpf(grid.beyond_p)) - mp.exp(e + mp.mpf(grid.beyond_q))
    return max(rest, mp.mpf(0)) + _sum(_atoms(grid) if atoms is None else atoms, e)


def _stated(pair, side):
    """The atoms at the far end (side = 1: largest delta, -1: least) of what AtomPair says of its rounding; 0: as is."""
    found = []
    for log_p, loss in zip(pair.log_p, pair.loss, strict=True):
        off = side * 8 * mp.mpf(EPS)
        mass = mp.exp(mp.mpf(log_p) + off * (4 + abs(log_p)))
        found.append((mass, mp.mpf(loss) + off * abs(loss) * (1 + abs(log_p) + abs(loss))))
    return found


def _pair(losses, weights):
    """An AtomPair of distinct losses and of log-weights that are made to sum to 1."""
    found = dict(zip(losses, weights, strict=True))
    loss = sorted(found)
    top = max(found.values())
    total = top + math.log(math.fsum(math.exp(found[x] - top) for x in loss))
    return AtomPair(tuple(found[x] - total for x in loss), tuple(loss))


def _check(pair, lattice, probes):
    cut = cells(pair, lattice, ALL)
    upper, lower = pessimistic(cut, lattice), optimistic(cut, lattice)
    with mp.workdps(DIGITS):
        above, below = _atoms(upper), _atoms(lower) if lower is not None else []
        stated = {side: _stated(pair, side) for side in (-1, 0, 1)}
        for epsilon in probes:
            for side in (0, 1):
                assert _grid_delta(upper, epsilon, above) >= _sum(stated[side], epsilon)
            for side in (0, -1):
                assert _sum(below, mp.mpf(epsilon)) <= _sum(stated[side], epsilon)
    return upper, lower


@st.composite
def _problems(draw):
    """An atom pair, a lattice, and real numbers to ask at; atoms in clusters, far apart, on and beside the lattice."""
    width = draw(st.sampled_from([1e-6, 0.1, 3.0, 295.0]))
    spacing = width * draw(st.sampled_from([0.011, 0.07, 0.3, 1.0, 2.5]))
    offset = width * draw(st.floats(-1.0, 1.0))
    steps = int(width / spacing)
    on = st.integers(-steps, steps).map(lambda k: offset + k * spacing)
    beside = st.tuples(on, st.sampled_from([-math.inf, math.inf])).map(lambda x: math.nextafter(*x))
    cluster = st.floats(-1.0, 1.0).map(lambda u: 0.3 * width + 1e-9 * width * u)
    loss = st.one_of(st.floats(-width, width), on, beside, cluster)
    losses = draw(st.lists(loss, min_size=1, max_size=draw(st.sampled_from([1, 3, 12, 40])), unique=True))
    weight = st.one_of(st.floats(-3.0, 0.0), st.floats(-575.0, 0.0), st.just(-575.0))
    pair = _pair(losses, [draw(weight) for _ in losses])
    asked = [math.nextafter(x, -math.inf) for x in pair.loss] + [x - 1e-3 * spacing for x in pair.loss]
    asked += [offset + k * spacing for k in range(-steps - 1, steps + 2, max(1, steps // 10))]
    asked += draw(st.lists(st.floats(-1.2 * width, 1.2 * width), max_size=4))
    return pair, Lattice(offset, spacing), [*asked, -700.0, 0.0]


@settings(max_examples=40)
@given(_problems())
def test_atoms_lie_between_the_two_lattice_laws(problem):
    """Also where atoms are off by all that AtomPair allows."""
    _check(*problem)


@pytest.mark.parametrize("ulps", [-1, 0, 1])
@pytest.mark.parametrize("log_p", [-1e-3, -500.0])
def test_an_atom_just_below_a_lattice_point_is_not_lowered_onto_it(ulps, log_p):
    """Its loss may be larger than stated by more than the distance."""
    lattice = Lattice(0.0, 0.25)
    loss = 1.5 if not ulps else math.nextafter(1.5, ulps * math.inf)
    rest = -5e-324 if log_p < -1.0 else math.log(-math.expm1(log_p))
    pair = AtomPair((rest, log_p), (-3.1, loss))
    _check(pair, lattice, [1.5, loss, 1.4999, 1.2, -3.0])


@pytest.mark.parametrize("size", [1e4, 1e8, 1e9])
def test_huge_losses_in_doubt_are_placed_where_they_may_be(size):
    """At 1e9 a loss of float64 is known to 2e3."""
    pair = AtomPair((math.log(0.5), math.log(0.5)), (size - 1.0, size))
    lattice = Lattice(size, 0.5)
    cut = cells(pair, lattice, ALL)
    upper, lower = pessimistic(cut, lattice), optimistic(cut, lattice)
    off = 8.0 * EPS * size * (1.0 + size)
    with mp.workdps(DIGITS):
        for epsilon in (size - 2.0, size - 0.9, size, size + off - 0.5, size - off - 0.5, size - off - 2.5):
            assert _grid_delta(upper, epsilon) >= _sum(_stated(pair, 1), mp.mpf(epsilon))
            assert lower is None or _grid_delta(lower, epsilon) <= _sum(_stated(pair, -1), mp.mpf(epsilon))


def test_what_steps_out_of_its_cell_is_paid_for():
    """A cell whose losses reach below its quarter by the slip: its mean alone would hide what lies above."""
    lattice, slip, share = Lattice(0.0, 1.0), 0.05, 0.04
    with mp.workdps(DIGITS):
        atoms = [(1 - mp.mpf(share), -mp.mpf(slip)), (mp.mpf(share), mp.mpf(0.25))]
        loss = float(-mp.log(mp.fsum(p * mp.exp(-x) for p, x in atoms)))
        none = np.zeros(1)
        cut = Cells(np.array([0]), none, none, np.array([loss]), none + 1e-15, -math.inf, NOTHING, 0, slip)
        upper = pessimistic(cut, lattice)
        for epsilon in (-0.5, -0.05, 0.0, 0.049, 0.051, 0.1, 0.2, 0.24):
            assert _grid_delta(upper, epsilon) >= _sum(atoms, mp.mpf(epsilon))


@settings(max_examples=15)
@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.01, 1.0)), min_size=1, max_size=6), st.floats(0.0, 0.02))
def test_cells_of_any_law_are_enough(parts, slip):
    """Of several atoms in each cell only the masses are told; slips in either direction."""
    lattice = Lattice(-1.0, 0.5)
    total = math.fsum(weight for _, weight in parts)
    with mp.workdps(DIGITS):
        law, log_p, loss, quarter = [], [], [], []
        for k, (place, weight) in enumerate(parts):
            low, mass = mp.mpf(-1) + k * mp.mpf(0.125), mp.mpf(weight / total)
            inner = [(mass * mp.mpf(place), low - slip), (mass * (1 - mp.mpf(place)), low + mp.mpf(0.125) + slip)]
            law += inner
            quarter.append(k)
            log_p.append(float(mp.log(mass)))
            loss.append(float(mp.log(mass / mp.fsum(p * mp.exp(-x) for p, x in inner))))
        doubt = np.full(len(parts), 1e-14)
        cut = Cells(np.array(quarter), np.array(log_p), doubt, np.array(loss), doubt, -math.inf, NOTHING, 0, slip)
        upper, lower = pessimistic(cut, lattice), optimistic(cut, lattice)
        for epsilon in np.linspace(-1.2, 0.2, 29):
            truth = _sum(law, mp.mpf(float(epsilon)))
            assert _grid_delta(upper, float(epsilon)) >= truth
            assert _grid_delta(lower, float(epsilon)) <= truth


WINDOWS = [(-2.0, 3.0), (-0.5, 0.5), (-9.0, 5.9), (0.1, 0.2), (7.0, 8.0), (20.0, 30.0), (-9.0, -8.0)]


def test_mass_below_and_beyond_the_cells_is_kept():
    pair = _pair([-4.0, -1.0, 0.0, 2.0, 6.0, 9.0], [-3.0, -1.0, -0.5, -1.0, -6.0, -9.0])
    for failure, doubt in ((0.0, 0.0), (1e-4, 4e-5)):
        held = AtomPair(pair.log_p, pair.loss, failure, failure_doubt=doubt)
        for floor, ceiling in (
            (-2.0, 3.0),
            (-0.5, 0.5),
            (-9.0, 5.9),
            (0.1, 0.2),
            (7.0, 8.0),
            (20.0, 30.0),
            (-9.0, -8.0),
        ):
            lattice = Lattice(0.0, 0.4)
            cut = cells(held, lattice, Reach(-2000.0, floor, ceiling))
            upper, lower = pessimistic(cut, lattice), optimistic(cut, lattice)
            with mp.workdps(DIGITS):
                for epsilon in (-5.0, -1.1, 0.1, 1.0, 2.5, 5.0, 8.0, 8.9, 20.0):
                    for lost in (mp.mpf(failure), mp.mpf(failure) - mp.mpf(doubt)):
                        truth = lost + (1 - lost) * _sum(_stated(pair, 0), mp.mpf(epsilon))
                        assert _grid_delta(upper, epsilon) >= truth
                        assert lower is None or _grid_delta(lower, epsilon) <= truth


def test_what_is_beyond_stays_at_finite_losses_as_far_as_its_mass_under_q_goes():
    """Mass p and q beyond the last loss e^L: q e^L of it is put there, and not at infinity."""
    pair = _pair([0.0, 2.0, 3.0], [0.0, -1.0, -1.0])
    lattice = Lattice(0.0, 0.5)
    upper = pessimistic(cells(pair, lattice, Reach(-2000.0, -math.inf, 1.0)), lattice)
    p = math.exp(pair.log_p[1]) + math.exp(pair.log_p[2])
    q = math.exp(pair.log_p[1] - 2.0) + math.exp(pair.log_p[2] - 3.0)
    assert math.exp(upper.beyond_p) == pytest.approx(p - q * math.e, rel=1e-9)
    assert upper.beyond_q == -math.inf


CONTINUOUS = [
    Pair(Noise.GAUSSIAN, 1.0, Shape.SHIFT),
    Pair(Noise.GAUSSIAN, 0.7, Shape.REMOVE, 0.01),
    Pair(Noise.GAUSSIAN, 3.0, Shape.ADD, 0.4),
    Pair(Noise.GAUSSIAN, 2.0, Shape.MIRROR, 0.2),
    Pair(Noise.GAUSSIAN, 1.5, Shape.ANTIPODAL, 0.05),
    Pair(Noise.GAUSSIAN, 2.0, Shape.REMOVE, 0.1, 5),
    Pair(Noise.LAPLACE, 1.0, Shape.SHIFT),
    Pair(Noise.LAPLACE, 0.5, Shape.REMOVE, 0.1),
    Pair(Noise.LAPLACE, 2.0, Shape.ADD, 0.3),
    Pair(Noise.LAPLACE, 4.0, Shape.MIRROR, 0.5),
    Pair(Noise.LAPLACE, 1.0, Shape.ANTIPODAL, 0.2),
    Pair(Noise.LAPLACE, 3.0, Shape.ADD, 0.1, 4),
]


@pytest.mark.parametrize("pair", CONTINUOUS, ids=str)
@pytest.mark.parametrize("fine", [1.3, 40.0])
def test_noise_lies_between_the_two_lattice_laws(pair, fine):
    """At lattice points, beside them and anywhere; by how little they are apart falls with the spacing."""
    reach = Reach(-60.0)
    spacing = _width(pair) / fine
    lattice = Lattice(heaviest(pair, spacing), spacing)
    cut = cells(pair, lattice, reach)
    upper, lower = pessimistic(cut, lattice), optimistic(cut, lattice)
    probes = [upper.offset + spacing * k for k in (-3, -1, 0, 1, 2, 7)]
    probes += [lower.offset + spacing * k for k in (-2, 0, 1, 4)]
    probes += [spacing * k for k in (-5.3, -1.7, -0.4, -0.01, 0.02, 0.6, 1.45, 3.9)]
    with mp.workdps(DIGITS):
        above, below = _atoms(upper), _atoms(lower)
        for epsilon in probes:
            low, high = log_delta_bounds(pair, epsilon)
            assert _grid_delta(upper, epsilon, above) >= mp.exp(low)
            assert _grid_delta(lower, epsilon, below) <= mp.exp(high)
            if fine > 2.0:  # chords of a curve whose second derivative in y is at most that of a narrow law
                assert _grid_delta(upper, epsilon, above) - _grid_delta(lower, epsilon, below) <= spacing


def _width(pair):
    """Of the losses, about."""
    q = pair.sampling_prob if pair.shape is not Shape.SHIFT else 1.0
    return 4.0 * math.log1p(q * math.expm1(min(3.0 / pair.scale + 0.5 / pair.scale**2, 30.0)))


@settings(max_examples=15)
@given(st.integers(0, 2**32), st.floats(0.03, 2.0))
def test_composed_they_stay_on_their_sides(seed, spacing):
    """Two pairs, each on a lattice of its own offset, convolved exactly."""
    rng = np.random.default_rng(seed)
    pairs = [_pair(rng.uniform(-2.0, 3.0, 5).tolist(), rng.uniform(-6.0, 0.0, 5).tolist()) for _ in range(2)]
    lattices = [Lattice(float(rng.uniform(-1.0, 1.0)), spacing) for _ in pairs]
    cut = [cells(pair, lattice, ALL) for pair, lattice in zip(pairs, lattices, strict=True)]
    uppers = [pessimistic(*both) for both in zip(cut, lattices, strict=True)]
    lowers = [optimistic(*both) for both in zip(cut, lattices, strict=True)]
    with mp.workdps(DIGITS):
        truth = _product(*[_stated(pair, 0) for pair in pairs])
        slip = mp.fsum(mp.mpf(grid.slip) for grid in uppers)
        above = _product(*[_atoms(grid) for grid in uppers])
        below = _product(*[_atoms(grid) for grid in lowers]) if None not in lowers else []
        for epsilon in [-20.0, -1.0, 0.0, 0.5, 1.7, 3.3, *(float(loss) for _, loss in truth[:-1:6])]:
            exact = _sum(truth, mp.mpf(epsilon))
            assert _sum(above, mp.mpf(epsilon) - slip) >= exact >= _sum(below, mp.mpf(epsilon))


def _product(one, other):
    return [(p * r, a + b) for p, a in one for r, b in other]


def test_a_common_spacing_is_met_by_both_sides():
    """Up to rounding from above; from below up to what atoms a millionth of a spacing above their points may cost."""
    pair = AtomPair((math.log(0.3), math.log(0.5), math.log(0.2)), (-0.5, 0.25, 1.0))
    lattice = Lattice(0.25, 0.25)
    upper, lower = _check(pair, lattice, [-1.0, 0.0, 0.3, 0.9])
    with mp.workdps(DIGITS):
        for epsilon in (-1.0, 0.0, 0.3, 0.9):
            truth = _sum(_stated(pair, 0), mp.mpf(epsilon))
            assert _grid_delta(upper, epsilon) <= truth * (1 + mp.mpf(10) ** -12)
            assert _grid_delta(lower, epsilon) >= truth * (1 - mp.mpf(10) ** -6)


def test_nothing_to_speak_of_from_below():
    lattice = Lattice(0.0, 1.0)
    wide = AtomPair((math.log(0.5), math.log(0.5)), (-400.0, 400.0))
    assert optimistic(cells(wide, lattice, ALL), lattice) is None
    faint = cells(AtomPair((-600.0,), (0.3,)), lattice, ALL)
    assert optimistic(faint, lattice) is None
    assert pessimistic(faint, lattice).log_p.max() >= -601.0
    hidden = cells(AtomPair((0.0,), (0.5,)), lattice, Reach(-10.0, 2.0, 3.0))
    assert optimistic(hidden, lattice) is None
    assert math.fsum(np.exp(pessimistic(hidden, lattice).log_p)) >= 1.0


def test_the_lower_law_starts_no_higher_than_it_should():
    """Its whole mass is P's at most: very negative epsilons would show it."""
    rng = np.random.default_rng(7)
    pair = _pair(rng.uniform(-0.5, 0.5, 4000).tolist(), rng.uniform(-4.0, 0.0, 4000).tolist())
    lattice = Lattice(0.01, 0.02)
    lower = optimistic(cells(pair, lattice, ALL), lattice)
    with mp.workdps(DIGITS):
        assert mp.fsum(p for p, _ in _atoms(lower)) <= mp.fsum(p for p, _ in _stated(pair, -1))
    assert math.fsum(np.exp(lower.log_p)) >= 1.0 - 1e-9
    assert len(lower.log_p) <= 1.0 / 0.02 + 2 * QUARTERS


def test_a_far_ceiling_takes_no_room():
    """Little in between: what lies beyond begins at the ceiling, or before where that is too far off."""
    pair = _pair([-1e-3, 0.0, 900.0], [-1.0, -1.0, -300.0])
    lattice = Lattice(0.0, 1e-6)
    cut = cells(pair, lattice, Reach(-2000.0, -math.inf, 800.0))
    upper = pessimistic(cut, lattice)
    assert len(upper.log_p) < 1 << 20
    with mp.workdps(DIGITS):
        atoms = _atoms(upper)
        for epsilon in (-1.0, 0.0, 1e-4, 300.0, 899.0):
            assert _grid_delta(upper, epsilon, atoms) >= _sum(_stated(pair, 0), mp.mpf(epsilon))
    assert cells(pair, lattice, Reach(-2000.0, 1e10, 2e10)) is None
