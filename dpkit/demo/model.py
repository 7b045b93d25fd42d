"""The small tanh network, and one party's part of a round: sample, per-example clip, sum."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.training import clipped_sum, record

__all__ = ["Party", "accuracy", "apply_mean", "build_model", "parameter_count"]


def build_model(seed: int) -> nn.Sequential:
    """The network of Papernot et al. 2021 (arXiv 2007.14191), table 1: 26 010 parameters, tanh throughout."""
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed % 2**63)
        return nn.Sequential(
            nn.Conv2d(1, 16, 8, stride=2, padding=2),
            nn.Tanh(),
            nn.MaxPool2d(2, 1),
            nn.Conv2d(16, 32, 4, stride=2),
            nn.Tanh(),
            nn.MaxPool2d(2, 1),
            nn.Flatten(),
            nn.Linear(512, 32),
            nn.Tanh(),
            nn.Linear(32, 10),
        )


def parameter_count(model: nn.Module) -> int:
    """Entries of one update."""
    return sum(parameter.numel() for parameter in model.parameters())


@final
class Party:
    """One holder of records, who hands out nothing but clipped sums."""

    def __init__(self, images: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        self._images = torch.from_numpy(images)
        self._labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self._labels)

    def clipped_gradients(self, model: nn.Module, rows: NDArray[np.int64], clip: FlatClip) -> Bounded:
        """Sum of the per-example gradients of `rows`, each clipped; an empty batch sums to zeros."""
        batch = torch.from_numpy(rows)
        with record(model) as tape:
            losses = functional.cross_entropy(model(self._images[batch]), self._labels[batch], reduction="none")
        return clipped_sum(tape, losses, clip)


def apply_mean(model: nn.Module, optimizer: torch.optim.Optimizer, mean: dict[str, NDArray[np.float64]]) -> None:
    """One optimizer step along the released mean."""
    for name, parameter in model.named_parameters():
        parameter.grad = torch.from_numpy(mean[name]).to(parameter.dtype)
    optimizer.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of test images that are classified rightly."""
    predicted = torch.cat([model(part).argmax(dim=1) for part in torch.split(torch.from_numpy(images), 2500)])
    return float((predicted.numpy() == labels).mean())
