"""The Skellam mechanism, whole or in shares: the difference of two Poisson counts, added to integers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, final

from accountants.events import Skellam
from dpkit._laws import SkellamLaw
from dpkit.bounded import Bounded
from dpkit.errors import ParameterError
from dpkit.lattice import movement, on_lattice, require_step
from dpkit.lattice_mechanism import LatticeMechanism
from dpkit.lattice_noise import LatticeNoise, least_multiplier
from dpkit.mechanism import check_query, product_up
from dpkit.shares import ShareMechanism

__all__ = ["SkellamMechanism"]


@final
@dataclass(frozen=True, slots=True)
class SkellamMechanism(LatticeMechanism):
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

    norms: ClassVar[tuple[str, ...]] = ("l2", "l1")
    rounds: ClassVar[bool] = True

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
        check_query(query, self.norms)
        step = require_step(self.step)
        square = (Fraction(self.noise_multiplier) * Fraction(query.bound) / Fraction(step)) ** 2 / shares
        if not Fraction(1, 1 << 20) <= square <= 1 << 40:
            raise ParameterError("noise must be from 2**-10 to 2**20 lattice steps a share; choose another step.")
        law, moved = SkellamLaw(product_up(square)), movement(query, step)
        event = Skellam(_down(Fraction(law.mean_square) * shares), l1_bound=moved.l1, l2_bound=moved.l2)
        return LatticeNoise(step, law, event, on_lattice(query, step))

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

    @classmethod
    def _least(cls, epsilon: float, delta: float, relation: str, query: Bounded, step: float) -> float:
        """By the accountants' calibration."""
        return least_multiplier(lambda x: cls(x, step).event(query), epsilon=epsilon, delta=delta, relation=relation)


def _down(exact: Fraction) -> float:
    """A float64 that is at most a positive number: less noise is recorded, never more."""
    rounded = float(exact)
    return rounded if Fraction(rounded) <= exact else math.nextafter(rounded, 0.0)
