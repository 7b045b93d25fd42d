"""The composition root: one function that reads like the walk of a gradient.

::

    records ─► per_sample ─► clip ─► rotate ─► noise share ─► encode ─► mask / encrypt ─► Σ ─► decode ─► mean

This is the only module of dpkit that sees secagg. It plays every party in one process: what a real deployment sends
over a network goes through the same sessions, as bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

import secagg
from accountants import Event
from dpkit._kinds import read, to_float64
from dpkit.bounded import Bounded, Norm
from dpkit.clip import FlatClip, NormalizeClip
from dpkit.discrete import DiscreteGaussianMechanism
from dpkit.entropy import Source, is_secure, resolve
from dpkit.errors import BoundError, ParameterError, StateError
from dpkit.lattice import holds_integers
from dpkit.mechanism import Recorder, Release, Sampling, require_draw, spend_draw
from dpkit.rotate import Rotation
from dpkit.skellam import SkellamMechanism

__all__ = ["MeanRelease", "NoiseShares", "noise_shares", "private_mean", "share_step"]

Vector = NDArray[np.float64]

_FINENESS = 16.0
"""A share's standard deviation is between 16 and 32 lattice steps where the plan leaves the choice to us."""

_ROOM_BITS = 9
"""Where shares are rounded, it may be up to 1/256 of half the plan's range: a finer lattice, a smaller growth."""

_FINEST_SHARE = 2.0**18  # well within what Skellam noise is drawn for


@final
@dataclass(frozen=True, slots=True, eq=False)
class MeanRelease:
    """A noisy mean, with what it cost and what it took.

    Args:
        value: float64, the structure of the updates (array or dict of arrays).
        event: what was recorded: the event of `min_honest` shares, sampled if sampling was given.
        survivors: the parties whose shares are in the sum, sorted.
        bytes_up: bytes sent by each party, int64, shape ``(parties,)``.
        bytes_down: bytes received by each party, int64, shape ``(parties,)``.
        secure: whether all noise and sampling came from cryptographic randomness.
    """

    value: Any
    event: Event
    survivors: list[int]
    bytes_up: NDArray[np.int64]
    bytes_down: NDArray[np.int64]
    secure: bool


@final
@dataclass(frozen=True, slots=True, eq=False)
class NoiseShares:
    """Every party's noisy integer share, ready for a sum protocol.

    Args:
        vectors: offset-encoded shares, uint64 in ``[0, 2**value_bits)``, shape ``(parties, dim)``.
        event: the event of the sum of any `min_honest` of them.
        secure: whether all noise and sampling came from cryptographic randomness.
        value_bits: bits of one entry.
        min_survivors: a total of fewer shares is refused.
        sampling: the plan of batches whose open draw the release spends, or None.
        decode: a signed integer total, shape ``(dim,)``, back to the structure and units of the updates.
    """

    vectors: NDArray[np.uint64]
    event: Event
    secure: bool
    value_bits: int
    min_survivors: int
    sampling: Sampling | None
    decode: Callable[[NDArray[np.int64]], Any]
    _tickets: list[None] = field(default_factory=lambda: [None], repr=False)

    def release(self, result: secagg.SumResult, *, denominator: float, ledger: Recorder) -> MeanRelease:
        """Record the event, then turn the opened total into the mean; once.

        Args:
            result: what the protocol opened.
            denominator: public number that the sum is divided by; never the realised count.
            ledger: recorded first; if it refuses, nothing is released.

        Returns:
            The release.

        Raises:
            StateError: these shares were released before (the difference of two totals would show what only one holds),
                fewer parties survived than the noise was planned for, or the batch was released before.
            ParameterError: the denominator is not a finite number > 0.
        """
        _check_denominator(denominator)
        if not self._tickets:
            raise StateError("these shares were released already; draw new ones, with new noise, for another release.")
        if len(result.survivors) < self.min_survivors:
            raise StateError(
                f"result must hold at least the {self.min_survivors} shares that the noise was planned for, got "
                f"{len(result.survivors)}; open it with the plan that the shares were drawn for."
            )
        require_draw(self.sampling)
        total = secagg.offset_decode(result.total, len(result.survivors), self.value_bits)
        ledger.record(Release(None, self.event, self.secure))
        self._tickets.clear()
        spend_draw(self.sampling)
        value = _map(lambda array: array / denominator, self.decode(total))
        return MeanRelease(value, self.event, result.survivors, result.bytes_up, result.bytes_down, self.secure)


def private_mean(
    updates: Sequence[Any],
    *,
    clip: FlatClip | NormalizeClip | None,
    mechanism: DiscreteGaussianMechanism | SkellamMechanism,
    plan: secagg.SumProtocol,
    denominator: float,
    ledger: Recorder,
    sampling: Sampling | None = None,
    rotate: bool = False,
    entropy: Source | None = None,
    dropouts: Mapping[str, Sequence[int]] | None = None,
) -> MeanRelease:
    r"""Average the parties' updates so that only the noisy sum is ever opened.

    Every party clips its update (or brings a sum of clipped records), draws an integer share around it, and enters that
    into the sum protocol. Discrete Gaussian noise is centred at the real value and does the rounding, so no rounding
    error enters the bound. For Skellam noise each party rounds its own value; only the party that holds the record
    moves, so the growth of the bound counts once.

    Guarantee:
        Event ``DistributedDiscreteGaussian`` (or ``Skellam``) of ``plan.min_honest`` shares, sampled by `sampling`,
        against whoever sees what the plan's promise allows; held by ``test_private_mean_records_min_honest_shares``,
        ``test_skellam_shares_end_to_end`` and ``test_private_mean_is_bit_identical_over_protocols``. Shares are clamped
        to the range of the plan: the centre coordinatewise and before noise, which never lengthens a difference; the
        noise at a distance of probability below 1e-346, less than the outward rounding of any reported delta.

    Args:
        updates: one update per party. With `clip`: an array or a dict of arrays, clipped as one record (the unit is
            then the party). With ``clip=None``: a :class:`~dpkit.bounded.Bounded` sum of clipped records each, in l2
            (or l1), all with one bound.
        clip: the FlatClip or NormalizeClip of one update, or None where updates are already ``Bounded``.
        mechanism: noise relative to the bound, of `min_honest` shares together; its `step` is chosen from the plan
            unless it is given.
        plan: a secagg plan for ``len(updates)`` parties and ``dim`` entries (with `rotate`, the next power of two).
        denominator: public number that the sum is divided by, > 0; never read off the data.
        ledger: where the event is recorded before the value is returned.
        sampling: how records were sampled inside always-present parties; refused together with `clip`, where the unit
            is the party and the parties' own noise would follow their participation.
        rotate: spread each update over its coordinates first by a public random rotation.
        entropy: source of noise; None means the system's.
        dropouts: ``{round name: [party, ...]}`` that leave before sending in that round.

    Returns:
        The mean, its event, and the traffic.

    Raises:
        ParameterError: updates, plan, mechanism and denominator do not fit together; nothing is recorded.
        BoundError: bounds differ, or have a norm that the noise cannot use.
        StateError: the open draw of `sampling` was released before; nothing is recorded.
        secagg.errors.SecAggError: the protocol refused; nothing is opened or recorded.

    Example:
        >>> import numpy as np, secagg
        >>> from accountants import Ledger
        >>> from dpkit import DiscreteGaussianMechanism, FlatClip, entropy
        >>> ledger = Ledger(relation="add_remove", unit="party")
        >>> release = private_mean(
        ...     [np.ones(4)] * 5,
        ...     clip=FlatClip(1.0),
        ...     mechanism=DiscreteGaussianMechanism(noise_multiplier=4.0),
        ...     plan=secagg.PlainSum.plan(5, 4, 16),
        ...     denominator=5,
        ...     ledger=ledger,
        ...     entropy=entropy.seeded(7),
        ... )
        >>> release.value.shape, release.survivors, len(ledger)
        ((4,), [0, 1, 2, 3, 4], 1)

    References:
        Kairouz, Liu & Steinke, "The Distributed Discrete Gaussian Mechanism", ICML 2021 (arXiv 2102.06387); that real
        centres need no rounding step is shown in docs/floating-point.md, Lemma 9.
    """
    _check_denominator(denominator)
    if not callable(getattr(ledger, "record", None)):
        raise ParameterError("ledger must have a record method, as accountants.Ledger has.")
    shares = noise_shares(
        updates, clip=clip, mechanism=mechanism, plan=plan, sampling=sampling, rotate=rotate, entropy=entropy
    )
    result = secagg.simulate(plan, shares.vectors, dropouts=dropouts)
    return shares.release(result, denominator=denominator, ledger=ledger)


def noise_shares(
    updates: Sequence[Any],
    *,
    clip: FlatClip | NormalizeClip | None,
    mechanism: DiscreteGaussianMechanism | SkellamMechanism,
    plan: secagg.SumProtocol,
    sampling: Sampling | None = None,
    rotate: bool = False,
    entropy: Source | None = None,
) -> NoiseShares:
    """The first half of :func:`private_mean`: clip, rotate, noise share, encode.

    Args and errors are those of :func:`private_mean`. The shares may be fed through several protocols, whose totals are
    then bit-identical; :meth:`NoiseShares.release` is the second half, and only one total may be released.
    """
    _check_parties(updates, plan, clip, mechanism, sampling)
    require_draw(sampling)
    bits = secagg.summand_bits(plan.num_parties, plan.value_bits, wrap=plan.wrap)
    source = resolve(entropy)
    vectors, query, restore = _bounded_vectors(updates, clip)
    if rotate:
        span = share_step(mechanism, bound=query.bound, plan=plan) * 2.0 ** (bits - 1)
        reach = query.bound if clip is not None else span * math.sqrt(plan.dim)  # no sum that fits is longer
        vectors, query, restore = _rotated(vectors, query, restore, source, reach)
    if query.value.size != plan.dim:
        raise ParameterError(
            f"plan.dim must be the number of entries of an update, {query.value.size}"
            f"{' (rotated: the next power of two)' if rotate else ''}, got {plan.dim}."
        )
    step = share_step(mechanism, bound=query.bound, plan=plan)
    share = mechanism.share(parties=plan.num_parties, min_honest=plan.min_honest).with_step(step)
    event = share.event(query)
    limit = _centre_limit(share.reach(query), query.bound / step, bits) * step
    clamped = (Bounded(np.clip(vector, -limit, limit), query.bound) for vector in vectors)
    encoded = np.stack([_encode(share.draw(one, source), bits) for one in clamped])
    return NoiseShares(
        vectors=encoded,
        event=event if sampling is None else sampling.sampled(event),
        secure=is_secure(source) and (sampling is None or is_secure(sampling)),
        value_bits=bits,
        min_survivors=plan.min_survivors,
        sampling=sampling,
        decode=lambda total: restore(np.asarray(total * step, dtype=np.float64)),
    )


def share_step(
    mechanism: DiscreteGaussianMechanism | SkellamMechanism, *, bound: float, plan: secagg.SumProtocol
) -> float:
    """The lattice step that :func:`private_mean` uses, in units of the value.

    The mechanism's own step where it has one; else the power of two that puts one share's standard deviation between 16
    and 32 steps, which leaves the rest of the plan's range to the values. Where shares are rounded, between 1/512 and
    1/256 of half the plan's range, if that is finer: rounding costs less then. It depends on parameters only.

    Args:
        mechanism: noise relative to the bound, of ``plan.min_honest`` shares together.
        bound: norm of one record's contribution, in units of the value.
        plan: the sum protocol's plan.

    Returns:
        The step, > 0.
    """
    if mechanism.step is not None:
        return mechanism.step
    local_stddev = mechanism.noise_multiplier * bound / math.sqrt(plan.min_honest)
    fineness = _FINENESS
    if mechanism.rounds:
        bits = secagg.summand_bits(plan.num_parties, plan.value_bits, wrap=plan.wrap)
        fineness = min(max(_FINENESS, 2.0 ** (bits - 1 - _ROOM_BITS)), _FINEST_SHARE)
    return math.ldexp(1.0, math.frexp(local_stddev / fineness)[1] - 1)  # the power of two at or below


def _check_denominator(denominator: object) -> None:
    """The public number under the sum."""
    real = isinstance(denominator, int | float | np.number) and not isinstance(denominator, bool)
    if not (real and 0 < denominator < math.inf):  # type: ignore[operator]  # numbers, as was asked
        raise ParameterError(f"denominator must be finite and > 0, got {denominator!r}.")


def _check_parties(
    updates: Sequence[Any],
    plan: secagg.SumProtocol,
    clip: FlatClip | NormalizeClip | None,
    mechanism: DiscreteGaussianMechanism | SkellamMechanism,
    sampling: Sampling | None,
) -> None:
    """What must fit before anything is drawn."""
    if not isinstance(mechanism, DiscreteGaussianMechanism | SkellamMechanism):
        raise ParameterError(
            f"mechanism must draw integer shares, got {type(mechanism).__name__}; use DiscreteGaussianMechanism or "
            "SkellamMechanism."
        )
    if clip is not None and not isinstance(clip, FlatClip | NormalizeClip):
        raise ParameterError(f"clip must be a FlatClip, or None for Bounded sums, got {type(clip).__name__}.")
    if not hasattr(plan, "min_honest"):
        raise ParameterError(f"plan must be a plan of secagg, got {type(plan).__name__}; for example BFVSum.plan(...).")
    if hasattr(plan, "error_bound"):
        raise ParameterError(
            f"plan must sum integers exactly, got {type(plan).__name__}; use BFVSum, ThresholdSum or a masked sum."
        )
    if len(updates) != plan.num_parties:
        raise ParameterError(
            f"updates must hold one entry per party of the plan, {plan.num_parties}, got {len(updates)}."
        )
    if plan.min_honest < 1:
        raise ParameterError(
            f"plan.min_honest must be >= 1, got {plan.min_honest}: no sum of this plan holds noise that nobody knows."
        )
    if clip is not None and sampling is not None:
        raise ParameterError(
            "sampling cannot be combined with clip: with one clipped update per party the parties themselves would be "
            "sampled, their noise would follow participation, and no amplification holds. Sample records inside "
            "always-present parties and pass Bounded sums with clip=None."
        )


def _bounded_vectors(
    updates: Sequence[Any], clip: FlatClip | NormalizeClip | None
) -> tuple[list[Vector], Bounded, Callable[[Vector], Any]]:
    """Each update as one clipped float64 vector; one of them as a Bounded; and the way back."""
    trees = [update.value if isinstance(update, Bounded) else update for update in updates]
    flat = [secagg.flatten(_map(_as_float64, tree)) for tree in trees]
    spec = flat[0][1]
    if any(other != spec for _, other in flat):
        raise ParameterError("updates must all have the same structure and shapes.")
    if clip is None:
        bound, norm = _common_bound(updates)
        vectors = [vector for vector, _ in flat]
        if not all(np.isfinite(vector).all() for vector in vectors):
            raise ParameterError("a Bounded update holds NaN or infinity; clips map such records to zero.")
    else:
        if any(isinstance(update, Bounded) for update in updates):
            raise ParameterError("clip must be None where updates are Bounded already: they would be clipped twice.")
        if clip.norm == "linf":
            raise BoundError("clip must bound the l2 or l1 norm for this noise, got 'linf'.")
        bound, norm = clip.bound, clip.norm
        vectors = [np.asarray(clip.clip(vector), dtype=np.float64) for vector, _ in flat]
    whole = clip is None and all(holds_integers(tree) for tree in trees)
    query = Bounded(np.zeros(vectors[0].shape, np.int64) if whole else vectors[0], bound, norm)
    return vectors, query, lambda vector: secagg.unflatten(vector, spec)


def _common_bound(updates: Sequence[Any]) -> tuple[float, Norm]:
    """The one bound of updates that are already Bounded, and a norm that it holds for: l1 is an l2 bound too."""
    if not all(isinstance(update, Bounded) for update in updates):
        raise ParameterError(
            "with clip=None every update must be a Bounded sum; pass clip=FlatClip(...) for bare arrays."
        )
    if any(update.norm == "linf" for update in updates):
        raise BoundError("updates must be bounded in l2 or l1 for this noise, got 'linf'.")
    bounds = {update.bound for update in updates}
    if len(bounds) > 1:
        raise BoundError(f"updates must share one bound, got {sorted(bounds)}.")
    return float(bounds.pop()), "l1" if all(update.norm == "l1" for update in updates) else "l2"


def _rotated(
    vectors: list[Vector], query: Bounded, restore: Callable[[Vector], Any], source: Source, reach: float
) -> tuple[list[Vector], Bounded, Callable[[Vector], Any]]:
    """The same, after a public random rotation; entries are clamped to `reach`, which its rounding is counted for."""
    rotation = Rotation.draw(query.value.size, entropy=source)
    rotated = [rotation.forward(np.clip(vector, -reach, reach)) for vector in vectors]
    bound = rotation.bound(query.bound, reach=reach)
    return rotated, Bounded(rotated[0], bound), lambda vector: restore(rotation.inverse(vector))


def _centre_limit(reach: float, bound: float, value_bits: int) -> float:
    """How far a centre may lie from zero, in lattice steps, so that it can be rounded and its noise stays in range."""
    limit = math.floor(2.0 ** (value_bits - 1) - 2.0 - reach)
    if limit < bound:
        raise ParameterError(
            f"value_bits = {value_bits} is too small: one record moves the sum by up to {bound:.6g} lattice steps, and "
            f"its noise needs {reach:.6g} steps beside it; plan more bits."
        )
    return float(limit)


def _encode(share: NDArray[np.int64], value_bits: int) -> NDArray[np.uint64]:
    """A signed share to the protocol's unsigned range; clamping is for the 1e-346 tail."""
    half = 1 << (value_bits - 1)
    return secagg.offset_encode(np.clip(share, -half, half - 1), value_bits)


def _as_float64(array: Any) -> Vector:
    """The numbers of an array of any kind as float64; integers beyond 2**53 saturate."""
    return to_float64(read("updates", array)[0])


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply to every array of an array or a dict of arrays."""
    return {name: function(leaf) for name, leaf in tree.items()} if isinstance(tree, Mapping) else function(tree)
