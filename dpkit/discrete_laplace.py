"""The discrete Laplace mechanism: two-sided geometric noise, added to integers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, Self, final

from accountants.curves import rdp_curve
from accountants.events import DiscreteLaplace, Event
from accountants.relation import Relation, as_relation
from dpkit._checks import check_positive_down
from dpkit._laws import LaplaceLaw
from dpkit.bounded import Bounded
from dpkit.entropy import Source
from dpkit.errors import ParameterError
from dpkit.lattice import check_step, movement, on_lattice, require_step
from dpkit.lattice_noise import LatticeNoise, least_multiplier
from dpkit.mechanism import Recorder, Release, Sampling, check_multiplier, check_query, product_up

__all__ = ["DiscreteLaplaceMechanism"]

_NORMS = ("l1",)
_FINEST = Fraction(1, 1 << 10)  # of the scale, in steps


@final
@dataclass(frozen=True, slots=True)
class DiscreteLaplaceMechanism:
    """Discrete Laplace noise on the lattice step·Z, added to the query rounded to it.

    noise_multiplier is relative to the bound of the query as it came. A query that is not of integer type on a step of
    at most 1 is rounded, and pays in the bound of the event: less than one step a coordinate (see
    :mod:`dpkit.lattice`). A small step makes that negligible.

    It has no shares: a sum of discrete Laplace variables is no discrete Laplace. Differences of Pólya variables would
    be shares of it; ``SkellamMechanism`` and ``DiscreteGaussianMechanism`` have some.

    Guarantee: a release is recorded as ``DiscreteLaplace`` with the scale that drew it and a bound that holds for the
    rounded query (``test_rounded_events_are_made_of_the_numbers_that_drew``, ``test_no_rounded_query_moves_further``).

    Args:
        noise_multiplier: scale of the noise / bound of one record's contribution; finite, > 0. It is 1/epsilon where
            nothing is rounded.
        step: lattice step in units of the value, a power of two; needed by all but the constructor.

    Raises:
        ParameterError: noise_multiplier is not a finite number > 0, or step not a power of two.

    Example:
        >>> import numpy as np
        >>> DiscreteLaplaceMechanism(2.0, step=1.0).release(Bounded(np.array([7, 9]), 1.0, "l1")).event
        DiscreteLaplace(scale=2.0, l1_bound=1.0)

    References:
        Ghosh, Roughgarden & Sundararajan 2009 (arXiv 0811.2841).
    """

    noise_multiplier: float
    step: float | None = None
    rounds: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_multiplier", check_multiplier(self.noise_multiplier))
        object.__setattr__(self, "step", check_step(self.step))

    @classmethod
    def for_epsilon(cls, epsilon: float, delta: float, relation: str, *, query: Bounded, step: float) -> Self:
        """Return the mechanism with the least noise that keeps one release of `query` within epsilon at delta.

        Guarantee: the event of the mechanism returned was evaluated and costs at most epsilon
        (``test_for_epsilon_meets_the_target_and_barely_so``).

        Args:
            epsilon: the target, > 0.
            delta: in [0, 1); with 0 the guarantee is pure.
            relation: which data sets are neighbours.
            query: a value bounded in l1; only its bound, norm, type and size count.
            step: lattice step in units of the value, a power of two.

        Returns:
            A mechanism, its noise_multiplier within a relative 1e-6 of the smallest.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: step is not a power of two.
            accountants.errors.AccountingError: a target out of its domain, or out of reach on this lattice.

        Example:
            >>> import numpy as np
            >>> query = Bounded(np.zeros(3, dtype=int), 1.0, "l1")
            >>> mechanism = DiscreteLaplaceMechanism.for_epsilon(0.5, 0.0, "add_remove", query=query, step=1.0)
            >>> round(mechanism.noise_multiplier, 12)
            2.0
        """
        check_query(query, _NORMS)
        check_step(require_step(step))
        target = check_positive_down("epsilon", epsilon, "ask for the cost that the release may have.")
        if delta == 0:
            return cls(_least_pure(target, as_relation(relation), query, step), step)
        least = least_multiplier(lambda x: cls(x, step).event(query), epsilon=target, delta=delta, relation=relation)
        return cls(least, step)

    def with_step(self, step: float) -> Self:
        """Return the same mechanism on another lattice.

        Args:
            step: lattice step in units of the value, a power of two.

        Returns:
            A new mechanism.

        Raises:
            ParameterError: step is not a power of two.

        Example:
            >>> DiscreteLaplaceMechanism(4.0).with_step(0.5).step
            0.5
        """
        return replace(self, step=step)

    def noise(self, query: Bounded) -> LatticeNoise:
        """Return the noise that is drawn for `query`, and its event.

        Args:
            query: a value bounded in l1; only its bound, norm, type and size count.

        Returns:
            The noise; its scale is noise_multiplier · bound / step, rounded up.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is not l1, or the bound is 0.
            ParameterError: there is no step, or the noise is not from 2**-10 to 2**40 steps.

        Example:
            >>> import numpy as np
            >>> DiscreteLaplaceMechanism(4.0, step=0.5).noise(Bounded(np.zeros(2), 1.0, "l1")).law.scale
            8.0
        """
        check_query(query, _NORMS)
        step = require_step(self.step)
        scale = Fraction(self.noise_multiplier) * Fraction(query.bound) / Fraction(step)
        if not _FINEST <= scale <= 1 << 40:
            raise ParameterError("noise must be from 2**-10 to 2**40 lattice steps; choose another step.")
        law = LaplaceLaw(product_up(scale))
        return LatticeNoise(step, law, DiscreteLaplace(law.scale, movement(query, step).l1), on_lattice(query, step))

    def event(self, query: Bounded) -> Event:
        """Return the event of one release of `query`, without sampling.

        Args:
            query: a value bounded in l1; only its bound, norm, type and size count.

        Returns:
            ``DiscreteLaplace`` in lattice units, with the growth of the bound by rounding.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, or the noise is out of range.

        Example:
            >>> import numpy as np
            >>> DiscreteLaplaceMechanism(4.0, step=0.25).event(Bounded(np.zeros(2), 1.0, "l1"))
            DiscreteLaplace(scale=16.0, l1_bound=5.0)
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
            query: a value bounded in l1: an array or a dict of arrays, noised as one vector.
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
            >>> DiscreteLaplaceMechanism(4.0, step=1.0).release(Bounded(np.zeros((2, 2)), 1.0, "l1")).value.shape
            (2, 2)
        """
        return self.noise(query).publish(query, sampling=sampling, ledger=ledger, entropy=entropy)

    def pmf(self, outputs: Any, query: Bounded) -> Any:
        """Return the probability of each output, coordinate by coordinate, given the query's own value.

        For tests and for inference by whoever holds the value: it shows the value, so do not publish it.

        Args:
            outputs: what might be released: an array to which the query's shape broadcasts, or a dict of arrays with
                the query's names and shapes.
            query: a value bounded in l1.

        Returns:
            float64 in the structure of `outputs`, to a relative 1e-12 where above 1e-300; 0 off the lattice.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, the query is not finite, or outputs have another structure.

        Example:
            >>> import numpy as np
            >>> DiscreteLaplaceMechanism(1.0, step=1.0).pmf([3, 4, 3.5], Bounded(np.array(3), 1.0, "l1")).round(6)
            array([0.462117, 0.170003, 0.      ])
        """
        return self.noise(query).pmf(outputs, query)

    def variance(self, query: Bounded) -> float:
        """Return the variance of the noise of each coordinate, in units of the value squared.

        Args:
            query: a value bounded in l1; only its bound, norm, type and size count.

        Returns:
            To a relative 1e-13; a rounded query is off by up to half a step besides.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, or the noise is out of range.

        Example:
            >>> import numpy as np
            >>> round(DiscreteLaplaceMechanism(1.0, step=1.0).variance(Bounded(np.array([3]), 1.0, "l1")), 12)
            1.841347188416
        """
        return self.noise(query).variance()

    def interval(self, query: Bounded, *, level: float) -> float:
        """Return w such that each released coordinate is within w of the query's own with probability >= `level`.

        Args:
            query: a value bounded in l1; only its bound, norm, type and size count.
            level: in (0, 1), for one coordinate; for all d at once ask for 1 - (1 - level) / d.

        Returns:
            A multiple of the step, the smallest if the noise is below 2**13 steps; half a step more where the query is
            rounded.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, level is not in (0, 1), or the noise is out of range.

        Example:
            >>> import numpy as np
            >>> DiscreteLaplaceMechanism(4.0, step=1.0).interval(Bounded(np.zeros(2, dtype=int), 1.0, "l1"), level=0.95)
            12.0
        """
        return self.noise(query).interval(level)


def _least_pure(epsilon: float, relation: Relation, query: Bounded, step: float) -> float:
    """The least noise multiplier, or the next few floats, at which the curve of the event is pure epsilon.

    The loss falls as 1 / scale, so the loss at scale 1 says which; rounding is then looked after by looking.
    """
    alone = rdp_curve(DiscreteLaplace(1.0, movement(query, step).l1), relation).pure_epsilon
    unit = Fraction(step) / Fraction(query.bound)
    least = product_up(max(Fraction(alone) / Fraction(epsilon), _FINEST) * unit)
    while rdp_curve(DiscreteLaplaceMechanism(least, step).event(query), relation).pure_epsilon > epsilon:
        least = math.nextafter(least, math.inf)
    return least
