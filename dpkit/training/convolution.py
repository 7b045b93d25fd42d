r"""The rules for convolution and transposed convolution, in one to three dimensions.

A convolution is a linear map on patches, so it has the sequence form of a linear layer: inputs of shape (rows, groups,
T, in), signals (rows, groups, T, out). A transposed convolution is the transpose of that map, :math:`y = C_W^\top x`
with :math:`\langle g, C_W^\top x\rangle = \langle C_W g, x\rangle`: its weight gradient is that of the convolution
which sees the signals :math:`g` and is answered with the inputs :math:`x`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpkit.training.calls import input_of, is_among
from dpkit.training.linear import TRAFFIC, Measure
from dpkit.training.norms import working_dtype
from dpkit.training.parts import Dense, Part, Unformed
from dpkit.training.routes import Route, fastest
from dpkit.training.sequences import by_forming, by_products
from dpkit.training.tape import Use

__all__ = ["convolution", "transposed"]

# From so many positions on, the grouped-convolution kernel beats copying patches (timed on six shapes).
_MANY_POSITIONS = 128
_FORMING = ("kernel", "patches")

_Layer: TypeAlias = nn.Conv2d | nn.ConvTranspose2d


def convolution(use: Use, signals: Tensor, wanted: Collection[nn.Parameter], room: int | None) -> list[Part]:
    """Parts of one call of ``nn.Conv1d``, ``nn.Conv2d`` or ``nn.Conv3d`` on a batch.

    Args:
        use: the recorded call.
        signals: gradient of the losses in the output, shape (batch, out, ...).
        wanted: the parameters to answer.
        room: bytes that gradients which are kept should not exceed; None: form every gradient.

    Returns:
        One part for each wanted parameter.
    """
    layer = cast("nn.Conv2d", use.module)
    outputs = signals.to(working_dtype(layer.weight))
    parts = _bias_parts(layer, outputs, wanted)
    if is_among(layer.weight, wanted):
        padded = _padded(layer, input_of(use, outputs.dtype))
        parts.append(_weight_part(layer, padded, outputs, room))
    return parts


def transposed(use: Use, signals: Tensor, wanted: Collection[nn.Parameter], room: int | None) -> list[Part]:
    """Parts of one call of a transposed convolution on a batch; arguments as in :func:`convolution`."""
    layer = cast("nn.ConvTranspose2d", use.module)
    outputs = signals.to(working_dtype(layer.weight))
    parts = _bias_parts(layer, outputs, wanted)
    if is_among(layer.weight, wanted):
        inputs = input_of(use, outputs.dtype)
        parts.append(_weight_part(layer, _reached(layer, outputs, inputs), inputs, room))
    return parts


def _bias_parts(layer: _Layer, outputs: Tensor, wanted: Collection[nn.Parameter]) -> list[Part]:
    if not is_among(layer.bias, wanted):
        return []
    return [Dense(cast("nn.Parameter", layer.bias), outputs.flatten(2).sum(2))]


def _weight_part(layer: _Layer, padded: Tensor, outputs: Tensor, room: int | None) -> Part:
    """The weight's part by the fastest route, of those that form the gradients where they must be formed."""
    routes = [route for route in _routes(layer, padded, outputs) if room is not None or route.name in _FORMING]
    setting = (type(layer).__name__, layer.weight.shape, layer.stride, layer.dilation, layer.groups)
    return fastest(setting, routes, padded, outputs, room)


def _routes(layer: _Layer, padded: Tensor, outputs: Tensor) -> list[Route]:
    """Form the gradients, by the kernel of a grouped convolution or from patches; or only take norms, as there."""
    weight = cast("nn.Parameter", layer.weight)
    rows, positions, patch, entries = len(outputs), outputs[0, 0].numel(), weight[0].numel(), weight.numel()
    size, channels = padded.element_size(), weight.shape[0] // layer.groups
    multiplied, copied = float((positions + TRAFFIC) * entries), size * layer.groups * positions * patch
    products, tables = 2.0 * layer.groups * positions**2 * (patch + channels), 16 * layer.groups * positions**2

    def unformed(measure: Measure, row_bytes: int) -> Callable[[Tensor, Tensor], Part]:
        return lambda seen, back: Unformed(weight, seen, back, sequence, measure, contract, row_bytes)

    def sequence(seen: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
        return _patches(layer, seen, back), _channels(layer, back).mT

    def contract(source: Tensor, weighted: Tensor) -> Tensor:
        return _weight_gradient(layer, source, weighted, 1)[0]

    by_kernel, by_patches = partial(_by_kernel, layer), partial(_by_patches, layer)
    return [
        Route("kernel", multiplied * _MANY_POSITIONS / max(positions, 1), size * entries, by_kernel),
        Route("patches", multiplied, size * entries + copied, by_patches),
        Route("gram", products, (tables + copied) // rows, unformed(by_products, tables + copied)),
        Route("passing", 2.0 * positions * entries, 0, unformed(by_forming, size * entries + copied)),
    ]


def _by_kernel(layer: _Layer, padded: Tensor, outputs: Tensor) -> Dense:
    """Gradients of all rows, as groups of one convolution's."""
    return Dense(cast("nn.Parameter", layer.weight), _weight_gradient(layer, padded, outputs, len(outputs)))


def _by_patches(layer: _Layer, padded: Tensor, outputs: Tensor) -> Dense:
    """Gradients of all rows, from patches that are written out."""
    formed = _channels(layer, outputs) @ _patches(layer, padded, outputs)
    shape = (len(outputs), layer.weight.shape[0], *layer.kernel_size, layer.weight.shape[1])
    return Dense(cast("nn.Parameter", layer.weight), formed.view(shape).movedim(-1, 2))


def _padded(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """The input with the layer's own padding written out."""
    rank = len(layer.kernel_size)
    widths: list[int] = []
    for axis in reversed(range(rank)):  # functional.pad starts at the last axis
        total = layer.dilation[axis] * (layer.kernel_size[axis] - 1) if layer.padding == "same" else 0
        both = (total // 2, total - total // 2)
        widths += both if isinstance(layer.padding, str) else (int(layer.padding[axis]),) * 2
    if not any(widths):
        return inputs.contiguous()
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(inputs, widths, mode=mode).contiguous()


def _reached(layer: nn.ConvTranspose2d, outputs: Tensor, inputs: Tensor) -> Tensor:
    """The signals with the padding that the layer cut off, as far as inputs reached: not what output_padding added."""
    widths: list[int] = []
    for axis in reversed(range(len(layer.kernel_size))):
        before = int(layer.padding[axis])
        length = (inputs.shape[2 + axis] - 1) * layer.stride[axis]
        length += layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        widths += (before, length - before - outputs.shape[2 + axis])
    return functional.pad(outputs, widths).contiguous() if any(widths) else outputs.contiguous()


def _channels(layer: _Layer, outputs: Tensor) -> Tensor:
    """Shape (rows, groups, channels, T)."""
    return outputs.reshape(len(outputs), layer.groups, layer.weight.shape[0] // layer.groups, outputs[0, 0].numel())


def _patches(layer: _Layer, padded: Tensor, outputs: Tensor) -> Tensor:
    """What each output position saw: (rows, groups, T, kernel * in), channels last: the copy runs in long pieces."""
    rows, groups, grid = padded.shape[0], layer.groups, outputs.shape[2:]
    last = padded.movedim(1, -1).contiguous()
    row, *space, _ = last.stride()
    taps = [stride * step for stride, step in zip(space, layer.dilation, strict=True)]
    steps = [stride * step for stride, step in zip(space, layer.stride, strict=True)]
    width = layer.weight.shape[1]
    view = last.as_strided((rows, groups, *grid, *layer.kernel_size, width), (row, width, *steps, *taps, 1))
    return view.reshape(rows, groups, grid.numel(), layer.weight[0].numel())


def _weight_gradient(layer: _Layer, padded: Tensor, outputs: Tensor, split: int) -> Tensor:
    """Gradient in the weight, shape (split, *weight.shape): of the batch (1) or of each row (rows become groups)."""
    rank = len(layer.kernel_size)
    merged = (padded.shape[0] // split, split * padded.shape[1], *padded.shape[2:])
    weight = padded.new_empty((split * layer.weight.shape[0], *layer.weight.shape[1:]))
    backward: Any = torch.ops.aten.convolution_backward
    gradient = backward(
        outputs.reshape(outputs.shape[0] // split, split * outputs.shape[1], *outputs.shape[2:]),
        padded.reshape(merged),
        weight,
        None,
        list(layer.stride),
        [0] * rank,
        list(layer.dilation),
        False,
        [0] * rank,
        split * layer.groups,
        [False, True, False],
    )[1]
    return cast("Tensor", gradient.view(split, *layer.weight.shape))
