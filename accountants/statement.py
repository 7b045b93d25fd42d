"""Statement: an epsilon that cannot be quoted without what it means."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import ROUND_CEILING, Context, Decimal
from html import escape
from typing import Any, Self, final

from accountants._checks import check_count, check_delta, check_finite
from accountants._json import parse_object
from accountants._release import check_text
from accountants.errors import EventError, LedgerError, RelationError
from accountants.relation import Relation, as_relation

__all__ = ["Statement"]

_SCHEMA = "accountants.statement/1"
_KIND = "upper bound"
_MEANING = {
    Relation.add_remove: "one {unit} more or less",
    Relation.replace_one: "one {unit} replaced by another",
    Relation.zero_out: "one {unit}'s contribution replaced by zero",
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a ledger cost, in words. Epsilon is an upper bound, rounded up wherever it is shown with fewer digits.

    It says what was assumed, which no record can show, and what was enforced, which is only what was recorded.

    Guarantee:
        An epsilon is never shown smaller than it is (``test_an_epsilon_is_never_shown_smaller_than_it_is``); nothing is
        enforced that was not recorded (``test_nothing_is_enforced_that_was_not_recorded``).

    Args:
        epsilon: the upper bound.
        delta: the delta that it belongs to.
        relation: the neighbouring relation.
        unit: what one record is.
        accountant: how it was computed.
        releases: number of releases.
        seeded_releases: how many of them used seeded randomness.
        entries: (event, times, note) as text.
        assumed: what must be true for the epsilon to hold.
        enforced: what was made sure of.

    Example:
        >>> from accountants import Gaussian, Ledger
        >>> ledger = Ledger(relation="add_remove", unit="user")
        >>> ledger.record(Gaussian(5.0))
        >>> print(ledger.statement(delta=1e-6))  # doctest: +NORMALIZE_WHITESPACE
        1 release is (0.835, 1e-06)-differentially private: the laws of all results on data sets with one user more or
        less (relation add_remove, unit user) differ by no more. Epsilon is an upper bound, from the privacy-loss
        accountant (certified).
        Assumed:
        - a record is all that one user contributes, unless an event is about groups;
        - nothing else was released about these records;
        - noise, sampling and number of the releases were fixed beforehand: none followed from a result;
        - one record's contribution is no larger than the bound that the noise is a multiple of;
        - noise has the law that its event names, made of independent, uniform and secret random words;
        - 1 of 1 release was recorded by hand, and made as declared.
        Enforced:
        - what has no sound bound under the relation was refused.
    """

    epsilon: float
    delta: float
    relation: Relation
    unit: str
    accountant: str
    releases: int
    seeded_releases: int
    entries: tuple[tuple[str, int, str], ...]
    assumed: tuple[str, ...] = ()
    enforced: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [_flat(self._sentence)]
        for name, clauses in self._terms():
            last = len(clauses) - 1
            lines += [f"{name}:", *(f"- {_flat(text)}{'.' if n == last else ';'}" for n, text in enumerate(clauses))]
        return "\n".join(lines)

    @property
    def _sentence(self) -> str:
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

    def _terms(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The lists that are not empty, each under its name."""
        lists = (("Assumed", self.assumed), ("Enforced", self.enforced))
        return tuple((name, clauses) for name, clauses in lists if clauses)

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
        """The statement, its facts and its entries as Markdown tables, what was assumed and enforced as lists.

        Example:
            >>> from accountants import Ledger
            >>> Ledger(relation="zero_out").statement(delta=1e-6).markdown().splitlines()[2]
            '| | |'
        """
        lines = [_cell(self._sentence), "", "| | |", "|---|---|"]
        lines += [f"| {name} | {_cell(value)} |" for name, value in self._facts()]
        if self.entries:
            lines += ["", "| times | event | note |", "|---|---|---|"]
            lines += [f"| {times} | {_cell(event)} | {_cell(note)} |" for event, times, note in self.entries]
        for name, clauses in self._terms():
            lines += ["", f"{name}:", "", *(f"- {_cell(clause)}" for clause in clauses)]
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
        lists = "".join(
            f"<p>{name}:</p><ul>{''.join(f'<li>{escape(clause)}</li>' for clause in clauses)}</ul>"
            for name, clauses in self._terms()
        )
        said = f"<p>{escape(self._sentence)}</p>"
        return f'<div class="dp-statement">{said}<table>{facts}</table>{table}{lists}</div>'

    def json(self) -> str:
        """The same as JSON with a schema version; an infinite epsilon is the string "inf".

        Example:
            >>> from accountants import Ledger
            >>> import json
            >>> json.loads(Ledger(relation="zero_out").statement(delta=1e-6).json())["kind"]
            'upper bound'
        """
        data = {"schema": _SCHEMA, "kind": _KIND, **asdict(self)}
        if math.isinf(self.epsilon):
            data["epsilon"] = "inf"
        return json.dumps(data, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The statement that :meth:`json` wrote.

        Args:
            text: the JSON text.

        Raises:
            LedgerError: the text is not a statement's JSON of this schema.

        Example:
            >>> from accountants import Ledger
            >>> statement = Ledger(relation="zero_out").statement(delta=1e-6)
            >>> Statement.from_json(statement.json()) == statement
            True
        """
        data = parse_object(text, _SCHEMA, {"schema", "kind", *_READERS})
        if data["kind"] != _KIND:
            raise LedgerError(
                f"kind must be {_KIND!r}, got {str(data['kind'])[:60]!r}; a statement holds nothing else."
            )
        try:
            read: dict[str, Any] = {name: reader(name, data[name]) for name, reader in _READERS.items()}
        except (EventError, RelationError) as fault:
            raise LedgerError(f"statement JSON has a bad field: {fault}") from fault
        if read["seeded_releases"] > read["releases"]:
            raise LedgerError("seeded_releases must be at most the releases; the JSON was not written by a statement.")
        return cls(**read)


def _read_epsilon(name: str, value: object) -> float:
    return math.inf if value == "inf" else check_finite(name, value, 'write an infinite one as "inf".')


def _read_count(name: str, value: object) -> int:
    return check_count(name, value, 0, "count the releases.")


def _read_entries(name: str, value: object) -> tuple[tuple[str, int, str], ...]:
    rows: list[Any] = value if isinstance(value, list) else [value]
    if not all(isinstance(row, list) and len(row) == 3 for row in rows):
        raise LedgerError(f"{name} must be a list of [event, times, note]; the JSON was not written by a statement.")
    return tuple(
        (check_text("event", event), _read_count("times", times), check_text("note", note))
        for event, times, note in rows
    )


def _read_clauses(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise LedgerError(f"{name} must be a list of strings; the JSON was not written by a statement.")
    return tuple(check_text(name, clause) for clause in value)


#: How each field of a statement is read from JSON.
_READERS: dict[str, Callable[[str, object], Any]] = {
    "epsilon": _read_epsilon,
    "delta": lambda _, value: check_delta(value),
    "relation": lambda _, value: as_relation(value),
    "unit": check_text,
    "accountant": check_text,
    "releases": _read_count,
    "seeded_releases": _read_count,
    "entries": _read_entries,
    "assumed": _read_clauses,
    "enforced": _read_clauses,
}


def _shown(epsilon: float) -> str:
    """Epsilon to three places after the point, or to three digits where that would show little; always rounded up."""
    if epsilon == 0.0 or math.isinf(epsilon):
        return f"{epsilon:g}"
    exact = Decimal(epsilon)
    if 1e-2 <= epsilon < 1e6:
        return str(exact.quantize(Decimal("0.001"), rounding=ROUND_CEILING))
    return str(Context(prec=3, rounding=ROUND_CEILING).plus(exact))


def _flat(text: str) -> str:
    """Text on one line."""
    return " ".join(text.split())


def _cell(text: str) -> str:
    """Text that cannot break out of a Markdown table cell, or of a line."""
    flat = _flat(text)
    for sign in "\\`|*_<>[]":
        flat = flat.replace(sign, "\\" + sign)
    return flat
