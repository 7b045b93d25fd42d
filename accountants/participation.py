"""Participation: in which steps of a long release one record may take part.

A mechanism whose noise is correlated over its steps (a tree, bands, a Toeplitz matrix) is one release, and what it
reveals about a record depends on the steps that the record takes part in. They are fixed before the first step, by a
schedule that looks at no record's content; :mod:`accountants.sensitivity` takes the worst of all that are allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from accountants._checks import check_count

__all__ = ["Participation"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """The steps of one record: any two of them differ by ``min_separation`` or more, and there are not too many.

    What is left out is taken at its worst: a record in every step. Batches that cycle through the records in a fixed
    order, E of them an epoch, have ``min_separation=E``. The convention is that of the difference t' - t: two steps
    next to each other have separation 1. TF-Privacy's ``min_separation`` counts the steps between and is smaller by
    one.

    Args:
        steps: how many steps there are, counting those in which nothing is learned (a tree that is completed).
        min_separation: the least difference t' - t > 0 of two steps of one record, >= 1.
        max_participations: the most steps of one record, >= 1; None for as many as the separation lets in.

    Raises:
        EventError: a number is not an integer, or is below 1.

    Example:
        >>> Participation(steps=2000, min_separation=314, max_participations=6).count
        6
        >>> Participation(steps=2000, min_separation=484).count
        5

    References:
        Choquette-Choo et al. 2023 (arXiv 2306.08153), section 2: b-min-sep-participation.
    """

    steps: int
    min_separation: int = 1
    max_participations: int | None = None

    def __post_init__(self) -> None:
        steps = check_count("steps", self.steps, 1, "count the steps of the whole release.")
        gap = check_count(
            "min_separation", self.min_separation, 1, "give the least difference of two steps; next to each other is 1."
        )
        most = self.max_participations
        if most is not None:
            most = check_count("max_participations", most, 1, "count the steps of one record, or leave it out.")
        for name, value in (("steps", steps), ("min_separation", gap), ("max_participations", most)):
            object.__setattr__(self, name, value)

    @property
    def room(self) -> int:
        """How many steps of one record the separation alone lets in."""
        return (self.steps - 1) // self.min_separation + 1

    @property
    def count(self) -> int:
        """The most steps that one record can take part in."""
        return self.room if self.max_participations is None else min(self.max_participations, self.room)
