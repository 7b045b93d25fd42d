r"""Rules for linear and convolution layers: from inputs and output gradients to parts.

A convolution is a linear map on patches, so both share the sequence form: inputs of shape (rows, groups, T, in) and
signals (rows, groups, T, out). A rule answers the parameters it is asked for, densely where gradients of several calls
or rows must be added before the norm.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpkit.training.norms import working_dtype
from dpkit.training.parts import Dense, Gram, Outer, Part
from dpkit.training.tape import Use

__all__ = ["RULES", "Rule"]

Rule = Callable[[Use, Tensor, Collection[nn.Parameter], bool], list[Part]]

# One read or write of a formed gradient's entry costs about as much as 16 multiplications (timed on two x86 cores).
_TRAFFIC = 16
_DENSE_BYTES = 1 << 29
# From this many positions on, the grouped-convolution kernel beats copying patches (timed on six shapes).
_MANY_POSITIONS = 128


def linear(use: Use, signals: Tensor, wanted: Collection[nn.Parameter], dense: bool) -> list[Part]:
    """Parts of one call of ``nn.Linear`` on inputs of shape (batch, ..., in).

    Args:
        use: the recorded call.
        signals: gradient of the losses in the output, shape (batch, ..., out).
        wanted: the parameters to answer.
        dense: form every gradient.

    Returns:
        One part for each wanted parameter.
    """
    layer = cast("nn.Linear", use.module)
    weight = cast("nn.Parameter", layer.weight)
    dtype = working_dtype(weight)
    inputs = _only_input(use).to(dtype).flatten(1, -2) if signals.dim() > 2 else _only_input(use).to(dtype)[:, None]
    outputs = signals.to(dtype).flatten(1, -2) if signals.dim() > 2 else signals.to(dtype)[:, None]
    parts: list[Part] = []
    if _among(layer.bias, wanted):
        parts.append(Dense(layer.bias, outputs.sum(1) if outputs.shape[1] != 1 else outputs[:, 0]))
    if not _among(weight, wanted):
        return parts
    if dense:
        parts.append(Dense(weight, outputs.mT @ inputs))
    elif inputs.shape[1] == 1:
        parts.append(Outer(weight, inputs[:, 0], outputs[:, 0]))
    elif _prefers_gram(inputs.shape[0], 1, inputs.shape[1], inputs.shape[2], outputs.shape[2]):
        parts.append(Gram(weight, inputs[:, None], outputs[:, None], inputs, _contract_linear))
    else:
        parts.append(Dense(weight, outputs.mT @ inputs))
    return parts


def convolution(use: Use, signals: Tensor, wanted: Collection[nn.Parameter], dense: bool) -> list[Part]:
    """Parts of one call of ``nn.Conv1d``, ``nn.Conv2d`` or ``nn.Conv3d`` on a batch; arguments as in :func:`linear`."""
    layer = cast("nn.Conv2d", use.module)
    weight = cast("nn.Parameter", layer.weight)
    dtype = working_dtype(weight)
    outputs = signals.to(dtype)
    parts: list[Part] = []
    if _among(layer.bias, wanted):
        parts.append(Dense(cast("nn.Parameter", layer.bias), outputs.flatten(2).sum(2)))
    if not _among(weight, wanted):
        return parts
    padded = _padded(layer, _only_input(use).to(dtype))
    rows, groups, positions = padded.shape[0], layer.groups, outputs[0, 0].numel()
    patch, channels = layer.weight[0].numel(), layer.out_channels // groups
    if not dense and _prefers_gram(rows, groups, positions, patch, channels):

        def contract(source: Tensor, weighted: Tensor) -> Tensor:
            return _weight_gradient(layer, source, weighted.mT.reshape(outputs.shape), 1)[0]

        sequence = outputs.reshape(rows, groups, channels, positions).mT
        parts.append(Gram(weight, _patches(layer, padded, outputs), sequence, padded, contract))
    elif positions >= _MANY_POSITIONS:
        parts.append(Dense(weight, _weight_gradient(layer, padded, outputs, rows)))
    else:
        formed = outputs.reshape(rows, groups, channels, positions) @ _patches(layer, padded, outputs)
        shape = (rows, layer.out_channels, *layer.kernel_size, layer.in_channels // groups)
        parts.append(Dense(weight, formed.view(shape).movedim(-1, 2)))
    return parts


RULES: Mapping[type[nn.Module], Rule] = {
    nn.Linear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
}


def _only_input(use: Use) -> Tensor:
    """The single input tensor of a layer, positional or by keyword."""
    return cast("Tensor", use.args[0] if use.args else next(iter(use.kwargs.values()))).detach()


def _among(parameter: Tensor | None, wanted: Collection[nn.Parameter]) -> bool:
    """Whether this very parameter is wanted (``in`` would compare values)."""
    return any(parameter is other for other in wanted)


def _prefers_gram(rows: int, groups: int, positions: int, width_in: int, width_out: int) -> bool:
    """Whether the norm is cheaper without forming the gradients, or forming them takes too much memory."""
    entries = groups * width_in * width_out
    by_gram = 2 * groups * positions**2 * (width_in + width_out)
    return by_gram < positions * entries + _TRAFFIC * entries or 4 * rows * entries > _DENSE_BYTES


def _contract_linear(inputs: Tensor, signals: Tensor) -> Tensor:
    """Sum over rows and positions of the outer products; shapes (rows, T, in), (rows, 1, T, out) -> (out, in)."""
    return signals.flatten(0, 2).mT @ inputs.flatten(0, 1)


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


def _patches(layer: nn.Conv2d, padded: Tensor, outputs: Tensor) -> Tensor:
    """What each output position saw: (rows, groups, T, kernel * in), channels last: the copy runs in long pieces."""
    rows, groups, grid = padded.shape[0], layer.groups, outputs.shape[2:]
    last = padded.movedim(1, -1).contiguous()
    row, *space, _ = last.stride()
    taps = [stride * step for stride, step in zip(space, layer.dilation, strict=True)]
    steps = [stride * step for stride, step in zip(space, layer.stride, strict=True)]
    width = layer.in_channels // groups
    view = last.as_strided((rows, groups, *grid, *layer.kernel_size, width), (row, width, *steps, *taps, 1))
    return view.reshape(rows, groups, grid.numel(), layer.weight[0].numel())


def _weight_gradient(layer: nn.Conv2d, padded: Tensor, outputs: Tensor, split: int) -> Tensor:
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
