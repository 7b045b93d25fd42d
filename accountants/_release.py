"""What is given to be recorded: an event, or a release that carries one. Private."""

from __future__ import annotations

from accountants._checks import check_count
from accountants.errors import LedgerError
from accountants.events import Event, Repeated

__all__ = ["check_flag", "check_text", "read_release"]


def read_release(what: object, times: int) -> tuple[Event, int, bool | None]:
    """(event, times, secure) of what is to be recorded: ``e * n`` is n releases of e.

    ``secure`` is what the release says of its randomness; None if it says nothing, as an event typed by hand.

    Args:
        what: an event, or a release that carries one.
        times: how many, >= 0.

    Raises:
        LedgerError: ``what`` carries no event, or ``times`` is no count.
    """
    event, secure = _event_of(what)
    times = check_count("times", times, 0, "count the releases.", LedgerError)
    while isinstance(event, Repeated):
        times *= event.times
        event = event.event
    return event, times, secure


def check_flag(name: str, value: object) -> bool:
    """True or False as it is; anything else is refused."""
    if not isinstance(value, bool):
        raise LedgerError(f"{name} must be True or False, got {type(value).__name__}; say which.")
    return value


def check_text(name: str, value: object) -> str:
    """A string as it is; anything else is refused."""
    if not isinstance(value, str):
        raise LedgerError(f"{name} must be a string, got {type(value).__name__}; write it in words.")
    return value


def _event_of(what: object) -> tuple[Event, bool | None]:
    """The event of an event or a release, and what is said of its randomness."""
    if isinstance(what, Event):
        return what, None
    event = getattr(what, "event", None)
    secure = getattr(what, "secure", None)
    if not isinstance(event, Event) or not (secure is None or isinstance(secure, bool)):
        raise LedgerError(
            f"what must be an event or a release that carries one, got {type(what).__name__}; a mechanism's release() "
            "returns such."
        )
    return event, secure
