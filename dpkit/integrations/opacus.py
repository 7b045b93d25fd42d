r"""Opacus: its per-sample gradients clipped here, and its steps recorded in a ledger before they are taken.

Histories of Opacus's accountants are translated, both ways, by :mod:`accountants.interop`. Plans of
:mod:`dpkit.batches` are batch samplers as they are: ``DataLoader(data, batch_sampler=PoissonBatches(...))``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from importlib import import_module
from types import new_class
from typing import Any

import torch
from torch import Tensor, nn

from accountants.events import Event, Gaussian, NonPrivate, PoissonSampled
from accountants.interop import to_opacus_history
from dpkit.bounded import Bounded
from dpkit.errors import BackendError, CoverageError, ParameterError, StateError
from dpkit.mechanism import Release, Sampling, check_recording, require_draw, spend_draw
from dpkit.training.norms import working_dtype
from dpkit.training.parts import Dense
from dpkit.training.precision import full_precision
from dpkit.training.state import require_ledger, restore_ledger
from dpkit.training.sums import weighted_sums
from dpkit.training.units import added
from dpkit.training.weights import Clip, require_clip, require_names

__all__ = ["accountant", "clipped_sum"]

_WRAPPER = "_module."


def clipped_sum(model: nn.Module, clip: Clip, units: Tensor | None = None) -> Bounded:
    r"""Clip and add up the gradients that Opacus left in ``p.grad_sample``, and take them off the model.

    For clips that Opacus does not have (AUTO-S, units of several examples), and for every mechanism and noise stream
    that takes a ``Bounded``. Rows of several backward passes, which Opacus keeps as a list, are all added; no example
    may be in two of them. A row with NaN or an infinity in any parameter counts as zero in all. Afterwards ``grad`` and
    ``grad_sample`` are None on every parameter, so that neither an optimizer nor a second call can use the raw
    gradients; a call that is refused leaves them as they were.

    What is not seen here: whether the rows are gradients of single examples. Losses must not depend on each other,
    which :func:`dpkit.training.check` tries on the plain model, and must be reduced as the ``GradSampleModule`` was
    told (``loss_reduction``): a sum taken for a mean multiplies each row by the size of the batch, and then one example
    changes the rows of all others.

    Guarantee:
        Under that condition adding or removing one example (one unit) changes the sum by at most the bound, up to the
        float32 rounding of the sum itself
        (``test_one_row_moves_the_sum_by_at_most_the_bound``), and no raw gradient stays on a parameter
        (``test_no_raw_gradient_stays``).

    Args:
        model: the ``GradSampleModule``, or the model that Opacus's hooks are on, after ``loss.backward()``.
        clip: as for :func:`dpkit.training.clipped_sum`; a ``GroupClip`` names parameters without ``_module.``, and
            an ``AdaptiveClip`` clips to its bound and counts nothing.
        units: integer tensor of shape (rows,): which unit each row belongs to. None: each is its own.

    Returns:
        ``Bounded`` whose value maps each trainable parameter's name, without ``_module.``, to a tensor of its shape,
        float32 (float64 for float64 parameters).

    Raises:
        CoverageError: a trainable parameter has no per-sample gradients, or other ones than its fellows.
        StateError: an optimizer of Opacus has used these gradients already.
        ParameterError: another parameter is out of its domain.

    Example:
        >>> import torch
        >>> from dpkit.clip import FlatClip
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> model.weight.grad_sample = torch.tensor([[[3.0, 4.0]], [[0.0, 0.5]]])  # as Opacus leaves it
        >>> total = clipped_sum(model, FlatClip(1.0))
        >>> [round(v, 3) for v in total.value["weight"][0].tolist()], total.bound
        ([0.6, 1.3], 1.0)
    """
    require_clip(clip)
    parameters = _trainable(model)
    require_names(clip, list(parameters))
    samples = {name: _pieces(name, parameter) for name, parameter in parameters.items()}
    _require_equal_sizes(samples)
    total = _sums(parameters, samples, clip, units)
    for parameter in model.parameters():
        parameter.grad = None
        if hasattr(parameter, "grad_sample"):
            parameter.grad_sample = None
    return Bounded(total, clip.bound, clip.norm)


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters by the names that the user's own model has for them."""
    if not isinstance(model, nn.Module):
        raise ParameterError(f"model must be a torch.nn.Module, got {type(model).__name__}; give the model with hooks")
    named = dict(model.named_parameters())
    wrapped = all(name.startswith(_WRAPPER) for name in named)
    trainable = {
        name.removeprefix(_WRAPPER) if wrapped else name: value for name, value in named.items() if value.requires_grad
    }
    if not trainable:
        raise ParameterError("model must have at least one trainable parameter, got none; unfreeze one")
    return trainable


def _pieces(name: str, parameter: nn.Parameter) -> list[Tensor]:
    """The per-sample gradients of a parameter, one tensor of shape (rows, *parameter.shape) for each backward pass."""
    found = getattr(parameter, "grad_sample", None)
    pieces: list[Tensor] = found if isinstance(found, list) else [] if found is None else [found]
    if not pieces:
        raise CoverageError(
            f"parameter '{name}' has no grad_sample, so its gradients cannot be clipped; wrap the model in a "
            "GradSampleModule, call backward() once for each forward pass in training mode, or freeze the parameter"
        )
    if any(hasattr(piece, "_processed") for piece in pieces):
        raise StateError(
            f"the grad_sample of parameter '{name}' was used by a step of an Opacus optimizer; call zero_grad(), and "
            "step with the plain optimizer after clipped_sum"
        )
    for piece in pieces:
        if piece.dim() == 0 or piece.shape[1:] != parameter.shape or not piece.is_floating_point():
            raise CoverageError(
                f"parameter '{name}' must have a grad_sample of real numbers and shape (batch, "
                f"{', '.join(map(str, parameter.shape))}), got {piece.dtype} of shape {tuple(piece.shape)}"
            )
    return pieces


def _require_equal_sizes(samples: dict[str, list[Tensor]]) -> None:
    """Refuse rows that cannot be matched: one example's rows stand at one place in all parameters."""
    sizes = {name: [len(piece) for piece in pieces] for name, pieces in samples.items()}
    first, expected = next(iter(sizes.items()))
    for name, found in sizes.items():
        if found != expected:
            raise CoverageError(
                f"grad_sample must have the same batches for all parameters, got {expected} rows for '{first}' and "
                f"{found} for '{name}'; every trainable parameter must take part in every forward pass, or be frozen"
            )


def _joined(parameter: nn.Parameter, pieces: Sequence[Tensor]) -> Tensor:
    """All rows of a parameter, float32 or float64; those of a single pass are not copied."""
    wide = [piece.to(working_dtype(parameter)) for piece in pieces]
    return wide[0] if len(wide) == 1 else torch.cat(wide)


def _sums(
    parameters: dict[str, nn.Parameter], samples: dict[str, list[Tensor]], clip: Clip, units: Tensor | None
) -> dict[str, Tensor]:
    """The clipped sums by name."""
    device = next(iter(parameters.values())).device
    slots, count = _slots(units, sum(map(len, next(iter(samples.values())))), device)
    if count == 0:
        return {name: torch.zeros_like(value, dtype=working_dtype(value)) for name, value in parameters.items()}
    with torch.no_grad(), full_precision(device):
        parts = [
            added([Dense(value, _joined(value, samples[name]))], slots, count) for name, value in parameters.items()
        ]
        sums, _ = weighted_sums(parts, clip, list(parameters), count)
    return {name: sums[id(value)] for name, value in parameters.items()}


def _slots(units: Tensor | None, rows: int, device: torch.device) -> tuple[Tensor | None, int]:
    """The row of each example's unit, and the number of units; None where every example is its own unit."""
    if units is None:
        return None, rows
    if not isinstance(units, Tensor) or units.dtype not in (torch.int64, torch.int32) or units.shape != (rows,):
        got = f"{units.dtype} of shape {tuple(units.shape)}" if isinstance(units, Tensor) else type(units).__name__
        raise ParameterError(f"units must be an integer tensor of shape ({rows},), one unit for each row, got {got}")
    distinct, slots = torch.unique(units.to(device), return_inverse=True)
    return slots, len(distinct)


def accountant(ledger: Any, sampling: Sampling | None = None) -> Any:
    """An accountant that Opacus can be given, which records every step in ``ledger`` before the optimizer takes it.

    Set it as ``engine.accountant`` before ``make_private``, or attach its hook to an optimizer::

        optimizer.attach_step_hook(accountant(ledger).get_optimizer_hook_fn(sample_rate=0.01))

    Opacus tells an accountant the noise multiplier and a sample rate, and nothing of where the batches come from. With
    ``poisson_sampling=False`` it says the same of shuffled batches as of Poisson batches, and with a sampler of
    your own it says one divided by the number of batches: **neither this ledger's epsilon nor Opacus's holds then.**
    Give ``sampling``, the plan that the data loader draws from: the event is the plan's, whatever rate Opacus says,
    and a step must be of exactly one draw.

    Opacus's noise comes from torch's generator and is recorded as not cryptographic. If the ledger refuses, the noisy
    gradient is taken off the parameters and the exception passes through the optimizer's ``step``, which is not taken.

    Guarantee:
        A step that is taken is in the ledger, as Gaussian noise on one batch of the plan or of Opacus's sampler
        (``test_opacus_records_into_the_ledger``); one that is refused leaves neither an entry nor a gradient
        (``test_a_refused_step_is_not_taken``); a step of two batches, whose sum has twice the sensitivity, is refused
        (``test_a_step_of_two_batches_is_refused``).

    Args:
        ledger: an ``accountants.Ledger`` or a budget; its relation and unit are what its epsilon is about.
        sampling: the plan of :mod:`dpkit.batches` that is the loader's ``batch_sampler``; the loader must have no
            workers, which draw ahead. None: Opacus's own Poisson sampler, at the rate that it says.

    Returns:
        An instance of a subclass of Opacus's ``IAccountant``, of mechanism "dpkit". ``len`` counts the ledger's
        releases, ``get_epsilon(delta)`` is the ledger's, and ``state_dict`` holds the ledger as JSON, which
        ``load_state_dict`` puts into an empty ledger.

    Raises:
        BackendError: Opacus is not installed.
        ParameterError: the ledger is none, or the sampling no plan.
    """
    check_recording(sampling, ledger)
    lacks = [name for name in ("record", "epsilon", "entries", "to_json") if not hasattr(ledger, name)]
    if lacks:
        raise ParameterError(
            f"ledger must have {', '.join(lacks)}, got {type(ledger).__name__}; give an accountants.Ledger or a Budget"
        )
    return _accountant_class()(ledger, sampling)


class _LedgerAccountant:
    """What Opacus asks of an accountant, answered by a ledger."""

    def __init__(self, ledger: Any, sampling: Sampling | None) -> None:
        self._ledger, self._sampling = ledger, sampling
        self._left = getattr(sampling, "remaining", None)

    @property
    def history(self) -> list[tuple[float, float, int]]:
        """The ledger as Opacus's rows, where they can say it."""
        return to_opacus_history(self._ledger)

    def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
        """Record one step; ``sample_rate`` counts only where no plan was given."""
        event: Event = Gaussian(noise_multiplier) if noise_multiplier else NonPrivate()
        if self._sampling is None:
            event = PoissonSampled(event, sample_rate)
        else:
            require_draw(self._sampling)
            self._require_one_draw()
            event = self._sampling.sampled(event)
        self._ledger.record(Release(None, event, secure=False))
        spend_draw(self._sampling)
        self._left = getattr(self._sampling, "remaining", None)

    def _require_one_draw(self) -> None:
        now = getattr(self._sampling, "remaining", None)
        if self._left is not None and now is not None and self._left - now != 1:
            raise StateError(
                f"a step must be of one draw of the plan, got {self._left - now} since the last step; step once for "
                "every batch, the empty ones too, and give the DataLoader num_workers=0, for workers draw ahead"
            )

    def get_optimizer_hook_fn(self, sample_rate: float) -> Callable[[Any], None]:
        """The hook that an optimizer of Opacus calls after adding noise and before its step."""

        def record(optimizer: Any) -> None:
            with ExitStack() as refused:
                refused.callback(_forget, optimizer)
                self._require_known(optimizer)
                self.step(noise_multiplier=optimizer.noise_multiplier, sample_rate=sample_rate)
                refused.pop_all()

        return record

    def _require_known(self, optimizer: Any) -> None:
        """Refuse steps that are more than Gaussian noise on one batch."""
        if hasattr(optimizer, "unclipped_num_std"):
            raise StateError(
                "optimizer must not clip adaptively: Opacus's count of unclipped examples is not centred, and it is "
                "divided by the size of the actual batch, so a step costs more than it says; use a fixed clip"
            )
        if self._sampling is None and optimizer.accumulated_iterations != 1:
            raise StateError(
                f"a step must be of one batch, got {optimizer.accumulated_iterations} that were accumulated: an "
                "example in two of them counts twice; use BatchMemoryManager for parts of one batch, or give sampling="
            )

    def get_epsilon(self, delta: float) -> float:
        """An upper bound of epsilon for all that the ledger holds, under its relation."""
        return float(self._ledger.epsilon(delta=delta))

    def __len__(self) -> int:
        return len(self._ledger)

    @classmethod
    def mechanism(cls) -> str:
        """The name that ``make_private_with_epsilon`` looks an accountant up by: see ``accountants.interop``."""
        return "dpkit"

    def state_dict(self, destination: Any = None) -> Any:
        """The ledger as JSON, for a checkpoint."""
        state = {} if destination is None else destination
        state["ledger"], state["mechanism"] = self._ledger.to_json(), self.mechanism()
        return state

    def load_state_dict(self, state_dict: Any) -> None:
        """Take up a saved ledger, as a Privatizer does: into an empty one, or into one that went on from it.

        Raises:
            StateError: the state is none, or this ledger holds something else; nothing has changed.
        """
        if not state_dict or "ledger" not in state_dict:
            raise StateError("state_dict must be that of an accountant with a ledger, got none; save it with this one")
        require_ledger(self._ledger, state_dict["ledger"])
        restore_ledger(self._ledger, state_dict["ledger"])


def _forget(optimizer: Any) -> None:
    """Take the gradients of a refused step off the parameters."""
    for parameter in optimizer.params:
        parameter.grad = parameter.grad_sample = parameter.summed_grad = None


@lru_cache(maxsize=1)
def _accountant_class() -> type[Any]:
    try:
        base = import_module("opacus.accountants.accountant").IAccountant
    except ImportError as fault:
        raise BackendError("opacus must be installed to build its accountant: pip install 'dpkit[opacus]'") from fault
    described = {"__doc__": _LedgerAccountant.__doc__, "__module__": __name__}
    return new_class("LedgerAccountant", (_LedgerAccountant, base), exec_body=lambda space: space.update(described))
