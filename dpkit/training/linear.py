"""The rule for ``nn.Linear``, on inputs of any rank."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TypeAlias, cast

from torch import Tensor, nn

from dpkit.training.calls import input_of, is_among
from dpkit.training.norms import working_dtype
from dpkit.training.parts import Dense, Outer, Part, Unformed
from dpkit.training.routes import Route, fastest
from dpkit.training.sequences import by_forming, by_products
from dpkit.training.tape import Use

__all__ = ["TRAFFIC", "Measure", "linear"]

Measure: TypeAlias = Callable[[Tensor, Tensor], Tensor]

# One read or write of a formed gradient's entry costs about as much as 16 multiplications (timed on two x86 cores).
TRAFFIC = 16


def linear(use: Use, signals: Tensor, wanted: Collection[nn.Parameter], room: int | None) -> list[Part]:
    """Parts of one call of ``nn.Linear`` on inputs of shape (batch, ..., in).

    Args:
        use: the recorded call.
        signals: gradient of the losses in the output, shape (batch, ..., out).
        wanted: the parameters to answer.
        room: bytes that gradients which are kept should not exceed; None: form every gradient.

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
    if room is None:
        parts.append(_formed(weight, inputs, outputs))
    elif inputs.shape[1] == 1:
        parts.append(Outer(weight, inputs[:, 0], outputs[:, 0]))
    else:
        parts.append(fastest("linear", _routes(weight, inputs), inputs, outputs, room))
    return parts


def _routes(weight: nn.Parameter, inputs: Tensor) -> list[Route]:
    """Form the gradients; or only take their norms, from inner products of positions or from the gradients."""
    (rows, positions), entries, size = inputs.shape[:2], weight.numel(), inputs.element_size()
    tables, formed = 16 * positions**2, size * entries

    def unformed(measure: Measure, row_bytes: int) -> Callable[[Tensor, Tensor], Part]:
        return lambda seen, back: Unformed(weight, seen, back, _grouped, measure, _contract, row_bytes)

    return [
        Route("formed", (positions + TRAFFIC) * entries, formed, partial(_formed, weight)),
        Route("gram", 2 * positions**2 * sum(weight.shape), tables // rows, unformed(by_products, tables)),
        Route("passing", 2 * positions * entries, formed // rows, unformed(by_forming, formed)),
    ]


def _formed(weight: nn.Parameter, inputs: Tensor, outputs: Tensor) -> Dense:
    """Shapes (rows, T, in) and (rows, T, out)."""
    return Dense(weight, outputs.mT @ inputs)


def _grouped(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """Both as one group."""
    return inputs[:, None], outputs[:, None]


def _sequence(tensor: Tensor) -> Tensor:
    """Shape (rows, positions, width), one position where there are only rows."""
    return tensor.flatten(1, -2) if tensor.dim() > 2 else tensor[:, None]


def _contract(inputs: Tensor, signals: Tensor) -> Tensor:
    """Sum over rows and positions of the outer products; shapes (rows, T, in), (rows, T, out) -> (out, in)."""
    return signals.flatten(0, 1).mT @ inputs.flatten(0, 1)
