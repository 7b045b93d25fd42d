"""Events as plain JSON data and back, by registered name only. Private to accountants.

JSON has no infinities: inside an event they are objects, {"number": "inf"} and {"number": "-inf"}, which no string and
no event can be taken for. NaN is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any, NoReturn

from accountants.errors import EventError, LedgerError, RelationError
from accountants.events import Event

__all__ = ["data_to_event", "event_to_data", "parse_object", "refuse_constant"]


_INFINITIES = {"inf": math.inf, "-inf": -math.inf}


def event_to_data(event: Event) -> dict[str, Any]:
    """A dict of JSON values: the class name under "type", then the fields."""
    kind: type = type(event)
    if not is_dataclass(kind):
        raise LedgerError(
            f"event must be a dataclass to be written as JSON, got {type(event).__name__}; declare its fields."
        )
    names = [field.name for field in fields(kind)]
    if "type" in names:
        raise LedgerError(
            f'fields of {kind.__name__} must not be called "type", which holds the name in JSON; rename it.'
        )
    return {"type": kind.__name__, **{name: _encode(getattr(event, name)) for name in names}}


def _encode(value: object) -> Any:
    if isinstance(value, Event):
        return event_to_data(value)
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return _encode_infinity(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise LedgerError(
        f"fields of an event must be numbers, strings, events or tuples of these, got {type(value).__name__}."
    )


def _encode_infinity(value: float) -> dict[str, str]:
    if math.isnan(value):
        raise LedgerError("fields of an event must not be NaN, which equals nothing; write None for what is missing.")
    return {"number": "inf" if value > 0.0 else "-inf"}


def data_to_event(data: object) -> Event:
    """The event that :func:`event_to_data` wrote. Unknown names raise LedgerError; nothing is imported."""
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise LedgerError('an event must be an object with its name under "type"; is this a ledger\'s JSON?')
    name = data["type"]
    kind = Event.registry.get(name)
    if kind is None:
        raise LedgerError(
            f"event must be of a known class, got {name[:60]!r}; import the module that defines it before loading."
        )
    arguments = {key: _decode(value) for key, value in data.items() if key != "type"}
    try:
        return kind(**arguments)
    except (TypeError, EventError, RelationError) as fault:
        raise LedgerError(f"event {name!r} cannot be built from its JSON fields: {fault}") from fault


def _decode(value: object) -> object:
    if isinstance(value, dict):
        return _decode_infinity(value["number"]) if set(value) == {"number"} else data_to_event(value)
    if isinstance(value, list):
        return tuple(_decode(item) for item in value)
    return value


def _decode_infinity(name: object) -> float:
    if not isinstance(name, str) or name not in _INFINITIES:
        raise LedgerError(f'"number" must be "inf" or "-inf", got {str(name)[:60]!r}; write others as JSON numbers.')
    return _INFINITIES[name]


def refuse_constant(name: str) -> NoReturn:
    """For json.loads: NaN and the infinities are not JSON, and no parameter of ours."""
    raise LedgerError(f"numbers must be finite, got {name}; the JSON was not written by a ledger.")


def parse_object(
    text: str,
    schema: str,
    keys: set[str],
    older: Mapping[str, set[str]] = MappingProxyType({}),
    optional: Set[str] = frozenset(),
) -> dict[str, Any]:
    """The top object of a JSON text, with exactly the keys of its schema (the schema's own among them).

    Args:
        text: the JSON text.
        schema: the schema that is written today.
        keys: the keys of it.
        older: the keys of each schema that can still be read.
        optional: keys that today's schema may have besides.
    """
    try:
        data = json.loads(text, parse_constant=refuse_constant)
    except (TypeError, ValueError, RecursionError) as fault:
        if isinstance(fault, LedgerError):
            raise
        raise LedgerError(f"text must be JSON of schema {schema!r}: {fault}") from fault
    known = {**older, schema: keys}
    found = data.get("schema") if isinstance(data, dict) else type(data).__name__
    if not isinstance(data, dict) or not isinstance(found, str) or found not in known:
        raise LedgerError(
            f"schema must be {' or '.join(map(repr, known))}, got {str(found)[:60]!r}; use the version of the package "
            "that wrote it."
        )
    if set(data) - (optional if found == schema else frozenset()) != known[found]:
        raise LedgerError(
            f"JSON of schema {found!r} must have exactly the keys {sorted(known[found])}, got {sorted(data)}."
        )
    return data
