"""Batches into which every record goes by a coin of its own."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from accountants.events import Event, PoissonSampled
from dpkit.batches._coins import coin_rows
from dpkit.batches.plan import Batches, check_probability
from dpkit.entropy import Source

__all__ = ["PoissonBatches"]


@final
class PoissonBatches(Batches):
    """Batches into which every record goes by a coin of its own: :class:`~dpkit.batches.plan.Batches` says how to use.

    Batches may be empty and are to be released like any other. Under which relations a sampled event has an account,
    docs/sampling.md says.

    Guarantee: in each step each record is included independently with probability exactly `sampling_prob`, for the
    rational number that the float denotes (``test_every_tape_of_the_coins``). No draw is released twice
    (``test_one_draw_is_for_one_release``). How many steps there are, and how much
    work a step is, does not depend on the batches.

    Args:
        num_records: how many records there are, from 1 to 2**62.
        sampling_prob: probability of each record in each step, in (0, 1].
        steps: number of batches, >= 1.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Raises:
        ParameterError: a parameter is out of range.

    Example:
        >>> batches = PoissonBatches(1000, 0.01, steps=3)
        >>> [batch.dtype.name for batch in batches]
        ['int64', 'int64', 'int64']
        >>> from accountants.events import Gaussian
        >>> batches.sampled(Gaussian(1.0))
        PoissonSampled(event=Gaussian(noise_multiplier=1.0), sampling_prob=0.01)

    References:
        Abadi et al. 2016 (arXiv 1607.00133), section 3.1.
    """

    __slots__ = ("sampling_prob",)

    _parameters: ClassVar[tuple[str, ...]] = ("num_records", "sampling_prob", "steps")

    def __init__(self, num_records: int, sampling_prob: float, steps: int, entropy: Source | None = None) -> None:
        super().__init__(num_records, steps, entropy)
        self.sampling_prob = check_probability(sampling_prob)

    def _rows(self) -> NDArray[np.int64]:
        return coin_rows(self._source, self.num_records, self.sampling_prob)

    def sampled(self, event: Event) -> Event:
        """Return the event of a mechanism that is run on one of these batches; it needs no draw and spends none.

        Args:
            event: the mechanism's event on the records of a batch.

        Returns:
            ``PoissonSampled(event, sampling_prob)``.

        Example:
            >>> from accountants.events import Gaussian
            >>> PoissonBatches(10, 0.5, steps=1).sampled(Gaussian(2.0)).sampling_prob
            0.5
        """
        return PoissonSampled(event, self.sampling_prob)
