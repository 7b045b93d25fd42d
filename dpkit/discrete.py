"""The discrete Gaussian mechanism, whole or in shares: integer noise around real centres, which does the rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar, Self, final

from accountants.events import DiscreteGaussian, DistributedDiscreteGaussian, Event
from dpkit._laws import GaussianLaw
from dpkit.bounded import Bounded
from dpkit.entropy import Source
from dpkit.errors import ParameterError
from dpkit.lattice import check_step, dimension, movement, on_lattice, require_step
from dpkit.lattice_noise import LatticeNoise, least_multiplier
from dpkit.mechanism import Recorder, Release, Sampling, check_multiplier, check_query, product_up
from dpkit.samplers import root_up
from dpkit.shares import ShareMechanism

__all__ = ["DiscreteGaussianMechanism", "ShareMechanism"]

_NORMS = ("l2", "l1")


@final
@dataclass(frozen=True, slots=True)
class DiscreteGaussianMechanism:
    """Noise on the lattice step·Z, from the discrete Gaussian around the real value of the query.

    Guarantee: a release is recorded as ``DistributedDiscreteGaussian`` with one party and the very numbers, in lattice
    units, that drew it (``test_event_is_made_of_the_numbers_that_drew``). A query of integer type on a step of at most
    1 has integer centres, and is recorded as ``DiscreteGaussian``, which costs less.

    Args:
        noise_multiplier: standard deviation / bound of one record's contribution; with shares: of `min_honest` shares
            together. Finite, > 0.
        step: lattice step in units of the value, a power of two; needed by all but the constructor.

    Raises:
        ParameterError: noise_multiplier is not a finite number > 0, or step not a power of two.

    Example:
        >>> import numpy as np
        >>> query = Bounded(np.array([0.3, 0.4]), bound=1.0)
        >>> release = DiscreteGaussianMechanism(4.0, step=0.5).release(query)
        >>> bool((release.value % 0.5 == 0).all())
        True

    References:
        Canonne, Kamath & Steinke 2020 (arXiv 2004.00010) for integer centres; docs/floating-point.md for real ones.
    """

    noise_multiplier: float
    step: float | None = None
    rounds: ClassVar[bool] = False

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
            >>> mechanism = DiscreteGaussianMechanism.for_epsilon(1.0, 1e-6, "add_remove", query=query, step=2.0**-10)
            >>> round(mechanism.noise_multiplier, 4)
            4.2247
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
            >>> DiscreteGaussianMechanism(4.0).with_step(0.5).step
            0.5
        """
        return replace(self, step=step)

    def noise(self, query: Bounded, shares: int = 1) -> LatticeNoise:
        """Return the noise that is drawn for `query`, or one of `shares` equal shares of it, and the event of all.

        Args:
            query: a value bounded in l2 or l1; only its bound, norm, type and size count.
            shares: how many equal shares make up the noise.

        Returns:
            The noise; its stddev² · shares is (noise_multiplier · bound / step)², rounded up.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: there is no step, or the noise is not from 2**-10 to 2**40 steps.

        Example:
            >>> import numpy as np
            >>> DiscreteGaussianMechanism(4.0, step=0.5).noise(Bounded(np.zeros(2), 1.0)).law.stddev
            8.0
        """
        check_query(query, _NORMS)
        step = require_step(self.step)
        square = (Fraction(self.noise_multiplier) * Fraction(query.bound) / Fraction(step)) ** 2 / shares
        if not Fraction(1, 1 << 20) <= square <= 1 << 80:
            raise ParameterError("noise must be from 2**-10 to 2**40 lattice steps a share; choose another step.")
        law, dim, exact = GaussianLaw(root_up(square)), dimension(query), on_lattice(query, step)
        if exact and shares == 1:
            event: Event = DiscreteGaussian(law.stddev, movement(query, step).l2, dim)
        else:
            event = DistributedDiscreteGaussian(
                local_stddev=law.stddev,
                parties=shares,
                l2_bound=product_up(query.bound, 1 / Fraction(step)),
                dim=dim,
            )
        return LatticeNoise(step, law, event, exact)

    def event(self, query: Bounded) -> Event:
        """Return the event of one release of `query`, without sampling.

        Args:
            query: a value bounded in l2 or l1; only its bound, norm, type and size count.

        Returns:
            ``DistributedDiscreteGaussian`` with one party, or ``DiscreteGaussian``, in lattice units.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, or the noise is out of range.

        Example:
            >>> import numpy as np
            >>> DiscreteGaussianMechanism(4.0, step=0.5).event(Bounded(np.zeros(2), 1.0)).local_stddev
            8.0
            >>> DiscreteGaussianMechanism(4.0, step=1.0).event(Bounded(np.zeros(2, dtype=int), 1.0))
            DiscreteGaussian(stddev=4.0, l2_bound=1.0, dim=2)
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
            >>> DiscreteGaussianMechanism(4.0, step=1.0).release(Bounded(np.zeros((2, 2)), 1.0)).value.shape
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
            >>> DiscreteGaussianMechanism(1.0, step=1.0).pmf([0, 1, 0.5], Bounded(np.array(0.5), 1.0)).round(6)
            array([0.352065, 0.352065, 0.      ])
        """
        return self.noise(query).pmf(outputs, query)

    def variance(self, query: Bounded) -> float:
        """Return the mean squared distance of a released coordinate from the query's, in units of the value squared.

        Args:
            query: a value bounded in l2 or l1; only its bound, norm, type and size count.

        Returns:
            To a relative 1e-13: around integer centres, where it is at most the square of the parameter; around real
            ones, of the centre for which it is largest: hardly a difference from two steps of noise on.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, or the noise is out of range.

        Example:
            >>> import numpy as np
            >>> DiscreteGaussianMechanism(0.5, step=1.0).variance(Bounded(np.zeros(2, dtype=int), 1.0))
            0.21501267508813848
        """
        return self.noise(query).variance()

    def interval(self, query: Bounded, *, level: float) -> float:
        """Return w such that each released coordinate is within w of the query's own with probability >= `level`.

        Args:
            query: a value bounded in l2 or l1; only its bound, norm, type and size count.
            level: in (0, 1), for one coordinate; for all d at once ask for 1 - (1 - level) / d.

        Returns:
            A multiple of the step, the smallest around integer centres if the noise is below 2**13 steps.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm does not fit, or the bound is 0.
            ParameterError: no step was given, level is not in (0, 1), or the noise is out of range.

        Example:
            >>> import numpy as np
            >>> DiscreteGaussianMechanism(4.0, step=0.5).interval(Bounded(np.zeros(2, dtype=int), 1.0), level=0.95)
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
            >>> DiscreteGaussianMechanism(4.0, step=1.0).share(10, 4).local_stddev(Bounded(np.zeros(2), 1.0))
            2.0
        """
        return ShareMechanism(self, parties=parties, min_honest=min_honest)
