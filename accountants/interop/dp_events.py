r"""dp_accounting's DpEvents, both ways: what both sides know, and mean alike.

*The noise under* ``replace_one``. A noise multiplier is here the noise over the bound of ONE record's contribution, as
dp_accounting documents its own. Under REPLACE_ONE two neighbours' sums differ by twice the bound; of its accountants
PLDAccountant reckons with that, and RdpAccountant does not: it reads the multiplier of a Gaussian or Laplace event, and
of one in a batch without replacement, as the noise over the sensitivity. The same event therefore has two costs there.
Here the caller says which is meant, ``noise_over="bound"`` or ``noise_over="sensitivity"``; the latter halves our
number on the way out and doubles theirs on the way in. Poisson-sampled events are held under REPLACE_ONE by
PLDAccountant alone, so that they need no saying; on the way out, what only RdpAccountant would read is refused with
"bound".

*Numbers* that must change on the way (the parameters of randomized response and of discrete Laplace noise) are rounded
to the side that costs more.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import singledispatch
from importlib import import_module
from typing import Any, Final, Literal, final

from accountants._checks import check_positive, check_prob
from accountants._numerics import round_down, round_up
from accountants.accountant import Account, folded
from accountants.errors import EventError, UnsupportedEventError
from accountants.events import (
    ZCDP,
    Composed,
    DiscreteLaplace,
    Event,
    FixedSizeSampled,
    Gaussian,
    Laplace,
    NonPrivate,
    PoissonSampled,
    PrivateSelection,
    RandomizedResponse,
    Repeated,
    TruncatedPoissonSampled,
)
from accountants.relation import Relation, as_relation

__all__ = ["NoiseOver", "from_dp_event", "to_dp_event"]

NoiseOver = Literal["bound", "sensitivity"]

_READINGS: Final = ("bound", "sensitivity", None)


@final
@dataclass(frozen=True, slots=True)
class _Context:
    """What an event is translated under: relation, reading of the noise, and what draws next around it."""

    relation: Relation
    noise_over: str | None
    sampler: type[Event] | None = None


def to_dp_event(
    what: Account | Event, relation: Relation | str | None = None, *, noise_over: NoiseOver | None = None
) -> Any:
    """The DpEvent that says what a ledger or an event says.

    Guarantee:
        dp_accounting's accountants, where they err in no other way, report no less than the event costs
        (``test_no_translation_lowers_the_cost``).

    Args:
        what: a ledger, or an event.
        relation: required with an event; with a ledger, its own or None. Give dp_accounting's accountant the same:
            ``zero_out`` is its REPLACE_SPECIAL.
        noise_over: what the noise multiplier is to be read as a multiple of, under ``replace_one``: see the module.

    Returns:
        An instance of a class of ``dp_accounting.dp_event``.

    Raises:
        UnsupportedEventError: dp_accounting has no event that means the same, or its meaning there is ambiguous.
        EventError: ``what`` is neither, or ``noise_over`` is unknown.
        RelationError: an event without a relation, or a relation that is not the ledger's.
        ImportError: dp_accounting is not installed.

    Example:
        >>> from accountants import Gaussian, PoissonSampled
        >>> to_dp_event(PoissonSampled(Gaussian(1.1), 0.01), "add_remove")
        PoissonSampledDpEvent(sampling_probability=0.01, event=GaussianDpEvent(noise_multiplier=1.1))
    """
    _check_reading(noise_over)
    _, held = folded(what, relation)  # which refuses what cannot be held at all
    context = _Context(held, noise_over)
    if isinstance(what, Event):
        return _translate(what, context)
    return _translate(Composed(tuple(Repeated(event, times) for event, times, _ in what.entries)), context)


@singledispatch
def _translate(event: Event, context: _Context) -> Any:
    raise UnsupportedEventError(
        f"event must have a counterpart in dp_accounting, got {type(event).__name__}; account for it here.", event=event
    )


@_translate.register
def _(event: Gaussian, context: _Context) -> Any:
    return _theirs("GaussianDpEvent", event.noise_multiplier * _their_share(event, context))


@_translate.register
def _(event: Laplace, context: _Context) -> Any:
    return _theirs("LaplaceDpEvent", event.noise_multiplier * _their_share(event, context))


@_translate.register
def _(event: DiscreteLaplace, context: _Context) -> Any:
    # an integer vector moves by an integer
    sensitivity = math.floor(event.l1_bound)
    if sensitivity == 0:
        return _theirs("NoOpDpEvent")
    return _theirs("DiscreteLaplaceDpEvent", _reciprocal(event.scale, up=True), sensitivity)


@_translate.register
def _(event: RandomizedResponse, context: _Context) -> Any:
    _require_replacement(event, "RandomizedResponse", context)
    if event.epsilon == 0.0:  # a uniform answer, which PLDAccountant refuses
        return _theirs("NoOpDpEvent")
    other = math.exp(-event.epsilon)
    noise = event.categories * other / (1.0 + (event.categories - 1) * other)
    return _theirs("RandomizedResponseDpEvent", round_down(noise, 8), event.categories)


@_translate.register
def _(event: ZCDP, context: _Context) -> Any:
    if event.relation is not context.relation:
        raise UnsupportedEventError(
            f"relation must be that of the guarantee, {event.relation.value}, got {context.relation.value}; a ZCDP "
            "says nothing about another.",
            event=event,
        )
    return _theirs("ZCDpEvent", event.rho)


@_translate.register
def _(event: NonPrivate, context: _Context) -> Any:
    return _theirs("NonPrivateDpEvent")


@_translate.register
def _(event: Repeated, context: _Context) -> Any:
    if event.times == 0:  # which their accountants refuse to count
        return _theirs("NoOpDpEvent")
    return _theirs("SelfComposedDpEvent", _translate(event.event, context), event.times)


@_translate.register
def _(event: Composed, context: _Context) -> Any:
    parts = [_translate(part, context) for part in event.events]
    return _theirs("ComposedDpEvent", parts) if parts else _theirs("NoOpDpEvent")


@_translate.register
def _(event: PoissonSampled, context: _Context) -> Any:
    inner = _translate(event.event, replace(context, sampler=PoissonSampled))
    return _theirs("PoissonSampledDpEvent", event.sampling_prob, inner)


@_translate.register
def _(event: FixedSizeSampled, context: _Context) -> Any:
    _require_replacement(event, "FixedSizeSampled", context)
    inner = _translate(event.event, replace(context, sampler=FixedSizeSampled))
    return _theirs("SampledWithoutReplacementDpEvent", event.population, event.batch, inner)


@_translate.register
def _(event: PrivateSelection, context: _Context) -> Any:
    if event.shape < 0.0 or event.mean < 1.0:
        raise UnsupportedEventError(
            f"shape must be >= 0 and mean >= 1 for dp_accounting, got {event.shape!r} and {event.mean!r}; account for "
            "it here.",
            event=event,
        )
    inner = _translate(event.event, replace(context, sampler=PrivateSelection))
    return _theirs("RepeatAndSelectDpEvent", inner, event.mean, event.shape)


def _their_share(event: Event, context: _Context) -> float:
    """Their noise multiplier over ours; what only RdpAccountant would hold must be told in its own reading."""
    share = _share(type(event).__name__, event, context)
    only_renyi = isinstance(event, Laplace) or context.sampler in (FixedSizeSampled, PrivateSelection)
    replaced = context.relation is Relation.replace_one and context.sampler is not PoissonSampled
    if replaced and only_renyi and share == 1.0:
        raise UnsupportedEventError(
            f'noise_over must be "sensitivity" for {type(event).__name__} here, got "bound"; of dp_accounting\'s '
            "accountants only RdpAccountant holds it under REPLACE_ONE, and would take the noise for twice what it is.",
            event=event,
        )
    return share


def _share(name: str, event: object, context: _Context) -> float:
    """Noise over what they mean, as a share of the noise over the bound."""
    if context.relation is not Relation.replace_one:
        return 1.0
    if context.sampler is PoissonSampled:
        if context.noise_over == "sensitivity":
            raise UnsupportedEventError(
                f'noise_over must be "bound" for {name} in a Poisson batch, got "sensitivity"; PLDAccountant, the only '
                "one that holds it under REPLACE_ONE, reads it so.",
                event=event,
            )
        return 1.0
    if context.noise_over is None:
        raise UnsupportedEventError(
            f'noise_over must be "bound" or "sensitivity" for {name} under replace_one, got None; dp_accounting\'s '
            "PLDAccountant reads the noise multiplier as the one, its RdpAccountant as the other.",
            event=event,
        )
    return 1.0 if context.noise_over == "bound" else 0.5


def from_dp_event(dp_event: object, relation: Relation | str, *, noise_over: NoiseOver | None = None) -> Event:
    """The event that says what a DpEvent of dp_accounting says; dp_accounting is not imported for it.

    Guarantee:
        The event costs no less than what the DpEvent describes (``test_no_translation_lowers_the_cost``).

    Args:
        dp_event: an instance of a class of ``dp_accounting.dp_event``; a ledger's ``.ledger`` is one.
        relation: which data sets are neighbours: ``zero_out`` for its REPLACE_SPECIAL.
        noise_over: what the noise multiplier is a multiple of, under ``replace_one``: see the module.

    Returns:
        An event; truncated Poisson batches become one that holds whichever records are kept, for one record more.

    Raises:
        UnsupportedEventError: no event here means the same, or what it means is ambiguous.
        EventError: it is no DpEvent, a parameter of it is out of its domain, or ``noise_over`` is unknown.
        RelationError: the relation is not one of the three.

    Example:
        >>> from accountants import Gaussian
        >>> from_dp_event(to_dp_event(Gaussian(2.0) * 3, "add_remove"), "add_remove")
        Repeated(event=Gaussian(noise_multiplier=2.0), times=3)
    """
    _check_reading(noise_over)
    context = _Context(as_relation(relation), noise_over)
    try:
        return _read(dp_event, context)
    except RecursionError as fault:
        raise EventError("dp_event must be nested less deeply; write sums and repetitions flat.") from fault


def _read(dp_event: Any, context: _Context) -> Event:
    name = type(dp_event).__name__
    if type(dp_event).__module__.partition(".")[0] != "dp_accounting":
        raise EventError(f"dp_event must be a DpEvent of dp_accounting, got {name}; see dp_accounting.dp_event.")
    reader = _READERS.get(name)
    if reader is None:
        raise UnsupportedEventError(
            f"dp_event must have a counterpart here, got {name}; record what is known of it, for instance as a PureDP, "
            "ApproxDP or RDPCurve.",
            event=dp_event,
        )
    return reader(dp_event, context)


def _additive(kind: type[Gaussian] | type[Laplace]) -> Callable[[Any, _Context], Event]:
    def read(theirs: Any, context: _Context) -> Event:
        if theirs.noise_multiplier == 0:
            return NonPrivate()
        return kind(theirs.noise_multiplier / _share(type(theirs).__name__, theirs, context))

    return read


def _discrete_laplace(theirs: Any, context: _Context) -> Event:
    if theirs.sensitivity == 0:
        return Composed(())
    if theirs.noise_parameter == 0:  # what their accountant takes for no noise
        return NonPrivate()
    noise = check_positive("noise_parameter", theirs.noise_parameter, "it is 1 / scale.")
    return DiscreteLaplace(_reciprocal(noise, up=False), theirs.sensitivity)


def _randomized_response(theirs: Any, context: _Context) -> Event:
    _require_replacement(theirs, type(theirs).__name__, context)
    noise = check_prob("noise_parameter", theirs.noise_parameter, "it is the probability of a uniform answer.")
    if theirs.num_buckets == 1:
        return Composed(())
    odds = theirs.num_buckets * (1.0 - noise) / noise if noise else math.inf
    if odds == math.inf:
        return NonPrivate()
    return RandomizedResponse(round_up(math.log1p(odds), 16) if odds else 0.0, theirs.num_buckets)


def _zcdp(theirs: Any, context: _Context) -> Event:
    if theirs.xi != 0:
        raise UnsupportedEventError(
            f"xi must be 0 for a ZCDpEvent, got {theirs.xi!r}; ZCDP(rho + xi, relation) is an upper bound.",
            event=theirs,
        )
    return ZCDP(theirs.rho, context.relation)


def _poisson(theirs: Any, context: _Context) -> Event:
    inner = _read(theirs.event, replace(context, sampler=PoissonSampled))
    return PoissonSampled(inner, theirs.sampling_probability)


def _without_replacement(theirs: Any, context: _Context) -> Event:
    _require_replacement(theirs, type(theirs).__name__, context)
    inner = _read(theirs.event, replace(context, sampler=FixedSizeSampled))
    return FixedSizeSampled(inner, theirs.source_dataset_size, theirs.sample_size)


def _selection(theirs: Any, context: _Context) -> Event:
    inner = _read(theirs.event, replace(context, sampler=PrivateSelection))
    return PrivateSelection(inner, theirs.mean, theirs.shape)


def _truncated(theirs: Any, context: _Context) -> Event:
    if theirs.noise_multiplier == 0:
        return NonPrivate()
    inner = Gaussian(
        theirs.noise_multiplier / _share(type(theirs).__name__, theirs, replace(context, sampler=PoissonSampled))
    )
    # the size may be that of the smaller neighbour
    return TruncatedPoissonSampled(
        inner, theirs.sampling_probability, theirs.dataset_size + 1, theirs.truncated_batch_size
    )


_READERS: Final[dict[str, Callable[[Any, _Context], Event]]] = {
    "NoOpDpEvent": lambda theirs, context: Composed(()),
    "NonPrivateDpEvent": lambda theirs, context: NonPrivate(),
    "GaussianDpEvent": _additive(Gaussian),
    "LaplaceDpEvent": _additive(Laplace),
    "DiscreteLaplaceDpEvent": _discrete_laplace,
    "RandomizedResponseDpEvent": _randomized_response,
    "ZCDpEvent": _zcdp,
    "SelfComposedDpEvent": lambda theirs, context: Repeated(_read(theirs.event, context), theirs.count),
    "ComposedDpEvent": lambda theirs, context: Composed(tuple(_read(event, context) for event in theirs.events)),
    "PoissonSampledDpEvent": _poisson,
    "SampledWithoutReplacementDpEvent": _without_replacement,
    "RepeatAndSelectDpEvent": _selection,
    "TruncatedSubsampledGaussianDpEvent": _truncated,
}


def _require_replacement(event: object, name: str, context: _Context) -> None:
    """Refuse what both sides hold, and mean alike, under ``replace_one`` alone."""
    if context.relation is not Relation.replace_one:
        raise UnsupportedEventError(
            f"relation must be replace_one for {name}, got {context.relation.value}; under another one the two "
            "libraries do not mean the same.",
            event=event,
        )


def _check_reading(noise_over: object) -> None:
    if noise_over not in _READINGS:
        raise EventError(
            f'noise_over must be "bound", "sensitivity" or None, got {noise_over!r}; it says what the noise multiplier '
            "is a multiple of."
        )


def _reciprocal(value: float, *, up: bool) -> float:
    """1 / value, rounded up or down; at most the largest float."""
    found = min(1.0 / value, sys.float_info.max)
    excess = Fraction(found) * Fraction(value) - 1
    if excess == 0 or (excess > 0) is up:
        return found
    return math.nextafter(found, math.inf if up else 0.0)


def _theirs(name: str, *values: object) -> Any:
    """An event of dp_accounting, which is imported here and nowhere else."""
    try:
        module = import_module("dp_accounting.dp_event")
    except ImportError as fault:
        raise ImportError("dp_accounting must be installed to build its events: pip install dp-accounting") from fault
    return getattr(module, name)(*values)
