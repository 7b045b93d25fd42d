"""Trainings release what their recipe says, and no more."""

import dataclasses
import math

import pytest
import torch

from accountants import Gaussian, Ledger, RDPAccountant
from dpkit import GroupClip
from dpkit.demo.data import synthetic_digits
from dpkit.entropy import seeded
from paper_repro import training
from paper_repro.training import SMOKE_STEPS, Meter, Recipe, cost, few, mnist, seeded_model, train

RECIPE = Recipe(noise_multiplier=0.5, sampling_prob=0.25, steps=20, clip=1.0, rate=2.0)


def trained(recipe, **options):
    torch.manual_seed(0)
    labels = torch.arange(400) % 2
    inputs = torch.randn(400, 3) * 0.3 + labels[:, None]
    model = seeded_model(lambda: torch.nn.Linear(3, 2), 1)
    ticks = []
    ledger = train(model, inputs, labels, recipe, source=seeded(2), tick=lambda: ticks.append(1), **options)
    with torch.no_grad():
        right = float((model(inputs).argmax(1) == labels).float().mean())
    return right, ledger, len(ticks)


def test_training_learns_and_is_accounted_for():
    right, ledger, ticks = trained(RECIPE)
    assert right > 0.9
    assert ticks == RECIPE.steps
    assert cost(ledger) == cost(RECIPE.event)


def test_a_short_run_takes_two_steps_and_accounts_for_all():
    before = Ledger(relation="add_remove", unit="example")
    before.record(Gaussian(3.0))
    _, ledger, ticks = trained(RECIPE, ledger=before, smoke=True)
    assert ticks == SMOKE_STEPS
    assert ledger is before
    assert cost(ledger) == cost(Gaussian(3.0) + RECIPE.event)


def test_each_parameter_may_have_a_bound_of_its_own():
    recipe = dataclasses.replace(RECIPE, clip=GroupClip({"weight": 1.0, "bias": 0.5}))
    right, ledger, ticks = trained(recipe)
    assert right > 0.9
    assert ticks == recipe.steps
    assert cost(ledger) == cost(RECIPE.event)


def test_a_run_follows_from_its_seed():
    inputs, labels = torch.randn(40, 3), torch.arange(40) % 2
    weights = []
    for first, draws in ((1, 2), (1, 2), (1, 3), (4, 2)):
        model = seeded_model(lambda: torch.nn.Linear(3, 2), first)
        train(model, inputs, labels, RECIPE, source=seeded(draws), tick=lambda: None)
        weights.append(model.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])


def test_rates_may_change_from_step_to_step():
    steps = []

    def rate(step):
        steps.append(step)
        return 0.0

    model = seeded_model(lambda: torch.nn.Linear(3, 2), 1)
    first = model.weight.clone()
    recipe = dataclasses.replace(RECIPE, rate=rate)
    train(model, torch.ones(40, 3), torch.zeros(40, dtype=torch.int64), recipe, source=seeded(0), tick=lambda: None)
    assert steps == [0, *range(recipe.steps)]
    assert torch.equal(model.weight, first)


def test_noise_is_the_least_that_keeps_a_budget():
    for accountant in (None, RDPAccountant()):
        recipe = RECIPE.within(1.0, before=(Gaussian(8.0),), accountant=accountant)
        ledger = Ledger(relation="add_remove")
        ledger.record(Gaussian(8.0))
        ledger.record(recipe.event)
        assert 0.999 < ledger.epsilon(delta=1e-5, accountant=accountant) <= 1.0


def test_costs_of_the_opacus_example():
    event = Recipe(noise_multiplier=1.3, sampling_prob=0.004, steps=3750, clip=1.5, rate=0.25).event
    assert round(cost(event, published=True), 2) == 1.16
    assert math.isclose(cost(event), 0.8335, abs_tol=1e-4)


def test_few_digits_and_the_meter():
    digits = synthetic_digits(700, 300)
    assert few(digits, smoke=False) is digits
    short = few(digits, smoke=True)
    assert (len(short.train_images), len(short.test_labels)) == (600, 200)
    seen = []
    meter = Meter(lambda *step: seen.append(step), [RECIPE, RECIPE], smoke=True, extra=1)
    meter("word")
    assert seen == [(1, 2 * SMOKE_STEPS + 1, "word")]


def test_a_full_run_needs_the_real_digits(monkeypatch):
    monkeypatch.setattr(training, "load_digits", lambda: synthetic_digits(700, 300))
    with pytest.raises(ModuleNotFoundError, match="a full run needs MNIST"):
        mnist(smoke=False)
    assert mnist(smoke=True).name != "MNIST"
    monkeypatch.setattr(training, "load_digits", lambda: dataclasses.replace(synthetic_digits(700, 300), name="MNIST"))
    assert len(mnist(smoke=False).train_labels) == 700
    assert len(mnist(smoke=True).train_labels) == 600
