"""Numbers of ours, how they came about, and the file that keeps them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from paper_repro.compare import Verdict
from paper_repro.spec import Cell, Experiment

__all__ = ["Ours", "Progress", "Result", "current", "digest", "execute", "load", "save", "verdict"]

Progress = Callable[[int, int, str], None]
"""Called with the steps that are done, how many there are, and a word about the last."""

_PACKAGES = ("dpkit", "numpy", "scipy", "cryptography", "torch", "tenseal", "opacus", "scikit-learn")


@final
@dataclass(frozen=True, slots=True)
class Ours:
    """What a cell came to.

    Args:
        value: the published quantity, by the published settings.
        today: the same releases, or the same task, as we would do it now; None where that is the same.
        note: what a reader must know beside the number.
    """

    value: float
    today: float | None = None
    note: str = ""


@final
@dataclass(frozen=True, slots=True)
class Result:
    """A run of an experiment.

    Args:
        experiment: its id.
        spec: digest of what was run: a result of other cells is stale.
        smoke: whether it was the short run, whose numbers are not compared.
        seed: what all randomness of the run follows from.
        seconds: how long it took.
        provenance: terms, versions, machine, data.
        cells: ours, by the cell's id.
    """

    experiment: str
    spec: str
    smoke: bool
    seed: int
    seconds: float
    provenance: dict[str, Any]
    cells: dict[str, Ours]


def execute(experiment: Experiment, *, smoke: bool, seed: int, progress: Progress) -> Result:
    """Run an experiment: ``run(cells, smoke=, seed=, progress=)`` of its code returns ours by the cell's id."""
    started = time.perf_counter()
    found: Mapping[str, Ours] = experiment.code.run(experiment.cells, smoke=smoke, seed=seed, progress=progress)
    unknown = set(found) - {cell.id for cell in experiment.cells}
    missing = [] if smoke else [cell.id for cell in experiment.cells if cell.id not in found]
    if unknown or missing:
        raise ValueError(f"{experiment.id}: run() returned {sorted(unknown)}, and nothing for {missing}.")
    return Result(
        experiment=experiment.id,
        spec=digest(experiment),
        smoke=smoke,
        seed=seed,
        seconds=round(time.perf_counter() - started, 2),
        provenance=_provenance(experiment),
        cells=dict(found),
    )


def verdict(cell: Cell, ours: Ours | None, *, smoke: bool = False) -> Verdict:
    """Whether a cell agrees."""
    if ours is None:
        return "not run"
    if smoke or not cell.compared or cell.published is None:
        return "not compared"
    if not cell.agreement.holds(ours.value, cell.published):
        return "DIFFERS"
    return "explained" if cell.agreement.kind == "differs" else "agrees"


def save(result: Result, path: Path) -> None:
    """As JSON; numbers keep every digit."""
    path.write_text(json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load(experiment: Experiment) -> Result | None:
    """The committed run; None if there is none."""
    path = experiment.folder / "results.json"
    if not path.is_file():
        return None
    table = json.loads(path.read_text(encoding="utf-8"))
    return Result(**{**table, "cells": {name: Ours(**row) for name, row in table["cells"].items()}})


def current(experiment: Experiment) -> Result | None:
    """The committed run, if it was a full one of the cells as they are."""
    result = load(experiment)
    if result is None or result.smoke or result.spec != digest(experiment):
        return None
    return result if set(result.cells) == {cell.id for cell in experiment.cells} else None


def digest(experiment: Experiment) -> str:
    """What a result is a result of: ids, published numbers and settings, all that ``run()`` goes by."""
    cells = [(cell.id, cell.published, cell.settings) for cell in experiment.cells]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()[:16]


def _provenance(experiment: Experiment) -> dict[str, Any]:
    """Where the numbers come from."""
    versions = {name: _version(name) for name in _PACKAGES}
    data: Sequence[str] = getattr(experiment.code, "DATA", ())
    return {
        "terms": experiment.terms,
        "versions": {name: version for name, version in versions.items() if version},
        "python": platform.python_version(),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "data": list(data),
    }


def _processor() -> str:
    """The model where the system tells it, else the kind."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _version(name: str) -> str:
    """An installed version, or nothing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
