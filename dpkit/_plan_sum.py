"""The ``plan-sum`` command: what the sum protocols cost and promise, side by side."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import count
from typing import Any

import secagg
from dpkit.errors import ParameterError
from secagg.costs import estimate

__all__ = ["add_plan_sum", "plan_sum"]

_PATIENCE = 2.0
"""Seconds without a word."""

_FINE = 1e-6
"""Seconds that a clock must tell apart."""

_NAMES = 26
_COLUMNS = ("up", "down", "client", "server", "rounds", "honest")


def add_plan_sum(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--parties", type=int, required=True)
    parser.add_argument("--dim", type=int, required=True, help="entries of a vector")
    parser.add_argument("--value-bits", type=int, required=True)
    parser.add_argument("--dropout", type=float, default=0.1, help="share of the parties that may be lost")
    parser.add_argument("--corrupt", type=float, default=0.1, help="share of the parties that may help the server")
    parser.add_argument("--clip", type=float, default=None, help="largest absolute entry of a sum of reals")
    parser.add_argument("--error", type=float, default=None, help="what an entry of a sum of reals may be off")
    parser.add_argument("--no-calibrate", action="store_true", help="bytes only: nothing is run here")


def plan_sum(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The facts by protocol, and the same as text."""
    if not 0.0 <= options.dropout < 1.0:
        raise ParameterError(f"dropout must lie in [0, 1), got {options.dropout!r}.")
    facts, started = {}, time.perf_counter()
    for name, build in _plans(options).items():
        if time.perf_counter() - started > _PATIENCE and not options.no_calibrate:
            sys.stderr.write(f"dpkit plan-sum: small sums of {name} are timed ...\n")
        facts[name] = _facts(build, calibrated=not options.no_calibrate)
    if all("refused" in row for row in facts.values()):
        raise ParameterError(facts["PlainSum"]["refused"])
    if options.clip is None or options.error is None:
        facts["CKKSSum"] = {"left_out": "a sum of reals is planned from --clip and --error"}
    return facts, _text(options, facts)


def _plans(options: argparse.Namespace) -> dict[str, Callable[[], secagg.SumProtocol]]:
    """Every protocol, for each server or mode that it is made for."""
    size, lost = (options.parties, options.dim, options.value_bits), {"dropout": options.dropout}
    share, (least, largest) = {"corrupt": options.corrupt, **lost}, _thresholds(options)
    plans: dict[str, Callable[[], secagg.SumProtocol]] = {
        "PlainSum": lambda: secagg.PlainSum.plan(*size),
        "SecAgg, semi-honest": lambda: secagg.SecAgg.plan(*size, adversary="semi_honest", **share),
        "SecAgg, malicious": lambda: secagg.SecAgg.plan(*size, adversary="malicious", **share),
        "SecAggPlus, semi-honest": lambda: secagg.SecAggPlus.plan(*size, adversary="semi_honest", **share),
        "SecAggPlus, semi-malicious": lambda: secagg.SecAggPlus.plan(
            *size, adversary="semi_malicious", connected=True, **share
        ),
        "BFVSum, shared key": lambda: secagg.BFVSum.plan(*size, **lost),
        "BFVSum, public key": lambda: secagg.BFVSum.plan(*size, key="public", **lost),
        "ThresholdSum, least t": lambda: secagg.ThresholdSum.plan(*size, threshold=least, **share),
        "ThresholdSum, largest t": lambda: secagg.ThresholdSum.plan(*size, threshold=largest, **share),
    }
    if options.clip is not None and options.error is not None:
        plans["CKKSSum"] = lambda: secagg.CKKSSum.plan(
            options.parties, options.dim, clip=options.clip, error=options.error, **lost
        )
    return plans


def _thresholds(options: argparse.Namespace) -> tuple[int, int]:
    """What a threshold sum asks for: the smallest t with 3t > 2n + A, and all who do not drop out."""
    corrupt, lost = (
        int(Fraction(repr(share)) * options.parties) if 0.0 <= share < 1.0 else 0
        for share in (options.corrupt, options.dropout)
    )
    return next(t for t in count(2) if 3 * t > 2 * options.parties + corrupt), options.parties - lost


def _facts(build: Callable[[], secagg.SumProtocol], *, calibrated: bool) -> dict[str, Any]:
    """What there is to say of a plan."""
    try:
        plan = build()
    except secagg.SecAggError as error:
        return {"refused": " ".join(str(error).split())}
    traffic = {"bytes_up": plan.bytes_up, "bytes_down": plan.bytes_down}
    terms = {"rounds": len(plan.rounds), "min_honest": plan.min_honest, "promise": plan.promise}
    if hasattr(plan, "threshold"):
        terms["threshold"] = plan.threshold
    if not calibrated:
        return {**traffic, **terms}
    try:
        cost = estimate(plan, clock=_clock())
    except secagg.BackendError as missing:
        return {**traffic, **terms, "not_timed": " ".join(str(missing).split())}
    seconds = {"client_seconds": cost.client_seconds, "server_seconds": cost.server_seconds}
    opener = {"opener_seconds": cost.opener_seconds} if cost.opener_seconds else {}
    return {**traffic, **seconds, **opener, **terms}


def _clock() -> Callable[[], float]:
    """The time of this process alone, where it is told finely enough."""
    return time.process_time if time.get_clock_info("process_time").resolution <= _FINE else time.perf_counter


# -- text


def _text(options: argparse.Namespace, facts: dict[str, Any]) -> str:
    """A table, and what each protocol promises."""
    head = (
        f"{options.parties} parties, {options.dim} values of {options.value_bits} bits, dropout {options.dropout:g}, "
        f"corrupt {options.corrupt:g} (of masked and threshold sums)"
    )
    rows = [f"{'':{_NAMES}}" + "".join(f"{name:>9}" for name in _COLUMNS)]
    rows += [f"{name:{_NAMES}}" + _row(row) for name, row in facts.items()]
    notes = [
        "up, down: bytes of a party, at most. client, server: seconds of one party and of the server, estimated from "
        "small sums that were run here, as many parties lost as planned; no network."
        if not options.no_calibrate
        else "up, down: bytes of a party, at most.",
        "honest: how many parties' noise is in any sum that comes out. t: answers that open a threshold sum; with the "
        "largest messages are shortest, with the least most may leave at the end.",
    ]
    notes += [f"{name} is not timed: {row['not_timed']}" for name, row in facts.items() if "not_timed" in row]
    notes += [
        f"{name}: who opens the sum takes {_seconds(row['opener_seconds'])}."
        for name, row in facts.items()
        if "opener_seconds" in row
    ]
    promises = [f"{name}\n{_filled(row['promise'], '    ')}" for name, row in facts.items() if "promise" in row]
    return "\n\n".join([_filled(head), "\n".join(rows), _filled(" ".join(notes)), *promises])


def _row(row: dict[str, Any]) -> str:
    """A protocol's line of the table, behind its name."""
    for reason in ("refused", "left_out"):
        if reason in row:
            return f"  {reason.replace('_', ' ')}: {row[reason]}"
    cells = [_bytes(row["bytes_up"]), _bytes(row["bytes_down"])]
    cells += [_seconds(row[side]) if side in row else "-" for side in ("client_seconds", "server_seconds")]
    return "".join(f"{cell:>9}" for cell in [*cells, str(row["rounds"]), str(row["min_honest"])])


def _bytes(number: int) -> str:
    """A number of bytes in a few digits."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}" if number < 1000 * unit else f"{number // unit} {name}"
    return f"{number} B"


def _seconds(number: float) -> str:
    """Seconds in the two digits that an estimate has."""
    if number < 0.001:
        return "< 1 ms"
    if number < 0.9995:
        return f"{float(f'{1e3 * number:.2g}'):g} ms"
    return f"{float(f'{number:.2g}'):g} s"


def _filled(text: str, indent: str = "") -> str:
    """Text as wide as the terminal, or as a line of prose."""
    width = min(shutil.get_terminal_size().columns, 100)
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
