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

# Timed are as many rows as form at most this much: more than caches hold, so that its price is that of all rows.
_TIMED_BYTES = 1 << 26
# Estimates err, by up to 4 in what was timed (ten shapes, two x86 cores); beyond this they are trusted.
_OPEN = 16.0
# Below so many multiplications for all rows (about a millisecond) the estimate decides.
_WORTH_TIMING = 1 << 23
_TURNS = 3
_BEHIND = 3.0
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


def fastest(layer: Hashable, routes: Sequence[Route], inputs: Tensor, signals: Tensor, room: int | None) -> Part:
    """The part by the route that takes the least time.

    Args:
        layer: what the routes depend on besides the shapes: the kind of layer and its settings.
        routes: one or more, of equal value.
        inputs: what the layer saw, shape (rows, ...).
        signals: gradients of the losses in what it gave, shape (rows, ...).
        room: bytes that no route may exceed if there is another; None: any.

    Returns:
        The part.
    """
    rows = len(signals)
    open_routes = _open(routes, rows, room)
    likely = min(open_routes, key=lambda route: route.cost)
    if len(open_routes) == 1 or rows * likely.cost < _WORTH_TIMING or torch.are_deterministic_algorithms_enabled():
        return likely.form(inputs, signals)
    names = tuple(route.name for route in open_routes)
    bucket, threads = rows.bit_length(), torch.get_num_threads()
    key = (layer, names, bucket, inputs.shape[1:], signals.shape[1:], signals.dtype, signals.device, threads)
    if key not in _choices:
        seconds = _seconds(open_routes, inputs, signals)
        _remember(key, min(seconds, key=seconds.__getitem__))
    return next(route for route in open_routes if route.name == _choices[key]).form(inputs, signals)


def _open(routes: Sequence[Route], rows: int, room: int | None) -> list[Route]:
    """The routes that fit into memory (if none does: the smallest) and whose estimate is near the best."""
    fitting = [route for route in routes if room is None or rows * route.memory <= room]
    fitting = fitting or [min(routes, key=lambda route: route.memory)]
    least = min(route.cost for route in fitting)
    return [route for route in fitting if route.cost <= _OPEN * least]


def _remember(key: Hashable, name: str) -> None:
    """Keep a choice; the first one stands, and the oldest goes where there are too many."""
    _choices.setdefault(key, name)
    while len(_choices) > _MOST_CHOICES:
        _choices.pop(next(iter(_choices)), None)


def _seconds(routes: Sequence[Route], inputs: Tensor, signals: Tensor) -> dict[str, float]:
    """The least time that each route takes on some rows of ones, by name; in turns, so that all meet the same machine.

    A route that is far behind after the first turn gets no other.
    """
    most = max(route.memory for route in routes)
    rows = max(1, min(len(signals), _TIMED_BYTES // max(most, 1)))
    some, back = (torch.ones_like(tensor[:rows]) for tensor in (inputs, signals))
    least = {route.name: _once(route, some, back) for route in routes}
    ahead = [route for route in routes if least[route.name] <= _BEHIND * min(least.values())]
    for _ in range(_TURNS - 1) if len(ahead) > 1 else ():
        for route in ahead:
            least[route.name] = min(least[route.name], _once(route, some, back))
    return least


def _once(route: Route, inputs: Tensor, signals: Tensor) -> float:
    """Seconds for forming a part, its norms and its sum."""
    weights = torch.ones(len(signals), dtype=torch.float64, device=signals.device)
    alone = signals.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter  # the first does not count when others have the processor
    _wait(signals.device)
    start = clock()
    part = route.form(inputs, signals)
    part.squares()
    part.weighted_sum(weights)
    _wait(signals.device)
    return clock() - start


def _wait(device: torch.device) -> None:
    """Until an accelerator has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
