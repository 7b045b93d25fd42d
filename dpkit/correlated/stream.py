r"""Correlated noise as a stream: one row for each step, on a lattice, and one Gaussian event for all of them.

In step t the sum :math:`x_t` of that step's contributions gets the row :math:`n_t`, and :math:`y_t = x_t + n_t` is
released. The rows cancel in sums over steps. For a *strategy* C, lower triangular with ones on its diagonal, they are
:math:`n = C^{-1} Z`, where the rows of Z are independent; for a tree, whose strategy has a row for each node, another
left inverse takes the place of :math:`C^{-1}`.

*On the lattice.* Z is drawn first, in integers: multiples of a step g that depends on parameters only. Were the linear
map applied in real numbers, or in floats, the low digits of :math:`n_t` would tell about earlier draws, and y would
pass them on: a query plus such noise is no Gaussian mechanism. So the map is applied in integers and rounded to the
lattice, where the query lies too. With any integer function :math:`F_t`,

.. math:: y_t = x_t + n_t,\qquad n_t = Z_t - F_t(n_1, \dots, n_{t-1}).

*Why it is one Gaussian.* Given :math:`y_1, \dots, y_{t-1}`, whoever knows the data knows all earlier n = y - x, so that
:math:`y_t` is a discrete Gaussian around the lattice point :math:`m_t = x_t - F_t(y - x)`. Where
:math:`F_t(n) = \sum_{k\ge1} c_k n_{t-k} + e_t(n)`, other data x' with the same past move the centre by

.. math:: m_t - m_t' = \sum_{k\ge0} c_k (x_{t-k} - x'_{t-k}) + (e_t' - e_t),

row t of :math:`C(x - x')` and the difference of two roundings, at most :math:`\delta g` a coordinate. So on every path
:math:`\sum_t \|m_t - m_t'\|^2 \le (\Delta (B + g\sqrt d) + \delta g \sqrt{n d})^2` for bound B, d coordinates, n steps
and :math:`\Delta` from :mod:`accountants.sensitivity`; :math:`g\sqrt d` is what rounding a query to the lattice adds.
Each draw is a real Gaussian, post-processed, by the smoothing lemma of docs/floating-point.md, and Gaussians whose
squared distances sum to at most :math:`\mu^2` on every path are no worse than one Gaussian at distance :math:`\mu`
(Smith & Thakurta 2022, arXiv 2210.17520), however x_t depends on what was released before. The noise is drawn larger by
what the roundings can cost, so that the event is the sensitivity's Gaussian for the noise multiplier that was typed. A
tree pays no δ: see :mod:`dpkit.correlated.tree`.

That some number leaves int64, or float64's integers, has a probability below 1e-200, which no data can change.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accountants.events import Gaussian
from accountants.participation import Participation
from accountants.sensitivity import Sensitivity
from dpkit._checks import check_arrays, check_count, check_finite_up, check_positive
from dpkit._kinds import read
from dpkit.bounded import Bounded, opened, shapes
from dpkit.correlated._pass import Pass, Rows, size
from dpkit.correlated._schedule import check_allowed, next_place
from dpkit.correlated._snapshot import State
from dpkit.entropy import Source, is_secure
from dpkit.errors import BoundError, ParameterError, StateError
from dpkit.mechanism import (
    Recorder,
    Release,
    Sampling,
    check_multiplier,
    check_query,
    check_recording,
    product_up,
    require_draw,
    spend_draw,
)
from dpkit.samplers import covering_stddev, lattice_step, root_up

__all__ = ["NoiseStream", "check_numbers", "check_steps"]

_FINER_BITS = 26  # 2**-26 of the mechanisms' lattice: a step is between 2**-37 and 2**-36 of the noise
_MOST_STEPS = 1 << 20
_REACH = 2.0**62  # queries are clamped to this many lattice steps: the noise still fits beside them
_MOST_COVER = Fraction(1, 16)


class NoiseStream(Pass):
    """What the streams of correlated noise have in common; make a TreeNoise, BandedNoise or BufferedToeplitzNoise.

    A stream is passed through once, one row a step. It keeps a bounded number of rows however many steps there are.
    One thread at a time; copies, pickles and forks are refused, because a second run of the same noise would be a
    second release. :meth:`snapshot` and :meth:`restore` go on in another process.

    Guarantee: if every step's query is bounded by `bound` and is noised by :meth:`release` or :meth:`add`, all releases
    together are the Gaussian mechanism that :meth:`event` says, for records whose steps keep to the participation
    (``test_noise_covers_lattice_and_roundings``, ``test_released_rows_are_query_and_noise_exactly``). No row comes
    twice (``test_no_copies_no_forks``, ``test_no_draw_comes_twice``).

    Attributes:
        noise_multiplier: standard deviation of the independent noise Z / bound, as it was typed.
        bound: the l2 norm of one contribution.
        steps: how many rows there are.
        step: the lattice step g, a power of two that depends on parameters only, in units of the value.
        stddev: what Z is drawn with: noise_multiplier * bound, a little larger, in units of the value.
    """

    __slots__ = ()

    def __init__(
        self,
        like: Any,
        noise_multiplier: float,
        bound: float,
        steps: int,
        entropy: Source | None,
        *,
        drift: Fraction,
    ) -> None:
        """Check what all streams are told; `drift` is δ, by how much two roundings of one row can differ."""
        self._like = _outline(_check_like(like))
        self.noise_multiplier = check_multiplier(noise_multiplier)
        advice = "it is the l2 norm of one record's contribution to one step."
        check_positive("bound", bound, advice)
        self.bound = check_finite_up("bound", bound, advice)
        self.steps = check_steps(steps)
        self.step = lattice_step(product_up(self.noise_multiplier, self.bound)) * 2.0**-_FINER_BITS
        self.stddev = self._covering(drift)
        super().__init__(entropy)

    def add(self, query: Bounded) -> Any:
        """Return the query of the next step with its noise.

        The query is rounded to the lattice and added in integers; the sum is rounded to float64.

        Args:
            query: the sum of the step's contributions, in the structure of `like`, bounded in l2 or l1 by the stream's
                bound at most.

        Returns:
            Array or dict of arrays, of the query's kinds as in every release. It is not a release of its own: record
            :meth:`event` once, beforehand.

        Raises:
            UnboundedError: a bare array came.
            BoundError: the query's bound is larger than the stream's, its norm is linf, or its structure differs.
            ParameterError: the query is not finite.
            ExhaustedError: all steps have been drawn.
            EntropyError: the process was forked after the stream was made.

        Example:
            >>> from dpkit.clip import FlatClip
            >>> from dpkit.correlated import TreeNoise
            >>> stream = TreeNoise(np.zeros(3), noise_multiplier=1.0, bound=1.0, steps=8)
            >>> stream.add(FlatClip(1.0).sum(np.ones((5, 3)))).dtype
            dtype('float64')
        """
        grains, back = self._grains(query)
        with self._turn():
            row = self._row()
        return back((grains + row) * self.step)

    def release(
        self,
        query: Bounded,
        *,
        participation: Participation,
        sampling: Sampling | None = None,
        ledger: Recorder | None = None,
    ) -> Release:
        """Return the query of the next step with its noise, and record the event of all steps once.

        The first call that gives a ledger records the event in it: of all steps together, those before it and rows from
        :meth:`add` and :meth:`next` among them. Later calls record nothing. The event is that of the participation
        whatever `sampling` is: nothing is gained from sampling here.

        Guarantee: the record comes before the noise, and what is refused leaves stream, plan and ledger as they were
        (``test_what_is_refused_records_draws_and_spends_nothing``, ``test_one_event_for_all_steps``). With a plan that
        says of itself which steps a record may take part in, the rows keep to the participation
        (``test_rows_of_a_record_keep_to_the_participation``).

        Args:
            query: as for :meth:`add`.
            participation: which steps one record may take part in: the same in every call, and no narrower than what
                the plan of batches says of itself, if it does.
            sampling: the plan that the batch came from; if it counts its draws, one must be open and is spent. Where
                not every record may be in every step, it is the same plan in every call, and no draw is left out.
            ledger: where to record: the same in every call, or None.

        Returns:
            The noisy value, in the structure and of the kinds of the query; the one event of all steps, which is not to
            be recorded again; and whether noise and batches are secure.

        Raises:
            UnboundedError: a bare array came.
            BoundError: as for :meth:`add`.
            ParameterError: the query is not finite; the participation is of another number of steps, or does not allow
                what the plan does; the plan or the ledger is none.
            StateError: the plan has no open draw or has left one out; or participation, plan or ledger are not those of
                earlier calls.
            ExhaustedError: all steps have been drawn.
            EntropyError: the process was forked after the stream was made.

        Example:
            >>> from accountants import Ledger
            >>> from dpkit.correlated import TreeNoise
            >>> ledger, allowed = Ledger(relation="zero_out", unit="example"), Participation(steps=8, min_separation=4)
            >>> stream = TreeNoise(np.zeros(3), noise_multiplier=6.0, bound=1.0, steps=8)
            >>> for _ in range(8):
            ...     noisy = stream.release(Bounded(np.zeros(3), 1.0), participation=allowed, ledger=ledger).value
            >>> len(ledger)
            1
        """
        grains, back = self._grains(query)
        check_recording(sampling, ledger)
        self._check_participation(participation)
        check_allowed(participation, sampling)
        with self._turn():
            state, event = self._agreed(participation, sampling, ledger)
            secure = self.secure and (sampling is None or is_secure(sampling))
            require_draw(sampling)
            if ledger is not None and not state.recorded:
                ledger.record(Release(None, event, secure))
                state = replace(state, recorded=True)
            self._state = state
            spend_draw(sampling)
            with np.errstate(all="ignore"):  # whatever the caller traps: what is recorded is released
                value = back((grains + self._row()) * self.step)
        return Release(value, event, secure)

    def event(self, participation: Participation) -> Gaussian:
        """Return the one event of all steps together: record it once, before the first.

        Args:
            participation: which steps one record may take part in; its steps are the stream's.

        Returns:
            ``Gaussian(noise_multiplier / sensitivity)``, rounded down.

        Raises:
            ParameterError: the participation is of another number of steps.

        Example:
            >>> from dpkit.correlated import TreeNoise
            >>> stream = TreeNoise(np.zeros(3), noise_multiplier=4.0, bound=1.0, steps=8)
            >>> round(stream.event(Participation(steps=8, max_participations=1)).noise_multiplier, 9)
            2.0
        """
        return self.sensitivity(participation).event(self.noise_multiplier)

    def sensitivity(self, participation: Participation) -> Sensitivity:
        """Return what one record may change in all steps together, relative to the bound.

        Args:
            participation: which steps one record may take part in; its steps are the stream's.

        Returns:
            The l2 sensitivity of the strategy, rounded up, and whether it is exact but for that or a bound.

        Raises:
            ParameterError: the participation is of another number of steps.

        Example:
            >>> from dpkit.correlated import TreeNoise
            >>> stream = TreeNoise(np.zeros(3), noise_multiplier=1.0, bound=1.0, steps=8)
            >>> round(stream.sensitivity(Participation(steps=8)).value ** 2, 9)
            120.0
        """
        self._check_participation(participation)
        return self._sensitivity(participation)

    @abstractmethod
    def prefix_variance(self) -> NDArray[np.float64]:
        """Return the variance of the noise in the sum of the first t rows: shape (steps,), in units of stddev²."""

    @abstractmethod
    def row_variance(self) -> NDArray[np.float64]:
        """Return the variance of each row by itself: shape (steps,), in units of stddev²."""

    @abstractmethod
    def _sensitivity(self, participation: Participation) -> Sensitivity:
        """The sensitivity under a participation of the right number of steps."""

    def _check_participation(self, participation: Any) -> None:
        """One that speaks of the stream's steps."""
        if not isinstance(participation, Participation):
            raise ParameterError(
                f"participation must be a Participation, got {type(participation).__name__}; say in which steps one "
                f"record may be: accountants.participation.Participation(steps={self.steps}, min_separation=...)."
            )
        if participation.steps != self.steps:
            raise ParameterError(
                f"participation must have the stream's {self.steps} steps, got {participation.steps}; give one number."
            )

    def _agreed(
        self, participation: Participation, sampling: Sampling | None, ledger: Recorder | None
    ) -> tuple[State, Gaussian]:
        """The state with what this release says, which is what earlier ones said; and the event."""
        state = self._state
        if state.participation not in (None, participation):
            raise StateError(
                f"participation must be that of the earlier releases, {state.participation}, got {participation}; one "
                "event covers all steps."
            )
        if state.ledger is not None and ledger is not None and ledger is not state.ledger:
            raise StateError(
                "ledger must be that of the earlier releases, got another one, which has not the event of this stream; "
                "give one ledger for all steps."
            )
        place = next_place(state.place, participation, sampling, state.drawn)
        event = self.event(participation) if state.event is None else state.event
        known = ledger if state.ledger is None else state.ledger
        return replace(state, participation=participation, event=event, ledger=known, place=place), event

    def _grains(self, query: Any) -> tuple[Rows, Callable[[NDArray[Any]], Any]]:
        """The query in lattice steps and the way back, or an error."""
        check_query(query, ("l2", "l1"))
        if query.bound > self.bound:
            raise BoundError(
                f"query's bound must be <= {self.bound!r}, got {query.bound!r}; make the stream with the clip's bound."
            )
        if shapes(query.value) != shapes(self._like):
            raise BoundError(
                f"query must have the shapes {shapes(self._like)}, got {shapes(query.value)}; make the stream with "
                "like=."
            )
        vector, back = opened(_ordered(query.value, self._like))
        if not np.isfinite(vector).all():
            raise ParameterError(
                "query must be finite, got NaN or an infinity; sum clipped records: FlatClip(...).sum."
            )
        with np.errstate(all="ignore"):
            return np.rint(np.clip(vector / self.step, -_REACH, _REACH)).astype(np.int64), back

    def _covering(self, drift: Fraction) -> float:
        """The standard deviation of Z: larger by what the lattice and all roundings can cost."""
        dim = check_count("like", size(self._like), "give arrays with at least one number.")
        corners = Fraction(root_up(Fraction(dim))) + drift * Fraction(root_up(Fraction(dim * self.steps)))
        moved = corners * Fraction(self.step) / Fraction(self.bound)
        if moved > _MOST_COVER:
            raise ParameterError(
                "noise_multiplier must be smaller for so many numbers and steps: rounding would cost more than 1/16 of "
                f"the noise, got {self.noise_multiplier!r} for {dim} numbers; split the value into several streams."
            )
        return covering_stddev(product_up(self.noise_multiplier, self.bound, 1 + moved))


def check_steps(steps: Any) -> int:
    """The number of steps, or an error."""
    count = check_count("steps", steps, "give a public number.")
    if count > _MOST_STEPS:
        raise ParameterError(f"steps must be <= {_MOST_STEPS}, got {count}; use several streams, one after the other.")
    return count


def check_numbers(name: str, given: ArrayLike) -> list[float]:
    """Finite numbers in one dimension, or an error."""
    array = read(name, given)[0]
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ParameterError(
            f"{name} must be finite numbers in one dimension, got {array.ndim} dimensions, or an infinity or NaN; give "
            "a list of numbers."
        )
    return [float(number) for number in array]


def _check_like(like: Any) -> Any:
    """An array or a dict of arrays. A shape is none: a row for the numbers in it would be broadcast to others."""
    for leaf in like.values() if isinstance(like, Mapping) else (like,):
        if not hasattr(leaf, "shape"):
            raise ParameterError(
                f"like must be an array or a dict of arrays, got {type(leaf).__name__}; for a shape give "
                "numpy.zeros(shape)."
            )
    return check_arrays("like", like)


def _outline(value: Any) -> Any:
    """Arrays of the same shapes that hold nothing."""
    if isinstance(value, Mapping):
        return {name: _outline(array) for name, array in value.items()}
    return np.broadcast_to(np.empty(()), tuple(value.shape))


def _ordered(value: Any, like: Any) -> Any:
    """The value with its arrays in the order of `like`: each array's rows of noise cancel with its own."""
    return {name: value[name] for name in like} if isinstance(like, Mapping) else value
