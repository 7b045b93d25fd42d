import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dpkit.clip import FlatClip
from dpkit.errors import CoverageError
from dpkit.training import Privatizer, layers, record
from dpkit.training.answers import answer, require_exact
from dpkit.training.coverage import assign
from dpkit.training.layers import RULES
from dpkit.training.signals import signals_of
from tests.oracles.training import cases, gradient, losses_of


def calls_of(model, inputs):
    with record(model) as tape:
        losses = losses_of(model(inputs))
    pairs = assign(tape, losses)
    signals = signals_of(losses, [use for use, _ in pairs])
    return [(*pair, signal) for pair, signal in zip(pairs, signals, strict=True) if signal]


@given(cases(), st.integers(1, 6))
def test_supported_models_raise_no_alarm(case, rows):
    with torch.no_grad():
        require_exact(calls_of(case.model, case.batch(rows)), rows)


def test_an_answer_is_the_gradient_of_each_example():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    inputs = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for one_by_one in (False, True):
        for use, wanted, signals in calls_of(model, inputs):
            with torch.no_grad():
                parts = answer(use, wanted, signals, 5, room=None, one_by_one=one_by_one)
            for part in parts:
                for i in range(5):
                    expected = gradient(model, inputs[i : i + 1])[names[id(part.parameter)]]
                    torch.testing.assert_close(part.gradients[i], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_layer_that_does_something_else_is_named(dtype, monkeypatch):
    """A rule that exchanges rows is found on the first batch, and calling each example by itself is the way out."""
    rule = RULES[nn.Linear]
    wrong = {nn.Linear: lambda use, signals, wanted, dense: rule(use, signals.flip(0), wanted, dense)}
    monkeypatch.setattr(layers, "RULES", {**RULES, **wrong})
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(dtype)
    inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
    chosen = {"clip": FlatClip(1.0), "noise_multiplier": 1.0, "expected_batch_size": 4}
    with Privatizer(model, **chosen) as private, pytest.raises(CoverageError, match=r"layer '0' \(Linear\)"):
        private.backward(losses_of(model(inputs)))
    with Privatizer(model, method="loop", **chosen) as private:
        private.backward(losses_of(model(inputs)))


def test_autocast_is_no_alarm():
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 8))
    inputs = torch.randn(5, 7, 16, generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        calls = calls_of(model, inputs)
    assert all(use.autocast is torch.bfloat16 for use, _, _ in calls)
    with torch.no_grad():
        require_exact(calls, 5)


def test_examples_that_are_not_finite_are_not_compared():
    model = nn.Linear(3, 2)
    calls = calls_of(model, torch.tensor([[1.0, 2.0, float("inf")], [0.0, 1.0, 2.0]]))
    with torch.no_grad():
        require_exact(calls, 2)


def test_only_the_first_examples_are_called_one_by_one(monkeypatch):
    """However large the batch, the comparison costs a few calls of each layer."""
    model, seen = nn.Linear(3, 2), []
    calls = calls_of(model, torch.randn(50, 3))
    forward = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    with torch.no_grad():
        require_exact(calls, 50)
    assert seen == [1, 1, 1, 1]
    assert dataclasses.is_dataclass(calls[0][0])


def test_gradients_that_are_exactly_zero_are_no_alarm():
    """What the fast way has left of them is rounding."""
    norm, linear = nn.InstanceNorm2d(1, affine=True), nn.Linear(9, 3).requires_grad_(False)
    model = nn.Sequential(norm, nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), linear)
    norm.bias.requires_grad_(False)
    inputs = 0.1 * torch.ones(2, 1, 3, 3)
    with torch.no_grad():
        assert require_exact(calls_of(model, inputs), 2) >= 0


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (nn.Sequential(nn.GroupNorm(1, 1), nn.Flatten(), nn.Linear(9, 3)), 255 * torch.ones(2, 1, 3, 3)),
        (nn.Sequential(nn.LayerNorm(300), nn.Linear(300, 3)), 280.5 * torch.ones(4, 300)),
        (nn.Sequential(nn.LayerNorm(300), nn.Linear(300, 3)), 1e4 * torch.ones(4, 300)),
        (nn.LayerNorm(1), torch.linspace(1, 1e5, 4)[:, None]),
        (nn.Embedding(5, 3), torch.tensor([[1, 2, 1], [0, 0, 0]])),
    ],
    ids=["blank image", "constant", "large constant", "one feature", "tokens"],
)
def test_rounding_of_inputs_that_cancel_is_no_alarm(model, inputs):
    with torch.no_grad():
        require_exact(calls_of(model, inputs), len(inputs))
    if inputs.is_floating_point():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            calls = calls_of(model, inputs)
        with torch.no_grad():
            require_exact(calls, len(inputs))
