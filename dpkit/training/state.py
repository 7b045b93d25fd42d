"""Checkpoints: what a Privatizer needs to go on, and a ledger that is never behind what was released."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpkit.errors import StateError
from dpkit.mechanism import Release

__all__ = [
    "FORMAT",
    "ledger_text",
    "read_state",
    "require_ledger",
    "require_sampling",
    "restore_ledger",
    "sampling_state",
]

FORMAT = "dpkit.training.Privatizer/1"

_KEYS = {"format", "steps", "bound", "ledger", "sampling", "noise"}


def read_state(state: Any) -> Mapping[str, Any]:
    """A Privatizer's state, or an error.

    Raises:
        StateError: it is none, or of another version.
    """
    if not isinstance(state, Mapping) or state.get("format") != FORMAT or set(state) != _KEYS:
        raise StateError(f"state must come from Privatizer.state_dict() in format {FORMAT!r}, got another")
    return state


def ledger_text(ledger: Any) -> str | None:
    """A ledger as text; None where there is none.

    Raises:
        StateError: the ledger cannot be written as text.
    """
    if ledger is None:
        return None
    if not (callable(getattr(ledger, "to_json", None)) and callable(getattr(type(ledger), "from_json", None))):
        raise StateError(
            f"ledger must have to_json and from_json to be saved, got {type(ledger).__name__}; use a Ledger or a Budget"
        )
    return str(ledger.to_json())


def require_ledger(ledger: Any, text: str | None) -> None:
    """Refuse a ledger into which a saved one does not fit: anything but an empty one, or one that goes on from it.

    Raises:
        StateError: it does not.
    """
    if (ledger is None) != (text is None):
        raise StateError(
            f"ledger must be {'given' if ledger is None else 'None'}, as in the saved Privatizer, got the opposite; "
            "what was released must stay in an account"
        )
    if ledger is None or text is None:
        return
    ledger_text(ledger)
    saved = type(ledger).from_json(text)
    if (saved.relation, saved.unit) != (ledger.relation, ledger.unit):
        raise StateError("ledger must have the relation and unit of the saved one, got others; make it with these")
    if len(ledger) and not _goes_on(_rows(ledger), _rows(saved)):
        raise StateError(
            "ledger must be empty or hold what the saved one held, got other entries; make an empty one, or give the "
            "one that went on"
        )
    if not len(ledger):
        _replay(saved, type(ledger).from_json(ledger.to_json()))  # one that refuses does so before anything changes


def restore_ledger(ledger: Any, text: str | None) -> None:
    """Record what was saved in an empty ledger; one that holds it already, and what came after, stays as it is.

    Args:
        ledger: what :func:`require_ledger` took.
        text: the saved ledger.
    """
    if ledger is not None and text is not None and not len(ledger):
        _replay(type(ledger).from_json(text), ledger)


def sampling_state(sampling: Any) -> Any:
    """The state of a sampling plan; None where there is none.

    Raises:
        StateError: the plan cannot be saved.
    """
    if sampling is None:
        return None
    if not callable(getattr(sampling, "state_dict", None)) or not callable(getattr(sampling, "load_state_dict", None)):
        raise StateError(
            f"sampling must have state_dict and load_state_dict to be saved, got {type(sampling).__name__}; use a plan "
            "of dpkit.batches"
        )
    return sampling.state_dict()


def require_sampling(sampling: Any, state: Any) -> None:
    """Refuse a sampling plan that a saved one does not fit.

    Raises:
        StateError: one was saved and none is there, or the other way round; or the plan has been used.
        ParameterError: the plan is another.
    """
    if (sampling is None) != (state is None):
        raise StateError(
            f"sampling must be {'given' if sampling is None else 'None'}, as in the saved Privatizer, got the opposite"
        )
    if sampling is not None:
        sampling_state(sampling)
        getattr(sampling, "check_state", _accept)(state)


def _accept(state: Any) -> None:
    """A plan of someone else says what it refuses when it is loaded."""


def _rows(ledger: Any) -> Any:
    """What was recorded; the entries of a Plan are those that it is about."""
    return getattr(ledger, "done", ledger.entries)


def _goes_on(entries: Any, saved: Any) -> bool:
    """Whether entries begin with those that were saved; the last of them may have been counted up since."""
    if len(entries) < len(saved):
        return False
    *whole, last = [*saved] or [None]
    if tuple(entries[: len(whole)]) != tuple(whole):
        return False
    if last is None:
        return True
    now = entries[len(whole)]
    return bool((now.event, now.note) == (last.event, last.note) and now.times >= last.times)


def _replay(saved: Any, ledger: Any) -> None:
    """Record all entries, as many of them as seeded, unsaid and secure as were."""
    seeded, bare = saved.seeded_releases, len(saved) - saved.brought_releases
    for event, times, note in _rows(saved):
        first = min(times, seeded)
        second = min(times - first, bare)
        seeded, bare = seeded - first, bare - second
        if first:
            ledger.record(Release(None, event, False), times=first, note=note)
        if second:
            ledger.record(event, times=second, note=note)
        if times - first - second:
            ledger.record(Release(None, event, True), times=times - first - second, note=note)
