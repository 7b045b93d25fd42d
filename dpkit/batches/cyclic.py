"""Batches that come again in every epoch, for noise that is correlated over the steps."""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from accountants.events import Event
from accountants.participation import Participation
from dpkit._checks import check_count
from dpkit.batches._subsets import uniform_below
from dpkit.batches.plan import KEY_BYTES, Batches
from dpkit.entropy import Source, read_bytes, seeded
from dpkit.errors import ParameterError

__all__ = ["CyclicBatches", "dice"]

_MOST_SLOTS = 1 << 62
_CHUNK = 1 << 16


@final
class CyclicBatches(Batches):
    """Batches that come again in every epoch: :class:`~dpkit.batches.plan.Batches` says how to use one.

    Each record throws a die of its own, once, for one of `batches_per_epoch` slots; step t (0, 1, ...) holds the
    records of slot t mod `batches_per_epoch`. So every record is in exactly one batch of each epoch, and two steps of
    one record are at least an epoch apart, which is what noise that is correlated over the steps needs
    (:mod:`dpkit.correlated`; DP-FTRL, banded and Toeplitz matrices): ``participation`` says so. Batches are of about
    the same size, and may be empty.

    Why dice, and not the places of records in a list or a shuffle: there, a record more or less would move others into
    other batches, and two neighbours would differ in many contributions of a step. Dice are independent, so that under
    `add_remove` too neighbours differ in the steps of one record only. That is about the law of the schedule: the key
    from which the dice follow must stay secret, as batches do. Under `zero_out` and `replace_one`, where every record
    keeps its place, it may be known.

    No amplification is claimed. With independent noise for each step use
    :class:`~dpkit.batches.poisson.PoissonBatches`, which costs far less.

    Guarantee: slots are independent and uniform, exactly, and a record more or less does not change the law of the
    others (``test_every_tape_of_the_dice``, ``test_a_record_moves_no_other``); every record is in one batch of each
    epoch, and its steps keep to ``participation`` (``test_every_record_is_in_one_batch_of_each_epoch``). Exact means:
    given ideal random words, which a stream of 256-bit key stands for.

    Args:
        num_records: how many records there are, from 1 to 2**62.
        batches_per_epoch: how many batches an epoch has, from 1 to 2**62.
        epochs: how often each batch comes, >= 1.
        entropy: source of the key; None means ``dpkit.entropy.system()``.

    Raises:
        ParameterError: a parameter is out of range.

    Example:
        >>> batches = CyclicBatches(1000, 10, epochs=3)
        >>> epoch = [batches.draw() for _ in range(10)]
        >>> sorted(np.concatenate(epoch).tolist()) == list(range(1000))
        True
        >>> batches.draw().tolist() == epoch[0].tolist()
        True
        >>> batches.participation
        Participation(steps=30, min_separation=10, max_participations=3)

    References:
        Choquette-Choo et al. 2023 (arXiv 2306.08153), section 2: b-min-sep-participation.
    """

    __slots__ = ("_index", "batches_per_epoch", "epochs")

    _parameters: ClassVar[tuple[str, ...]] = ("num_records", "batches_per_epoch", "epochs")

    def __init__(self, num_records: int, batches_per_epoch: int, epochs: int, entropy: Source | None = None) -> None:
        self.batches_per_epoch = check_count("batches_per_epoch", batches_per_epoch, "give a public number.")
        if self.batches_per_epoch > _MOST_SLOTS:
            raise ParameterError("batches_per_epoch must be at most 2**62, got more; most batches would be empty.")
        self.epochs = check_count("epochs", epochs, "give a public number.")
        super().__init__(num_records, self.batches_per_epoch * self.epochs, entropy)
        self._key: bytes = read_bytes(self._source, KEY_BYTES)
        self._index: tuple[NDArray[Any], NDArray[Any]] | None = None

    @property
    def participation(self) -> Participation:
        """In which steps one record may take part: one of each epoch, always the same."""
        return Participation(steps=self.steps, min_separation=self.batches_per_epoch, max_participations=self.epochs)

    def _rows(self) -> NDArray[np.int64]:
        if self._index is None:
            self._index = _by_slot(dice(seeded(self._key), self.num_records, self.batches_per_epoch))
        slots, records = self._index
        slot = slots.dtype.type(self._position % self.batches_per_epoch)
        return records[np.searchsorted(slots, slot) : np.searchsorted(slots, slot, side="right")].astype(np.int64)

    def sampled(self, event: Event) -> Event:
        """Return the event itself: a record that is in a known step is not hidden by any sampling.

        Args:
            event: the mechanism's event on the records of a batch.

        Returns:
            The same event.

        Example:
            >>> from accountants.events import Gaussian
            >>> CyclicBatches(10, 2, epochs=1).sampled(Gaussian(2.0))
            Gaussian(noise_multiplier=2.0)
        """
        return event


def dice(source: Source, num_records: int, sides: int, word_bits: int = 64) -> NDArray[Any]:
    """Independent uniform slots, one for each record.

    Args:
        source: where the words come from.
        num_records: how many dice are thrown.
        sides: how many slots there are, from 1 to 2**62.
        word_bits: size of a word, 64 but for tests.

    Returns:
        Numbers in [0, sides) of the smallest unsigned dtype that holds them, shape (num_records,).

    Example:
        >>> dice(seeded(1), 4, 6).dtype.name
        'uint8'
    """
    slots = np.empty(num_records, dtype=np.min_scalar_type(sides - 1))
    for start in range(0, num_records, _CHUNK):
        part = slots[start : start + _CHUNK]
        part[:] = uniform_below(source, sides, part.size, word_bits)
    return slots


def _by_slot(slots: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Slots in ascending order, and the records in that order, ascending in each slot, in the smallest dtype."""
    order = np.argsort(slots, kind="stable")
    return slots[order], order.astype(np.min_scalar_type(slots.size - 1))
