import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from accountants import Budget, Gaussian, Ledger, PoissonSampled
from accountants.errors import BudgetExceededError
from accountants.plan import Plan
from dpkit.adaptive import AdaptiveClip
from dpkit.batches import PoissonBatches
from dpkit.clip import FlatClip
from dpkit.correlated import BandedNoise
from dpkit.entropy import seeded
from dpkit.errors import DPKitError, StateError
from dpkit.mechanism import Release
from dpkit.training import Privatizer
from dpkit.training.state import require_ledger, restore_ledger
from tests.oracles.training import losses_of

KEY = bytes(range(32))


def build():
    return nn.Linear(4, 2)


def private(model, **changes):
    return Privatizer(
        model,
        **{"clip": FlatClip(1.0), "noise_multiplier": 1.0, "expected_batch_size": 8, "entropy": seeded(1)} | changes,
    )


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def run(step, model, count):
    """Noise-only gradients of a number of releases."""
    seen = []
    for _ in range(count):
        step.release()
        seen.append(torch.cat([p.grad.flatten().clone() for p in model.parameters()]))
    return seen


entries = st.lists(
    st.tuples(
        st.sampled_from([Gaussian(3.0), Gaussian(5.0), PoissonSampled(Gaussian(2.0), 0.01)]),
        st.integers(1, 4),
        st.sampled_from([True, False, None]),
        st.sampled_from(["", "note"]),
    ),
    max_size=6,
)


@given(entries, st.booleans())
def test_a_ledger_comes_back_with_what_it_says_of_its_randomness(rows, is_budget):
    def make():
        return Budget(epsilon=50.0, delta=1e-5, relation="add_remove") if is_budget else Ledger(relation="add_remove")

    saved, ledger = make(), make()
    for event, times, secure, note in rows:
        saved.record(event if secure is None else Release(None, event, secure), times=times, note=note)
    text = saved.to_json()
    require_ledger(ledger, text)
    restore_ledger(ledger, text)
    assert ledger == saved
    restore_ledger(ledger, text)  # it is there already
    assert ledger == saved


def test_a_ledger_that_went_on_is_kept():
    ledger = Ledger(relation="add_remove")
    model = build()
    with private(model, ledger=ledger) as step:
        run(step, model, 2)
        state = step.state_dict()
        run(step, model, 3)
        step.load_state_dict(state)  # the model turned out badly: back to the checkpoint
        run(step, model, 1)
    assert ledger.entries == ((Gaussian(1.0), 6, ""),)


def test_a_plan_goes_on_where_it_stopped():
    model, event = build(), Gaussian(1.0)
    with private(model, ledger=Plan(event * 5, relation="add_remove")) as step:
        run(step, model, 3)
        state = through_a_file(step.state_dict())
    again = Plan(event * 5, relation="add_remove")
    with private(model, ledger=again) as step:
        step.load_state_dict(state)
        assert len(again) == 3
        run(step, model, 2)


@pytest.mark.parametrize(
    ("ledger", "text"),
    [
        (lambda: None, "must be given"),
        (lambda: Ledger(relation="replace_one"), "relation and unit"),
        (lambda: Ledger(relation="add_remove", unit="user"), "relation and unit"),
        (lambda: _with(Gaussian(3.0), 2), "empty or hold"),
        (lambda: _with(Gaussian(1.0), 1), "empty or hold"),
    ],
)
def test_a_ledger_that_does_not_fit_changes_nothing(ledger, text):
    model = build()
    with private(model, ledger=Ledger(relation="add_remove")) as step:
        run(step, model, 2)
        state = step.state_dict()
    other = ledger()
    before = None if other is None else other.to_json()
    with private(model, ledger=other) as step:
        with pytest.raises(StateError, match=text):
            step.load_state_dict(state)
        assert step.state_dict()["steps"] == 0
    assert other is None or other.to_json() == before


def _with(event, times):
    ledger = Ledger(relation="add_remove")
    ledger.record(Release(None, event, False), times=times)
    return ledger


def test_a_budget_that_is_too_small_for_what_was_saved_stays_empty():
    model = build()
    with private(model, ledger=Budget(epsilon=20.0, delta=1e-5, relation="add_remove")) as step:
        run(step, model, 4)
        state = step.state_dict()
    small = Budget(epsilon=9.0, delta=1e-5, relation="add_remove")
    with private(model, ledger=small) as step, pytest.raises(BudgetExceededError):
        step.load_state_dict(state)
    assert len(small) == 0


def test_a_budget_stops_before_the_step_that_would_overspend():
    budget = Budget(epsilon=8.0, delta=1e-5, relation="add_remove", method="gdp")
    room = budget.remaining(Gaussian(1.0))
    model = build()
    with private(model, ledger=budget) as step:
        run(step, model, room - 1)
        state = through_a_file(step.state_dict())
    again = Budget(epsilon=8.0, delta=1e-5, relation="add_remove", method="gdp")
    with private(model, ledger=again) as step:
        step.load_state_dict(state)
        run(step, model, 1)
        before = [p.grad.clone() for p in model.parameters()]
        with pytest.raises(BudgetExceededError):
            step.release()
        assert all(torch.equal(p.grad, old) for p, old in zip(model.parameters(), before, strict=True))
    assert again.remaining(Gaussian(1.0)) == 0


def test_no_noise_and_no_batch_comes_twice_after_a_restore():
    """Seeded sources, which would begin again, in the same process, in a new one, and twice from one state."""
    model = build()

    def make():
        return private(model, sampling=PoissonBatches(400, 0.5, 9, entropy=seeded(5)), entropy=seeded(7))

    def steps(step, count):
        seen, batches = [], []
        for rows in step:
            batches.append(rows)
            seen += run(step, model, 1)
            if len(seen) == count:
                break
        return seen, batches

    with make() as step:
        noise, batches = steps(step, 3)
        state = through_a_file(step.state_dict())
        more = steps(step, 3)
    noise, batches = noise + more[0], batches + more[1]
    for _ in range(2):
        with make() as step:
            step.load_state_dict(state)
            more = steps(step, 9)
        assert len(more[0]) == 6
        noise, batches = noise + more[0], batches + more[1]
    with make() as step:
        assert torch.equal(steps(step, 1)[0][0], noise[0])  # the seed does begin again without a restore
    for values in (noise, [torch.from_numpy(np.isin(np.arange(400), rows)) for rows in batches]):
        assert all(not torch.equal(a, b) for i, a in enumerate(values) for b in values[:i])


def test_steps_schedules_and_adaptive_bounds_go_on():
    model = build()

    def make():
        clip = AdaptiveClip(1.0, 0.5, expected_batch_size=8, count_noise_multiplier=40.0)
        return private(model, clip=clip, noise_multiplier=lambda step: 1.0 + step)

    with make() as step:
        run(step, model, 3)
        bound, state = step.clip.bound, through_a_file(step.state_dict())
    assert bound != 1.0
    with make() as step:
        step.load_state_dict(state)
        assert step.clip.bound == bound
        release = step.release()
    assert release.event == Gaussian(4.0)
    with private(model) as step, pytest.raises(StateError, match="AdaptiveClip"):
        step.load_state_dict(state)


def test_a_stream_goes_on_behind_its_seal():
    model, ledger = build(), Ledger(relation="zero_out")

    def make(bands=3):
        stream = BandedNoise(
            dict(model.named_parameters()), noise_multiplier=2.0, bound=1.0, steps=6, bands=bands, entropy=seeded(3)
        )
        return private(model, noise_multiplier=None, entropy=None, noise=stream, ledger=ledger)

    with make() as step:
        noise = run(step, model, 3)
        with pytest.raises(StateError, match="key must be given"):
            step.state_dict()
        state = through_a_file(step.state_dict(KEY))
        noise += run(step, model, 3)
    assert len(ledger) == 1
    with make(bands=2) as step, pytest.raises(DPKitError):
        step.load_state_dict(state, KEY)
    with make() as step:
        with pytest.raises(StateError, match="key must be given"):
            step.load_state_dict(state)
        with pytest.raises(DPKitError):
            step.load_state_dict(state, bytes(32))
        step.load_state_dict(state, KEY)
        noise += run(step, model, 3)
    assert len(ledger) == 1  # one event for all steps
    assert all(not torch.equal(a, b) for i, a in enumerate(noise) for b in noise[:i])


def test_a_failed_restore_of_the_noise_gives_the_sampling_back():
    model = build()

    def make():
        stream = BandedNoise(dict(model.named_parameters()), noise_multiplier=2.0, bound=1.0, steps=6, bands=3)
        plan = PoissonBatches(10, 0.5, 6)
        return private(model, noise_multiplier=None, entropy=None, noise=stream, sampling=plan), plan

    step, _ = make()
    for _ in zip(range(2), step, strict=False):
        step.release()
    state = step.state_dict(KEY)
    step, plan = make()
    with pytest.raises(DPKitError):
        step.load_state_dict(state, bytes(32))
    assert plan.remaining == 6
    step.load_state_dict(state, KEY)
    assert plan.remaining == 4


def test_only_between_steps():
    model = build()
    with private(model, sampling=PoissonBatches(10, 0.5, 3)) as step:
        state = step.state_dict()
        for _ in step:
            for call in (step.state_dict, lambda: step.load_state_dict(state)):
                with pytest.raises(StateError, match="under way"):
                    call()
            step.release()
    with private(model) as step:
        step.backward(losses_of(model(torch.ones(2, 4))))
        with pytest.raises(StateError, match="under way"):
            step.state_dict()
    with pytest.raises(StateError, match="closed"):
        step.state_dict()


def test_what_cannot_be_saved_says_so():
    class Plain:
        def record(self, release):
            pass

        def sampled(self, event):
            return event

        def __iter__(self):
            return iter(())

    with private(build(), ledger=Plain()) as step, pytest.raises(StateError, match="ledger must have to_json"):
        step.state_dict()
    with private(build(), sampling=Plain()) as step, pytest.raises(StateError, match="sampling must have state_dict"):
        step.state_dict()


@pytest.mark.parametrize("state", [None, {}, {"format": "dpkit.training.Privatizer/0"}, "text"])
def test_other_states_are_refused(state):
    with private(build()) as step, pytest.raises(StateError, match="state must come from"):
        step.load_state_dict(state)


def test_sampling_must_be_there_as_before():
    model = build()
    with private(model, sampling=PoissonBatches(10, 0.5, 3)) as step:
        state = step.state_dict()
    with private(model) as step, pytest.raises(StateError, match="sampling must be given"):
        step.load_state_dict(state)
    with private(model, sampling=PoissonBatches(11, 0.5, 3)) as step, pytest.raises(DPKitError, match="num_records"):
        step.load_state_dict(state)
