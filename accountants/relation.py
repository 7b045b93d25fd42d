"""Relation: which two data sets are neighbours. Every epsilon is about one relation; there is no default."""

from __future__ import annotations

from enum import StrEnum
from typing import final

from accountants.errors import RelationError

__all__ = ["Relation", "as_relation"]


@final
class Relation(StrEnum):
    """How two neighbouring data sets differ, in one unit (an example, a user, a client).

    * ``add_remove``: one has a unit more than the other.
    * ``replace_one``: one unit has other data.
    * ``zero_out``: the contribution of one unit is replaced by zero, its place is kept.

    Example:
        >>> Relation("add_remove") is Relation.add_remove
        True
    """

    add_remove = "add_remove"
    replace_one = "replace_one"
    zero_out = "zero_out"

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


def as_relation(value: object) -> Relation:
    """The relation that a caller named, or a clear refusal (shared: used at every public edge)."""
    if isinstance(value, str):
        try:
            return Relation(value)
        except ValueError:
            pass
    names = ", ".join(relation.value for relation in Relation)
    raise RelationError(
        f"relation must be one of {names}, got {value!r}; say which data sets are neighbours (there is no default)."
    )
