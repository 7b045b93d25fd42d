"""Batches of a fixed size, drawn uniformly without replacement."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from accountants.events import Event, FixedSizeSampled
from dpkit._checks import check_count
from dpkit.batches._subsets import uniform_subset
from dpkit.batches.plan import Batches
from dpkit.entropy import Source
from dpkit.errors import ParameterError

__all__ = ["FixedSizeBatches"]


@final
class FixedSizeBatches(Batches):
    """Batches of a fixed size without replacement: :class:`~dpkit.batches.plan.Batches` says how to use one.

    Every step draws anew from all records; this is not a shuffle that is cut into batches. A record that is missing
    is *replaced* in the batch, so that the event is that of two contributions under every relation: the shape is
    fixed, and costs more than a Poisson batch of the same rate.

    Guarantee: in each step every set of `batch_size` records is drawn with the same probability, exactly and
    independently of all other steps (``test_every_tape_of_a_subset``, ``test_every_word_of_a_uniform_integer``), and a
    release costs no more than its event (``test_fixed_size_costs_no_more_than_its_event``). How many random words a
    draw reads is independent of the batch.

    Args:
        num_records: how many records there are, from 1 to 2**62.
        batch_size: how many records a batch holds, from 1 to `num_records`; a public number, the same for neighbours.
        steps: number of batches, >= 1.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Raises:
        ParameterError: a parameter is out of range.

    Example:
        >>> batches = FixedSizeBatches(1000, 10, steps=3)
        >>> [batch.size for batch in batches]
        [10, 10, 10]
        >>> from accountants.events import Gaussian
        >>> batches.sampled(Gaussian(1.0))
        FixedSizeSampled(event=Gaussian(noise_multiplier=1.0), population=1000, batch=10)

    References:
        Wang, Balle & Kasiviswanathan 2019 (arXiv 1808.00087); Zhu, Dong & Wang 2022 (arXiv 2106.08567), Theorem 11.
    """

    __slots__ = ("batch_size",)

    _parameters: ClassVar[tuple[str, ...]] = ("num_records", "batch_size", "steps")

    def __init__(self, num_records: int, batch_size: int, steps: int, entropy: Source | None = None) -> None:
        super().__init__(num_records, steps, entropy)
        self.batch_size = check_count("batch_size", batch_size, "give a public number.")
        if self.batch_size > self.num_records:
            raise ParameterError(
                f"batch_size must be at most num_records = {self.num_records}, got more; a batch without replacement "
                "holds no record twice."
            )

    def _rows(self) -> NDArray[np.int64]:
        return uniform_subset(self._source, self.num_records, self.batch_size)

    def sampled(self, event: Event) -> Event:
        """Return the event of a mechanism that is run on one of these batches; it needs no draw and spends none.

        Args:
            event: the mechanism's event on the records of a batch.

        Returns:
            ``FixedSizeSampled(event, population=num_records, batch=batch_size)``: of two neighbours the larger has at
            least `num_records`, and a record of it is in the batch with a chance of at most batch_size / num_records.

        Example:
            >>> from accountants.events import Gaussian
            >>> FixedSizeBatches(10, 5, steps=1).sampled(Gaussian(2.0)).batch
            5
        """
        return FixedSizeSampled(event, self.num_records, self.batch_size)
