"""The discrete Gaussian mechanism, whole or in shares: integer noise around real centres, which does the rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from accountants.events import DistributedDiscreteGaussian, Event
from dpkit._checks import check_count, check_real
from dpkit.bounded import Bounded
from dpkit.entropy import Source, resolve
from dpkit.errors import ParameterError
from dpkit.mechanism import Recorder, Release, Sampling, check_multiplier, check_query, publish, query_vector
from dpkit.samplers import centred_discrete_gaussian, root_up, to_lattice

__all__ = ["DiscreteGaussianMechanism", "ShareMechanism"]

_NORMS = ("l2", "l1")


@final
@dataclass(frozen=True, slots=True)
class DiscreteGaussianMechanism:
    """Noise on the lattice step·Z, from the discrete Gaussian around the real value of the query.

    Guarantee: a release is recorded as ``DistributedDiscreteGaussian`` with one party and the very numbers, in lattice
    units, that drew it (``test_event_is_made_of_the_numbers_that_drew``).

    Args:
        noise_multiplier: standard deviation / bound of one record's contribution; with shares: of `min_honest` shares
            together. Finite, > 0.
        step: lattice step in units of the value, a power of two; needed by :meth:`release` and by a share's draw.

    Raises:
        ParameterError: noise_multiplier is not a finite number > 0, or step not a power of two.

    Example:
        >>> query = Bounded(np.array([0.3, 0.4]), bound=1.0)
        >>> release = DiscreteGaussianMechanism(4.0, step=0.5).release(query)
        >>> bool((release.value % 0.5 == 0).all())
        True

    References:
        Canonne, Kamath & Steinke 2020 (arXiv 2004.00010) for integer centres; docs/noise.md for real ones.
    """

    noise_multiplier: float
    step: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_multiplier", check_multiplier(self.noise_multiplier))
        object.__setattr__(self, "step", _check_step(self.step))

    def event(self, query: Bounded) -> Event:
        """Return the event of one release of `query`, without sampling.

        Args:
            query: a value bounded in l2 or l1.

        Returns:
            ``DistributedDiscreteGaussian`` with one party, in lattice units.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: no step was given.

        Example:
            >>> DiscreteGaussianMechanism(4.0, step=0.5).event(Bounded(np.zeros(2), 1.0)).local_stddev
            8.0
        """
        return self.share(1, 1).event(query)

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
            Release of float64 arrays in the structure of the query, every number a multiple of the step.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: no step was given, the query is not finite, or the noise out of range.
            StateError: sampling has no open draw; each draw is for one release.

        Example:
            >>> DiscreteGaussianMechanism(4.0, step=1.0).release(Bounded(np.zeros((2, 2)), 1.0)).value.shape
            (2, 2)
        """
        share = self.share(1, 1)
        step, stddev = share.lattice(query)

        def draw(vector: NDArray[np.float64], source: Source) -> NDArray[np.float64]:
            draws = centred_discrete_gaussian(to_lattice(vector, step), stddev, source)
            return np.asarray(draws * step, dtype=np.float64)

        return publish(query, share.event(query), draw, sampling=sampling, ledger=ledger, entropy=entropy)

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
            >>> DiscreteGaussianMechanism(4.0, step=1.0).share(10, 4).local_stddev(Bounded(np.zeros(2), 1.0))
            2.0
        """
        return ShareMechanism(self.noise_multiplier, parties=parties, min_honest=min_honest, step=self.step)


@final
@dataclass(frozen=True, slots=True)
class ShareMechanism:
    """One party's share of discrete Gaussian noise, around the party's own real value.

    Guarantee: the sum of `min_honest` shares costs :meth:`event`, whose numbers are those that draw
    (``test_event_is_made_of_the_numbers_that_drew``); further shares only add noise.

    Args:
        noise_multiplier: standard deviation of `min_honest` shares together / bound of one record's contribution.
        parties: how many parties draw a share.
        min_honest: how many shares are guaranteed secret in any sum that is opened.
        step: lattice step in units of the value, a power of two.

    Raises:
        ParameterError: a parameter is out of range.

    Example:
        >>> share = DiscreteGaussianMechanism(8.0).share(10, 4).with_step(0.25)
        >>> share.draw(Bounded(np.array([0.1, 0.2]), 1.0)).dtype
        dtype('int64')
    """

    noise_multiplier: float
    parties: int
    min_honest: int
    step: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise_multiplier", check_multiplier(self.noise_multiplier))
        for name in ("parties", "min_honest"):
            object.__setattr__(self, name, check_count(name, getattr(self, name), "count the parties."))
        if self.min_honest > self.parties:
            raise ParameterError(
                f"min_honest must be <= parties, got {self.min_honest} > {self.parties}; count guaranteed shares only."
            )
        object.__setattr__(self, "step", _check_step(self.step))

    def with_step(self, step: float) -> ShareMechanism:
        """Return the same share on another lattice.

        Args:
            step: lattice step in units of the value, a power of two.

        Returns:
            A new share mechanism.

        Raises:
            ParameterError: step is not a power of two.

        Example:
            >>> DiscreteGaussianMechanism(8.0).share(2, 1).with_step(0.5).step
            0.5
        """
        return replace(self, step=step)

    def lattice(self, query: Bounded) -> tuple[float, float]:
        """Return the lattice step, and one share's standard deviation in steps.

        Args:
            query: a value bounded in l2 or l1.

        Returns:
            (step, local_stddev); local_stddev² · min_honest is (noise_multiplier · bound / step)², rounded up.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: there is no step, or the noise is not from 2**-10 to 2**40 steps.

        Example:
            >>> DiscreteGaussianMechanism(4.0, step=0.5).share(9, 4).lattice(Bounded(np.zeros(1), 1.0))
            (0.5, 4.0)
        """
        check_query(query, _NORMS)
        if self.step is None:
            raise ParameterError("step must be given, got None; choose one from public numbers: .with_step(2.0**-10).")
        whole = Fraction(self.noise_multiplier) * Fraction(query.bound) / Fraction(self.step)
        square = whole**2 / self.min_honest
        if not Fraction(1, 1 << 20) <= square <= 1 << 80:
            raise ParameterError("noise must be from 2**-10 to 2**40 lattice steps a share; choose another step.")
        return self.step, root_up(square)

    def local_stddev(self, query: Bounded) -> float:
        """Return one share's standard deviation in lattice steps.

        Args:
            query: a value bounded in l2 or l1.

        Returns:
            noise_multiplier · bound / (step · sqrt(min_honest)), rounded up.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: there is no step, or the noise is out of range.

        Example:
            >>> DiscreteGaussianMechanism(4.0, step=0.5).share(9, 4).local_stddev(Bounded(np.zeros(1), 1.0))
            4.0
        """
        return self.lattice(query)[1]

    def event(self, query: Bounded) -> Event:
        """Return the event of a sum of shares in which `min_honest` are secret.

        Args:
            query: any party's value: only its bound, norm and size count.

        Returns:
            ``DistributedDiscreteGaussian`` in lattice units.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: there is no step, or the noise is out of range.

        Example:
            >>> DiscreteGaussianMechanism(4.0, step=0.5).share(9, 4).event(Bounded(np.zeros(2), 1.0)).parties
            4
        """
        step, stddev = self.lattice(query)
        return DistributedDiscreteGaussian(
            local_stddev=stddev,
            parties=self.min_honest,
            l2_bound=query.bound / step,  # exact: a power of two
            dim=query_vector(query).size,
        )

    def draw(self, value: Bounded, entropy: Source | None = None) -> NDArray[np.int64]:
        """Draw this party's share: its value in lattice steps, noised.

        Args:
            value: the party's value, bounded in l2 or l1; a dict becomes one vector in its order.
            entropy: source of randomness; None means ``dpkit.entropy.system()``.

        Returns:
            int64, shape (d,).

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: there is no step, the value is not finite, or the noise is out of range.

        Example:
            >>> DiscreteGaussianMechanism(4.0, step=0.5).share(9, 4).draw(Bounded({"w": np.ones((2, 2))}, 1.0)).shape
            (4,)
        """
        step, stddev = self.lattice(value)
        return centred_discrete_gaussian(to_lattice(query_vector(value), step), stddev, resolve(entropy))


def _check_step(step: Any) -> float | None:
    """A power of two as a float, or None."""
    if step is None:
        return None
    value = check_real("step", step, "give a power of two such as 2.0**-10.")
    if not 2.0**-500 <= value <= 2.0**500 or math.frexp(value)[0] != 0.5:
        raise ParameterError(
            f"step must be a power of two from 2**-500 to 2**500, got {value!r}; for example 2.0**-10."
        )
    return value
