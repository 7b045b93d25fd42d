"""The models that a private step is measured on, each with a batch of examples and labels."""

from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Case:
    """A model with a batch, the ratio to a plain step that it is to reach, and how often each side takes its turn."""

    what: str
    model: nn.Module
    inputs: torch.Tensor
    labels: torch.Tensor
    reach: float | None = None
    repeats: int = 5

    def losses(self, model=None):
        """A loss for each example, of shape (batch,); by a copy of the model if one is given."""
        logits = (self.model if model is None else model)(self.inputs)
        return functional.cross_entropy(logits, self.labels, reduction="none")

    def head(self, rows):
        """The same model on the first examples only."""
        return replace(self, inputs=self.inputs[:rows], labels=self.labels[:rows])


class Mean(nn.Module):
    """The mean over the positions of (batch, positions, width)."""

    def forward(self, inputs):
        return inputs.mean(1)


class Block(nn.Module):
    """A transformer's block in plain linear layers: attention, then a layer of four times the width, norms first."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, inputs):
        inputs = inputs + self.attention(self.before(inputs))
        return inputs + self.down(functional.gelu(self.up(self.after(inputs))))

    def attention(self, inputs):
        rows, positions, width = inputs.shape
        shape = (rows, positions, self.heads, width // self.heads)
        query, key, value = (part.view(shape).transpose(1, 2) for part in self.qkv(inputs).chunk(3, dim=-1))
        scores = torch.softmax(query @ key.mT / shape[-1] ** 0.5, dim=-1)
        return self.out((scores @ value).transpose(1, 2).reshape(rows, positions, width))


def mlp():
    model = nn.Sequential(nn.Linear(784, 1000), nn.ReLU(), nn.Linear(1000, 10))
    return _case("MLP 784-1000-10, batch 256", model, _normal(256, 784), reach=1.3, repeats=25)


def cnn():
    first = [nn.Conv2d(1, 16, 8, 2, 2), nn.Tanh(), nn.MaxPool2d(2, 1)]
    second = [nn.Conv2d(16, 32, 4, 2), nn.Tanh(), nn.MaxPool2d(2, 1), nn.Flatten()]
    model = nn.Sequential(*first, *second, nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 10))
    return _case("MNIST CNN, batch 256", model, _normal(256, 1, 28, 28), reach=1.6, repeats=25)


def transformer():
    model = nn.Sequential(*[Block(256, 4) for _ in range(4)], Mean(), nn.Linear(256, 10))
    what = "transformer of plain Linears, d = 256, 4 layers, T = 128, batch 32"
    return _case(what, model, _normal(32, 128, 256), reach=1.5, repeats=3)


def native_transformer():
    """Torch's own layer, whose attention uses its weights in functions: only calling it again covers it."""
    layers = [nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True) for _ in range(4)]
    model = nn.Sequential(*layers, Mean(), nn.Linear(256, 10))
    return _case("the same in nn.TransformerEncoderLayer, batch 8", model, _normal(8, 128, 256))


def embedding():
    model = nn.Sequential(nn.Embedding(20_000, 128), Mean(), nn.Linear(128, 10))
    inputs = torch.randint(0, 20_000, (64, 64), generator=torch.Generator().manual_seed(0))
    return _case("Embedding 20 000 × 128, mean, Linear, T = 64, batch 64", model, inputs, repeats=15)


def layernorm():
    blocks = [[nn.Linear(512, 64), nn.Linear(64, 512), nn.LayerNorm(512), nn.GELU()] for _ in range(8)]
    model = nn.Sequential(*[layer for block in blocks for layer in block], Mean(), nn.Linear(512, 10))
    return _case("8 × [Linear 512-64-512, LayerNorm, GELU], T = 64, batch 64", model, _normal(64, 64, 512))


CASES = (mlp, cnn, transformer, native_transformer, embedding, layernorm)


def _case(what, model, inputs, **options):
    """A case with labels below 10."""
    labels = torch.randint(0, 10, (len(inputs),), generator=torch.Generator().manual_seed(1))
    return Case(what, model, inputs, labels, **options)


def _normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))
