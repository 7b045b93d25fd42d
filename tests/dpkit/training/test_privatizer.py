import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from accountants.events import Gaussian, PoissonSampled
from dpkit.batches import PoissonBatches, TruncatedPoissonBatches
from dpkit.clip import FlatClip
from dpkit.entropy import seeded
from dpkit.errors import CoverageError, DPKitError, LossError, ParameterError, StateError
from dpkit.training import Privatizer, clipped_sum, record
from tests.oracles.training import losses_of, norm

ALPHA = 1e-9


class Recorder:
    """A ledger that remembers, or refuses, and sees whether the gradient was written before it was asked."""

    def __init__(self, model=None, refuse=False):
        self.model, self.refuse, self.entries, self.early = model, refuse, [], []

    def record(self, release):
        if self.refuse:
            raise RuntimeError("over budget")
        self.entries.append(release)
        self.early.append(self.model is not None and any(p.grad is not None for p in self.model.parameters()))


def build(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


def private(model, **changes):
    return Privatizer(
        model,
        **{"clip": FlatClip(1.0), "noise_multiplier": 1.0, "expected_batch_size": 8, "entropy": seeded(1), **changes},
    )


def quiet(model, **changes):
    """Noise far below float32's rounding of the sum, so that sums can be compared."""
    return private(model, noise_multiplier=1e-9, expected_batch_size=1, **changes)


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_a_step_is_the_clipped_sum_over_the_expected_size():
    model, inputs = build(), torch.randn(6, 4)
    with record(model) as tape:
        losses = losses_of(model(inputs))
    expected = clipped_sum(tape, losses, FlatClip(0.3)).value
    with private(model, clip=FlatClip(0.3), noise_multiplier=1e-9, expected_batch_size=100) as step:
        step.backward(losses_of(model(inputs)))
        assert all(p.grad is None for p in model.parameters())
        release = step.release()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[name] / 100, rtol=1e-5, atol=1e-9)
        assert release.value[name] is p.grad
        assert p.grad.dtype == p.dtype


@given(st.integers(1, 8), st.lists(st.integers(0, 8), max_size=3), st.integers(0, 2**20))
def test_parts_of_a_batch_give_the_same_sum(rows, cuts, seed):
    model, inputs = build(seed), torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed))
    whole, parted = copy.deepcopy(model), copy.deepcopy(model)
    with quiet(whole) as step:
        step.backward(losses_of(whole(inputs)))
        step.release()
    edges = [0, *sorted(min(cut, rows) for cut in cuts), rows]
    with quiet(parted) as step:
        for start, end in itertools.pairwise(edges):
            step.backward(losses_of(parted(inputs[start:end])))
        step.release()
    for name, value in gradients(whole).items():
        # at most 8 summands of norm 1 in another order, and kernels that round by the batch's size
        torch.testing.assert_close(gradients(parted)[name], value, rtol=0, atol=8 * 8 * 2.0**-23 + 1e-7)


def test_each_release_is_one_event_recorded_before_it():
    model = build()
    ledger = Recorder(model)
    with private(model, ledger=ledger, noise_multiplier=1.5) as step:
        for parts in (1, 3, 0):
            for _ in range(parts):
                step.backward(losses_of(model(torch.randn(2, 4))))
            model.zero_grad()
            release = step.release()
            assert release.event == Gaussian(1.5)
            assert release.secure is False
    assert [entry.event for entry in ledger.entries] == [Gaussian(1.5)] * 3
    assert all(entry.value is None and entry.secure is False for entry in ledger.entries)
    assert ledger.early == [False] * 3


def test_a_ledger_that_refuses_loses_nothing():
    model, inputs = build(), torch.randn(3, 4)
    ledger = Recorder(refuse=True)
    with quiet(model, ledger=ledger) as step:
        step.backward(losses_of(model(inputs)))
        with pytest.raises(RuntimeError, match="over budget"):
            step.release()
        assert all(p.grad is None for p in model.parameters())
        ledger.refuse = False
        step.release()
        again = gradients(model)
    other = copy.deepcopy(model)
    with quiet(other) as step:
        step.backward(losses_of(other(inputs)))
        step.release()
    for name, value in gradients(other).items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=1e-6)
    assert len(ledger.entries) == 1


@pytest.mark.statistical
@pytest.mark.parametrize("rows", [0, 3, 20])
def test_noise_has_the_stated_stddev_whatever_the_batch(rows):
    model = nn.Linear(100, 60, bias=False)
    inputs = torch.zeros(rows, 100)  # zero gradients: what is released is noise
    with private(model, clip=FlatClip(2.5), noise_multiplier=1.2, expected_batch_size=16) as step:
        if rows:
            step.backward(losses_of(model(inputs)))
        step.release()
        stddev = step.noise_stddev
    assert stddev == 1.2 * 2.5 / 16
    total = float((model.weight.grad.double() / stddev).square().sum())
    assert stats.chi2.sf(total, 6000) > ALPHA
    assert stats.chi2.cdf(total, 6000) > ALPHA


@pytest.mark.statistical
def test_noise_is_fresh_for_every_step_and_parameter():
    model = nn.Sequential(nn.Linear(50, 40, bias=False), nn.Linear(40, 50, bias=False))
    draws = []
    with private(model) as step:
        for _ in range(2):
            step.release()
            draws += [p.grad.double().flatten() for p in model.parameters()]
    for i, first in enumerate(draws):
        for second in draws[:i]:
            correlation = float(torch.corrcoef(torch.stack([first, second]))[0, 1])
            assert correlation**2 < stats.beta.isf(ALPHA, 0.5, (2000 - 2) / 2)


def test_equal_seeds_repeat():
    seen = []
    for _ in range(2):
        model = build()
        with private(model, entropy=seeded(7)) as step:
            step.backward(losses_of(model(torch.ones(5, 4))))
            step.release()
        seen.append(gradients(model))
    assert all(torch.equal(seen[0][name], seen[1][name]) for name in seen[0])


def test_one_example_moves_a_release_by_at_most_the_bound_over_the_expected_size():
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(5))
    seen = []
    for batch in (inputs, inputs[1:]):
        model = build()
        with private(model, clip=FlatClip(0.5), noise_multiplier=1e-9, expected_batch_size=8) as step:
            step.backward(losses_of(model(batch)))
            step.release()
        seen.append(gradients(model))
    moved = norm({name: seen[0][name].double() - seen[1][name].double() for name in seen[0]})
    # all five gradients are longer than the bound; 5 summands round by 2**-24 each, twice; the noise is 1e-9
    assert 0.5 / 8 * (1 - 1e-4) < moved <= 0.5 / 8 * (1 + 1e-5)


def test_an_empty_batch_and_a_forgotten_release():
    model = build()
    with private(model) as step:
        step.backward(losses_of(model(torch.zeros(0, 4))))
        assert all(p.grad is None for p in model.parameters())
        step.release()
        first = gradients(model)
        step.release()
        assert all(not torch.equal(first[name], value) for name, value in gradients(model).items())
    model.zero_grad()
    with private(model) as step:
        step.backward(losses_of(model(torch.ones(2, 4))))
    assert all(p.grad is None for p in model.parameters())


def test_a_gradient_is_good_for_one_step():
    """What a release wrote is taken back by the next backward; a gradient of the user's own is not."""
    model = build()
    with private(model) as step:
        step.release()
        step.backward(losses_of(model(torch.ones(2, 4))))
        assert all(p.grad is None for p in model.parameters())
        step.release()
        model[0].weight.grad = torch.ones_like(model[0].weight)
        with pytest.raises(LossError):
            step.backward(losses_of(model(torch.ones(2, 4))).mean())
        assert model[0].bias.grad is not None  # a call that fails changes nothing
        step.backward(losses_of(model(torch.ones(2, 4))))
        assert model[0].weight.grad.eq(1).all()
        assert model[0].bias.grad is None


def test_a_sum_is_released_once():
    model = build()
    with quiet(model) as step:
        step.backward(losses_of(model(torch.ones(3, 4))))
        step.release()
        step.release()
        assert max(float(value.abs().max()) for value in gradients(model).values()) < 1e-6


def test_iteration_gives_one_release_to_each_draw():
    model, ledger, data = build(), Recorder(), torch.randn(40, 4)
    batches = PoissonBatches(40, 0.05, steps=12, entropy=seeded(3))
    sizes = []
    with private(model, sampling=batches, ledger=ledger) as step:
        for rows in step:
            sizes.append(len(rows))
            step.backward(losses_of(model(data[torch.from_numpy(rows)])))
            step.release()
            with pytest.raises(StateError, match="no open draw"):
                step.release()
            with pytest.raises(StateError, match="no open draw"):
                step.backward(losses_of(model(data)))
    assert len(sizes) == len(ledger.entries) == 12
    assert 0 in sizes
    assert {entry.event for entry in ledger.entries} == {PoissonSampled(Gaussian(1.0), 0.05)}


def test_its_length_is_that_of_its_sampling():
    with private(build(), sampling=PoissonBatches(10, 0.5, steps=3)) as step:
        assert len(step) == 3
        assert step
    with private(build()) as step:
        assert step
        with pytest.raises(StateError, match="sampling"):
            len(step)


def test_a_draw_that_is_not_released_stops_the_loop():
    model = build()
    batches = PoissonBatches(10, 0.5, steps=3, entropy=seeded(3))
    with private(model, sampling=batches) as step:
        draws = iter(step)
        next(draws)
        with pytest.raises(StateError, match="not released"):
            next(draws)
        with pytest.raises(StateError, match="not released"):
            next(iter(step))
        step.release()
        assert len(next(iter(step))) <= 10
    with private(model) as step, pytest.raises(StateError, match="sampling"):
        next(iter(step))


def test_a_schedule_of_noise():
    model, ledger = build(), Recorder()
    with private(model, noise_multiplier=lambda step: 1.0 + step, ledger=ledger) as step:
        assert step.noise_stddev == 1.0 / 8
        stddevs = []
        for _ in range(3):
            step.release()
            stddevs.append(step.noise_stddev)
    assert stddevs == [1.0 / 8, 2.0 / 8, 3.0 / 8]
    assert [entry.event for entry in ledger.entries] == [Gaussian(1.0), Gaussian(2.0), Gaussian(3.0)]
    with private(model, noise_multiplier=lambda step: -1.0, ledger=ledger) as step, pytest.raises(ParameterError):
        step.release()
    assert len(ledger.entries) == 3


def test_a_schedule_is_asked_once_for_each_release():
    coming = iter([1.0, 4.0, 9.0])
    ledger = Recorder()
    with private(build(), noise_multiplier=lambda _: next(coming), ledger=ledger) as step:
        seen = []
        for _ in range(3):
            assert step.noise_stddev > 0
            step.release()
            seen.append(step.noise_stddev * 8)
    assert seen == [1.0, 4.0, 9.0]
    assert [entry.event.noise_multiplier for entry in ledger.entries] == seen


def test_an_interrupt_while_gradients_are_written_does_not_open_a_second_answer(monkeypatch):
    model, ledger = build(), Recorder()
    batches = PoissonBatches(10, 0.5, steps=2, entropy=seeded(3))
    with quiet(model, sampling=batches, ledger=ledger) as step:
        draws = iter(step)
        rows = next(draws)
        step.backward(losses_of(model(torch.ones(len(rows), 4))))
        convert, calls = torch.from_numpy, []

        def interrupted(array):
            calls.append(array)
            if len(calls) == 6:  # four parameters are probed before the record
                raise KeyboardInterrupt
            return convert(array)

        monkeypatch.setattr(torch, "from_numpy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step.release()
        monkeypatch.undo()
        with pytest.raises(StateError, match="no open draw"):
            step.release()
        next(draws)
        step.release()  # nothing of the first draw is left
        assert max(float(value.abs().max()) for value in gradients(model).values()) < 1e-6
    assert len(ledger.entries) == 2


def test_a_draw_has_one_loss_for_each_row_or_says_whose_they_are():
    """Two losses of one example, each clipped by itself, would be twice the bound."""
    model, data = build(), torch.randn(20, 4)
    with quiet(model, sampling=PoissonBatches(20, 0.5, steps=2, entropy=seeded(2))) as step:
        for rows in step:
            views = torch.cat([data[rows], data[rows].flip(1)])
            with pytest.raises(ParameterError, match=r"give units="):
                step.backward(losses_of(model(views)))
            step.backward(losses_of(model(data[rows])))
            with pytest.raises(ParameterError, match=r"give units="):
                step.backward(losses_of(model(data[rows])))
            step.release()
            assert norm(gradients(model)) <= len(rows) * (1 + 1e-5)
    with quiet(model, sampling=PoissonBatches(20, 0.5, steps=1, entropy=seeded(2))) as step:
        for rows in step:
            views = torch.cat([data[rows], data[rows].flip(1)])
            step.backward(losses_of(model(views)), units=torch.from_numpy(np.concatenate([rows, rows])))
            step.release()
            assert norm(gradients(model)) <= len(rows) * (1 + 1e-5)


def test_a_padded_batch_has_room_for_its_padding():
    model, data = build(), torch.randn(21, 4)
    plan = TruncatedPoissonBatches(20, 0.3, 15, steps=2, entropy=seeded(2))
    with quiet(model, sampling=plan) as step:
        for batch in step:
            rows, mask = plan.padded(batch)
            step.backward(losses_of(model(data[rows])) * torch.from_numpy(mask))
            with pytest.raises(ParameterError, match="at most the 15"):
                step.backward(losses_of(model(data[:1])))
            step.release()


def test_units_may_not_be_split_over_parts():
    model = build()
    with quiet(model) as step:
        step.backward(losses_of(model(torch.ones(2, 4))), units=torch.tensor([1, 1]))
        for units in (torch.tensor([2, 1]), None):
            with pytest.raises(ParameterError, match="units"):
                step.backward(losses_of(model(torch.ones(2, 4))), units=units)
        step.backward(losses_of(model(torch.ones(2, 4))), units=torch.tensor([2, 2]))
        step.release()
        assert norm(gradients(model)) <= 2.0
        step.backward(losses_of(model(torch.ones(2, 4))))


def test_a_batch_that_mixes_examples_is_refused_and_state_is_kept():
    model = build()
    with quiet(model) as step:
        out = model(torch.randn(4, 4))
        with pytest.raises(LossError, match="mix examples"):
            step.backward(losses_of(out - out.mean(0)))
        step.backward(losses_of(out))
        with pytest.raises(CoverageError):
            step.backward(losses_of(out))
        with pytest.raises(LossError):
            step.backward(losses_of(out).mean())
        step.release()


def test_gradients_need_not_be_enabled_for_a_step():
    model, inputs = build(), torch.randn(6, 4)
    steps = private(model)
    losses = losses_of(model(inputs))
    with torch.no_grad():
        steps.backward(losses)
        assert steps.release().value.keys() == dict(model.named_parameters()).keys()


def test_a_first_batch_that_hides_mixing_does_not_pass_for_all():
    model, inputs = build(), torch.randn(6, 4)

    def mixed(rows):
        out = model(rows)
        return losses_of(out - out.mean(0))

    steps = private(model)
    broken = inputs.clone()
    broken[0] = torch.nan
    steps.backward(mixed(broken))
    steps.release()
    with pytest.raises(LossError):
        steps.backward(mixed(inputs))


def test_a_parameter_without_dimensions():
    """numpy makes scalars of arrays without dimensions; the gradient is a tensor of the parameter's shape."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.scale = build(), nn.Parameter(torch.tensor(2.0))

        def forward(self, x):
            return self.inner(x) * self.scale

    model, x = Scaled(), torch.linspace(-1, 1, 8).reshape(2, 4)
    with quiet(model, clip=FlatClip(1e3)) as bounded:
        bounded.backward(model(x).square().sum(1))
        bounded.release()
    got = model.scale.grad.clone()
    model.zero_grad()
    model(x).square().sum().backward()
    assert got.shape == ()
    torch.testing.assert_close(got, model.scale.grad, rtol=1e-4, atol=1e-4)


def test_two_privatizers_and_frozen_layers():
    first, second = build(1), build(2)
    with private(first) as one, private(second) as two:
        middle = first(torch.randn(3, 4))
        one.backward(losses_of(middle))
        second[0].requires_grad_(False)
        two.backward(losses_of(second(torch.randn(3, 4))))
        two.release()
        assert all(p.grad is None for p in first.parameters())
        assert second[0].weight.grad is None
        assert second[2].weight.grad is not None
        one.release()
    assert all(p.grad is not None for p in first.parameters())


def test_the_model_is_not_changed_by_being_made_private():
    model = build()
    keys = model.state_dict().keys()
    with private(model) as step:
        step.backward(losses_of(model(torch.ones(1, 4))))
        assert model.state_dict().keys() == keys
        pickle.loads(pickle.dumps(model))  # noqa: S301 - a user's own model
    with pytest.raises(StateError, match="closed"):
        step.release()
    with pytest.raises(StateError, match="closed"):
        step.backward(losses_of(model(torch.ones(1, 4))))
    step.close()


@pytest.mark.parametrize(
    "change",
    [
        {"clip": 1.0},
        {"clip": FlatClip(1.0, norm="linf")},
        {"clip": FlatClip(1e-31)},
        {"clip": FlatClip(1e31)},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": float("nan")},
        {"noise_multiplier": True},
        {"noise_multiplier": "1"},
        {"expected_batch_size": 0},
        {"expected_batch_size": float("inf")},
        {"expected_batch_size": None},
        {"noise": "a stream"},
        {"method": "quick"},
        {"model": "net"},
        {"sampling": 5},
        {"sampling": [[0, 1]]},
        {"sampling": PoissonBatches},
        {"ledger": 5},
        {"ledger": Recorder},
    ],
    ids=str,
)
def test_parameters_out_of_their_domain(change):
    with pytest.raises(DPKitError) as caught:
        private(**{"model": build(), **change})
    assert isinstance(caught.value, ParameterError)
    assert next(iter(change)) in str(caught.value)


def test_a_model_without_trainable_parameters():
    with private(build().requires_grad_(False)) as step, pytest.raises(ParameterError, match="trainable"):
        step.release()


def test_numpy_numbers_are_numbers():
    with private(build(), noise_multiplier=np.float64(1.5), expected_batch_size=np.int64(4)) as step:
        assert step.noise_stddev == 1.5 / 4
