import torch
from torch import nn

from dpkit.training import record
from dpkit.training.linear import linear
from dpkit.training.parts import Dense, Outer, Unformed
from tests.oracles.training import losses_of


def kinds(layer, inputs, room=10**9):
    with record(layer) as tape:
        output = layer(inputs)
        losses_of(output).sum()
    parts = linear(tape.uses[0], torch.zeros_like(output), list(layer.parameters()), room)
    return [type(part) for part in parts if part.parameter is layer.weight]


def test_gradients_too_large_to_keep_are_not_kept():
    layer, inputs = nn.Linear(6, 5), torch.zeros(10, 40, 6)
    assert kinds(layer, inputs, 10 * 6 * 5 * 4) == [Dense]
    assert kinds(layer, inputs, 10 * 6 * 5 * 4 - 1) == [Unformed]
    assert kinds(layer, inputs, -5) == [Unformed]


def test_one_position_is_an_outer_product():
    assert kinds(nn.Linear(3, 2), torch.zeros(4, 3)) == [Outer]
    assert kinds(nn.Linear(3, 2), torch.zeros(4, 1, 3)) == [Outer]


def test_what_must_be_formed_is_formed():
    assert kinds(nn.Linear(3, 2), torch.zeros(4, 3), room=None) == [Dense]
    assert kinds(nn.Linear(3, 2), torch.zeros(4, 5, 3), room=None) == [Dense]


def test_no_positions_give_no_gradient():
    layer = nn.Linear(3, 2)
    with record(layer) as tape:
        layer(torch.zeros(4, 0, 3))
    for part in linear(tape.uses[0], torch.zeros(4, 0, 2), list(layer.parameters()), 10**9):
        assert part.squares().tolist() == [0.0] * 4
        assert not part.weighted_sum(torch.ones(4, dtype=torch.float64)).any()
