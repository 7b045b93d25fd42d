"""Flower: an accountant of the form that its strategies ask for (``PrivacyAccountant``). Flower is not imported.

Its configuration and events are taken as they are, by their attributes. One record is a client. The noise multiplier is
the noise over the clip of ONE client's update, as Flower's strategies draw it; under replace-one two sums differ by
twice that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, final

from accountants._checks import check_count, check_delta, check_finite
from accountants._numerics import round_up
from accountants.errors import EventError, LedgerError
from accountants.events import Event, FixedSizeSampled, Gaussian, PoissonSampled
from accountants.ledger import Ledger
from accountants.relation import Relation
from accountants.statement import Statement

__all__ = ["FlowerAccountant", "FlowerSpent"]

_RELATIONS: Final = {"add-or-remove-one": Relation.add_remove, "replace-one": Relation.replace_one}
_SAMPLERS: Final = ("poisson", "without-replacement", "no-amplification")


class FlowerConfig(Protocol):
    """What is read of Flower's ``PrivacyConfig``."""

    @property
    def target_delta(self) -> float:
        """The delta that epsilon is reported at."""

    @property
    def population_size(self) -> int:
        """The number of clients that are sampled from."""

    @property
    def neighboring_relation(self) -> str:
        """add-or-remove-one, or replace-one."""

    @property
    def sampling_method(self) -> str:
        """poisson, without-replacement, or no-amplification."""

    @property
    def max_epsilon(self) -> float | None:
        """The budget, if there is one."""


class FlowerEvent(Protocol):
    """What is read of Flower's ``GaussianPrivacyEvent``."""

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise on the sum, over the clip."""

    @property
    def sample_size(self) -> int:
        """Clients in the round; with Poisson sampling, expected."""

    @property
    def population_size(self) -> int:
        """Clients in all."""


@final
@dataclass(frozen=True, slots=True)
class FlowerSpent:
    """What was spent, with the fields of Flower's ``PrivacySpent``.

    Args:
        epsilon: an upper bound at delta.
        delta: the delta it is at.
        num_releases: how many releases were composed.
        accounting_method: the accountant.
        optimal_order: of a Rényi accountant; None here.
    """

    epsilon: float
    delta: float
    num_releases: int
    accounting_method: str
    optimal_order: float | None = None


@final
class FlowerAccountant:
    """An accountant that Flower's strategies accept, with the best certified bound, and every sampler.

    Guarantee:
        ``would_exceed`` changes nothing, and once it has said no, composing the event keeps epsilon at the target delta
        within the limit (``test_the_budget_is_looked_at_before_it_is_spent``).

    Args:
        config: Flower's ``PrivacyConfig``, or anything with its fields.

    Raises:
        EventError: a field is out of its domain.

    Example:
        >>> from types import SimpleNamespace
        >>> config = SimpleNamespace(target_delta=1e-5, population_size=1000, neighboring_relation="add-or-remove-one",
        ...                          sampling_method="poisson", max_epsilon=2.0)
        >>> accountant = FlowerAccountant(config)
        >>> accountant.compose(SimpleNamespace(noise_multiplier=1.0, sample_size=10, population_size=1000), count=500)
        >>> round(accountant.get_privacy_spent().epsilon, 3)
        1.326
    """

    __slots__ = ("_config", "_fields", "_ledger")

    def __init__(self, config: FlowerConfig) -> None:
        check_delta(config.target_delta)
        check_count("population_size", config.population_size, 1, "count the clients that are sampled from.")
        if config.max_epsilon is not None:
            check_finite("max_epsilon", config.max_epsilon, "leave it None for no limit.")
        _one_of("sampling_method", config.sampling_method, _SAMPLERS)
        relation = _RELATIONS[_one_of("neighboring_relation", config.neighboring_relation, tuple(_RELATIONS))]
        self._config = config
        self._fields = _fields(config)  # as they are now, should the configuration not be frozen
        self._ledger = Ledger(relation=relation, unit="client")

    @property
    def config(self) -> FlowerConfig:
        """The configuration that was given."""
        return self._config

    @property
    def num_releases(self) -> int:
        """How many releases were composed."""
        return len(self._ledger)

    def compose(self, event: FlowerEvent, count: int = 1) -> None:
        """Record one or more equal releases.

        Args:
            event: Flower's ``GaussianPrivacyEvent``, or anything with its fields.
            count: how many.

        Raises:
            EventError: a field is out of its domain, or the population is not that of the configuration.
        """
        self._ledger.record(self._event(event), times=count)

    def get_epsilon(self, delta: float) -> float:
        """An upper bound of epsilon at ``delta``.

        Args:
            delta: in (0, 1).
        """
        return self._ledger.epsilon(delta=delta)

    def get_delta(self, epsilon: float) -> float:
        """An upper bound of delta at ``epsilon``.

        Args:
            epsilon: finite, >= 0.
        """
        return self._ledger.delta(epsilon=epsilon)

    def get_privacy_spent(self, delta: float | None = None) -> FlowerSpent:
        """What was spent so far.

        Args:
            delta: None takes the configuration's.
        """
        statement = self.statement(delta)
        return FlowerSpent(statement.epsilon, statement.delta, len(self._ledger), statement.accountant)

    def statement(self, delta: float | None = None) -> Statement:
        """The same as a statement that can be printed.

        Args:
            delta: None takes the configuration's.
        """
        return self._ledger.statement(delta=self._fields["target_delta"] if delta is None else delta)

    def would_exceed(self, event: FlowerEvent, max_epsilon: float | None = None, count: int = 1) -> bool:
        """Whether a release would carry epsilon, at the configuration's delta, over a limit. Nothing is recorded.

        The noise of later rounds must be fixed in advance; stopping may depend on anything.

        Args:
            event: as in :meth:`compose`.
            max_epsilon: None takes the configuration's.
            count: how many releases.

        Raises:
            EventError: there is no limit, or a field is out of its domain.
        """
        limit = self._fields["max_epsilon"] if max_epsilon is None else max_epsilon
        if limit is None:
            raise EventError("max_epsilon must be given, here or in the configuration, got None; name the limit.")
        ahead = Ledger.from_json(self._ledger.to_json())
        ahead.record(self._event(event), times=count)
        return ahead.epsilon(delta=self._fields["target_delta"]) > check_finite("max_epsilon", limit, "name the limit.")

    def state_dict(self) -> dict[str, object]:
        """The state as JSON values: the configuration, and the ledger as its JSON text."""
        return {"config": dict(self._fields), "ledger": self._ledger.to_json()}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Take up a saved state of the same configuration; otherwise nothing changes.

        Args:
            state: what :meth:`state_dict` gave.

        Raises:
            LedgerError: it is no such state, or one of another configuration.
        """
        text = state.get("ledger")
        if state.get("config") != self._fields or not isinstance(text, str):
            raise LedgerError("state must be that of an accountant with the same configuration; it does not match.")
        ledger = Ledger.from_json(text)
        if (ledger.relation, ledger.unit) != (self._ledger.relation, self._ledger.unit):
            raise LedgerError(f"ledger must be about {self._ledger.relation.value}; the state does not match.")
        self._ledger = ledger

    def _event(self, event: FlowerEvent) -> Event:
        population = self._fields["population_size"]
        if event.population_size != population:
            raise EventError(
                f"population_size must be the configuration's, {population}, got {event.population_size!r}; one "
                "accountant is about one population."
            )
        size = check_count("sample_size", event.sample_size, 1, "count the clients of a round.")
        noise = Gaussian(event.noise_multiplier)
        batch = FixedSizeSampled(noise, population, size)  # which refuses a sample larger than the population
        method = self._fields["sampling_method"]
        if method == "no-amplification":
            return noise
        if method == "without-replacement":
            return batch
        return PoissonSampled(noise, min(1.0, round_up(size / population, 1)))


def _fields(config: FlowerConfig) -> dict[str, Any]:
    """The configuration as JSON values."""
    return {
        "target_delta": config.target_delta,
        "population_size": config.population_size,
        "neighboring_relation": _text(config.neighboring_relation),
        "sampling_method": _text(config.sampling_method),
        "max_epsilon": config.max_epsilon,
    }


def _text(value: object) -> str:
    """The value of one of Flower's string enumerations, or the string itself."""
    return str(getattr(value, "value", value))


def _one_of(name: str, value: object, known: tuple[str, ...]) -> str:
    text = _text(value)
    if text not in known:
        raise EventError(f"{name} must be one of {', '.join(known)}, got {text!r}; it is Flower's own enumeration.")
    return text
