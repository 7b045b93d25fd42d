"""The adaptive clip: what its count tells is centred, noised, recorded first, and divided by a public number."""

import dataclasses
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import dpkit.adaptive
from accountants import Budget, BudgetExceededError, Gaussian, Ledger, PoissonSampled, epsilon
from dpkit.adaptive import AdaptiveClip, split_noise
from dpkit.batches import PoissonBatches
from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.continuous import GaussianMechanism
from dpkit.entropy import seeded
from dpkit.errors import BoundError, ParameterError, StateError, UnboundedError

FLOATS = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
TABLES = st.integers(1, 6).flatmap(lambda n: arrays(np.float64, (n, 2), elements=FLOATS))
MULTIPLIERS = st.one_of(st.floats(1e-3, 1e3), st.sampled_from([2.0**-400, 2.0**399, 1e-9, 1e9]))


def _clip(initial=1.0, quantile=0.5, **more):
    return AdaptiveClip(initial, quantile, **{"expected_batch_size": 20, "count_noise_multiplier": 4.0, **more})


@given(TABLES, st.data(), st.sampled_from(["l1", "l2", "linf"]))
def test_sum_and_count_move_by_at_most_their_bounds(records, data, norm):
    clip = _clip(0.7, norm=norm)
    gone = data.draw(st.integers(0, len(records) - 1))
    order = data.draw(st.permutations([i for i in range(len(records)) if i != gone]))
    (total, count), (rest, fewer) = (clip.sum_with_count(part) for part in (records, records[np.array(order, int)]))
    moved = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(total.value, rest.value, strict=True)]
    limit = Fraction(total.bound)
    if norm == "l2":
        assert sum(x * x for x in moved) <= limit * limit
    else:
        assert (sum(map(abs, moved)) if norm == "l1" else max(map(abs, moved))) <= limit
    assert abs(float(count.value) - float(fewer.value)) == count.bound == fewer.bound == 0.5
    assert (total.bound, total.norm) == (0.7, norm)
    assert (total.value == FlatClip(0.7, norm).sum(records).value).all()


def test_the_count_is_centred():
    records = np.array([[0.5, 0.0], [0.0, 1.0], [3.0, 0.0], [np.nan, 0.0], [0.0, np.inf]])
    clip = _clip(1.5)
    assert float(clip.sum_with_count(records)[1].value) == 2 / 2 - 3 / 2, "what is not finite is not within"
    assert float(clip.sum_with_count(iter(records))[1].value) == -0.5
    assert float(clip.sum_with_count([{"a": row} for row in records])[1].value) == -0.5
    assert float(clip.count(np.linalg.norm(records, axis=1)).value) == -0.5
    assert float(clip.sum_with_count(np.empty((0, 3)))[1].value) == 0.0
    assert float(clip.count([]).value) == 0.0
    with pytest.raises(ParameterError, match="empty iterable"):
        clip.sum_with_count([])


@given(MULTIPLIERS, st.floats(1.0 + 1e-12, 1e6))
@example(1.0, 1.0 + 2.0**-52)
@example(1.0, 2.0**300)
def test_split_noise_costs_no_more_than_the_whole(whole, ratio):
    part = min(whole * ratio, 2.0**400)
    if part <= whole:
        return
    squares = [Fraction(z) ** -2 for z in (split_noise(whole, count_noise_multiplier=part), part, whole)]
    assert squares[0] + squares[1] <= squares[2]
    assert squares[0] * (1 + Fraction(2) ** -50) + squares[1] > squares[2], "and by no more than a rounding"


def test_split_noise_is_the_published_formula():
    """Andrew et al. 2021, Theorem 1, in their letters: sigma_b is the noise of the count itself."""
    for z, sigma_b in ((1.0, 5.0), (0.7, 2.0), (2.5, 30.0)):
        expected = (z**-2 - (2 * sigma_b) ** -2) ** -0.5
        assert split_noise(z, count_noise_multiplier=2 * sigma_b) == pytest.approx(expected, rel=1e-14)


def test_two_releases_cost_what_one_of_the_whole_costs():
    whole, part = 1.3, 5.0
    both = Gaussian(split_noise(whole, count_noise_multiplier=part)) + Gaussian(part)
    for relation in ("add_remove", "replace_one", "zero_out"):
        assert epsilon(both, delta=1e-6, relation=relation) == pytest.approx(
            epsilon(Gaussian(whole), delta=1e-6, relation=relation), rel=1e-9
        )
    assert epsilon(Gaussian(1.0) + Gaussian(2.0), delta=1e-6, relation="add_remove") > 1.05 * epsilon(
        Gaussian(1.0), delta=1e-6, relation="add_remove"
    ), "the baseline that must fail: a count on top of the whole noise"


def test_both_are_drawn_with_their_share_of_the_noise(monkeypatch):
    asked = []
    draw = dpkit.adaptive.lattice_gaussian

    def noting(center, stddev, source):
        asked.append((np.size(center), stddev))
        return draw(center, stddev, source)

    monkeypatch.setattr(dpkit.adaptive, "lattice_gaussian", noting)
    clip = _clip(0.25)
    release, _ = clip.release(*clip.sum_with_count(np.ones((5, 3))), noise_multiplier=1.1)
    (entries, stddev), (one, count_stddev) = asked
    assert (entries, one) == (3, 1)
    covered = 1 - Fraction(4, 1024) ** 2  # what the lattice takes of each variance
    shares = [Fraction(1, 4) ** 2, Fraction(1, 2) ** 2]
    squares = [Fraction(s) ** 2 * covered for s in (stddev, count_stddev)]
    cost = sum(share / square for share, square in zip(shares, squares, strict=True))
    assert cost <= Fraction(release.event.noise_multiplier) ** -2
    assert release.event == Gaussian(1.1)


def test_sum_and_count_are_one_event_of_one_draw():
    batches = PoissonBatches(100, 0.25, 2, entropy=seeded(1))
    ledger = Ledger(relation="add_remove")
    clip = _clip()
    rows = np.ones((100, 3))
    total, count = clip.sum_with_count(rows[batches.draw()])
    release, moved = clip.release(total, count, noise_multiplier=1.1, sampling=batches, ledger=ledger)
    assert [entry.event for entry in ledger.entries] == [PoissonSampled(Gaussian(1.1), 0.25)] == [release.event]
    assert not release.secure
    for again in (
        lambda: clip.release(total, count, noise_multiplier=1.1, sampling=batches, ledger=ledger),
        lambda: clip.updated(count, sampling=batches, ledger=ledger),
        lambda: GaussianMechanism(1.1).release(total, sampling=batches, ledger=ledger),
    ):
        with pytest.raises(StateError, match="draw"):
            again()
    assert len(ledger) == 1
    assert moved.bound != clip.bound


def test_two_sampled_releases_would_not_pay_for_one_batch():
    """Why :meth:`AdaptiveClip.release` exists: one batch looked at twice costs more than two batches."""
    parts = [Gaussian(split_noise(1.0, count_noise_multiplier=1.5)), Gaussian(1.5)]
    apart = PoissonSampled(parts[0], 0.1) + PoissonSampled(parts[1], 0.1)
    together = PoissonSampled(Gaussian(1.0), 0.1)
    assert epsilon(apart, delta=1e-6, relation="add_remove") < epsilon(together, delta=1e-6, relation="add_remove")


def test_a_count_by_itself_is_an_event_of_its_own():
    ledger = Ledger(relation="add_remove")
    clip = _clip()
    moved = clip.updated(clip.count([0.1] * 20), ledger=ledger, entropy=seeded(3))
    assert [entry.event for entry in ledger.entries] == [Gaussian(4.0)]
    assert ledger.seeded_releases == 1
    assert moved.bound < clip.bound == clip.initial == moved.initial == 1.0


def test_a_count_in_any_structure_moves_the_bound():
    """What was recorded is drawn and used: no structure of a single number fails in between."""
    torch = pytest.importorskip("torch")
    clip = _clip()
    moved = [
        clip.updated(Bounded(value, 0.5), entropy=seeded(3))
        for value in (3.0, [3.0], {"count": np.array([[3.0]])}, np.array(3), torch.tensor(3.0, dtype=torch.float64))
    ]
    assert len(set(moved)) == 1
    assert moved[0].bound < clip.bound


class _Refuses:
    def record(self, what, /):
        raise RuntimeError("over budget")


def test_a_refused_count_moves_no_bound(monkeypatch):
    """The record comes first: what the ledger refuses is never drawn."""
    drawn = []
    for place in (dpkit.adaptive, dpkit.continuous):
        monkeypatch.setattr(place, "lattice_gaussian", lambda *_: drawn.append(1))
    clip = _clip()
    before = dataclasses.astuple(clip)
    total, count = clip.sum_with_count(np.ones((3, 2)))
    for use in (
        lambda: clip.updated(count, ledger=_Refuses()),
        lambda: clip.release(total, count, noise_multiplier=1.0, ledger=_Refuses()),
    ):
        with pytest.raises(RuntimeError, match="over budget"):
            use()
    assert drawn == []
    assert dataclasses.astuple(clip) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        clip.bound = 2.0


def test_a_budget_stops_the_clip():
    budget = Budget(epsilon=3.0, delta=1e-6, relation="add_remove", method="gdp")
    clip, steps = _clip(), 0
    with pytest.raises(BudgetExceededError):
        for steps in range(100):  # noqa: B007 - how far it came
            clip = clip.updated(clip.count([1.0] * 20), ledger=budget)
    assert steps == len(budget)
    assert 0 < steps < 99


@given(st.floats(0.0, 1.0), st.floats(0.01, 2.0), st.floats(-30.0, 30.0))
def test_the_step_is_the_published_one(quantile, rate, noisy):
    clip = _clip(2.0, quantile, learning_rate=rate)
    share = noisy / 20 + 0.5
    assert clip._moved(noisy).bound == pytest.approx(2.0 * math.exp(-rate * (share - quantile)), rel=1e-12)


@pytest.mark.parametrize("initial", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("quantile", [0.2, 0.8])
def test_the_bound_comes_to_the_quantile_from_both_sides(initial, quantile):
    """A sign the wrong way round runs away from the quantile: seen in the wild."""
    norms = np.linspace(0.01, 2.0, 200)
    source = seeded(7)
    clip = AdaptiveClip(initial, quantile, expected_batch_size=200, count_noise_multiplier=20.0)
    # the way is at most log(2500) = 7.9, and far from the quantile each step goes at least .2 * .2 of it: 200 steps
    for _ in range(400):
        clip = clip.updated(clip.count(norms), entropy=source)
    # sigma_b = 10 of 200 records is noise of .05 in the share and .01 in log C; near it a step takes .2 * quantile
    # of what log C is off by. The spread is then .01 / sqrt(2 * .2 * quantile) <= .036: six of them are .22
    assert abs(math.log(clip.bound / (2.0 * quantile))) < 0.22


def test_empty_batches_are_batches():
    clip = _clip(quantile=0.5)
    release, moved = clip.release(*clip.sum_with_count(np.empty((0, 4))), noise_multiplier=1.0, entropy=seeded(1))
    assert np.count_nonzero(release.value) == 4
    assert moved.bound != clip.bound, "noise alone"
    # an empty batch says one half: no error, no division by what is not there
    assert clip._moved(0.0).bound == 1.0


def test_the_divisor_is_the_public_one():
    """The same noisy count moves the bound alike, however many records there were."""
    clip = _clip()
    few, many = clip.count([9.0]), clip.count([0.5] * 7 + [9.0] * 8)
    assert float(few.value) == float(many.value) == -0.5
    assert clip.updated(few, entropy=seeded(5)) == clip.updated(many, entropy=seeded(5))


@pytest.mark.parametrize("noisy", [1e308, -1e308, 0.0, 1e300])
@pytest.mark.parametrize("size", [5e-324, 1.0, 1e308])
@pytest.mark.parametrize("rate", [5e-324, 0.2, 1e308])
def test_the_bound_stays_in_range(noisy, size, rate):
    moved = _clip(expected_batch_size=size, learning_rate=rate)._moved(noisy)
    assert 2.0**-400 <= moved.bound <= 2.0**400
    GaussianMechanism(1e3).release(moved.sum(np.zeros((1, 1))))


def test_dicts_keep_their_structure():
    records = [{"w": np.ones((2, 2)), "b": np.float64(i)} for i in range(3)]
    clip = _clip()
    release, _ = clip.release(*clip.sum_with_count(records), noise_multiplier=1.0, entropy=seeded(1))
    assert {name: np.shape(array) for name, array in release.value.items()} == {"w": (2, 2), "b": ()}


def test_sums_made_elsewhere_come_back_in_their_kind():
    torch = pytest.importorskip("torch")
    total = Bounded({"w": torch.ones(3)}, 1.0)
    release, _ = _clip().release(total, _clip().count([0.5]), noise_multiplier=1.0)
    assert release.value["w"].dtype == torch.float32
    assert (
        _clip().sum(torch.ones(4, 2, requires_grad=True)).value.tolist() == _clip().sum(np.ones((4, 2))).value.tolist()
    )


def test_a_clip_travels():
    clip = _clip()._moved(5.0)
    assert pickle.loads(pickle.dumps(clip)) == clip != _clip()  # noqa: S301 - written on this line
    assert hash(clip) == hash(_clip()._moved(5.0))


def test_what_cannot_be_released_is_refused_and_nothing_is_recorded():
    ledger = Ledger(relation="add_remove")
    clip = _clip()
    total, count = clip.sum_with_count(np.ones((3, 2)))
    linf = _clip(norm="linf").sum(np.ones((3, 2)))
    cases = [
        (UnboundedError, "Bounded", (np.ones(2), count), 1.0),
        (UnboundedError, "Bounded", (total, 0.5), 1.0),
        (BoundError, "norm", (linf, count), 1.0),
        (ParameterError, "count must be one number, got 2", (total, total), 1.0),
        (ParameterError, "finite", (Bounded(np.array([np.nan]), 1.0), count), 1.0),
        (ParameterError, "finite", (total, Bounded(np.array(np.inf), 0.5)), 1.0),
        (ParameterError, "count_noise_multiplier must be larger", (total, count), 4.0),
        (ParameterError, "noise_multiplier must be", (total, count), 0.0),
        (ParameterError, "noise_multiplier must be", (total, count), None),
    ]
    for error, message, values, noise in cases:
        with pytest.raises(error, match=message):
            clip.release(*values, noise_multiplier=noise, ledger=ledger)
    with pytest.raises(UnboundedError):
        clip.updated(3.0, ledger=ledger)
    with pytest.raises(ParameterError, match="one number"):
        clip.updated(total, ledger=ledger)
    with pytest.raises(ParameterError, match="ledger"):
        clip.updated(count, ledger=[])
    assert len(ledger) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"initial": 0.0},
        {"initial": 1e-300},
        {"initial": float("nan")},
        {"quantile": 1.1},
        {"quantile": -0.1},
        {"quantile": None},
        {"expected_batch_size": 0},
        {"expected_batch_size": float("inf")},
        {"count_noise_multiplier": 0.0},
        {"count_noise_multiplier": True},
        {"learning_rate": 0.0},
        {"learning_rate": -0.2},
        {"norm": "l3"},
    ],
    ids=str,
)
def test_bad_parameters(change):
    with pytest.raises(ParameterError, match=f"{next(iter(change))} must be"):
        _clip(**change)
