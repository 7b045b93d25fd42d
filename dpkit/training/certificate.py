"""The certificate: one call that tries a model, a loss and a batch, and says whether clipping bounds what it claims."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from dpkit.errors import LossError, ParameterError
from dpkit.training.coverage import assign
from dpkit.training.independence import require_independent
from dpkit.training.sums import deviation, require_losses
from dpkit.training.tape import record, tensors_in

__all__ = ["Certificate", "check"]

_EXACT_ROWS = 4
# Far above the rounding of a forward pass in these types, far below what a changed divisor does.
_ROUNDING = {torch.float64: 1e-8, torch.float32: 1e-3}
_COARSE = 5e-2


@final
@dataclass(frozen=True, slots=True)
class Certificate:
    """What :func:`check` saw.

    Attributes:
        rows: examples in the batch.
        layers: names of the layers that are differentiated, in the order of their calls.
        parameters: names of the trainable parameters that the losses depend on.
        idle: names of the trainable parameters that they do not depend on: their gradient will be noise alone.
        is_repeatable: whether the same batch gave the same losses twice. If not, neither the losses of a part of the
            batch could be compared with those of the whole, nor fast gradients with slow ones.
        deviation: largest difference of a layer's fast gradients from those of one call for each example, relative to
            the whole gradient; NaN if not compared.
    """

    rows: int
    layers: tuple[str, ...]
    parameters: tuple[str, ...]
    idle: tuple[str, ...]
    is_repeatable: bool
    deviation: float

    def __str__(self) -> str:
        lines = [
            f"{self.rows} examples, {len(self.layers)} layers, {len(self.parameters)} trainable parameters in use",
            "gradients of no example depend on another one's loss",
        ]
        if self.is_repeatable:
            lines.append("losses of half the batch are those in the whole")
            lines.append(f"fast and slow gradients differ by {self.deviation:.1e} of their norm")
        else:
            lines.append(
                "not compared: losses of half the batch, and fast with slow gradients, as two forward passes differ"
            )
        if self.idle:
            lines.append(f"trainable, and not in use: {', '.join(self.idle)}")
        return "\n".join(lines)


def check(model: nn.Module, loss_fn: Callable[[nn.Module, Any], Tensor], batch: Any) -> Certificate:
    """Try whether per-example clipping of this model and loss bounds what one example contributes.

    Four things are tried, and what fails is named: that the losses are one number for each example; that every
    trainable parameter reaches them only through calls of layers that clipping sees; that no example's gradient depends
    on the loss of another, and no example's loss on whether others are there (a divisor computed from the batch); and
    that the fast gradients of up to four examples are those of one call for each example.

    The model, its gradients and torch's global generators are as before. Where the forward pass draws random numbers
    (dropout), the last two comparisons are made in evaluation mode.

    Guarantee: the faults that its tests plant are found (``test_faults_are_found_and_named``), and the models that they
    list pass (``test_sound_models_pass``). It tries one batch: it is evidence, not a proof.

    Args:
        model: the model, in the mode in which it will be trained.
        loss_fn: ``loss_fn(model, batch)`` gives the losses, shape (rows,), by calling the model.
        batch: a tensor, or a tuple, list or dict of them; tensors whose first axis has as many rows as there are losses
            are cut, what else there is stays as it is. At least two rows.

    Returns:
        What was seen; ``print`` it.

    Raises:
        LossError: losses are not one number for each example, or depend on other examples.
        CoverageError: a trainable parameter reaches the losses where clipping does not see it, a layer mixes examples,
            or its fast gradient is not the slow one; the message names it.
        ParameterError: the batch has fewer than two rows, or no tensor with a row for each loss.

    Example:
        >>> import torch
        >>> from dpkit.training import check
        >>> model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
        >>> batch = torch.randn(6, 3), torch.randn(6)
        >>> seen = check(model, lambda model, batch: (model(batch[0]).squeeze(1) - batch[1]).square(), batch)
        >>> seen.rows, seen.layers, seen.is_repeatable
        (6, ('0', '2'), True)
    """
    with _generators_kept(batch):
        before = _generator_states(batch)
        with record(model) as tape:
            losses = loss_fn(model, batch)
        require_losses(losses)
        rows = _require_rows(batch, losses)
        used = assign(tape, losses)
        require_independent(tape, losses)
        is_random = any(not torch.equal(a, b) for a, b in zip(before, _generator_states(batch), strict=True))
        names = {id(parameter): name for name, parameter in tape.parameters().items()}
        with _evaluating(model) if is_random else contextlib.nullcontext():
            is_repeatable = _compare_parts(model, loss_fn, batch, rows)
            few = _part(batch, rows, min(rows, _EXACT_ROWS))
            deviation = _deviation(model, loss_fn, few) if is_repeatable else math.nan
    reached = {id(parameter) for _, parameters in used for parameter in parameters}
    return Certificate(
        rows=rows,
        layers=tuple(dict.fromkeys(use.name for use, _ in used)),
        parameters=tuple(name for key, name in names.items() if key in reached),
        idle=tuple(name for key, name in names.items() if key not in reached),
        is_repeatable=is_repeatable,
        deviation=deviation,
    )


def _require_rows(batch: Any, losses: Tensor) -> int:
    """The number of examples."""
    rows = len(losses)
    if rows < 2:
        raise ParameterError(f"batch must have at least two rows, got {rows}; independence shows between examples only")
    if not any(tensor.dim() and len(tensor) == rows for tensor in tensors_in(batch)):
        raise ParameterError(
            f"batch must hold a tensor whose first axis has the {rows} rows of the losses, got none; give the tensors "
            "that loss_fn reads, batch first"
        )
    return rows


def _part(batch: Any, rows: int, count: int) -> Any:
    """The first rows of everything that has a row for each example."""
    if isinstance(batch, Tensor):
        return batch[:count] if batch.dim() and len(batch) == rows else batch
    if isinstance(batch, Mapping):
        return {name: _part(value, rows, count) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_part(value, rows, count) for value in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(_part(value, rows, count) for value in batch)
    return batch


def _compare_parts(model: nn.Module, loss_fn: Callable[[nn.Module, Any], Tensor], batch: Any, rows: int) -> bool:
    """Whether losses repeat; if they do, those of half the batch must be the same as in the whole."""
    count = rows // 2
    whole, again = (_plain(model, loss_fn, batch) for _ in range(2))
    if _differ(whole, again):
        return False
    alone = _plain(model, loss_fn, _part(batch, rows, count))
    if alone.shape != (count,) or _differ(whole[:count], alone):
        raise LossError(
            f"the losses of the first {count} examples are others without the rest of the batch, so that one example "
            "changes what the others contribute; look for a divisor or weight that is computed from the batch (a mean "
            "over tokens, class weights, an ignored index, a batch centred by its own mean) and use public constants"
        )
    return True


def _plain(model: nn.Module, loss_fn: Callable[[nn.Module, Any], Tensor], batch: Any) -> Tensor:
    """Losses, without their graph."""
    with record(model):  # which refuses layers that write buffers from the batch
        losses = loss_fn(model, batch)
    return losses.detach()


def _differ(expected: Tensor, found: Tensor) -> bool:
    """Whether two vectors of losses differ by more than rounding; where one is not finite, the other is the same."""
    room = _ROUNDING.get(expected.dtype, _COARSE)
    expected, found = expected.double(), found.double()
    finite = torch.isfinite(expected)
    if not torch.equal(finite, torch.isfinite(found)):
        return True
    if not bool(finite.any()):
        return False
    scale = expected[finite].abs().max()
    return bool(((found - expected)[finite].abs() > room * (expected[finite].abs() + scale) / 2).any())


def _deviation(model: nn.Module, loss_fn: Callable[[nn.Module, Any], Tensor], batch: Any) -> float:
    """The largest relative difference of fast and slow gradients; or an error with the layer's name."""
    with record(model) as tape:
        losses = loss_fn(model, batch)
    return deviation(tape, losses)


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and every module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _devices(batch: Any) -> list[torch.device]:
    """The accelerators that the batch is on."""
    return sorted({tensor.device for tensor in tensors_in(batch) if tensor.device.type == "cuda"}, key=str)


@contextlib.contextmanager
def _generators_kept(batch: Any) -> Iterator[None]:
    """Give torch's global generators back as they were."""
    first, *others = _generator_states(batch)
    try:
        yield
    finally:
        torch.set_rng_state(first)
        for device, state in zip(_devices(batch), others, strict=True):
            torch.cuda.set_rng_state(state, device)


def _generator_states(batch: Any) -> list[Tensor]:
    """The states of torch's global generators: the host's, and those of the batch's devices."""
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in _devices(batch))]
