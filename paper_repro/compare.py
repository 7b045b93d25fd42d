"""Whether a number of ours agrees with a published one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Literal, Self, final, get_args

__all__ = ["Agreement", "Verdict"]

Kind = Literal["digits", "up", "abs", "rel", "at least", "at most", "differs", "shown"]
Verdict = Literal["agrees", "DIFFERS", "explained", "not compared", "not run"]

_WITH_MARGIN = ("abs", "rel", "differs")


@final
@dataclass(frozen=True, slots=True)
class Agreement:
    """How close two numbers must be.

    - ``digits``: ours, rounded to the printed digits, is the printed number;
    - ``up``: likewise, to either side, as by sources that cut digits off or round bounds up;
    - ``abs x``, ``rel x``: within x, or within the fraction x of the printed number;
    - ``at least``, ``at most``: ours is no smaller, or no larger;
    - ``differs x``: known, and explained with evidence: the printed number is wrong by more than the fraction x;
    - ``shown``: not compared.

    Args:
        kind: which of these.
        margin: the x.

    Example:
        >>> Agreement.parse("digits").holds(1.1873, "1.19"), Agreement.parse("abs 0.001").holds(1.1873, "1.19")
        (True, False)
    """

    kind: Kind
    margin: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``spec.toml``; raises ValueError."""
        kind, _, margin = text.partition(" ") if text.startswith(_WITH_MARGIN) else (text, "", "")
        if kind not in get_args(Kind) or (kind in _WITH_MARGIN) != bool(margin):
            raise ValueError(f"agree = {text!r}: write {', '.join(get_args(Kind))}; with a number {_WITH_MARGIN}.")
        return cls(kind, float(margin or 0.0))  # type: ignore[arg-type]

    def __str__(self) -> str:
        """As in ``spec.toml``."""
        return f"{self.kind} {self.margin:g}" if self.kind in _WITH_MARGIN else self.kind

    def holds(self, ours: float, published: str) -> bool:
        """Whether ours is as it should be."""
        if not math.isfinite(ours):
            return False
        theirs = float(published)
        if self.kind in ("digits", "up"):
            roundings = [ROUND_HALF_EVEN] if self.kind == "digits" else [ROUND_FLOOR, ROUND_CEILING]
            # Decimal(repr) is the number that is printed, and 0.125 a tie that may go either way
            number, printed = Decimal(repr(ours)), Decimal(published)
            return any(number.quantize(printed, rounding) == printed for rounding in roundings)
        if self.kind == "differs":
            return abs(ours - theirs) > self.margin * abs(theirs)
        if self.kind in ("abs", "rel"):
            return abs(ours - theirs) <= self.margin * (abs(theirs) if self.kind == "rel" else 1.0)
        return {"at least": ours >= theirs, "at most": ours <= theirs}.get(self.kind, True)
