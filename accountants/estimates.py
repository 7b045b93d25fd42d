r"""Estimates of epsilon that are not bounds, as a type that cannot be taken for one.

The central limit theorem says that many sampled Gaussian steps look like one Gaussian with

.. math:: \mu = \sqrt{\sum_i T_i\, q_i^2\,(e^{1/z_i^2} - 1)}

(Bu, Dong, Long & Su 2020, Theorem 5). It holds in a limit that no run reaches, and the truth may lie on either side:
1000 steps with z = 0.8, q = 0.005 cost epsilon 2.004 at delta 1e-6, and the estimate says 1.325
(``test_the_estimate_is_below_the_truth``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import NoReturn, final

from accountants._checks import check_delta
from accountants.accountant import Account, folded
from accountants.errors import UnsupportedEventError
from accountants.events import Event, Gaussian, PoissonSampled
from accountants.gdp import gaussian_scale
from accountants.profile import gaussian_epsilon_bounds
from accountants.relation import Relation

__all__ = ["Estimate", "clt_epsilon"]

_STEEPEST = 700.0  # e^x overflows a little beyond


@final
@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A number near epsilon, on either side of it: it is printed, and not compared, added or converted.

    Args:
        value: the estimate.
        method: how it was made.

    Example:
        >>> str(Estimate(1.3245, "central limit"))
        '~1.32 (central limit estimate, not a bound)'
    """

    value: float
    method: str

    def __str__(self) -> str:
        return f"~{self.value:.3g} ({self.method} estimate, not a bound)"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError(
            f"an Estimate must not be used as a bound, and {self} is none: it may lie below the truth; use "
            "PLDAccountant() or RDPAccountant(), or take its .value knowing that."
        )

    __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __eq__ = __ne__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __pow__ = __rpow__ = __neg__ = __pos__ = __abs__ = _refuse
    __float__ = __int__ = __bool__ = __round__ = __hash__ = _refuse


def clt_epsilon(what: Account | Event, *, delta: float, relation: Relation | str | None = None) -> Estimate:
    """The central limit estimate of the epsilon of sampled and unsampled Gaussians. NOT a bound.

    Args:
        what: a ledger, or an event.
        delta: in (0, 1).
        relation: required with an event; with a ledger, its own or None.

    Returns:
        An `Estimate`, which refuses to be used as a number.

    Raises:
        EventError: delta is out of range, or ``what`` is neither a ledger nor an event.
        RelationError: the relation is missing or is not the ledger's.
        UnsupportedEventError: an event is neither Gaussian nor Poisson-sampled Gaussian noise under add_remove or
            zero_out.

    Example:
        >>> step = PoissonSampled(Gaussian(0.8), 0.005)
        >>> print(clt_epsilon(step * 1000, delta=1e-6, relation="add_remove"))
        ~1.32 (central limit estimate, not a bound)

    References:
        Bu, Dong, Long & Su 2020 (arXiv 1911.11607), Theorem 5.
    """
    log_delta = math.log(check_delta(delta))
    content, held = folded(what, relation, smooth=True)
    squares = [times * _square(event, held) for event, times in content.parts]
    mu = math.sqrt(math.fsum(squares)) if all(math.isfinite(one) for one in squares) else math.inf
    value = content.slack.epsilon(lambda given: gaussian_epsilon_bounds(mu, given)[1] if mu else 0.0, log_delta)
    return Estimate(value, "central limit")


@singledispatch
def _square(event: Event, relation: Relation) -> float:
    """The μ² that one occurrence contributes."""
    raise _refused(event, relation)


def _refused(event: Event, relation: Relation) -> UnsupportedEventError:
    return UnsupportedEventError(
        f"event must be Gaussian noise, unsampled or Poisson-sampled under add_remove or zero_out, got "
        f"{type(event).__name__} under {relation}; use PLDAccountant() or RDPAccountant().",
        event=event,
    )


@_square.register
def _(event: Gaussian, relation: Relation) -> float:
    scale = gaussian_scale(event, relation)
    return 1.0 / scale / scale


@_square.register
def _(event: PoissonSampled, relation: Relation) -> float:
    inner = event.event
    if relation is Relation.replace_one or not isinstance(inner, Gaussian):
        raise _refused(event, relation)
    exponent = _square(inner, relation)
    return event.sampling_prob**2 * math.expm1(exponent) if exponent < _STEEPEST else math.inf
