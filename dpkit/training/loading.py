"""Loading the records of each draw: torch's workers within a step, and no draw ahead of its release."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, final

import numpy as np
from torch.utils.data import DataLoader, IterableDataset

from dpkit._checks import check_count
from dpkit.errors import ParameterError, StateError

__all__ = ["Loader"]

_OPTIONS = ("generator", "multiprocessing_context", "pin_memory", "prefetch_factor", "timeout", "worker_init_fn")


@final
class Loader:
    """Loads the records of each draw in micro-batches: an outer loop over steps, an inner one over what fits in memory.

    One step is one draw of `rows`, and no draw is made before the one before it has been loaded whole and the body of
    the outer loop is done: a loader of torch that is given a plan as its ``batch_sampler`` draws ahead for its workers,
    while each draw is open for one release. Workers load the micro-batches of one step, and stay for the next.

    A draw without records has no micro-batch: the inner loop is skipped, and the step is released like any other.

    Guarantee: each record of a draw is loaded once, in the order of the draw, in a micro-batch of that draw
    (``test_every_draw_is_loaded_once_and_in_order``); no step is made ahead (``test_no_draw_is_made_ahead``); and what
    was left out of a step is noticed before the next (``test_an_inner_loop_that_was_left_is_noticed``). A sum without
    some of its records may depend on all of them, if they were left out because of what was seen.

    Args:
        rows: what is iterated for the draws: a Privatizer with a ``sampling``, a plan of :mod:`dpkit.batches`, or
            whatever gives integer arrays of shape (b,).
        dataset: a dataset with ``dataset[i]`` or ``__getitems__(list)``, as ``torch.utils.data`` has them; record i of
            the plan is its i-th. An IterableDataset has no i-th record and is refused.
        micro_batch: how many records are loaded together, >= 1; None for the whole draw.
        num_workers: how many processes load; 0 for this one.
        collate_fn: makes one batch of a list of records; None for torch's.
        **options: of ``torch.utils.data.DataLoader``: generator, multiprocessing_context, pin_memory, prefetch_factor,
            timeout, worker_init_fn.

    Raises:
        ParameterError: an argument is not as said here, or the plan is one of another number of records.

    Example:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> from dpkit import FlatClip
        >>> from dpkit.batches import PoissonBatches
        >>> from dpkit.training import Privatizer
        >>> dataset = TensorDataset(torch.randn(100, 3), torch.randn(100))
        >>> model, plan = torch.nn.Linear(3, 1), PoissonBatches(100, 0.2, steps=5)
        >>> with Privatizer(
        ...     model, clip=FlatClip(1.0), noise_multiplier=1.0, expected_batch_size=20, sampling=plan
        ... ) as private:
        ...     for parts in Loader(private, dataset, micro_batch=8):
        ...         for inputs, targets in parts:
        ...             private.backward((model(inputs).squeeze(1) - targets).square())
        ...         _ = private.release()
        >>> plan.remaining
        0
    """

    __slots__ = ("_coming", "_draw", "_loader", "_micro_batch", "_rows")

    def __init__(
        self,
        rows: Iterable[Any],
        dataset: Any,
        *,
        micro_batch: int | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        **options: Any,
    ) -> None:
        if not hasattr(rows, "__iter__"):
            raise ParameterError(f"rows must be iterable, got {type(rows).__name__}; give a Privatizer or a plan.")
        _check_dataset(dataset, getattr(getattr(rows, "_sampling", rows), "num_records", None))
        advice = "it bounds the memory of a step."
        self._micro_batch = None if micro_batch is None else check_count("micro_batch", micro_batch, advice)
        workers = check_count("num_workers", num_workers, "0 loads in this process.", least=0)
        if others := sorted(set(options) - set(_OPTIONS)):
            raise ParameterError(
                f"options must be among {', '.join(_OPTIONS)}, got {', '.join(others)}; which records come, and when, "
                "the draws say."
            )
        self._rows = rows
        self._coming = _Coming()
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=self._coming,
            num_workers=workers,
            collate_fn=collate_fn,
            persistent_workers=workers > 0,
            **options,
        )
        self._draw = _Draw(self._loader, self._coming, deque())

    def __len__(self) -> int:
        """How many steps `rows` has, if it says so."""
        return len(self._rows)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Iterator[Any]]:
        """One iterator over micro-batches for each draw that is left."""
        self._require_loaded()
        for rows in self._rows:
            parts = _split(_check_rows(rows), self._micro_batch)
            self._draw = _Draw(self._loader, self._coming, parts)
            yield self._draw
            self._require_loaded()

    def _require_loaded(self) -> None:
        """Refuse a step while micro-batches of the latest draw are left."""
        if left := len(self._draw):
            raise StateError(
                f"the latest draw has {left} micro-batches that were not loaded: a sum that leaves records out is not "
                "the one that is accounted; go through all parts of a draw before its release, or make a new Loader."
            )


@final
class _Coming:
    """What torch's loader takes for its batch sampler: the micro-batches that are to be loaded now."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: deque[list[int]] = deque()

    def __iter__(self) -> Iterator[list[int]]:
        return iter(tuple(self.parts))


@final
class _Draw:
    """Iterator over the micro-batches of one draw; its length is how many are left."""

    __slots__ = ("_coming", "_fetched", "_loader", "_parts")

    def __init__(self, loader: DataLoader[Any], coming: _Coming, parts: deque[list[int]]) -> None:
        self._loader, self._coming, self._parts = loader, coming, parts
        self._fetched: Iterator[Any] | None = None

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> _Draw:
        return self

    def __next__(self) -> Any:
        if not self._parts:
            raise StopIteration
        # It is put back once it has given its part: after an error, the same part is asked for again.
        fetched, self._fetched = self._fetched, None
        fetched = self._begin() if fetched is None else fetched
        part = next(fetched)
        self._fetched = fetched
        self._parts.popleft()
        return part

    def _begin(self) -> Iterator[Any]:
        """Load what is left; workers begin at once."""
        self._coming.parts = self._parts
        return iter(self._loader)


def _split(rows: list[int], most: int | None) -> deque[list[int]]:
    """Slices of at most so many rows; none of no rows."""
    size = len(rows) if most is None else most
    return deque(rows[start : start + size] for start in range(0, len(rows), max(size, 1)))


def _check_rows(rows: Any) -> list[int]:
    """The rows of a draw, as datasets are indexed."""
    array = np.asarray(rows)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ParameterError(
            f"rows must give integer arrays of shape (b,), got {array.dtype} of {array.ndim} dimensions; give what a "
            "plan draws."
        )
    indices: list[int] = array.tolist()
    return indices


def _check_dataset(dataset: Any, num_records: Any) -> None:
    """Refuse a dataset without an i-th record, or of another number than the plan's."""
    if isinstance(dataset, IterableDataset):
        raise ParameterError(
            "dataset must have an i-th record, got an IterableDataset: a stream decides itself what comes next, and no "
            "draw could choose; make a map-style dataset of it."
        )
    if not (hasattr(dataset, "__getitem__") or hasattr(dataset, "__getitems__")):
        raise ParameterError(f"dataset must have dataset[i], got {type(dataset).__name__}; give a map-style dataset.")
    if isinstance(num_records, int) and hasattr(dataset, "__len__") and len(dataset) != num_records:
        raise ParameterError(
            f"dataset must hold the {num_records} records of the plan, got another number; for a part of a dataset "
            "give torch.utils.data.Subset."
        )
