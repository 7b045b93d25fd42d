"""Flower's accountant by its form alone: samplers, relations, the budget, and state that survives a process."""

import json
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction
from types import SimpleNamespace

import pytest

from accountants import (
    EventError,
    FixedSizeSampled,
    Gaussian,
    LedgerError,
    PLDAccountant,
    PoissonSampled,
    epsilon,
)
from accountants.interop import FlowerAccountant


class Neighbours(str, Enum):  # noqa: UP042 - as Flower declares its own
    ADD_OR_REMOVE_ONE = "add-or-remove-one"
    REPLACE_ONE = "replace-one"


class Sampling(str, Enum):  # noqa: UP042
    POISSON = "poisson"
    WITHOUT_REPLACEMENT = "without-replacement"
    NO_AMPLIFICATION = "no-amplification"


@dataclass(frozen=True)
class Config:
    target_delta: float = 1e-5
    population_size: int = 1000
    neighboring_relation: Neighbours = Neighbours.ADD_OR_REMOVE_ONE
    sampling_method: Sampling = Sampling.POISSON
    max_epsilon: float | None = None


@dataclass(frozen=True)
class Round:
    noise_multiplier: float = 1.0
    sample_size: int = 50
    population_size: int = 1000


MEMBERS = ["config", "num_releases", "compose", "get_epsilon", "get_delta", "get_privacy_spent", "would_exceed"]
MEMBERS += ["state_dict", "load_state_dict"]
ROUND = Round()
MODELS = [
    (Config(), PoissonSampled(Gaussian(1.0), 0.05), "add_remove"),
    (Config(sampling_method=Sampling.NO_AMPLIFICATION), Gaussian(1.0), "add_remove"),
    (
        Config(sampling_method=Sampling.WITHOUT_REPLACEMENT, neighboring_relation=Neighbours.REPLACE_ONE),
        FixedSizeSampled(Gaussian(1.0), 1000, 50),
        "replace_one",
    ),
]


@pytest.mark.parametrize(("config", "event", "relation"), MODELS)
def test_each_model_is_its_event(config, event, relation):
    accountant = FlowerAccountant(config)
    assert all(hasattr(accountant, name) for name in MEMBERS)
    assert accountant.config is config
    accountant.compose(ROUND, count=3)
    accountant.compose(ROUND)
    expected = epsilon(event * 4, delta=1e-5, relation=relation)
    # a probability is rounded up; both are upper bounds within 1e-4 of the value
    assert accountant.get_epsilon(1e-5) == pytest.approx(expected, rel=1e-4)
    spent = accountant.get_privacy_spent()
    assert (spent.epsilon, spent.delta, spent.num_releases) == (accountant.get_epsilon(1e-5), 1e-5, 4)
    assert accountant.get_privacy_spent(1e-3).epsilon < spent.epsilon
    assert accountant.get_delta(1.0) == pytest.approx(
        PLDAccountant().delta(event * 4, epsilon=1.0, relation=relation), rel=1e-4
    )
    assert relation in str(accountant.statement())
    assert accountant.num_releases == 4


def test_a_sampling_probability_is_rounded_up():
    config = Config(population_size=3)
    accountant = FlowerAccountant(config)
    accountant.compose(Round(sample_size=1, population_size=3))
    [row] = json.loads(accountant.state_dict()["ledger"])["entries"]
    assert Fraction(1, 3) < Fraction(row["event"]["sampling_prob"]) <= Fraction(1, 3) + Fraction(1, 2**51)
    everyone = FlowerAccountant(config)
    everyone.compose(Round(sample_size=3, population_size=3))
    assert everyone.get_epsilon(1e-5) == epsilon(Gaussian(1.0), delta=1e-5, relation="add_remove")


def test_the_budget_is_looked_at_before_it_is_spent():
    accountant = FlowerAccountant(Config(max_epsilon=2.0))
    rounds = 0
    while not accountant.would_exceed(ROUND):
        assert accountant.num_releases == rounds
        accountant.compose(ROUND)
        rounds += 1
        assert accountant.get_epsilon(1e-5) <= 2.0
    assert rounds > 3
    before = accountant.state_dict()
    assert accountant.would_exceed(ROUND, count=5)
    assert not accountant.would_exceed(ROUND, max_epsilon=3.0)
    assert accountant.state_dict() == before
    accountant.compose(ROUND)
    assert accountant.get_epsilon(1e-5) > 2.0
    with pytest.raises(EventError, match="max_epsilon"):
        FlowerAccountant(Config()).would_exceed(ROUND)


def test_state_goes_through_json_and_only_to_the_same_configuration():
    accountant = FlowerAccountant(Config())
    accountant.compose(ROUND, count=7)
    state = json.loads(json.dumps(accountant.state_dict()))
    again = FlowerAccountant(Config())
    again.load_state_dict(state)
    assert again.get_privacy_spent() == accountant.get_privacy_spent()
    for other in (Config(population_size=999), Config(target_delta=1e-6), Config(max_epsilon=1.0)):
        with pytest.raises(LedgerError, match="does not match"):
            FlowerAccountant(other).load_state_dict(state)
    foreign = FlowerAccountant(replace(Config(), neighboring_relation=Neighbours.REPLACE_ONE)).state_dict()["ledger"]
    for bad in ({}, {**state, "ledger": 3}, {**state, "ledger": "{}"}, {**state, "ledger": foreign}):
        with pytest.raises(LedgerError):
            again.load_state_dict(bad)
    assert again.get_privacy_spent() == accountant.get_privacy_spent()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"target_delta": 0.0}, "delta"),
        ({"population_size": 0}, "population_size"),
        ({"max_epsilon": float("nan")}, "max_epsilon"),
        ({"sampling_method": "shuffle"}, "sampling_method must be one of poisson"),
        ({"neighboring_relation": "edge"}, "neighboring_relation must be one of"),
    ],
)
def test_a_bad_configuration_is_refused(changes, match):
    with pytest.raises(EventError, match=match):
        FlowerAccountant(replace(Config(), **changes))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"noise_multiplier": 0.0}, "noise_multiplier"),
        ({"sample_size": 1001}, "batch must be at most the population"),
        ({"sample_size": 0}, "sample_size"),
        ({"population_size": 2000}, "population_size must be the configuration's"),
    ],
)
def test_a_bad_round_is_refused_and_changes_nothing(changes, match):
    accountant = FlowerAccountant(Config())
    with pytest.raises(EventError, match=match):
        accountant.compose(replace(ROUND, **changes))
    assert accountant.num_releases == 0


def test_a_configuration_that_changes_later_changes_nothing():
    config = SimpleNamespace(**vars(Config(max_epsilon=0.1)))
    accountant = FlowerAccountant(config)
    config.sampling_method, config.max_epsilon, config.target_delta = "no-amplification", 100.0, 0.5
    accountant.compose(ROUND)
    assert accountant.would_exceed(ROUND, count=100)
    assert accountant.get_privacy_spent().delta == 1e-5
    assert accountant.get_epsilon(1e-5) < epsilon(Gaussian(1.0), delta=1e-5, relation="add_remove")
