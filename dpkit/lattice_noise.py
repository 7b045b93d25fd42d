"""The noise of one release on the integer lattice: drawn, recorded, and known to the last probability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from accountants import calibrate
from accountants.errors import EventError
from accountants.events import Event
from dpkit._checks import check_real
from dpkit._laws import Law, half_width
from dpkit.bounded import Bounded, flatten, rebuild, shapes
from dpkit.entropy import Source
from dpkit.errors import ParameterError
from dpkit.lattice import holds_integers
from dpkit.mechanism import Recorder, Release, Sampling, publish, query_vector
from dpkit.samplers import to_lattice

__all__ = ["LatticeNoise", "least_multiplier"]

_LARGEST_WHOLE = 2.0**10  # integers come out as integers up to this step: 2**52 steps of it are far from 2**63
_TOLERANCE = 1e-6  # of calibrated noise multipliers


@final
@dataclass(frozen=True, slots=True)
class LatticeNoise:
    """The noise of one release, or of one share of it, on the integer lattice, and the event of the whole.

    Guarantee: the event is made of the numbers of the law that draws, and of the query's bound, type and size
    (``test_event_is_made_of_the_numbers_that_drew``, ``test_rounded_events_are_made_of_the_numbers_that_drew``).

    Attributes:
        step: the lattice step in units of the value, a power of two.
        law: what is drawn, in steps.
        event: what the release costs, growth by rounding included; with shares: the guaranteed ones together.
        exact: whether the query's own numbers lie on the lattice, by their type.

    Example:
        >>> from dpkit import SkellamMechanism
        >>> SkellamMechanism(4.0, step=0.5).noise(Bounded(np.zeros(9), 2.0)).event.l2_bound  # below 4 steps + sqrt(9)
        6.782329983125269
    """

    step: float
    law: Law
    event: Event
    exact: bool

    def draw(self, vector: NDArray[np.float64], source: Source) -> NDArray[np.int64]:
        """Return a vector in lattice steps, noised.

        Args:
            vector: float64, shape (d,), in units of the value; clamped to 2**52 steps, which costs no privacy.
            source: where the randomness comes from.

        Returns:
            int64, shape (d,).

        Example:
            >>> from dpkit import SkellamMechanism, entropy
            >>> noise = SkellamMechanism(4.0, step=0.5).noise(Bounded(np.zeros(2), 2.0))
            >>> noise.draw(np.zeros(2), entropy.system()).dtype
            dtype('int64')
        """
        return self.law.draw(to_lattice(vector, self.step), source)

    def publish(
        self, query: Bounded, *, sampling: Sampling | None, ledger: Recorder | None, entropy: Source | None
    ) -> Release:
        """Record the event, then return the query with noise: see :func:`dpkit.mechanism.publish`.

        Args:
            query: what the noise was made for.
            sampling: how the records were sampled, or None.
            ledger: where to record, or None.
            entropy: source of randomness; None means ``dpkit.entropy.system()``.

        Returns:
            The release: int64 where the query holds integers only and the step is a whole number up to 1024; else
            floats.

        Raises:
            ParameterError: the query is not finite, or the sampling or the ledger is none.
            StateError: the sampling has no open draw; nothing is recorded.

        Example:
            >>> from dpkit import SkellamMechanism
            >>> query = Bounded(np.array([3, 4]), 1.0)
            >>> noise = SkellamMechanism(4.0, step=1.0).noise(query)
            >>> noise.publish(query, sampling=None, ledger=None, entropy=None).value.dtype
            dtype('int64')
        """
        whole = 1.0 <= self.step <= _LARGEST_WHOLE and holds_integers(query.value)

        def draw(vector: NDArray[np.float64], source: Source) -> NDArray[Any]:
            draws = self.draw(vector, source)
            return draws * np.int64(self.step) if whole else np.asarray(draws * self.step, dtype=np.float64)

        return publish(query, self.event, draw, sampling=sampling, ledger=ledger, entropy=entropy)

    def pmf(self, outputs: Any, query: Bounded) -> Any:
        """Return the probability of each output, coordinate by coordinate, given the query's own value.

        Args:
            outputs: what might be released: an array to which the query's shape broadcasts, or a dict of arrays with
                the query's names and shapes. Integers beyond 2**53 are read as 2**53.
            query: what the noise was made for.

        Returns:
            float64 in the structure of `outputs`; 0 off the lattice.

        Raises:
            ParameterError: the query is not finite, or the outputs are not of its structure.

        Example:
            >>> from dpkit import SkellamMechanism
            >>> query = Bounded(np.array(3), 1.0)
            >>> SkellamMechanism(1.0, step=1.0).noise(query).pmf([2, 3, 3.5], query).round(6)
            array([0.20791, 0.46576, 0.     ])
        """
        vector = query_vector(query)
        if isinstance(query.value, Mapping) or isinstance(outputs, Mapping):
            if not isinstance(outputs, Mapping) or shapes(outputs) != shapes(query.value):
                raise ParameterError("outputs must have the names and shapes of the query; give a dict of arrays.")
            ordered = {name: outputs[name] for name in query.value}
            return rebuild(self._pmf(flatten(ordered), vector), ordered)
        wanted = np.asarray(outputs)
        centers = vector.reshape(shapes(query.value))
        if _broadcast(wanted.shape, centers.shape) != wanted.shape:
            raise ParameterError(
                f"outputs must have a shape that the query's, {centers.shape}, broadcasts to, got {wanted.shape}."
            )
        return self._pmf(flatten(wanted).reshape(wanted.shape), np.broadcast_to(centers, wanted.shape))

    def _pmf(self, outputs: NDArray[np.float64], centers: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same for float64 arrays of one shape."""
        centers = to_lattice(centers, self.step).reshape(outputs.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = outputs / self.step
            there = np.isfinite(steps) & (steps == np.rint(steps))
        return np.where(there, self.law.pmf(np.where(there, steps, 0.0), centers), 0.0)

    def variance(self) -> float:
        """Return the mean square of the noise of each coordinate, in units of the value squared.

        Returns:
            To a relative 1e-13. Where the centre is real: of the worst centre, so an upper bound.

        Example:
            >>> from dpkit import SkellamMechanism
            >>> SkellamMechanism(4.0, step=0.5).noise(Bounded(np.zeros(9), 2.0)).variance()
            64.0
        """
        real = not self.exact and not self.law.rounds
        return self.law.variance(0.5 if real else 0.0) * self.step * self.step

    def interval(self, level: float) -> float:
        """Return a half-width around the query's own value that holds each coordinate with a probability.

        Args:
            level: in (0, 1).

        Returns:
            A multiple of the step, rounded up; half a step more where the query is rounded.

        Raises:
            ParameterError: level is not in (0, 1).

        Example:
            >>> from dpkit import SkellamMechanism
            >>> SkellamMechanism(4.0, step=0.5).noise(Bounded(np.zeros(9), 2.0)).interval(0.95)
            15.75
        """
        level = check_real("level", level, "give the probability to hold, such as 0.95.")
        if not 0.0 < level < 1.0:
            raise ParameterError(f"level must be in (0, 1), got {level!r}; give the probability to hold, such as 0.95.")
        free = not self.exact
        steps = half_width(self.law, level, real=free and not self.law.rounds)
        return (steps + (0.5 if free and self.law.rounds else 0.0)) * self.step


def least_multiplier(build: Callable[[float], Event], *, epsilon: float, delta: float, relation: str) -> float:
    """Return the smallest noise multiplier that meets a target, on the safe side and to a relative 1e-6.

    Args:
        build: from a noise multiplier to the event; what it refuses as out of range counts as too little noise.
        epsilon: the target, > 0.
        delta: in (0, 1).
        relation: which data sets are neighbours.

    Returns:
        The noise multiplier, whose event was evaluated and meets the target.

    Raises:
        accountants.errors.AccountingError: a parameter is out of its domain, or no noise in reach meets the target.

    Example:
        >>> from accountants import Gaussian
        >>> round(least_multiplier(Gaussian, epsilon=1.0, delta=1e-6, relation="add_remove"), 4)
        4.2247
    """

    def event(noise_multiplier: float) -> Event:
        try:
            return build(noise_multiplier)
        except ParameterError as refusal:
            raise EventError(str(refusal)) from None

    return calibrate(event, epsilon=epsilon, delta=delta, relation=relation, tolerance=_TOLERANCE)


def _broadcast(*shapes_: tuple[int, ...]) -> tuple[int, ...] | None:
    """The common shape, or None."""
    try:
        return np.broadcast_shapes(*shapes_)
    except ValueError:
        return None
