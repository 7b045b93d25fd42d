"""Composition by tilted transform against exact convolution, from both sides; what transforms round, measured."""

import math
from dataclasses import replace

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft

from accountants import _transform
from accountants._grid import Grid
from accountants._numerics import EPS
from accountants._transform import compose, cumulants

DIGITS = 40


def _grid(masses, *, offset=0.0, spacing=0.125, first=0, beyond_p=0.0, beyond_q=0.0, slip=0.0):
    with np.errstate(divide="ignore"):
        log_p = np.log(np.array(masses, dtype=np.float64))
    logs = [math.log(mass) if mass > 0.0 else -math.inf for mass in (beyond_p, beyond_q)]
    return Grid(offset, spacing, first, log_p, *logs, slip)


def _law(grid):
    return {grid.first + k: mp.exp(mp.mpf(float(m))) for k, m in enumerate(grid.log_p) if m > -math.inf}


def _convolved(parts):
    """{index: P-mass} of the total, with many digits."""
    total = {0: mp.mpf(1)}
    for grid, times in parts:
        law = _law(grid)
        for _ in range(times):
            after = {}
            for i, one in total.items():
                for k, other in law.items():
                    after[i + k] = after.get(i + k, mp.mpf(0)) + one * other
            total = after
    return total


def _exact(parts, total, epsilon, side):
    """delta of the total: losses raised by the slips (side 1) or as they are; what is beyond, added."""
    step, e = mp.mpf(parts[0][0].spacing), mp.mpf(epsilon)
    base = mp.fsum(times * (mp.mpf(grid.offset) + (grid.slip if side > 0 else 0)) for grid, times in parts)
    found = mp.fsum(-p * mp.expm1(e - base - k * step) for k, p in total.items() if base + k * step > e)
    p, q = (
        1 - mp.fprod((1 - mp.exp(mp.mpf(getattr(g, name)))) ** n for g, n in parts) for name in ("beyond_p", "beyond_q")
    )
    return found + max(p - mp.exp(e) * q, mp.mpf(0))


def _check(parts, tilt, epsilons, *, gap=math.inf):
    """Both sides hold the exact value; they are at most ``gap`` apart where delta is not 0."""
    raised = [(replace(grid, beyond_q=-math.inf), times) for grid, times in parts]
    upper, lower = compose(raised, tilt, is_upper=True), compose(parts, tilt, is_upper=False)
    with mp.workdps(DIGITS):
        total = _convolved(parts)
        for epsilon in map(float, epsilons):
            high, low = (float(side.log_delta(np.array([epsilon]))[0]) for side in (upper, lower))
            above, below = _exact(raised, total, epsilon, 1), _exact(parts, total, epsilon, -1)
            assert mp.exp(high) >= above or high == 0.0
            assert mp.exp(low) <= below
            assert below == 0 or high - low <= gap
    return upper, lower


SMALL = _grid([0.2, 0.0, 0.5, 0.3], first=-2)
OTHER = _grid([0.6, 0.1, 0.3], offset=0.0417, first=-1, slip=1e-13)
SKEW = _grid([1 - 1e-9, 0.0, 0.0, 0.0, 0.0, 1e-9], first=-1)
FAILING = _grid([0.5, 0.5 - 1e-7], offset=-0.06, first=0, beyond_p=1e-7, slip=1e-12)
TWO_SIDED = _grid([0.5, 0.49], first=0, beyond_p=0.01, beyond_q=0.004)


@pytest.mark.parametrize(
    "parts",
    [
        [(SMALL, 1)],
        [(SMALL, 12)],
        [(SMALL, 5), (OTHER, 7)],
        [(SKEW, 40)],
        [(SMALL, 3), (OTHER, 2), (SKEW, 4)],
        [(FAILING, 9)],
        [(FAILING, 2), (SMALL, 3)],
        [(TWO_SIDED, 6)],
        [(TWO_SIDED, 2), (SMALL, 2)],
        [(_grid([1.0], first=3), 30)],
    ],
    ids=str,
)
@pytest.mark.parametrize("tilt", [0.05, 1.0, 8.0, 40.0])
def test_the_exact_composition_is_inside(parts, tilt):
    """At lattice points and between, below 0, and beyond the window on both sides."""
    step = parts[0][0].spacing
    points = [0.0, step, 2 * step, 3 * step - 1e-12, 3 * step + 1e-12]
    _check(parts, tilt, [-200.0, -30.0, -3.3, -1.0, -0.1, *points, 0.77, 1.9, 2.6, 3.74, 5.0, 9.0, 30.0, 500.0])


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.floats(-30.0, 0.0), min_size=1, max_size=7), min_size=1, max_size=3),
    st.integers(1, 9),
    st.floats(-4.0, 4.0),
    st.floats(-1.0, 1.0),
    st.floats(-3.0, 6.0),
    st.sampled_from([0.0, 1e-12, 0.01]),
)
def test_random_laws_are_inside(rows, times, log_tilt, offset, epsilon, beyond):
    parts = []
    for k, row in enumerate(rows):
        total = math.fsum(map(math.exp, row))
        masses = [math.exp(x) / total * (1.0 - beyond) for x in row]
        grid = _grid(masses, offset=offset, first=k - 3, spacing=0.25, beyond_p=beyond, beyond_q=0.3 * beyond)
        parts.append((grid, times if k == 0 else k))
    _check(
        parts, math.exp(log_tilt), [epsilon, -epsilon, 0.25 * round(4.0 * epsilon) + sum(n for _, n in parts) * offset]
    )


def test_both_sides_are_close_at_a_good_tilt():
    """Far below what float64 holds of 1: nothing is added to the masses that matter but their rounding."""
    parts = [(SMALL, 60)]
    for tilt in (4.0, 12.0, 40.0):
        _check(parts, tilt, [cumulants(parts, tilt).mean - 0.01], gap=1e-9)
    assert compose(parts, 40.0, is_upper=True).log_delta(np.array([7.3]))[0] < -60.0


RARE = [
    (_grid([1.0 - 1e-3, 0.0, 0.0, *([0.0] * 60), 1e-3], spacing=0.05), 300),
    (_grid([1.0 - 2e-7, *([0.0] * 100), 1e-7, *([0.0] * 300), 1e-7], spacing=0.02), 50),
    (_grid([1e-6, *([0.0] * 200), 1.0 - 1e-6], spacing=0.01, first=-200), 80),
]


@pytest.mark.parametrize("part", RARE, ids=["often", "very seldom", "downwards"])
@pytest.mark.parametrize("tilt", [0.3, 2.0])
def test_rare_heavy_losses_do_not_wrap_around_unseen(part, tilt):
    """Compound Poisson: the window is far wider than a normal law's would be."""
    at = cumulants([part], tilt)
    spread = math.sqrt(at.variance)
    _check([part], tilt, [at.mean + k * spread for k in (-12.0, -3.0, -0.5, 0.0, 0.7, 2.0, 5.0, 14.0)])


@pytest.mark.parametrize("nats", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("part", [(SMALL, 40), (RARE[0][0], 60), (RARE[2][0], 60)], ids=["plain", "rare", "downwards"])
def test_a_window_too_short_is_paid_for(monkeypatch, nats, part):
    """With much mass folded over, the lower side takes it off everywhere and the upper one adds what it cannot see."""
    monkeypatch.setattr(_transform, "_NATS", nats)
    monkeypatch.setattr(_transform, "_UNSEEN", 4.0 * math.exp(-nats))
    monkeypatch.setattr(_transform, "_length", lambda points: 1 << max(math.ceil(math.log2(points)), 3))
    for tilt in (0.2, 1.0, 3.0):
        at = cumulants([part], tilt)
        spread = math.sqrt(at.variance) + 0.3
        _check(
            [part], tilt, [at.mean + k * spread for k in (-9.0, -4.0, -2.0, -1.0, 0.0, 0.6, 1.3, 2.5, 4.0, 8.0, 16.0)]
        )


@pytest.mark.parametrize("size", [8, 12, 96, 1024, 3 << 11, 1 << 14, 3 << 15, 1 << 18])
def test_transforms_round_by_less_than_is_taken_off(size):
    """In the 2-norm, and entry by entry, against extended precision; flat, peaked and steep inputs."""
    rng = np.random.default_rng(size)
    bound = 8.0 * EPS * math.log2(size)
    extended = np.finfo(np.longdouble).eps * 8 * math.log2(size)
    assert extended < bound / 500
    for x in (rng.random(size), np.exp(-np.arange(size) / 3.0), rng.random(size) * 10.0 ** rng.uniform(-200, 0, size)):
        exact = fft.rfft(x.astype(np.longdouble))
        error = np.abs(fft.rfft(x) - exact)
        norm = float(np.linalg.norm(x))
        assert float(np.sqrt(2.0 * np.sum(error.astype(np.float64) ** 2))) <= bound * math.sqrt(size) * norm
        assert float(error.max()) <= bound * math.sqrt(size) * norm
        spectrum = fft.rfft(x)
        back = fft.irfft(spectrum.astype(np.clongdouble), size)
        assert float(np.abs(fft.irfft(spectrum, size) - back).max()) <= bound * float(np.linalg.norm(back))


@pytest.mark.parametrize("points", [1.0, 8.0, 9.0, 12.0, 13.0, 1000.0, 1536.5, 1 << 21])
def test_lengths_are_long_enough_and_of_two_kinds(points):
    size = _transform._length(points)
    assert size >= points
    assert size & (size - 1) == 0 or (size // 3) & (size // 3 - 1) == 0


def test_what_is_too_long_or_too_uncertain_is_not_answered():
    assert _transform._length((1 << 21) + 1.0) is None
    assert _transform._length(math.nan) is None
    assert compose([(_grid([0.5, 0.5], spacing=1e-9), 10**14)], 1.0, is_upper=True) is None
    for is_upper in (True, False):
        assert compose([(_grid([1.0]), 10**16)], 1.0, is_upper=is_upper) is None


@pytest.mark.parametrize("size", [8, 12, 48, 256])
def test_folded_masses_are_known_up_to_what_is_stated(size):
    """The circular convolution, in exact terms, entry by entry."""
    rng = np.random.default_rng(size)
    pieces = []
    for times in (1, 3, 6):
        weight = rng.random(rng.integers(2, 2 * size)) ** 6
        pieces.append((int(rng.integers(-9, 9)), weight / weight.sum(), times))
    mass, error = _transform._convolved(pieces, size)
    with mp.workdps(DIGITS):
        total = [mp.mpf(0)] * size
        total[0] = mp.mpf(1)
        for first, weight, times in pieces:
            folded = [mp.mpf(0)] * size
            for k, w in enumerate(weight):
                folded[(first + k) % size] += mp.mpf(float(w))
            for _ in range(times):
                total = [mp.fsum(total[j] * folded[(i - j) % size] for j in range(size)) for i in range(size)]
        assert max(abs(mp.mpf(float(m)) - t) for m, t in zip(mass, total, strict=True)) <= error
    assert error < 1e-10


def test_rounding_is_not_forgotten_where_nothing_else_is_left(monkeypatch):
    """Tilted masses of e^-57 are below what a transform of their neighbours rounds: the upper end stays above them."""
    monkeypatch.setattr(_transform, "_UNSEEN", 0.0)
    tilt, spacing = 400.0, 0.1
    log_weight = np.log([0.3, 0.2, 0.1, 0.39, *([math.exp(-57.0)] * 60)])
    grid = Grid(0.0, spacing, 0, log_weight - tilt * spacing * np.arange(64), -math.inf)
    for times in (1, 2):
        _check([(grid, times)], tilt, [spacing * (k - 0.4) for k in range(8, 60)])


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.floats(-5.0, 3.0), st.floats(-6.0, 2.0), st.integers(1, 700))
def test_suffix_sums(seed, log_decay, log_spacing, size):
    mass = np.random.default_rng(seed).random(size) ** 8
    decay, spacing = math.exp(log_decay), math.exp(log_spacing)
    sums, gains = _transform._suffixes(mass, decay, spacing)
    assert sums[-1] == gains[-1] == 0.0
    for j in (0, size // 3, size - 1):
        apart = np.arange(size - j, dtype=np.longdouble)
        weight = mass[j:] * np.exp(-np.longdouble(decay) * apart)
        assert float(abs(sums[j] - weight.sum())) <= (8.0 * size + 16.0) * EPS * float(weight.sum())
        gain = (weight * -np.expm1(-np.longdouble(spacing) * apart)).sum()
        assert float(abs(gains[j] - gain)) <= (8.0 * size + 16.0) * EPS * float(gain)


@settings(max_examples=20)
@given(st.lists(st.floats(-20.0, 0.0), min_size=2, max_size=8), st.floats(-2.0, 5.0), st.integers(1, 10**9))
def test_cumulants_are_the_tilted_law_s(row, log_tilt, times):
    grid, tilt = _grid(np.exp(row), offset=0.3), math.exp(log_tilt)
    found = cumulants([(grid, times)], tilt)
    with mp.workdps(DIGITS):
        law = [(p, mp.mpf(grid.offset) + mp.mpf(grid.spacing) * k) for k, p in _law(grid).items()]
        whole = mp.fsum(p * mp.exp(tilt * loss) for p, loss in law)
        mean = mp.fsum(p * mp.exp(tilt * loss) * loss for p, loss in law) / whole
        spread = mp.fsum(p * mp.exp(tilt * loss) * (loss - mean) ** 2 for p, loss in law) / whole
        assert found.value == pytest.approx(float(times * mp.log(whole)), rel=1e-12, abs=1e-12 * times)
        assert found.mean == pytest.approx(float(times * mean), rel=1e-12, abs=1e-12 * times)
        assert found.variance == pytest.approx(float(times * spread), rel=1e-9, abs=1e-12 * times)


def test_a_spread_whose_square_underflows_is_not_taken_for_none():
    step = 1e-180
    parts = [(_grid([0.5, *([0.0] * 40), 0.5], spacing=step), 4)]
    assert cumulants(parts, 1.0).variance == 0.0
    _check(parts, 1.0, [-step, 0.0, 30.5 * step, 100.0 * step, 159.5 * step, 161.0 * step])


@pytest.mark.parametrize("tilt", [740.0, 1400.0, 3000.0])
def test_tilted_to_all_but_an_atom_there_is_still_a_window(tilt):
    """Variances of denormal size, and none at all."""
    parts = [(_grid([0.5, 0.3, 0.2], spacing=0.5), 7)]
    _check(parts, tilt, [0.1, 3.3, 5.9, 6.8, 6.99, 7.01])


@pytest.mark.parametrize("epsilon", [-1e300, -1e18, 1e18, 1e300])
def test_epsilons_without_meaning_have_bounds(epsilon):
    fine = _grid([0.5, 0.3, 0.2], spacing=1e-12)
    upper, lower = (compose([(fine, 5)], 2.0, is_upper=is_upper) for is_upper in (True, False))
    low, high = lower.log_delta(np.array([epsilon]))[0], upper.log_delta(np.array([epsilon]))[0]
    assert low <= high <= 0.0
    assert (high == 0.0) if epsilon < 0.0 else (low == -math.inf)


def test_slips_add_up():
    """Every release may be off by its own: 40 of them by 40 times as much."""
    _check([(replace(SMALL, slip=0.003), 40), (replace(OTHER, slip=0.001), 2)], 2.0, [0.3, 1.0, 1.9, 2.5, 3.1])
