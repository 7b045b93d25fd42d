"""Gaussian and Laplace mechanisms for real values: exact noise on a lattice that depends on parameters only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from accountants.events import Event, Gaussian, Laplace
from accountants.relation import Relation
from dpkit._calibrate import gaussian_multiplier, laplace_multiplier
from dpkit._spread import (
    check_level,
    gaussian_half_width,
    gaussian_variance,
    laplace_half_width,
    laplace_variance,
)
from dpkit.bounded import Bounded
from dpkit.entropy import Source
from dpkit.mechanism import Recorder, Release, Sampling, check_multiplier, check_query, product_up, publish
from dpkit.samplers import covering_stddev, lattice_gaussian, lattice_laplace, lattice_step

__all__ = ["GaussianMechanism", "LaplaceMechanism"]


@final
@dataclass(frozen=True, slots=True)
class GaussianMechanism:
    """Gaussian noise on a value whose records are bounded in l2 (an l1 bound is one too).

    Guarantee: a release is recorded as ``Gaussian(noise_multiplier)``, the number that was typed: the noise is drawn
    larger by 7.6e-6 of itself, which pays for the lattice (``test_gaussian_noise_covers_the_event``). The value is a
    multiple of a power of two that depends on noise_multiplier and bound only; the query is not rounded.

    Args:
        noise_multiplier: standard deviation of the noise / bound of one record's contribution; finite, > 0.

    Raises:
        ParameterError: noise_multiplier is not a finite number > 0.

    Example:
        >>> query = Bounded(np.array([10.0, 20.0]), bound=1.0)
        >>> GaussianMechanism(1.1).release(query).event
        Gaussian(noise_multiplier=1.1)

    References:
        Dwork & Roth 2014, Theorem A.1 for the real mechanism; docs/floating-point.md for the lattice.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_multiplier", check_multiplier(self.noise_multiplier))

    @classmethod
    def for_epsilon(cls, epsilon: float, delta: float, relation: Relation | str) -> GaussianMechanism:
        """Return the mechanism with the least noise for one release at this cost.

        Guarantee: the exact delta at epsilon is at most delta, and a ledger finds at most epsilon at delta
        (``test_gaussian_for_epsilon_is_private_and_least``). Within 1e-12 of the least noise multiplier for epsilon in
        [1e-6, 1e3] and delta in [1e-300, 0.5]; beyond it is private all the same.

        Args:
            epsilon: what the release may cost, > 0; rounded down to a float64.
            delta: in (0, 1); rounded down.
            relation: which data sets are neighbours; where a record is replaced, the noise doubles.

        Returns:
            A Gaussian mechanism. For plans of many releases, or sampled ones: ``accountants.calibrate``.

        Raises:
            ParameterError: a parameter is out of range.
            RelationError: the relation is none of accountants'.

        Example:
            >>> GaussianMechanism.for_epsilon(1.0, 1e-5, "add_remove").noise_multiplier
            3.7306316348159596

        References:
            Balle & Wang 2018, Theorem 8 and Algorithm 1. The classic sqrt(2 log(1.25/delta))/epsilon is larger for
            epsilon < 1, and not private at epsilon = 10 (``test_the_classic_formula_is_a_baseline_only``).
        """
        return cls(gaussian_multiplier(epsilon, delta, relation))

    def event(self, query: Bounded) -> Event:
        """Return the event of one release of `query`, without sampling.

        Args:
            query: a value bounded in l2 or l1; an event of this mechanism is the same for each.

        Returns:
            ``Gaussian(noise_multiplier)``.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.

        Example:
            >>> GaussianMechanism(2.0).event(Bounded(np.zeros(3), 1.0))
            Gaussian(noise_multiplier=2.0)
        """
        check_query(query, ("l2", "l1"))
        return Gaussian(self.noise_multiplier)

    def stddev(self, query: Bounded) -> float:
        """Return the standard deviation that noise for `query` is drawn with.

        Args:
            query: a value bounded in l2 or l1.

        Returns:
            noise_multiplier * bound * 1.0000076, rounded up, in units of the value.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: the product is out of range.

        Example:
            >>> round(GaussianMechanism(2.0).stddev(Bounded(np.zeros(3), 0.5)), 7)
            1.0000076
        """
        check_query(query, ("l2", "l1"))
        return covering_stddev(product_up(self.noise_multiplier, query.bound))

    def variance(self, query: Bounded) -> float:
        """Return the variance of each coordinate's noise: the mean square around the query's real value.

        Guarantee: an upper bound at every value, off by less than 1e-15 of itself
        (``test_gaussian_variance_at_every_center``). Casting to float32 comes on top.

        Args:
            query: a value bounded in l2 or l1.

        Returns:
            stddev², rounded up; in squared units of the value.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: the noise is out of range.

        Example:
            >>> round(GaussianMechanism(2.0).variance(Bounded(np.zeros(3), 0.5)), 6)
            1.000015
        """
        return gaussian_variance(self.stddev(query))

    def interval(self, query: Bounded, *, level: float) -> float:
        """Return how far a coordinate's noise reaches at most, with a probability of at least `level`.

        Guarantee: at every real value of the query (``test_gaussian_intervals_hold_at_every_center``). Casting to
        float32 comes on top.

        Args:
            query: a value bounded in l2 or l1.
            level: in (0, 1), of one coordinate; for all d of them at once give 1 - (1 - level)/d.

        Returns:
            Half-width in units of the value, a multiple of the lattice step, at most two steps (1/512 of stddev) above
            the quantile of real Gaussian noise.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: level or the noise is out of range.

        Example:
            >>> round(GaussianMechanism(1.0).interval(Bounded(np.zeros(3), 1.0), level=0.95), 2)
            1.96
        """
        return gaussian_half_width(self.stddev(query), check_level(level))

    def release(
        self,
        query: Bounded,
        *,
        sampling: Sampling | None = None,
        ledger: Recorder | None = None,
        entropy: Source | None = None,
    ) -> Release:
        """Record the event, then return the value with noise.

        Args:
            query: a value bounded in l2 or l1: an array or a dict of arrays, noised as one vector.
            sampling: how the query's records were sampled; its sampled event is recorded.
            ledger: a Ledger or Budget; if it raises, nothing is released.
            entropy: source of randomness; None means ``dpkit.entropy.system()``.

        Returns:
            Release in the structure of the query and its kinds of arrays; float32 stays float32, integers become
            float64. Casting the float64 lattice value is post-processing.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: the query is not finite, or the noise out of range.
            StateError: sampling has no open draw; each draw is for one release.

        Example:
            >>> GaussianMechanism(1.0).release(Bounded({"w": np.zeros((2, 2))}, 1.0)).value["w"].shape
            (2, 2)
        """
        stddev = self.stddev(query)

        def draw(vector: NDArray[np.float64], source: Source) -> NDArray[np.float64]:
            return lattice_gaussian(vector, stddev, source)

        return publish(query, self.event(query), draw, sampling=sampling, ledger=ledger, entropy=entropy)


@final
@dataclass(frozen=True, slots=True)
class LaplaceMechanism:
    """Laplace noise on a value whose records are bounded in l1.

    Guarantee: a release is recorded as ``Laplace(noise_multiplier)``; it is exact post-processing of the real Laplace
    mechanism of at least that scale (``test_laplace_noise_covers_the_event``).

    Args:
        noise_multiplier: scale of the noise / bound of one record's contribution; finite, > 0. It is 1/epsilon.

    Raises:
        ParameterError: noise_multiplier is not a finite number > 0.

    Example:
        >>> LaplaceMechanism(2.0).release(Bounded(np.zeros(3), 1.0, "l1")).event
        Laplace(noise_multiplier=2.0)

    References:
        Dwork, McSherry, Nissim & Smith 2006, Proposition 1.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_multiplier", check_multiplier(self.noise_multiplier))

    @classmethod
    def for_epsilon(cls, epsilon: float, delta: float, relation: Relation | str) -> LaplaceMechanism:
        """Return the mechanism with the least noise for one release at this cost.

        Guarantee: the release is (epsilon, delta)-private in exact arithmetic, and for delta > 0 a ledger finds at most
        epsilon at delta (``test_laplace_for_epsilon_is_private_and_least``). Within 1e-13 of the least multiplier.

        Args:
            epsilon: what the release may cost, > 0; rounded down to a float64.
            delta: in [0, 1); rounded down. It helps little: epsilon may be larger by -2 log(1 - delta).
            relation: which data sets are neighbours; where a record is replaced, the noise doubles.

        Returns:
            A Laplace mechanism. For plans of many releases, or sampled ones: ``accountants.calibrate``.

        Raises:
            ParameterError: a parameter is out of range.
            RelationError: the relation is none of accountants'.

        Example:
            >>> LaplaceMechanism.for_epsilon(0.5, 0.0, "replace_one").noise_multiplier
            4.0

        References:
            Dwork, McSherry, Nissim & Smith 2006, Proposition 1; Balle, Barthe & Gaboardi 2018, Theorem 3 for delta > 0.
        """
        return cls(laplace_multiplier(epsilon, delta, relation))

    def event(self, query: Bounded) -> Event:
        """Return the event of one release of `query`, without sampling.

        Args:
            query: a value bounded in l1.

        Returns:
            ``Laplace(noise_multiplier)``.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is not l1, or the bound is 0.

        Example:
            >>> LaplaceMechanism(2.0).event(Bounded(np.zeros(3), 1.0, "l1"))
            Laplace(noise_multiplier=2.0)
        """
        check_query(query, ("l1",))
        return Laplace(self.noise_multiplier)

    def scale(self, query: Bounded) -> float:
        """Return the scale that noise for `query` is drawn with.

        Args:
            query: a value bounded in l1.

        Returns:
            noise_multiplier * bound, rounded up, in units of the value.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is not l1, or the bound is 0.
            ParameterError: the product is out of range.

        Example:
            >>> LaplaceMechanism(2.0).scale(Bounded(np.zeros(3), 0.5, "l1"))
            1.0
        """
        check_query(query, ("l1",))
        return product_up(self.noise_multiplier, query.bound)

    def variance(self, query: Bounded) -> float:
        """Return the variance of each coordinate's noise: the mean square around the query's real value.

        Guarantee: an upper bound at every value, off by less than 1e-14 of itself
        (``test_laplace_variance_at_every_center``). Casting to float32 comes on top.

        Args:
            query: a value bounded in l1.

        Returns:
            2 scale² + step²/12 + step⁴/(120 scale²), rounded up; in squared units of the value.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is not l1, or the bound is 0.
            ParameterError: the noise is out of range.

        Example:
            >>> round(LaplaceMechanism(2.0).variance(Bounded(np.zeros(3), 0.5, "l1")), 6)
            2.0
        """
        return laplace_variance(self.scale(query))

    def interval(self, query: Bounded, *, level: float) -> float:
        """Return how far a coordinate's noise reaches at most, with a probability of at least `level`.

        Guarantee: at every real value of the query (``test_laplace_intervals_hold_at_every_center``). Casting to
        float32 comes on top.

        Args:
            query: a value bounded in l1.
            level: in (0, 1), of one coordinate; for all d of them at once give 1 - (1 - level)/d.

        Returns:
            Half-width in units of the value: the least multiple of the lattice step, up to the rounding of a logarithm.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is not l1, or the bound is 0.
            ParameterError: level or the noise is out of range.

        Example:
            >>> round(LaplaceMechanism(1.0).interval(Bounded(np.zeros(3), 1.0, "l1"), level=0.95), 2)
            3.0
        """
        return laplace_half_width(self.scale(query), check_level(level))

    def release(
        self,
        query: Bounded,
        *,
        sampling: Sampling | None = None,
        ledger: Recorder | None = None,
        entropy: Source | None = None,
    ) -> Release:
        """Record the event, then return the value with noise.

        Args:
            query: a value bounded in l1: an array or a dict of arrays, noised as one vector.
            sampling: how the query's records were sampled; its sampled event is recorded.
            ledger: a Ledger or Budget; if it raises, nothing is released.
            entropy: source of randomness; None means ``dpkit.entropy.system()``.

        Returns:
            Release in the structure of the query and its kinds of arrays; float32 stays float32, integers become
            float64. Casting the float64 lattice value is post-processing.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is not l1, or the bound is 0.
            ParameterError: the query is not finite, or the noise out of range.
            StateError: sampling has no open draw; each draw is for one release.

        Example:
            >>> LaplaceMechanism(1.0).release(Bounded(np.zeros(2), 1.0, "l1")).value.dtype
            dtype('float64')
        """
        scale = self.scale(query)
        lattice_step(scale)  # out of range is refused here, before anything is recorded

        def draw(vector: NDArray[np.float64], source: Source) -> NDArray[np.float64]:
            return lattice_laplace(vector, scale, source)

        return publish(query, self.event(query), draw, sampling=sampling, ledger=ledger, entropy=entropy)
