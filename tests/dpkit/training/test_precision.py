import pytest
import torch
from torch import nn

from dpkit.clip import FlatClip
from dpkit.training import clipped_sum, record
from dpkit.training.precision import full_precision
from tests.oracles.training import norm


@pytest.mark.parametrize("positions", [1, 2, 64])
def test_autocast_does_not_loosen_the_bound(positions):
    model = nn.Linear(64, 64)
    for seed in range(5):
        row = torch.randn(1, 1, 64, generator=torch.Generator().manual_seed(seed))
        inputs = row.repeat(1, positions, 1)  # gradients that cancel: only rounding is left
        slope = torch.randn(1, positions, 64, generator=torch.Generator().manual_seed(seed + 100))
        slope = slope - slope.mean(1, keepdim=True) if positions > 1 else slope
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with record(model) as tape:
                losses = (model(inputs).float() * slope).sum((1, 2))
            assert norm(clipped_sum(tape, losses, FlatClip(1e-3)).value) <= 1e-3


def test_settings_come_back():
    try:
        torch.set_float32_matmul_precision("medium")
        with pytest.raises(KeyError), full_precision(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
            raise KeyError
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")
