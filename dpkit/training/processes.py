"""Several processes, one release: sums are added over the processes, the first one makes the noise.

Every process clips its own part of each batch. What is reduced is the clipped sums, so that a process without rows
takes part with zeros; the first process records and noises their sum, once, and all of them write the same gradient.

Processes wait for each other in a few places, and each place has a name. There all of them say that they are there, or
which error keeps them: no one goes on alone, or waits for who will not come. Objects travel pickled, between processes
of one group, which trust each other with the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch import distributed as dist

from accountants.errors import AccountingError
from dpkit.errors import DPKitError, ParameterError, StateError

__all__ = ["Alone", "Group", "Processes", "choose_processes"]

T = TypeVar("T")
K = TypeVar("K")
Rows = NDArray[np.int64]


class Processes(Protocol):
    """What a Privatizer asks of the processes that train together."""

    @property
    def first(self) -> bool:
        """Whether this process keeps the sampler, the noise and the account."""

    def part(self, rows: Rows) -> Rows:
        """The part of a batch that this process is to handle."""

    def gathered(self, place: str, act: Callable[[], T]) -> list[T]:
        """What every process gets by an act; an error in one is everyone's, and so is being in another place."""

    def summed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The sums over all processes of tensors that have the same names, shapes and dtypes in each."""

    def performed(self, place: str, act: Callable[[], T]) -> T:
        """What the first process gets by an act that only it performs."""

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors by those of the first process."""


@final
class Alone:
    """One process."""

    first = True

    def __init__(self) -> None:
        _require_alone(ParameterError)

    def part(self, rows: Rows) -> Rows:
        """See :class:`Processes`."""
        return rows

    def gathered(self, place: str, act: Callable[[], T]) -> list[T]:
        """See :class:`Processes`."""
        del place
        _require_alone(StateError)
        return [act()]

    def summed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :class:`Processes`."""
        return dict(tensors)

    def performed(self, place: str, act: Callable[[], T]) -> T:
        """See :class:`Processes`."""
        return self.gathered(place, act)[0]

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

    def gathered(self, place: str, act: Callable[[], T]) -> list[T]:
        """See :class:`Processes`: where an act fails the error is raised, and in all others a StateError about it."""
        said: list[Any] = [None] * self._size
        value, error = None, None
        try:
            value = act()
        except BaseException as caught:  # an interrupt too: the others wait
            error = _told(caught)
            raise
        finally:
            dist.all_gather_object(said, (place, value, error), group=self._group)
        for rank, (_, _, message) in enumerate(said):
            if message is not None:
                raise StateError(f"no process goes on, because process {rank} of the group raised {message}")
        if len(places := sorted({there for there, _, _ in said})) > 1:
            raise StateError(
                f"all processes must make the same calls in the same order, got some in {' and some in '.join(places)}"
                "; call release() once for each batch in every process, without rows too"
            )
        return [found for _, found, _ in said]

    def summed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :class:`Processes`; the tensors that came in stay as they are."""
        total: dict[str, Tensor] = {}
        for names in _alike(tensors):
            flat = _flat([tensors[name] for name in names])
            dist.all_reduce(flat, group=self._group)
            total.update(zip(names, _pieces(flat, [tensors[name] for name in names]), strict=True))
        return {name: total[name] for name in tensors}

    def performed(self, place: str, act: Callable[[], T]) -> T:
        """See :class:`Processes`."""
        values: list[Any] = self.gathered(place, lambda: act() if self.first else None)
        result: T = values[0]
        return result

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """See :class:`Processes`."""
        for numbers in _alike(dict(enumerate(tensors))):
            own = [tensors[number] for number in numbers]
            flat = _flat(own)
            dist.broadcast(flat, src=self._root, group=self._group)
            for tensor, piece in zip(own, _pieces(flat, own), strict=True):
                tensor.copy_(piece)


def choose_processes(group: Any) -> Processes:
    """The processes of a group; this one alone for None.

    Raises:
        ParameterError: this is no group, or this process is not in it; or None where there are several processes.
    """
    if group is None:
        return Alone()
    if not dist.is_available() or not isinstance(group, dist.ProcessGroup):
        raise ParameterError(
            f"process_group must be None or a group of torch.distributed that this process is in, got "
            f"{type(group).__name__}; after init_process_group give torch.distributed.group.WORLD"
        )
    return Group(group)


def _require_alone(error: type[DPKitError]) -> None:
    """Refuse to train alone beside others by mistake: each would make noise and keep an account of its own."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        raise error(
            f"process_group must be given where torch.distributed has {dist.get_world_size()} processes, got None; "
            "give torch.distributed.group.WORLD (which is None before init_process_group), or a group of this process "
            "alone: new_group([rank], use_local_synchronization=True)"
        )


def _alike(tensors: Mapping[K, Tensor]) -> list[list[K]]:
    """The keys of tensors that can travel together: of one dtype, on one device."""
    kinds: dict[object, list[K]] = {}
    for key, value in tensors.items():
        kinds.setdefault((value.dtype, value.device), []).append(key)
    return list(kinds.values())


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """All numbers in the order of their indices: how they lie in memory may differ between processes."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def _pieces(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The tensors that were made flat."""
    pieces = torch.split(flat, [tensor.numel() for tensor in like])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, like, strict=True)]


def _told(error: BaseException) -> str:
    """What others are told of an error; messages of other libraries may hold data."""
    told = f": {error}" if isinstance(error, DPKitError | AccountingError) else ""
    return f"{type(error).__name__}{told}"
