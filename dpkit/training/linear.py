"""The rule for ``nn.Linear``, on inputs of any rank."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import cast

from torch import Tensor, nn

from dpkit.training.calls import input_of, is_among
from dpkit.training.norms import working_dtype
from dpkit.training.parts import Dense, Gram, Outer, Part
from dpkit.training.routes import Route, fastest
from dpkit.training.tape import Use

__all__ = ["TRAFFIC", "linear"]

# One read or write of a formed gradient's entry costs about as much as 16 multiplications (timed on two x86 cores).
TRAFFIC = 16


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
    inputs, outputs = (_sequence(tensor.to(working_dtype(weight))) for tensor in (input_of(use), signals))
    parts: list[Part] = []
    if is_among(layer.bias, wanted):
        parts.append(Dense(layer.bias, outputs.sum(1) if outputs.shape[1] != 1 else outputs[:, 0]))
    if not is_among(weight, wanted):
        return parts
    if dense:
        parts.append(_formed(weight, inputs, outputs))
    elif inputs.shape[1] == 1:
        parts.append(Outer(weight, inputs[:, 0], outputs[:, 0]))
    else:
        parts.append(fastest("linear", _routes(weight, inputs), inputs, outputs))
    return parts


def _routes(weight: nn.Parameter, inputs: Tensor) -> list[Route]:
    """The norm from inner products of positions, or from the gradients themselves."""
    positions, entries, size = inputs.shape[1], weight.numel(), inputs.element_size()

    def by_gram(seen: Tensor, back: Tensor) -> Part:
        return Gram(weight, seen[:, None], back[:, None], seen, _contract)

    return [
        Route("gram", 2 * positions**2 * (weight.shape[0] + weight.shape[1]), 0, by_gram),
        Route("formed", (positions + TRAFFIC) * entries, size * entries, partial(_formed, weight)),
    ]


def _formed(weight: nn.Parameter, inputs: Tensor, outputs: Tensor) -> Dense:
    """Shapes (rows, T, in) and (rows, T, out)."""
    return Dense(weight, outputs.mT @ inputs)


def _sequence(tensor: Tensor) -> Tensor:
    """Shape (rows, positions, width), one position where there are only rows."""
    return tensor.flatten(1, -2) if tensor.dim() > 2 else tensor[:, None]


def _contract(inputs: Tensor, signals: Tensor) -> Tensor:
    """Sum over rows and positions of the outer products; shapes (rows, T, in), (rows, 1, T, out) -> (out, in)."""
    return signals.flatten(0, 2).mT @ inputs.flatten(0, 1)
