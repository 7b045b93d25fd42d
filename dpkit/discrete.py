"""The discrete Gaussian mechanism, whole or in shares: integer noise around real centres, which does the rounding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, final

from accountants.events import DiscreteGaussian, DistributedDiscreteGaussian, Event
from dpkit._laws import GaussianLaw
from dpkit.bounded import Bounded
from dpkit.errors import ParameterError
from dpkit.lattice import dimension, movement, on_lattice, require_step
from dpkit.lattice_mechanism import LatticeMechanism
from dpkit.lattice_noise import LatticeNoise, least_multiplier
from dpkit.mechanism import check_query, product_up
from dpkit.samplers import root_up
from dpkit.shares import ShareMechanism

__all__ = ["DiscreteGaussianMechanism"]


@final
@dataclass(frozen=True, slots=True)
class DiscreteGaussianMechanism(LatticeMechanism):
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

    norms: ClassVar[tuple[str, ...]] = ("l2", "l1")
    rounds: ClassVar[bool] = False

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
        check_query(query, self.norms)
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

    @classmethod
    def _least(cls, epsilon: float, delta: float, relation: str, query: Bounded, step: float) -> float:
        """By the accountants' calibration."""
        return least_multiplier(lambda x: cls(x, step).event(query), epsilon=epsilon, delta=delta, relation=relation)
