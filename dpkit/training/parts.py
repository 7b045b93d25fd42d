r"""Parts of the per-example gradients, in the forms that layers give them in.

The gradient of a linear map for one example is :math:`K = \sum_t g_t a_t^\top` with inputs :math:`a_t`, output
gradients :math:`g_t` and positions :math:`t = 1 \dots T`. A part can say the squared norm of :math:`K` for every
example and the weighted sum of the :math:`K` over the examples, with or without forming them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, final

import torch
from torch import Tensor, nn

from dpkit.training.norms import squared_norms
from dpkit.training.sequences import product_of_norms

__all__ = ["Dense", "Outer", "Part", "Table", "Unformed", "added"]

# What measuring some rows at a time may take: about a cache.
_CACHE_BYTES = 1 << 22


class Part(Protocol):
    """The gradients of one parameter, one row for each privacy unit."""

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter that the gradients belong to."""

    def squares(self) -> Tensor:
        """Squared norms, float64 of shape (rows,): as large as the true ones, up to the rounding stated in norms."""

    def without(self, rows: Tensor) -> Part:
        """The same with these rows (bool tensor of shape (rows,)) exactly zero, whatever they held."""

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """The sum of the rows by weights (float64, shape (rows,)): a tensor of the parameter's shape."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """Gradients that were formed: shape (rows, *parameter.shape)."""

    parameter: nn.Parameter
    gradients: Tensor

    def formed(self) -> Dense:
        """Itself."""
        return self

    def squares(self) -> Tensor:
        """See :class:`Part`."""
        return squared_norms(self._in_memory_order())

    def without(self, rows: Tensor) -> Dense:
        """See :class:`Part`."""
        return Dense(self.parameter, _zeroed(self.gradients, rows))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """See :class:`Part`."""
        rows = self._in_memory_order()
        total = (weights.to(rows.dtype) @ rows.reshape(len(rows), -1)).view(rows.shape[1:])
        return total.permute([self._order().index(axis) for axis in range(1, rows.dim())]).contiguous()

    def _order(self) -> list[int]:
        """The axes after the first, from the widest stride to the narrowest."""
        strides = self.gradients.stride()
        return sorted(range(1, self.gradients.dim()), key=lambda axis: strides[axis], reverse=True)

    def _in_memory_order(self) -> Tensor:
        """The gradients with axes permuted so that flattening them copies nothing."""
        return self.gradients.permute(0, *self._order())


@final
@dataclass(frozen=True, slots=True, eq=False)
class Outer:
    """One position (T = 1): the norm of an outer product is the product of the norms (Goodfellow 2015).

    ``inputs`` has shape (rows, in), ``signals`` (rows, out); the parameter has shape (out, in).
    """

    parameter: nn.Parameter
    inputs: Tensor
    signals: Tensor

    def squares(self) -> Tensor:
        """See :class:`Part`."""
        return product_of_norms(self.inputs, self.signals).square()

    def without(self, rows: Tensor) -> Outer:
        """See :class:`Part`."""
        return Outer(self.parameter, _zeroed(self.inputs, rows), _zeroed(self.signals, rows))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """See :class:`Part`."""
        return _weighted(self.signals, weights).mT @ self.inputs


@final
@dataclass(frozen=True, slots=True, eq=False)
class Unformed:
    """Several positions: norms are measured some rows at a time, and nothing is formed for all of them.

    ``source`` and ``signals`` have shape (rows, ...). ``sequence`` makes inputs and signals of shape (rows, groups, T,
    width) of some of their rows, ``measure`` the squares of those (see sequences), and ``contract`` maps ``source`` and
    weighted signals to the sum of the gradients. ``row_bytes`` is what measuring takes for a row.
    """

    parameter: nn.Parameter
    source: Tensor
    signals: Tensor
    sequence: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    measure: Callable[[Tensor, Tensor], Tensor]
    contract: Callable[[Tensor, Tensor], Tensor]
    row_bytes: int

    def squares(self) -> Tensor:
        """See :class:`Part`."""
        some = max(1, _CACHE_BYTES // max(1, self.row_bytes))
        pieces = zip(torch.split(self.source, some), torch.split(self.signals, some), strict=True)
        return torch.cat([self.measure(*self.sequence(source, signals)) for source, signals in pieces])

    def without(self, rows: Tensor) -> Unformed:
        """See :class:`Part`."""
        return replace(self, source=_zeroed(self.source, rows), signals=_zeroed(self.signals, rows))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """See :class:`Part`."""
        return self.contract(self.source, _weighted(self.signals, weights))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Gradients of a table of which each unit read few rows: formed, for these rows only.

    ``gradients`` has shape (pairs, dim): that of unit ``owners[k]`` in row ``entries[k]`` of the table (int64, shape
    (pairs,)), no pair of unit and row twice. ``count`` is the number of units.
    """

    parameter: nn.Parameter
    owners: Tensor
    entries: Tensor
    gradients: Tensor
    count: int

    @classmethod
    def of(cls, parameter: nn.Parameter, owners: Tensor, entries: Tensor, gradients: Tensor, count: int) -> Table:
        """The same from pairs that may come several times: what a unit gave to a row is added, before any norm."""
        pairs, inverse = torch.unique(owners * len(parameter) + entries, return_inverse=True)
        formed = gradients.new_zeros((len(pairs), gradients.shape[1])).index_add_(0, inverse, gradients)
        return cls(parameter, pairs // len(parameter), pairs % len(parameter), formed, count)

    def squares(self) -> Tensor:
        """See :class:`Part`."""
        total = torch.zeros(self.count, dtype=torch.float64, device=self.gradients.device)
        return total.index_add_(0, self.owners, squared_norms(self.gradients))

    def without(self, rows: Tensor) -> Table:
        """See :class:`Part`."""
        kept = _zeroed(self.gradients, rows[self.owners])
        return Table(self.parameter, self.owners, self.entries, kept, self.count)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """See :class:`Part`."""
        scaled = self.gradients * weights[self.owners].to(self.gradients.dtype)[:, None]
        return scaled.new_zeros(self.parameter.shape).index_add_(0, self.entries, scaled)

    def formed(self) -> Dense:
        """The same with all rows of the table for each unit."""
        table = self.gradients.new_zeros((self.count, *self.parameter.shape))
        table[self.owners, self.entries] = self.gradients
        return Dense(self.parameter, table)


def added(parts: Sequence[Dense | Table], slots: Tensor | None, count: int) -> Dense | Table:
    """The sum of several parts of one parameter, in which the rows of a unit are added.

    Tables stay tables. With other parts they are added into a dense one, as large as the parameter for each unit, of
    which there are two while they are added.

    Args:
        parts: one or more, of one parameter and as many rows.
        slots: int64 tensor of shape (rows,): which unit each row belongs to. None: each is its own.
        count: the number of units.

    Returns:
        The part of the units.
    """
    tables = [part for part in parts if isinstance(part, Table)]
    dense = [part.gradients for part in parts if isinstance(part, Dense)]
    if not dense:
        return _added_tables(tables, slots, count)
    total = dense[0] if slots is None else _by_unit(dense[0], slots, count)
    for other in dense[1:]:
        total = total + (other if slots is None else _by_unit(other, slots, count))
    if tables:
        table = _added_tables(tables, slots, count)
        total = total.index_put((table.owners, table.entries), table.gradients, accumulate=True)
    return Dense(parts[0].parameter, total)


def _added_tables(tables: Sequence[Table], slots: Tensor | None, count: int) -> Table:
    if len(tables) == 1 and slots is None:
        return tables[0]
    owners, entries, gradients = (
        torch.cat(fields) for fields in zip(*((t.owners, t.entries, t.gradients) for t in tables), strict=True)
    )
    return Table.of(tables[0].parameter, owners if slots is None else slots[owners], entries, gradients, count)


def _by_unit(gradients: Tensor, slots: Tensor, count: int) -> Tensor:
    """Rows added by unit: (rows, ...) -> (count, ...)."""
    return gradients.new_zeros((count, *gradients.shape[1:])).index_add_(0, slots, gradients)


def _weighted(signals: Tensor, weights: Tensor) -> Tensor:
    r"""Signals times weights (float64, shape (rows,)); rows that would come near subnormal numbers are zero.

    There a product is rounded by more than its relative share, and large inputs would carry that past the bound. What
    stays has an entry of at least :math:`2^{26}` times the least normal number: the subnormal roundings of a row of up
    to :math:`2^{30}` entries are below :math:`2^{-32}` of it.
    """
    if not signals.numel():
        return signals
    peaks = signals.flatten(1).abs().amax(1).double() * weights  # vector_norm(inf) takes twenty times as long
    kept = torch.where(peaks < torch.finfo(signals.dtype).tiny * 2.0**26, 0.0, weights).to(signals.dtype)
    return signals * kept.view(-1, *[1] * (signals.dim() - 1))


def _zeroed(tensor: Tensor, rows: Tensor) -> Tensor:
    """A copy with zeros in these rows: multiplying by zero would keep what is not finite."""
    return tensor.masked_fill(rows.view(-1, *[1] * (tensor.dim() - 1)), 0.0)
