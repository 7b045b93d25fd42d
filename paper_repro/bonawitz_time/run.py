"""Rounds of a masked sum, played in one process, with the CPU time of each side taken apart."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from statistics import median
from typing import Any, Literal, final

import numpy as np

from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from secagg import SecAgg, SecAggPlus

BITS = 24
"""Of a masked entry, as in the paper: of so many parties' sum."""

SMOKE = 20
"""By how much a short run divides parties and entries."""

Kind = Literal["SecAgg", "SecAggPlus"]
_KINDS: dict[str, Any] = {"SecAgg": SecAgg, "SecAggPlus": SecAggPlus}

Played = dict[tuple[str, int, float], dict[str, float]]
"""By protocol, parties and the fraction that is gone: seconds of a client and of the server."""


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; times differ from run to run."""
    rounds = sorted({one for cell in cells for one in _rounds(cell)})
    played: Played = {}
    for done, (kind, parties, gone, dim) in enumerate(rounds, start=1):
        few, short = (parties // SMOKE, dim // SMOKE) if smoke else (parties, dim)
        played[kind, parties, gone] = _play(_KINDS[kind], few, short, gone)
        progress(done, len(rounds), f"{kind}, {few} parties, {gone:.0%} gone")
    return {cell.id: Ours(_value(cell, played, "SecAgg"), _value(cell, played, "SecAggPlus")) for cell in cells}


def draw(figure: Any, cells: Sequence[Cell], found: dict[str, Ours]) -> None:
    """Seconds and quotients, theirs and ours, each on a logarithmic axis."""
    for axes, unit in zip(figure.subplots(2, 1), ("seconds", "seconds over seconds"), strict=True):
        shown = [cell for cell in cells if ("over" in cell.settings) == (unit != "seconds")]
        lines = range(len(shown))
        today = [found[cell.id].today or math.nan for cell in shown]
        axes.scatter([found[cell.id].value for cell in shown], lines, color="tab:blue", label="ours, as published")
        axes.scatter(today, lines, color="tab:orange", facecolors="none", label="ours, today: SecAggPlus")
        axes.scatter([float(cell.published or "nan") for cell in shown], lines, c="k", marker="x", label="published")
        axes.set_xscale("log")
        axes.set_xlabel(unit)
        axes.set_yticks(lines, [cell.id for cell in shown])
        axes.invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _rounds(cell: Cell) -> Iterator[tuple[str, int, float, int]]:
    """The rounds that a cell rests on, in both protocols."""
    for one in (cell.settings, *([cell.settings["over"]] if "over" in cell.settings else [])):
        for kind in _KINDS:
            for gone in {one["gone"], one.get("less", one["gone"])}:
                yield kind, one["parties"], gone, one["dim"]


def _value(cell: Cell, played: Played, kind: Kind) -> float:
    """Seconds, or seconds over seconds."""

    def seconds(side: str, parties: int, gone: float, less: float | None = None, **rest: Any) -> float:
        known = played[kind, parties, gone][side]
        return known if less is None else known - played[kind, parties, less][side]

    under = cell.settings.get("over")
    return seconds(**cell.settings) / (seconds(**under) if under else 1.0)


def _play(kind: Any, parties: int, dim: int, gone: float) -> dict[str, float]:
    """A round in which so many parties fall silent after they shared their keys; the sum is checked."""
    bits = BITS - (parties - 1).bit_length()
    plan = kind.plan(parties, dim, bits, adversary="semi_honest", corrupt=0.0, dropout=0.3)
    if plan.modulus_bits != BITS:
        raise ValueError(f"{parties} entries of {bits} bits do not make sums of {BITS}.")
    vector = np.arange(dim, dtype=np.uint64) % 2**bits
    silent, watch, keys = frozenset(range(int(gone * parties))), _Watch(), plan.keygen()
    clients, steps = [], {}
    for party, held in enumerate(keys.clients):
        client = plan.client(party, keys=held)
        with watch.of(party):
            client.set_input(vector)
        clients.append(client)
        steps[party] = client.start
    server = plan.server(keys=keys.server)
    server.start()
    for name in plan.rounds:
        if name == "masked_input":
            steps = {party: step for party, step in steps.items() if party not in silent}
        for party, step in steps.items():
            with watch.of(party):
                messages = step()
            with watch.of("server"):
                for message in messages:
                    server.receive(message.payload, party)
        with watch.of("server"):
            closing = server.close_round()
        steps = {
            message.dst: partial(clients[message.dst].receive, message.payload, "server")
            for message in closing
            if message.dst in steps
        }
    with watch.of("server"):
        total = server.result().total
    if not np.array_equal(total, (parties - len(silent)) * vector):
        raise RuntimeError("the sum is another one.")
    stayed = (seconds for who, seconds in watch.seconds.items() if who != "server" and who not in silent)
    return {"client": median(stayed), "server": watch.seconds["server"]}


@final
class _Watch:
    """CPU seconds, by whom they are spent."""

    def __init__(self) -> None:
        self.seconds: dict[object, float] = defaultdict(float)

    @contextmanager
    def of(self, who: object) -> Iterator[None]:
        """The time inside is theirs."""
        started = time.process_time()
        yield
        self.seconds[who] += time.process_time() - started
