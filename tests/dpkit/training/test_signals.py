"""Gradients in the outputs of calls, also where one output is computed from another."""

import pytest
import torch
from torch import nn

from dpkit.clip import FlatClip
from dpkit.training import clipped_sum, record
from dpkit.training.coverage import assign
from dpkit.training.signals import signals_of
from tests.oracles.training import losses_of


class Chain(nn.Module):
    """Returns a result, one computed from it, one computed from both, and one that it did not compute."""

    def __init__(self, order):
        super().__init__()
        self.weight, self.order = nn.Parameter(torch.randn(3, dtype=torch.float64)), order

    def forward(self, x):
        first = x * self.weight
        second = torch.tanh(first) + self.weight
        results = first, second, first * second, x
        return tuple(results[i] for i in self.order)


def cell(model, x):
    hidden, state = model(x)
    return losses_of(hidden) + losses_of(state)


def weighted(model, x):
    out, weights = model(x, x, x, average_attn_weights=False)
    return losses_of(out) + losses_of(weights)


CASES = [
    (nn.LSTMCell(3, 4), (3,), cell),
    (nn.LSTMCell(3, 4), (3,), lambda model, x: losses_of(model(x)[0])),
    (nn.LSTMCell(3, 4), (3,), lambda model, x: losses_of(model(x, model(x))[1])),
    (nn.LSTM(3, 4, batch_first=True), (2, 3), lambda model, x: losses_of(model(x)[0]) + losses_of(model(x)[1][0][0])),
    (nn.MultiheadAttention(4, 2, batch_first=True), (3, 4), weighted),
    *[
        (Chain(order), (3,), lambda model, x: sum((2 + i) * losses_of(part) for i, part in enumerate(model(x))))
        for order in [(0, 1), (1, 0), (2, 0, 1), (0, 1, 2, 3), (3, 2)]
    ],
]


@pytest.mark.parametrize("method", ["auto", "instantiate", "loop"])
@pytest.mark.parametrize(("model", "shape", "losses"), CASES)
def test_no_path_between_outputs_is_counted_twice(model, shape, losses, method):
    model, x = model.double(), torch.randn(4, *shape, dtype=torch.float64)
    with record(model) as tape:
        values = losses(model, x)
    found = clipped_sum(tape, values, FlatClip(1e9), None, method).value
    expected = torch.autograd.grad(losses(model, x).sum(), list(model.parameters()), allow_unused=True)
    for value, wanted in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(value, torch.zeros_like(value) if wanted is None else wanted, rtol=1e-9, atol=1e-9)


def test_signals_are_what_comes_from_outside_of_a_call():
    model, x = Chain((0, 1)), torch.randn(5, 3, dtype=torch.float64)
    with record(model) as tape:
        first, second = model(x)
        losses = (2 * first + 3 * second).sum(1)
    (answer,) = signals_of(losses, [use for use, _ in assign(tape, losses)])
    torch.testing.assert_close(answer[0], torch.full_like(x, 2.0), rtol=0, atol=1e-15)
    assert torch.equal(answer[1], torch.full_like(x, 3.0))


def test_an_output_that_is_not_used_has_no_signal():
    model = Chain((1, 0))
    with record(model) as tape:
        losses = model(torch.randn(5, 3, dtype=torch.float64))[1].sum(1)
    (answer,) = signals_of(losses, [use for use, _ in assign(tape, losses)])
    assert answer.keys() == {1}


def test_without_calls_there_are_no_signals():
    assert signals_of(torch.ones(2, requires_grad=True), []) == []
