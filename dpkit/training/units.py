"""Units: parts of several rows or calls become one part with a row for each privacy unit, before any norm is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn

from dpkit.training.parts import Dense, Outer, Part, Table, Unformed, kept_weights
from dpkit.training.sequences import by_forming, by_products

__all__ = ["Grouped", "added"]

# What measuring some units at a time may take: about a cache.
_CACHE_BYTES = 1 << 22


def added(parts: Sequence[Part], slots: Tensor | None, count: int) -> Part:
    """The sum of several parts of one parameter, in which the rows of a unit are added.

    Tables stay tables, and a part whose gradients were not formed stays so. With other parts tables are added into a
    dense one, as large as the parameter for each unit, of which there are two while they are added.

    Args:
        parts: one of any form; or more of them, dense ones and tables, of one parameter and as many rows.
        slots: int64 tensor of shape (rows,): which unit each row belongs to. None: each is its own.
        count: the number of units.

    Returns:
        The part of the units.
    """
    first = parts[0]
    if slots is None and len(parts) == 1:
        return first
    if slots is not None and isinstance(first, Outer | Unformed):
        return Grouped(first.unformed() if isinstance(first, Outer) else first, slots, count)
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
    return Dense(first.parameter, total)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """A part that was not formed, with its rows added by unit: their positions are those of one longer sequence.

    ``slots`` (int64, shape (rows,)) says which of the ``count`` units each row of the part belongs to.
    """

    part: Unformed
    slots: Tensor
    count: int

    @property
    def parameter(self) -> nn.Parameter:
        """See :class:`~dpkit.training.parts.Part`."""
        return self.part.parameter

    def squares(self) -> Tensor:
        """See :class:`~dpkit.training.parts.Part`; units with as many rows are measured together."""
        order, sizes = torch.argsort(self.slots, stable=True), torch.bincount(self.slots, minlength=self.count)
        starts = sizes.cumsum(0) - sizes
        found = torch.zeros(self.count, dtype=torch.float64, device=self.slots.device)
        for size in torch.unique(sizes[sizes > 0]).tolist():
            units = (sizes == size).nonzero().flatten()
            found[units] = self._measured(order[starts[units][:, None] + torch.arange(size, device=units.device)])
        return found

    def without(self, rows: Tensor) -> Grouped:
        """See :class:`~dpkit.training.parts.Part`."""
        return replace(self, part=self.part.without(rows[self.slots]))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """See :class:`~dpkit.training.parts.Part`."""
        signals = self.part.signals
        if signals.numel():
            kept = kept_weights(signals, weights, self.slots)
            signals = signals * kept.view(-1, *[1] * (signals.dim() - 1))
        return self.part.contract(self.part.source, signals)

    def _measured(self, rows: Tensor) -> Tensor:
        """Squares of units with these rows, shape (units, size), by the measure that multiplies less."""
        inputs, signals = self.part.sequence(self.part.source[:1], self.part.signals[:1])
        groups, positions, width, height = *inputs.shape[1:], signals.shape[3]
        positions *= rows.shape[1]
        is_short = positions * (width + height) <= width * height
        formed = 16 * positions**2 if is_short else inputs.element_size() * width * height
        some = max(1, _CACHE_BYTES // max(1, groups * formed))
        measure = by_products if is_short else by_forming
        return torch.cat([measure(*self._sequences(part)) for part in torch.split(rows, some)])

    def _sequences(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and signals of some units, shape (units, groups, size * T, width)."""
        chosen = rows.flatten()
        inputs, signals = self.part.sequence(self.part.source[chosen], self.part.signals[chosen])
        return _joined(inputs, len(rows)), _joined(signals, len(rows))


def _joined(sequence: Tensor, units: int) -> Tensor:
    """Rows of a unit one after the other: (units * size, groups, T, width) -> (units, groups, size * T, width)."""
    rows, groups, positions, width = sequence.shape
    return sequence.view(units, rows // units, groups, positions, width).transpose(1, 2).flatten(2, 3)


def _added_tables(tables: Sequence[Table], slots: Tensor | None, count: int) -> Table:
    owners, entries, gradients = (
        torch.cat(fields) for fields in zip(*((t.owners, t.entries, t.gradients) for t in tables), strict=True)
    )
    return Table.of(tables[0].parameter, owners if slots is None else slots[owners], entries, gradients, count)


def _by_unit(gradients: Tensor, slots: Tensor, count: int) -> Tensor:
    """Rows added by unit: (rows, ...) -> (count, ...)."""
    return gradients.new_zeros((count, *gradients.shape[1:])).index_add_(0, slots, gradients)
