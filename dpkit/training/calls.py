"""What a rule reads off a recorded call."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeAlias

import torch
from torch import Tensor, nn

from dpkit.training.parts import Part
from dpkit.training.tape import Use, tensors_in

__all__ = ["Rule", "input_of", "is_among"]

Rule: TypeAlias = Callable[[Use, Tensor, Collection[nn.Parameter], int | None], list[Part]]
"""The parts of a call: of its output gradient and the parameters that are wanted, and the bytes that may be kept."""


def input_of(use: Use, dtype: torch.dtype | None = None) -> Tensor:
    """The only input tensor of a call, positional or by keyword, without its history, in this dtype if one is given."""
    tensor = tensors_in((use.args, use.kwargs))[0].detach()
    return tensor if dtype is None else tensor.to(dtype)


def is_among(parameter: Tensor | None, wanted: Collection[nn.Parameter]) -> bool:
    """Whether this very parameter is wanted (``in`` would compare values)."""
    return any(parameter is other for other in wanted)
