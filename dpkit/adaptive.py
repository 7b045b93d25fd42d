"""Adaptive clipping: a bound that follows a quantile of the records' norms, found privately."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field, replace
from fractions import Fraction
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accountants.events import Gaussian
from dpkit._checks import check_positive, check_within
from dpkit._grains import add_records, from_grains, grain_sum
from dpkit._rows import clip_rows, norms_within
from dpkit.bounded import Bounded, Norm, opened
from dpkit.clip import FlatClip
from dpkit.continuous import GaussianMechanism
from dpkit.entropy import Source
from dpkit.errors import ParameterError
from dpkit.mechanism import Recorder, Release, Sampling, check_query, publish
from dpkit.samplers import lattice_gaussian, root_up

__all__ = ["AdaptiveClip", "split_noise"]

_SMALLEST, _LARGEST = 2.0**-400, 2.0**400  # noise around the bound stays in the range of every mechanism
_HALF = 0.5  # what one record adds to the centred count, or takes from it


@final
@dataclass(frozen=True, slots=True)
class AdaptiveClip:
    r"""Clip to a bound that moves towards a quantile of the records' norms, by private counts of those within it.

    Each step estimates the share of records whose norm is at most the bound C: every record adds +1/2 if it is within
    and -1/2 if not, Gaussian noise is added, the public `expected_batch_size` m divides, and
    :math:`C \leftarrow C\, e^{-\eta (\tilde b - \gamma)}` with :math:`\tilde b = \mathrm{noisy} / m + 1/2`.
    The centred count moves by 1/2 when a record comes or goes (an uncentred one by 1), and nothing here divides by how
    many records there were, which is private; a batch without records is a batch like any other.

    The clip is frozen: :meth:`release` and :meth:`updated` return the next one, so that a refused record or an
    exception leaves this one as it is. The sum is always noised for the bound that clipped it.

    :meth:`release` noises sum and count together as one Gaussian release; only so may both come from one sampled
    batch, since two releases of one batch are not two sampled releases. :meth:`updated` releases a count by itself.

    Guarantee: one record moves sum and count by at most their bounds
    (``test_sum_and_count_move_by_at_most_their_bounds``); what is recorded is at least what both cost together
    (``test_split_noise_costs_no_more_than_the_whole``, ``test_both_are_drawn_with_their_share_of_the_noise``) and does
    not depend on the records, and it is recorded before the bound moves (``test_a_refused_count_moves_no_bound``).

    Under ``zero_out`` a record that contributes nothing is not counted either; a record of zeros is, as one within.

    Args:
        initial: the first bound, from 2**-400 to 2**400, chosen without looking at the data.
        quantile: share of records to be left unclipped, in [0, 1].
        expected_batch_size: public number that the count is divided by, > 0.
        count_noise_multiplier: noise of the count / its bound of 1/2; its standard deviation in records is half of it.
            A tenth of expected_batch_size costs next to nothing and steers well enough (Andrew et al.).
        learning_rate: eta > 0, how fast the bound moves: by a factor of about exp(eta) a step at most.
        norm: "l2", "l1" or "linf".

    Attributes:
        bound: the bound now; kept within 2**-400 to 2**400.

    Raises:
        ParameterError: a parameter is out of range.

    Example:
        >>> from dpkit.entropy import seeded
        >>> clip = AdaptiveClip(0.1, 0.5, expected_batch_size=100, count_noise_multiplier=10.0)
        >>> total, count = clip.sum_with_count(np.ones((100, 3)))
        >>> release, clip = clip.release(total, count, noise_multiplier=1.1, entropy=seeded(1))
        >>> release.event, clip.bound > 0.1
        (Gaussian(noise_multiplier=1.1), True)

    References:
        Andrew, Thakkar, McMahan & Ramaswamy 2021 (arXiv 1905.03871), Algorithm 1 and Theorem 1.
    """

    initial: float
    quantile: float
    _: KW_ONLY
    expected_batch_size: float
    count_noise_multiplier: float
    learning_rate: float = 0.2
    norm: Norm = "l2"
    bound: float = field(init=False)

    def __post_init__(self) -> None:
        advice = "give a public number."
        checked = {
            "initial": check_within("initial", self.initial, _SMALLEST, _LARGEST, advice),
            "quantile": check_within("quantile", self.quantile, 0.0, 1.0, "0.5 is the median norm."),
            "expected_batch_size": check_positive("expected_batch_size", self.expected_batch_size, advice),
            "count_noise_multiplier": _check_noise("count_noise_multiplier", self.count_noise_multiplier),
            "learning_rate": check_positive("learning_rate", self.learning_rate, "0.2 is usual."),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "bound", self.initial)
        self._flat()

    def clip(self, record: Any) -> Any:
        """Return one record, scaled to a norm of at most the bound; see :meth:`~dpkit.clip.FlatClip.clip`."""
        return self._flat().clip(record)

    def sum(self, records: Iterable[Any]) -> Bounded:
        """Clip each record and add them, exactly; see :meth:`~dpkit.clip.FlatClip.sum`. The count is not taken."""
        return self._flat().sum(records)

    def factors(self, norms: ArrayLike) -> NDArray[np.float64]:
        """Return what to multiply records of these norms by; see :meth:`~dpkit.clip.FlatClip.factors`."""
        return self._flat().factors(norms)

    def count(self, norms: ArrayLike) -> Bounded:
        """Return the centred count of norms that are at most the bound: half of those within, less half of the others.

        Args:
            norms: norms of records, any shape; what is not finite is not within.

        Returns:
            Bounded number with the bound 1/2.

        Example:
            >>> AdaptiveClip(1.0, 0.5, expected_batch_size=3, count_noise_multiplier=1.0).count([0.5, 1.0, 9.0]).value
            array(0.5)
        """
        within = norms_within(norms, self.bound)
        return _centred(2 * int(within.sum()) - within.size)

    def sum_with_count(self, records: Iterable[Any]) -> tuple[Bounded, Bounded]:
        """Clip each record and add them, and count those within the bound, in one pass.

        Args:
            records: as for :meth:`~dpkit.clip.FlatClip.sum`.

        Returns:
            The sum, as of :meth:`sum`; and the centred count, as of :meth:`count`. A record that is not finite adds
            nothing to the sum, and is not within the bound.

        Raises:
            ParameterError: records of different shapes, no real numbers, or an empty iterable, which has no shape.

        Example:
            >>> clip = AdaptiveClip(1.0, 0.5, expected_batch_size=3, count_noise_multiplier=1.0)
            >>> clip.sum_with_count(np.zeros((3, 2)))[1]
            Bounded(shape=(), bound=0.5, norm='l2')
        """
        both, like = add_records(records, self._grains_and_count)
        total = Bounded(from_grains(both[:-1], self.bound, like), self.bound, self.norm)
        return total, _centred(int(both[-1]))

    def release(
        self,
        total: Bounded,
        count: Bounded,
        *,
        noise_multiplier: float,
        sampling: Sampling | None = None,
        ledger: Recorder | None = None,
        entropy: Source | None = None,
    ) -> tuple[Release, AdaptiveClip]:
        """Release sum and count as one Gaussian event, and return the noisy sum and the next clip.

        Args:
            total: the clipped sum, with an l2 or l1 bound.
            count: the centred count of the same records.
            noise_multiplier: what both cost together, < count_noise_multiplier; the sum's noise is larger by what the
                count costs, see :func:`split_noise`.
            sampling: how the records were sampled; its sampled event is recorded, once for both.
            ledger: a Ledger or Budget; if it raises, nothing is released and no bound moves.
            entropy: source of randomness; None means ``dpkit.entropy.system()``.

        Returns:
            Release of the sum, with the event of both; and the clip with the next bound.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the norm is linf, or a bound is 0.
            ParameterError: the count is not one number, a value is not finite, or the noise is out of range.
            StateError: sampling has no open draw; each draw is for one release.

        Example:
            >>> clip = AdaptiveClip(1.0, 0.5, expected_batch_size=3, count_noise_multiplier=5.0)
            >>> release, _ = clip.release(*clip.sum_with_count(np.zeros((3, 2))), noise_multiplier=1.0)
            >>> release.value.shape
            (2,)
        """
        _check_count(count)
        multiplier = split_noise(noise_multiplier, count_noise_multiplier=self.count_noise_multiplier)
        stddev = GaussianMechanism(multiplier).stddev(total)
        count_stddev = GaussianMechanism(self.count_noise_multiplier).stddev(count)
        vector, restored = opened(total.value)
        both = Bounded(np.append(vector, opened(count.value)[0]), total.bound + count.bound)

        def draw(vector: NDArray[np.float64], source: Source) -> NDArray[np.float64]:
            noisy = lattice_gaussian(vector[:-1], stddev, source)
            return np.append(noisy, lattice_gaussian(vector[-1:], count_stddev, source))

        event = Gaussian(check_positive("noise_multiplier", noise_multiplier, "it is what both cost together."))
        release = publish(both, event, draw, sampling=sampling, ledger=ledger, entropy=entropy)
        value = restored(release.value[:-1])
        return Release(value, release.event, release.secure), self._moved(float(release.value[-1]))

    def updated(
        self,
        count: Bounded,
        *,
        sampling: Sampling | None = None,
        ledger: Recorder | None = None,
        entropy: Source | None = None,
    ) -> AdaptiveClip:
        """Release a count by itself, as ``Gaussian(count_noise_multiplier)``, and return the clip with the next bound.

        Args:
            count: the centred count.
            sampling: how the records were sampled; the draw is then spent, and no sum of it can be released.
            ledger: a Ledger or Budget; if it raises, nothing is released and no bound moves.
            entropy: source of randomness; None means ``dpkit.entropy.system()``.

        Returns:
            The next clip.

        Raises:
            UnboundedError: a bare array came.
            ParameterError: the count is not one number, or not finite.
            StateError: sampling has no open draw; each draw is for one release.

        Example:
            >>> clip = AdaptiveClip(1.0, 0.5, expected_batch_size=3, count_noise_multiplier=1.0)
            >>> clip.updated(clip.count([9.0, 9.0, 9.0])).initial
            1.0
        """
        _check_count(count)
        mechanism = GaussianMechanism(self.count_noise_multiplier)
        release = mechanism.release(count, sampling=sampling, ledger=ledger, entropy=entropy)
        return self._moved(float(opened(release.value)[0][0]))

    def _moved(self, noisy_count: float) -> AdaptiveClip:
        """The clip after one geometric step; whatever it computes is post-processing of the noisy count."""
        share = noisy_count / self.expected_batch_size + _HALF
        step = min(max(-self.learning_rate * (share - self.quantile), -700.0), 700.0)
        bound = min(max(self.bound * math.exp(step), _SMALLEST), _LARGEST)
        moved = replace(self)
        object.__setattr__(moved, "bound", bound)
        return moved

    def _flat(self) -> FlatClip:
        """The clip of the bound now."""
        return FlatClip(self.bound, self.norm)

    def _grains_and_count(self, rows: NDArray[np.float64], _: Any) -> NDArray[np.int64]:
        """Sum of clipped rows in grains, and behind it twice the centred count."""
        clipped, within = clip_rows(rows, self.bound, self.norm)
        return np.append(grain_sum(clipped, self.bound), 2 * int(within.sum()) - within.size)


def split_noise(noise_multiplier: float, *, count_noise_multiplier: float) -> float:
    r"""Return the noise multiplier of the sum that, with a count, costs what one release of `noise_multiplier` costs.

    Gaussian releases on the same records are one Gaussian release with
    :math:`z^{-2} = z_\Delta^{-2} + z_b^{-2}`. Andrew et al. write :math:`z_b = 2\sigma_b`, for a count with a bound of
    1/2 and noise of standard deviation :math:`\sigma_b`.

    Guarantee: :math:`z_\Delta^{-2} + z_b^{-2} \le z^{-2}` in exact arithmetic
    (``test_split_noise_costs_no_more_than_the_whole``).

    Args:
        noise_multiplier: z, what both may cost together.
        count_noise_multiplier: z_b > z, noise of the count / its bound.

    Returns:
        z_Delta, rounded up.

    Raises:
        ParameterError: the count alone would cost more than both may.

    Example:
        >>> split_noise(3.0, count_noise_multiplier=5.0)
        3.75

    References:
        Andrew et al. 2021 (arXiv 1905.03871), Theorem 1.
    """
    whole = _check_noise("noise_multiplier", noise_multiplier)
    part = _check_noise("count_noise_multiplier", count_noise_multiplier)
    if part <= whole:
        raise ParameterError(
            f"count_noise_multiplier must be larger than noise_multiplier, got {part!r} and {whole!r}: the count alone "
            "would cost more than sum and count together may; a tenth of the expected batch size is usual."
        )
    squares = Fraction(whole) ** 2, Fraction(part) ** 2
    return root_up(squares[0] * squares[1] / (squares[1] - squares[0]))


def _check_noise(name: str, value: Any) -> float:
    """A noise multiplier whose square and reciprocal are no trouble."""
    return check_within(name, value, _SMALLEST, _LARGEST, "record NonPrivate() for an unprotected release.")


def _check_count(count: Any) -> None:
    """A bounded number."""
    size = opened(check_query(count, ("l2", "l1", "linf")).value)[0].size
    if size != 1:
        raise ParameterError(f"count must be one number, got {size}; use sum_with_count(records) or count(norms).")


def _centred(twice: int) -> Bounded:
    """A count with the bound of one record."""
    return Bounded(np.array(twice / 2), _HALF)
