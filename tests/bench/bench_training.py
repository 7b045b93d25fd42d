"""The private step against the plain one: forward pass and gradients, one thread, both sides in one run."""

import torch
from torch import nn
from torch.nn import functional

from dpkit.clip import FlatClip
from dpkit.training import clipped_sum, record
from tests.bench.timing import interleaved

REPEATS = 15


def mlp():
    return nn.Sequential(nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 10))


def cnn():
    first = [nn.Conv2d(1, 16, 8, 2, 2), nn.Tanh(), nn.MaxPool2d(2, 1)]
    second = [nn.Conv2d(16, 32, 4, 2), nn.Tanh(), nn.MaxPool2d(2, 1), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 10))


def plain_step(model, inputs, labels):
    loss = functional.cross_entropy(model(inputs), labels)
    torch.autograd.grad(loss, list(model.parameters()))


def private_step(model, inputs, labels):
    with record(model) as tape:
        losses = functional.cross_entropy(model(inputs), labels, reduction="none")
    clipped_sum(tape, losses, FlatClip(1.0))


def rows():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [
            _row("private step, MLP 784-1000-10, batch 256", mlp(), (784,), 1.3),
            _row("private step, MNIST CNN, batch 256", cnn(), (1, 28, 28), 1.6),
        ]
    finally:
        torch.set_num_threads(threads)


def _row(what, model, shape, reach):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, *shape, generator=generator)
    labels = torch.randint(0, 10, (256,), generator=generator)
    ours, peer = interleaved(
        lambda: private_step(model, inputs, labels), lambda: plain_step(model, inputs, labels), REPEATS
    )
    return {
        "what": what,
        "against": "plain forward + backward",
        "ours": f"{1e3 * ours:.3g} ms",
        "peer": f"{1e3 * peer:.3g} ms",
        "ratio": f"{ours / peer:.2f} x plain",
        "reach": f"≤ {reach} x plain",
    }
