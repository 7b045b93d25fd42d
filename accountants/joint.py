r"""Joint calibration: several releases share one budget, each by its weight.

A release has the share w of a scale x if alone it costs what ``Gaussian(x / sqrt(w))`` costs. Gaussians of shares that
add up to 1 compose to ``Gaussian(x)``, so shares are parts of the budget, in the one currency in which costs add up:
:math:`\rho = 1/2z^2` of a Gaussian, of which w are w times as much. What else is released is measured by it, sampled or
not, repeated or not. Only the composition of everything decides about x.

A fixed *ratio of noises* needs no search of its own: ``calibrate(lambda x: Laplace(x) + Gaussian(2 * x), ...)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import final

from accountants._checks import check_positive
from accountants.accountant import Accountant
from accountants.best import epsilon as best_epsilon
from accountants.calibrate import calibrate
from accountants.errors import CalibrationError, EventError
from accountants.events import Composed, Event, Gaussian
from accountants.relation import Relation, as_relation

__all__ = ["calibrate_jointly"]

_WIDEST = 1e9  # of one weight over another
_FINER = 0.125  # the tolerance of a release alone, over that of the whole: its steps are not seen in the whole
_COMMON = 0.1  # of a Gaussian's total variation min(1, 0.38 / z) at least: below it, its epsilon is not 0


def calibrate_jointly(
    builds: Mapping[str, Callable[[float], Event]],
    *,
    weights: Mapping[str, float] | None = None,
    epsilon: float,
    delta: float,
    relation: Relation | str,
    accountant: Accountant | None = None,
    tolerance: float = 1e-4,
) -> dict[str, float]:
    """The parameters at which several releases together cost at most epsilon, each using its share of that.

    A release of twice the weight may alone cost what two Gaussians of the other's cost do, at this delta (at a smaller
    one, where they would cost nothing at this). For noise multipliers of plain Gaussians that is exactly
    ``noise ** -2`` in proportion to the weights. Shares are measured by the best bound, the whole by the accountant.

    Guarantee:
        ``epsilon`` of the composition at the values returned is at most the target, and was evaluated
        (``test_the_whole_is_on_the_safe_side_and_tight``); shares are those asked for, up to the tolerance
        (``test_each_release_alone_costs_its_share``).

    Args:
        builds: by name, from x > 0 to the event that is planned; its cost must fall as x grows.
        weights: by the same names, > 0; only their ratios matter. None: equal ones.
        epsilon: the target of the whole, > 0.
        delta: in (0, 1), of the whole.
        relation: which data sets are neighbours, for all of them.
        accountant: of the whole; None takes the best bound there is.
        tolerance: relative, in (0, 1): of the noise that all together are worth, as in ``calibrate``.

    Returns:
        The parameter of each release, by name.

    Raises:
        EventError: a parameter is out of its domain, names differ, or ``builds`` is empty.
        RelationError: the relation is not one of the three.
        CalibrationError: a release cannot have its share, whatever its parameter, or the target is out of reach.

    Example:
        >>> from accountants import Gaussian, PoissonSampled
        >>> plans = {
        ...     "histogram": Gaussian,
        ...     "means": lambda z: Gaussian(z) * 4,
        ...     "training": lambda z: PoissonSampled(Gaussian(z), 0.01) * 1000,
        ... }
        >>> shares = {"histogram": 1, "means": 1, "training": 8}
        >>> noise = calibrate_jointly(plans, weights=shares, epsilon=2.0, delta=1e-6, relation="add_remove")
        >>> {name: round(z, 2) for name, z in noise.items()}
        {'histogram': 6.98, 'means': 13.97, 'training': 1.09}
    """
    shares = _shares(builds, weights)
    relation = as_relation(relation)
    if check_positive("tolerance", tolerance, "1e-4 is a good choice.") >= 1.0:
        raise EventError(f"tolerance must be < 1, got {tolerance!r}; it is relative, 1e-4 is a good choice.")
    about = calibrate(Gaussian, epsilon=epsilon, delta=delta, relation=relation, tolerance=0.01)
    split = _Split(builds, shares, delta, relation, _FINER * tolerance)
    split.at(about)  # what is wrong with a build is said now, and not taken for an x that is too small

    def whole(scale: float) -> Event:
        found = split.at(about * scale)
        return Composed(tuple(builds[name](x) for name, x in found.items()))

    scale = calibrate(
        whole, epsilon=epsilon, delta=delta, relation=relation, accountant=accountant, tolerance=tolerance
    )
    return dict(split.at(about * scale))


@final
@dataclass(frozen=True, slots=True)
class _Split:
    """What each release's parameter is at a common scale; remembered, so that what is returned was evaluated."""

    builds: Mapping[str, Callable[[float], Event]]
    shares: Mapping[str, float]
    delta: float
    relation: Relation
    tolerance: float
    seen: dict[float, dict[str, float]] = field(default_factory=dict)

    def at(self, scale: float) -> dict[str, float]:
        """The parameter of each release where all together are about one Gaussian of this noise."""
        if scale not in self.seen:
            near = min(self.seen, key=lambda other: abs(math.log(other / scale)), default=None)
            before = {} if near is None else {name: x * (scale / near) for name, x in self.seen[near].items()}
            noises = {name: scale / math.sqrt(share) for name, share in self.shares.items()}
            self.seen[scale] = {
                name: self._alone(name, noise, before.get(name, noise)) for name, noise in noises.items()
            }
        return self.seen[scale]

    def _alone(self, name: str, noise: float, guess: float) -> float:
        """The least parameter at which a release costs at most what a Gaussian of this noise does."""
        delta = min(self.delta, _COMMON * min(1.0, 1.0 / noise))
        target = best_epsilon(Gaussian(noise), delta=delta, relation=self.relation)
        build = self.builds[name]
        try:
            return guess * calibrate(
                lambda factor: build(guess * factor),
                epsilon=target,
                delta=delta,
                relation=self.relation,
                tolerance=self.tolerance,
            )
        except CalibrationError as reason:
            why = f" (refused on the way: {str(reason.refusal).rstrip('.')})" if reason.refusal else ""
            found = (
                "which it stays below whatever its parameter is; lower its weight, or leave it out"
                if reason.all_meet
                else "which it exceeds whatever its parameter is; raise its weight, epsilon or delta, or release less"
            )
            raise CalibrationError(
                f"weights must give {name!r} a share that it can have, got epsilon {target:.4g} at delta {delta:.4g}, "
                f"{found}{why}.",
                all_meet=reason.all_meet,
                refusal=reason.refusal,
            ) from reason


def _shares(builds: Mapping[str, Callable[[float], Event]], weights: Mapping[str, float] | None) -> dict[str, float]:
    """The weights as parts of 1."""
    advice = 'give for instance {"mean": Gaussian, "training": plan}.'
    if not isinstance(builds, Mapping) or not builds:
        raise EventError(f"builds must be a non-empty mapping of names to functions; {advice}")
    for name, build in builds.items():
        if not callable(build):
            raise EventError(f"builds must be functions, got {type(build).__name__} for {name!r}; {advice}")
    given = dict.fromkeys(builds, 1.0) if weights is None else weights
    if not isinstance(given, Mapping) or set(given) != set(builds):
        raise EventError(
            f"weights must have the names of builds, {list(builds)}, got "
            f"{list(given) if isinstance(given, Mapping) else type(given).__name__}; give each release its weight."
        )
    checked = {
        name: check_positive("weights", given[name], f"give {name!r} a part of the budget, or leave it out.")
        for name in builds
    }
    largest = max(checked.values())
    if min(checked.values()) < largest / _WIDEST:
        raise EventError(
            f"weights must be within a factor of 1e9 of each other, got {min(checked.values())!r} and {largest!r}; "
            "leave out what gets nothing."
        )
    total = math.fsum(weight / largest for weight in checked.values())
    return {name: weight / largest / total for name, weight in checked.items()}
