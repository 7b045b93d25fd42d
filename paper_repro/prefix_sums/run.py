"""Noise in prefix sums, times the sensitivity of one contribution: the largest, and the root mean square."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_toeplitz
from scipy.signal import fftconvolve
from scipy.special import chdtr, chdtrc

from accountants.participation import Participation
from accountants.sensitivity import tree_sensitivity
from dpkit.correlated import BandedNoise, BufferedToeplitzNoise, NoiseStream, TreeNoise
from dpkit.entropy import seeded
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell

Vector = NDArray[np.float64]

STRATEGIES = ("plain tree", "tree", "eighth of the bands", "root", "normalised root", "buffers")


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; only the draws depend on the seed."""
    found = {}
    for done, cell in enumerate(cells, start=1):
        settings = dict(cell.settings)
        what = settings.pop("what")
        found[cell.id] = _METHODS[what](**settings, **({"seed": seed} if what == "draws" else {}))
        progress(done, len(cells), cell.id)
    return found


def stream(name: str, steps: int, like: int = 1, seed: int = 0) -> NoiseStream:
    """A stream of the library; a root has all its bands."""
    terms: dict[str, Any] = {"noise_multiplier": 1.0, "bound": 1.0, "steps": steps, "entropy": seeded(seed)}
    if name == "tree":
        return TreeNoise(np.zeros(like), **terms)
    if name == "buffers":
        return BufferedToeplitzNoise(np.zeros(like), buffers=6, **terms)
    return BandedNoise(np.zeros(like), bands=steps if name == "root" else max(1, steps // 8), **terms)


def variance(name: str, steps: int) -> Vector:
    """Of each prefix sum, times the squared sensitivity of one contribution."""
    once = Participation(steps=steps, max_participations=1)
    if name == "plain tree":
        return np.array([tree_sensitivity(once).value ** 2 * step.bit_count() for step in range(1, steps + 1)])
    if name == "normalised root":
        return _normalised(steps)
    made = stream(name, steps)
    return np.asarray(made.prefix_variance() * made.sensitivity(once).value ** 2)


def _root(steps: int) -> Vector:
    """The coefficients of 1 / sqrt(1 - x)."""
    return np.cumprod(np.concatenate([[1.0], 1.0 - 0.5 / np.arange(1, steps)]))


def _normalised(steps: int) -> Vector:
    """With the columns of the root at norm 1: row i of what is left has the squares f[i-j]² d[j]²."""
    squares = _root(steps) ** 2
    return np.asarray(fftconvolve(squares, np.cumsum(squares)[::-1])[:steps])


_KINDS: dict[str, Callable[[Vector], float]] = {
    "largest": lambda v: math.sqrt(v.max()),
    "mean": lambda v: math.sqrt(v.mean()),
}


def _error(kind: str, steps: int) -> Ours:
    """The plain tree's error; today, that of six buffers; the others' in the note."""
    error = {name: _KINDS[kind](variance(name, steps)) for name in STRATEGIES}
    rest = ", ".join(f"{name} {error[name]:.4f}" for name in list(error)[1:-1])
    return Ours(error["plain tree"], error["buffers"], note=rest)


def _constant(kind: str, steps: int, strategy: str = "normalised root") -> Ours:
    """The error less log(n) / pi."""
    return Ours(_KINDS[kind](variance(strategy, steps)) - math.log(steps) / math.pi)


def _limit(kind: str, steps: int) -> Ours:
    """The limit of that: with L = log(n) / pi the squared error is L² + 2 c L + ..., and c follows from two n."""
    ends = []
    for size in (steps // 2, steps):
        log = math.log(size) / math.pi
        ends.append((log, _KINDS[kind](_normalised(size)) ** 2 - log**2))
    return Ours((ends[1][1] - ends[0][1]) / (2.0 * (ends[1][0] - ends[0][0])))


def _variance(coefficients: list[float]) -> Ours:
    """The largest variance of a given Toeplitz strategy, not times its sensitivity."""
    terms: dict[str, Any] = {"noise_multiplier": 1.0, "bound": 1.0, "steps": len(coefficients)}
    return Ours(float(BandedNoise(np.zeros(1), coefficients=coefficients, **terms).prefix_variance().max()))


def _full_honaker(steps: int) -> Ours:
    """The largest variance of a tree's sums by least squares over all nodes; today the stream's, which cannot wait."""
    sizes = [1 << level for level in range(steps.bit_length())]
    nodes = [np.repeat(row, size) for size in sizes for row in np.eye(steps // size)]
    prefixes = np.tri(steps) @ np.linalg.pinv(np.array(nodes))
    return Ours(float((prefixes**2).sum(axis=1).max()), float(stream("tree", steps).prefix_variance().max()))


def _dense(name: str, steps: int) -> Ours:
    """The largest variance by solving with the whole matrix, over that by the stream's recursion."""
    made = stream(name, steps)
    column = _root(steps)
    if isinstance(made, BufferedToeplitzNoise):
        column[1:] = made.output_scale @ made.buf_decay[:, None] ** np.arange(steps - 1)
    sums = solve_toeplitz((column, np.eye(1, steps)[0]), np.ones(steps))
    return Ours(float(np.cumsum(sums**2).max() / made.prefix_variance().max()))


def _draws(name: str, steps: int, seed: int) -> Ours:
    """The chance of sums of drawn rows so far from the stated variances: exact chi-square tails, all together."""
    numbers = 4000
    made = stream(name, steps, numbers, seed)
    sums = np.cumsum([made.next() for _ in range(steps)], axis=0) / made.stddev
    sizes = (sums**2).sum(axis=1) / made.prefix_variance()
    tails = np.minimum(chdtr(numbers, sizes), chdtrc(numbers, sizes))
    return Ours(float(min(1.0, 2.0 * steps * tails.min())), note=f"{numbers} numbers in each of {steps} rows")


_METHODS: dict[str, Callable[..., Ours]] = {"error": _error, "constant": _constant, "limit": _limit, "draws": _draws}
_METHODS |= {"variance": _variance, "full honaker": _full_honaker, "dense": _dense}


def draw(figure: Any, cells: Sequence[Cell], found: Mapping[str, Ours]) -> None:
    """Both errors over n, with the published bounds in black."""
    sizes = [1 << k for k in range(4, 12)]
    bounds = {"largest": (0.846, 0.701), "mean": (0.748, 0.701)}
    for axes, kind in zip(figure.subplots(1, 2), _KINDS, strict=True):
        for name in STRATEGIES:
            axes.plot(sizes, [_KINDS[kind](variance(name, size)) for size in sizes], marker=".", label=name)
        for constant, word in zip(bounds[kind], ("upper", "lower"), strict=True):
            crosses = [constant + math.log(size) / math.pi for size in sizes]
            axes.plot(
                sizes, crosses, "kx" if word == "upper" else "k+", label=f"published, {word}: {constant} + log(n)/π"
            )
        axes.set(xscale="log", xlabel="steps", ylabel=f"{kind} error of a prefix sum, times sensitivity")
        axes.legend(fontsize=7)
