"""Cells of pairs against integrals with 60 digits: masses within their doubts, losses within their quarters."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from accountants import _cells
from accountants._cells import QUARTERS, Lattice, Reach, cells, ends, heaviest
from accountants._halfline import laws
from accountants._numerics import EPS
from accountants.pairs import AtomPair, Noise, Pair, Shape
from tests.oracles import curves as oracle

FAR = Reach(-60.0)

SHAPES = [
    (Shape.SHIFT, 1),
    (Shape.REMOVE, 1),
    (Shape.ADD, 1),
    (Shape.ANTIPODAL, 1),
    (Shape.REMOVE, 4),
    (Shape.ADD, 5),
]


def _mass(log_mass):
    return mp.exp(mp.mpf(log_mass))


def _mixtures(pair):
    return oracle.mixtures(pair.shape.value, pair.sampling_prob, pair.size)


def _between(law, pair, left, right):
    """Mass of a mixture on an interval, from the side of each centre on which it is faint."""

    def tail(x):
        return oracle.beyond({0: 1}, pair.noise.value, pair.scale, x) if abs(x) < mp.inf else mp.mpf(x < 0)

    total = mp.mpf(0)
    for centre, weight in law.items():
        is_left = right <= centre
        total += weight * (
            tail(centre - right) - tail(centre - left) if is_left else tail(left - centre) - tail(right - centre)
        )
    return total


def _pairs():
    return st.builds(
        lambda noise, kind, log_scale, log_q, rest: Pair(
            noise, 10.0**log_scale, kind[0], 1.0 if kind[0] is Shape.SHIFT else rest - 10.0**log_q, kind[1]
        ),
        st.sampled_from(list(Noise)),
        st.sampled_from(SHAPES),
        st.floats(-3.0, 6.0),
        st.floats(-9.0, -0.3),
        st.sampled_from([1.0, 0.0]),
    ).map(lambda pair: pair if pair.sampling_prob > 0.0 else _with_prob(pair))


def _with_prob(pair):
    return Pair(pair.noise, pair.scale, pair.shape, -pair.sampling_prob, pair.size)


@settings(max_examples=40)
@given(_pairs(), st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=8), st.floats(-14.0, 0.0))
@example(Pair(Noise.GAUSSIAN, 1e4, Shape.SHIFT), [0.01, 0.03], -13.0)
def test_masses_between_any_edges_are_within_their_doubt(pair, places, thin):
    """Thin cells, far ones, and such as hold a centre."""
    both = laws(pair)
    middle, width = 0.5 * float(both.centres[0] + both.centres[-1]), float(np.ptp(both.centres)) + 20.0 * pair.scale
    edges = np.array([middle + width * u for u in places])
    edges = np.sort(np.concatenate([edges, edges[:2] + 10.0**thin * pair.scale, both.centres[:1]]))
    found = _cells._masses(both, edges)
    with mp.workdps(oracle.DIGITS):
        cuts = [-mp.inf, *map(mp.mpf, edges.tolist()), mp.inf]
        for log_mass, doubt, law in (
            (found[0], found[1], _mixtures(pair)[0]),
            (found[2], found[3], _mixtures(pair)[1]),
        ):
            for k in range(len(cuts) - 1):
                exact = _between(law, pair, cuts[k], cuts[k + 1])
                if log_mass[k] == -math.inf:
                    assert exact <= mp.mpf(10) ** -300 or cuts[k + 1] - cuts[k] < 1e-14 * (abs(cuts[k]) + pair.scale)
                else:
                    mass = mp.exp(mp.mpf(float(log_mass[k])))
                    assert abs(mass - exact) <= mass * mp.mpf(float(doubt[k]))


@settings(max_examples=40)
@given(_pairs(), st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=12))
def test_losses_are_within_their_doubt(pair, places):
    both = laws(pair)
    middle, width = 0.5 * float(both.centres[0] + both.centres[-1]), float(np.ptp(both.centres)) + 12.0 * pair.scale
    if pair.noise is Noise.LAPLACE:
        width = 0.5 * float(np.ptp(both.centres))
    x = np.array([middle + width * u for u in places])
    loss, doubt, _ = _cells._losses(both, x)
    with mp.workdps(oracle.DIGITS):
        for k in range(len(x)):
            exact = oracle.loss(_mixtures(pair), pair.noise.value, pair.scale, mp.mpf(float(x[k])))
            assert abs(exact - mp.mpf(float(loss[k]))) <= mp.mpf(float(doubt[k]))


def _where(pair, value):
    """The point where the loss passes a value, -inf and inf where it does nowhere."""
    found = oracle.threshold(_mixtures(pair), pair.noise.value, pair.scale, value)
    return -mp.inf if found is None else found


@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize(("shape", "size"), SHAPES)
@pytest.mark.parametrize(("scale", "q"), [(0.7, 0.03), (40.0, 0.6), (1e4, 1e-5)])
def test_cells_hold_what_has_its_loss_in_their_quarter(noise, shape, size, scale, q):
    """Up to the slip on either side; and no quarter is missing."""
    pair = Pair(noise, scale, shape, 1.0 if shape is Shape.SHIFT else q, size)
    low, high = ends(pair, FAR)
    spacing = (high - low) / 30.0
    lattice = Lattice(heaviest(pair, spacing), spacing)
    cut = cells(pair, lattice, FAR)
    assert np.all(np.diff(cut.quarter) > 0)
    assert cut.slip <= 1e-3 * spacing
    at = {0, 1, len(cut.quarter) // 3, len(cut.quarter) - 2, len(cut.quarter) - 1}
    with mp.workdps(oracle.DIGITS):
        p_law, q_law = _mixtures(pair)
        unit, slip = mp.mpf(spacing) / QUARTERS, mp.mpf(cut.slip)
        for k in sorted(at):
            left = mp.mpf(lattice.offset) + unit * int(cut.quarter[k])
            right = left + unit
            outer, inner = [(_where(pair, left - s), _where(pair, right + s)) for s in (slip, -slip)]
            p = mp.exp(mp.mpf(float(cut.log_p[k])))
            off = p * mp.mpf(float(cut.doubt_p[k]))
            assert p - off <= _between(p_law, pair, *outer)
            if 0 < k < len(cut.quarter) - 1:
                assert p + off >= max(_between(p_law, pair, *inner), mp.mpf(0))
            loss, doubt = mp.mpf(float(cut.loss[k])), mp.mpf(float(cut.doubt_loss[k]))
            assert left - slip - doubt <= loss <= right + slip + doubt
            assert p * mp.exp(-loss - doubt) * (1 - cut.doubt_p[k]) <= _between(q_law, pair, *outer)


@settings(max_examples=40)
@given(_pairs(), st.floats(0.4, 3.0), st.sampled_from([1.0, 0.3]))
def test_nothing_is_lost(pair, log_cells, share):
    """Both laws have mass 1 in all, wherever the cells end; the cells' own losses lie in their quarters."""
    low, high = ends(pair, FAR)
    spacing = (high - low) / 10.0**log_cells
    lattice = Lattice(heaviest(pair, spacing), spacing)
    reach = FAR if share == 1.0 else Reach(-60.0, low + 0.4 * (high - low), low + 0.7 * (high - low))
    cut = cells(pair, lattice, reach)
    p, off = np.exp(cut.log_p), cut.doubt_p
    sure, most = math.fsum(p * np.maximum(1.0 - off, 0.0)), math.fsum(p * (1.0 + off))
    assert sure + _mass(cut.beyond.least_p) <= 1.0 + 1e-12
    assert most + _mass(cut.below) + _mass(cut.beyond.most_p) >= 1.0 - 1e-12
    q = np.exp(cut.log_p - cut.loss)
    apart = np.exp(np.minimum(cut.doubt_loss, 700.0)) * (1.0 + off)
    assert math.fsum(q * np.exp(-np.minimum(cut.doubt_loss, 700.0)) * np.maximum(1.0 - off, 0.0)) <= 1.0 + 1e-9
    assert math.fsum(q * apart) + _mass(cut.beyond.most_q) <= 1.0 + 1e-9 + math.fsum(q * (apart - 1.0))
    left = lattice.offset + cut.quarter * (spacing / QUARTERS)
    room = cut.slip + cut.doubt_loss + 8.0 * EPS * (abs(lattice.offset) + np.abs(left) + spacing)
    assert np.all(cut.loss >= left - room)
    assert np.all(cut.loss <= left + spacing / QUARTERS + room)


@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_what_is_beyond_is_above_its_quarter_and_what_is_below_below(noise, shape, size):
    pair = Pair(noise, 2.0, shape, 1.0 if shape is Shape.SHIFT else 0.3, size)
    low, high = ends(pair, FAR)
    spacing = (high - low) / 40.0
    lattice = Lattice(heaviest(pair, spacing), spacing)
    cut = cells(pair, lattice, Reach(-60.0, low + 0.35 * (high - low), low + 0.6 * (high - low)))
    with mp.workdps(oracle.DIGITS):
        p_law, q_law = _mixtures(pair)
        unit, slip = mp.mpf(spacing) / QUARTERS, mp.mpf(cut.slip)
        first, end = (mp.mpf(lattice.offset) + unit * int(k) for k in (cut.quarter[0], cut.end))
        assert 0 < _mass(cut.beyond.least_p) <= _mass(cut.beyond.most_p)
        assert _mass(cut.beyond.least_p) <= _between(p_law, pair, _where(pair, end - slip), mp.inf)
        assert _mass(cut.beyond.least_q) <= _between(q_law, pair, _where(pair, end - slip), mp.inf)
        assert (
            0
            < _mass(cut.below)
            <= _between(p_law, pair, -mp.inf, _where(pair, first + unit + slip)) * (1 + mp.mpf(1e-12))
        )
        held = mp.fsum(mp.exp(mp.mpf(float(x))) for x in cut.log_p)
        assert abs(held + _mass(cut.below) + (_mass(cut.beyond.least_p) + _mass(cut.beyond.most_p)) / 2 - 1) < 1e-12
        far = cells(pair, lattice, FAR)
        kept = far.quarter > cut.quarter[-1]
        own = mp.fsum(mp.exp(mp.mpf(float(x))) for x in far.log_p[kept]) + _mass(far.beyond.most_p)
        assert _mass(cut.beyond.most_p) >= own * (1 - mp.mpf(1e-12))


def test_the_tail_that_needs_no_cells_is_bounded_and_not_dropped():
    pair = Pair(Noise.GAUSSIAN, 1.0, Shape.SHIFT)
    cut = cells(pair, Lattice(0.5, 0.1), Reach(-8.0))
    edge = 1.0 + math.sqrt(16.0)
    with mp.workdps(oracle.DIGITS):
        p, q = (oracle.beyond({m: mp.mpf(1)}, "gaussian", 1.0, mp.mpf(edge)) for m in (1, 0))
        assert _mass(cut.beyond.least_p) <= p <= _mass(cut.beyond.most_p)
        assert _mass(cut.beyond.least_q) <= q <= _mass(cut.beyond.most_q)
        assert _mass(cut.beyond.most_p) <= p * (1 + mp.mpf(10) ** -12)
        left = 1 - oracle.beyond({1: mp.mpf(1)}, "gaussian", 1.0, mp.mpf(-12))
        assert left <= _mass(cut.below) <= left * (1 + mp.mpf(10) ** -12)


@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize(("scale", "q"), [(0.6, 0.2), (5.0, 0.01), (300.0, 1.0 - 1e-9)])
@pytest.mark.parametrize("ceiling", [math.inf, 0.1])
def test_the_mirrored_pair_in_cells(noise, scale, q, ceiling):
    """The removal's losses above 0 and their mirror image; the rest is at 0, of both laws alike."""
    pair = Pair(noise, scale, Shape.MIRROR, q)
    reach = Reach(-60.0, -ceiling, ceiling)
    low, high = ends(pair, reach)
    assert low == -high
    spacing = high / 12.0
    cut = cells(pair, Lattice(0.0, spacing), reach)
    with mp.workdps(oracle.DIGITS):
        p_law, q_law = oracle.mixtures("remove", q)
        where = oracle.threshold((p_law, q_law), noise.value, scale, mp.mpf(0))
        above = [_between(law, pair, where, mp.inf) for law in (p_law, q_law)]
        p = [mp.exp(mp.mpf(float(x))) for x in cut.log_p]
        off = mp.fsum(m * mp.mpf(float(d)) for m, d in zip(p, cut.doubt_p, strict=True))
        for sign, whole in ((1, above[0]), (-1, above[1])):
            held = mp.fsum(m for m, loss in zip(p, cut.loss, strict=True) if loss * sign > 0)
            held += (_mass(cut.beyond.most_p) + _mass(cut.beyond.least_p)) / 2 if sign > 0 else _mass(cut.beyond.most_q)
            assert abs(held - whole) <= off + 1e-13 * (1 + 1 / scale)
        centre = [m for m, loss in zip(p, cut.loss, strict=True) if loss == 0.0]
        assert abs(mp.fsum(centre) - (1 - above[0] - above[1])) <= off + 1e-13
        assert _mass(cut.below) == _mass(cut.beyond.most_q)
        signed = sorted(cut.loss[cut.loss != 0.0].tolist(), key=abs)
        assert np.allclose(signed[::2], -np.array(signed[1::2]), rtol=1e-9) or np.allclose(
            np.abs(signed[::2]), np.abs(signed[1::2]), rtol=1e-9
        )


ATOMS = AtomPair(
    (math.log(0.25), math.log(0.3), -30.0, math.log(0.45 - math.exp(-30.0))), (-1.0, -0.2, 0.0, 1.5), 1e-3, None, 4e-4
)


def test_atoms_are_cells():
    cut = cells(ATOMS, Lattice(-0.2, 0.4), FAR)
    assert cut.quarter.tolist() == [-8, 0, 2, 17]
    assert cut.loss.tolist() == list(ATOMS.loss)
    least, most = _mass(cut.beyond.least_p), _mass(cut.beyond.most_p)
    assert (1e-3 - 4e-4) * (1.0 - 1e-12) <= least <= (1e-3 - 4e-4) * (1.0 + 1e-15)
    assert 1e-3 * (1.0 - 1e-15) <= most <= 1e-3 * (1.0 + 1e-12)
    assert cut.beyond.most_q == cut.below == -math.inf
    for k, (log_p, loss) in enumerate(zip(ATOMS.log_p, ATOMS.loss, strict=True)):
        p = math.exp(cut.log_p[k])
        for failure in (1e-3, 1e-3 - 4e-4):
            for sign in (-1.0, 1.0):
                stated = math.exp(log_p) * (1.0 + sign * 8.0 * EPS * (4.0 + abs(log_p)))
                stated = (1.0 - failure) * (stated + (sign * 16.0 * EPS if loss == 0.0 else 0.0))
                assert p * (1.0 - cut.doubt_p[k]) <= stated <= p * (1.0 + cut.doubt_p[k])
        assert cut.doubt_loss[k] >= 8.0 * EPS * (1.0 + abs(log_p) + abs(loss)) * abs(loss)


@pytest.mark.parametrize(
    ("floor", "ceiling"), [(-0.5, 1.0), (-3.0, -0.5), (-0.1, 0.1), (0.5, 1.0), (1.6, 2.0), (-9.0, 9.0)]
)
def test_atoms_out_of_reach_are_below_or_beyond(floor, ceiling):
    cut = cells(ATOMS, Lattice(-0.2, 0.4), Reach(-60.0, floor, ceiling))
    p = [math.exp(x) * (1.0 - 1e-3) for x in ATOMS.log_p]
    q = [mass * math.exp(-loss) for mass, loss in zip(p, ATOMS.loss, strict=True)]
    below = math.fsum(m for m, loss in zip(p, ATOMS.loss, strict=True) if loss < floor)
    above = [math.fsum(m for m, loss in zip(law, ATOMS.loss, strict=True) if loss > ceiling) for law in (p, q)]
    assert _mass(cut.below) >= below
    assert _mass(cut.below) <= below * (1.0 + 1e-3)
    assert _mass(cut.beyond.least_p) <= above[0] + 1e-3 - 4e-4
    assert _mass(cut.beyond.most_p) >= above[0] + 1e-3
    assert _mass(cut.beyond.least_q) <= above[1] <= _mass(cut.beyond.most_q)
    assert _mass(cut.beyond.most_p) - _mass(cut.beyond.least_p) <= 4e-4 + above[0] * 1e-3 + 1e-12
    assert len(cut.log_p) == sum(floor <= loss <= ceiling for loss in ATOMS.loss)
    if above[0] > 0.0:
        assert -0.2 + 0.1 * cut.end <= ceiling + 8.0 * EPS


@pytest.mark.parametrize(
    "pair", [Pair(Noise.GAUSSIAN, 0.01, Shape.SHIFT), Pair(Noise.LAPLACE, 1.0, Shape.MIRROR, 0.5), ATOMS], ids=str
)
def test_too_many_cells_are_none(pair):
    assert cells(pair, Lattice(0.0, 1e-9), FAR) is None
    assert cells(pair, Lattice(0.0, 1e-300), FAR) is None


def test_an_atom_so_large_that_its_doubt_has_no_exponential():
    size = 9e9
    cut = cells(AtomPair((math.log(0.5), math.log(0.5)), (-size, size)), Lattice(size, 1e5), FAR)
    assert cut.doubt_loss[1] >= 8.0 * EPS * size * size
    assert 4.0 * (cut.loss[1] + cut.doubt_loss[1] - size) / 1e5 - 1.0 <= cut.quarter[1]


def test_where_the_lattice_should_lie():
    """On the heaviest atom, on the plateau of rare participation, on 0 for the mirrored pair."""
    assert heaviest(ATOMS, 1.0) == 1.5
    assert heaviest(Pair(Noise.LAPLACE, 2.0, Shape.SHIFT), 0.1) == pytest.approx(0.5, rel=1e-14)
    assert heaviest(Pair(Noise.LAPLACE, 2.0, Shape.REMOVE, 0.01), 0.1) == pytest.approx(
        math.log1p(0.01 * math.expm1(-0.5)), rel=1e-13
    )
    assert heaviest(Pair(Noise.GAUSSIAN, 0.1, Shape.REMOVE, 0.01), 0.1) == pytest.approx(math.log1p(-0.01), rel=1e-2)
    assert heaviest(Pair(Noise.GAUSSIAN, 1.0, Shape.MIRROR, 0.5), 0.1) == 0.0


def test_what_is_no_pair_is_refused():
    for function, args in ((cells, (Lattice(0.0, 1.0), FAR)), (ends, (FAR,)), (heaviest, (1.0,))):
        with pytest.raises(TypeError, match="must be a Pair or an AtomPair, got str"):
            function("pair", *args)


@pytest.mark.parametrize("noise", Noise)
def test_a_method_that_finds_no_edge_is_found_out(monkeypatch, noise):
    """Without Newton's steps edges are as good as the table: the slip tells by how much they miss."""
    monkeypatch.setattr(_cells, "_NEWTON", 0)
    pair = Pair(noise, 0.5, Shape.ANTIPODAL, 0.3)
    at = np.linspace(-0.5, 0.4, 7)
    left, right = _cells._interval(laws(pair), FAR)
    x, slip = _cells._edges(laws(pair), at, left, right)
    assert slip > 1e-9
    with mp.workdps(oracle.DIGITS):
        found = [oracle.loss(_mixtures(pair), noise.value, pair.scale, mp.mpf(float(y))) for y in x]
        assert max(abs(loss - mp.mpf(float(a))) for loss, a in zip(found, at, strict=True)) <= slip
