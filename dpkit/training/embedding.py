"""The rule for ``nn.Embedding``: a gradient for the rows that an example read, never for the whole table."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import torch
from torch import Tensor, nn

from dpkit.training.calls import input_of
from dpkit.training.norms import working_dtype
from dpkit.training.parts import Part, Table
from dpkit.training.tape import Use

__all__ = ["embedding"]


def embedding(use: Use, signals: Tensor, wanted: Collection[nn.Parameter], room: int | None) -> list[Part]:
    """Parts of one call of ``nn.Embedding`` on tokens of shape (batch, ...).

    Memory grows with the tokens, not with the table. Only where the table is also the weight of a layer of another kind
    is it formed for each example, when the parts of both are added.

    Args:
        use: the recorded call.
        signals: gradient of the losses in the output, shape (batch, ..., dim).
        wanted: the parameters to answer.
        room: without effect: the gradients are always formed, for the rows that were read.

    Returns:
        One part for each wanted parameter. Its row ``padding_idx`` is zero, as torch leaves it.
    """
    del room
    layer = cast("nn.Embedding", use.module)
    if not wanted:
        return []
    tokens = input_of(use).long()
    owners = torch.arange(len(tokens), device=tokens.device).repeat_interleave(tokens[0].numel())
    entries, gradients = tokens.flatten(), signals.to(working_dtype(layer.weight)).flatten(0, -2)
    if layer.padding_idx is not None:
        kept = entries != layer.padding_idx
        owners, entries, gradients = owners[kept], entries[kept], gradients[kept]
    return [Table.of(cast("nn.Parameter", layer.weight), owners, entries, gradients, len(tokens))]
