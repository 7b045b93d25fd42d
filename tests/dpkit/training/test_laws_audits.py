"""Laws of the audits over random architectures: sound models pass, planted faults are refused, nothing is changed."""

import copy
import gc
import io
import pickle
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules import module as torch_module

from dpkit.clip import FlatClip
from dpkit.entropy import seeded
from dpkit.errors import CoverageError, DPKitError, LossError
from dpkit.training import Privatizer, check, clipped_sum, record
from tests.oracles.architectures import CLASS_WEIGHTS, Batch, architectures
from tests.oracles.training import Attention, clipped_oracle, losses_of

pytestmark = [  # torch's own
    pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning"),
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning"),
]

SEVERAL = st.integers(2, 8)


def private(model, noise_multiplier=1.0):
    return Privatizer(
        model, clip=FlatClip(1.0), noise_multiplier=noise_multiplier, expected_batch_size=8, entropy=seeded(1)
    )


def losses_by(case):
    """The case's losses in the form that check() asks for."""
    return lambda model, batch: case.losses(Batch(*batch))


def installed():
    return len(torch_module._global_forward_hooks) + len(torch_module._global_forward_pre_hooks)


@given(architectures(), SEVERAL)
def test_sound_architectures_pass_every_audit(case, rows):
    batch = case.batch(rows)
    seen = check(case.model, losses_by(case), tuple(batch))
    assert seen.is_repeatable
    assert seen.deviation < 1e-6
    assert set(seen.parameters) | set(seen.idle) == {n for n, p in case.model.named_parameters() if p.requires_grad}
    with private(case.model) as step:
        step.backward(case.losses(batch))
        step.release()


@pytest.mark.parametrize("kept", ["in_proj_weight", "out_proj.weight", "out_proj.bias"])
def test_attention_may_be_frozen_in_part(kept):
    """It reads the weight of its inner projection without calling it."""
    torch.manual_seed(0)
    model = Attention(batch_first=True)
    for name, parameter in model.attention.named_parameters():
        parameter.requires_grad_(name == kept)
    x = torch.randn(5, 3, 4)
    assert check(model, lambda model, x: losses_of(model(x)), x).parameters == (f"attention.{kept}",)
    with record(model) as tape:
        losses = losses_of(model(x))
    found = clipped_sum(tape, losses, FlatClip(0.2)).value
    expected = clipped_oracle(model, list(x.split(1)), 0.2)
    torch.testing.assert_close(found[f"attention.{kept}"], expected[f"attention.{kept}"], rtol=1e-4, atol=1e-5)


@given(architectures(dtypes=(torch.float32,), autocast=True), SEVERAL)
def test_sound_architectures_pass_the_first_step_in_low_precision(case, rows):
    with private(case.model) as step:
        step.backward(case.losses(case.batch(rows)))


@given(
    st.booleans().flatmap(
        lambda autocast: architectures(
            dtypes=(torch.float32,) if autocast else (torch.float32, torch.float64, torch.bfloat16), autocast=autocast
        )
    ),
    SEVERAL,
    st.sampled_from(["all", "all alike", "one", "one, by its loss"]),
    st.one_of(st.integers(-20, 20).map(lambda e: 10.0**e), st.sampled_from([0.0, 255.0, float("nan"), float("inf")])),
)
def test_the_first_step_takes_rows_of_every_scale(case, rows, kind, scale):
    """No audit of the first step may depend on how large rows are, or stop at blank or broken ones."""
    x, y = case.batch(rows)
    of_loss = torch.ones(rows)
    if kind == "one, by its loss" or not x.is_floating_point():
        of_loss[0] = scale
    elif kind == "one":
        x[0] *= scale
    else:
        x = (torch.ones_like(x) if kind == "all alike" else x) * scale
    with private(case.model) as step:
        losses = case.losses(Batch(x, y))
        step.backward(losses * of_loss.to(losses.dtype))
        assert all(bool(torch.isfinite(value).all()) for value in step.release().value.values())


def _centred(case, batch):
    out = case.output(batch).flatten(1)
    return losses_of(out - out.mean(0))


def _contrastive(case, batch):
    out = case.output(batch).flatten(1)
    return -torch.log_softmax(out @ out.mT, dim=1).diagonal()


def _neighbour(case, batch):
    out = case.output(batch).flatten(1)
    return losses_of(out * (1.0 + out.roll(1, 0)))


def _running(case, batch):
    return losses_of(case.output(batch).flatten(1).cumsum(0))


def _capacity(case, batch):
    """Routing with a capacity: what is sent where depends on how the others score."""
    out = case.output(batch).flatten(1)
    return losses_of(out) * (out.sum(1) >= out.sum(1).median())


def _token_mean(case, batch):
    return case.losses(batch) / (batch.y != 1).sum().clamp(min=0.1)


def _weighted_mean(case, batch):
    return case.losses(batch) / torch.tensor(CLASS_WEIGHTS, dtype=torch.float64)[batch.y].sum()


@pytest.mark.parametrize("fault", [_centred, _contrastive, _neighbour, _running])
@given(architectures(), st.integers(4, 8))
def test_losses_that_mix_rows_are_refused(fault, case, rows):
    """On the first step already, whatever the layers, unless no row's gradient shows it."""
    batch = case.batch(rows)
    assume(_mixing(case, fault, batch) > 0.1)
    with private(case.model, noise_multiplier=1e-9) as step:
        with pytest.raises(LossError, match="mix examples"):
            step.backward(fault(case, batch))
        released = step.release().value
        assert max(float(value.abs().max()) for value in released.values()) < 1e-7, "nothing was added up"


def _mixing(case, fault, batch):
    """How much of the gradient of the last row's loss in the parameters comes by way of other rows."""
    named = [p for p in case.model.parameters() if p.requires_grad]
    out = case.output(batch).flatten(1)
    found = []
    for rows in (out, torch.cat([out[:-1].detach(), out[-1:]])):
        loss = fault(replace(case, model=lambda _, rows=rows: rows), batch)[-1]
        parts = torch.autograd.grad(loss, named, retain_graph=True, allow_unused=True)
        pairs = zip(named, parts, strict=True)
        found.append(torch.cat([torch.zeros(p.numel()) if g is None else g.flatten() for p, g in pairs]))
    return float((found[0] - found[1]).norm() / max(float(found[0].norm()), 1e-9))


@pytest.mark.parametrize("fault", [_token_mean, _weighted_mean, _capacity])
@given(architectures(), st.integers(4, 8))
def test_divisors_and_routes_from_the_batch_are_refused(fault, case, rows):
    batch = case.batch(rows)
    whole = fault(case, batch)[: rows // 2]
    half = fault(case, batch.take(range(rows // 2)))
    assume(float((whole - half).detach().abs().max()) > 0.1 * float(whole.detach().abs().max()) > 1e-3)
    with pytest.raises(LossError, match="others without the rest"):
        check(case.model, lambda _, given: fault(case, Batch(*given)), tuple(batch))


@given(architectures(frozen=False), SEVERAL, st.data())
def test_functional_reuse_of_any_parameter_is_refused_by_name(case, rows, data):
    batch = case.batch(rows)
    name = data.draw(st.sampled_from(sorted(dict(case.model.named_parameters()))))
    parameter = dict(case.model.named_parameters())[name]
    with record(case.model) as tape:
        penalised = case.losses(batch) + 0.01 * parameter.square().sum()
    with pytest.raises(CoverageError, match=f"'{name}' is trainable and reaches the losses outside"):
        clipped_sum(tape, penalised, FlatClip(1.0))
    parameter.requires_grad_(False)  # the remedy that the message names
    assume(any(p.requires_grad for p in case.model.parameters()))
    with record(case.model) as tape:
        penalised = case.losses(batch) + 0.01 * parameter.square().sum()
    clipped_sum(tape, penalised, FlatClip(1.0))


@given(architectures(kinds=("features",)), SEVERAL, st.integers(0, 3))
def test_batch_normalisation_anywhere_is_refused(case, rows, place):
    width = case.model(case.batch(rows).x).shape[1]
    model = nn.Sequential(case.model, nn.BatchNorm1d(width).double(), nn.Linear(width, 2).double())
    case.model.insert(min(place, len(case.model)), nn.Identity())
    with record(model), pytest.raises(CoverageError, match=r"layer '1' \(BatchNorm1d\)"):
        model(case.batch(rows).x)
    model[1].eval()
    with record(model) as tape:
        losses = losses_of(model(case.batch(rows).x))
    clipped_sum(tape, losses, FlatClip(1.0))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_a_frozen_backbone_may_not_take_statistics_of_the_batch(mode):
    """It holds none, so that it takes the batch's in evaluation mode too, and without gradients nothing is recorded."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, track_running_stats=False)).requires_grad_(False)
    model = nn.Sequential(backbone, nn.Linear(4, 2)).train(mode == "train")
    with record(model), torch.no_grad(), pytest.raises(CoverageError, match=r"layer '0\.1' \(BatchNorm1d\)"):
        model[1](backbone(torch.randn(5, 3)))


@given(architectures(dtypes=(torch.float32, torch.float64)), st.integers(1, 5))
def test_nothing_of_the_model_or_of_torch_is_changed(case, rows):
    model, batch = case.model, case.batch(rows)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    attributes, hooks = [vars(module).keys() for module in model.modules()], installed()
    random = torch.get_rng_state()
    with private(model) as step, record(model) as tape:
        step.backward(case.losses(batch))
        clipped_sum(tape, case.losses(batch), FlatClip(1.0))
        assert all(p.grad is None for p in model.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
        stream = io.BytesIO()
        torch.save(model.state_dict(), stream)
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301 - made here
            torch.testing.assert_close(other(batch.x), model(batch.x), rtol=0, atol=0, equal_nan=True)
    assert installed() == hooks
    assert [vars(module).keys() for module in model.modules()] == attributes
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())


@given(architectures(), st.integers(1, 5))
def test_ordinary_gradients_are_those_without_a_recording(case, rows):
    """A user's own backward pass inside a recording sees nothing of it."""
    named = {name: p for name, p in case.model.named_parameters() if p.requires_grad}
    batch = case.batch(rows)
    expected = torch.autograd.grad(case.losses(batch).sum(), list(named.values()), allow_unused=True)
    with record(case.model):
        found = torch.autograd.grad(case.losses(batch).sum(), list(named.values()), allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


def _alive():
    gc.collect()
    return sum(1 for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor))


def test_evaluation_and_released_steps_hold_no_memory():
    """As many tensors are alive after twenty evaluations and steps as after two."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    alive = []
    with private(model) as step:
        for i in range(20):
            step.backward(losses_of(model(x)))
            step.release()
            model.zero_grad()
            with torch.no_grad():
                model(x)
            with torch.inference_mode():
                model(x)
            if i in (1, 19):
                alive.append(_alive())
    assert alive[0] == alive[1]


def test_an_audit_that_refuses_leaves_no_gradient_and_no_sum():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with private(model) as step:
        for losses in (
            lambda: losses_of(model(torch.randn(4, 3)).cumsum(0)),
            lambda: losses_of(model(torch.randn(4, 3))).mean(),
            lambda: losses_of(model(torch.randn(4, 3))) + model[0].weight.sum(),
        ):
            with pytest.raises(DPKitError):
                step.backward(losses())
            assert all(p.grad is None for p in model.parameters())
