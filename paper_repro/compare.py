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
    - ``differs x to y``: known, and explained with evidence: ours is off by x to y of the printed number, both above or
      both below 0;
    - ``shown``: not compared.

    Args:
        kind: which of these.
        margin: the x.
        limit: the y.

    Example:
        >>> Agreement.parse("digits").holds(1.1873, "1.19"), Agreement.parse("abs 0.001").holds(1.1873, "1.19")
        (True, False)
    """

    kind: Kind
    margin: float = 0.0
    limit: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``spec.toml``; raises ValueError."""
        kind, _, rest = text.partition(" ") if text.startswith(_WITH_MARGIN) else (text, "", "")
        margin, to, limit = rest.partition(" to ")
        if kind not in get_args(Kind) or (kind in _WITH_MARGIN) != bool(margin) or (kind == "differs") != bool(to):
            words = [f"{word} x" if word in ("abs", "rel") else word for word in get_args(Kind) if word != "differs"]
            raise ValueError(f"agree = {text!r}: write {', '.join(words)}, or differs x to y.")
        found = cls(kind, float(margin or 0.0), float(limit or 0.0))  # type: ignore[arg-type]
        if kind == "differs" and not (0.0 < found.margin < found.limit or found.margin < found.limit < 0.0):
            raise ValueError(f"agree = {text!r}: from x to y, both above or both below 0.")
        return found

    def __str__(self) -> str:
        """As in ``spec.toml``."""
        to = f" to {self.limit:g}" if self.kind == "differs" else ""
        return f"{self.kind} {self.margin:g}{to}" if self.kind in _WITH_MARGIN else self.kind

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
            return self.margin * abs(theirs) <= ours - theirs <= self.limit * abs(theirs)
        if self.kind in ("abs", "rel"):
            return abs(ours - theirs) <= self.margin * (abs(theirs) if self.kind == "rel" else 1.0)
        return {"at least": ours >= theirs, "at most": ours <= theirs}.get(self.kind, True)
