"""Several processes, one release: sums are added over the processes, the first one makes the noise.

Every process clips its own part of each batch. What is reduced is the clipped sums, so that a process without rows
takes part with zeros; the first process records and noises their sum, once, and all of them write the same gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch import distributed as dist

from accountants.errors import AccountingError
from dpkit.errors import DPKitError, ParameterError, StateError

__all__ = ["Alone", "Group", "Processes", "choose_processes"]

T = TypeVar("T")
Rows = NDArray[np.int64]


class Processes(Protocol):
    """What a Privatizer asks of the processes that train together."""

    @property
    def first(self) -> bool:
        """Whether this process keeps the sampler, the noise and the account."""

    def part(self, rows: Rows) -> Rows:
        """The part of a batch that this process is to handle."""

    def gathered(self, value: T) -> list[T]:
        """The values of all processes."""

    def summed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sums over all processes."""

    def performed(self, act: Callable[[], T]) -> T:
        """What the first process gets by an act that only it performs; its error is everyone's."""

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors by those of the first process."""


@final
class Alone:
    """One process."""

    first = True

    def part(self, rows: Rows) -> Rows:
        """See :class:`Processes`."""
        return rows

    def gathered(self, value: T) -> list[T]:
        """See :class:`Processes`."""
        return [value]

    def summed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """See :class:`Processes`."""
        return tensors

    def performed(self, act: Callable[[], T]) -> T:
        """See :class:`Processes`."""
        return act()

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """See :class:`Processes`."""


@final
class Group:
    """The processes of a ``torch.distributed`` group.

    Args:
        group: the group.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self._group = group
        self._rank, self._size = dist.get_rank(group), dist.get_world_size(group)
        self._root = dist.get_global_rank(group, 0)

    @property
    def first(self) -> bool:
        """See :class:`Processes`."""
        return self._rank == 0

    def part(self, rows: Rows) -> Rows:
        """See :class:`Processes`: every size-th row, so that parts differ by one row at most."""
        return rows[self._rank :: self._size]

    def gathered(self, value: T) -> list[T]:
        """See :class:`Processes`."""
        values: list[Any] = [None] * self._size
        dist.all_gather_object(values, value, group=self._group)
        return values

    def summed(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """See :class:`Processes`; the tensors that came in stay as they are."""
        total = {name: value.clone() for name, value in tensors.items()}
        for value in total.values():
            dist.all_reduce(value, group=self._group)
        return total

    def performed(self, act: Callable[[], T]) -> T:
        """See :class:`Processes`: the others raise a StateError that names the first one's error."""
        answer: list[Any] = [None, None]
        try:
            if self.first:
                answer[0] = act()
        except BaseException as error:  # an interrupt too: the others wait
            told = isinstance(error, DPKitError | AccountingError)
            answer[1] = type(error).__name__, str(error) if told else ""
            raise
        finally:
            dist.broadcast_object_list(answer, src=self._root, group=self._group)
        if answer[1] is not None:
            kind, message = answer[1]
            raise StateError(f"the first process raised {kind}, so no process goes on; {message}".rstrip("; "))
        result: T = answer[0]
        return result

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """See :class:`Processes`."""
        for tensor in tensors:
            dist.broadcast(tensor, src=self._root, group=self._group)


def choose_processes(group: Any) -> Processes:
    """The processes of a group; this one alone for None.

    Raises:
        ParameterError: this is no group, or this process is not in it.
    """
    if group is None:
        return Alone()
    if not dist.is_available() or not isinstance(group, dist.ProcessGroup):
        raise ParameterError(
            f"process_group must be None or a group of torch.distributed, got {type(group).__name__}; after "
            "init_process_group give torch.distributed.group.WORLD"
        )
    return Group(group)
