"""private_mean: what is recorded, what is opened, and what is refused with everything left as it was."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg
from accountants import DistributedDiscreteGaussian, Ledger, PoissonSampled, Skellam
from dpkit import (
    Bounded,
    BoundError,
    DiscreteGaussianMechanism,
    FlatClip,
    GaussianMechanism,
    NormalizeClip,
    ParameterError,
    SkellamMechanism,
    StateError,
    private_mean,
)
from dpkit.batches import PoissonBatches
from dpkit.entropy import seeded
from dpkit.federated import noise_shares, share_step

PLANS = {
    "plain": lambda parties, dim, bits=16: secagg.PlainSum.plan(parties, dim, bits),
    "bfv": lambda parties, dim, bits=16: secagg.BFVSum.plan(parties, dim, bits),
    "bfv, for an opener": lambda parties, dim, bits=16: secagg.BFVSum.plan(parties, dim, bits, key="public"),
    "threshold": lambda parties, dim, bits=16: secagg.ThresholdSum.plan(
        parties, dim, bits, threshold=parties, corrupt=1.5 / parties, dropout=0.0
    ),
}


def _ledger():
    return Ledger(relation="add_remove", unit="party")


def _mean(updates, *, plan, clip, noise=2.0, ledger=None, denominator=None, **more):
    return private_mean(
        updates,
        clip=clip,
        mechanism=DiscreteGaussianMechanism(noise),
        plan=plan,
        denominator=len(updates) if denominator is None else denominator,
        ledger=_ledger() if ledger is None else ledger,
        **more,
    )


@pytest.mark.parametrize("name", PLANS)
def test_private_mean_records_min_honest_shares(name):
    plan = PLANS[name](5, 3)
    ledger = _ledger()
    release = _mean([np.ones(3)] * 5, plan=plan, clip=FlatClip(1.0), ledger=ledger, entropy=seeded(1))
    step = share_step(DiscreteGaussianMechanism(2.0), bound=1.0, plan=plan)
    event = release.event
    assert isinstance(event, DistributedDiscreteGaussian)
    assert event.parties == plan.min_honest == 4
    assert event.dim == 3
    # the shares of min_honest parties together are the noise that was asked for, in units of the bound
    assert math.sqrt(event.parties) * event.local_stddev / event.l2_bound == pytest.approx(2.0, rel=1e-14)
    assert event.l2_bound * step == pytest.approx(1.0, rel=1e-15)
    assert [entry.event for entry in ledger.entries] == [event]
    assert ledger.seeded_releases == 1


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), parties=st.integers(3, 6), dim=st.integers(1, 40))
def test_private_mean_is_bit_identical_over_protocols(seed, parties, dim):
    updates = list(np.random.default_rng(seed).normal(size=(parties, dim)))
    means = [
        _mean(updates, plan=build(parties, dim), clip=FlatClip(1.0), entropy=seeded(seed)).value
        for build in PLANS.values()
    ]
    assert all(np.array_equal(means[0], mean) for mean in means)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), rotate=st.booleans(), clip=st.sampled_from([FlatClip(1.0), NormalizeClip(1.0, 0.1)]))
def test_mean_is_the_mean_of_clipped_updates(seed, rotate, clip):
    updates = list(np.random.default_rng(seed).normal(size=(6, 8)))
    noise = 2.0**-8
    release = _mean(updates, plan=PLANS["plain"](6, 8), clip=clip, noise=noise, rotate=rotate, entropy=seeded(seed))
    truth = np.mean([clip.clip(update) for update in updates], axis=0)
    # all six shares count here: stddev noise * sqrt(6/5) on the sum, / 6 on the mean; 12 of them have chance < 1e-31
    assert np.abs(release.value - truth).max() < 12 * noise * math.sqrt(6 / 5) / 6


def test_structure_comes_back():
    updates = [{"weight": np.ones((2, 3), dtype=np.float32), "bias": np.zeros(2)}] * 4
    release = _mean(updates, plan=PLANS["plain"](4, 8), clip=FlatClip(1.0), entropy=seeded(0))
    assert {name: array.shape for name, array in release.value.items()} == {"weight": (2, 3), "bias": (2,)}
    assert all(array.dtype == np.float64 for array in release.value.values())


def test_sampled_sums_of_records():
    batches = PoissonBatches(100, 0.25, 3, entropy=seeded(2))
    batches.draw()
    updates = [Bounded(np.full(4, 30.0), 1.0)] * 5
    ledger = Ledger(relation="add_remove")
    release = _mean(
        updates, plan=PLANS["bfv"](5, 4), clip=None, sampling=batches, ledger=ledger, denominator=125, entropy=seeded(3)
    )
    assert isinstance(release.event, PoissonSampled)
    assert release.event.sampling_prob == 0.25
    assert not release.secure
    assert np.abs(release.value - 150 / 125).max() < 12 * 2 * math.sqrt(5 / 4) / 125


def test_dropped_parties_take_their_noise_along_and_the_event_stays():
    plan = secagg.BFVSum.plan(6, 4, 16, dropout=0.34)
    updates = [np.eye(6, 4)[party] for party in range(6)]
    clip = FlatClip(1.0)
    everyone = _mean(updates, plan=plan, clip=clip, entropy=seeded(1))
    fewer = _mean(updates, plan=plan, clip=clip, dropouts={"masked_input": [1, 4]}, entropy=seeded(1))
    assert everyone.event == fewer.event
    assert fewer.event.parties == plan.min_honest == 3
    assert fewer.survivors == [0, 2, 3, 5]


def test_too_many_dropouts_release_and_record_nothing():
    ledger = _ledger()
    with pytest.raises(secagg.TooFewSurvivorsError):
        _mean(
            [np.ones(2)] * 5, plan=PLANS["bfv"](5, 2), clip=FlatClip(1.0), ledger=ledger, dropouts={"masked_input": [0]}
        )
    assert len(ledger) == 0


def test_a_ledger_that_refuses_stops_the_release():
    class Refuses:
        def record(self, what, times=1, note=""):
            raise RuntimeError("over budget")

    with pytest.raises(RuntimeError, match="over budget"):
        _mean([np.ones(2)] * 5, plan=PLANS["plain"](5, 2), clip=FlatClip(1.0), ledger=Refuses())


def test_a_mechanism_without_shares_is_refused():
    with pytest.raises(ParameterError, match="mechanism must draw integer shares, got GaussianMechanism"):
        noise_shares([np.ones(2)] * 3, clip=FlatClip(1.0), mechanism=GaussianMechanism(1.0), plan=PLANS["plain"](3, 2))


def test_huge_values_are_clamped_not_wrapped():
    updates = [Bounded(np.array([1e12, -1e12, 5.0]), 1.0)] * 5
    release = _mean(updates, plan=PLANS["plain"](5, 3), clip=None, denominator=1, entropy=seeded(5))
    step = share_step(DiscreteGaussianMechanism(2.0), bound=1.0, plan=PLANS["plain"](5, 3))
    reach = 5 * 2**15 * step
    assert 0.9 * reach < release.value[0] <= reach
    assert -reach <= release.value[1] < -0.9 * reach
    assert abs(release.value[2] - 25) < 12 * 2 * math.sqrt(5 / 4)


def test_empty_sums_still_get_noise():
    release = _mean([Bounded(np.zeros(64), 1.0)] * 5, plan=PLANS["plain"](5, 64), clip=None, entropy=seeded(6))
    assert np.count_nonzero(release.value) > 32


BAD = {
    "too few updates": ({"updates": [np.ones(2)] * 4}, "one entry per party of the plan, 5, got 4"),
    "wrong dim": ({"updates": [np.ones(3)] * 5}, "plan.dim must be the number of entries of an update, 3, got 2"),
    "mixed structure": ({"updates": [np.ones(2)] * 4 + [np.ones((2, 1))]}, "the same structure and shapes"),
    "zero denominator": ({"denominator": 0}, "denominator must be finite and > 0, got 0"),
    "NaN denominator": ({"denominator": math.nan}, "denominator must be finite"),
    "text denominator": ({"denominator": "3"}, "denominator must be finite and > 0"),
    "no plan": ({"plan": None}, "plan must be a plan of secagg, got NoneType"),
    "a number for a clip": ({"clip": 1.0}, "clip must be a FlatClip"),
    "no ledger": ({"ledger": object()}, "ledger must have a record method"),
    "bare arrays": ({"clip": None}, "every update must be a Bounded sum"),
    "bounded and clip": ({"updates": [Bounded(np.ones(2), 1.0)] * 5}, "clipped twice"),
    "different bounds": (
        {"updates": [Bounded(np.ones(2), 1.0 + p) for p in range(5)], "clip": None},
        "share one bound",
    ),
    "linf": ({"updates": [Bounded(np.ones(2), 1.0, "linf")] * 5, "clip": None}, "l2 or l1"),
    "linf clip": ({"clip": FlatClip(1.0, norm="linf")}, "l2 or l1"),
    "NaN sum": ({"updates": [Bounded(np.full(2, np.nan), 1.0)] * 5, "clip": None}, "NaN or infinity"),
    "sampled parties": (
        {"sampling": PoissonBatches(5, 0.5, 1, entropy=seeded(0))},
        "sampling cannot be combined with clip",
    ),
    "few bits": ({"plan": PLANS["plain"](5, 2, 8)}, "value_bits = 8 is too small"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error_and_records_nothing(name):
    changes, message = BAD[name]
    ledger = _ledger()
    given_ = {
        "updates": [np.ones(2)] * 5,
        "plan": PLANS["plain"](5, 2),
        "clip": FlatClip(1.0),
        "ledger": ledger,
        **changes,
    }
    with pytest.raises((ParameterError, BoundError), match=message):
        _mean(given_.pop("updates"), **given_)
    assert len(ledger) == 0


def test_shares_are_released_once():
    plan = secagg.BFVSum.plan(5, 3, 16, dropout=0.2)
    mechanism = DiscreteGaussianMechanism(2.0)
    shares = noise_shares([np.ones(3)] * 5, clip=FlatClip(1.0), mechanism=mechanism, plan=plan, entropy=seeded(1))
    everyone = secagg.simulate(plan, shares.vectors)
    fewer = secagg.simulate(plan, shares.vectors, dropouts={"masked_input": [2]})
    ledger = _ledger()
    shares.release(everyone, denominator=5, ledger=ledger)
    with pytest.raises(StateError, match="released already"):
        shares.release(fewer, denominator=5, ledger=ledger)
    assert len(ledger) == 1


def test_a_total_of_too_few_shares_is_not_released():
    mechanism = DiscreteGaussianMechanism(2.0)
    plan, lax = secagg.BFVSum.plan(10, 3, 16), secagg.BFVSum.plan(10, 3, 16, dropout=0.7)
    shares = noise_shares([np.ones(3)] * 10, clip=FlatClip(1.0), mechanism=mechanism, plan=plan, entropy=seeded(1))
    few = secagg.simulate(lax, shares.vectors, dropouts={"masked_input": list(range(7))})
    ledger = _ledger()
    with pytest.raises(StateError, match="at least the 10 shares"):
        shares.release(few, denominator=10, ledger=ledger)
    assert len(ledger) == 0


def test_one_release_for_each_draw():
    batches = PoissonBatches(100, 0.25, 3, entropy=seeded(2))
    updates = [Bounded(np.ones(4), 1.0)] * 5
    ledger = Ledger(relation="add_remove")
    batches.draw()
    _mean(updates, plan=PLANS["plain"](5, 4), clip=None, sampling=batches, ledger=ledger)
    with pytest.raises(StateError, match="draw"):
        _mean(updates, plan=PLANS["plain"](5, 4), clip=None, sampling=batches, ledger=ledger)
    assert len(ledger) == 1


def test_errors_do_not_show_data():
    with pytest.raises(ParameterError) as caught:
        _mean(["secret-1", "secret-2", "secret-3"], plan=PLANS["plain"](3, 1), clip=FlatClip(1.0))
    assert "secret" not in str(caught.value)


def test_noise_is_never_reused_between_calls():
    plan = PLANS["plain"](3, 50)
    updates = [np.zeros(50)] * 3
    draw = lambda: noise_shares(updates, clip=FlatClip(1.0), mechanism=DiscreteGaussianMechanism(2.0), plan=plan)  # noqa: E731
    first, second = draw().vectors, draw().vectors
    assert not np.array_equal(first, second)
    assert len({row.tobytes() for row in first}) == 3
    assert draw().secure


@pytest.mark.parametrize("name", PLANS)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32), parties=st.integers(3, 6), dim=st.integers(1, 20))
def test_skellam_shares_end_to_end(name, seed, parties, dim):
    """What is opened is the sum of the parties' own shares, drawn by the mechanism recorded; rounding is paid once."""
    plan = PLANS[name](parties, dim)
    updates = list(np.random.default_rng(seed).normal(size=(parties, dim)))
    mechanism, clip, ledger = SkellamMechanism(2.0), FlatClip(1.0), _ledger()
    release = private_mean(
        updates, clip=clip, mechanism=mechanism, plan=plan, denominator=parties, ledger=ledger, entropy=seeded(seed)
    )
    step = share_step(mechanism, bound=1.0, plan=plan)
    share = mechanism.share(parties, plan.min_honest).with_step(step)
    source = seeded(seed)
    total = sum(share.draw(Bounded(clip.clip(update), 1.0), source) for update in updates)
    assert np.array_equal(release.value, total * step / parties)
    event = release.event
    assert event == share.event(Bounded(np.zeros(dim), 1.0))
    assert [entry.event for entry in ledger.entries] == [event]
    assert isinstance(event, Skellam)
    assert event.variance == pytest.approx((2.0 / step) ** 2, rel=1e-14)
    assert 1 / step <= event.l2_bound <= 1 / step + math.sqrt(dim)
    assert share.local_stddev(Bounded(np.zeros(dim), 1.0)) >= 2.0 ** (16 - 1 - 9)  # 1/512 of half the range


def test_skellam_keeps_an_l1_bound_and_the_exactness_of_integers():
    plan = PLANS["plain"](5, 4, 32)
    args = {"plan": plan, "denominator": 1, "entropy": seeded(3)}
    counts = [Bounded(np.array([7, 0, 1, 5], dtype=np.int32), 1.0, "l1")] * 5
    mechanism = SkellamMechanism(50.0, step=1.0)
    exact = private_mean(counts, clip=None, mechanism=mechanism, ledger=_ledger(), **args).event
    assert (exact.l1_bound, exact.l2_bound) == (1.0, 1.0)
    floats = [Bounded(count.value.astype(float), 1.0, "l1") for count in counts]
    rounded = private_mean(floats, clip=None, mechanism=mechanism, ledger=_ledger(), **args).event
    assert (rounded.l1_bound, rounded.l2_bound) == (4.0, 2.0)
    one_is_not = [*counts[1:], floats[0]]
    event = private_mean(one_is_not, clip=None, mechanism=mechanism, ledger=_ledger(), **args).event
    assert event == rounded
    one_in_l2 = [*counts[1:], Bounded(counts[0].value, 1.0, "l2")]
    event = private_mean(one_in_l2, clip=None, mechanism=mechanism, ledger=_ledger(), **args).event
    assert event == exact  # the integer vectors of norm at most 1 are the same
    rotated = private_mean(counts, clip=None, mechanism=mechanism, ledger=_ledger(), rotate=True, **args).event
    assert rotated.l1_bound >= rounded.l1_bound


def test_one_l2_bound_among_l1_bounds_is_an_l2_bound():
    """Its record may move every coordinate at once, further in l1 than any of the others'."""
    plan = PLANS["plain"](3, 64, 32)
    args = {"clip": None, "mechanism": SkellamMechanism(4.0), "plan": plan, "entropy": seeded(1)}
    by_l1, by_l2 = (Bounded(np.zeros(64), 1.0, norm) for norm in ("l1", "l2"))
    alone, mixed, all_l1 = (
        noise_shares(updates, **args).event for updates in ([by_l2] * 3, [by_l1, by_l2, by_l1], [by_l1] * 3)
    )
    assert mixed == alone
    assert all_l1.l1_bound < mixed.l1_bound


def test_what_is_rotated_is_clamped_first():
    """The bound counts the rounding of sums within reach only; so two sums beyond it are rotated as the same."""
    plan, mechanism = PLANS["plain"](3, 4), DiscreteGaussianMechanism(2.0)
    reach = share_step(mechanism, bound=1.0, plan=plan) * 2.0 ** (plan.value_bits - 1) * math.sqrt(plan.dim)
    shares = [
        noise_shares(
            [Bounded(np.array(value), 1.0)] * 3,
            clip=None,
            mechanism=mechanism,
            plan=plan,
            rotate=True,
            entropy=seeded(7),
        ).vectors
        for value in ([1e300, -1e200, 0.0, 0.5], [reach, -reach, 0.0, 0.5])
    ]
    assert np.array_equal(*shares)


@pytest.mark.parametrize("kind", [DiscreteGaussianMechanism, SkellamMechanism])
def test_centres_and_noise_stay_in_range(kind):
    """Shares of the largest values, either way, leave the range of the plan but for 1e-346: nothing is clamped."""
    plan = PLANS["plain"](3, 2000)
    for sign in (1, -1):
        updates = [Bounded(np.full(2000, sign * 1e30), 1.0)] * 3
        shares = noise_shares(updates, clip=None, mechanism=kind(2.0), plan=plan, entropy=seeded(4))
        assert 0 < shares.vectors.min() < shares.vectors.max() < 2**16 - 1
        assert (shares.vectors.min() if sign < 0 else 2**16 - 1 - shares.vectors.max()) > 500


def test_integers_beyond_float64_saturate():
    update = Bounded(np.array([2**63 - 1, -(2**63), 2**60 + 1]), 1.0)
    release = _mean([update] * 3, plan=PLANS["plain"](3, 3), clip=None, entropy=seeded(5))
    assert (np.sign(release.value) == [1, -1, 1]).all()


@pytest.mark.parametrize(
    "mechanism", [DiscreteGaussianMechanism(4.0), SkellamMechanism(4.0)], ids=["gaussian", "skellam"]
)
def test_a_plan_that_wraps_gives_what_one_without_gives(mechanism):
    """Shares get fewer bits there, so that their sum never wraps."""
    updates = [np.array([0.9, -0.1, 0.0]) * (-1) ** i for i in range(5)]
    released = []
    for plan in (secagg.PlainSum.plan(5, 3, 21), secagg.PlainSum.plan(5, 3, 24, wrap=True)):
        ledger = Ledger(relation="add_remove", unit="party")
        release = private_mean(
            updates, clip=FlatClip(1.0), mechanism=mechanism, plan=plan, denominator=5, ledger=ledger, entropy=seeded(3)
        )
        released.append((release.value.tolist(), release.event))
    assert released[0] == released[1]
    assert np.abs(released[0][0]).max() < 10
