"""Opacus: its history of (noise multiplier, sample rate, steps), both ways, and an accountant that it can be given.

A history speaks of Poisson batches with Gaussian noise, and Opacus's own accountants of ``add_remove``; the noise
multiplier is that over the clip on both sides, so nothing is changed on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache, singledispatch
from importlib import import_module
from types import new_class
from typing import Any

from accountants._checks import check_count, check_finite
from accountants.errors import LedgerError, RelationError, UnsupportedEventError
from accountants.events import Composed, Event, Gaussian, NonPrivate, PoissonSampled, Repeated
from accountants.ledger import Ledger
from accountants.relation import Relation

__all__ = ["from_opacus_history", "opacus_accountant", "to_opacus_history"]

_MECHANISM = "dpkit"

History = list[tuple[float, float, int]]


def from_opacus_history(
    history: Iterable[tuple[float, float, int]],
    relation: Relation | str = Relation.add_remove,
    unit: str = "example",
) -> Ledger:
    """The ledger that says what the ``history`` of an Opacus accountant says.

    Guarantee:
        Every step is recorded; one without noise costs everything (``test_every_step_of_a_history_is_recorded``).

    Args:
        history: rows of (noise multiplier, sample rate, steps), as Opacus keeps them and saves them.
        relation: which data sets are neighbours; Opacus means ``add_remove``.
        unit: what one record is, in words.

    Raises:
        LedgerError: a row is not such.
        EventError: a number of a row is out of its domain.
        RelationError: the relation is not one of the three.

    Example:
        >>> round(from_opacus_history([(1.1, 0.01, 10_000)]).epsilon(delta=1e-5), 2)
        5.19
    """
    ledger = Ledger(relation=relation, unit=unit)
    for row in history:
        if not isinstance(row, tuple | list) or len(row) != 3:
            raise LedgerError(
                f"history must hold (noise multiplier, sample rate, steps), got {type(row).__name__}; take it from an "
                "Opacus accountant."
            )
        noise, rate, steps = row
        noise = check_finite("noise_multiplier", noise, "0 is a step without noise.")
        inner: Event = Gaussian(noise) if noise else NonPrivate()
        ledger.record(PoissonSampled(inner, rate), times=steps)
    return ledger


def to_opacus_history(ledger: Ledger) -> History:
    """The history that says to Opacus what a ledger of Gaussian steps says.

    Assign it to the ``history`` of an Opacus accountant.

    Args:
        ledger: one about ``add_remove``, of Gaussian noise on Poisson batches or on all records.

    Returns:
        Rows of (noise multiplier, sample rate, steps) in the order recorded; a release without noise has noise
        multiplier 0.

    Raises:
        UnsupportedEventError: an entry is anything else.
        RelationError: the ledger is about another relation, which a history cannot say.

    Example:
        >>> to_opacus_history(from_opacus_history([(1.1, 0.01, 500), (1.3, 0.01, 500)]))
        [(1.1, 0.01, 500), (1.3, 0.01, 500)]
    """
    if ledger.relation is not Relation.add_remove:
        raise RelationError(
            f"relation must be add_remove, which Opacus's accountants mean, got {ledger.relation.value}; a history "
            "does not say another."
        )
    return [row for event, times, _ in ledger.entries for row in _rows(event, times)]


@singledispatch
def _rows(event: Event, times: int) -> History:
    raise UnsupportedEventError(
        f"entries must be Gaussian steps to be an Opacus history, got {type(event).__name__}; account for it here.",
        event=event,
    )


@_rows.register
def _(event: Gaussian, times: int) -> History:
    return [(event.noise_multiplier, 1.0, times)]


@_rows.register
def _(event: NonPrivate, times: int) -> History:
    return [(0.0, 1.0, times)]


@_rows.register
def _(event: Repeated, times: int) -> History:
    return _rows(event.event, times * event.times) if event.times else []


@_rows.register
def _(event: Composed, times: int) -> History:
    return [row for part in event.events for row in _rows(part, times)]


@_rows.register
def _(event: PoissonSampled, times: int) -> History:
    inner = event.event
    if not isinstance(inner, Gaussian | NonPrivate):  # one draw for several releases is not one for each
        raise UnsupportedEventError(
            f"event must be Gaussian noise on a batch to be an Opacus step, got {type(inner).__name__}; account for it "
            "here.",
            event=event,
        )
    return [(noise, event.sampling_prob, times) for noise, _, _ in _rows(inner, times)]


class _OpacusAccountant:
    """What Opacus asks of an accountant; :func:`opacus_accountant` makes it a subclass of Opacus's own."""

    history: History

    def __init__(self) -> None:
        super().__init__()
        self.history = []

    def step(self, *, noise_multiplier: float, sample_rate: float) -> None:
        """Count one optimisation step; one that would be refused later is refused now."""
        [row] = to_opacus_history(from_opacus_history([(noise_multiplier, sample_rate, 1)]))
        last = self.history[-1] if self.history else None
        if last is not None and last[:2] == row[:2]:
            self.history[-1] = (*row[:2], last[2] + 1)
        else:
            self.history.append(row)

    def get_epsilon(self, delta: float) -> float:
        """An upper bound of epsilon for all steps so far, under ``add_remove``."""
        return from_opacus_history(self.history).epsilon(delta=delta)

    def __len__(self) -> int:
        """The number of steps, not of rows."""
        return sum(check_count("steps", steps, 0, "count the steps.", LedgerError) for _, _, steps in self.history)

    @classmethod
    def mechanism(cls) -> str:
        """The name under which it is registered."""
        return _MECHANISM

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take up a saved history, if it is one of this mechanism; otherwise nothing changes.

        Raises:
            ValueError: the state is empty or of another mechanism (as Opacus has it), or its history is not one.
        """
        before = self.history
        super().load_state_dict(state_dict)  # type: ignore[misc]  # of Opacus's class, which comes after this one
        try:
            self.history = to_opacus_history(from_opacus_history(self.history))
        except (ValueError, TypeError):
            self.history = before
            raise


@lru_cache(maxsize=1)
def opacus_accountant() -> type[Any]:
    """A class of accountant for Opacus, which counts with the best certified bound.

    Opacus is imported here. Register the class once, then name it::

        from opacus.accountants import register_accountant
        register_accountant("dpkit", opacus_accountant())
        engine = PrivacyEngine(accountant="dpkit")

    Guarantee:
        ``len`` counts steps, and ``get_epsilon`` is that of the history's ledger, an upper bound >= 0
        (``test_opacus_trains_with_it``).

    Returns:
        A subclass of ``opacus.accountants.accountant.IAccountant``, the same at every call.

    Raises:
        ImportError: Opacus is not installed.
    """
    try:
        base = import_module("opacus.accountants.accountant").IAccountant
    except ImportError as fault:
        raise ImportError("opacus must be installed to build its accountant: pip install opacus") from fault
    described = {"__doc__": _OpacusAccountant.__doc__, "__module__": __name__}
    return new_class("OpacusAccountant", (_OpacusAccountant, base), exec_body=lambda space: space.update(described))
