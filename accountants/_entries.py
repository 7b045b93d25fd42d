"""What several ledgers have in common, and how a ledger's JSON is read. Private to accountants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from accountants._checks import check_count
from accountants._json import parse_object
from accountants._release import check_text
from accountants.errors import InsecureReleaseError, LedgerError, RelationError
from accountants.terms import Recorded

__all__ = ["SCHEMA", "Kept", "agreeing", "all_premises", "parse_entries", "read_kept", "require_all_secure"]

SCHEMA, _FIRST = "accountants.ledger/2", "accountants.ledger/1"
_FIRST_KEYS = {"schema", "relation", "unit", "seeded_releases", "entries"}
_KEYS = {*_FIRST_KEYS, "secure_releases", "brought_releases", "premises"}
_DEFAULTS = {"secure_releases": 0, "brought_releases": 0, "premises": [], "require_secure": False}

Kept = tuple[int, int, int, tuple[str, ...], bool]  # seeded, secure and brought releases, premises, require_secure
_Ledger = TypeVar("_Ledger", bound=Recorded)


def all_premises(ledgers: Iterable[Recorded]) -> tuple[str, ...]:
    """What several ledgers took for granted, each once."""
    return tuple(dict.fromkeys(premise for ledger in ledgers for premise in ledger.premises))


def agreeing(ledgers: Iterable[_Ledger], kind: type[_Ledger]) -> list[_Ledger]:
    """At least one ledger, all of one relation and unit; and all secure if one of them requires it."""
    given = list(ledgers)
    if not given or not all(isinstance(ledger, kind) for ledger in given):
        raise LedgerError("ledgers must be a non-empty iterable of Ledger; give those that are to be one.")
    first = given[0]
    for ledger in given[1:]:
        if ledger.relation is not first.relation:
            raise RelationError(
                f"ledgers must have one relation, got {first.relation.value} and {ledger.relation.value}; their "
                "costs cannot be added."
            )
        if ledger.unit != first.unit:
            raise LedgerError(
                f"ledgers must have one unit, got {first.unit!r} and {ledger.unit!r}; state both about the same."
            )
    if any(ledger.require_secure for ledger in given):
        require_all_secure(given)
    return given


def require_all_secure(ledgers: Iterable[Recorded]) -> None:
    """Refuse ledgers that hold a release which did not say that all its randomness was cryptographic."""
    for ledger in ledgers:
        unsaid = len(ledger) - ledger.secure_releases
        if unsaid:
            raise InsecureReleaseError(
                f"releases must all have said that their randomness was cryptographic where one ledger has "
                f"require_secure=True, got {unsaid} of {len(ledger)} that did not; merge those that did."
            )


def parse_entries(text: str) -> dict[str, Any]:
    """The JSON object of a ledger, of any schema that can be read, with lists where lists must be."""
    optional = {"require_secure"}
    data = {**_DEFAULTS, **parse_object(text, SCHEMA, _KEYS, {_FIRST: _FIRST_KEYS}, optional)}
    for name in ("entries", "premises"):
        if not isinstance(data[name], list):
            raise LedgerError(f"{name} must be a list; the JSON was not written by a ledger.")
    for row in data["entries"]:
        if not isinstance(row, dict) or set(row) != {"event", "times", "note"}:
            raise LedgerError(
                "entries must be objects with event, times and note; the JSON was not written by a ledger."
            )
    if not isinstance(data["require_secure"], bool):
        raise LedgerError("require_secure must be true or false; the JSON was not written by a ledger.")
    return data


def read_kept(data: dict[str, Any], releases: int) -> Kept:
    """What a ledger's JSON says beside its entries, if it fits their number.

    Raises:
        LedgerError: it does not, or releases that are not secure stand where all must be.
    """
    seeded = check_count("seeded_releases", data["seeded_releases"], 0, "count the seeded releases.", LedgerError)
    secure = check_count("secure_releases", data["secure_releases"], 0, "count the secure releases.", LedgerError)
    brought = check_count("brought_releases", data["brought_releases"], 0, "count the releases.", LedgerError)
    if max(seeded + secure, brought) > releases or secure > brought:
        raise LedgerError(
            f"seeded_releases and secure_releases must be at most the {releases} releases and brought_releases "
            f"between, got {seeded}, {secure} and {brought}; the JSON was not written by a ledger."
        )
    if data["require_secure"] and secure != releases:
        raise LedgerError(
            f"secure_releases must be all {releases} releases where require_secure is true, got {secure}; the JSON was "
            "not written by a ledger."
        )
    premises = tuple(check_text("premises", premise) for premise in data["premises"])
    return seeded, secure, brought, premises, data["require_secure"]
