"""The discrete Laplace mechanism: two-sided geometric noise, added to integers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, final

from accountants.curves import rdp_curve
from accountants.events import DiscreteLaplace
from accountants.relation import Relation, as_relation
from dpkit._checks import check_positive_down
from dpkit._laws import LaplaceLaw
from dpkit.bounded import Bounded
from dpkit.errors import ParameterError
from dpkit.lattice import movement, on_lattice, require_step
from dpkit.lattice_mechanism import LatticeMechanism
from dpkit.lattice_noise import LatticeNoise, least_multiplier
from dpkit.mechanism import check_query, product_up

__all__ = ["DiscreteLaplaceMechanism"]

_FINEST = Fraction(1, 1 << 10)  # of the scale, in steps


@final
@dataclass(frozen=True, slots=True)
class DiscreteLaplaceMechanism(LatticeMechanism):
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

    norms: ClassVar[tuple[str, ...]] = ("l1",)
    rounds: ClassVar[bool] = True

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
        check_query(query, self.norms)
        step = require_step(self.step)
        scale = Fraction(self.noise_multiplier) * Fraction(query.bound) / Fraction(step)
        if not _FINEST <= scale <= 1 << 40:
            raise ParameterError("noise must be from 2**-10 to 2**40 lattice steps; choose another step.")
        law = LaplaceLaw(product_up(scale))
        return LatticeNoise(step, law, DiscreteLaplace(law.scale, movement(query, step).l1), on_lattice(query, step))

    @classmethod
    def _least(cls, epsilon: float, delta: float, relation: str, query: Bounded, step: float) -> float:
        """By the accountants' calibration, or in closed form for delta = 0."""
        target = check_positive_down("epsilon", epsilon, "ask for the cost that the release may have.")
        if delta == 0:
            return _least_pure(target, as_relation(relation), query, step)
        return least_multiplier(lambda x: cls(x, step).event(query), epsilon=target, delta=delta, relation=relation)


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
