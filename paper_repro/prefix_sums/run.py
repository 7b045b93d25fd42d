"""Noise in prefix sums, times the sensitivity of one contribution: the largest, and the root mean square."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtr, chdtrc

from dpkit.correlated import BandedNoise
from paper_repro.prefix_sums.strategies import (
    STRATEGIES,
    best_buffers,
    growing,
    normalised,
    singular_values,
    stream,
    variance,
)
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell

_KINDS: dict[str, Callable[[NDArray[np.float64]], float]] = {
    "largest": lambda v: math.sqrt(v.max()),
    "mean": lambda v: math.sqrt(v.mean()),
}


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells, but for two buffers in a smoke run; only the draws depend on the seed."""
    found = {}
    for done, cell in enumerate(cells, start=1):
        settings = dict(cell.settings)
        what = settings.pop("what")
        if not (smoke and what in ("best buffers", "ratio")):
            found[cell.id] = _METHODS[what](**settings, **({"seed": seed} if what == "draws" else {}))
        progress(done, len(cells), cell.id)
    return found


def _error(kind: str, steps: int) -> Ours:
    """The plain tree's error; today, that of six buffers; the others' in the note."""
    error = {name: _KINDS[kind](variance(name, steps)) for name in STRATEGIES}
    rest = ", ".join(f"{name} {error[name]:.4f}" for name in list(error)[1:-1])
    return Ours(error["plain tree"], error["buffers"], note=rest)


def _constant(kind: str, steps: list[int], strategy: str = "normalised root") -> Ours:
    """The error less log(n) / pi, where it is largest."""
    return Ours(max(_KINDS[kind](variance(strategy, size)) - math.log(size) / math.pi for size in steps))


def _limit(kind: str, steps: int) -> Ours:
    """The limit of that: with L = log(n) / pi the growing squared error is L² + 2 c L + ..., and two n give c."""
    rest = [_KINDS[kind](normalised(size)) ** 2 - _KINDS[kind](growing(size)) ** 2 for size in (512, 2048)]
    if abs(rest[1] - rest[0]) > 0.01:
        raise ValueError("what is left of the variances grows too.")
    ends = []
    for size in (steps // 2, steps):
        log = math.log(size) / math.pi
        ends.append((log, _KINDS[kind](growing(size)) ** 2 - log**2))
    return Ours((ends[1][1] - ends[0][1]) / (2.0 * (ends[1][0] - ends[0][0])), note=f"what is left: {rest[1]:.3f}")


def _singular(steps: int) -> Ours:
    """The mean singular value less log(n) / pi."""
    return Ours(float(singular_values(steps).mean()) - math.log(steps) / math.pi)


def _margin(kind: str, steps: list[int]) -> Ours:
    """The least error over the mean singular value, of all strategies and n; which one it is."""
    ratios = [
        (_KINDS[kind](variance(name, size)) / float(singular_values(size).mean()), name, size)
        for name in STRATEGIES
        for size in steps
    ]
    least, name, size = min(ratios)
    return Ours(least, note=f"{name}, n {size}")


def _variance(coefficients: list[float]) -> Ours:
    """The largest variance of a given Toeplitz strategy, not times its sensitivity."""
    terms: dict[str, Any] = {"noise_multiplier": 1.0, "bound": 1.0, "steps": len(coefficients)}
    return Ours(float(BandedNoise(np.zeros(1), coefficients=coefficients, **terms).prefix_variance().max()))


def _node_sum(step: int) -> Ours:
    """The variance of the sum of so many steps, by the library's tree."""
    return Ours(float(stream("tree", step).prefix_variance()[-1]))


def _full_honaker(steps: int) -> Ours:
    """The largest variance of a tree's sums by least squares over all nodes; today the stream's, which cannot wait."""
    sizes = [1 << level for level in range(steps.bit_length())]
    nodes = [np.repeat(row, size) for size in sizes for row in np.eye(steps // size)]
    prefixes = np.tri(steps) @ np.linalg.pinv(np.array(nodes))
    return Ours(float((prefixes**2).sum(axis=1).max()), float(stream("tree", steps).prefix_variance().max()))


def _best_buffers(steps: int, part: int, place: int) -> Ours:
    """A scale, or a decay."""
    return Ours(float(best_buffers(steps)[part][place]))


def _ratio(steps: int) -> Ours:
    """The largest error with these, by the library, over 1 + log(n) / pi; today, with two of the library's own."""
    scales, decays = best_buffers(steps)
    given: list[dict[str, Any]] = [{"output_scale": scales, "buf_decay": decays}, {"buffers": 2}, {"buffers": 6}]
    bound = 1.0 + math.log(steps) / math.pi
    errors = [_KINDS["largest"](variance("buffers", steps, **one)) / bound for one in given]
    return Ours(errors[0], errors[1], note=f"six buffers of the library's own: {errors[2]:.4f}")


def _draws(name: str, steps: int, seed: int) -> Ours:
    """The chance of sums of drawn rows so far from the stated variances: exact chi-square tails, all together."""
    numbers = 4000
    made = stream(name, steps, numbers, seed)
    sums = np.cumsum([made.next() for _ in range(steps)], axis=0) / made.stddev
    sizes = (sums**2).sum(axis=1) / made.prefix_variance()
    tails = np.minimum(chdtr(numbers, sizes), chdtrc(numbers, sizes))
    return Ours(float(min(1.0, 2.0 * steps * tails.min())), note=f"{numbers} numbers in each of {steps} rows")


_METHODS: dict[str, Callable[..., Ours]] = {"error": _error, "constant": _constant, "limit": _limit, "draws": _draws}
_METHODS |= {"variance": _variance, "node sum": _node_sum, "full honaker": _full_honaker, "singular": _singular}
_METHODS |= {"margin": _margin, "best buffers": _best_buffers, "ratio": _ratio}


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Both errors over n, with the published bounds in black."""
    sizes = [1 << k for k in range(4, 12)]
    for axes, kind, constant in zip(figure.subplots(1, 2), _KINDS, (0.846, 0.748), strict=True):
        for name in STRATEGIES:
            style = "--" if name == "buffers" else "-"
            axes.plot(sizes, [_KINDS[kind](variance(name, size)) for size in sizes], style, marker=".", label=name)
        for number, word, mark in ((constant, "upper", "kx"), (0.701, "lower", "k+")):
            crosses = [number + math.log(size) / math.pi for size in sizes]
            axes.plot(sizes, crosses, mark, label=f"published, {word}: {number} + log(n)/π + o(1)")
        word = "largest" if kind == "largest" else "root mean square"
        axes.set(xscale="log", xlabel="steps n", ylabel=f"{word} error, times sensitivity", ylim=(1, 16))
        axes.legend(fontsize=7, loc="upper left")
