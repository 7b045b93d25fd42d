"""The report: what was published, what we get, and whether they agree; as Markdown and as HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence

from paper_repro.results import Ours, Result, verdict
from paper_repro.spec import Cell, Experiment

__all__ = ["as_html", "as_markdown", "number", "rows"]

_HEAD = ("cell", "quantity", "published", "ours, as published", "ours, today", "agreement", "verdict")
_SOURCES = {"read": "", "summary": " (in a summary by others)", "figure": " (off a figure)", "recalled": ""}


def number(value: float | None) -> str:
    """Six significant digits."""
    if value is None:
        return "–"
    return f"{value:.6g}" if math.isfinite(value) else str(value)


def rows(experiment: Experiment, result: Result | None) -> list[tuple[str, ...]]:
    """A row for each cell."""
    found = {} if result is None else result.cells
    smoke = result is not None and result.smoke
    return [_row(cell, found.get(cell.id), smoke=smoke) for cell in experiment.cells]


def _row(cell: Cell, ours: Ours | None, *, smoke: bool) -> tuple[str, ...]:
    """One cell."""
    value, today = (None, None) if ours is None else (ours.value, ours.today)
    agreement = str(cell.agreement) if cell.compared else "–"
    shown = cell.shown + (_SOURCES[cell.confidence] if cell.published is not None else "")
    return cell.id, cell.quantity, shown, number(value), number(today), agreement, verdict(cell, ours, smoke=smoke)


def as_markdown(runs: Sequence[tuple[Experiment, Result | None]], *, pictures: str = "") -> str:
    """All experiments, each with its table.

    Args:
        runs: experiments and their results.
        pictures: the folder that pictures are looked for in, with an id's own folder behind it; "" for none.
    """
    parts = [_summary(runs)]
    for experiment, result in runs:
        parts += [f"## {experiment.title}", "", f"{experiment.paper} ({experiment.link}). {experiment.terms}", ""]
        parts += [_table(_HEAD, rows(experiment, result)), ""]
        parts += _remarks({cell.id: cell.why for cell in experiment.cells})
        parts += _remarks({} if result is None else {name: ours.note for name, ours in result.cells.items()})
        if pictures and (experiment.folder / "plot.svg").is_file():
            parts += ["", f"![{experiment.title}]({pictures}/{experiment.id}/plot.svg)"]
        parts += ["", f"Again: `python -m paper_repro run {experiment.id}`{_spent(result)}", ""]
    return "\n".join(parts).rstrip() + "\n"


def as_html(runs: Sequence[tuple[Experiment, Result | None]]) -> str:
    """The tables alone, as a page that needs nothing else."""
    body = []
    for experiment, result in runs:
        cells = "".join(
            "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>"
            for row in rows(experiment, result)
        )
        head = "".join(f"<th>{name}</th>" for name in _HEAD)
        title, terms = (
            html.escape(experiment.title),
            html.escape(f"{experiment.paper} ({experiment.link}). {experiment.terms}"),
        )
        body.append(f"<h2>{title}</h2><p>{terms}</p><table><tr>{head}</tr>{cells}</table>")
    style = "body{font-family:sans-serif}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2em .5em}"
    head = f'<meta charset="utf-8"><title>Published numbers, again</title><style>{style}</style>'
    return f'<!doctype html><html lang="en">{head}<h1>Published numbers, again</h1>{"".join(body)}</html>\n'


def _remarks(said: Mapping[str, str]) -> list[str]:
    """Each remark once, with the cells that it is about."""
    about: dict[str, list[str]] = {}
    for name, remark in said.items():
        if remark:
            about.setdefault(remark, []).append(f"`{name}`")
    return [f"- {', '.join(names)}: {remark}" for remark, names in about.items()]


def _summary(runs: Iterable[tuple[Experiment, Result | None]]) -> str:
    """One line for each experiment."""
    lines = []
    for experiment, result in runs:
        found = [row[-1] for row in rows(experiment, result)]
        counts = ", ".join(
            f"{found.count(name)} {name}"
            for name in ("agrees", "explained", "DIFFERS", "not compared")
            if name in found
        )
        lines.append((f"`{experiment.id}`", experiment.title, counts if result is not None else "not run"))
    return _table(("experiment", "what", "cells"), lines) + "\n"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    body = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in body)


def _spent(result: Result | None) -> str:
    """What the run took, and where."""
    if result is None:
        return "; not run yet."
    versions = ", ".join(f"{name} {version}" for name, version in result.provenance["versions"].items())
    return f"; {result.seconds:g} s, seed {result.seed}, {result.provenance['machine']}, {versions}."
