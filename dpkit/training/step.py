"""A step in the making: what was summed since the latest release, whose it is, and what was recorded."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from dpkit.bounded import Bounded
from dpkit.errors import ParameterError, StateError
from dpkit.mechanism import Release
from dpkit.training.norms import working_dtype
from dpkit.training.processes import Processes
from dpkit.training.weights import Clip

__all__ = [
    "NOTHING",
    "Clipped",
    "Offer",
    "Pending",
    "Witness",
    "gather",
    "new_units",
    "offered",
    "require_apart",
    "require_methods",
    "require_room",
    "write_means",
]


@final
@dataclass(frozen=True, slots=True)
class Pending:
    """What was summed since the latest release; there is nothing before the first ``backward``."""

    total: Bounded | None = None
    twice: int = 0
    units: frozenset[int] | None = None
    losses: int = 0

    def joined(self, total: Bounded, twice: int, units: frozenset[int] | None, losses: int = 0) -> Pending:
        """With the sum of another part of the batch."""
        both = units if self.units is None or units is None else self.units | units
        whole = total if self.total is None else Bounded.disjoint([self.total, total])
        return Pending(whole, self.twice + twice, both, self.losses + losses)


NOTHING = Pending()


@final
class Witness:
    """Passes releases on to a ledger and keeps what was recorded since the latest :meth:`forget`."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.seen: tuple[Release, ...] = ()

    def record(self, release: Release) -> None:
        """Record, or raise and keep nothing."""
        if self._ledger is not None:
            self._ledger.record(release)
        self.seen = (*self.seen, release)

    def copy(self, releases: Sequence[Release]) -> None:
        """Record what the first process has recorded."""
        for release in releases:
            self.record(release)

    def forget(self) -> None:
        """Begin anew; what was recorded stays in the ledger."""
        self.seen = ()


@final
@dataclass(frozen=True, slots=True)
class Clipped:
    """What a step has summed.

    Attributes:
        total: the clipped sum, a tensor for each trainable parameter.
        twice: twice the centred count of norms within the bound: of those within, less of the others, without zeros.
    """

    total: Bounded
    twice: int

    def count(self) -> Bounded:
        """The centred count; one example moves it by one half."""
        return Bounded(torch.tensor(self.twice / 2, dtype=torch.float64), 0.5)


@final
@dataclass(frozen=True, slots=True)
class Offer:
    """What a process says before a release: what must be the same in all of them, and whose sum it brings.

    Attributes:
        settings: public values by the names that an error gives them.
        started: whether there was a ``backward``.
        twice: as in :class:`Clipped`.
        units: the units in the sum, or None where examples are their own.
    """

    settings: dict[str, object]
    started: bool
    twice: int
    units: frozenset[int] | None


def offered(pending: Pending, parameters: dict[str, nn.Parameter], settings: dict[str, object]) -> Offer:
    """What this process says before a release."""
    layout = [(name, tuple(value.shape), str(value.dtype)) for name, value in parameters.items()]
    said = {"trainable parameters": layout, **settings}
    return Offer(said, pending.total is not None, pending.twice, pending.units)


def gather(
    offer: Callable[[], Offer],
    pending: Pending,
    parameters: dict[str, nn.Parameter],
    clip: Clip,
    processes: Processes,
) -> Clipped:
    """The sum of all parts and processes; zeros for parameters that no ``backward`` knew.

    Args:
        offer: says what this process brings, or raises what keeps it from a release.
        pending: what this process has summed; it stays as it is.
        parameters: the trainable parameters by name.
        clip: the clip of the step.
        processes: who takes part.

    Raises:
        StateError: the processes were told different things, or one of them is kept from a release.
        ParameterError: a unit is in two of them, or only some know units.
    """
    offers = processes.gathered("release", offer)
    _require_agreed(offers)
    known: dict[str, Tensor] = {} if pending.total is None else pending.total.value
    filled = {
        name: known[name] if name in known else torch.zeros_like(value, dtype=working_dtype(value))
        for name, value in parameters.items()
    }
    total = Bounded(processes.summed(filled), clip.bound, clip.norm)
    return Clipped(total, sum(offer.twice for offer in offers))


def _require_agreed(offers: Sequence[Offer]) -> None:
    """Refuse sums that were clipped differently, or to which one unit contributed in two processes."""
    for name, value in offers[0].settings.items():
        if any(offer.settings[name] != value for offer in offers):
            raise StateError(
                f"{name} must be the same in all processes, got others; give each the same arguments and checkpoint, "
                "and freeze and unfreeze alike"
            )
    if len({offer.units is None for offer in offers if offer.started}) > 1:
        raise ParameterError("units must be given in all processes or in none, got both; name each example's unit")
    require_apart([offer.units for offer in offers])


def require_apart(units: Sequence[frozenset[int] | None]) -> None:
    """Refuse a unit in two parts of one batch: each would be clipped by itself."""
    known = [part for part in units if part is not None]
    if sum(len(part) for part in known) > len(frozenset().union(*known)):
        raise ParameterError(
            "units must not be in two backward calls of one release, of one process or of two: each would be clipped "
            "by itself, and together they exceed the bound; put all examples of a unit into one call"
        )


def new_units(pending: Pending, units: Tensor | None) -> frozenset[int] | None:
    """The units of a part of the batch; none may have been in an earlier part.

    Args:
        pending: what was summed before.
        units: integers of shape (batch,), or None.

    Raises:
        ParameterError: a unit was, or units are given in some parts only.
    """
    if pending.total is not None and (units is None) != (pending.units is None):
        raise ParameterError(
            "units must be given in every backward call of a release or in none, got both; name each example's unit"
        )
    if units is None:
        return None
    now = frozenset(units.tolist()) if isinstance(units, Tensor) and units.dim() == 1 else frozenset()
    require_apart((pending.units, now))
    return now


def require_room(losses: int, rows: int) -> None:
    """Refuse more losses than a draw has rows, of which one example would then have several, each clipped by itself.

    Args:
        losses: how many there are in all parts of the batch.
        rows: how many examples were drawn; of a plan with a largest size, that size.

    Raises:
        ParameterError: there are more losses.
    """
    if losses > rows:
        raise ParameterError(
            f"losses must be at most the {rows} of the draw without units, got {losses}: of an example with several "
            "(views, tasks, a second backward) each would be clipped by itself, and together they exceed the bound; "
            "add them up to one loss for each example, or give units="
        )


def write_means(
    parameters: dict[str, nn.Parameter], noisy: dict[str, Tensor], expected: float, processes: Processes
) -> dict[str, weakref.ref[Tensor]]:
    """Divide the noisy sum, and write every gradient, in this process and in all others.

    Args:
        parameters: the trainable parameters by name; each ``p.grad`` is overwritten.
        noisy: the noisy sum by name in the first process; empty in the others.
        expected: what to divide by.
        processes: who takes part.

    Returns:
        The gradients that were written, by name, as weak references: whether they are still there can be seen.
    """
    means = {
        name: (noisy[name] / expected).to(value).detach() if noisy else torch.empty_like(value).detach()
        for name, value in parameters.items()
    }
    processes.spread(list(means.values()))
    for name, parameter in parameters.items():
        parameter.grad = means[name]
    return {name: weakref.ref(mean) for name, mean in means.items()}


def require_methods(name: str, value: object, methods: tuple[str, ...], example: str) -> None:
    """Refuse an object that is not None and lacks one of these methods."""
    complete = all(callable(getattr(value, method, None)) for method in methods) and not isinstance(value, type)
    if value is not None and not complete:
        raise ParameterError(
            f"{name} must be None or have {' and '.join(methods)}, got {type(value).__name__}; give {example}"
        )
