"""Slow and obvious: per-example gradients by one autograd call each, and a zoo of models to try them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn


def losses_of(output: Tensor) -> Tensor:
    """One loss per example, with a gradient that differs in every coordinate of the output."""
    flat = output.flatten(1)
    slope = torch.linspace(-1.0, 1.5, flat.shape[1], dtype=flat.dtype)
    return (flat * slope).sum(1) + 0.5 * flat.square().sum(1)


def gradient(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Gradient of the summed losses of these examples, alone in their batch."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(losses_of(model(inputs)).sum(), list(named.values()), allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(named.items(), found, strict=True)}


def norm(gradients: dict[str, Tensor]) -> float:
    return sum(float(g.double().square().sum()) for g in gradients.values()) ** 0.5


def clipped_oracle(model: nn.Module, groups: list[Tensor], bound: float) -> dict[str, Tensor]:
    """Sum over groups (an example, or all examples of a unit) of the gradient scaled to at most the bound."""
    total = {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.requires_grad}
    for inputs in groups:
        found = gradient(model, inputs)
        factor = min(1.0, bound / max(norm(found), 1e-300))
        for name, value in found.items():
            total[name] += factor * value
    return total


def normalized_oracle(model: nn.Module, examples: list[Tensor], bound: float, stability: float) -> dict[str, Tensor]:
    """Sum over examples of the gradient times bound / (norm + stability)."""
    total = {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.requires_grad}
    for inputs in examples:
        found = gradient(model, inputs)
        for name, value in found.items():
            total[name] += bound / (norm(found) + stability) * value
    return total


def grouped_oracle(model: nn.Module, examples: list[Tensor], bounds: dict[str, float]) -> dict[str, Tensor]:
    """Sum over examples of the gradient, each parameter's scaled to at most its own bound."""
    total = {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.requires_grad}
    for inputs in examples:
        for name, value in gradient(model, inputs).items():
            total[name] += min(1.0, bounds[name] / max(norm({name: value}), 1e-300)) * value
    return total


@dataclass(frozen=True)
class Case:
    """A model and a way to make a batch for it."""

    name: str
    model: nn.Module
    batch: Callable[[int], Tensor]
    takes_empty: bool = True


class Tied(nn.Module):
    """Two layers of different type that hold one weight, and one layer used twice in a row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, width)
        self.mix = nn.Linear(width, width)
        self.head = nn.Linear(width, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embed(tokens)
        return self.head(self.mix(torch.tanh(self.mix(hidden))).tanh())


class Scaled(nn.Module):
    """Owns parameters beside layers, one of them without dimensions, and calls a layer by keyword."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.randn(width))
        self.gain = nn.Parameter(torch.tensor(1.3))
        self.inner = nn.Linear(width, 3)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.inner(input=torch.tanh(x + self.offset))


class Keyword(nn.Module):
    """A layer of the user's own with a second input that comes by keyword (the case in which a known library fails)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor, *, other: Tensor) -> Tensor:
        return x * self.weight + other * self.weight.square()


class UsesKeyword(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = Keyword(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, other=10.0 * x.flip(1))


class Attention(nn.Module):
    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.first = batch_first
        self.attention = nn.MultiheadAttention(4, 2, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.first else x.transpose(0, 1)
        mask = torch.ones(x.shape[1 if self.first else 0], dtype=torch.bool).diag().logical_not()
        out, _ = self.attention(x, x, value=x.tanh(), attn_mask=mask)
        return out if self.first else out.transpose(0, 1)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], batch_first: bool) -> None:
        super().__init__()
        self.first = batch_first
        self.cell = kind(3, 4, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.cell(x if self.first else x.transpose(0, 1))
        return out if self.first else out.transpose(0, 1)


def _linear(draw) -> tuple[nn.Module, tuple[int, ...]]:
    middle = tuple(draw(st.lists(st.integers(1, 4), max_size=2)))
    width, hidden = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    first = nn.Linear(width, hidden, bias=draw(st.booleans()))
    activation = nn.ReLU(inplace=True) if draw(st.booleans()) else nn.Tanh()
    model = nn.Sequential(first, activation, nn.Linear(hidden, 3))
    frozen = draw(st.sampled_from(["none", "first", "weights", "last bias"]))
    first.requires_grad_(frozen != "first")
    for index in (0, 2) if frozen == "weights" else ():
        model[index].weight.requires_grad_(False)
    model[2].bias.requires_grad_(frozen != "last bias")
    return model, (*middle, width)


def _convolution(draw) -> tuple[nn.Module, tuple[int, ...]]:
    rank, groups = draw(st.sampled_from([1, 2, 2, 2, 3])), draw(st.integers(1, 2))
    kernel, stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    padding = draw(st.sampled_from([0, 1, "same", "valid"] if stride == 1 else [0, 1]))
    layer = [nn.Conv1d, nn.Conv2d, nn.Conv3d][rank - 1](
        2,
        2 * groups,
        kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
        padding=padding,
        padding_mode=draw(st.sampled_from(["zeros", "circular", "reflect", "replicate"])),
        bias=draw(st.booleans()),
    )
    size = draw(st.integers(5, 7)) if rank < 3 else 5
    return nn.Sequential(layer, nn.Tanh()), (2, *[size] * rank)


def _other(draw) -> tuple[nn.Module, tuple[int, ...]]:
    rows = [
        lambda: (nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2)), (3, 4)),
        lambda: (nn.Sequential(nn.GroupNorm(2, 4), nn.PReLU(4)), (4, 3)),
        lambda: (nn.Sequential(nn.BatchNorm1d(4).eval(), nn.Linear(4, 2)), (4,)),
        lambda: (nn.Sequential(nn.ConvTranspose2d(2, 3, 2), nn.InstanceNorm2d(3, affine=True)), (2, 3, 3)),
        lambda: (nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (4,)),
        lambda: (Scaled(4), (4,)),
        lambda: (UsesKeyword(4), (4,)),
        lambda: (Attention(batch_first=True), (3, 4)),
        lambda: (Attention(batch_first=False), (3, 4)),
        lambda: (Recurrent(nn.LSTM, batch_first=True), (3, 3)),
        lambda: (Recurrent(nn.GRU, batch_first=False), (2, 3)),
    ]
    return draw(st.sampled_from(rows))()


@st.composite
def cases(draw, kinds: tuple[str, ...] = ("linear", "convolution", "tokens", "other")) -> Case:
    """A float64 model of one of the kinds, with random weights, and batches that follow from their size."""
    kind, seed = draw(st.sampled_from(kinds)), draw(st.integers(0, 2**31))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "tokens":
            padded = nn.Sequential(nn.Embedding(7, 3, padding_idx=1), nn.Linear(3, 2))
            model, shape = (Tied(3) if draw(st.booleans()) else padded), (draw(st.integers(1, 4)),)
        else:
            model, shape = {"linear": _linear, "convolution": _convolution, "other": _other}[kind](draw)
        for parameter in model.parameters():
            parameter.data.normal_(0.0, 0.7)
        model.double()

    def batch(rows: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed + 1)
        if kind == "tokens":
            return torch.randint(0, 7, (rows, *shape), generator=generator)
        return torch.randn(rows, *shape, generator=generator, dtype=torch.float64)

    # torch's own instance norm fails on no rows
    takes_empty = not any(isinstance(module, nn.InstanceNorm2d) for module in model.modules())
    return Case(f"{kind}: {model}", model, batch, takes_empty)
