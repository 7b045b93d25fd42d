r"""The rules for normalisation layers.

For :math:`y = \hat x \odot w + b` the gradients are :math:`\sum_t g_t \odot \hat x_t` and :math:`\sum_t g_t` over the
positions :math:`t` that share an entry of the weight. They are as small as the parameters and always formed; the
normalised input is computed again, in the working dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.instancenorm import _InstanceNorm

from dpkit.training.calls import input_of, is_among
from dpkit.training.norms import working_dtype
from dpkit.training.parts import Dense, Part
from dpkit.training.tape import Use

__all__ = ["group_norm", "instance_norm", "layer_norm", "rms_norm"]

# What is normalised at a time: about a cache.
_CACHE_BYTES = 1 << 22


def layer_norm(use: Use, signals: Tensor, wanted: Collection[nn.Parameter], room: int | None) -> list[Part]:
    """Parts of one call of ``nn.LayerNorm`` on inputs of shape (batch, ..., *normalized_shape).

    Args:
        use: the recorded call.
        signals: gradient of the losses in the output, of the input's shape.
        wanted: the parameters to answer.
        room: without effect: gradients are always formed.

    Returns:
        One part for each wanted parameter.
    """
    del room
    layer = cast("nn.LayerNorm", use.module)
    shape = layer.normalized_shape

    def normalized(inputs: Tensor) -> Tensor:
        # with weights the kernel takes half the time that it takes without
        ones, zeros = inputs.new_ones(shape), inputs.new_zeros(shape)
        return functional.layer_norm(inputs, shape, ones, zeros, layer.eps)

    return _affine(use, signals, wanted, normalized, range(1, signals.dim() - len(shape)))


def rms_norm(use: Use, signals: Tensor, wanted: Collection[nn.Parameter], room: int | None) -> list[Part]:
    """Parts of one call of ``nn.RMSNorm``; arguments as in :func:`layer_norm`."""
    del room
    layer = cast("nn.RMSNorm", use.module)
    shape = layer.normalized_shape
    axes = range(1, signals.dim() - len(shape))
    return _affine(use, signals, wanted, lambda x: functional.rms_norm(x, shape, None, layer.eps), axes)


def group_norm(use: Use, signals: Tensor, wanted: Collection[nn.Parameter], room: int | None) -> list[Part]:
    """Parts of one call of ``nn.GroupNorm`` on inputs of shape (batch, channels, ...); see :func:`layer_norm`."""
    del room
    layer = cast("nn.GroupNorm", use.module)

    def normalized(inputs: Tensor) -> Tensor:
        return functional.group_norm(inputs, layer.num_groups, None, None, layer.eps)

    return _affine(use, signals, wanted, normalized, range(2, signals.dim()))


def instance_norm(use: Use, signals: Tensor, wanted: Collection[nn.Parameter], room: int | None) -> list[Part]:
    """Parts of one call of ``nn.InstanceNorm1d``, ``2d`` or ``3d`` on a batch; see :func:`layer_norm`.

    A layer that tracks statistics is recorded in evaluation mode only, where it uses those that it holds.
    """
    del room
    layer = cast("_InstanceNorm", use.module)

    def normalized(inputs: Tensor) -> Tensor:
        if not layer.track_running_stats:
            return functional.instance_norm(inputs, eps=layer.eps)
        mean, variance = (cast("Tensor", held).to(inputs.dtype) for held in (layer.running_mean, layer.running_var))
        return functional.instance_norm(inputs, mean, variance, use_input_stats=False, eps=layer.eps)

    return _affine(use, signals, wanted, normalized, range(2, signals.dim()))


def _affine(
    use: Use,
    signals: Tensor,
    wanted: Collection[nn.Parameter],
    normalized: Callable[[Tensor], Tensor],
    axes: Sequence[int],
) -> list[Part]:
    """Parts of weight and bias: products with the normalised input, and signals, summed over the positions' axes."""
    weight, bias = use.module._parameters.get("weight"), use.module._parameters.get("bias")
    parts: list[Part] = []
    dtype = torch.float32 if weight is None else working_dtype(weight)
    signals = signals.to(dtype)
    if weight is not None and is_among(weight, wanted):
        pairs = _pieces(input_of(use, dtype), signals)
        parts.append(Dense(weight, torch.cat([_summed(normalized(x).mul_(back), axes) for x, back in pairs])))
    if bias is not None and is_among(bias, wanted):
        parts.append(Dense(bias, _summed(signals, axes)))
    return parts


def _pieces(inputs: Tensor, signals: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Both some rows at a time, so that what is computed from them stays in the cache."""
    some = max(1, _CACHE_BYTES * len(signals) // max(1, signals.nbytes))
    return zip(torch.split(inputs, some), torch.split(signals, some), strict=True)


def _summed(values: Tensor, axes: Sequence[int]) -> Tensor:
    """The sum over these axes, none of them included."""
    return values.sum(tuple(axes)) if axes else values
