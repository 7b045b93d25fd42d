r"""Noise of a binary tree: what is released in a step are increments of private prefix sums.

The nodes are the dyadic intervals :math:`[j 2^l, (j+1) 2^l)` that lie within the steps. Node v has the sum of its
steps and noise of its own, :math:`s_v = \sum_{t\in v} x_t + Z_v`, known from its last step on. Its estimate combines
what it says itself with what its halves say, by the inverses of their variances (Honaker's variance reduction, from
below): :math:`E_v = s_v` for one step, and at level l ≥ 1

.. math:: E_v = s_v + R\big(w_l (E_{\text{left}} + E_{\text{right}} - s_v)\big),\qquad
   w_l = \frac{2^l - 1}{2^{l+1} - 1},

with R the rounding to the lattice. The sum of the first t steps is estimated by the nodes of t's binary digits,
:math:`P_t = \sum_v E_v`, and the increment of step t is :math:`y_t = P_t - P_{t-1}`. The variance of :math:`E_v` is
:math:`V_l = 1 / (2 - 2^{-l})` of that of :math:`Z_v`: nearly half of a plain tree's.

*No slack.* In the argument of R the sums of the two halves cancel that of the node, so that it holds noise only:
:math:`E_v` is exactly the sum of v's steps plus the same formula of Z alone. Therefore :math:`y_t = x_t + n_t`, with
n from Z alone, is exactly a function of the noisy nodes s, however R rounds and whatever the weights: rounding within
the tree costs no privacy.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from accountants.participation import Participation
from accountants.sensitivity import Sensitivity, tree_sensitivity
from dpkit.correlated._fixed import ONE, combine
from dpkit.correlated.stream import NoiseStream
from dpkit.entropy import Source

__all__ = ["TreeNoise"]

Rows = NDArray[np.int64]


@final
class TreeNoise(NoiseStream):
    """The noise of a binary tree with Honaker's variance reduction, a row for each step.

    The tree is over the given steps, whole or not; it is neither completed nor restarted. Memory: at most
    log2(steps) + 1 rows, and as many draws in the longest step, two on average.

    Guarantee: see :class:`~dpkit.correlated.stream.NoiseStream`. What is released is exactly a function of the noisy
    sums of the nodes (``test_increments_are_a_function_of_the_noisy_nodes``); the rows are the estimator's increments
    to within a stated rounding (``test_rows_are_the_estimators_increments``).

    Args:
        like: an array or a dict of arrays; only its structure is kept.
        noise_multiplier: standard deviation of each node's noise / bound; finite, > 0.
        bound: the l2 norm of one record's contribution to one step, > 0.
        steps: how many steps there are, from 1 to 2**20.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Raises:
        ParameterError: a parameter is out of range.

    Example:
        >>> stream = TreeNoise({"w": np.zeros((2, 2))}, noise_multiplier=7.0, bound=1.0, steps=2000)
        >>> allowed = Participation(steps=2000, min_separation=314, max_participations=6)
        >>> round(stream.sensitivity(allowed).value ** 2, 6)
        79.0
        >>> stream.next()["w"].shape
        (2, 2)

    References:
        Honaker 2015, "Efficient Use of Differentially Private Binary Trees" (the estimate from below); Kairouz et al.
        2021 (arXiv 2103.00039), Algorithm 1 and Appendix B.
    """

    __slots__ = ()

    def __init__(
        self, like: Any, *, noise_multiplier: float, bound: float, steps: int, entropy: Source | None = None
    ) -> None:
        super().__init__(like, noise_multiplier, bound, steps, entropy, drift=Fraction(0))

    def prefix_variance(self) -> NDArray[np.float64]:
        """Return the variance of the noise in the sum of the first t rows.

        Returns:
            float64, shape (steps,), in units of stddev²: the sum of 1 / (2 - 2**-l) over the binary digits l of t.

        Example:
            >>> TreeNoise(np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=4).prefix_variance().round(3)
            array([1.   , 0.667, 1.667, 0.571])
        """
        ends = np.arange(1, self.steps + 1)
        result = np.zeros(self.steps)
        for level in range(self.steps.bit_length()):
            result += (ends >> level & 1) / (2.0 - 2.0**-level)
        return result

    def row_variance(self) -> NDArray[np.float64]:
        """Return the variance of each row by itself.

        Returns:
            float64, shape (steps,), in units of stddev²: it follows from how many nodes a step completes.

        Example:
            >>> TreeNoise(np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=4).row_variance().round(3)
            array([1.   , 1.   , 1.   , 1.381])
        """
        ends = np.arange(1, self.steps + 1)
        levels = np.log2(ends & -ends).astype(np.int64)  # a step completes as many nodes above its leaf
        variances = np.array([_row_variance(level) for level in range(self.steps.bit_length())])
        return np.asarray(variances[levels])

    def _sensitivity(self, participation: Participation) -> Sensitivity:
        return tree_sensitivity(participation)

    def _strategy(self) -> tuple[int, ...]:
        return ()

    def _advance(self, drawn: int, kept: tuple[Rows, ...], draw: Callable[[], Rows]) -> tuple[Rows, tuple[Rows, ...]]:
        """Kept are the estimates of the nodes of the binary digits of `drawn`, the largest first."""
        node = draw()
        replaced = np.zeros_like(node)
        level = 0
        while drawn >> level & 1:
            left, own = kept[-1 - level], draw()
            replaced += left
            level += 1
            node = own + combine([_children_weight(level)], [left + node - own])
        return node - replaced, (*kept[: len(kept) - level], node)


def _children_weight(level: int) -> int:
    """The weight of the halves' estimates in that of their node: how well they know its sum."""
    return round(Fraction((1 << level) - 1, (2 << level) - 1) * ONE)


def _row_variance(levels: int) -> float:
    """The variance of a row that completes so many nodes: its leaf, their own draws, and the halves that they replace.

    The estimate of the last node is w (left + right) + (1 - w) own, and so on down its right halves; all left halves,
    of variance 1 / (2 - 2**-l), are taken back once.
    """
    share, total = 1.0, 0.0
    for level in reversed(range(levels)):
        weight = _children_weight(level + 1) / ONE
        total += (share * (1.0 - weight)) ** 2
        share *= weight
        total += (share - 1.0) ** 2 / (2.0 - 2.0**-level)
    return total + share**2
