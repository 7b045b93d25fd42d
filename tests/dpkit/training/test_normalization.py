import pytest
import torch
from torch import nn

from dpkit.clip import FlatClip
from dpkit.training import clipped_sum, normalization, record
from tests.oracles.training import losses_of

pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input:UserWarning")  # torch's own, of autocast

LAYERS = {
    "layer": lambda: nn.LayerNorm((2, 6)),
    "rms": lambda: nn.RMSNorm(6),
    "group": lambda: nn.GroupNorm(2, 2),
    "instance": lambda: nn.InstanceNorm1d(2, affine=True),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("scale", [1e-3, 1.0])  # the small one shows eps
def test_half_precision_is_normalised_in_float32(kind, dtype, scale):
    layer = LAYERS[kind]().to(dtype)
    inputs = scale * torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(2))
    inputs = (inputs + inputs.sign() * scale / 8).to(dtype)
    with record(layer) as tape:
        losses = layer(inputs).float().flatten(1).sum(1)
    found = clipped_sum(tape, losses, FlatClip(1e6)).value
    exact = LAYERS[kind]()
    expected = torch.autograd.grad(exact(inputs.float()).sum(), list(exact.parameters()))
    for (name, _), value in zip(exact.named_parameters(), expected, strict=True):
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)  # of at most 36 numbers below 6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", LAYERS)
def test_autocast_stays_within_the_bound(kind, dtype):
    layer = nn.Sequential(nn.Linear(6, 6), LAYERS[kind]())
    inputs = torch.randn(1, 2, 6, generator=torch.Generator().manual_seed(3))
    with record(layer) as tape, torch.autocast("cpu", dtype=dtype):
        losses = losses_of(layer(inputs).float())
    found = clipped_sum(tape, losses, FlatClip(0.1)).value
    total = sum(float(value.double().square().sum()) for value in found.values()) ** 0.5
    assert 0.09 < total <= 0.1


def test_what_a_layer_tracks_is_used_and_not_changed():
    layer = nn.InstanceNorm1d(2, affine=True, track_running_stats=True).double().eval()
    layer.running_mean.fill_(3.0)
    held = {name: value.clone() for name, value in layer.named_buffers()}
    inputs = torch.randn(3, 2, 4, dtype=torch.float64)
    with record(layer) as tape:
        losses = losses_of(layer(inputs))
    found = clipped_sum(tape, losses, FlatClip(1e9)).value
    expected = torch.autograd.grad(losses_of(layer(inputs)).sum(), list(layer.parameters()))
    for (name, _), value in zip(layer.named_parameters(), expected, strict=True):
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(value, held[name]) for name, value in layer.named_buffers())


@pytest.mark.parametrize("kind", LAYERS)
def test_rows_are_normalised_some_at_a_time(monkeypatch, kind):
    layer = LAYERS[kind]().double()
    inputs = torch.randn(5, 2, 6, dtype=torch.float64)
    sums = []
    for most in (1, 2 * 12 * 8, 2**30):
        monkeypatch.setattr(normalization, "_CACHE_BYTES", most)
        with record(layer) as tape:
            losses = losses_of(layer(inputs))
        sums.append(clipped_sum(tape, losses, FlatClip(0.5)).value["weight"])
    for other in sums[1:]:  # float64, five numbers below 0.5
        torch.testing.assert_close(other, sums[0], rtol=0, atol=1e-12)
