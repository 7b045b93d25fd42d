"""One recorded call: its per-example gradients the fast way, and compared with the slow one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dpkit.errors import CoverageError
from dpkit.training.layers import rule_of
from dpkit.training.norms import squared_norms
from dpkit.training.parts import Dense, Part, Table
from dpkit.training.precision import full_precision
from dpkit.training.replay import batch_axes, first_rows, replay
from dpkit.training.tape import Use

__all__ = ["Call", "answer", "require_exact"]

Call = tuple[Use, tuple[nn.Parameter, ...], Mapping[int, Tensor]]
"""A call, the parameters that it answers for, and the gradients of the losses in its outputs, by position."""

_FEW = 4
# Far above the rounding of one layer in these types, far below what a layer that does something else would show.
_ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-3}
_COARSE = 5e-2


def answer(
    use: Use,
    wanted: Sequence[nn.Parameter],
    signals: Mapping[int, Tensor],
    rows: int,
    *,
    dense: bool,
    one_by_one: bool,
) -> Sequence[Part]:
    """The parts of one call, by the rule of its layer or by calling the layer again.

    Args:
        use: the recorded call.
        wanted: the parameters to answer.
        signals: gradients of the losses in the outputs, by position.
        rows: the number of examples.
        dense: form every gradient.
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
        return rule(use, signals[0], wanted, dense)


def require_exact(calls: Sequence[Call], rows: int) -> None:
    """Compare the fast gradients of up to four examples with those of one call for each example.

    Both are compared with the length of the whole gradient, so that rounding where a layer's own gradient cancels is no
    alarm. Layers that draw random numbers, and examples that are not finite, are not compared.

    Args:
        calls: the recorded calls.
        rows: the number of examples.

    Raises:
        CoverageError: a layer does something to a batch that its type does not say; the message names it.
    """
    few = min(rows, _FEW)
    gaps: list[tuple[Use, float]] = []
    total = 0.0
    for use, wanted, signals in calls:
        if rule_of(use.module) is None:
            continue  # called again in either way
        part, cut = first_rows(use, signals, rows, few)
        fast = answer(part, wanted, cut, few, dense=True, one_by_one=False)
        slow = {id(one.parameter): one.gradients for one in replay(part, cut, wanted, few, one_by_one=True)}
        for one in fast:
            if isinstance(one, Dense | Table):
                expected = slow[id(one.parameter)]
                gaps.append((use, float(squared_norms(one.formed().gradients - expected).sum().sqrt())))
                total += float(squared_norms(expected).sum())
    if not total < float("inf"):
        return
    for use, gap in gaps:
        room = _COARSE if use.autocast is not None else _ROUNDING.get(_dtype(use), _COARSE)
        if gap > room * total**0.5:
            raise CoverageError(
                f"the gradient of layer '{use.name}' ({type(use.module).__name__}) differs by {gap / total**0.5:.1e} "
                "of the whole from that of one call for each example: it does something to a batch that its type does "
                "not say; use method='loop', and look for hooks or overridden methods of this layer"
            )


def _dtype(use: Use) -> torch.dtype:
    """The type of a layer's parameters."""
    return next(use.module.parameters()).dtype
