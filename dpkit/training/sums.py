r"""The clipped sum: one backward pass to the layers' outputs, one norm per example, one contraction per layer.

The gradients of the layers' *outputs* are computed once, without those of the weights. Together with the recorded
inputs they determine every per-example gradient, its norm, and the weighted sum. Norm and sum come from the same
tensors, so an error in a layer could cost accuracy but never the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from dpkit.bounded import Bounded
from dpkit.errors import CoverageError, LossError, ParameterError
from dpkit.training.answers import Call, answer, require_exact
from dpkit.training.coverage import assign
from dpkit.training.norms import working_dtype
from dpkit.training.parts import Dense, Part
from dpkit.training.precision import full_precision
from dpkit.training.signals import signals_of
from dpkit.training.tape import Tape
from dpkit.training.units import added
from dpkit.training.weights import Clip, require_clip, require_names, weights

__all__ = ["METHODS", "Method", "clip_and_count", "clipped_sum", "deviation", "require_losses", "weighted_sums"]

Method = Literal["auto", "instantiate", "loop"]
METHODS: tuple[str, ...] = ("auto", "instantiate", "loop")

# What the per-example gradients of all layers may take together, where nothing asks that they be formed.
_KEPT_BYTES = 1 << 29


def clipped_sum(
    tape: Tape, losses: Tensor, clip: Clip, units: Tensor | None = None, method: Method = "auto"
) -> Bounded:
    r"""Sum of the per-example gradients, each scaled to a norm of at most the clipping bound.

    .. math:: S = \sum_i \min(1, C / \|\nabla \ell_i\|) \, \nabla \ell_i

    The norm is that over all trainable parameters together; other clips have other factors. A contribution that is not
    finite is replaced by zero. With ``units`` the gradients of one unit are added before the norm is taken, so that C
    bounds what a whole unit (a person with several records, an example with several augmentations) contributes.

    Guarantee:
        Adding or removing one example (one unit) changes the sum by at most the bound, up to the float32 rounding of
        the sum itself, if no example's loss depends on another example. Held by
        ``tests/dpkit/training/test_sums.py::test_one_example_moves_the_sum_by_at_most_the_bound``.

    Args:
        tape: recording of the forward pass that made the losses; it is not changed.
        losses: shape (batch,), one loss for each example (``reduction="none"``). Their graph is freed.
        clip: ``FlatClip``, ``NormalizeClip`` or ``AdaptiveClip`` with norm "l2", over all parameters together; or a
            ``GroupClip`` with a bound for each trainable parameter by its name, which clips each by itself.
        units: integer tensor of shape (batch,): which unit each example belongs to. None: each is its own.
        method: "auto" takes the fastest way for each layer, found by timing them once for each shape, or by an estimate
            under ``torch.use_deterministic_algorithms(True)``; "instantiate" forms every per-example gradient; "loop"
            calls every layer once for each example (slow, and the simplest to check). Same sum, up to rounding.

    Returns:
        ``Bounded`` whose value maps each trainable parameter's name to a tensor of its shape, float32 (float64 for
        float64 parameters); zeros for a parameter that the losses do not depend on.

    Raises:
        LossError: losses are not one finite-dtype number for each example.
        CoverageError: a trainable parameter reaches the losses where clipping does not see it, or a layer has not one
            row for each example.
        ParameterError: another parameter is out of its domain.

    Example:
        >>> import torch
        >>> from dpkit.clip import FlatClip
        >>> from dpkit.training import clipped_sum, record
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> x = torch.tensor([[3.0, 4.0], [0.0, 0.5]])
        >>> with record(model) as tape:
        ...     losses = model(x).squeeze(1)
        >>> total = clipped_sum(tape, losses, FlatClip(1.0))
        >>> [round(v, 3) for v in total.value["weight"][0].tolist()]
        [0.6, 1.3]
        >>> total.bound
        1.0

    References:
        Abadi et al. 2016, Algorithm 1 (the clipped sum); Goodfellow 2015 and Li et al. 2022, section 4 (norms without
        forming gradients); Bu et al. 2023, section 3 (one backward pass).
    """
    return clip_and_count(tape, losses, clip, units, method)[0]


def clip_and_count(
    tape: Tape,
    losses: Tensor,
    clip: Clip,
    units: Tensor | None = None,
    method: Method = "auto",
    *,
    verify: bool = False,
    clear: bool = False,
) -> tuple[Bounded, int]:
    """The clipped sum, and what an :class:`~dpkit.adaptive.AdaptiveClip` counts.

    Args:
        tape: as in :func:`clipped_sum`, and so are losses, clip, units and method.
        losses: see there.
        clip: see there.
        units: see there.
        method: see there.
        verify: compare the fast gradients of a few examples with those of one call for each example.
        clear: clear the tape once the graph is freed, so that each layer's input is free as soon as it was used.

    Returns:
        The sum; and twice the centred count of norms within the bound: of those within, less of the others, and none
        of those that are zero.

    Raises:
        LossError: as in :func:`clipped_sum`, and so are the other errors.
        CoverageError: also if a fast gradient is not the slow one.
        ParameterError: a parameter is out of its domain.
    """
    require_clip(clip)
    require_losses(losses)
    if method not in METHODS:
        raise ParameterError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    parameters = tape.parameters()
    require_names(clip, list(parameters))
    slots, count = _slots(units, losses)
    found: dict[int, Tensor] = {}
    twice = 0
    if len(losses):
        with tape.gradients_kept():
            parts = _formed(tape, losses, slots, count, method, verify=verify, clear=clear)
        with torch.no_grad(), full_precision(losses.device):
            names = {id(value): name for name, value in parameters.items()}
            found, squares = weighted_sums(parts, clip, [names[id(part.parameter)] for part in parts], count)
            # Zeros count as nobody: where a batch is padded, a record more or less takes the place of such a row.
            counted, within = squares != 0, (squares > 0) & (squares <= clip.bound**2)
            twice = 2 * int(within.sum()) - int(counted.sum())
    total = {
        name: found[id(value)] if id(value) in found else torch.zeros_like(value, dtype=working_dtype(value))
        for name, value in parameters.items()
    }
    return Bounded(total, clip.bound, clip.norm), twice


def deviation(tape: Tape, losses: Tensor) -> float:
    """How far fast gradients are from slow ones: see :func:`dpkit.training.answers.require_exact`.

    Args:
        tape: recording of the forward pass that made the losses.
        losses: shape (batch,); their graph is freed.

    Returns:
        The largest difference of a layer, relative to the whole gradient; NaN if an example is not finite.

    Raises:
        CoverageError: they are not the same.
    """
    with tape.paused(), torch.no_grad():
        return require_exact(_calls(tape, losses), len(losses))


def _formed(
    tape: Tape, losses: Tensor, slots: Tensor | None, count: int, method: Method, *, verify: bool, clear: bool
) -> list[Part]:
    """The parts of the gradients of those parameters that the losses depend on."""
    with tape.paused():
        calls = _calls(tape, losses)
        if clear:
            tape.clear()
        with torch.no_grad():
            if verify:
                require_exact(calls, len(losses))
            return _parts(calls, len(losses), slots, count, method)


def _calls(tape: Tape, losses: Tensor) -> list[Call]:
    """The calls that the losses depend on, each with the gradients in its outputs."""
    calls = assign(tape, losses)
    if not calls:
        raise CoverageError(
            "the losses depend on no recorded layer with a trainable parameter; run the forward pass inside "
            "record(...), and without reentrant checkpointing, which hides the layers"
        )
    for use, _ in calls:
        use.require_unchanged()
    with torch.enable_grad():
        signals = signals_of(losses, [use for use, _ in calls])
    return [(*call, signal) for call, signal in zip(calls, signals, strict=True) if signal]


def require_losses(losses: Tensor) -> None:
    """Refuse losses that are not a vector with gradients: one entry for each example."""
    if not isinstance(losses, Tensor):
        raise LossError(f"losses must be a tensor of shape (batch,), got {type(losses).__name__}")
    if losses.dim() != 1:
        advice = (
            "take the mean over each example's own entries (tokens, pixels, outputs): losses.flatten(1).mean(1)"
            if losses.dim()
            else "a mean or sum over the batch hides the examples, and a weighted mean mixes them: compute the loss "
            "with reduction='none'"
        )
        got = tuple(losses.shape)
        raise LossError(f"losses must have shape (batch,), one loss for each example, got shape {got}; {advice}")
    if not losses.is_floating_point():
        raise LossError(f"losses must be floating-point numbers, got {losses.dtype}")
    if len(losses) and not losses.requires_grad:
        raise LossError("losses do not depend on any trainable parameter; compute them with gradients enabled")


def _slots(units: Tensor | None, losses: Tensor) -> tuple[Tensor | None, int]:
    """The row of each example's unit, and the number of units; None where every example is its own unit."""
    rows = len(losses)
    if units is None:
        return None, rows
    if not isinstance(units, Tensor) or units.dtype not in (torch.int64, torch.int32) or units.shape != losses.shape:
        got = f"{units.dtype} of shape {tuple(units.shape)}" if isinstance(units, Tensor) else type(units).__name__
        raise ParameterError(f"units must be an integer tensor of shape ({rows},), one unit for each loss, got {got}")
    distinct, inverse = torch.unique(units.to(losses.device), return_inverse=True)
    return (None, rows) if len(distinct) == rows else (inverse, len(distinct))


def _parts(calls: list[Call], rows: int, slots: Tensor | None, count: int, method: Method) -> list[Part]:
    """The parts of all parameters, one for each: gradients of several calls, or rows of a unit, are added first.

    The list of calls is used up, so that what a part does not hold is free before the next one is formed.
    """
    asked = [id(parameter) for _, wanted, _ in calls for parameter in wanted]
    found: dict[int, Part] = {}
    room = _KEPT_BYTES
    while calls:
        use, wanted, signals = calls.pop(0)
        formed = method != "auto" or any(asked.count(id(parameter)) > 1 for parameter in wanted)
        for part in answer(use, wanted, signals, rows, room=None if formed else room, one_by_one=method == "loop"):
            before = found.get(id(part.parameter))
            found[id(part.parameter)] = part if before is None else added([before, part], None, rows)
            room -= part.gradients.nbytes if isinstance(part, Dense) else 0
    return [added([part], slots, count) for part in found.values()]


def weighted_sums(
    parts: Sequence[Part], clip: Clip, names: Sequence[str], rows: int
) -> tuple[dict[int, Tensor], Tensor]:
    """Clip and add up: an example that is not finite anywhere is zero before any product.

    Args:
        parts: one for each parameter, of the same rows.
        clip: what :func:`dpkit.training.weights.require_clip` took.
        names: the parameters' names.
        rows: how many rows each part has.

    Returns:
        The sums by id of the parameter; and the rows' squared norms, float64 of shape (rows,).
    """
    if not parts:
        return {}, torch.zeros(rows, dtype=torch.float64)
    squares = torch.stack([part.squares() for part in parts])
    norms = squares.sum(0)
    broken = ~torch.isfinite(norms)
    if bool(broken.any()):
        parts = [part.without(broken) for part in parts]
    factors = weights(clip, squares, names)
    return {id(part.parameter): part.weighted_sum(row) for part, row in zip(parts, factors, strict=True)}, norms
