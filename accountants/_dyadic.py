r"""The largest sum of squared counts over the nodes of a binary tree, by dynamic programming. Private.

The nodes are the dyadic intervals :math:`[j 2^l, (j+1) 2^l)` that lie within the steps: a forest of one complete tree
for each binary digit of their number, the largest first. A pattern of steps has value :math:`\sum_v c_v^2`, where
c_v is the number of its steps below node v.

*Blocks.* Let :math:`2^m` be the largest power of two that is at most the separation b. A node of at most :math:`2^m`
steps has at most one step of the pattern below it, so all steps of one block of :math:`2^m` are worth the same, m + 1
below and at the block, and the same above. The earliest step of a block leaves most room for the next, hence only
patterns need be looked at whose every step is either at the left edge of its block or at distance b from the one
before. What is left of the past at the left edge of a node is then one of few numbers, the *starts*: the distance to
the first step that is allowed.

*Tables.* ``table[k, s, e]`` is the largest value of k steps below a node, given that the first is not before start s,
and that the next node begins with start e. Two nodes side by side join by a (max, +) product over the start between
them, and their parent adds :math:`k^2`. This is Kairouz et al. 2021 (arXiv 2103.00039), Appendix D.2, with starts in
place of all pairs of boundaries.
"""

from __future__ import annotations

import numpy as np

from accountants._numerics import Floats

__all__ = ["tree_square"]

_LARGEST = 2**31
"""The number of additions beyond which the separation is rounded down to a power of two."""


def tree_square(steps: int, gap: int, count: int) -> tuple[int, bool]:
    """The largest value, or a bound of it, and whether it is the value itself.

    Args:
        steps: the number of leaves.
        gap: the least difference of two steps of a pattern.
        count: the most steps of a pattern, at most what fits.

    Returns:
        (value, whether it is attained). A bound is the value for the largest power of two that is at most ``gap``.
    """
    if count == 1:
        return steps.bit_length(), True
    starts, rounded = _starts(gap, count), 1 << (gap.bit_length() - 1)
    if len(starts) ** 3 * count**2 <= _LARGEST:
        return _forest(steps, gap, count, starts), True
    return _forest(steps, rounded, count, (0,)), rounded == gap


def _starts(gap: int, count: int) -> tuple[int, ...]:
    """Every start that ``count`` steps or fewer can leave, in order; 0 is the first."""
    block = 1 << (gap.bit_length() - 1)
    found, fresh = {0}, {0}
    for _ in range(count):
        left = {start + gap - block for start in fresh if start < block}
        left |= {start - block for start in left if start >= block}
        fresh = left - found
        found |= fresh
    return tuple(sorted(found))


def _forest(steps: int, gap: int, count: int, starts: tuple[int, ...]) -> int:
    """The largest value over all trees, where two steps fit: then the largest tree is no smaller than a block."""
    lowest, highest = gap.bit_length() - 1, steps.bit_length() - 1
    tables = [_block(gap, starts)]
    for level in range(lowest + 1, highest):
        tables.append(_parent(tables[-1], tables[-1], _fit(1 << level, gap, count)))
    first = tables[-1][:, :1]
    past = first if highest == lowest else _parent(first, tables[-1], _fit(1 << highest, gap, count))
    for level in range(highest - 1, lowest - 1, -1):
        if steps >> level & 1:
            past = _join(past, tables[level - lowest], count)
    return _last(past[:, 0], starts, steps, lowest, count)


def _fit(size: int, gap: int, count: int) -> int:
    """How many steps fit below a node."""
    return min(count, (size - 1) // gap + 1)


def _block(gap: int, starts: tuple[int, ...]) -> Floats:
    """The table of one block, below which there is one step or none."""
    level = gap.bit_length() - 1
    block, place = 1 << level, {start: index for index, start in enumerate(starts)}
    table = np.full((2, len(starts), len(starts)), -np.inf)
    for start, index in place.items():
        table[0, index, place[max(0, start - block)]] = 0.0
        after = place.get(start + gap - block)  # None: more steps than are allowed lead there
        if start < block and after is not None:
            table[1, index, after] = level + 1.0
    return table


def _join(left: Floats, right: Floats, most: int) -> Floats:
    """The table of two nodes side by side, for up to ``most`` steps; ``left`` may have the rows of some starts only."""
    most = min(most, len(left) + len(right) - 2)
    joined = np.full((most + 1, left.shape[1], right.shape[2]), -np.inf)
    for before in range(min(len(left), most + 1)):
        part = joined[before : before + len(right)]
        for between in range(right.shape[1]):
            row = left[before, :, between][None, :, None] + right[: len(part), between][:, None, :]
            np.maximum(part, row, out=part)
    return joined


def _parent(left: Floats, right: Floats, most: int) -> Floats:
    """The table of the node above two halves."""
    joined = _join(left, right, most)
    return joined + (np.arange(len(joined)) ** 2.0)[:, None, None]


def _last(past: Floats, starts: tuple[int, ...], steps: int, lowest: int, count: int) -> int:
    """The largest value, with one step more in the trees that are smaller than a block: together they are no block."""
    best, edge = float(past.max()), 0
    for level in range(lowest - 1, -1, -1):
        if steps >> level & 1:
            edge += 1 << level
            open_ = past[:count, [start < edge for start in starts]]
            best = max(best, float(open_.max(initial=-np.inf)) + level + 1.0)
    return int(best)
