"""One recorded call: its per-example gradients the fast way, and compared with the slow one."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from dpkit.errors import CoverageError
from dpkit.training.layers import rule_of
from dpkit.training.norms import squared_norms
from dpkit.training.parts import Dense, Part, Table
from dpkit.training.precision import full_precision
from dpkit.training.replay import batch_axes, first_rows, replay, with_tensors
from dpkit.training.tape import Use, tensors_in

__all__ = ["Call", "answer", "require_exact"]

Call = tuple[Use, tuple[nn.Parameter, ...], Mapping[int, Tensor]]
"""A call, the parameters that it answers for, and the gradients of the losses in its outputs, by position."""

_FEW = 4
_MOST_NUMBERS = 1 << 27  # of the gradients that are formed for it: half a gigabyte
# Far above the rounding of one layer in these types, far below what a layer that does something else would show.
_ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-3}
_COARSE = 5e-2
_EXACT = 1e-6  # of float64


def answer(
    use: Use,
    wanted: Sequence[nn.Parameter],
    signals: Mapping[int, Tensor],
    rows: int,
    *,
    room: int | None,
    one_by_one: bool,
) -> Sequence[Part]:
    """The parts of one call, by the rule of its layer or by calling the layer again.

    Args:
        use: the recorded call.
        wanted: the parameters to answer.
        signals: gradients of the losses in the outputs, by position.
        rows: the number of examples.
        room: bytes that gradients which are kept should not exceed; None: form every gradient.
        one_by_one: call the layer again, once for each example.

    Returns:
        One part for each wanted parameter.

    Raises:
        CoverageError: a tensor has not one row for each example, or the layer draws random numbers.
    """
    batch_axes(use, rows, signals)
    rule = rule_of(use.module)
    own = [id(value) for value in use.module._parameters.values()]
    if rule is None or one_by_one or any(id(parameter) not in own for parameter in wanted):
        return replay(use, signals, wanted, rows, one_by_one=one_by_one)
    with full_precision(signals[0].device):
        return rule(use, signals[0], wanted, room)


def require_exact(calls: Sequence[Call], rows: int) -> float:
    """Compare the fast gradients of up to four examples with those of one call for each example.

    Both are compared with the length of the whole gradient, so that rounding where a layer's own gradient cancels is no
    alarm. Not compared are layers with more than 2**27 parameters, and batches in which an example is not finite.

    Args:
        calls: the recorded calls.
        rows: the number of examples.

    Returns:
        The largest difference of a layer, relative to the whole gradient; NaN if an example is not finite.

    Raises:
        CoverageError: a layer does something to a batch that its type does not say; the message names it.
    """
    compared = []
    for use, wanted, signals in calls:
        few = min(rows, _FEW, _MOST_NUMBERS // max(1, *(parameter.numel() for parameter in wanted)))
        if few and rule_of(use.module) is not None:  # the others are called again in either way
            compared.append((few, wanted, *first_rows(use, signals, rows, few)))
    gaps = [_gap(use, wanted, signals, few) for few, wanted, use, signals in compared]
    total = math.sqrt(sum(square for _, square in gaps))
    if not total < math.inf:
        return math.nan
    for (gap, _), (few, wanted, use, signals) in zip(gaps, compared, strict=True):
        room = _COARSE if use.autocast is not None else _ROUNDING.get(_dtype(use), _COARSE)
        # where a layer's input cancels (a blank image that is normalised), what is left is the rounding of its dtype
        if gap > room * total and _gap(*_doubled(use, wanted, signals), few)[0] > _least(total, use, signals):
            raise CoverageError(
                f"the gradient of layer '{use.name}' ({type(use.module).__name__}) differs by {gap:.1e} of {total:.1e} "
                "from that of one call for each example: it does something to a batch that its type does not say; use "
                "method='loop', and look for hooks or overridden methods of this layer"
            )
    return max((gap for gap, _ in gaps), default=0.0) / max(total, 1e-300)


def _least(total: float, use: Use, signals: Mapping[int, Tensor]) -> float:
    """The least difference in float64 that is none of rounding, also where the whole gradient cancels."""
    sizes = [tensor.double().norm() for tensor in (*tensors_in((use.args, use.kwargs)), *signals.values())]
    return _EXACT * max(total, 1e-3 * float(torch.stack(sizes).prod()))


def _gap(use: Use, wanted: Sequence[nn.Parameter], signals: Mapping[int, Tensor], rows: int) -> tuple[float, float]:
    """How far the fast gradients of a call are from the slow ones; and the square of those."""
    parts = answer(use, wanted, signals, rows, room=None, one_by_one=False)
    fast = [part.formed() for part in parts if isinstance(part, Dense | Table)]
    slow = {id(part.parameter): part.gradients for part in replay(use, signals, wanted, rows, one_by_one=True)}
    gaps = [squared_norms(part.gradients - slow[id(part.parameter)]).sum() for part in fast]
    squares = [squared_norms(gradients).sum() for gradients in slow.values()]
    return float(torch.stack(gaps).sum().sqrt()), float(torch.stack(squares).sum())


def _doubled(
    use: Use, wanted: Sequence[nn.Parameter], signals: Mapping[int, Tensor]
) -> tuple[Use, list[nn.Parameter], dict[int, Tensor]]:
    """The same call of a copy of the layer, in float64."""
    layer = copy.deepcopy(use.module).double()
    names = {id(value): name for name, value in use.module._parameters.items()}
    given = (tensor.double() if tensor.is_floating_point() else tensor for tensor in tensors_in((use.args, use.kwargs)))
    args, kwargs = with_tensors((use.args, dict(use.kwargs)), given.__next__)
    parameters = [layer.get_parameter(names[id(parameter)]) for parameter in wanted]
    doubled = replace(use, module=layer, args=args, kwargs=kwargs, autocast=None)
    return doubled, parameters, {i: signal.double() for i, signal in signals.items()}


def _dtype(use: Use) -> torch.dtype:
    """The type of a layer's parameters."""
    return next(use.module.parameters()).dtype
