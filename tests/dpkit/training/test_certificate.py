"""The certificate: sound models of every kind pass, planted faults are found and named, nothing is changed."""

import copy
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from dpkit.errors import CoverageError, LossError, ParameterError
from dpkit.training import check, layers
from dpkit.training.layers import RULES
from tests.oracles.training import cases, losses_of

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch's own, for even kernels


def plain(model, x):
    return losses_of(model(x))


def mlp(*middle):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), *middle, nn.Linear(4, 3))


@settings(max_examples=60)
@given(cases(), st.integers(2, 6))
def test_sound_models_pass(case, rows):
    seen = check(case.model, plain, case.batch(rows))
    assert seen.rows == rows
    assert seen.is_repeatable
    assert seen.deviation < 1e-3
    named = {name for name, p in case.model.named_parameters() if p.requires_grad}
    assert set(seen.parameters) | set(seen.idle) == named


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_sound_models_pass_in_other_types(dtype):
    model = mlp(nn.LayerNorm(4), nn.GELU()).to(dtype)
    check(model, plain, (30 * torch.randn(9, 3)).to(dtype))


@pytest.mark.parametrize("layer", [nn.Tanh(), nn.PReLU(4), nn.LayerNorm(4)], ids=["rules", "called again", "norm"])
def test_autocast_passes(layer):
    def losses(model, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return losses_of(model(x).float())

    assert check(mlp(layer), losses, torch.randn(8, 3)).deviation < 5e-2


@pytest.mark.parametrize("p", [0.1, 0.9])
def test_dropout_is_no_fault(p):
    model = mlp(nn.Dropout(p), nn.Tanh())
    assert check(model, plain, torch.randn(40, 3)).is_repeatable
    assert model[1].training


def test_dropout_does_not_hide_a_divisor():
    with pytest.raises(LossError, match="divisor"):
        check(mlp(nn.Dropout(0.5)), lambda model, x: plain(model, x) / x.abs().mean(), torch.randn(8, 3))


def test_a_generator_of_its_own_is_said():
    generator = torch.Generator().manual_seed(1)

    def noisy(model, x):
        return losses_of(model(x + torch.randn(x.shape, generator=generator)))

    seen = check(mlp(), noisy, torch.randn(8, 3))
    assert not seen.is_repeatable
    assert "not compared" in str(seen)


class Tokens(NamedTuple):
    """A batch of the user's own type, with a number that belongs to no example."""

    x: torch.Tensor
    target: torch.Tensor
    scale: float


LABELS = torch.tensor([0, 2, 1, 1, 0, 2, -100, 1])


def _cross_entropy(model, batch, **options):
    return functional.cross_entropy(model(batch["x"]), batch["y"], reduction="none", **options)


def _token_mean(model, batch):
    losses = _cross_entropy(model, batch)
    return losses / (batch["y"] != -100).sum()


def _class_weights(model, batch):
    weight = torch.tensor([1.0, 5.0, 2.0])
    return _cross_entropy(model, batch, weight=weight) / weight[batch["y"].clamp(min=0)].sum()


def _centred(model, batch):
    return losses_of(model(batch["x"] - batch["x"].mean(0)))


def _functional(model, batch):
    return losses_of(model(batch["x"]) + functional.linear(model[0](batch["x"]), model[1].weight))


def _contrastive(model, batch):
    out = model(batch["x"])
    return -torch.log_softmax(out @ out.mT, dim=1).diagonal()


@pytest.mark.parametrize(
    ("losses", "error", "text"),
    [
        (_token_mean, LossError, "divisor or weight that is computed from the batch"),
        (_class_weights, LossError, "divisor or weight that is computed from the batch"),
        (_centred, LossError, "divisor or weight that is computed from the batch"),
        (_contrastive, LossError, r"layer '[01]'"),
        (_functional, CoverageError, "parameter '1.weight'"),
        (lambda model, batch: _cross_entropy(model, batch).mean(), LossError, "one loss for each example"),
        (lambda model, batch: _cross_entropy(model, batch)[:3], ParameterError, "3 rows of the losses"),
    ],
    ids=["token mean", "class weights", "centred", "contrastive", "functional", "scalar", "other rows"],
)
def test_faults_are_found_and_named(losses, error, text):
    with pytest.raises(error, match=text):
        check(mlp(), losses, {"x": torch.randn(8, 3), "y": LABELS})


def test_the_same_losses_without_the_fault_pass():
    """What the planted divisors were put on: weights and an ignored index are no fault by themselves."""
    weight = torch.tensor([1.0, 5.0, 2.0])
    batch = {"x": torch.randn(8, 3), "y": LABELS}
    check(mlp(), lambda model, batch: _cross_entropy(model, batch, weight=weight), batch)


def test_batch_normalisation_is_refused_by_name():
    with pytest.raises(CoverageError, match="BatchNorm"):
        check(mlp(nn.BatchNorm1d(4)), plain, torch.randn(8, 3))
    check(mlp(nn.BatchNorm1d(4)).eval(), plain, torch.randn(8, 3))


def test_a_rule_that_does_not_fit_is_named(monkeypatch):
    model, rule = mlp(), RULES[nn.Linear]
    wrong = {nn.Linear: lambda use, signals, wanted, room: rule(use, signals.flip(1), wanted, room)}
    monkeypatch.setattr(layers, "RULES", {**RULES, **wrong})
    with pytest.raises(CoverageError, match=r"parameter '1\.weight' differs|method='loop'"):
        check(model, plain, torch.randn(6, 3))


def test_unused_parameters_are_listed():
    model = nn.ModuleDict({"used": nn.Linear(3, 2), "idle": nn.Linear(3, 2), "frozen": nn.Linear(3, 2)})
    model["frozen"].requires_grad_(False)
    seen = check(model, lambda model, x: losses_of(model["used"](x)), torch.randn(5, 3))
    assert seen.idle == ("idle.weight", "idle.bias")
    assert seen.layers == ("used",)
    assert "idle.weight" in str(seen)


@pytest.mark.parametrize(
    "batch",
    [
        (torch.randn(6, 3), torch.randn(6), torch.ones(3)),
        [torch.randn(6, 3), torch.randn(6), 4],
        {"x": torch.randn(6, 3), "y": {"z": torch.randn(6)}, "name": "batch"},
        Tokens(torch.randn(6, 3), torch.randn(6), 2.0),
    ],
    ids=["tuple", "list", "dict", "named tuple"],
)
def test_batches_of_every_kind(batch):
    def losses(model, batch):
        x = batch["x"] if isinstance(batch, dict) else batch[0]
        y = batch["y"]["z"] if isinstance(batch, dict) else batch[1]
        if isinstance(batch, Tokens):
            assert isinstance(batch.scale, float)
        return (model(x).sum(1) - y).square()

    assert check(mlp(), losses, batch).is_repeatable


@pytest.mark.parametrize("fault", [False, True])
def test_model_gradients_and_generators_are_as_before(fault):
    model = mlp(nn.Dropout(0.5), nn.LayerNorm(4))
    model[2].eval()  # a mode of its own
    model[0].weight.grad = torch.ones(4, 3)
    state = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    x = torch.randn(8, 3)
    random = torch.random.get_rng_state()
    if fault:
        with pytest.raises(LossError):
            check(model, lambda model, x: plain(model, x) / x.abs().mean(), x)
    else:
        check(model, plain, x)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(model[0].weight.grad, torch.ones(4, 3))
    assert model[3].weight.grad is None
    assert torch.equal(random, torch.random.get_rng_state())
    assert modes == [module.training for module in model.modules()]


def test_a_single_example_shows_nothing():
    with pytest.raises(ParameterError, match="at least two rows, got 1"):
        check(mlp(), plain, torch.randn(1, 3))
