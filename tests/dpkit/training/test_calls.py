import torch
from torch import nn

from dpkit.training import record
from dpkit.training.calls import input_of, is_among


def test_the_input_is_found_wherever_it_was_given():
    layer, inputs = nn.ConvTranspose1d(1, 1, 2, stride=2), torch.randn(2, 1, 3, requires_grad=True)
    with record(layer) as tape:
        layer(inputs)
        layer(output_size=[7], input=inputs)
    for use in tape.uses:
        assert torch.equal(input_of(use), inputs)
        assert not input_of(use).requires_grad
        assert input_of(use, torch.float64).dtype == torch.float64


def test_parameters_are_told_apart_by_identity():
    one, same = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    assert is_among(one, [same, one])
    assert not is_among(one, [same])
    assert not is_among(None, [one])
