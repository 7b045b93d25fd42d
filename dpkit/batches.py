"""Sampling plans: which records each step uses, and what that does to an event."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NoReturn, final

import numpy as np
from numpy.typing import NDArray

from accountants.events import Event, PoissonSampled
from dpkit._checks import check_count, check_real
from dpkit.entropy import Source, is_secure, read_bytes, read_words, resolve
from dpkit.errors import EntropyError, ExhaustedError, ParameterError, StateError

__all__ = ["PoissonBatches"]

_WORD_BITS = 32
_CHUNK = 1 << 16


@final
class PoissonBatches:
    """Batches into which every record goes by a coin of its own.

    A plan is passed through once: its batches are secret coins, each for one release. Iterate it, or call :meth:`draw`
    step by step. Batches may be empty and are to be released like any other.

    A draw is open for one release, which a mechanism spends when it has recorded; a second release on the same draw is
    refused, for the sampled event would not hold. A draw that is not released is void when the next one is made.

    Guarantee: in each step each record is included independently with probability exactly `sampling_prob`, for the
    rational number that the float denotes (``test_every_tape_of_the_coins``). No draw is released twice
    (``test_one_draw_is_for_one_release``). How many steps there are, and how much
    work a step is, does not depend on the batches.

    Args:
        num_records: how many records there are, >= 1.
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

    __slots__ = ("_drawn", "_open", "_source", "num_records", "sampling_prob", "steps")

    def __init__(self, num_records: int, sampling_prob: float, steps: int, entropy: Source | None = None) -> None:
        self.num_records = check_count("num_records", num_records, "give a public number.")
        self.sampling_prob = _check_probability(sampling_prob)
        self.steps = check_count("steps", steps, "give a public number.")
        self._source = resolve(entropy)
        self._drawn = 0
        self._open = False

    @property
    def secure(self) -> bool:
        """Whether the coins come from cryptographic randomness."""
        return is_secure(self._source)

    @property
    def remaining(self) -> int:
        """How many batches are left."""
        return self.steps - self._drawn

    @property
    def open(self) -> bool:
        """Whether the latest draw is still to be released."""
        return self._open

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        if self.remaining == 0:
            self._exhausted()
        return self._rest()

    def _rest(self) -> Iterator[NDArray[np.int64]]:
        """The batches that are left."""
        while self.remaining:
            yield self.draw()

    def draw(self) -> NDArray[np.int64]:
        """Draw the next batch, which is open for one release.

        Returns:
            Sorted indices of the records in it, int64, shape (b,), b >= 0.

        Raises:
            ExhaustedError: all steps have been drawn.

        Example:
            >>> PoissonBatches(4, 1.0, steps=1).draw()
            array([0, 1, 2, 3])
        """
        if self.remaining == 0:
            self._exhausted()
        coins = [
            _coins(self._source, min(_CHUNK, self.num_records - start), self.sampling_prob)
            for start in range(0, self.num_records, _CHUNK)
        ]
        self._drawn, self._open = self._drawn + 1, True
        return np.flatnonzero(np.concatenate(coins)).astype(np.int64)

    def spend(self) -> None:
        """Close the open draw. Mechanisms call it once they have recorded the release.

        Raises:
            StateError: no draw is open.

        Example:
            >>> batches = PoissonBatches(4, 0.5, steps=1)
            >>> _ = batches.draw()
            >>> batches.spend()
            >>> batches.open
            False
        """
        if not self._open:
            raise StateError("there is no open draw to spend; each draw is for one release: call draw() first.")
        self._open = False

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

    def _exhausted(self) -> NoReturn:
        raise ExhaustedError(
            f"all {self.steps} batches of this plan have been drawn; make a new PoissonBatches for another pass."
        )

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Copy, deepcopy and pickle all come here."""
        raise EntropyError("a plan of batches may not be copied or pickled: its batches are for one release each.")

    def __repr__(self) -> str:
        return (
            f"PoissonBatches(num_records={self.num_records}, sampling_prob={self.sampling_prob}, steps={self.steps}, "
            f"remaining={self.remaining}, secure={self.secure})"
        )


def _coins(source: Source, count: int, probability: float, word_bits: int = _WORD_BITS) -> NDArray[np.bool_]:
    """Independent exact coins: a word below the first digits of the probability, more digits where they are equal."""
    digits, rest = divmod(Fraction(probability) * (1 << word_bits), 1)
    words = read_words(source, count, word_bits)
    heads = words < digits
    for tie in np.flatnonzero(words == digits):
        heads[tie] = _below(source, rest)
    return np.asarray(heads)


def _below(source: Source, probability: Fraction) -> bool:
    """Whether a uniform number is below a dyadic one, 64 bits at a time."""
    while probability:
        digit, probability = divmod(probability * (1 << 64), 1)
        word = int.from_bytes(read_bytes(source, 8), "big")
        if word != digit:
            return word < digit
    return False


def _check_probability(value: Any) -> float:
    """A float in (0, 1]."""
    number = check_real("sampling_prob", value, "give a float.")
    if not 0.0 < number <= 1.0:
        raise ParameterError(f"sampling_prob must be in (0, 1], got {number!r}; it is the chance of each record.")
    return number
