"""What the program prints at its end, and the folder that it leaves."""

from __future__ import annotations

import json
from pathlib import Path

from dpkit._text import rounded_up
from dpkit.demo.run import Outcome

__all__ = ["table", "write_report"]


def table(outcome: Outcome) -> str:
    """The result in seven lines."""
    settings, last = outcome.settings, outcome.curve[-1]
    rows = {
        "data": f"{outcome.data}, {settings.parties} parties, about two digits each",
        "protocol": settings.protocol + (" (compared with the other)" if outcome.compared else ""),
        "rounds": f"{last.round}",
        "test accuracy": f"{last.accuracy:.2%}",
        "epsilon": (
            f"{rounded_up(last.epsilon, 5)} at delta {settings.delta!r} "
            f"(upper bound; add_remove; unit: example; {outcome.statement.accountant})"
        ),
        "noise multiplier": f"{outcome.noise_multiplier:.4f}",
        "sent per party": f"{outcome.bytes_up / 1e6:.2f} MB ({outcome.bytes_up / last.round / 1e3:.1f} kB a round)",
        "seconds": f"{outcome.seconds:.1f}",
    }
    if outcome.compared:
        rows["totals"] = f"bit-identical under both protocols in all {last.round} rounds"
    width = max(map(len, rows))
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows.items())


def write_report(outcome: Outcome, folder: Path) -> list[str]:
    """Write report.json, ledger.json, statement.md and, with matplotlib, training.png.

    Args:
        outcome: what the run came to.
        folder: made if missing.

    Returns:
        The names of the files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.json": json.dumps(outcome.facts(), indent=2) + "\n",
        "ledger.json": outcome.ledger + "\n",
        "statement.md": f"{outcome.statement.markdown()}\n\n{outcome.promise}\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [*texts, *_plot(outcome, folder)]


def _plot(outcome: Outcome, folder: Path) -> list[str]:
    """Accuracy and epsilon over rounds; nothing without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return []
    rounds = [point.round for point in outcome.curve]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    left.plot(rounds, [100 * point.accuracy for point in outcome.curve], color="tab:blue", marker="o", markersize=3)
    left.set_xlabel("round")
    left.set_ylabel("test accuracy (%)", color="tab:blue")
    left.set_ylim(0, 100)
    left.grid(alpha=0.3)
    right = left.twinx()
    right.plot(rounds, [point.epsilon for point in outcome.curve], color="tab:red")
    right.set_ylabel(f"epsilon at delta {outcome.settings.delta!r} (upper bound)", color="tab:red")
    right.set_ylim(bottom=0)
    left.set_title(f"{outcome.data}: {outcome.settings.parties} parties, {outcome.settings.protocol} sums")
    figure.savefig(folder / "training.png", dpi=130)
    return ["training.png"]
