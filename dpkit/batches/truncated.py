"""Poisson batches that are cut where they are too large, and padded to one shape."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from accountants.events import Event, TruncatedPoissonSampled
from dpkit._checks import check_count
from dpkit.batches._coins import coin_rows
from dpkit.batches._subsets import uniform_subset
from dpkit.batches.plan import Batches, check_probability
from dpkit.entropy import Source
from dpkit.errors import ParameterError

__all__ = ["TruncatedPoissonBatches"]


@final
class TruncatedPoissonBatches(Batches):
    r"""Poisson batches of at most a given size: :class:`~dpkit.batches.plan.Batches` says how to use one.

    Every record goes into the batch by a coin of its own. Where more than `max_batch_size` come, a uniform subset of
    that size is kept. :meth:`padded` gives batches one shape, which compiled code and accelerators ask for.

    Whatever the records, the batch differs from a Poisson batch with probability P[more come], which the event adds as
    a total variation distance: an additive delta of :math:`(1 + e^\epsilon)` times it for each release, in which it
    does not matter what is kept. At and below the expected size, sampling_prob * num_records, no finite epsilon is
    left; docs/sampling.md shows how to choose.

    Guarantee: a batch has exactly that law, for the rational number that `sampling_prob` denotes
    (``test_every_tape_of_a_truncated_batch``); a release costs no more than its event, also beside a neighbour with
    one record more (``test_truncated_poisson_costs_no_more_than_its_event``,
    ``test_a_neighbour_with_one_record_more_is_paid_for``). How much work a step is does not depend on the batch, unless
    it was cut: that is part of what the event pays for.

    Args:
        num_records: how many records there are, from 1 to 2**62.
        sampling_prob: probability of each record in each step, in (0, 1].
        max_batch_size: how many records a batch may hold, >= 1; a public number.
        steps: number of batches, >= 1.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Raises:
        ParameterError: a parameter is out of range.

    Example:
        >>> batches = TruncatedPoissonBatches(1000, 0.01, 30, steps=3)
        >>> [batch.size <= 30 for batch in batches]
        [True, True, True]
        >>> from accountants.events import Gaussian
        >>> batches.sampled(Gaussian(1.0)).max_batch
        30

    References:
        Chua, Ghazi, Kamath, Kumar, Manurangsi, Sinha & Zhang 2024 (arXiv 2411.04205).
    """

    __slots__ = ("max_batch_size", "sampling_prob")

    _parameters: ClassVar[tuple[str, ...]] = ("num_records", "sampling_prob", "max_batch_size", "steps")

    def __init__(
        self, num_records: int, sampling_prob: float, max_batch_size: int, steps: int, entropy: Source | None = None
    ) -> None:
        super().__init__(num_records, steps, entropy)
        self.sampling_prob = check_probability(sampling_prob)
        self.max_batch_size = check_count("max_batch_size", max_batch_size, "give a public number.")

    def _rows(self) -> NDArray[np.int64]:
        rows = coin_rows(self._source, self.num_records, self.sampling_prob)
        if rows.size <= self.max_batch_size:
            return rows
        return rows[uniform_subset(self._source, rows.size, self.max_batch_size)]

    def sampled(self, event: Event) -> Event:
        """Return the event of a mechanism that is run on one of these batches; it needs no draw and spends none.

        Args:
            event: the mechanism's event on the records of a batch.

        Returns:
            ``TruncatedPoissonSampled(event, sampling_prob, population=num_records + 1, max_batch=max_batch_size)``: a
            neighbour may have one record more, and is cut more often. For groups type the event yourself, with a
            population of num_records + size, and put it into ``Group(..., size)``.

        Example:
            >>> from accountants.events import Gaussian
            >>> TruncatedPoissonBatches(10, 0.5, 8, steps=1).sampled(Gaussian(2.0)).population
            11
        """
        return TruncatedPoissonSampled(event, self.sampling_prob, self.num_records + 1, self.max_batch_size)

    def padded(self, batch: NDArray[np.int64] | None = None) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return a batch in the one shape of this plan, and a mask that says which entries are records.

        An entry that is no record is `num_records`, one past the last: whoever uses it without the mask gets an
        IndexError and not somebody's data. Append one row, of zeros say, to the records, and let entries without a
        record contribute nothing: multiply losses or contributions by the mask, and leave them out of counts, where a
        zero would count as a record within the clip.

        Args:
            batch: a batch of this plan, int64, shape (b,); None draws the next one, as ``draw()`` does.

        Returns:
            (indices, mask): int64 and bool, both of shape (max_batch_size,); records first, ascending.

        Raises:
            ExhaustedError: all steps have been drawn.
            ParameterError: the batch is none of this plan.

        Example:
            >>> batches = TruncatedPoissonBatches(3, 1.0, 5, steps=1)
            >>> rows, mask = batches.padded()
            >>> rows, mask
            (array([0, 1, 2, 3, 3]), array([ True,  True,  True, False, False]))
            >>> records = np.append(np.array([10.0, 20.0, 30.0]), 0.0)
            >>> records[rows] * mask
            array([10., 20., 30.,  0.,  0.])
        """
        indices = np.full(self.max_batch_size, self.num_records, dtype=np.int64)
        rows = self.draw() if batch is None else self._check_batch(batch)
        indices[: rows.size] = rows
        return indices, np.arange(self.max_batch_size) < rows.size

    def _check_batch(self, batch: Any) -> NDArray[np.int64]:
        """What may have come from :meth:`draw`."""
        if not isinstance(batch, np.ndarray) or batch.dtype != np.int64 or batch.ndim != 1:
            raise ParameterError("batch must be an int64 array of shape (b,); give what draw() returned.")
        if batch.size > self.max_batch_size:
            raise ParameterError(
                f"batch must hold at most max_batch_size = {self.max_batch_size} records, got {batch.size}; give a "
                "batch of this plan."
            )
        return batch
