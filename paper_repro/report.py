"""The report: what was published, what we get, and whether they agree; as Markdown and as HTML."""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import get_args

from paper_repro.compare import Verdict
from paper_repro.results import Ours, Result, verdict
from paper_repro.spec import Cell, Experiment

__all__ = ["as_html", "as_markdown", "number", "rows"]

_HEAD = ("cell", "quantity", "published", "ours, as published", "ours, today", "agreement", "verdict")
_SUMMARY = ("experiment", "what", "cells")
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
    """All experiments, each with its README, its table and its picture.

    Args:
        runs: experiments and their results.
        pictures: the folder that pictures are looked for in, with an id's own folder behind it; "" for none.
    """
    parts = [_table(_SUMMARY, _summary(runs)), ""]
    for experiment, result in runs:
        parts += [f"## {experiment.title}", "", experiment.about, "", experiment.readme, ""]
        parts += [_table(_HEAD, rows(experiment, result)), ""]
        parts += [f"- {remark}" for remark in _remarks(experiment, result)]
        if pictures and (experiment.folder / "plot.svg").is_file():
            parts += ["", f"![{experiment.title}]({pictures}/{experiment.id}/plot.svg)"]
        parts += ["", _again(experiment, result), ""]
    return "\n".join(parts).rstrip() + "\n"


def as_html(runs: Sequence[tuple[Experiment, Result | None]]) -> str:
    """The same but for the READMEs, as a page that needs nothing else: pictures are in it."""
    body = [_html_table(_SUMMARY, _summary(runs))]
    for experiment, result in runs:
        body.append(f"<h2>{_html(experiment.title)}</h2><p>{_html(experiment.about)}</p>")
        body.append(_html_table(_HEAD, rows(experiment, result)))
        body.append("<ul>" + "".join(f"<li>{_html(remark)}</li>" for remark in _remarks(experiment, result)) + "</ul>")
        picture = experiment.folder / "plot.svg"
        if result is not None and picture.is_file():
            data = base64.b64encode(picture.read_bytes()).decode()
            body.append(f'<img alt="{_html(experiment.title)}" src="data:image/svg+xml;base64,{data}">')
        readme = f"paper_repro/{experiment.id}/README.md"
        body.append(f"<p>{_html(_again(experiment, result))} Settings and deviations: <code>{readme}</code></p>")
    style = "body{font-family:sans-serif}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2em .5em}"
    head = f'<meta charset="utf-8"><title>Published numbers, again</title><style>{style}</style>'
    return f'<!doctype html><html lang="en">{head}<h1>Published numbers, again</h1>{"".join(body)}</html>\n'


def _remarks(experiment: Experiment, result: Result | None) -> list[str]:
    """Each reason and each note once, with the cells that it is about."""
    about: dict[str, list[str]] = {}
    notes = {} if result is None else {name: ours.note for name, ours in result.cells.items()}
    for said in ({cell.id: cell.why for cell in experiment.cells}, notes):
        for name, remark in said.items():
            if remark:
                about.setdefault(remark, []).append(f"`{name}`")
    return [f"{', '.join(names)}: {remark}" for remark, names in about.items()]


def _summary(runs: Iterable[tuple[Experiment, Result | None]]) -> list[tuple[str, ...]]:
    """One line for each experiment."""
    lines: list[tuple[str, ...]] = []
    for experiment, result in runs:
        found = [row[-1] for row in rows(experiment, result)]
        counts = ", ".join(f"{found.count(name)} {name}" for name in get_args(Verdict) if name in found)
        lines.append((f"`{experiment.id}`", experiment.title, counts))
    return lines


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    body = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in body)


def _html_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """An HTML table."""
    body = "".join("<tr>" + "".join(f"<td>{_html(text)}</td>" for text in line) + "</tr>" for line in lines)
    return "<table><tr>" + "".join(f"<th>{name}</th>" for name in head) + f"</tr>{body}</table>"


def _html(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text))


def _again(experiment: Experiment, result: Result | None) -> str:
    """How to run it; what the run took, and where."""
    command = f"Again: `python -m paper_repro run {experiment.id}`"
    if result is None:
        return f"{command}; not run yet."
    versions = ", ".join(f"{name} {version}" for name, version in result.provenance["versions"].items())
    data = "".join(f"; {source}" for source in result.provenance["data"])
    return f"{command}; {result.seconds:g} s, seed {result.seed}, {result.provenance['machine']}, {versions}{data}."
