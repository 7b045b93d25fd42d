"""Properties that every mechanism has, whichever it is: the rows of the catalogue that no other test holds."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import dpkit
from accountants import Ledger
from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.continuous import GaussianMechanism, LaplaceMechanism
from dpkit.discrete import DiscreteGaussianMechanism
from dpkit.discrete_laplace import DiscreteLaplaceMechanism
from dpkit.entropy import seeded
from dpkit.errors import BoundError, EntropyError, ParameterError, UnboundedError
from dpkit.samplers import centred_discrete_gaussian, lattice_gaussian, lattice_laplace, lattice_step
from dpkit.skellam import SkellamMechanism
from tests.oracles.floats import Counted
from tests.oracles.noise import gaussian_cdf, laplace_cdf, smallest_p_value

MECHANISMS = {
    "gaussian": (GaussianMechanism, "l2"),
    "laplace": (LaplaceMechanism, "l1"),
    "discrete gaussian": (lambda z: DiscreteGaussianMechanism(z, step=2.0**-10), "l2"),
    "discrete laplace": (lambda z: DiscreteLaplaceMechanism(z, step=2.0**-10), "l1"),
    "skellam": (lambda z: SkellamMechanism(z, step=2.0**-10), "l2"),
}
EACH = pytest.mark.parametrize(("make", "norm"), MECHANISMS.values(), ids=MECHANISMS)
FLOATS = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
TABLES = st.integers(1, 3).flatmap(
    lambda d: st.integers(1, 6).flatmap(lambda n: arrays(np.float64, (n, d), elements=FLOATS))
)
INTEGERS = [np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64]


class _Logged:
    """A source that writes down what it was asked for."""

    secure = False

    def __init__(self, seed):
        self.source, self.asked = seeded(seed), []

    def bytes(self, n):
        self.asked.append(n)
        return self.source.bytes(n)


def _trace(make, norm, records, like, seed):
    """All that may be seen of a release but its value: what was recorded, asked for, raised, and in which shape."""
    ledger, source = Ledger(relation="add_remove"), _Logged(seed)
    total = FlatClip(1.0, norm).sum(records.reshape(-1, like))
    release = make(2.0).release(total, ledger=ledger, entropy=source)
    return ledger.to_json(), release.event, release.value.shape, release.value.dtype, total.bound, source.asked[0]


def test_every_mechanism_is_here():
    """A new one is put through the properties, the attacks and the demand for secure releases."""
    made = {type(make(1.0)).__name__ for make, _ in MECHANISMS.values()}
    assert made == {name for name in dpkit.__all__ if name.endswith("Mechanism")} - {"ShareMechanism"}


@EACH
@given(st.data(), TABLES, st.integers(0, 2**64))
@example(None, np.array([[np.nan], [1.0]]), 1)
@example(None, np.array([[1e308]]), 1)
def test_neighbours_take_the_same_path(make, norm, data, records, seed):
    """With one record gone, or any other in its place, the same is recorded, asked for and returned but for numbers.

    Records that are not finite, the last record, and records of any size included: nothing raises for one neighbour.
    """
    width = records.shape[1]
    gone = data.draw(st.integers(0, len(records) - 1)) if data else 0
    other = data.draw(arrays(np.float64, width, elements=FLOATS)) if data else np.zeros(width)
    replaced = records.copy()
    replaced[gone] = other
    neighbours = [records, np.delete(records, gone, axis=0), replaced, np.empty((0, width))]
    traces = [_trace(make, norm, rows, width, seed) for rows in neighbours]
    assert all(trace == traces[0] for trace in traces)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@given(st.data(), TABLES)
def test_replacing_a_record_moves_a_sum_by_at_most_twice_the_bound(norm, data, records):
    """What replace_one is accounted with: exact arithmetic. And twice is met, by opposite records."""
    clip, row = FlatClip(1.0, norm), data.draw(st.integers(0, len(records) - 1))
    other = records.copy()
    other[row] = data.draw(arrays(np.float64, records.shape[1], elements=FLOATS))
    whole, moved = clip.sum(records).value, clip.sum(other).value
    away = [abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(whole, moved, strict=True)]
    if norm == "l2":
        assert sum(x * x for x in away) <= 4
    else:
        assert (sum(away) if norm == "l1" else max(away)) <= 2
    both = clip.sum(np.array([[1.0]])).value - clip.sum(np.array([[-1.0]])).value
    assert 2.0 - 2.0**-27 <= both[0] <= 2.0, "to two grains"


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_of_every_size_are_clipped_as_they_are(dtype):
    """The ends of every integer type: no negation, square or sum wraps; the clipped sum is the exact one."""
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    records = np.array([[low], [high], [high], [1]], dtype=dtype)
    for bound in (1.0, 100.0, 2.0**70):
        total = FlatClip(bound).sum(records).value[0]
        exact = sum(max(-bound, min(bound, float(x))) for x in (low, high, high, 1))
        grain = bound * 2.0**-28  # of the clip's lattice, and of its norms' slack
        assert abs(Fraction(float(total)) - Fraction(exact)) <= 4 * Fraction(grain)
        assert abs(float(FlatClip(bound).clip(records[0])[0])) <= bound
    release = GaussianMechanism(1.0).release(Bounded(records, 1.0), entropy=seeded(1)).value
    step = lattice_step(GaussianMechanism(1.0).stddev(Bounded(records, 1.0)))
    reach = 2.0**52 * step
    clamped = np.clip(records.astype(np.float64), -reach, reach)
    assert (np.abs(release - clamped) < 40).all()


@EACH
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_every_coordinate_has_noise_of_its_own(make, norm, size):
    """The last and the first too; no coordinate of sixty releases stays, and no two are moved alike."""
    noise = np.stack(
        [make(1.0).release(Bounded(np.zeros(size), 1.0, norm), entropy=seeded(i)).value for i in range(60)]
    )
    assert all(len(np.unique(noise[:, i])) > 1 for i in range(size))
    assert all((noise[:, i] != noise[:, j]).any() for i, j in itertools.combinations(range(size), 2))
    assert all((noise[:, i] != -noise[:, j]).any() for i, j in itertools.combinations(range(size), 2))


@EACH
@given(st.integers(-(2**20), 2**20), st.integers(0, 2**64))
def test_noise_does_not_follow_the_value(make, norm, shift, seed):
    """On one stream the noise around values of equal fractions is the same, wherever they are."""
    value = np.array([0.25, -0.375, 0.0])

    def release(query):
        return make(1.0).release(Bounded(query, 1.0, norm), entropy=seeded(seed)).value

    assert (release(value + shift) - shift == release(value)).all()


def _law(name, drawn, step):
    """(cdf, low) of the law around 0 of the noise that is drawn with this parameter, in lattice steps.

    A thousand steps wide, the integer laws differ from the rounded real ones by a millionth.
    """
    s, laplace = drawn / step, "laplace" in name
    reach = int((40 if laplace else 10) * s)
    return (laplace_cdf if laplace else gaussian_cdf)(0.0, s, -reach, reach), -reach


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize(("noise_multiplier", "bound"), [(1.0, 1.0), (0.5, 3.0)])
def test_releases_have_the_law_of_their_event(name, noise_multiplier, bound):
    """Fifty thousand coordinates against the law of noise_multiplier * bound; a tenth more or less would be seen.

    In the outer sixteenths a tenth is ten standard deviations of the count. A wrong convention of the parameter, such
    as variance for deviation, or a bound that is left out, is a factor of 1.4 and more.
    """
    make, norm = MECHANISMS[name]
    query = Bounded(np.zeros(50_000), bound, norm)
    values = make(noise_multiplier).release(query, entropy=seeded(6)).value
    step = lattice_step(noise_multiplier * bound)
    assert step == 2.0**-10, "that of the integer mechanisms too"
    draws = np.rint(values / step).astype(np.int64)
    for factor, seen in ((1.0, False), (0.9, True), (1.1, True)):
        cdf, low = _law(name, factor * noise_multiplier * bound, step)
        assert bool(smallest_p_value(draws, cdf, low, cells=16) < 1e-9) is seen


BAD_CALLS = {
    "no noise": (ParameterError, lambda **how: GaussianMechanism(0.0).release(Bounded(np.ones(1), 1.0), **how)),
    "not a number": (ParameterError, lambda **how: LaplaceMechanism(math.nan).release(Bounded(np.ones(1), 1.0), **how)),
    "bare": (UnboundedError, lambda **how: GaussianMechanism(1.0).release(np.ones(1), **how)),
    "nothing to hide": (BoundError, lambda **how: GaussianMechanism(1.0).release(Bounded(np.ones(1), 0.0), **how)),
    "norm": (BoundError, lambda **how: LaplaceMechanism(1.0).release(Bounded(np.ones(1), 1.0), **how)),
    "not finite": (ParameterError, lambda **how: GaussianMechanism(1.0).release(Bounded([math.inf], 1.0), **how)),
    "out of range": (ParameterError, lambda **how: GaussianMechanism(1e300).release(Bounded([0.0], 1e300), **how)),
    "no step": (ParameterError, lambda **how: DiscreteGaussianMechanism(1.0).release(Bounded([0.0], 1.0), **how)),
    "step": (ParameterError, lambda **how: DiscreteGaussianMechanism(1.0, step=0.3).release(Bounded([0.0], 1), **how)),
}


@pytest.mark.parametrize(("error", "call"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_calls_are_refused_before_anything_is_drawn_or_recorded(error, call):
    ledger, source = Ledger(relation="add_remove"), Counted(seeded(1))
    with pytest.raises(error):
        call(ledger=ledger, entropy=source)
    assert (len(ledger), source.given) == (0, 0)


@pytest.mark.parametrize("sampler", [lattice_gaussian, lattice_laplace, centred_discrete_gaussian])
@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, None])
def test_bad_scales_are_refused_before_anything_is_drawn(sampler, scale):
    source = Counted(seeded(1))
    with pytest.raises(ParameterError):
        sampler([0.0], scale, source)
    with pytest.raises(ParameterError):
        sampler([math.nan], 1.0, source)
    assert source.given == 0


def test_a_source_that_breaks_lets_nothing_out():
    """It fails after the record, which stands: the safe side; and no value is returned."""

    class Broken:
        secure = True

        def bytes(self, n):
            return b"\0" * (n - 1)

    ledger = Ledger(relation="add_remove")
    for count, (make, norm) in enumerate(MECHANISMS.values()):
        with pytest.raises(EntropyError):
            make(1.0).release(Bounded(np.ones(2), 1.0, norm), ledger=ledger, entropy=Broken())
        assert len(ledger) == count + 1
