"""One party's share of integer noise: enough shares together are the noise of the whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self, final

import numpy as np
from numpy.typing import NDArray

from accountants.events import Event
from dpkit._checks import check_count
from dpkit.bounded import Bounded
from dpkit.entropy import Source, resolve
from dpkit.errors import ParameterError
from dpkit.lattice_noise import LatticeNoise
from dpkit.mechanism import query_vector

__all__ = ["ShareMechanism", "Shared"]


class Shared(Protocol):
    """A mechanism, itself a frozen dataclass, whose noise is the sum of equal shares."""

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of all shares together / bound of one record's contribution."""

    @property
    def step(self) -> float | None:
        """The lattice step in units of the value."""

    def noise(self, query: Bounded, shares: int = 1) -> LatticeNoise:
        """One of so many equal shares of the noise for a query, and the event of them together."""

    def with_step(self, step: float) -> Self:
        """The same on another lattice."""


@final
@dataclass(frozen=True, slots=True)
class ShareMechanism:
    """One party's share of a mechanism's noise, for the party's own value.

    Guarantee: the sum of `min_honest` shares costs :meth:`event`, whose numbers are those that draw
    (``test_event_is_made_of_the_numbers_that_drew``, ``test_shares_sum_to_the_law_recorded``); further shares only add
    noise.

    Args:
        mechanism: what `min_honest` shares together are: a ``DiscreteGaussianMechanism`` or a ``SkellamMechanism``.
        parties: how many parties draw a share.
        min_honest: how many shares are guaranteed secret in any sum that is opened.

    Raises:
        ParameterError: a parameter is out of range.

    Example:
        >>> from dpkit import DiscreteGaussianMechanism
        >>> share = DiscreteGaussianMechanism(8.0).share(10, 4).with_step(0.25)
        >>> share.draw(Bounded(np.array([0.1, 0.2]), 1.0)).dtype
        dtype('int64')
    """

    mechanism: Shared
    parties: int
    min_honest: int

    def __post_init__(self) -> None:
        if not callable(getattr(self.mechanism, "share", None)):
            raise ParameterError(
                f"mechanism must divide into shares, got {type(self.mechanism).__name__}; use "
                "DiscreteGaussianMechanism or SkellamMechanism."
            )
        for name in ("parties", "min_honest"):
            object.__setattr__(self, name, check_count(name, getattr(self, name), "count the parties."))
        if self.min_honest > self.parties:
            raise ParameterError(
                f"min_honest must be <= parties, got {self.min_honest} > {self.parties}; count guaranteed shares only."
            )

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of `min_honest` shares together / bound of one record's contribution."""
        return self.mechanism.noise_multiplier

    @property
    def step(self) -> float | None:
        """Lattice step in units of the value, a power of two."""
        return self.mechanism.step

    def with_step(self, step: float) -> ShareMechanism:
        """Return the same share on another lattice.

        Args:
            step: lattice step in units of the value, a power of two.

        Returns:
            A new share mechanism.

        Raises:
            ParameterError: step is not a power of two.

        Example:
            >>> from dpkit import DiscreteGaussianMechanism
            >>> DiscreteGaussianMechanism(8.0).share(2, 1).with_step(0.5).step
            0.5
        """
        return replace(self, mechanism=self.mechanism.with_step(step))

    def lattice(self, query: Bounded) -> tuple[float, float]:
        """Return the lattice step, and one share's noise in steps.

        Args:
            query: a value bounded in l2 or l1.

        Returns:
            (step, local_stddev); local_stddev² · min_honest is (noise_multiplier · bound / step)², rounded up.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: there is no step, or the noise is out of range.

        Example:
            >>> from dpkit import DiscreteGaussianMechanism
            >>> DiscreteGaussianMechanism(4.0, step=0.5).share(9, 4).lattice(Bounded(np.zeros(1), 1.0))
            (0.5, 4.0)
        """
        noise = self._noise(query)
        return noise.step, noise.law.spread

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
            >>> from dpkit import SkellamMechanism
            >>> SkellamMechanism(4.0, step=0.5).share(9, 4).local_stddev(Bounded(np.zeros(1), 1.0))
            4.0
        """
        return self.lattice(query)[1]

    def event(self, query: Bounded) -> Event:
        """Return the event of a sum of shares in which `min_honest` are secret.

        Where shares are rounded, each party rounds its own value: only the party that holds the record moves, so the
        growth counts once.

        Args:
            query: any party's value: only its bound, norm, type and size count.

        Returns:
            ``DistributedDiscreteGaussian`` or ``Skellam``, in lattice units.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: there is no step, or the noise is out of range.

        Example:
            >>> from dpkit import DiscreteGaussianMechanism
            >>> DiscreteGaussianMechanism(4.0, step=0.5).share(9, 4).event(Bounded(np.zeros(2), 1.0)).parties
            4
        """
        return self._noise(query).event

    def reach(self, query: Bounded) -> float:
        """Return how far one share's noise can be from its centre but for a probability below 1e-346.

        Args:
            query: a value bounded in l2 or l1.

        Returns:
            The distance in lattice steps.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or the bound is 0.
            ParameterError: there is no step, or the noise is out of range.

        Example:
            >>> from dpkit import DiscreteGaussianMechanism
            >>> DiscreteGaussianMechanism(4.0, step=0.5).share(9, 4).reach(Bounded(np.zeros(2), 1.0))
            161.0
        """
        return self._noise(query).law.reach

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
            >>> from dpkit import DiscreteGaussianMechanism
            >>> DiscreteGaussianMechanism(4.0, step=0.5).share(9, 4).draw(Bounded({"w": np.ones((2, 2))}, 1.0)).shape
            (4,)
        """
        return self._noise(value).draw(query_vector(value), resolve(entropy))

    def _noise(self, query: Bounded) -> LatticeNoise:
        """This share's noise: of as many equal shares as are guaranteed, not as are drawn."""
        return self.mechanism.noise(query, self.min_honest)
