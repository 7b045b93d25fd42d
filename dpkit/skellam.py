"""The Skellam mechanism, whole or in shares: the difference of two Poisson counts, added to integers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, Self, final

from accountants.events import Event, Skellam
from dpkit._laws import SkellamLaw
from dpkit.bounded import Bounded
from dpkit.entropy import Source
from dpkit.errors import ParameterError
from dpkit.lattice import check_step, movement, on_lattice, require_step
from dpkit.lattice_noise import LatticeNoise, least_multiplier
from dpkit.mechanism import Recorder, Release, Sampling, check_multiplier, check_query, product_up
from dpkit.shares import ShareMechanism

__all__ = ["SkellamMechanism"]

_NORMS = ("l2", "l1")


@final
@dataclass(frozen=True, slots=True)
class SkellamMechanism:
    """Skellam noise on the lattice step·Z, added to the query rounded to it; sums of shares are Skellam exactly.

    noise_multiplier is relative to the bound of the query as it came. A query that is not of integer type on a step of
    at most 1 is rounded, and pays in the bounds of the event: at most the number of coordinates more in l1, its root in
    l2, in steps (see :mod:`dpkit.lattice`). A small step makes that negligible.

    Guarantee: a release is recorded as ``Skellam`` with the variance that drew it and bounds that hold for the rounded
    query (``test_rounded_events_are_made_of_the_numbers_that_drew``, ``test_no_rounded_query_moves_further``).

    Args:
        noise_multiplier: standard deviation / bound of one record's contribution; with shares: of `min_honest` shares
            together. Finite, > 0.
        step: lattice step in units of the value, a power of two; needed by all but the constructor.

    Raises:
        ParameterError: noise_multiplier is not a finite number > 0, or step not a power of two.

    Example:
        >>> import numpy as np
        >>> SkellamMechanism(4.0, step=1.0).release(Bounded(np.array([7, 9]), 1.0)).event
        Skellam(variance=16.0, l1_bound=1.0, l2_bound=1.0)

    References:
        Agarwal, Kairouz & Liu 2021 (arXiv 2110.04995), Definition 3 and Corollary 3.6.
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
            delta: in (0, 1).
            relation: which data sets are neighbours.
            query: a value bounded in l2 or l1; only its bound, norm, type and size count.
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
            >>> query = Bounded(np.zeros(3), 1.0)
            >>> mechanism = SkellamMechanism.for_epsilon(1.0, 1e-6, "add_remove", query=query, step=2.0**-10)
            >>> round(mechanism.noise_multiplier, 2)
            4.54
        """
        check_query(query, _NORMS)
        check_step(require_step(step))
        least = least_multiplier(lambda x: cls(x, step).event(query), epsilon=epsilon, delta=delta, relation=relation)
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
            >>> SkellamMechanism(4.0).with_step(0.5).step
            0.5
        """
        return replace(self, step=step)

    def noise(self, query: Bounded, shares: int = 1) -> LatticeNoise:
        """Return the noise that is drawn for `query`, or one of `shares` equal shares of it, and the event of all.

        Args:
            query: a value bounded in l2 or l1; only its bound, norm, type and size count.
            shares: how many equal shares make up the noise.

        Returns:
            The noise; its variance · shares is (noise_multiplier · bound / step)², rounded up; the event's variance is
            that of the shares together, rounded down.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: there is no step, or the noise is not from 2**-10 to 2**20 steps.

        Example:
            >>> import numpy as np
            >>> SkellamMechanism(4.0, step=0.5).noise(Bounded(np.zeros(2), 1.0), shares=4).law.variance()
            16.0
        """
        check_query(query, _NORMS)
        step = require_step(self.step)
        square = (Fraction(self.noise_multiplier) * Fraction(query.bound) / Fraction(step)) ** 2 / shares
        if not Fraction(1, 1 << 20) <= square <= 1 << 40:
            raise ParameterError("noise must be from 2**-10 to 2**20 lattice steps a share; choose another step.")
        law, moved = SkellamLaw(product_up(square)), movement(query, step)
        event = Skellam(_down(Fraction(law.mean_square) * shares), l1_bound=moved.l1, l2_bound=moved.l2)
        return LatticeNoise(step, law, event, on_lattice(query, step))

    def event(self, query: Bounded) -> Event:
        """Return the event of one release of `query`, without sampling.

        Args:
            query: a value bounded in l2 or l1; only its bound, norm, type and size count.

        Returns:
            ``Skellam`` in lattice units, with the growth of the bounds by rounding.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, or the noise is out of range.

        Example:
            >>> import numpy as np
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
            query: a value bounded in l2 or l1: an array or a dict of arrays, noised as one vector.
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
            query: a value bounded in l2 or l1.

        Returns:
            float64 in the structure of `outputs`, to a relative 1e-12 where above 1e-300; 0 off the lattice.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, the query is not finite, or outputs have another structure.

        Example:
            >>> import numpy as np
            >>> SkellamMechanism(1.0, step=1.0).pmf([3, 4, 3.5], Bounded(np.array(3), 1.0)).round(6)
            array([0.46576, 0.20791, 0.     ])
        """
        return self.noise(query).pmf(outputs, query)

    def variance(self, query: Bounded) -> float:
        """Return the variance of the noise of each coordinate, in units of the value squared.

        Args:
            query: a value bounded in l2 or l1; only its bound, norm, type and size count.

        Returns:
            The variance that is drawn, exactly; a rounded query is off by up to half a step besides.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, or the noise is out of range.

        Example:
            >>> import numpy as np
            >>> SkellamMechanism(4.0, step=0.5).variance(Bounded(np.zeros(2), 1.0))
            16.0
        """
        return self.noise(query).variance()

    def interval(self, query: Bounded, *, level: float) -> float:
        """Return w such that each released coordinate is within w of the query's own with probability >= `level`.

        Args:
            query: a value bounded in l2 or l1; only its bound, norm, type and size count.
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
            >>> SkellamMechanism(4.0, step=1.0).interval(Bounded(np.zeros(2, dtype=int), 1.0), level=0.95)
            8.0
        """
        return self.noise(query).interval(level)

    def share(self, parties: int, min_honest: int) -> ShareMechanism:
        """Return the mechanism of one party: its noise, `min_honest` times, is the noise of the whole.

        Args:
            parties: how many parties draw a share.
            min_honest: how many of the shares in any sum that is opened are guaranteed to be secret; fixed beforehand.

        Returns:
            The share mechanism, with this mechanism's step.

        Raises:
            ParameterError: not 1 <= min_honest <= parties.

        Example:
            >>> import numpy as np
            >>> SkellamMechanism(4.0, step=1.0).share(10, 4).local_stddev(Bounded(np.zeros(2), 1.0))
            2.0
        """
        return ShareMechanism(self, parties=parties, min_honest=min_honest)


def _down(exact: Fraction) -> float:
    """A float64 that is at most a positive number: less noise is recorded, never more."""
    rounded = float(exact)
    return rounded if Fraction(rounded) <= exact else math.nextafter(rounded, 0.0)
