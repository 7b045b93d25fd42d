"""Statement: an epsilon that cannot be quoted without what it means."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, Context, Decimal
from html import escape
from typing import final

from accountants.relation import Relation

__all__ = ["Statement"]

_MEANING = {
    Relation.add_remove: "one {unit} more or less",
    Relation.replace_one: "one {unit} replaced by another",
    Relation.zero_out: "one {unit}'s contribution replaced by zero",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a ledger cost, in words. Epsilon is an upper bound, rounded up wherever it is shown with fewer digits.

    Args:
        epsilon: the upper bound.
        delta: the delta that it belongs to.
        relation: the neighbouring relation.
        unit: what one record is.
        accountant: how it was computed.
        releases: number of releases.
        seeded_releases: how many of them used seeded randomness.
        entries: (event, times, note) as text.

    Example:
        >>> from accountants import Gaussian, Ledger
        >>> ledger = Ledger(relation="add_remove", unit="user")
        >>> ledger.record(Gaussian(5.0))
        >>> print(ledger.statement(delta=1e-6))  # doctest: +NORMALIZE_WHITESPACE
        1 release is (0.835, 1e-06)-differentially private: the laws of all results on data sets with one user more or
        less (relation add_remove, unit user) differ by no more. Epsilon is an upper bound, from the privacy-loss
        accountant (certified).
    """

    epsilon: float
    delta: float
    relation: Relation
    unit: str
    accountant: str
    releases: int
    seeded_releases: int
    entries: tuple[tuple[str, int, str], ...]

    def __str__(self) -> str:
        verb = "release is" if self.releases == 1 else "releases together are"
        text = (
            f"{self.releases} {verb} ({_shown(self.epsilon)}, {self.delta!r})-differentially private: the laws of "
            f"all results on data sets with {self._meaning} (relation {self.relation.value}, unit {self.unit}) differ "
            "by no more. "
            f"Epsilon is an upper bound, from the {self.accountant}."
        )
        return f"{text} {self._warning}" if self._warning else text

    @property
    def _meaning(self) -> str:
        return _MEANING[self.relation].format(unit=self.unit)

    @property
    def _warning(self) -> str:
        """What must be said about seeded randomness, or nothing."""
        if not self.seeded_releases:
            return ""
        return (
            f"WARNING: {self.seeded_releases} of {self.releases} used seeded randomness: whoever knows the seed can "
            "remove the noise, and the statement does not hold against them."
        )

    def _facts(self) -> tuple[tuple[str, str], ...]:
        return (
            ("epsilon (upper bound)", _shown(self.epsilon)),
            ("delta", f"{self.delta!r}"),
            ("relation", f"{self.relation.value}: {self._meaning}"),
            ("unit", self.unit),
            ("accountant", self.accountant),
            ("releases", str(self.releases)),
            ("of these with seeded randomness", str(self.seeded_releases)),
        )

    def markdown(self) -> str:
        """The statement, its facts and its entries as Markdown tables.

        Example:
            >>> from accountants import Ledger
            >>> Ledger(relation="zero_out").statement(delta=1e-6).markdown().splitlines()[2]
            '| | |'
        """
        lines = [_cell(str(self)), "", "| | |", "|---|---|"]
        lines += [f"| {name} | {_cell(value)} |" for name, value in self._facts()]
        if self.entries:
            lines += ["", "| times | event | note |", "|---|---|---|"]
            lines += [f"| {times} | {_cell(event)} | {_cell(note)} |" for event, times, note in self.entries]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """The same as an HTML fragment; every text is escaped.

        Example:
            >>> from accountants import Ledger
            >>> Ledger(relation="zero_out", unit="<b>").statement(delta=1e-6).html().count("&lt;b&gt;") > 0
            True
        """
        facts = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self._facts())
        rows = "".join(
            f"<tr><td>{times}</td><td>{escape(event)}</td><td>{escape(note)}</td></tr>"
            for event, times, note in self.entries
        )
        table = f"<table><tr><th>times</th><th>event</th><th>note</th></tr>{rows}</table>" if rows else ""
        return f'<div class="dp-statement"><p>{escape(str(self))}</p><table>{facts}</table>{table}</div>'

    def json(self) -> str:
        """The same as JSON; an infinite epsilon is the string "inf".

        Example:
            >>> from accountants import Ledger
            >>> import json
            >>> json.loads(Ledger(relation="zero_out").statement(delta=1e-6).json())["kind"]
            'upper bound'
        """
        data = {"kind": "upper bound", **asdict(self)}
        if math.isinf(self.epsilon):
            data["epsilon"] = "inf"
        return json.dumps(data, allow_nan=False)


def _shown(epsilon: float) -> str:
    """Epsilon to three places after the point, or to three digits where that would show little; always rounded up."""
    if epsilon == 0.0 or math.isinf(epsilon):
        return f"{epsilon:g}"
    exact = Decimal(epsilon)
    if 1e-2 <= epsilon < 1e6:
        return str(exact.quantize(Decimal("0.001"), rounding=ROUND_CEILING))
    return str(Context(prec=3, rounding=ROUND_CEILING).plus(exact))


def _cell(text: str) -> str:
    """Text that cannot break out of a Markdown table cell."""
    flat = " ".join(text.split())
    for sign in "\\`|*_<>[]":
        flat = flat.replace(sign, "\\" + sign)
    return flat
