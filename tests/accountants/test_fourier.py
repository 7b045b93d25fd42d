"""The engine for everything: closed forms, enumerations, quadrature, published values; any lattice, any tilt."""

import math
from functools import partial
from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants._cells import Lattice, Reach, cells
from accountants._grid import optimistic, pessimistic
from accountants._many import at_many
from accountants._numerics import EPS
from accountants._transform import compose
from accountants.atoms import NOTHING, remove_atoms, response_laws
from accountants.fourier import Curve, epsilon_bounds, supports
from accountants.lattice import log_delta_bounds as lattice_log_delta
from accountants.pairs import AtomPair, Noise, Pair, Shape
from accountants.profile import epsilon_bounds as profile_epsilon_bounds
from accountants.profile import log_delta_bounds
from tests.oracles import curves as oracle
from tests.oracles import sampled
from tests.oracles.accounting import gaussian_delta

ANY = -math.inf
FAINT = -100.0 * math.log(10.0)


def _log(value):
    return mp.log(value) if value > 0 else mp.mpf("-inf")


def _gaussian(scale):
    return Pair(Noise.GAUSSIAN, scale, Shape.SHIFT)


def _encloses(direction, log_delta_at, log_delta, tolerance=1e-4):
    """Epsilon's bounds hold the epsilon of a curve that falls, given as a function with many digits."""
    low, high = epsilon_bounds(direction, log_delta, tolerance)
    with mp.workdps(40):
        assert log_delta_at(high) <= log_delta * (1 - mp.mpf(10) ** -15)
        assert low == 0.0 or log_delta_at(low) >= log_delta * (1 + mp.mpf(10) ** -15)
    return low, high


@pytest.mark.parametrize("log_delta", [math.log(1e-3), -60.0, FAINT])
@pytest.mark.parametrize(("scales", "times"), [((5.0,), (30,)), ((2.0, 5.0), (3, 10))])
def test_gaussians_hold_their_closed_form(scales, times, log_delta):
    direction = tuple((_gaussian(scale), n) for scale, n in zip(scales, times, strict=True))
    mu = mp.sqrt(mp.fsum(n / mp.mpf(scale) ** 2 for scale, n in zip(scales, times, strict=True)))
    low, high = _encloses(direction, lambda e: mp.log(gaussian_delta(mu, e)), log_delta)
    assert high - low <= 1e-4 * high
    curve = Curve(direction, 1e-3)
    for epsilon in (-30.0, -1.0, 0.0, 0.5 * high, high, 1.3 * high):
        lower, upper = curve(epsilon)
        with mp.workdps(60):
            assert lower <= mp.log(gaussian_delta(mu, epsilon)) <= upper <= 0.0


@pytest.mark.parametrize("times", [2, 40, 3000])
@pytest.mark.parametrize("one", [0.02, 0.7])
def test_randomized_response_holds_the_binomial_sum(one, times):
    """Two atoms of incommensurable use: the lattice meets both of them."""
    pair = remove_atoms(response_laws(one), 1.0)
    with mp.workdps(60):
        p, loss = 1 / (1 + mp.exp(-mp.mpf(one))), mp.mpf(one)

    def log_delta_at(epsilon):
        return min(_log(oracle.binomial_delta(p, loss, -loss, times, epsilon)), mp.mpf(0))

    for log_delta in (math.log(1e-3), math.log(1e-9)):
        low, high = epsilon_bounds(((pair, times),), log_delta, 1e-4)
        with mp.workdps(60):
            assert log_delta_at(high) <= log_delta * (1 - 1e-15)
            assert low == 0.0 or log_delta_at(low) >= log_delta * (1 + 1e-15)
        assert high - low <= 1e-3 * high
    curve = Curve(((pair, times),), 1e-3)
    for epsilon in (-2.5 * one, 0.0, 0.3 * one, 0.9 * one * math.sqrt(times), times * one, 2.0 * times * one):
        lower, upper = curve(epsilon)
        assert lower <= log_delta_at(epsilon) <= upper


MULTINOMIAL = AtomPair(
    (math.log(0.5), math.log(0.2), math.log(0.3 - 1e-6), math.log(1e-6)), (-0.37, 0.11, 0.7123, 3.3), 1e-7
)
SECOND = AtomPair((math.log(0.4), math.log(0.6)), (-0.291, 0.1777))


@pytest.mark.parametrize(("first", "second"), [(2, 0), (9, 0), (6, 4)])
def test_given_pairs_hold_the_enumeration(first, second):
    """Every outcome of every release, losses on no lattice; failure is there at every epsilon."""
    law = {mp.mpf(0): mp.mpf(1)}
    with mp.workdps(40):
        for pair, times in ((MULTINOMIAL, first), (SECOND, second)):
            for _ in range(times):
                after = {}
                for total, weight in law.items():
                    for p, loss in zip(pair.log_p, pair.loss, strict=True):
                        at = mp.mpf(mp.nstr(total + mp.mpf(loss), 30))
                        after[at] = after.get(at, mp.mpf(0)) + weight * mp.exp(mp.mpf(p))
                law = after
        failure = 1 - (1 - mp.mpf(1e-7)) ** first
    direction = ((MULTINOMIAL, first), *([(SECOND, second)] if second else []))
    curve = Curve(direction, 1e-2)
    for epsilon in (-20.0, -1.0, 0.0, 0.25, 1.3, 2.2, 4.0, 6.0, 40.0):
        truth = _log(oracle.atoms_delta([(p, loss) for loss, p in law.items()], epsilon, failure))
        lower, upper = curve(epsilon)
        assert lower <= truth <= upper
        assert upper - lower <= 1e-2
    low, high = epsilon_bounds(direction, -8.0, 1e-4)
    atoms = [(p, loss) for loss, p in law.items()]
    assert _log(oracle.atoms_delta(atoms, high, failure)) <= -8.0 <= _log(oracle.atoms_delta(atoms, low, failure))
    assert epsilon_bounds(direction, float(mp.log(failure)) - 1e-3, 1e-4)[1] == math.inf


def _laplace_delta(times, scale, epsilon):
    """Exact, by how many of the releases have a loss between the extremes, and how many at the upper one.

    With s = 1/scale, P of a loss is 1/2 at s and e^-s/2 at -s; the density between is e^{(x-s)/2}/4.
    """
    s = 1 / mp.mpf(scale)
    top, bottom = mp.mpf(1) / 2, mp.exp(-s) / 2

    def density(k, x):
        """Of the sum of k that lie in (-s, s), each with density e^{(x-s)/2}/4: Irwin-Hall times the exponential."""
        y = (x + k * s) / (2 * s)
        if not 0 < y < k:
            return mp.mpf(0)
        hall = mp.fsum((-1) ** j * mp.binomial(k, j) * (y - j) ** (k - 1) for j in range(int(mp.floor(y)) + 1))
        return hall / mp.factorial(k - 1) / (2 * s) * (2 * s) ** k * mp.exp((x - k * s) / 2) / 4**k

    def shown(k, base, x):
        return -density(k, x) * mp.expm1(epsilon - base - x)

    total = mp.mpf(0)
    for k in range(times + 1):
        for up in range(times - k + 1):
            rest = times - k - up
            ways = mp.factorial(times) / (mp.factorial(k) * mp.factorial(up) * mp.factorial(rest))
            weight, base = ways * top**up * bottom**rest, (up - rest) * s
            if k == 0:
                total += weight * max(-mp.expm1(epsilon - base), mp.mpf(0))
                continue
            low, high = max(mp.mpf(epsilon) - base, -k * s), k * s
            if low < high:
                knots = sorted({low, high, *[x for j in range(k + 1) if low < (x := (2 * j - k) * s) < high]})
                total += weight * mp.quad(partial(shown, k, base), knots)
    return total


@pytest.mark.parametrize(("scale", "times"), [(0.5, 2), (2.0, 2), (2.0, 4), (30.0, 3)])
def test_laplace_holds_its_convolution(scale, times):
    """Atoms at both ends and a density between them, convolved by hand."""
    curve = Curve(((Pair(Noise.LAPLACE, scale, Shape.SHIFT), times),), 1e-3)
    with mp.workdps(25):
        assert abs(_laplace_delta(times, scale, mp.mpf(-60)) - 1) < mp.mpf(10) ** -20
        for share in (-0.5, 0.0, 0.13, 0.5, 0.77, 0.99):
            epsilon = share * times / scale
            lower, upper = curve(epsilon)
            truth = _log(_laplace_delta(times, scale, mp.mpf(epsilon)))
            assert lower - 1e-18 <= truth <= upper + 1e-18
            assert upper - lower <= 1e-2
        low, high = epsilon_bounds(((Pair(Noise.LAPLACE, scale, Shape.SHIFT), times),), math.log(1e-3), 1e-4)
        assert _laplace_delta(times, scale, mp.mpf(high)) <= mp.mpf(1e-3) <= _laplace_delta(times, scale, mp.mpf(low))
    top = times / scale
    assert curve(top * (1.0 + 1e-9))[0] == ANY
    assert epsilon_bounds(((Pair(Noise.LAPLACE, scale, Shape.SHIFT), times),), FAINT, 1e-4)[1] <= top * (1.0 + 1e-2)


@pytest.mark.parametrize("add", [False, True])
def test_sampled_gaussians_hold_the_contour_of_mpmath(add):
    scale, q, times = 2.0, 0.3, 40
    direction = ((Pair(Noise.GAUSSIAN, scale, Shape.ADD if add else Shape.REMOVE, q), times),)
    low, high = epsilon_bounds(direction, -9.0, 1e-4)
    assert high - low <= 1e-4 * high
    for epsilon in (low, high):
        truth = sampled.log_delta((((scale, q, add), times),), 0.0, epsilon, 6.0, digits=12)  # 12 digits: within 1e-9
        lower, upper = Curve(direction, 1e-3)(epsilon)
        assert lower - 1e-9 <= truth <= upper + 1e-9
        assert upper - lower <= 1e-3
        assert (truth >= -9.0 - 1e-9) if epsilon == low else (truth <= -9.0 + 1e-9)


def _antipodal_two(noise, scale, q, epsilon):
    """Two releases: the sum over the first one's loss of the closed curve of the second, in both halves of the line."""
    laws = oracle.mixtures("antipodal", q)
    s = mp.mpf(scale)

    def density(law, x):
        if noise == "gaussian":
            return mp.fsum(w * mp.npdf(x, m, s) for m, w in law.items())
        return mp.fsum(w * mp.exp(-abs(x - m) / s) / (2 * s) for m, w in law.items())

    def inner(x):
        loss = mp.log(density(laws[0], x) / density(laws[1], x))
        return density(laws[0], x) * oracle.delta(noise, "antipodal", scale, q, epsilon - loss)

    if noise == "laplace":
        ends = density(laws[0], mp.mpf(-1)) * s, density(laws[0], mp.mpf(1)) * s
        loss = mp.log(density(laws[0], mp.mpf(1)) / density(laws[1], mp.mpf(1)))
        total = ends[0] * oracle.delta(noise, "antipodal", scale, q, epsilon + loss)
        total += ends[1] * oracle.delta(noise, "antipodal", scale, q, epsilon - loss)
        knots = [mp.mpf(k) / 4 for k in range(-4, 5)]
    else:
        total = mp.mpf(0)
        knots = [-1 - 8 * s + (2 + 16 * s) * k / 16 for k in range(17)]
    nodes = np.polynomial.legendre.leggauss(6)
    for left, right in pairwise(knots):
        half, middle = (right - left) / 2, (right + left) / 2
        total += half * mp.fsum(float(w) * inner(middle + half * float(x)) for x, w in zip(*nodes, strict=True))
    return total


@pytest.mark.parametrize(("noise", "scale", "q", "epsilon"), [("gaussian", 1.5, 0.3, 0.4), ("laplace", 2.0, 0.4, 0.1)])
def test_two_antipodal_releases_hold_the_quadrature(monkeypatch, noise, scale, q, epsilon):
    """Six nodes a panel: the error is below 1e-5 of delta, as doubling the panels shows; the bounds are closer."""
    monkeypatch.setattr(oracle, "DIGITS", 16)
    lower, upper = Curve(((Pair(Noise(noise), scale, Shape.ANTIPODAL, q), 2),), 1e-5)(epsilon)
    truth = float(mp.log(_antipodal_two(noise, scale, q, epsilon)))
    assert lower - 1e-5 <= truth <= upper + 1e-5
    assert upper - lower <= 1e-5


def test_the_mirrored_pair():
    """Twice: little noise shows whoever takes part, and nobody else."""
    bare = Curve(((Pair(Noise.LAPLACE, 1e-3, Shape.MIRROR, 0.3), 2),), 1e-3)
    for epsilon in (0.0, 0.4, 300.0):
        lower, upper = bare(epsilon)
        assert lower - 1e-12 <= math.log(0.51) <= upper + 1e-12
        assert upper - lower <= 1e-3
    pair = Pair(Noise.GAUSSIAN, 2.0, Shape.MIRROR, 0.2)
    one = Curve(((pair, 1),), 1e-4)
    for epsilon in (-1.0, 0.0, 0.1, 0.8):
        with mp.workdps(40):
            truth = mp.log(oracle.delta("gaussian", "mirror", 2.0, 0.2, epsilon))
        low, high = one(epsilon)
        assert low <= truth <= high
        assert high - low <= 1e-4


SINGLE = [
    Pair(noise, scale, shape, q, size)
    for noise in Noise
    for shape, size in ((Shape.REMOVE, 1), (Shape.ADD, 1), (Shape.MIRROR, 1), (Shape.ANTIPODAL, 1), (Shape.REMOVE, 3))
    for scale, q in ((0.5, 0.05), (20.0, 0.6))
]


@pytest.mark.parametrize("pair", SINGLE, ids=str)
def test_one_release_holds_its_closed_form(pair):
    curve = Curve(((pair, 1),), 1e-3)
    unit = pair.sampling_prob / pair.scale
    for epsilon in (-3.0 * unit, -0.3 * unit, 0.0, 0.2 * unit, 0.9 * unit):
        lower, upper = curve(epsilon)
        args = pair.noise.value, pair.shape.value, pair.scale, pair.sampling_prob, epsilon, pair.size
        truth = _log(oracle.delta(*args))
        assert lower <= truth <= upper
        assert truth == ANY or upper - lower <= 1e-2


MIXED = (
    (Pair(Noise.LAPLACE, 3.0, Shape.SHIFT), 8),
    (Pair(Noise.GAUSSIAN, 2.0, Shape.REMOVE, 0.05), 20),
    (SECOND, 3),
    (Pair(Noise.LAPLACE, 2.0, Shape.MIRROR, 0.1), 4),
)


def test_delta_falls_and_epsilon_grows_as_delta_shrinks():
    curve = Curve(MIXED, 1e-3)
    epsilons = np.linspace(-2.0, 9.0, 23)
    bounds = [curve(float(epsilon)) for epsilon in epsilons]
    for (_, before), (after, _) in pairwise(bounds):
        assert after <= before
    found = [epsilon_bounds(MIXED, log_delta, 1e-4) for log_delta in (-1.0, -7.0, -14.0, FAINT)]
    assert all(low <= high < math.inf and high - low <= 1e-3 * high for low, high in found)
    assert all(one[1] < other[0] for one, other in pairwise(found))


def test_epsilon_and_delta_agree():
    curve = Curve(MIXED, 1e-3)
    for log_delta in (-3.0, -14.0, -80.0):
        low, high = epsilon_bounds(MIXED, log_delta, 1e-4)
        assert curve(high)[0] <= log_delta <= curve(low)[1]


def test_many_epsilons_are_one_by_one():
    epsilons = np.array([3.0, -1.0, 0.0, 7.5, 3.0, 1e6, 0.4])
    low, high = at_many(Curve(MIXED, 1e-2), epsilons, np.full(7, ANY))
    for k, epsilon in enumerate(epsilons):
        one = Curve(MIXED, 1e-2)(float(epsilon))
        assert max(low[k], one[0]) <= min(high[k], one[1])
        assert high[k] - low[k] <= 1e-2 or one[1] - one[0] > 1e-2 or high[k] == low[k]
    assert low[0] == low[4]


def test_a_count_is_as_many_rows():
    pair = Pair(Noise.LAPLACE, 3.0, Shape.REMOVE, 0.3)
    one, rows = (epsilon_bounds(direction, -9.0, 1e-4) for direction in (((pair, 6),), ((pair, 1),) * 6))
    assert one[0] <= rows[1] and rows[0] <= one[1]
    assert one == pytest.approx(rows, rel=2e-4)


def test_more_releases_cost_more():
    pair = Pair(Noise.GAUSSIAN, 1.0, Shape.ANTIPODAL, 0.1)
    found = [epsilon_bounds(((pair, times),), -12.0, 1e-4) for times in (2, 3, 10, 1000)]
    assert all(one[1] < other[0] for one, other in pairwise(found))


def test_good_enough_is_enough():
    exact = epsilon_bounds(MIXED, -9.0, 1e-6)
    low, high = epsilon_bounds(MIXED, -9.0, 1e-6, 1.2 * exact[1])
    assert low <= exact[1] and exact[0] <= high <= 1.2 * exact[1]
    lower, upper = Curve(MIXED, 1e-6)(2.0, 0.0)
    truth = Curve(MIXED, 1e-6)(2.0)
    assert lower <= truth[1] and truth[0] <= upper


@settings(max_examples=25)
@given(
    st.lists(st.floats(-4.0, 4.0), min_size=2, max_size=5, unique=True),
    st.integers(1, 4),
    st.floats(-7.0, 1.0),
    st.floats(-8.0, 12.0),
)
def test_any_atoms_any_lattice_any_tilt(losses, times, log_spacing, epsilon):
    """Nothing is asked of the spacing and the tilt but speed: bounds hold where they are chosen by lot."""
    weights = np.exp(-np.abs(np.array(losses)))
    pair = AtomPair(tuple(np.log(weights / weights.sum()).tolist()), tuple(sorted(losses)))
    lattice = Lattice(losses[0] - 0.3, 2.0**log_spacing)
    cut, tilt = cells(pair, lattice, Reach(-800.0)), math.exp(0.5 * log_spacing)
    upper = compose([(pessimistic(cut, lattice), times)], tilt, is_upper=True)
    below = optimistic(cut, lattice)
    lower = compose([(below, times)], tilt, is_upper=False) if below is not None else None
    if upper is not None:
        law = {mp.mpf(0): mp.mpf(1)}
        with mp.workdps(40):
            for _ in range(times):
                after = {}
                for total, weight in law.items():
                    for p, loss in zip(pair.log_p, pair.loss, strict=True):
                        after[total + loss] = after.get(total + loss, mp.mpf(0)) + weight * mp.exp(mp.mpf(p))
                law = after
        truth = _log(oracle.atoms_delta([(p, loss) for loss, p in law.items()], epsilon))
        assert truth <= upper.log_delta(np.array([epsilon]))[0]
        assert lower is None or lower.log_delta(np.array([epsilon]))[0] <= truth


@pytest.mark.parametrize("epsilon", [-1e12, -800.0, 800.0, 1e9, 1e15])
def test_extreme_epsilons_have_bounds(epsilon):
    for direction in (MIXED, ((MULTINOMIAL, 5),), ((_gaussian(0.7), 9),)):
        lower, upper = Curve(direction, 1e-3)(epsilon)
        assert lower <= upper <= 0.0
        if epsilon < 0.0:
            assert upper >= -1e-12
        elif direction[0][0] is MULTINOMIAL:
            assert lower <= math.log(-math.expm1(5 * math.log1p(-1e-7))) <= upper


@pytest.mark.parametrize("times", [10**9, 10**14, 10**18])
def test_counts_beyond_what_rounding_allows_are_not_understated(times):
    """At 1e18 releases no sum of float64 is worth anything: nothing is said rather than something wrong."""
    one = 1e-6
    pair = remove_atoms(response_laws(one), 1.0)
    low, high = epsilon_bounds(((pair, times),), -12.0, 1e-3)
    mean = times * one * math.tanh(0.5 * one)
    assert low <= mean + 4.5 * one * math.sqrt(times)  # a normal law's, beyond which lies less than e^-12
    assert high >= mean


def test_losses_known_up_to_rounding_are_inside_at_both_ends():
    """AtomPair states its losses to 8 EPS (1 + |log p| + |loss|): total losses there and back."""
    pair, epsilon = remove_atoms(response_laws(1.0), 1.0), 2.0 - 1e-10
    lower, upper = Curve(((pair, 2),), 1e-3)(epsilon)
    with mp.workdps(60):
        for off in (-4, 0, 4):
            one = mp.mpf(1) + off * mp.mpf(EPS)
            assert lower <= _log(oracle.binomial_delta(mp.exp(pair.log_p[1]), one, -one, 2, epsilon)) <= upper


def test_agrees_with_the_loss_lattice():
    direction = ((remove_atoms(response_laws(0.3), 1.0), 700), (remove_atoms(response_laws(0.6), 1.0), 50))
    curve = Curve(direction, 1e-4)
    for epsilon in (-4.0, 0.0, 30.0, 60.0, 120.0):
        lower, upper = curve(epsilon)
        known = lattice_log_delta(direction, epsilon)
        assert max(lower, known[0]) <= min(upper, known[1])


def test_range():
    assert supports(MIXED)
    assert not supports(((_gaussian(1e-6), 2),))
    assert not supports(((_gaussian(1e9), 2),))
    assert not supports(((AtomPair((0.0,), (0.0,), 1.0), 2),))
    assert not supports(((AtomPair((math.log(0.5),) * 2, (-1e11, 1e11)), 2),))
    assert not supports(((Pair(Noise.GAUSSIAN, 1.0, Shape.REMOVE, 0.1, 1 << 12), 1),))
    with pytest.raises(TypeError, match="must be a Pair or an AtomPair, got str"):
        supports((("pair", 1),))


def test_a_weight_that_underflows_is_no_end_of_the_losses():
    """Of 2000 records at 1e-3 the last weight is 1e-6000: the losses have no end for all that."""
    group = Pair(Noise.GAUSSIAN, 1.0, Shape.REMOVE, 1e-3, 2000)
    alone = log_delta_bounds(group, 1.0)[0]
    assert Curve(((group, 10),), 1e-3)(1.0)[1] >= alone > -1.0
    assert epsilon_bounds(((group, 10),), math.log(1e-6), 1e-3)[1] >= profile_epsilon_bounds(group, math.log(1e-6))[0]


def test_mass_beyond_that_q_hardly_has_is_not_taken_for_an_infinite_loss():
    """A loss of 2000 is cut off for small epsilons; e^-2000 of Q's mass counts again where epsilon is 2500."""
    pair = AtomPair((math.log(0.3), math.log(0.699), math.log(0.001)), (-0.5, 0.4, 2000.0))
    curve = Curve(((pair, 2),), 1e-4)
    truth = 2.0 * math.log(0.001)  # both releases lose 2000
    for epsilon in (1.0, 2500.0):
        low, high = curve(epsilon)
        assert epsilon == 1.0 or low <= truth <= high


@pytest.mark.parametrize(
    "direction",
    [
        ((NOTHING, 3),),
        ((NOTHING, 3), (Pair(Noise.GAUSSIAN, 1.0, Shape.SHIFT), 1)),
        ((Pair(Noise.GAUSSIAN, 1.0, Shape.ANTIPODAL, 1e-105), 3),),
        ((Pair(Noise.LAPLACE, 1.0, Shape.REMOVE, 1e-20), 1000),),
        ((Pair(Noise.LAPLACE, 1e7, Shape.REMOVE, 0.01), 2),),
        ((remove_atoms(response_laws(1e-30), 1.0), 3), (remove_atoms(response_laws(3.3e-31), 1.0), 2)),
    ],
)
def test_losses_too_small_for_a_lattice_are_answered(direction):
    """No error, no warning, no gigabytes; ends in order."""
    low, high = epsilon_bounds(direction, -10.0, 1e-3)
    assert 0.0 <= low <= high
    below, above = Curve(direction, 1e-3)(1e-3)
    assert below <= above <= 0.0
