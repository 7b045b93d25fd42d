"""What every mechanism does: ask for a bound, compute the event, record it, and only then let the noisy value out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from accountants.events import Event
from dpkit._checks import check_positive
from dpkit.bounded import Bounded, opened
from dpkit.entropy import Source, is_secure, resolve
from dpkit.errors import BoundError, ParameterError, StateError, UnboundedError

__all__ = [
    "Recorder",
    "Release",
    "Sampling",
    "check_multiplier",
    "check_query",
    "check_recording",
    "product_up",
    "publish",
    "query_vector",
    "recorded",
    "require_draw",
    "spend_draw",
]


class Recorder(Protocol):
    """Anything that a release can be recorded in: a Ledger or a Budget of accountants."""

    def record(self, what: Any, /) -> Any:
        """Record a release, or raise and record nothing."""


class Sampling(Protocol):
    """How the records of a query were sampled; :mod:`dpkit.batches` has plans that know.

    A plan that also has ``open`` and ``spend()`` gives each draw to one release; without them the caller must.
    """

    @property
    def secure(self) -> bool:
        """Whether the batches came from cryptographic randomness."""

    def sampled(self, event: Event, /) -> Event:
        """The event of a mechanism on a sampled batch."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Release:
    """A noisy value, the event that it cost, and whether its randomness was secure.

    Attributes:
        value: array or dict of arrays in the structure of the query, and of its kinds: numpy, torch, JAX. Floats of 32
            bits are kept (casting what was released is post-processing), narrower ones become float32, integers
            float64. None in what a ledger is shown.
        event: the event, computed from the numbers that drew the noise.
        secure: False when noise or batches followed from a seed.

    Example:
        >>> from accountants.events import Gaussian
        >>> Release(np.zeros(2), Gaussian(1.0), True).secure
        True
    """

    value: Any
    event: Event
    secure: bool


def publish(
    query: Bounded,
    event: Event,
    draw: Callable[[NDArray[np.float64], Source], NDArray[np.float64]],
    *,
    sampling: Sampling | None,
    ledger: Recorder | None,
    entropy: Source | None,
) -> Release:
    """Record a release and then make it: everything that can be refused is refused before the record.

    The ledger is shown the event and whether the randomness is secure, never the value. A source of randomness that
    fails after the record leaves the entry standing, which is the safe side.

    Args:
        query: what is released; its bound was checked by :func:`check_query`.
        event: the mechanism's event without sampling.
        draw: the noisy vector of an exact vector, both float64 of shape (d,).
        sampling: how the records were sampled, or None.
        ledger: where to record, or None.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Returns:
        The release.

    Raises:
        ParameterError: the query is not finite, or the sampling or the ledger is none.
        StateError: the sampling has no open draw; nothing is recorded.

    Example:
        >>> from accountants.events import Gaussian
        >>> query = Bounded(np.zeros(2), 1.0)
        >>> publish(query, Gaussian(1.0), lambda x, _: x, sampling=None, ledger=None, entropy=None).event
        Gaussian(noise_multiplier=1.0)
    """
    vector, back = opened(query.value)
    _check_vector(vector)
    source = resolve(entropy)
    shown = recorded(event, secure=is_secure(source), sampling=sampling, ledger=ledger)
    with np.errstate(all="ignore"):  # whatever the caller traps: what is recorded is released, whatever the numbers
        value = back(draw(vector, source))
    return Release(value, shown.event, shown.secure)


def recorded(event: Event, *, secure: bool, sampling: Sampling | None, ledger: Recorder | None) -> Release:
    """Record a release that is about to be made, and spend the draw that it is made from.

    Args:
        event: the mechanism's event without sampling.
        secure: whether the noise comes from cryptographic randomness.
        sampling: how the records were sampled, or None.
        ledger: where to record, or None.

    Returns:
        What the ledger was shown: a release without a value.

    Raises:
        ParameterError: the sampling or the ledger is none.
        StateError: the sampling has no open draw; nothing is recorded.

    Example:
        >>> from accountants.events import Gaussian
        >>> recorded(Gaussian(1.0), secure=True, sampling=None, ledger=None).event
        Gaussian(noise_multiplier=1.0)
    """
    check_recording(sampling, ledger)
    require_draw(sampling)
    shown = Release(None, event, secure)
    if sampling is not None:
        shown = Release(None, sampling.sampled(event), secure and is_secure(sampling))
    if ledger is not None:
        ledger.record(shown)
    spend_draw(sampling)
    return shown


def check_recording(sampling: Any, ledger: Any) -> None:
    """Refuse what is no sampling plan or no ledger; call it before anything is recorded.

    Args:
        sampling: how the records were sampled, or None.
        ledger: where to record, or None.

    Raises:
        ParameterError: `sampling` has no method ``sampled``, or `ledger` no method ``record``.

    Example:
        >>> check_recording(None, None)
    """
    if sampling is not None and not callable(getattr(sampling, "sampled", None)):
        raise ParameterError(
            f"sampling must have a method sampled(event), got {type(sampling).__name__}; use PoissonBatches(...)."
        )
    if ledger is not None and not callable(getattr(ledger, "record", None)):
        raise ParameterError(f"ledger must have a method record(release), got {type(ledger).__name__}; use a Ledger.")


def require_draw(sampling: Sampling | None) -> None:
    """Refuse a sampling plan that counts its draws and has none open; call it before the record.

    Args:
        sampling: how the records were sampled, or None.

    Raises:
        StateError: the plan has a method ``spend`` and no open draw.

    Example:
        >>> require_draw(None)
    """
    if hasattr(sampling, "spend") and getattr(sampling, "open", False) is not True:
        raise StateError(
            "sampling must have an open draw, got none: the sampled event holds for one release of each draw; "
            "call draw() and release that batch, or release without sampling=."
        )


def spend_draw(sampling: Sampling | None) -> None:
    """Close the open draw of a sampling plan that counts its draws; call it after the record, before the value.

    Args:
        sampling: how the records were sampled, or None.

    Raises:
        StateError: no draw is open.

    Example:
        >>> spend_draw(None)
    """
    spend = getattr(sampling, "spend", None)
    if spend is not None:
        spend()


def query_vector(query: Bounded) -> NDArray[np.float64]:
    """Return the query's numbers as one vector, or refuse what no noise can hide.

    Args:
        query: a bounded value.

    Returns:
        float64, shape (d,).

    Raises:
        ParameterError: a number is not finite. Clips turn such records into zero, so it never comes from clipped data.

    Example:
        >>> query_vector(Bounded(np.ones((2, 2)), 1.0)).shape
        (4,)
    """
    vector = opened(query.value)[0]
    _check_vector(vector)
    return vector


def check_query(query: Any, norms: tuple[str, ...]) -> Bounded:
    """Return the query if it is bounded in a norm that the mechanism can use.

    Args:
        query: what was given to a mechanism.
        norms: the norms that the mechanism accepts.

    Returns:
        The query itself.

    Raises:
        UnboundedError: it is not a Bounded.
        BoundError: its norm does not fit, or its bound is 0.

    Example:
        >>> check_query(Bounded(np.zeros(2), 1.0), ("l2",)).bound
        1.0
    """
    if not isinstance(query, Bounded):
        raise UnboundedError(
            f"query must be Bounded, got {type(query).__name__}; clip the records: FlatClip(bound).sum(records), "
            "or state the bound: Bounded(value, bound)."
        )
    if query.norm not in norms:
        raise BoundError(f"norm must be {' or '.join(norms)} for this mechanism, got {query.norm}; clip in that norm.")
    if query.bound == 0:
        raise BoundError("bound must be > 0, got 0.0; a value that no record can change needs no mechanism.")
    return query


def check_multiplier(noise_multiplier: Any) -> float:
    """Return a noise multiplier as a float.

    Args:
        noise_multiplier: noise relative to the bound.

    Returns:
        A finite float > 0.

    Raises:
        ParameterError: it is not such a number.

    Example:
        >>> check_multiplier(1)
        1.0
    """
    return check_positive("noise_multiplier", noise_multiplier, "record NonPrivate() for an unprotected release.")


def product_up(*factors: float | Fraction) -> float:
    """The product of positive numbers as a float, rounded up, or an error if it is out of range."""
    exact = math.prod((Fraction(factor) for factor in factors), start=Fraction(1))
    try:
        rounded = float(exact)
    except OverflowError:
        rounded = math.inf
    if math.isinf(rounded):
        raise ParameterError("noise_multiplier * bound must be a finite float64; change the unit of the value.")
    return rounded if Fraction(rounded) >= exact else math.nextafter(rounded, math.inf)


def _check_vector(vector: NDArray[np.float64]) -> None:
    """Refuse NaN and infinities, which no noise can hide."""
    if not np.isfinite(vector).all():
        raise ParameterError(
            "query must be finite, got NaN or an infinity; sum clipped records: FlatClip(...).sum(...)."
        )
