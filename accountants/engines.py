r"""Engines: what turns one direction of a composition into certified bounds. Rows, the tightest and quickest first.

========================  ==========================================================================================
engine                    answers
========================  ==========================================================================================
closed form               one release of anything that has a pair; any number of unsampled Gaussians
loss lattice              discrete pairs whose losses share a lattice, by convolution, while that is short
contour                   Poisson- and fixed-size-sampled Gaussians in both directions of add_remove, with unsampled
                          ones, any number of them
tilted Fourier            everything else that has a pair: noise of both families in every shape, groups, atoms off any
                          lattice, mixtures of kinds; few or many
========================  ==========================================================================================

They are asked in this order until the ends close. An engine that cannot certify what it was given says so by an upper
end of inf (or log δ = 0) and a lower end of 0 (or -inf); nothing in between is ever invented.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import NamedTuple

from accountants import contour, fourier, lattice, profile
from accountants._gauss import separation
from accountants._numerics import EPS
from accountants._points import Law
from accountants.pairs import AtomPair, Noise, Pair, Shape

__all__ = ["ENGINES", "Direction", "Engine", "LogDelta", "engines_of"]

#: One direction of a composition: pairs with their counts.
Direction = tuple[tuple[Pair | AtomPair, int], ...]

#: (ε, an upper end of log δ that is good enough) -> (lower, upper) of log δ.
LogDelta = Callable[[float, float], tuple[float, float]]

_NARROWEST, _WIDEST = 1e-20, 1e150  # scales of noise that a contour is drawn for
_SIDES = (Shape.REMOVE, Shape.ADD)


class Engine(NamedTuple):
    """One engine.

    Args:
        name: as certificates say it.
        supports: whether it answers for a direction.
        epsilon_bounds: (direction, log δ, relative tolerance, an upper end that is good enough) -> (lower, upper), for
            every δ whose logarithm is within 4 EPS, relative, of the number given.
        curve: (direction, tolerance) -> a function of any real ε and of an upper end that is good enough, to (lower,
            upper) of log δ.
        is_exact: whether it leaves nothing open but rounding, so that no other need be asked.
    """

    name: str
    supports: Callable[[Direction], bool]
    epsilon_bounds: Callable[[Direction, float, float, float], tuple[float, float]]
    curve: Callable[[Direction, float], LogDelta]
    is_exact: bool = False


def engines_of(direction: Direction) -> tuple[Engine, ...]:
    """The engines that answer for a direction, in the order asked, up to the first that is exact."""
    found = [engine for engine in ENGINES if engine.supports(direction)]
    last = next((place for place, engine in enumerate(found) if engine.is_exact), len(found))
    return tuple(found[: last + 1])


def _unsampled(pair: Pair | AtomPair) -> bool:
    return isinstance(pair, Pair) and pair.noise is Noise.GAUSSIAN and pair.shape is Shape.SHIFT


def _sampled(pair: Pair | AtomPair) -> bool:
    return isinstance(pair, Pair) and pair.noise is Noise.GAUSSIAN and pair.shape in _SIDES and pair.size == 1


def _scales(direction: Direction) -> list[tuple[float, int]]:
    """(scale, times) of the unsampled Gaussians."""
    return [(pair.scale, times) for pair, times in direction if isinstance(pair, Pair) and _unsampled(pair)]


def _variance(direction: Direction) -> float:
    """μ² of the unsampled Gaussians, within 4 EPS where it is above 1e-300."""
    return math.fsum(times / scale / scale for scale, times in _scales(direction))


def _on_a_contour(direction: Direction) -> bool:
    """Whether Gaussians are all there is, and none so wide or narrow that its square is no normal number."""
    held = all(_NARROWEST < scale < _WIDEST for scale, _ in _scales(direction))
    return held and all(_unsampled(pair) or _sampled(pair) for pair, _ in direction)


def _either_side(bounds: Callable[[float], tuple[float, float]], log_delta: float) -> tuple[float, float]:
    """Bounds for every δ within rounding of the one given."""
    return bounds(log_delta * (1.0 - 4.0 * EPS))[0], bounds(log_delta * (1.0 + 4.0 * EPS))[1]


def _gaussian_epsilon(direction: Direction, log_delta: float, tolerance: float, enough: float) -> tuple[float, float]:
    mu = separation(_scales(direction))
    low, high = _either_side(lambda log_delta: profile.gaussian_epsilon_bounds(mu, log_delta), log_delta)
    return min(low, sys.float_info.max), high


def _gaussian_curve(direction: Direction, tolerance: float) -> LogDelta:
    mu = separation(_scales(direction))
    return lambda epsilon, enough: profile.gaussian_log_delta_bounds(mu, epsilon)


def _single_epsilon(direction: Direction, log_delta: float, tolerance: float, enough: float) -> tuple[float, float]:
    return _either_side(lambda log_delta: profile.epsilon_bounds(direction[0][0], log_delta), log_delta)


def _single_curve(direction: Direction, tolerance: float) -> LogDelta:
    curve = profile.curve(direction[0][0])
    return lambda epsilon, enough: curve(epsilon)


def _lattice_epsilon(direction: Direction, log_delta: float, tolerance: float, enough: float) -> tuple[float, float]:
    return _either_side(lambda log_delta: lattice.epsilon_bounds(_atoms(direction), log_delta), log_delta)


def _lattice_curve(direction: Direction, tolerance: float) -> LogDelta:
    return lambda epsilon, enough: lattice.log_delta_bounds(_atoms(direction), epsilon)


def _atoms(direction: Direction) -> tuple[tuple[AtomPair, int], ...]:
    return tuple((pair, times) for pair, times in direction if isinstance(pair, AtomPair))


def _on_a_lattice(direction: Direction) -> bool:
    atoms = _atoms(direction)
    return len(atoms) == len(direction) and lattice.supports(atoms)


def _mixture(direction: Direction) -> contour.Mixture:
    """The same for the contour; equal laws together."""
    counts: dict[Law, int] = {}
    for pair, times in direction:
        if isinstance(pair, Pair) and not _unsampled(pair):
            law = Law(pair.scale, pair.sampling_prob, pair.shape is Shape.ADD)
            counts[law] = counts.get(law, 0) + times
    return contour.Mixture(tuple(counts.items()), _variance(direction))


def _contour_epsilon(direction: Direction, log_delta: float, tolerance: float, enough: float) -> tuple[float, float]:
    return contour.epsilon_bounds(_mixture(direction), log_delta, tolerance, enough)


def _contour_curve(direction: Direction, tolerance: float) -> LogDelta:
    return contour.curve(_mixture(direction), tolerance)


#: Every engine, in the order asked.
ENGINES: tuple[Engine, ...] = (
    Engine(
        "closed form",
        lambda direction: all(_unsampled(pair) for pair, _ in direction),
        _gaussian_epsilon,
        _gaussian_curve,
        is_exact=True,
    ),
    Engine(
        "closed form",
        lambda direction: len(direction) == 1 and direction[0][1] == 1,
        _single_epsilon,
        _single_curve,
        is_exact=True,
    ),
    Engine("loss lattice", _on_a_lattice, _lattice_epsilon, _lattice_curve, is_exact=True),
    Engine(
        "contour",
        _on_a_contour,
        _contour_epsilon,
        _contour_curve,
    ),
    Engine("tilted Fourier", fourier.supports, fourier.epsilon_bounds, fourier.Curve),
)
