"""Random single layers of every kind that has a rule, with inputs for them."""

import torch
from hypothesis import strategies as st
from torch import nn

from tests.oracles.training import Case

_TRANSPOSED = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
_INSTANCE = [nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d]
EPS = st.sampled_from([1e-5, 1e-2])


def _transposed(draw):
    rank, groups = draw(st.sampled_from([1, 2, 2, 3])), draw(st.integers(1, 2))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = draw(st.integers(1, 3))
    layer = _TRANSPOSED[rank - 1](
        2 * groups,
        draw(st.integers(1, 2)) * groups,
        kernel,
        stride=stride,
        padding=draw(st.integers(0, min(1, dilation * (kernel - 1)))),
        output_padding=draw(st.integers(0, max(stride, dilation) - 1)),
        groups=groups,
        bias=draw(st.booleans()),
        dilation=dilation,
    )
    return layer, (2 * groups, *[draw(st.integers(2, 4 if rank < 3 else 2)) for _ in range(rank)])


def _embedding(draw):
    return nn.Embedding(5, draw(st.integers(1, 3)), padding_idx=draw(st.sampled_from([None, 0, -1]))), tuple(
        draw(st.lists(st.integers(1, 4), max_size=2))
    )


def _layer_norm(draw):
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    layer = nn.LayerNorm(shape, eps=draw(EPS), bias=draw(st.booleans()))
    return layer, (*draw(st.lists(st.integers(1, 3), max_size=2)), *shape)


def _rms_norm(draw):
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=2)))
    layer = nn.RMSNorm(shape, eps=draw(st.sampled_from([None, 1e-5, 1e-2])))
    return layer, (*draw(st.lists(st.integers(1, 3), max_size=2)), *shape)


def _group_norm(draw):
    groups, each = draw(st.integers(1, 2)), draw(st.integers(2, 3))
    return nn.GroupNorm(groups, groups * each, eps=draw(EPS)), (
        groups * each,
        *draw(st.lists(st.integers(1, 3), max_size=3)),
    )


def _instance_norm(draw):
    rank, channels = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    tracks = draw(st.booleans())
    layer = _INSTANCE[rank - 1](channels, eps=draw(EPS), affine=True, track_running_stats=tracks)
    if tracks:
        layer.eval()
        layer.running_mean.fill_(0.3), layer.running_var.fill_(1.7)
    return layer, (channels, *[draw(st.integers(2, 3)) for _ in range(rank)])


def _linear(draw):
    width = draw(st.integers(1, 5))
    return nn.Linear(width, draw(st.integers(1, 5)), bias=draw(st.booleans())), (
        *draw(st.lists(st.integers(1, 3), max_size=2)),
        width,
    )


KINDS = {
    "linear": _linear,
    "transposed": _transposed,
    "embedding": _embedding,
    "layer norm": _layer_norm,
    "rms norm": _rms_norm,
    "group norm": _group_norm,
    "instance norm": _instance_norm,
}


@st.composite
def layer_cases(draw, kinds=tuple(KINDS)):
    """One float64 layer with random weights, one of its parameters perhaps frozen, and batches for it."""
    kind, seed = draw(st.sampled_from(kinds)), draw(st.integers(0, 2**31))
    layer, shape = KINDS[kind](draw)
    generator = torch.Generator().manual_seed(seed)
    layer.double()
    for parameter in layer.parameters():
        parameter.data.normal_(0.0, 0.7, generator=generator)
    if len(list(layer.parameters())) > 1:
        frozen = draw(st.sampled_from([None, "weight", "bias"]))
        if frozen is not None:
            getattr(layer, frozen).requires_grad_(False)

    def batch(rows):
        source = torch.Generator().manual_seed(seed + 1)
        if kind == "embedding":
            return torch.randint(0, 5, (rows, *shape), generator=source)
        return torch.randn(rows, *shape, generator=source, dtype=torch.float64)

    return Case(f"{kind}: {layer}", layer, batch)
