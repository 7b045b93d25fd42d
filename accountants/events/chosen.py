"""Events where chance decides how often, or when: the best of a random number of runs, one step of many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import final

from accountants._checks import check_count, check_positive
from accountants.errors import EventError
from accountants.events.base import Event, check_event, store

__all__ = ["PrivateSelection", "RandomAllocation"]

_MEAN = "give the expected number of runs."
_SHAPES = "1 is geometric, 0 logarithmic, math.inf Poisson."


@final
@dataclass(frozen=True, slots=True)
class PrivateSelection(Event):
    r"""The best of a random number K of runs of ``event``, as hyper-parameters are tuned; nothing else of them is seen.

    Each run chooses its setting afresh, by a law that does not depend on the data, and ``event`` is what one whole run
    releases, its score included: of all outputs the best is released, by an order that was fixed beforehand. K is drawn
    beforehand and kept secret. Its law is the truncated negative binomial of the shape, on 1, 2, ...,

    .. math:: P[K=k] \propto (1-\gamma)^k \prod_{0<i<k} \frac{i+\eta}{i+1},

    with :math:`\gamma` such that the mean is ``mean`` (shape 1: geometric, shape 0: logarithmic), or Poisson where the
    shape is ``math.inf``; a Poisson K may be 0, and then nothing is released.

    Args:
        event: what ONE run releases, training and score.
        mean: expected number of runs: >= 1, for Poisson > 0.
        shape: :math:`\eta` > -1; ``math.inf`` for Poisson.

    Raises:
        EventError: a parameter is out of its domain, or ``event`` is not an event.

    Example:
        >>> from accountants.events import Gaussian, PoissonSampled
        >>> training = PoissonSampled(Gaussian(1.1), 0.01) * 1000 + Gaussian(20.0)
        >>> PrivateSelection(training, mean=16).shape
        1.0

    References:
        Papernot & Steinke 2022 (arXiv 2110.03620v2), Definition 1; Liu & Talwar 2019 (arXiv 1811.07971).
    """

    event: Event
    mean: float
    shape: float = 1.0

    def __post_init__(self) -> None:
        check_event("event", self.event)
        shape, mean = _check_shape(self.shape), check_positive("mean", self.mean, _MEAN)
        if mean < 1.0 and shape != math.inf:
            raise EventError(
                f"mean must be >= 1 for a number of runs that is never 0, got {mean!r}; only Poisson's may be below "
                "(shape=math.inf)."
            )
        store(self, mean=mean, shape=shape)


def _check_shape(value: object) -> float:
    """A number > -1, infinity among them."""
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, Real):
        try:
            number = float(value)
        except OverflowError:  # an integer that is no float is not meant as Poisson
            number = math.nan
    if not number > -1.0:
        shown = repr(value) if isinstance(value, float) or number <= -1.0 else type(value).__name__
        raise EventError(f"shape must be a number > -1, got {shown}; {_SHAPES}")
    return number + 0.0


@final
@dataclass(frozen=True, slots=True)
class RandomAllocation(Event):
    """``steps`` releases of ``event``, one after the other; each record takes part in one, chosen uniformly.

    The choice is secret, and made for every record independently of the others: an epoch of balls in bins. Batches that
    are cut from one permutation of the records have sizes that tie them to each other, and are not this event.

    Args:
        event: what is released about the batch of one step: Gaussian noise.
        steps: number of steps, >= 1.

    Raises:
        EventError: the number is not an integer >= 1, or ``event`` is not an event.

    Example:
        >>> from accountants.events import Gaussian
        >>> RandomAllocation(Gaussian(1.0), steps=100) * 3
        Repeated(event=RandomAllocation(event=Gaussian(noise_multiplier=1.0), steps=100), times=3)

    References:
        Feldman & Shenfeld 2025 (arXiv 2502.08202); Chua et al. 2024 (arXiv 2412.16802), balls and bins.
    """

    event: Event
    steps: int

    def __post_init__(self) -> None:
        check_event("event", self.event)
        store(self, steps=check_count("steps", self.steps, 1, "count the steps of one epoch."))
