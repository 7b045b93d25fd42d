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

DEGREE, MB = 8192, 2**20

SETUPS = {
    "readme": ([60, 40, 40, 60], 40, "ASYMMETRIC"),
    "nvflare": ([60, 40, 40], 40, "SYMMETRIC"),
    "fedml": ([60, 52, 60], 52, "ASYMMETRIC"),
    "tensor": ([60, 40, 40, 60], 52, "ASYMMETRIC"),
}
"""Bits of the moduli and of the scale, and who encrypts: those with the public key, or with the secret one."""

AGAINST: dict[str, Any] = {"adversary": "semi_honest", "corrupt": 0.34, "dropout": 0.0}

SMOKE, ALONE = 101, 50
"""The model of a short run; how many numbers are encrypted one by one."""


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
        play = partial(_by_tenseal, tenseal) if scheme in SETUPS else _by_secagg
        played[dim, parties, scheme] = play(scheme, models)
        progress(done, len(wanted), f"{scheme}, {dim} parameters")
    return {cell.id: _ours(played, **cell.settings) for cell in chosen}


def draw(figure: Any, cells: Sequence[Cell], found: dict[str, Ours]) -> None:
    """Bytes and seconds by the size of the model; what was published is of other machines."""
    words = ("bytes sent / bytes of float32", "seconds; ours: CPU of all, published: by the clock")
    for axes, what, word in zip(figure.subplots(1, 2), ("bytes", "seconds"), words, strict=True):
        lines: dict[str, dict[int, float]] = {}
        crosses: list[tuple[int, float]] = []
        for cell in cells:
            kind, dim, scheme = (cell.settings.get(name, "") for name in ("what", "dim", "scheme"))
            per = 4 * dim / MB if kind == "MB" else 1.0
            if {"MB": "bytes"}.get(kind, kind) != what or scheme == "tensor" or cell.id not in found:
                continue
            label = f"{scheme}, 8 parties" if "parties" in cell.settings else scheme
            lines.setdefault(label, {})[dim] = found[cell.id].value / per
            crosses += [(dim, float(cell.published) / per)] if cell.published is not None else []
        for label, points in lines.items():
            style = {"marker": "o", "linestyle": "--" if label.split(",")[0] in SETUPS else "-", "markersize": 4}
            axes.plot(*zip(*sorted(points.items()), strict=True), label=label, **style)
        axes.plot(*np.reshape(crosses, (-1, 2)).T, "kx", label="published", zorder=3)
        axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel=word)
        axes.legend(loc="best", fontsize=7)


def _needed(what: str, dim: int, scheme: str = "fedml", parties: int = PARTIES) -> list[tuple[int, int, str]]:
    """The rounds that a cell rests on."""
    return [(dim, parties, scheme), *([(dim, parties, "bfv")] if scheme in SETUPS else [])]


def _ours(played: dict[tuple[int, int, str], Round], what: str, dim: int, **rest: Any) -> Ours:
    """A cell's number."""
    first, *today = (played[key] for key in _needed(what, dim, **rest))
    if what == "quotient":
        note = f"and {first.seconds / today[0].seconds:.0f} times less CPU time"
        return Ours(first.ratio / today[0].ratio, note=note)
    if what == "seconds":
        return Ours(first.seconds, today[0].seconds if today else None)
    per = 4 * dim / MB if what == "MB" else 1.0
    note = f"entries of the sum are off by {first.error:.1g}"
    return Ours(first.ratio * per, today[0].ratio * per if today else None, note)


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
    bits, scale, kind = SETUPS[scheme]
    keys = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, -1, bits, getattr(tenseal.ENCRYPTION_TYPE, kind))
    keys.global_scale = 2.0**scale
    if scheme == "tensor":
        part = tenseal.ckks_tensor(keys, tenseal.plain_tensor(models[0, :ALONE].tolist()))
        error = abs(np.array(part.decrypt().tolist()) - models[0, :ALONE]).max()
        return Round(len(part.serialize()) / (4 * ALONE), float("nan"), float(error))
    server, sent, opened = tenseal.context_from(keys.serialize()), 0, []
    for start in range(0, models.shape[1], DEGREE // 2):
        chunks = models[:, start : start + DEGREE // 2]
        parts = [tenseal.ckks_vector(keys, chunk.tolist()).serialize() for chunk in chunks]
        sent += len(parts[0])
        total = reduce(add, (tenseal.ckks_vector_from(server, part) for part in parts)).serialize()
        opened.append(np.array(tenseal.ckks_vector_from(keys, total).decrypt()))
    seconds = time.process_time() - started
    return Round(sent / (4 * models.shape[1]), seconds, float(abs(np.concatenate(opened) - models.sum(0)).max()))


def _tenseal() -> Any:
    """TenSEAL."""
    try:
        import tenseal
    except ModuleNotFoundError:
        raise ModuleNotFoundError("he_overhead needs TenSEAL: pip install tenseal") from None
    return tenseal
