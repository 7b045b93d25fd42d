"""``python -m paper_repro list | run ID | check | report``: published numbers, computed again and compared."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dpkit.demo.progress import Progress as Bar
from paper_repro import plots, results
from paper_repro.report import as_html, as_markdown, number, rows
from paper_repro.results import Progress, Result, verdict
from paper_repro.spec import Experiment, SpecError, experiments

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 if all agrees, 1 if something differs, 2 on bad input."""
    options = _parser().parse_args(arguments)
    try:
        known = experiments()
        return {"list": _list, "run": _run, "check": _check, "report": _report}[options.command](options, known)
    except (SpecError, OSError) as error:
        print(f"paper_repro: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="paper_repro", description="Published numbers, computed again and compared.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all experiments")
    run = commands.add_parser("run", help="run one experiment, or all")
    run.add_argument("id", help="an experiment, or all (without the optional ones)")
    run.add_argument("--smoke", action="store_true", help="seconds instead of minutes; numbers are not compared")
    run.add_argument("--seed", type=_natural, default=0, help="what all randomness of the run follows from")
    run.add_argument(
        "--out", type=Path, help="folder for results and plot; by default the experiment's own, and with --smoke none"
    )
    commands.add_parser("check", help="compare the committed results with what was published")
    report = commands.add_parser("report", help="write the report of the committed results")
    report.add_argument(
        "--out", type=Path, default=Path("reports/paper_repro"), help="folder for report.md and report.html"
    )
    return parser


def _natural(text: str) -> int:
    """A number that every generator takes as its seed."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to 2**63 - 1.")
    return int(text)


def _list(options: argparse.Namespace, known: dict[str, Experiment]) -> int:
    """The ``list`` command."""
    width = max(map(len, known), default=0)
    for name, experiment in known.items():
        word = " (optional)" if experiment.optional else ""
        print(
            f"{name:<{width}}  {len(experiment.cells):>3} cells  {experiment.seconds:>5g} s  {experiment.title}{word}"
        )
    return 0


def _run(options: argparse.Namespace, known: dict[str, Experiment]) -> int:
    """The ``run`` command."""
    if options.id != "all" and options.id not in known:
        print(f"paper_repro: unknown id {options.id!r}; see: python -m paper_repro list", file=sys.stderr)
        return 2
    chosen = [known[options.id]] if options.id != "all" else [one for one in known.values() if not one.optional]
    return max([_run_one(experiment, options) for experiment in chosen])


def _run_one(experiment: Experiment, options: argparse.Namespace) -> int:
    """Run, print, and keep; what is not installed keeps no other experiment from its run."""
    print(f"{experiment.id}: {experiment.title}", flush=True)
    folder = options.out / experiment.id if options.out else experiment.folder
    if options.out:  # before minutes are spent
        folder.mkdir(parents=True, exist_ok=True)
    try:
        result = results.execute(experiment, smoke=options.smoke, seed=options.seed, progress=_bar())
    except ModuleNotFoundError as error:
        print(f"paper_repro: {experiment.id}: {error}", file=sys.stderr)
        return 2
    _print(experiment, result)
    if options.out or not options.smoke:
        results.save(result, folder / "results.json")
        if not plots.draw(experiment, result, folder / "plot.svg"):
            print("no picture: matplotlib is not installed", file=sys.stderr)
    return int(_differs(experiment, result))


def _check(options: argparse.Namespace, known: dict[str, Experiment]) -> int:
    """The ``check`` command."""
    bad = 0
    for name, experiment in known.items():
        result = results.current(experiment)
        if result is None:
            state = "no results" if results.load(experiment) is None else "results of other cells, or of a smoke run"
            print(f"{name}: {state}; run: python -m paper_repro run {name}")
            bad += not experiment.optional
            continue
        found = [verdict(cell, result.cells.get(cell.id)) for cell in experiment.cells]
        compared = sum(cell.compared for cell in experiment.cells)
        known_wrong = f", {found.count('explained')} differ as explained" if "explained" in found else ""
        print(
            f"{name}: {found.count('agrees')} of {compared} compared agree{known_wrong}, {len(found) - compared} shown"
        )
        if _differs(experiment, result):
            bad += 1
            _print(experiment, result, only="DIFFERS")
    return int(bad > 0)


def _report(options: argparse.Namespace, known: dict[str, Experiment]) -> int:
    """The ``report`` command."""
    runs = [(experiment, results.current(experiment)) for experiment in known.values()]
    options.out.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.md", as_markdown(runs)), ("report.html", as_html(runs))):
        (options.out / name).write_text(text, encoding="utf-8")
        print(options.out / name)
    return 0


def _print(experiment: Experiment, result: Result, only: str = "") -> None:
    """A line for each cell."""
    width = max(len(cell.id) for cell in experiment.cells)
    for cell, row in zip(experiment.cells, rows(experiment, result), strict=True):
        ours = result.cells.get(cell.id)
        if ours is None or (only and row[-1] != only):
            continue
        today = "" if ours.today is None else f"  today {number(ours.today)}"
        theirs = f"published {cell.shown}  " if cell.published is not None else ""
        print(f"  {cell.id:<{width}}  {theirs}ours {number(ours.value)}  {row[-1]}{today}")


def _differs(experiment: Experiment, result: Result) -> bool:
    """Whether a cell is not as it was published."""
    found = [verdict(cell, result.cells.get(cell.id), smoke=result.smoke) for cell in experiment.cells]
    return "DIFFERS" in found


def _bar() -> Progress:
    """A bar that begins with the first step."""
    bars: list[Bar] = []

    def progress(done: int, total: int, text: str) -> None:
        if not bars:
            bars.append(Bar(total))
        bars[0].update(done, text)

    return progress


if __name__ == "__main__":
    sys.exit(main())
