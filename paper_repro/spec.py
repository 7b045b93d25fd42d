"""What was published: experiments and their cells, read from ``spec.toml``."""

from __future__ import annotations

import importlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, final

from paper_repro.compare import Agreement

__all__ = ["HERE", "Cell", "Experiment", "SpecError", "experiments"]

HERE = Path(__file__).parent

Confidence = Literal["read", "summary", "figure", "recalled"]


class SpecError(ValueError):
    """A spec.toml that does not say what it must."""


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One number.

    Args:
        id: its name, unique in the experiment.
        quantity: what it is, with its unit.
        published: as it was printed, digit for digit; None for a number that is only ours.
        source: where it stands, so that it can be found.
        confidence: "read" in the source or its authors' code; in a "summary" of it by others; off a "figure" by eye;
            or "recalled", which is never shown nor compared.
        agreement: how close ours must be.
        why: the reason, where that is not simply the printed digits.
        settings: what :func:`run` of the experiment needs to know.
    """

    id: str
    quantity: str
    published: str | None
    source: str
    confidence: Confidence
    agreement: Agreement
    why: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The published number as it may be shown: one that nobody has read is not."""
        if self.published is None:
            return "–"
        return "not verified" if self.confidence == "recalled" else self.published

    @property
    def compared(self) -> bool:
        """Whether there is something to compare ours with."""
        return self.published is not None and self.confidence != "recalled" and self.agreement.kind != "shown"


@final
@dataclass(frozen=True, slots=True)
class Experiment:
    """A folder.

    Args:
        id: its name.
        title: one line.
        paper: authors, year, title.
        link: arXiv number or where else it is found.
        terms: what every number rests on, by name: relation, sampling, accountant; or privacy, where there is none.
        seconds: about how long a full run takes on two cores.
        repeats: whether every full run gives the same numbers.
        optional: whether it is left out of `run all`.
        cells: its numbers.
    """

    id: str
    title: str
    paper: str
    link: str
    terms: dict[str, str]
    seconds: float
    repeats: bool
    optional: bool
    cells: tuple[Cell, ...]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return HERE / self.id

    @property
    def about(self) -> str:
        """Paper and terms in one line."""
        return f"{self.paper} ({self.link}). " + " ".join(
            f"{name.capitalize()}: {said}." for name, said in self.terms.items()
        )

    @property
    def readme(self) -> str:
        """Its README, without the heading."""
        return (self.folder / "README.md").read_text(encoding="utf-8").partition("\n")[2].strip()

    @property
    def code(self) -> ModuleType:
        """Its ``run.py``."""
        return importlib.import_module(f"paper_repro.{self.id}.run")


def experiments() -> dict[str, Experiment]:
    """All experiments by their id."""
    return {path.parent.name: _read(path) for path in sorted(HERE.glob("*/spec.toml"))}


def _read(path: Path) -> Experiment:
    """One spec; raises SpecError."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    try:
        cells = tuple(_cell(row, table) for row in table["cell"])
        found = Experiment(
            id=path.parent.name,
            cells=cells,
            repeats=table.get("repeats", True),
            optional=table.get("optional", False),
            **{name: table[name] for name in ("title", "paper", "link", "terms", "seconds")},
        )
    except (KeyError, ValueError) as error:
        raise SpecError(f"{path.parent.name}/spec.toml: {error}") from error
    if "privacy" not in found.terms and not {"relation", "sampling", "accountant"} <= set(found.terms):
        raise SpecError(
            f"{found.id}/spec.toml: terms need relation, sampling and accountant; or privacy, if there is none."
        )
    if len({cell.id for cell in cells}) < len(cells):
        raise SpecError(f"{path.parent.name}/spec.toml: two cells have one id.")
    return found


def _cell(row: dict[str, Any], table: dict[str, Any]) -> Cell:
    """One cell; `source` and `confidence` may stand once for all."""
    agreement = Agreement.parse(row.get("agree", "digits" if "published" in row else "shown"))
    cell = Cell(
        id=row["id"],
        quantity=row["quantity"],
        published=row.get("published"),
        source=row.get("source", table.get("source", "")),
        confidence=row.get("confidence", table.get("confidence", "read")),
        agreement=agreement,
        why=row.get("why", ""),
        settings=row.get("settings", {}),
    )
    if cell.published is not None and not cell.source:
        raise ValueError(f"{cell.id}: a published number needs its source.")
    if cell.confidence not in ("read", "summary", "figure", "recalled"):
        raise ValueError(f"{cell.id}: confidence is {cell.confidence!r}.")
    if cell.compared and agreement.kind != "digits" and not cell.why:
        raise ValueError(f"{cell.id}: anything but the printed digits needs a reason (why).")
    return cell
