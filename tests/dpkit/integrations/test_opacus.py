"""Opacus: its gradients through our clips, and its steps in our ledger."""

import io
import re
import sys
import textwrap
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from accountants import (
    Budget,
    BudgetExceededError,
    EventError,
    FixedSizeSampled,
    Gaussian,
    Ledger,
    NonPrivate,
    PLDAccountant,
    PoissonSampled,
)
from accountants.errors import InsecureReleaseError
from accountants.interop import from_opacus_history
from dpkit.batches import FixedSizeBatches, PoissonBatches
from dpkit.bounded import Bounded
from dpkit.clip import FlatClip, NormalizeClip
from dpkit.continuous import GaussianMechanism
from dpkit.correlated import TreeNoise
from dpkit.entropy import seeded
from dpkit.errors import BackendError, CoverageError, ParameterError, StateError
from dpkit.groups import GroupClip
from dpkit.integrations import opacus as ours
from dpkit.training import clipped_sum, record
from tests.oracles.training import losses_of, norm

# torch and Opacus speak of their own affairs
pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook:UserWarning", "ignore:Secure RNG:UserWarning")

PAGE = Path(__file__).resolve().parents[3] / "docs" / "moving-from-opacus.md"
CLIPS = {
    "flat": FlatClip(0.5),
    "normalize": NormalizeClip(0.5, 0.01),
    "group": GroupClip({"0.weight": 0.3, "0.bias": 0.1, "2.weight": 0.2, "2.bias": 0.4}),
}
ROWS = st.integers(0, 5)


def dense(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def convolution():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(32, 2))


def backward(model, inputs):
    """A pass as a user of Opacus makes it, with the reduction that ``wrapped`` tells Opacus."""
    losses_of(model(inputs)).sum().backward()


@pytest.fixture(scope="module")
def theirs():
    """What is used of Opacus; importing it takes longer than most tests, and it is optional."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("opacus")
        from opacus import PrivacyEngine
        from opacus.accountants import create_accountant
        from opacus.data_loader import wrap_collate_with_empty
        from opacus.grad_sample import GradSampleHooks, GradSampleModule
        from opacus.optimizers import AdaClipDPOptimizer, DPOptimizer, DPPerLayerOptimizer
        from opacus.utils.batch_memory_manager import BatchMemoryManager
    found = (PrivacyEngine, create_accountant, GradSampleHooks, GradSampleModule, BatchMemoryManager)
    optimizers = (AdaClipDPOptimizer, DPOptimizer, DPPerLayerOptimizer, wrap_collate_with_empty)
    return SimpleNamespace(**{thing.__name__: thing for thing in (*found, *optimizers)})


@pytest.fixture
def wrapped(theirs):
    return lambda model: theirs.GradSampleModule(model, loss_reduction="sum")


def filled(seed, rows, spread=2.0):
    """A model with numbers as per-sample gradients, as Opacus would leave them."""
    model = dense()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        shape = (rows, *parameter.shape)
        scales = 10.0 ** (spread * torch.randn(rows, *[1] * parameter.dim(), generator=generator))
        parameter.grad_sample = torch.randn(shape, generator=generator) * scales
        parameter.grad = parameter.grad_sample.sum(0)
    return model


def shortened(model, keep):
    """The same without some rows."""
    other = dense()
    for parameter, source in zip(other.parameters(), model.parameters(), strict=True):
        parameter.grad_sample = source.grad_sample[keep].clone()
    return other


# --- gradients ---


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
@pytest.mark.parametrize("rows", [1, 6])
def test_dense_models_give_the_very_bits_of_ours(clip, rows, wrapped):
    """With one position an entry of a gradient is one product, so both ways round alike."""
    inputs, model = torch.randn(rows, 3, generator=torch.Generator().manual_seed(rows)), dense()
    with record(model) as tape:
        expected = clipped_sum(tape, losses_of(model(inputs)), clip, method="instantiate")
    other = wrapped(dense())
    backward(other, inputs)
    found = ours.clipped_sum(other, clip)
    assert (found.bound, found.norm) == (expected.bound, "l2")
    assert found.value.keys() == expected.value.keys()
    for name, value in expected.value.items():
        assert torch.equal(found.value[name], value), name


@pytest.mark.parametrize("make", ["wrapper", "hooks", "functorch"])
def test_convolutions_agree_with_ours(make, theirs):
    inputs = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    model = convolution().double()
    with record(model) as tape:
        expected = clipped_sum(tape, losses_of(model(inputs)), FlatClip(0.3))
    if make == "hooks":  # what ``wrap_model=False`` gives: the model stays the user's own
        theirs.GradSampleHooks(model, loss_reduction="sum")
        given_model = model
    else:
        given_model = theirs.GradSampleModule(model, loss_reduction="sum", force_functorch=make == "functorch")
    backward(given_model, inputs)
    found = ours.clipped_sum(given_model, FlatClip(0.3))
    assert found.value.keys() == expected.value.keys()
    for name, value in expected.value.items():  # float64: fewer than 1e4 roundings of 2**-53, times a condition of 1e2
        torch.testing.assert_close(found.value[name], value, rtol=0, atol=1e-9)


@given(st.integers(0, 2**32), st.integers(1, 5), st.sampled_from(sorted(CLIPS)), st.data())
def test_one_row_moves_the_sum_by_at_most_the_bound(seed, rows, kind, data):
    clip, model = CLIPS[kind], filled(seed, rows)
    gone = data.draw(st.integers(0, rows - 1))
    fewer = shortened(model, [row for row in range(rows) if row != gone])
    with_it, without = ours.clipped_sum(model, clip).value, ours.clipped_sum(fewer, clip).value
    moved = norm({name: with_it[name].double() - without[name].double() for name in with_it})
    # Each sum rounds every entry by at most (rows + 1) * 2**-24 of its sum of magnitudes, at most rows * bound.
    assert moved <= clip.bound * (1 + 2 * (rows + 1) * rows * 2.0**-24)


@given(st.integers(0, 2**32), st.sampled_from(sorted(CLIPS)), st.integers(-30, 18))
def test_one_row_alone_is_within_the_bound(seed, kind, exponent):
    model = filled(seed, 1, spread=0.0)
    for parameter in model.parameters():
        parameter.grad_sample *= 10.0**exponent
    assert norm(ours.clipped_sum(model, CLIPS[kind]).value) <= CLIPS[kind].bound


@given(st.integers(0, 2**32), st.lists(st.integers(-1, 1), min_size=1, max_size=5))
def test_rows_of_a_unit_are_added_before_the_norm(seed, units):
    model = filled(seed, len(units), spread=0.0)
    expected = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in model.named_parameters()}
    for unit in set(units):
        rows = [row for row, other in enumerate(units) if other == unit]
        whole = {name: value.grad_sample[rows].double().sum(0) for name, value in model.named_parameters()}
        for name, value in whole.items():
            expected[name] += min(1.0, 0.5 / norm(whole)) * value
    found = ours.clipped_sum(model, FlatClip(0.5), torch.tensor(units)).value
    for name, value in expected.items():  # float32 sums of at most 5 numbers below 10, and the room of the clip, 2**-18
        torch.testing.assert_close(found[name].double(), value, rtol=0, atol=2.0**-17 * 5)


@given(st.integers(0, 2**32), st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_a_list_of_batches_is_the_batch(seed, sizes):
    model, parts = filled(seed, sum(sizes)), filled(seed, sum(sizes))
    for parameter in parts.parameters():
        parameter.grad_sample = list(parameter.grad_sample.split(sizes))
    whole, found = ours.clipped_sum(model, FlatClip(0.5)).value, ours.clipped_sum(parts, FlatClip(0.5)).value
    assert all(torch.equal(whole[name], found[name]) for name in whole)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_a_row_that_is_not_finite_contributes_exactly_nothing(clip, value):
    model = filled(3, 4)
    kept = ours.clipped_sum(shortened(model, [0, 1, 3]), clip).value
    alone = shortened(model, [2])
    for other, row in ((model, 2), (alone, 0)):
        other[2].bias.grad_sample[row] = value
    found = ours.clipped_sum(model, clip).value
    assert not any(bool(part.any()) for part in ours.clipped_sum(alone, clip).value.values())
    for name, part in kept.items():  # 4 numbers of at most the bound in another order: 8 roundings
        torch.testing.assert_close(found[name], part, rtol=0, atol=8 * 4 * clip.bound * 2.0**-24)


@pytest.mark.parametrize("make", [dense, convolution])
def test_an_empty_batch_is_a_sum_of_zeros(make, wrapped):
    model = wrapped(make())
    backward(model, torch.zeros(0, 3) if make is dense else torch.zeros(0, 1, 4, 4))
    shapes = {name: value.shape for name, value in make().named_parameters()}
    for units in (None, torch.zeros(0, dtype=torch.int64)):
        total = ours.clipped_sum(model, FlatClip(1.0), units)
        assert total.bound == 1.0
        assert {name: value.shape for name, value in total.value.items()} == shapes
        assert all(value.dtype == torch.float32 and not value.any() for value in total.value.values())
        backward(model, torch.zeros(0, 3) if make is dense else torch.zeros(0, 1, 4, 4))


def test_no_raw_gradient_stays():
    model = filled(1, 2)
    frozen = next(model.parameters())
    frozen.requires_grad_(False)  # after the pass: an optimizer would still step along its gradient
    assert frozen.grad is not None
    ours.clipped_sum(model, FlatClip(1.0))
    assert all(parameter.grad is None and parameter.grad_sample is None for parameter in model.parameters())
    with pytest.raises(CoverageError, match=r"'0\.bias' has no grad_sample"):
        ours.clipped_sum(model, FlatClip(1.0))


def test_narrow_gradients_are_widened_before_they_are_squared():
    model = nn.Linear(2, 1, bias=False).half()
    model.weight.grad_sample = torch.tensor([[[3e4, 4e4]]], dtype=torch.float16)  # squares leave float16
    total = ours.clipped_sum(model, FlatClip(5.0)).value["weight"]
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, torch.tensor([[3.0, 4.0]]), rtol=2.0**-10, atol=0)


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda m: delattr(m[2].bias, "grad_sample"), CoverageError, r"'2\.bias' has no grad_sample"),
        (lambda m: setattr(m[2].bias, "grad_sample", None), CoverageError, r"'2\.bias' has no grad_sample"),
        (lambda m: setattr(m[2].bias, "grad_sample", []), CoverageError, r"'2\.bias' has no grad_sample"),
        (lambda m: setattr(m[2].bias, "grad_sample", torch.ones(3, 2)), CoverageError, r"\[4\] rows.*\[3\] for '2\.b"),
        (lambda m: setattr(m[2].bias, "grad_sample", [torch.ones(2, 2)] * 2), CoverageError, r"\[2, 2\] for '2\.b"),
        (lambda m: setattr(m[2].bias, "grad_sample", torch.ones(4, 3)), CoverageError, r"'2\.bias'.*\(4, 3\)"),
        (lambda m: setattr(m[2].bias, "grad_sample", torch.ones(4, 2).int()), CoverageError, r"'2\.bias'.*int32"),
        (lambda m: setattr(m[2].bias.grad_sample, "_processed", True), StateError, r"'2\.bias'.*zero_grad"),
    ],
)
def test_gradients_that_do_not_fit_are_refused_by_name(spoil, error, words):
    model = filled(1, 4)
    spoil(model)
    with pytest.raises(error, match=words):
        ours.clipped_sum(model, FlatClip(1.0))
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model[0].weight.grad_sample is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((FlatClip(1.0, "l1"),), "norm 'l2'"),
        ((GroupClip({"0.weight": 1.0}),), r"got none for 0\.bias"),
        ((1.0,), "clip must be"),
        ((FlatClip(1.0), torch.zeros(3, dtype=torch.int64)), r"units must be .*shape \(4,\)"),
        ((FlatClip(1.0), torch.zeros(4)), "units must be an integer"),
        ((FlatClip(1.0), [0, 0, 0, 0]), "got list"),
    ],
)
def test_other_parameters_are_refused(arguments, words):
    model = filled(1, 4)
    with pytest.raises(ParameterError, match=words):
        ours.clipped_sum(model, *arguments)
    assert all(parameter.grad_sample is not None for parameter in model.parameters())


def test_a_model_is_needed_with_something_to_train():
    with pytest.raises(ParameterError, match="got list"):
        ours.clipped_sum([nn.Linear(2, 1)], FlatClip(1.0))
    with pytest.raises(ParameterError, match="unfreeze one"):
        ours.clipped_sum(nn.Linear(2, 1).requires_grad_(False), FlatClip(1.0))


def test_gradients_that_an_optimizer_used_are_refused(wrapped, private):
    model = wrapped(dense())
    optimizer = private(model, noise_multiplier=0.0)
    backward(model, torch.ones(2, 3))
    optimizer.step()
    with pytest.raises(StateError, match="used by a step"):
        ours.clipped_sum(model, FlatClip(1.0))


def test_a_sum_goes_through_any_mechanism_and_stream(wrapped):
    ledger = Ledger(relation="add_remove")
    model = wrapped(dense())
    backward(model, torch.ones(2, 3))
    release = GaussianMechanism(1.5).release(ours.clipped_sum(model, FlatClip(1.0)), ledger=ledger, entropy=seeded(1))
    assert (release.event, len(ledger)) == (Gaussian(1.5), 1)
    backward(model, torch.ones(2, 3))
    total = ours.clipped_sum(model, FlatClip(1.0))
    stream = TreeNoise(total.value, noise_multiplier=1.5, bound=1.0, steps=4, entropy=seeded(2))
    shapes = {name: parameter.shape for name, parameter in dense().named_parameters()}
    assert {name: value.shape for name, value in stream.add(total).items()} == shapes


# --- steps ---


DATA = TensorDataset(torch.linspace(-1, 1, 60).reshape(20, 3), torch.linspace(0, 1, 20).reshape(20, 1))


def loader_of(theirs, plan):
    collate = theirs.wrap_collate_with_empty(
        collate_fn=default_collate, sample_empty_shapes=[(0, 3), (0, 1)], dtypes=[torch.float32, torch.float32]
    )
    return DataLoader(DATA, batch_sampler=plan, collate_fn=collate)


@pytest.fixture
def private(theirs):
    def make(model, kind="DPOptimizer", noise_multiplier=1.1, bound=1.0, **options):
        numbers = {"noise_multiplier": noise_multiplier, "max_grad_norm": bound, "expected_batch_size": 2}
        plain = torch.optim.SGD(model.parameters(), lr=0.1)
        return getattr(theirs, kind)(plain, **numbers, loss_reduction="sum", **options)

    return make


def one_step(model, optimizer, inputs):
    optimizer.zero_grad()
    backward(model, inputs)
    optimizer.step()


def accountant_of(ledger, plan=None):
    """The accountant without the base class that Opacus gives it, for which Opacus would have to be imported."""
    return ours._LedgerAccountant(ledger, plan)


def noised(**more):
    """An optimizer as a hook sees it: the noise is added, the step not taken."""
    parameter = nn.Parameter(torch.ones(2))
    parameter.grad = parameter.summed_grad = parameter.grad_sample = torch.ones(2)
    return SimpleNamespace(**{"noise_multiplier": 1.1, "accumulated_iterations": 1, "params": [parameter], **more})


def gradients(optimizer):
    return [getattr(optimizer.params[0], name) for name in ("grad", "summed_grad", "grad_sample")]


def test_what_is_recorded_keeps_its_gradient_and_what_is_refused_does_not():
    ledger = Ledger(relation="zero_out")
    record_step = accountant_of(ledger).get_optimizer_hook_fn(sample_rate=0.25)
    taken, refused = noised(), noised(noise_multiplier=-1.0)
    record_step(taken)
    assert not any(value is None for value in gradients(taken))
    with pytest.raises(EventError):
        record_step(refused)
    assert gradients(refused) == [None, None, None]
    assert list(ledger.entries) == [(PoissonSampled(Gaussian(1.1), 0.25), 1, "")]
    assert ledger.seeded_releases == 1


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.7, 1.1]), st.sampled_from([0.01, 1.0]), st.integers(1, 3))))
def test_history_says_what_the_ledger_says(rows):
    ledger = Ledger(relation="add_remove")
    steps = accountant_of(ledger)
    for noise, rate, times in rows:
        for _ in range(times):
            steps.step(noise_multiplier=noise, sample_rate=rate)
    assert from_opacus_history(steps.history) == from_opacus_history(rows)
    assert from_opacus_history(steps.history).entries == ledger.entries
    assert len(steps) == sum(times for _, _, times in rows)


def test_a_step_of_two_batches_is_refused():
    ledger, two = Ledger(relation="add_remove"), noised(accumulated_iterations=2)
    with pytest.raises(StateError, match="one batch, got 2 that were accumulated"):
        accountant_of(ledger).get_optimizer_hook_fn(sample_rate=0.25)(two)
    assert (len(ledger), gradients(two)) == (0, [None, None, None])
    plan = PoissonBatches(20, 0.5, steps=3, entropy=seeded(1))
    record_step = accountant_of(ledger, plan).get_optimizer_hook_fn(sample_rate=0.25)
    plan.draw()
    record_step(noised(accumulated_iterations=2))  # parts of one draw
    assert list(ledger.entries) == [(PoissonSampled(Gaussian(1.1), 0.5), 1, "")]


def test_adaptive_clipping_of_opacus_is_refused():
    ledger = Ledger(relation="add_remove")
    with pytest.raises(StateError, match="not clip adaptively"):
        accountant_of(ledger).get_optimizer_hook_fn(sample_rate=0.1)(noised(unclipped_num_std=2.0))
    assert len(ledger) == 0


def test_a_step_is_of_exactly_one_draw():
    plan = PoissonBatches(20, 0.5, steps=5, entropy=seeded(1))
    ledger = Ledger(relation="add_remove")
    plan.draw()  # before the accountant knew the plan
    steps = accountant_of(ledger, plan)
    plan.draw()
    steps.step(noise_multiplier=1.0, sample_rate=0.7)
    assert not plan.open
    with pytest.raises(StateError, match="open draw"):
        steps.step(noise_multiplier=1.0, sample_rate=0.7)
    for _ in range(2):  # a batch that was skipped, or a worker that draws ahead
        plan.draw()
    with pytest.raises(StateError, match=r"one draw of the plan, got 2 .*num_workers=0"):
        steps.step(noise_multiplier=1.0, sample_rate=0.7)
    assert plan.open
    assert list(ledger.entries) == [(PoissonSampled(Gaussian(1.0), 0.5), 1, "")]


def test_a_step_without_noise_costs_everything():
    ledger = Ledger(relation="add_remove")
    steps = accountant_of(ledger)
    steps.step(noise_multiplier=0.0, sample_rate=0.1)
    assert list(ledger.entries) == [(PoissonSampled(NonPrivate(), 0.1), 1, "")]
    assert steps.get_epsilon(1e-6) == float("inf")


def test_state_is_the_ledger_and_nothing_is_lost_or_counted_twice():
    ledger = Ledger(relation="replace_one")
    steps = accountant_of(ledger)
    steps.step(noise_multiplier=1.0, sample_rate=0.1)
    state = steps.state_dict()
    for fresh in (Ledger(relation="replace_one"), Ledger.from_json(state["ledger"])):
        again = accountant_of(fresh)
        again.load_state_dict(state)
        assert fresh == ledger
        again.step(noise_multiplier=1.0, sample_rate=0.1)
        again.load_state_dict(state)  # it went on from there
        assert len(again) == 2
    other = Ledger(relation="replace_one")
    other.record(Gaussian(3.0))
    with pytest.raises(StateError, match="other entries"):
        accountant_of(other).load_state_dict(state)
    with pytest.raises(StateError, match="relation"):
        accountant_of(Ledger(relation="add_remove")).load_state_dict(state)
    for bad in ({}, None, {"history": [], "mechanism": "dpkit"}):
        with pytest.raises(StateError, match="state_dict must be"):
            steps.load_state_dict(bad)
    assert (len(ledger), len(other)) == (1, 1)


def test_opacus_records_into_the_ledger(theirs):
    ledger = Ledger(relation="add_remove", unit="user")
    ledger.record(Gaussian(5.0), note="statistics")
    model = nn.Linear(3, 1)
    engine = theirs.PrivacyEngine()
    engine.accountant = ours.accountant(ledger)
    model, optimizer, loader = engine.make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=DataLoader(DATA, batch_size=5),
        noise_multiplier=1.1,
        max_grad_norm=1.0,
        loss_reduction="sum",
    )
    for inputs, _ in loader:
        one_step(model, optimizer, inputs)
    optimizer.noise_multiplier = 1.3
    one_step(model, optimizer, DATA[:2][0])
    steps = [(PoissonSampled(Gaussian(1.1), 0.25), 4, ""), (PoissonSampled(Gaussian(1.3), 0.25), 1, "")]
    assert list(ledger.entries) == [(Gaussian(5.0), 1, "statistics"), *steps]
    assert engine.get_epsilon(1e-6) == ledger.epsilon(delta=1e-6)
    assert engine.accountant.history == [(5.0, 1.0, 1), (1.1, 0.25, 4), (1.3, 0.25, 1)]
    assert len(engine.accountant) == 6
    assert ledger.seeded_releases == 5
    file = io.BytesIO()
    engine.save_checkpoint(path=file, module=model, optimizer=optimizer)
    engine.load_checkpoint(path=io.BytesIO(file.getvalue()), module=model, optimizer=optimizer)
    again = Ledger(relation="add_remove", unit="user")
    engine.accountant = ours.accountant(again)
    engine.load_checkpoint(path=io.BytesIO(file.getvalue()), module=model, optimizer=optimizer)
    assert again == ledger


@pytest.mark.parametrize("kind", ["poisson", "fixed"])
def test_a_plan_of_ours_is_a_batch_sampler(kind, theirs, wrapped, private):
    plan = (
        PoissonBatches(20, 0.1, steps=8, entropy=seeded(5))
        if kind == "poisson"
        else FixedSizeBatches(20, 2, steps=8, entropy=seeded(5))
    )
    event = PoissonSampled(Gaussian(1.1), 0.1) if kind == "poisson" else FixedSizeSampled(Gaussian(1.1), 20, 2)
    ledger = Ledger(relation="add_remove")
    model = wrapped(nn.Linear(3, 1))
    optimizer = private(model)
    optimizer.attach_step_hook(ours.accountant(ledger, plan).get_optimizer_hook_fn(sample_rate=0.7))
    sizes = []
    for inputs, _ in loader_of(theirs, plan):
        one_step(model, optimizer, inputs)
        sizes.append(len(inputs))
    assert len(sizes) == 8
    assert (0 in sizes) == (kind == "poisson"), "the seed has an empty batch, which is a step too"
    assert list(ledger.entries) == [(event, 8, "")]


def test_parts_of_a_draw_are_one_step(theirs, wrapped, private):
    plan = PoissonBatches(20, 0.5, steps=3, entropy=seeded(1))
    ledger = Ledger(relation="add_remove")
    model = wrapped(nn.Linear(3, 1))
    optimizer = private(model)
    optimizer.attach_step_hook(ours.accountant(ledger, plan).get_optimizer_hook_fn(sample_rate=0.7))
    loader = loader_of(theirs, plan)
    parts = 0
    with theirs.BatchMemoryManager(data_loader=loader, max_physical_batch_size=4, optimizer=optimizer) as small:
        for inputs, _ in small:
            one_step(model, optimizer, inputs)
            parts += 1
    assert parts > 3
    assert list(ledger.entries) == [(PoissonSampled(Gaussian(1.1), 0.5), 3, "")]


@pytest.mark.parametrize("rule", ["budget", "secure", "rate", "accumulated"])
def test_a_refused_step_is_not_taken(rule, wrapped, private):
    ledger, error = {
        "budget": (Budget(epsilon=1.0, delta=1e-6, relation="add_remove"), BudgetExceededError),
        "secure": (Ledger(relation="add_remove", require_secure=True), InsecureReleaseError),
        "rate": (Ledger(relation="add_remove"), EventError),
        "accumulated": (Ledger(relation="add_remove"), StateError),
    }[rule]
    model = wrapped(nn.Linear(3, 1))
    optimizer = private(model)
    optimizer.attach_step_hook(ours.accountant(ledger).get_optimizer_hook_fn(1.5 if rule == "rate" else 1.0))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    backward(model, torch.ones(2, 3))
    if rule == "accumulated":
        backward(model, torch.ones(2, 3))
    with pytest.raises(error):
        optimizer.step()
    assert len(ledger) == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    for parameter in model.parameters():
        assert (parameter.grad, parameter.grad_sample, parameter.summed_grad) == (None, None, None)


def test_adaptive_clipping_of_opacus_costs_more_than_it_says(wrapped, private):
    """Its noise is split for a count that one example moves by 1/2; the count moves by 1, and the size of the batch."""
    noise, spread, counts = 1.0, 2.0, []
    for rows in (3, 2):
        model = wrapped(nn.Linear(3, 1))
        bounds = {"max_clipbound": 1e9, "min_clipbound": 1e-9, "bound": 1e6}
        rule = {"target_unclipped_quantile": 0.5, "clipbound_learning_rate": 0.2, "unclipped_num_std": spread}
        optimizer = private(model, "AdaClipDPOptimizer", noise_multiplier=noise, **bounds, **rule)
        backward(model, torch.ones(rows, 3))
        optimizer.clip_and_accumulate()
        counts.append((int(optimizer.unclipped_num), optimizer.sample_size))
    assert counts == [(3, 3), (2, 2)]
    of_sum = (noise**-2 - (2 * spread) ** -2) ** -0.5  # what ``add_noise`` takes
    whole = (of_sum**-2 + spread**-2) ** -0.5
    assert whole < 0.92 * noise


def test_bounds_of_each_layer_have_the_noise_of_all(wrapped, private):
    """The noise is the multiplier times the root of the sum of squares, so the event is the same."""
    ledger = Ledger(relation="add_remove")
    model = wrapped(nn.Linear(3, 1))
    optimizer = private(model, "DPPerLayerOptimizer", bound=[3.0, 4.0])
    assert optimizer.max_grad_norm == 5.0
    optimizer.attach_step_hook(ours.accountant(ledger).get_optimizer_hook_fn(sample_rate=0.1))
    one_step(model, optimizer, torch.ones(2, 3))
    assert list(ledger.entries) == [(PoissonSampled(Gaussian(1.1), 0.1), 1, "")]


def test_what_is_no_ledger_or_plan_is_refused():
    with pytest.raises(ParameterError, match="record"):
        ours.accountant([])
    with pytest.raises(ParameterError, match="must have epsilon"):
        ours.accountant(type("Recorder", (), {"record": lambda self, what: None})())
    with pytest.raises(ParameterError, match="sampled"):
        ours.accountant(Ledger(relation="add_remove"), 0.1)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.accountants.accountant", None)
    ours._accountant_class.cache_clear()
    with pytest.raises(BackendError, match=r"dpkit\[opacus\]"):
        ours.accountant(Ledger(relation="add_remove"))


@pytest.mark.parametrize("case", [(1.0, 0.01, 1000), (0.7, 0.05, 200), (4.0, 0.5, 30)])
def test_epsilon_is_certified_and_not_above_theirs(case, theirs):
    noise, rate, steps = case
    ledger = Ledger(relation="add_remove")
    counted = ours.accountant(ledger)
    for _ in range(steps):
        counted.step(noise_multiplier=noise, sample_rate=rate)
    lower, upper = PLDAccountant().bounds(ledger, delta=1e-6)
    assert lower <= counted.get_epsilon(1e-6) <= upper
    peer = theirs.create_accountant("rdp")
    peer.history = counted.history
    assert counted.get_epsilon(1e-6) <= peer.get_epsilon(1e-6)
    near = theirs.create_accountant("prv")
    near.history = counted.history
    # Its answer is an upper bound that is at most eps_error = 0.01 above its lower one, twice that above the truth.
    assert abs(near.get_epsilon(1e-6) - counted.get_epsilon(1e-6)) <= 0.02 + (upper - lower)


def test_a_sum_can_be_added_to_one_of_other_rows(wrapped):
    """Parts of a batch that fit into memory: disjoint examples keep the bound."""
    model = wrapped(dense())
    totals = []
    for inputs in torch.ones(4, 3).split(2):
        backward(model, inputs)
        totals.append(ours.clipped_sum(model, FlatClip(0.5)))
    backward(model, torch.ones(4, 3))
    whole, parts = ours.clipped_sum(model, FlatClip(0.5)), Bounded.disjoint(totals)
    assert parts.bound == 0.5
    for name, value in whole.value.items():  # 4 numbers of at most 0.5 in another order: 8 roundings
        np.testing.assert_allclose(parts.value[name], value, rtol=0, atol=8 * 4 * 0.5 * 2.0**-24)


@pytest.mark.filterwarnings("ignore")  # what its user would see beside the page
def test_the_page_about_moving_runs_with_opacus(theirs, tmp_path, monkeypatch):
    """All blocks in their order; those that need no Opacus are run without it, with all other pages."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"^( *)```(?:python|\{code-block\} python)\n(.*?)^\1```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(blocks) > 8
    names = {}
    for _, code in blocks:
        exec(compile(textwrap.dedent(code), str(PAGE), "exec"), names)  # noqa: S102 - this project's own page
    assert 5 < names["steps"] == len(names["budget"])
