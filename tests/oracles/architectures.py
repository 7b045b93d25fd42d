"""Random architectures, losses and batches, and their per-example gradients by one autograd call on each row alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from tests.oracles.training import Attention, Keyword, Recurrent, losses_of, norm

CLASSES, VOCABULARY = 3, 7
# Public constants: nobody's data decides them.
CLASS_WEIGHTS = (1.0, 5.0, 0.25)
LOSSES = ("quadratic", "squared error", "cross entropy", "class weights", "ignored class")


class Batch(NamedTuple):
    """Inputs and one label for each row."""

    x: Tensor
    y: Tensor

    def take(self, rows: Sequence[int]) -> Batch:
        index = torch.tensor(list(rows), dtype=torch.int64)
        return Batch(self.x[index], self.y[index])


@dataclass(frozen=True)
class Architecture:
    """A model, a loss that treats every row alike, and batches for them that follow from their size."""

    name: str
    model: nn.Module
    loss: str
    batch: Callable[[int], Batch]
    autocast: bool = False
    takes_empty: bool = True

    def __repr__(self) -> str:
        return f"{self.name}, {self.loss}{', autocast' * self.autocast}"

    def output(self, batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16) if self.autocast else contextlib.nullcontext():
            return self.model(batch.x)

    def losses(self, batch: Batch) -> Tensor:
        """One loss for each row."""
        out = self.output(batch).flatten(1)
        return per_row(out.float() if out.dtype == torch.bfloat16 else out, batch.y, self.loss)


def per_row(out: Tensor, labels: Tensor, loss: str) -> Tensor:
    """A loss of the kind for each row of (rows, columns), which no other row can change."""
    if loss == "quadratic" or (out.shape[1] < CLASSES and loss != "squared error"):
        return losses_of(out)
    if loss == "squared error":
        return (out - labels[:, None].to(out.dtype)).square().mean(1)
    weight = torch.tensor(CLASS_WEIGHTS, dtype=out.dtype) if loss == "class weights" else None
    ignored = 1 if loss == "ignored class" else -100
    logits = out[:, :CLASSES]
    return functional.cross_entropy(logits, labels, weight=weight, ignore_index=ignored, reduction="none")


def gradients(case: Architecture, batch: Batch) -> list[dict[str, Tensor]]:
    """The gradient of every row, alone in its batch."""
    named = {name: p for name, p in case.model.named_parameters() if p.requires_grad}
    answers = []
    for i in range(len(batch.y)):
        loss = case.losses(batch.take([i])).sum()
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        pairs = zip(named.items(), found, strict=True)
        answers.append({n: torch.zeros_like(p) if g is None else g for (n, p), g in pairs})
    return answers


def added(groups: Sequence[Sequence[dict[str, Tensor]]], case: Architecture, factor: Callable[[float], float]):
    """The sum over groups of rows of the group's gradient times a factor of its norm."""
    total = {n: torch.zeros_like(p) for n, p in case.model.named_parameters() if p.requires_grad}
    for rows in groups:
        whole = {name: sum(row[name] for row in rows) for name in total}
        scale = factor(norm(whole))
        total = {name: total[name] + scale * whole[name] for name in total}
    return total


class Residual(nn.Module):
    """x + inner(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


class Twice(nn.Module):
    """One layer, used two times in a row."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(torch.tanh(self.inner(x)))


class Named(nn.Module):
    """Calls a layer of torch's by keyword, and one of the user's own with a second input that comes by keyword."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.own = nn.Linear(width, width), Keyword(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.own(self.inner(input=x), other=x.flip(-1))


class Own(nn.Module):
    """Owns parameters beside a layer, one of them without dimensions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.offset, self.gain = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.tensor(0.0))
        self.inner = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.inner(torch.tanh(x + self.offset))


class Products(nn.Module):
    """A bilinear layer of an input with itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Bilinear(width, width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.inner.weight.dtype)  # autocast leaves this layer alone
        return self.inner(x, torch.tanh(x))


class Tokens(nn.Module):
    """An embedding, a body, and a head that may hold the embedding's own weight."""

    def __init__(self, width: int, body: nn.Module, *, padding: int | None, tied: bool) -> None:
        super().__init__()
        self.embed, self.body = nn.Embedding(VOCABULARY, width, padding_idx=padding), body
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.body(self.embed(tokens)))


def _activated(draw, layer: nn.Module) -> nn.Module:
    """A layer and what follows it; only here is a result changed in place, as only a new one may be."""
    after = draw(st.sampled_from([nn.Identity, nn.Tanh, nn.GELU, lambda: nn.ReLU(inplace=True), nn.PReLU]))()
    return layer if isinstance(after, nn.Identity) else nn.Sequential(layer, after)


def _over_features(draw, shape: tuple[int, ...]) -> nn.Module:
    """A block for (..., width)."""
    width = shape[-1]
    kinds = ["linear"] * 4 + ["residual", "twice", "keyword", "own", "bilinear"]
    kinds += ["layer norm", "rms norm"] * (width > 1)  # one number alone is normalised to a constant
    if len(shape) == 2:
        kinds += ["convolution over features"] + ["gru"] + ["attention"] * (width == 4)
    kind = draw(st.sampled_from(kinds))
    if kind == "linear":
        return _activated(draw, nn.Linear(width, draw(st.integers(1, 5)), bias=draw(st.booleans())))
    if kind == "layer norm":
        return nn.LayerNorm(shape[-draw(st.integers(1, len(shape))) :], bias=draw(st.booleans()))
    if kind == "convolution over features":
        return nn.Conv1d(shape[0], 2, 1)
    made: dict[str, Callable[[], nn.Module]] = {
        "rms norm": lambda: nn.RMSNorm(width),
        "residual": lambda: Residual(_activated(draw, nn.Linear(width, width))),
        "twice": lambda: Twice(nn.Linear(width, width)),
        "keyword": lambda: Named(width),
        "own": lambda: Own(width),
        "bilinear": lambda: Products(width),
        "gru": lambda: nn.Sequential(nn.Linear(width, 3), Recurrent(nn.GRU, batch_first=draw(st.booleans()))),
        "attention": lambda: Attention(batch_first=draw(st.booleans())),
    }
    return made[kind]()


def _over_space(draw, shape: tuple[int, ...]) -> nn.Module:
    """A block for (channels, *space)."""
    channels, space, rank = shape[0], shape[1:], len(shape) - 1
    kinds = ["convolution"] * 3 + ["transposed", "residual", "twice", "prelu"]
    # one number alone has no statistics: torch refuses it
    kind = draw(st.sampled_from(kinds + ["group norm", "instance norm"] * (min(space) > 1)))
    plain, transposed, instance = (
        [getattr(nn, f"{name}{n}d") for n in (1, 2, 3)][rank - 1] for name in ("Conv", "ConvTranspose", "InstanceNorm")
    )
    if kind == "convolution":
        groups = draw(st.sampled_from([g for g in (1, 2) if channels % g == 0]))
        kernel, stride = draw(st.integers(1, min(3, *space))), draw(st.integers(1, 2))
        dilation = draw(st.integers(1, 2 if 2 * (kernel - 1) < min(space) else 1))
        reach = dilation * (kernel - 1)
        padding = draw(st.sampled_from([0, 1, "same", "valid"] if stride == 1 else [0, 1]))
        widest = 1 if padding == 1 else reach
        modes = ["zeros", "replicate"] + ["circular", "reflect"] * (widest < min(space))
        layer = plain(
            channels,
            groups * draw(st.integers(1, 2)),
            kernel,
            stride=stride,
            dilation=dilation,
            groups=groups,
            padding=padding,
            padding_mode=draw(st.sampled_from(modes)),
            bias=draw(st.booleans()),
        )
        return _activated(draw, layer)
    if kind == "transposed":
        groups = draw(st.sampled_from([g for g in (1, 2) if channels % g == 0]))
        kernel, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        stride = draw(st.integers(1, 2 if max(space) < 6 else 1))
        reach = dilation * (kernel - 1)
        return transposed(
            channels,
            2 * groups,
            kernel,
            stride=stride,
            dilation=dilation,
            groups=groups,
            padding=draw(st.integers(0, 1 if (min(space) - 1) * stride + reach > 2 else 0)),
            output_padding=draw(st.integers(0, max(stride, dilation) - 1)),
            bias=draw(st.booleans()),
        )
    made: dict[str, Callable[[], nn.Module]] = {
        "group norm": lambda: nn.GroupNorm(draw(st.sampled_from([g for g in (1, 2) if channels % g == 0])), channels),
        "instance norm": lambda: instance(channels, affine=True),
        "residual": lambda: Residual(_activated(draw, plain(channels, channels, 3, padding="same"))),
        "twice": lambda: Twice(plain(channels, channels, 1)),
        "prelu": lambda: nn.PReLU(channels),
    }
    return made[kind]()


def _chain(draw, shape: tuple[int, ...], over, count: int) -> tuple[list[nn.Module], tuple[int, ...]]:
    """That many blocks in a row, and the shape that they end in."""
    blocks = []
    for _ in range(count):
        blocks.append(over(draw, shape))
        with torch.no_grad():
            shape = tuple(blocks[-1](torch.zeros(1, *shape)).shape[1:])
    return blocks, shape


def _model(draw, kind: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A model of the kind, and the shape of one input."""
    if kind == "tokens":
        width, length = draw(st.integers(2, 4)), draw(st.integers(1, 4))
        body = [_activated(draw, nn.Linear(width, width)) if draw(st.booleans()) else nn.LayerNorm(width)]
        padding = draw(st.sampled_from([None, 1]))
        return Tokens(width, nn.Sequential(*body), padding=padding, tied=draw(st.booleans())), (length,)
    if kind == "features":
        shape = (*draw(st.sampled_from([(), (3,), (4,), (2, 3)])), draw(st.sampled_from([4, 3, 2, 1])))
        blocks, _ = _chain(draw, shape, _over_features, draw(st.integers(1, 3)))
        return nn.Sequential(*blocks, nn.Flatten()), shape
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    shape = (draw(st.integers(1, 2)), *[draw(st.integers(3, 6 if rank < 3 else 4)) for _ in range(rank)])
    blocks, last = _chain(draw, shape, _over_space, draw(st.integers(1, 3)))
    flat = nn.Flatten(draw(st.sampled_from([1, 2])))
    width = torch.Size(last[1:] if flat.start_dim == 2 else last).numel()
    return nn.Sequential(*blocks, flat, nn.Linear(width, 3)), shape


def _freeze(draw, model: nn.Module) -> None:
    """Nothing, all but biases, or any choice of parameters; one stays trainable."""
    named = dict(model.named_parameters())
    how = draw(st.sampled_from(["nothing", "nothing", "all but biases", "some"]))
    if how == "all but biases" and any(name.endswith("bias") for name in named):
        for name, parameter in named.items():
            parameter.requires_grad_(name.endswith("bias"))
    if how == "some":
        kept = draw(st.sets(st.sampled_from(sorted(named)), min_size=1))
        for name, parameter in named.items():
            parameter.requires_grad_(name in kept)


@st.composite
def architectures(
    draw,
    kinds: tuple[str, ...] = ("features", "space", "tokens"),
    dtypes: tuple[torch.dtype, ...] = (torch.float64,),
    losses: tuple[str, ...] = LOSSES,
    *,
    frozen: bool = True,
    autocast: bool = False,
) -> Architecture:
    """A model of random layers with random weights; all of its randomness is drawn, none is torch's own."""
    kind, dtype = draw(st.sampled_from(kinds)), draw(st.sampled_from(dtypes))
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
        model, shape = _model(draw, kind)
    if frozen:
        _freeze(draw, model)
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    model.to(dtype)

    def batch(rows: int) -> Batch:
        generator = torch.Generator().manual_seed(seed + 1)
        y = torch.randint(0, CLASSES, (rows,), generator=generator)
        if kind == "tokens":
            return Batch(torch.randint(0, VOCABULARY, (rows, *shape), generator=generator), y)
        return Batch(torch.randn(rows, *shape, generator=generator, dtype=torch.float64).to(dtype), y)

    # torch's own instance norm and recurrent layers fail on no rows
    fails = any("InstanceNorm" in type(m).__name__ or isinstance(m, nn.RNNBase) for m in model.modules())
    return Architecture(str(model), model, draw(st.sampled_from(losses)), batch, autocast, takes_empty=not fails)
