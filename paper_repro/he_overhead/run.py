"""Rounds of secure sums of models, by our protocols and by TenSEAL as others set it up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from secagg import BFVSum, CKKSSum, FixedPoint, SecAgg, ThresholdSum, simulate

PARTIES, BITS, CLIP, ERROR = 3, 16, 1.0, 1e-4

DEGREE, SCALE = 8192, 2.0**40
"""Of TenSEAL's README, and of NVIDIA FLARE's example."""

MODULI = {"readme": [60, 40, 40, 60], "nvflare": [60, 40, 40]}

AGAINST: dict[str, Any] = {"adversary": "semi_honest", "corrupt": 0.34, "dropout": 0.0}

SMOKE = 101
"""The model of a short run."""


@final
@dataclass(frozen=True, slots=True)
class Round:
    """What a round took, and how far off its sum was.

    Args:
        ratio: bytes that a party sends, over float32.
        seconds: CPU time of all together.
        error: largest error of an entry of the sum.
    """

    ratio: float
    seconds: float
    error: float


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; times and compressed sizes differ from run to run. A short run has the smallest model only."""
    tenseal = _tenseal()
    chosen = [cell for cell in cells if not smoke or cell.settings["dim"] == SMOKE]
    wanted = sorted({key for cell in chosen for key in _needed(**cell.settings)})
    played = {}
    for done, (dim, parties, scheme) in enumerate(wanted, start=1):
        models = np.random.default_rng(seed).normal(0.0, 0.05, (parties, dim)).clip(-CLIP, CLIP)
        play = partial(_by_tenseal, tenseal) if scheme in MODULI else _by_secagg
        played[dim, parties, scheme] = play(scheme, models)
        progress(done, len(wanted), f"{scheme}, {dim} parameters")
    return {cell.id: _ours(played, **cell.settings) for cell in chosen}


def draw(figure: Any, cells: Sequence[Cell], found: dict[str, Ours]) -> None:
    """Bytes and seconds by the size of the model."""
    for axes, what, word in zip(figure.subplots(1, 2), ("bytes", "seconds"), ("bytes / float32", "s"), strict=True):
        lines: dict[str, list[tuple[int, float]]] = {}
        for cell in cells:
            if cell.id.startswith(what):
                lines.setdefault(cell.settings["scheme"], []).append((cell.settings["dim"], found[cell.id].value))
        for scheme, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", linestyle="--" if scheme in MODULI else "-", label=scheme)
        axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel=word)
        if what == "bytes":
            axes.axhline(1.0, color="lightgrey", zorder=0)
        else:
            axes.plot(3491530, 18.4, "kx", label="published (8 parties)")
        axes.legend(loc="best")


def _needed(what: str, dim: int, scheme: str = "readme", parties: int = PARTIES) -> list[tuple[int, int, str]]:
    """The rounds that a cell rests on."""
    return [(dim, parties, scheme), *([(dim, parties, "bfv")] if scheme in MODULI else [])]


def _ours(played: dict[tuple[int, int, str], Round], what: str, dim: int, **rest: Any) -> Ours:
    """A cell's number."""
    first, *today = (played[key] for key in _needed(what, dim, **rest))
    if what == "quotient":
        return Ours(
            first.ratio / today[0].ratio, note=f"and {first.seconds / today[0].seconds:.0f} times less CPU time"
        )
    if what == "bytes":
        return Ours(first.ratio, today[0].ratio if today else None, f"entries of the sum are off by {first.error:.1g}")
    return Ours(first.seconds, today[0].seconds if today else None)


def _by_secagg(scheme: str, models: NDArray[np.float64]) -> Round:
    """Encode, protect, add, open, decode."""
    parties, dim = models.shape
    plans: dict[str, Any] = {
        "bfv": lambda: BFVSum.plan(parties, dim, BITS),
        "threshold": lambda: ThresholdSum.plan(parties, dim, BITS, threshold=parties, corrupt=0.34, dropout=0.0),
        "ckks": lambda: CKKSSum.plan(parties, dim, clip=CLIP, error=ERROR),
        "masks": lambda: SecAgg.plan(parties, dim, BITS, **AGAINST),
    }
    plan, started = plans[scheme](), time.process_time()
    result = simulate(plan, models, codec=None if scheme == "ckks" else FixedPoint(BITS, CLIP))
    seconds = time.process_time() - started
    return Round(float(result.bytes_up.mean()) / (4 * dim), seconds, float(abs(result.total - models.sum(0)).max()))


def _by_tenseal(tenseal: Any, scheme: str, models: NDArray[np.float64]) -> Round:
    """One key for all parties, none for the server; the sum is decrypted by one."""
    started = time.process_time()
    keys = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=MODULI[scheme])
    keys.global_scale = SCALE
    public = keys.copy()
    public.make_context_public()
    sent, opened = 0, []
    for start in range(0, models.shape[1], DEGREE // 2):
        chunks = models[:, start : start + DEGREE // 2]
        parts = [tenseal.ckks_vector(keys, chunk.tolist()).serialize() for chunk in chunks]
        sent += len(parts[0])
        total = reduce(add, (tenseal.ckks_vector_from(public, part) for part in parts)).serialize()
        opened += tenseal.ckks_vector_from(keys, total).decrypt()
    seconds = time.process_time() - started
    return Round(sent / (4 * models.shape[1]), seconds, float(abs(np.array(opened) - models.sum(0)).max()))


def _tenseal() -> Any:
    """TenSEAL."""
    try:
        import tenseal
    except ModuleNotFoundError:
        raise ModuleNotFoundError("he_overhead needs TenSEAL: pip install tenseal") from None
    return tenseal
