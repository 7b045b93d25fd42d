"""Rules by type of layer: from the input and the output gradient of a call to parts.

A rule answers the parameters that it is asked for, with formed gradients where those of several calls or rows must be
added before the norm. Layers of other types, of derived ones, or with a ``forward`` of their own, are called again.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from dpkit.training.calls import Rule
from dpkit.training.convolution import convolution, transposed
from dpkit.training.embedding import embedding
from dpkit.training.linear import linear
from dpkit.training.normalization import group_norm, instance_norm, layer_norm, rms_norm

__all__ = ["RULES", "rule_of"]

RULES: Mapping[type[nn.Module], Rule] = {
    nn.Linear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    nn.ConvTranspose1d: transposed,
    nn.ConvTranspose2d: transposed,
    nn.ConvTranspose3d: transposed,
    nn.Embedding: embedding,
    nn.LayerNorm: layer_norm,
    nn.RMSNorm: rms_norm,
    nn.GroupNorm: group_norm,
    nn.InstanceNorm1d: instance_norm,
    nn.InstanceNorm2d: instance_norm,
    nn.InstanceNorm3d: instance_norm,
}


def rule_of(module: nn.Module) -> Rule | None:
    """The rule of a layer: of exactly its type, if nobody replaced ``forward`` on the object itself; else None."""
    return None if "forward" in vars(module) else RULES.get(type(module))
