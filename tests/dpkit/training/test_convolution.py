import pytest
import torch
from torch import nn

from dpkit.clip import FlatClip
from dpkit.training import clipped_sum, record
from dpkit.training.convolution import convolution, transposed
from dpkit.training.parts import Unformed
from tests.oracles.routes import ROUTES, forced
from tests.oracles.training import losses_of


@pytest.mark.parametrize("route", ROUTES)
def test_an_output_size_is_honoured(route):
    layer = nn.ConvTranspose2d(2, 3, 2, stride=3, bias=False).double()  # gaps, and up to two rows that none reaches
    inputs = torch.randn(4, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for size in ([8, 8], [10, 9]):
        with pytest.MonkeyPatch.context() as patch, record(layer) as tape:
            forced(patch, route)
            losses = losses_of(layer(inputs, output_size=size))
            found = clipped_sum(tape, losses, FlatClip(1e9)).value["weight"]
        (plain,) = torch.autograd.grad(losses_of(layer(inputs, output_size=size)).sum(), [layer.weight])
        torch.testing.assert_close(found, plain, rtol=1e-12, atol=1e-12)


def test_deep_layers_are_measured_and_shallow_ones_formed():
    deep, shallow = nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(1, 4, 3, padding=1)
    for layer, size, is_measured in ((deep, 2, True), (shallow, 16, False)):
        inputs = torch.randn(2, layer.in_channels, size, size)
        with record(layer) as tape:
            output = layer(inputs)
        (part,) = convolution(tape.uses[0], torch.ones_like(output), [layer.weight], 10**9)
        assert isinstance(part, Unformed) == is_measured


def test_only_what_is_wanted_is_answered():
    layer = nn.ConvTranspose1d(2, 2, 2)
    with record(layer) as tape:
        output = layer(torch.randn(3, 2, 4))
    for wanted in ([], [layer.weight], [layer.bias], [layer.weight, layer.bias]):
        parts = transposed(tape.uses[0], torch.ones_like(output), wanted, 10**9)
        assert {id(part.parameter) for part in parts} == {id(parameter) for parameter in wanted}
