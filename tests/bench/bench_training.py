"""The private step against the plain one: forward pass and gradients, one thread, both sides in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpkit.clip import FlatClip
from dpkit.training import clipped_sum, record

__all__ = ["rows"]

REPEATS = 15


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 8, 2, 2), nn.Tanh(), nn.MaxPool2d(2, 1), nn.Conv2d(16, 32, 4, 2), nn.Tanh(), nn.MaxPool2d(2, 1),
        nn.Flatten(), nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 10),
    )  # fmt: skip


def plain_step(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    loss = functional.cross_entropy(model(inputs), labels)
    torch.autograd.grad(loss, list(model.parameters()))


def private_step(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    with record(model) as tape:
        losses = functional.cross_entropy(model(inputs), labels, reduction="none")
    clipped_sum(tape, losses, FlatClip(1.0))


def rows() -> list[dict[str, Any]]:
    """One row for each model: best of the interleaved repeats on both sides."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [
            _row("private step, MLP 784-1000-10, batch 256", mlp(), (784,), 1.3),
            _row("private step, MNIST CNN, batch 256", cnn(), (1, 28, 28), 1.6),
        ]
    finally:
        torch.set_num_threads(threads)


def _row(what: str, model: nn.Module, shape: tuple[int, ...], reach: float) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, *shape, generator=generator)
    labels = torch.randint(0, 10, (256,), generator=generator)
    ours, peer = [], []
    for _ in range(REPEATS):
        ours.append(_seconds(lambda: private_step(model, inputs, labels)))
        peer.append(_seconds(lambda: plain_step(model, inputs, labels)))
    best, other = min(ours), min(peer)
    return {
        "what": what,
        "against": "plain forward + backward",
        "ours_s": best,
        "peer_s": other,
        "ratio": best / other,
        "reach": f"at most {reach}",
    }


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
