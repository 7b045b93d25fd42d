"""What the integer mechanisms have in common: everything but their noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from accountants.events import Event
from dpkit.bounded import Bounded
from dpkit.entropy import Source
from dpkit.lattice import check_step, require_step
from dpkit.lattice_noise import LatticeNoise
from dpkit.mechanism import Recorder, Release, Sampling, check_multiplier, check_query

__all__ = ["LatticeMechanism"]


@dataclass(frozen=True, slots=True)
class LatticeMechanism(ABC):
    """Integer noise on the lattice step·Z; make one of the mechanisms that say which.

    Args:
        noise_multiplier: noise / bound of one record's contribution; finite, > 0.
        step: lattice step in units of the value, a power of two; needed by all but the constructor.

    Raises:
        ParameterError: noise_multiplier is not a finite number > 0, or step not a power of two.

    Attributes:
        norms: what a query may be bounded in.
        rounds: whether a query that is not on the lattice is rounded to it first.
    """

    noise_multiplier: float
    step: float | None = None
    norms: ClassVar[tuple[str, ...]]
    rounds: ClassVar[bool]

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_multiplier", check_multiplier(self.noise_multiplier))
        object.__setattr__(self, "step", check_step(self.step))

    @abstractmethod
    def noise(self, query: Bounded) -> LatticeNoise:
        """Return the noise that is drawn for `query`, and its event."""

    @classmethod
    @abstractmethod
    def _least(cls, epsilon: float, delta: float, relation: str, query: Bounded, step: float) -> float:
        """The least noise multiplier that meets a target, on the safe side."""

    @classmethod
    def for_epsilon(cls, epsilon: float, delta: float, relation: str, *, query: Bounded, step: float) -> Self:
        """Return the mechanism with the least noise that keeps one release of `query` within epsilon at delta.

        Guarantee: the event of the mechanism returned was evaluated and costs at most epsilon
        (``test_for_epsilon_meets_the_target_and_barely_so``).

        Args:
            epsilon: the target, > 0.
            delta: in (0, 1); for discrete Laplace noise also 0, and then the guarantee is pure.
            relation: which data sets are neighbours.
            query: a value bounded in one of the mechanism's norms; only its bound, norm, type and size count.
            step: lattice step in units of the value, a power of two.

        Returns:
            A mechanism; with noise that is smaller by a relative 1e-6 the cost is above the target. The cost of integer
            noise need not fall everywhere, so that much less noise may do too: for sensitivity 1, epsilon 16 and delta
            1e-5 a discrete Gaussian of stddev 0.18 to 0.20, and again from 0.307 on.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: step is not a power of two.
            accountants.errors.AccountingError: a target out of its domain, or out of reach on this lattice.

        Example:
            >>> import numpy as np
            >>> from dpkit import DiscreteLaplaceMechanism
            >>> counts = Bounded(np.zeros(3, dtype=int), 1.0, "l1")
            >>> found = DiscreteLaplaceMechanism.for_epsilon(0.5, 0.0, "add_remove", query=counts, step=1.0)
            >>> round(found.noise_multiplier, 12)
            2.0
        """
        check_query(query, cls.norms)
        check_step(require_step(step))
        return cls(cls._least(epsilon, delta, relation, query, step), step)

    def with_step(self, step: float) -> Self:
        """Return the same mechanism on another lattice.

        Args:
            step: lattice step in units of the value, a power of two.

        Returns:
            A new mechanism.

        Raises:
            ParameterError: step is not a power of two.

        Example:
            >>> from dpkit import SkellamMechanism
            >>> SkellamMechanism(4.0).with_step(0.5).step
            0.5
        """
        return replace(self, step=step)

    def event(self, query: Bounded) -> Event:
        """Return the event of one release of `query`, without sampling.

        Args:
            query: a value bounded in one of the mechanism's norms; only its bound, norm, type and size count.

        Returns:
            The event of the law that is drawn, in lattice units; of a rounded query, with the growth of its bounds.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, or the noise is out of range.

        Example:
            >>> import numpy as np
            >>> from dpkit import SkellamMechanism
            >>> SkellamMechanism(4.0, step=0.25).event(Bounded(np.zeros(2), 1.0))
            Skellam(variance=256.0, l1_bound=7.0, l2_bound=5.196152422706632)
        """
        return self.noise(query).event

    def release(
        self,
        query: Bounded,
        *,
        sampling: Sampling | None = None,
        ledger: Recorder | None = None,
        entropy: Source | None = None,
    ) -> Release:
        """Record the event, then return the value with noise, on the lattice.

        Args:
            query: a value bounded in one of the mechanism's norms: an array or a dict of arrays, noised as one vector.
            sampling: how the query's records were sampled; its sampled event is recorded.
            ledger: a Ledger or Budget; if it raises, nothing is released.
            entropy: source of randomness; None means ``dpkit.entropy.system()``.

        Returns:
            Release in the structure and kinds of the query, every number a multiple of the step: int64 where the query
            holds integers only and the step is a whole number up to 1024, floats elsewhere.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, the query is not finite, or the noise out of range.
            StateError: sampling has no open draw; each draw is for one release.

        Example:
            >>> import numpy as np
            >>> from dpkit import SkellamMechanism
            >>> SkellamMechanism(4.0, step=1.0).release(Bounded(np.zeros((2, 2)), 1.0)).value.shape
            (2, 2)
        """
        return self.noise(query).publish(query, sampling=sampling, ledger=ledger, entropy=entropy)

    def pmf(self, outputs: Any, query: Bounded) -> Any:
        """Return the probability of each output, coordinate by coordinate, given the query's own value.

        For tests and for inference by whoever holds the value: it shows the value, so do not publish it.

        Args:
            outputs: what might be released: an array to which the query's shape broadcasts, or a dict of arrays with
                the query's names and shapes.
            query: a value bounded in one of the mechanism's norms.

        Returns:
            float64 in the structure of `outputs`, to a relative 1e-12 where above 1e-300; 0 off the lattice.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, the query is not finite, or outputs have another structure.

        Example:
            >>> import numpy as np
            >>> from dpkit import SkellamMechanism
            >>> SkellamMechanism(1.0, step=1.0).pmf([3, 4, 3.5], Bounded(np.array(3), 1.0)).round(6)
            array([0.46576, 0.20791, 0.     ])
        """
        return self.noise(query).pmf(outputs, query)

    def variance(self, query: Bounded) -> float:
        """Return the mean squared distance of a released coordinate from the query's, in units of the value squared.

        Args:
            query: a value bounded in one of the mechanism's norms; only its bound, norm, type and size count.

        Returns:
            To a relative 1e-13. Where the noise has real centres: of the one for which it is largest, hardly more than
            that of an integer from two steps of noise on. A rounded query is off by up to half a step besides.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, or the noise is out of range.

        Example:
            >>> import numpy as np
            >>> from dpkit import SkellamMechanism
            >>> SkellamMechanism(4.0, step=0.5).variance(Bounded(np.zeros(2), 1.0))
            16.0
        """
        return self.noise(query).variance()

    def interval(self, query: Bounded, *, level: float) -> float:
        """Return w such that each released coordinate is within w of the query's own with probability >= `level`.

        Args:
            query: a value bounded in one of the mechanism's norms; only its bound, norm, type and size count.
            level: in (0, 1), for one coordinate; for all d at once ask for 1 - (1 - level) / d.

        Returns:
            A multiple of the step, the smallest around integer centres if the noise is below 2**13 steps; half a step
            more where the query is rounded.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, level is not in (0, 1), or the noise is out of range.

        Example:
            >>> import numpy as np
            >>> from dpkit import SkellamMechanism
            >>> SkellamMechanism(4.0, step=1.0).interval(Bounded(np.zeros(2, dtype=int), 1.0), level=0.95)
            8.0
        """
        return self.noise(query).interval(level)
