r"""What one record may change in a release whose noise is correlated over its steps: trees, bands, Toeplitz matrices.

Such a mechanism releases x + C^-1 z (any left inverse) and what follows from it, prefix sums, moving averages, a model
in training. Row t of x is the sum of the contributions of step t, z is independent Gaussian noise and C is the
*strategy*. All of it is computed from Cx + z, which is plain Gaussian noise on a vector of sensitivity

.. math:: \Delta^2 = \max_\pi \max_{\|u_t\| \le 1} \Big\|\sum_{t\in\pi} C_{\cdot t} u_t^\top\Big\|^2
   = \max_\pi \max_u \sum_{s,t\in\pi} G_{st}\langle u_s, u_t\rangle,\qquad G = C^\top C,

in units of the bound of one contribution, over the patterns π of a :class:`~accountants.participation.Participation`.
If :math:`G_{st} \ge 0` for all pairs of steps that one record may take part in, equal contributions are the worst
and :math:`\Delta^2 = \max_\pi \sum G_{st}`; otherwise :math:`\max_\pi \sum |G_{st}|` is a bound (Choquette-Choo et al.
2023, arXiv 2306.08153, eq. (5)). The contributions of a step may depend on all that was released before it: Gaussian
noise has the same law under every rotation, so adaptivity costs nothing (Denisov et al. 2022, arXiv 2202.08312, Theorem
2.1). The steps of a record may not. What is recorded is one release, ``Sensitivity.event(noise_multiplier)``.

*Rounding.* The matrix is scaled by a power of two, so that its largest entry lies in [1/2, 1) and nothing that
underflows counts. An inner product of m floats, in any order, errs by at most :math:`\tfrac m2` EPS times the product
of the two norms, up to terms of the order of its square; :math:`(\sum_{t\in\pi} \|C_{\cdot t}\|)^2 \le
|\pi| \sum_{t\in\pi} \|C_{\cdot t}\|^2`, so the sum over a pattern of k steps errs by at most k m / 2 EPS of itself, and
the sums over patterns by 3 k / 2. The multiples of EPS below are twice that and 16 more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from accountants._checks import check_finite, check_positive
from accountants._dyadic import tree_square
from accountants._numerics import EPS, Floats, round_down, round_up
from accountants._separated import Steps, largest_square, summed
from accountants.errors import EventError
from accountants.events import Gaussian
from accountants.participation import Participation

__all__ = ["Sensitivity", "matrix_sensitivity", "toeplitz_sensitivity", "tree_sensitivity"]

_DENSE = 4096
"""The most steps for which the matrix of a Toeplitz strategy is made: its square takes 128 MiB."""


@final
@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The l2 norm of what one record may change, relative to the bound of one contribution; rounded up.

    Args:
        value: never below the sensitivity.
        is_exact: whether it is the sensitivity, but for rounding; else it is an upper bound, which may be attained.

    Raises:
        EventError: the value is no finite number >= 0.

    Example:
        >>> Sensitivity(2.0, is_exact=True).event(8.0).noise_multiplier <= 4.0
        True
    """

    value: float
    is_exact: bool

    def __post_init__(self) -> None:
        check_finite("sensitivity", self.value, "it is a norm.")

    def event(self, noise_multiplier: float) -> Gaussian:
        """The one event of all steps together.

        Guarantee:
            The ratio is rounded down, so that the event never has less noise to answer for
            (``test_the_event_never_claims_more_noise``).

        Args:
            noise_multiplier: standard deviation of the independent noise z, before it is correlated, divided by the
                bound of one contribution; > 0.

        Returns:
            Gaussian noise of that multiple of the sensitivity.

        Raises:
            EventError: the noise multiplier is no finite number > 0, or the strategy was all zeros.

        Example:
            >>> tree = tree_sensitivity(Participation(steps=2000, min_separation=314, max_participations=6))
            >>> from accountants import epsilon
            >>> round(epsilon(tree.event(7.0), delta=1e-10, relation="zero_out"), 3)
            8.526
        """
        noise = check_positive("noise_multiplier", noise_multiplier, "give the noise as a multiple of the bound.")
        if self.value == 0.0:
            raise EventError("sensitivity must be > 0, got 0.0; a strategy of zeros releases nothing: record nothing.")
        return Gaussian(round_down(noise / self.value, 1))


def tree_sensitivity(participation: Participation) -> Sensitivity:
    """The sensitivity of a binary tree of sums: the noise of DP-FTRL.

    The nodes are the dyadic intervals [j 2^l, (j + 1) 2^l) that lie within the steps, each with noise of its own. An
    estimate of prefix sums from all of them (Honaker) is computed from the same release. A tree that is completed by
    empty steps has their nodes too: count them in ``steps``. Trees that restart are one release each. Takes
    milliseconds for thousands of steps, and grows with the square of ``participation.count``.

    Guarantee:
        The worst pattern's value, rounded up; a bound only where a record has hundreds of steps (``is_exact``). Held by
        ``test_trees_are_the_worst_of_all_patterns``.

    Args:
        participation: which steps one record may take part in.

    Example:
        >>> tree = tree_sensitivity(Participation(steps=2000, min_separation=314, max_participations=6))
        >>> round(tree.value**2, 9), tree.is_exact
        (79.0, True)

    References:
        Kairouz et al. 2021 (arXiv 2103.00039), Appendix D.2.
    """
    square, is_exact = tree_square(participation.steps, participation.min_separation, participation.count)
    return Sensitivity(round_up(math.sqrt(square)), is_exact)


def matrix_sensitivity(strategy: ArrayLike, participation: Participation) -> Sensitivity:
    """The sensitivity of any strategy matrix: banded, or dense.

    If the columns of steps that one record may take part in do not overlap (no more bands than ``min_separation``), or
    only those of neighbours in a pattern do (twice as many), or a record has one step or two, the worst pattern is
    found; else it is bounded, and the bound is often attained. Takes a matrix product and O(steps² count) additions.

    Guarantee:
        Never below the norm that any pattern and any contributions give, whatever the signs
        (``test_matrices_are_never_below_any_pattern``), and equal to one where ``is_exact``
        (``test_an_exact_matrix_sensitivity_is_attained``).

    Args:
        strategy: shape (rows, steps); column t is what a contribution in step t adds to what is released with
            independent noise. Not its inverse, which correlates the noise.
        participation: which steps one record may take part in.

    Returns:
        The sensitivity; exact only if no two steps that one record may take part in have columns with a negative
        product.

    Raises:
        EventError: the matrix is not real, not finite, or has another number of columns than there are steps.

    Example:
        >>> two_bands = [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
        >>> found = matrix_sensitivity(two_bands, Participation(steps=3, min_separation=2))
        >>> round(found.value**2, 12), found.is_exact
        (3.0, True)

    References:
        Choquette-Choo et al. 2023 (arXiv 2306.08153), Algorithms 3 and 4.
    """
    matrix = _read("strategy", strategy, 2)
    if matrix.shape[1] != participation.steps or not len(matrix):
        raise EventError(
            f"strategy must have a column for each of the {participation.steps} steps and at least one row, got shape "
            f"{matrix.shape}; give C, whose column t is what step t adds."
        )
    scaled, exponent = _scaled(matrix)
    steps = _steps(participation)
    reach = _reach(scaled)
    if steps.count == 1 or reach <= steps.gap:
        square, is_exact = summed(np.einsum("rt,rt->t", scaled, scaled), steps)[0], True
    else:
        gram = scaled.T @ scaled
        signed = _is_signed(gram, steps.gap, len(scaled))
        square, is_attained = largest_square(np.abs(gram), steps, reach)
        is_exact = is_attained and not signed
    return _outward(square, exponent, steps.count * (len(scaled) + 3), is_exact)


def toeplitz_sensitivity(coefficients: ArrayLike, participation: Participation) -> Sensitivity:
    """The sensitivity of a lower triangular Toeplitz strategy: square roots, bands of them, buffered ones.

    Where coefficients are >= 0 and nowhere increase, no pattern is worse than 0, b, 2b, …, b = ``min_separation``:
    both a smaller step and a smaller difference of two steps enlarge their columns' product. So it is without overlap
    (no more coefficients than ``min_separation``), for any coefficients. Others are asked as a matrix, and from 4097
    steps on bounded by the least coefficients that do not increase and are no smaller.

    Guarantee:
        As for :func:`matrix_sensitivity`. Held by ``test_toeplitz_is_its_matrix``.

    Args:
        coefficients: the first column of the strategy; those that are left out are 0. Not those of its inverse.
        participation: which steps one record may take part in.

    Returns:
        The sensitivity.

    Raises:
        EventError: the coefficients are not real and finite, or there are none, or more than steps.

    Example:
        >>> round(toeplitz_sensitivity([1.0, 0.5], Participation(steps=100, max_participations=1)).value ** 2, 12)
        1.25

    References:
        Kalinin & Lampert 2024 (arXiv 2405.13763), Theorem 2.
    """
    column = _read("coefficients", coefficients, 1)
    if not 1 <= len(column) <= participation.steps:
        raise EventError(
            f"coefficients must be 1 to {participation.steps} numbers, one for each step at most, got {len(column)}; "
            "give the first column of the strategy."
        )
    scaled, exponent = _scaled(column)
    padded = np.zeros(participation.steps)
    padded[: len(scaled)] = scaled
    steps = _steps(participation)
    falls = bool((padded >= 0.0).all() and (np.diff(padded) <= 0.0).all())
    apart = steps.count == 1 or not padded[steps.gap :].any()
    if not falls and not apart:
        if participation.steps <= _DENSE:
            return matrix_sensitivity(_lower_triangle(column, participation.steps), participation)
        padded = np.maximum.accumulate(np.abs(padded)[::-1])[::-1]
    return _outward(_packed(np.abs(padded), steps), exponent, len(padded) + 3 * steps.count, falls or apart)


def _read(name: str, given: ArrayLike, dimensions: int) -> Floats:
    """Real finite numbers as float64, of so many dimensions."""
    try:
        array = np.asarray(given)
    except ValueError:  # ragged
        array = np.asarray(None)
    if array.dtype.kind not in "iuf" or array.ndim != dimensions:
        raise EventError(
            f"{name} must be an array of real numbers with {dimensions} dimension(s), got {array.dtype} and "
            f"{array.ndim}; see its docstring for the shape."
        )
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise EventError(f"{name} must be finite, got an infinity or NaN; a strategy has finite entries.")
    return numbers


def _scaled(array: Floats) -> tuple[Floats, int]:
    """The array times 2^-exponent, largest entry in [1/2, 1), and the exponent."""
    exponent = int(np.frexp(np.abs(array).max())[1])
    return np.ldexp(array, -exponent), exponent


def _steps(participation: Participation) -> Steps:
    gap = min(participation.min_separation, participation.steps)
    return Steps(gap, participation.count, participation.count < participation.room)


def _reach(matrix: Floats) -> int:
    """The least difference from which on no two columns overlap."""
    filled = matrix != 0.0
    first, last = filled.argmax(axis=0), len(matrix) - 1 - filled[::-1].argmax(axis=0)
    first[~filled.any(axis=0)] = len(matrix)  # a column of zeros overlaps none
    last[~filled.any(axis=0)] = -1
    steps = np.arange(matrix.shape[1])
    ends = np.array([steps[first <= end].max(initial=-1) for end in last])
    return max(1, int((ends - steps).max()) + 1)


def _is_signed(gram: Floats, gap: int, rows: int) -> bool:
    """Whether two columns that a pattern may hold have a product below 0 by more than its rounding."""
    norms = np.sqrt(np.diagonal(gram))
    allowed = rows * EPS * np.outer(norms, norms)
    return bool((np.tril(gram + allowed, -gap) < 0.0).any())


def _lower_triangle(column: Floats, steps: int) -> Floats:
    """Shape (steps, steps): entry (r, t) is coefficient r - t."""
    padded = np.zeros(2 * steps - 1)
    padded[steps - 1 : steps - 1 + len(column)] = column
    return np.lib.stride_tricks.sliding_window_view(padded, steps)[:, ::-1]


def _packed(column: Floats, steps: Steps) -> float:
    """The square norm of the sum of columns 0, b, 2b, …; coefficients that overlap must be >= 0."""
    total = column.copy()
    if steps.is_limited:
        for place in range(1, steps.count):
            total[place * steps.gap :] += column[: len(column) - place * steps.gap]
    else:
        rows = np.zeros(steps.count * steps.gap)
        rows[: len(column)] = column
        total = rows.reshape(steps.count, steps.gap).cumsum(axis=0).ravel()[: len(column)]
    return float(total @ total)


def _outward(square: float, exponent: int, terms: int, is_exact: bool) -> Sensitivity:
    """The square root, rounded up by ``terms`` EPS of the square and 16 more, in the units that were given."""
    if square == 0.0:
        return Sensitivity(0.0, is_exact)
    root = math.sqrt(round_up(square, terms + 16))
    try:
        value = round_up(math.ldexp(round_up(root, 2), exponent), 0)
    except OverflowError:
        raise EventError("strategy must have entries below 1e300, got larger ones; divide it by a constant.") from None
    return Sensitivity(value, is_exact)
