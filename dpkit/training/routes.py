r"""Routes: several ways to the same gradients, of which the fastest is found by timing them once.

Which way is fastest depends on the machine as much as on the shape: counts of multiplications mispredict it. So where
an estimate leaves more than one way open, each is timed on ones of the same shape, and the answer is kept for the
process: the same shapes take the same way, and give the same bits, however often they come. Routes differ in rounding
only, and neither their timing nor their choice looks at the data.

Nothing is timed, and the estimate decides, for calls so small that timing would cost more than it could save, and
wherever ``torch.use_deterministic_algorithms(True)`` asks for the same bits in every process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dpkit.training.parts import Part

__all__ = ["Route", "fastest"]

# What a route may form if there is another.
_MOST_BYTES = 1 << 29
# Timed are as many rows as form at most this much: more than caches hold, so that its price is that of all rows.
_TIMED_BYTES = 1 << 26
# Estimates err, but never by this factor in what was timed (twelve shapes, two x86 cores).
_OPEN = 16.0
# Below so many multiplications for all rows (about a millisecond) the estimate decides.
_WORTH_TIMING = 1 << 23
_REPEATS = 3
_MOST_CHOICES = 4096

_choices: dict[Hashable, str] = {}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One way to a part.

    Attributes:
        name: the route's name, one of a few.
        cost: estimated multiplications for one row.
        memory: bytes that it forms for one row.
        form: makes the part from inputs and signals, each of shape (rows, ...).
    """

    name: str
    cost: float
    memory: int
    form: Callable[[Tensor, Tensor], Part]


def fastest(layer: Hashable, routes: Sequence[Route], inputs: Tensor, signals: Tensor) -> Part:
    """The part by the route that takes the least time.

    Args:
        layer: what the routes depend on besides the shapes: the kind of layer and its settings.
        routes: one or more, of equal value.
        inputs: what the layer saw, shape (rows, ...).
        signals: gradients of the losses in what it gave, shape (rows, ...).

    Returns:
        The part.
    """
    rows = len(signals)
    open_routes = _open(routes, rows)
    likely = min(open_routes, key=lambda route: route.cost)
    if len(open_routes) == 1 or rows * likely.cost < _WORTH_TIMING or torch.are_deterministic_algorithms_enabled():
        return likely.form(inputs, signals)
    names = tuple(route.name for route in open_routes)
    bucket, threads = rows.bit_length(), torch.get_num_threads()
    key = (layer, names, bucket, inputs.shape[1:], signals.shape[1:], signals.dtype, signals.device, threads)
    if key not in _choices:
        _remember(key, min(open_routes, key=lambda route: _seconds(route, inputs, signals)).name)
    return next(route for route in open_routes if route.name == _choices[key]).form(inputs, signals)


def _open(routes: Sequence[Route], rows: int) -> list[Route]:
    """The routes that fit into memory (if none does: the smallest) and whose estimate is near the best."""
    fitting = [route for route in routes if rows * route.memory <= _MOST_BYTES]
    fitting = fitting or [min(routes, key=lambda route: route.memory)]
    least = min(route.cost for route in fitting)
    return [route for route in fitting if route.cost <= _OPEN * least]


def _remember(key: Hashable, name: str) -> None:
    """Keep a choice; the first one stands, and the oldest goes where there are too many."""
    _choices.setdefault(key, name)
    while len(_choices) > _MOST_CHOICES:
        _choices.pop(next(iter(_choices)), None)


def _seconds(route: Route, inputs: Tensor, signals: Tensor) -> float:
    """The least time that forming a part, its norms and its sum takes on some rows of ones."""
    rows = max(1, min(len(signals), _TIMED_BYTES // max(route.memory, 1)))
    some, back = (torch.ones_like(tensor[:rows]) for tensor in (inputs, signals))
    weights = torch.ones(rows, dtype=torch.float64, device=signals.device)
    best = float("inf")
    for _ in range(_REPEATS):
        _wait(signals.device)
        start = time.perf_counter()
        part = route.form(some, back)
        part.squares()
        part.weighted_sum(weights)
        _wait(signals.device)
        best = min(best, time.perf_counter() - start)
    return best / rows


def _wait(device: torch.device) -> None:
    """Until an accelerator has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
