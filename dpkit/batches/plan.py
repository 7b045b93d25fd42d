"""What sampling plans share: one pass, and one release for each draw."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from accountants.events import Event
from dpkit._checks import check_count, check_real
from dpkit.entropy import Source, _process, is_secure, resolve
from dpkit.errors import EntropyError, ExhaustedError, ParameterError, StateError

__all__ = ["Batches", "check_probability"]

_MOST_RECORDS = 1 << 62  # indices are int64


class Batches(ABC):
    """What the sampling plans have in common; make a PoissonBatches, TruncatedPoissonBatches or FixedSizeBatches.

    A plan is passed through once: its batches are secret, each for one release. Iterate it, or call :meth:`draw` step
    by step. One thread at a time.

    A draw is open for one release, which a mechanism spends when it has recorded; a second release on the same draw is
    refused, for the sampled event would not hold. A draw that is not released is void when the next one is made, and
    in a process that was forked after it.

    Guarantee: no draw is released twice (``test_one_draw_is_for_one_release``, ``test_a_fork_opens_no_second_draw``). A
    draw that fails leaves the plan as it was (``test_a_broken_source_costs_no_step``).

    Attributes:
        num_records: how many records there are.
        steps: number of batches.
    """

    __slots__ = ("_opened_in", "_position", "_source", "num_records", "steps")

    _parameters: ClassVar[tuple[str, ...]]

    def __init__(self, num_records: int, steps: int, entropy: Source | None) -> None:
        """Check what all plans are told."""
        self.num_records = check_count("num_records", num_records, "give a public number.")
        if self.num_records > _MOST_RECORDS:
            raise ParameterError("num_records must be at most 2**62, got more; indices are int64.")
        self.steps = check_count("steps", steps, "give a public number.")
        self._source = resolve(entropy)
        self._position = 0  # draws made
        self._opened_in: tuple[int, int] | None = None  # the process of the open draw

    @property
    def secure(self) -> bool:
        """Whether the batches come from cryptographic randomness."""
        return is_secure(self._source)

    @property
    def remaining(self) -> int:
        """How many batches are left."""
        return self.steps - self._position

    @property
    def open(self) -> bool:
        """Whether the latest draw is still to be released, by this process."""
        return self._opened_in == _process()

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
            Indices of the records in it, ascending and each once, int64, shape (b,).

        Raises:
            ExhaustedError: all steps have been drawn.

        Example:
            >>> from dpkit.batches import PoissonBatches
            >>> PoissonBatches(4, 1.0, steps=1).draw()
            array([0, 1, 2, 3])
        """
        if self.remaining == 0:
            self._exhausted()
        rows = self._rows()
        self._position, self._opened_in = self._position + 1, _process()
        return rows

    def spend(self) -> None:
        """Close the open draw. Mechanisms call it once they have recorded the release.

        Raises:
            StateError: no draw is open in this process.

        Example:
            >>> from dpkit.batches import FixedSizeBatches
            >>> batches = FixedSizeBatches(4, 2, steps=1)
            >>> _ = batches.draw()
            >>> batches.spend()
            >>> batches.open
            False
        """
        if not self.open:
            raise StateError("there is no open draw to spend; each draw is for one release: call draw() first.")
        self._opened_in = None

    @abstractmethod
    def sampled(self, event: Event) -> Event:
        """Return the event of a mechanism that is run on one of these batches; it needs no draw and spends none.

        Args:
            event: the mechanism's event on the records of a batch.

        Returns:
            The sampled event. Whether it has a sound account, and under which relation, the accountants say when it
            is recorded or asked for.
        """

    @abstractmethod
    def _rows(self) -> NDArray[np.int64]:
        """A batch, whatever was drawn before: ascending indices, int64."""

    def _exhausted(self) -> NoReturn:
        raise ExhaustedError(
            f"all {self.steps} batches of this plan have been drawn; make a new {type(self).__name__} for another pass."
        )

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Copy, deepcopy and pickle all come here."""
        raise EntropyError("a plan of batches may not be copied or pickled: its batches are for one release each.")

    def __repr__(self) -> str:
        shown = (*self._parameters, "remaining", "secure")
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in shown)})"


def check_probability(value: Any) -> float:
    """Return a sampling probability as a float.

    Args:
        value: what was given.

    Returns:
        A float in (0, 1].

    Raises:
        ParameterError: it is not such a number.

    Example:
        >>> check_probability(1)
        1.0
    """
    number = check_real("sampling_prob", value, "give a float.")
    if not 0.0 < number <= 1.0:
        raise ParameterError(f"sampling_prob must be in (0, 1], got {number!r}; it is the chance of each record.")
    return number
