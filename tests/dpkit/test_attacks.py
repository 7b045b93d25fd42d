"""Published attacks on the floating point of noise and sums: each must succeed on a baseline, and fail on ours."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.continuous import GaussianMechanism, LaplaceMechanism
from dpkit.discrete import DiscreteGaussianMechanism
from dpkit.discrete_laplace import DiscreteLaplaceMechanism
from dpkit.entropy import seeded
from dpkit.samplers import (
    centred_discrete_gaussian,
    discrete_gaussian,
    discrete_laplace,
    lattice_gaussian,
    lattice_laplace,
    lattice_step,
    skellam,
)
from dpkit.skellam import SkellamMechanism
from tests.oracles.floats import (
    Counted,
    four_normal_gaussian,
    four_uniform_laplace,
    geometric_loop,
    ideal_rate,
    laplace_reaches,
    lowest_bits,
    numpy_noise,
    numpy_noise32,
    precision_attack,
    rate_bounds,
    summation_attack,
    two_normal_gaussian,
    work_attack,
)

CENTERS = (0.0, 1.0, 2.0**20, -1 / 3, 1e-300)
COUNT = 20_000
IMPOSSIBLE = 1e-9
NORMAL = ideal_rate(lambda x: math.erf(x / math.sqrt(2)))  # 0.257
LAPLACE = ideal_rate(lambda x: -math.expm1(-x))  # 0.272


def _sampler(sampler):
    return lambda center, count, seed: sampler(np.full(count, center), 1.0, seeded(seed))


def _mechanism(mechanism, norm):
    def noisy(center, count, seed):
        query = Bounded(np.full(count, center), 1.0, norm)
        return mechanism.release(query, entropy=seeded(seed)).value

    return noisy


FLOATS = {
    "numpy normal": (numpy_noise("standard_normal"), -53, NORMAL),
    "numpy laplace": (numpy_noise("laplace"), -53, LAPLACE),
    "numpy normal, float32": (numpy_noise32, -24, NORMAL),
    "diffprivlib laplace": (four_uniform_laplace, -53, None),
    "diffprivlib gaussian": (two_normal_gaussian, -53, NORMAL),
    "opacus secure mode, float64": (four_normal_gaussian, -53, None),
}
OURS = {
    "lattice gaussian": (_sampler(lattice_gaussian), lattice_step(1.0)),
    "lattice laplace": (_sampler(lattice_laplace), lattice_step(1.0)),
    "gaussian mechanism": (_mechanism(GaussianMechanism(1.0), "l2"), lattice_step(1.0)),
    "laplace mechanism": (_mechanism(LaplaceMechanism(1.0), "l1"), lattice_step(1.0)),
    "discrete gaussian mechanism": (_mechanism(DiscreteGaussianMechanism(4.0, step=0.25), "l2"), 0.25),
    "discrete laplace mechanism": (_mechanism(DiscreteLaplaceMechanism(4.0, step=0.25), "l1"), 0.25),
    "skellam mechanism": (_mechanism(SkellamMechanism(4.0, step=0.25), "l2"), 0.25),
}
EACH = pytest.mark.parametrize(("noisy", "step"), OURS.values(), ids=OURS)


def _check_attack(noisy, kept, rate):
    """The event that a release is not a multiple of 2**kept: never at 1, and at 0 as often as it should be.

    More than once in eight in any case; and where noise is rounded from its law but once, at the rate that follows.
    """
    exponent, rates = precision_attack(noisy, (0.0, 1.0), COUNT)
    assert (exponent, rates[1.0]) == (kept, 0.0)
    assert rates[0.0] > rate_bounds(1 / 8, COUNT, IMPOSSIBLE)[1]
    if rate is not None:
        low, high = rate_bounds(rate, COUNT, IMPOSSIBLE)
        assert low <= rates[0.0] <= high


@pytest.mark.parametrize(("noisy", "kept", "rate"), FLOATS.values(), ids=FLOATS)
def test_precision_tells_float_noise_apart(noisy, kept, rate):
    """A sixth to a quarter (0.16 to 0.27) of the releases around 0 cannot come from 1: the loss is infinite on them.

    That the event never happens at 1 is a theorem: noise in [-3/2, -1/2] is a multiple of 2**kept itself, and a sum of
    1/2 or more has no lower bits.
    """
    _check_attack(noisy, kept, rate)
    assert set(precision_attack(noisy, CENTERS, 1000)[1].values()) == {0.0, 1.0}, "2**20 beside any of the others"


def test_precision_tells_opacus_apart():
    """Opacus's secure mode, live: half the sum of four float32 normals."""
    torch = pytest.importorskip("torch")
    optimizer = pytest.importorskip("opacus.optimizers.optimizer")

    def noisy(center, count, seed):
        made = optimizer._generate_noise(1.0, torch.zeros(count), torch.Generator().manual_seed(seed), secure_mode=True)
        return (center + made).numpy()

    _check_attack(noisy, -24, None)


def test_precision_tells_torch_apart():
    torch = pytest.importorskip("torch")
    for dtype, kept in ((torch.float32, -24), (torch.float64, -53)):

        def noisy(center, count, seed, dtype=dtype):
            generator = torch.Generator().manual_seed(seed)
            return (center + torch.randn(count, generator=generator, dtype=dtype)).numpy()

        _check_attack(noisy, kept, NORMAL)


@EACH
def test_precision_does_not_tell_ours_apart(noisy, step):
    """The finest bit is the lattice's at every centre, and it is set in half of the releases: an exact binomial."""
    exponent, rates = precision_attack(noisy, CENTERS, COUNT)
    assert 2.0**exponent == step
    assert set(rates.values()) == {0.0}
    low, high = rate_bounds(0.5, COUNT, IMPOSSIBLE)
    for center in CENTERS:
        odd = float(np.mean(lowest_bits(noisy(center, COUNT, 1)) == exponent))
        assert low <= odd <= high, center


@EACH
@given(center=st.one_of(st.floats(-1e3, 1e3), st.sampled_from([*CENTERS, 1e300, -1e308, 5e-324])), seed=st.integers(0))
def test_no_bit_below_the_lattice_at_any_center(noisy, step, center, seed):
    values = np.asarray(noisy(center, 8, seed))
    assert all(Fraction(float(value)) % Fraction(step) == 0 for value in values)


def test_holes_tell_inverse_cdf_laplace_apart():
    """Mironov 2012, live on numpy: two thirds of the releases around 0 cannot be made from 1 by any uniform number."""
    for center, other in ((0.0, 1.0), (1.0, 0.0)):
        values = numpy_noise("laplace")(center, 2000, 3)
        assert all(laplace_reaches(value, center) for value in values), "the attack knows all that can be made"
        reached = sum(laplace_reaches(value, other) for value in values)
        # two thirds, about, are not; at least a half are, but for a chance below 1e-9
        assert stats.binom.sf(2000 - reached - 1, 2000, 0.5) < IMPOSSIBLE


@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize("sampler", [lattice_gaussian, lattice_laplace])
def test_no_holes_in_ours(sampler, center):
    """Every lattice point within one scale of the centre comes out, wherever the centre is.

    Each has a probability of at least 1/(2 e 1024), so 72 draws of 400 000: none misses but with chance 1e-27.
    """
    step = lattice_step(1.0)
    assert step == 2.0**-10
    draws = np.unique(sampler(np.full(400_000, center), 1.0, seeded(4)) / step)
    low, high = math.ceil(center / step - 1024), math.floor(center / step + 1024)
    inner = draws[(draws >= low) & (draws <= high)]
    assert inner.tolist() == list(range(low, high + 1))


SUMS = {
    "numpy": lambda rows: np.sum(rows, dtype=rows.dtype),
    "one after the other": lambda rows: np.add.accumulate(rows)[-1],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("total", SUMS.values(), ids=SUMS)
def test_float_sums_move_by_more_than_the_bound(total, dtype):
    """Casacuberta et al. 2022: equal records within the bound, and a float sum that moves by more without one."""
    records = np.full(300, 0.1, dtype=dtype)
    bound = Fraction(float(records[0]))
    assert any(summation_attack(total, records[:n]) > bound for n in range(2, 300))
    if dtype is np.float64:
        assert any(summation_attack(math.fsum, records[:n]) > bound for n in range(2, 300)), "nor if rounded but once"


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_our_sums_do_not(norm):
    clip = FlatClip(0.1, norm)
    records = np.full((300, 1), 0.1)
    for n in range(2, 300):
        assert summation_attack(lambda rows: clip.sum(rows).value[0], records[:n]) <= Fraction(0.1)


@pytest.mark.parametrize(("dtype", "bits", "excess"), [(np.float32, 26, 2.0**-7), (np.float64, 55, 2.0**-36)])
def test_absorption_multiplies_what_one_record_moves(dtype, bits, excess):
    """A record of 1 swallows all that follows it: without it they count. The excess grows with their number."""
    records = np.full(2**20, -(2.0**-bits), dtype=dtype)
    records[0] = 1.0
    assert summation_attack(SUMS["one after the other"], records) > 1 + Fraction(excess)
    assert summation_attack(lambda rows: FlatClip(1.0).sum(rows[:, np.newaxis]).value[0], records) <= 1


def test_integer_sums_that_wrap_move_by_more_than_the_bound():
    """Clamped to 2**62 and added as int64, three records wrap; ours are added as they are clipped."""
    records = np.full(3, np.iinfo(np.int64).max)
    wrapped = [int(np.sum(np.minimum(records[:n], 2**62))) for n in (1, 2, 3)]
    assert max(abs(after - before) for before, after in pairwise(wrapped)) > 2**62
    totals = [float(FlatClip(2.0**62).sum(records[:n, np.newaxis]).value[0]) for n in (1, 2, 3)]
    assert [b - a for a, b in pairwise(totals)] == [totals[0]] * 2
    assert 0 < totals[0] <= 2**62


def _costs(draw):
    """(values, bytes) of four thousand single draws from one source."""
    source, values, costs = Counted(seeded(3)), [], []
    for _ in range(4000):
        before = source.given
        values.append(float(draw(source)))
        costs.append(source.given - before)
    return values, costs


def test_work_tells_the_magnitude_of_a_geometric_loop():
    """Jin et al. 2022: a loop that counts up to the noise takes as long as the noise is large."""
    assert work_attack(*_costs(lambda source: geometric_loop(source, 0.9))) < 1e-300


@pytest.mark.parametrize(("stddev", "fraction"), [(0.5, 0.5), (2.0, 0.3), (100.0, 0.3), (5000.0, 0.0)])
def test_work_does_not_tell_the_magnitude_of_ours(stddev, fraction):
    """The number of proposals says nothing of the one that was accepted; and each costs the same."""

    def draw(source):
        return centred_discrete_gaussian(fraction, stddev, source) - fraction

    assert work_attack(*_costs(draw)) > IMPOSSIBLE


@pytest.mark.parametrize(
    ("sampler", "scale"),
    [
        *((discrete_gaussian, scale) for scale in (0.3, 30.0, 2.0**20)),
        *((discrete_laplace, scale) for scale in (0.3, 30.0, 2.0**30)),
        *((skellam, variance) for variance in (0.5, 900.0, 1e9)),
    ],
)
def test_work_does_not_tell_the_magnitude_of_integers(sampler, scale):
    assert work_attack(*_costs(lambda source: sampler(1, scale, source)[0])) > IMPOSSIBLE


@pytest.mark.parametrize(("sampler", "scale"), [(centred_discrete_gaussian, 3.0), (lattice_gaussian, 3.0)])
def test_work_does_not_follow_the_values(sampler, scale):
    """Centres of equal fractions cost the same bytes on the same stream, wherever they are and whatever is drawn."""
    step = 1.0 if sampler is centred_discrete_gaussian else lattice_step(scale)
    center, costs = np.array([0.25, -0.375, 0.0, 0.125]) * step, []
    for shift in (0.0, 1.0, -7.0, 2.0**20, -(2.0**30)):
        source = Counted(seeded(8))
        sampler(center + shift * step, scale, source)
        costs.append(source.given)
    assert len(set(costs)) == 1


def test_laplace_costs_the_same_whatever_is_drawn():
    """Laplace noise has no proposals at all: every vector of a length costs the same, wherever it is."""
    costs = set()
    for seed, center in enumerate([0.0, 1 / 3, -1e6, 1e-300, 5.5, 2.0**30 + 0.1]):
        source = Counted(seeded(seed))
        lattice_laplace(np.full(1000, center), 1.0, source)
        costs.add(source.given)
    assert len(costs) == 1
