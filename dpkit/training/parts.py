r"""Parts of the per-example gradients, in the forms that layers give them in.

The gradient of a linear map for one example is :math:`K = \sum_t g_t a_t^\top` with inputs :math:`a_t`, output
gradients :math:`g_t` and positions :math:`t = 1 \dots T`. A part can say the squared norm of :math:`K` for every
example and the weighted sum of the :math:`K` over the examples, with or without forming them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, final

import torch
from torch import Tensor, nn

from dpkit.training.norms import squared_norms
from dpkit.training.sequences import by_products, product_of_norms

__all__ = ["Dense", "Outer", "Part", "Table", "Unformed", "kept_weights"]

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
        return _contract(self.inputs, _weighted(self.signals, weights))

    def unformed(self) -> Unformed:
        """The same as a sequence of one position."""
        size = 16 * (self.inputs.shape[1] + self.signals.shape[1])
        return Unformed(self.parameter, self.inputs, self.signals, _one_position, by_products, _contract, size)


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


def _one_position(inputs: Tensor, signals: Tensor) -> tuple[Tensor, Tensor]:
    """Both as sequences of shape (rows, 1, 1, width)."""
    return inputs[:, None, None], signals[:, None, None]


def _contract(inputs: Tensor, signals: Tensor) -> Tensor:
    """The sum of outer products: (rows, in), (rows, out) -> (out, in)."""
    return signals.mT @ inputs


def kept_weights(signals: Tensor, weights: Tensor, slots: Tensor | None = None) -> Tensor:
    r"""Weights for the rows of signals, in their dtype: zero where products would be near subnormal, or overflow.

    Near subnormal numbers a product is rounded by more than its relative share, and large inputs would carry that past
    the bound. What stays has an entry of at least :math:`2^{26}` times the least normal number: the subnormal roundings
    of a row of up to :math:`2^{30}` entries are below :math:`2^{-32}` of it. Where a weight is above one, and inputs
    are small, a product may overflow although the gradient does not.

    Args:
        signals: shape (rows, ...), not empty.
        weights: float64 of shape (rows,), or of one entry for each unit.
        slots: the unit of each row, whose rows stay or go together. None: each is its own.

    Returns:
        Tensor of shape (rows,).
    """
    flat = signals.flatten(1)
    peaks = torch.maximum(flat.amax(1), -flat.amin(1)).double()  # abs() would write as much again
    if slots is not None:
        peaks = torch.zeros_like(weights).scatter_reduce(0, slots, peaks, "amax")
    products, numbers = peaks * weights, torch.finfo(signals.dtype)
    usable = (products >= numbers.tiny * 2.0**26) & (products <= numbers.max / 2)
    kept = torch.where(usable, weights, 0.0).to(signals.dtype)
    return kept if slots is None else kept[slots]


def _weighted(signals: Tensor, weights: Tensor) -> Tensor:
    """Signals times weights (float64, shape (rows,))."""
    if not signals.numel():
        return signals
    return signals * kept_weights(signals, weights).view(-1, *[1] * (signals.dim() - 1))


def _zeroed(tensor: Tensor, rows: Tensor) -> Tensor:
    """A copy with zeros in these rows: multiplying by zero would keep what is not finite."""
    return tensor.masked_fill(rows.view(-1, *[1] * (tensor.dim() - 1)), 0.0)
