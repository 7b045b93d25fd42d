"""The authors' accountant is theirs, budgets are used up, and what the components cost is what they are charged."""

import dataclasses
import math

import numpy as np
import pytest

from accountants import Gaussian, Ledger, PoissonSampled
from dpkit.demo.data import synthetic_digits
from dpkit.entropy import seeded
from paper_repro.abadi_mnist import run
from paper_repro.spec import experiments
from paper_repro.training import DELTA, few

CELLS = experiments()["abadi_mnist"].cells
EXAMPLE = [cell for cell in CELLS if "epsilon" in cell.settings]
BUDGETS = [cell.settings for cell in CELLS if "budget" in cell.settings]


def delta(cell, *, layers):
    """By their accountant, with so many charges in each step."""
    settings = cell.settings
    steps = PoissonSampled(Gaussian(settings["noise"]), run.SAMPLING_PROB) * (layers * settings["steps"])
    event = Gaussian(settings["noise_of_components"]) + steps
    return run.AUTHORS.delta(event, epsilon=settings["epsilon"], relation="add_remove")


@pytest.mark.parametrize("cell", EXAMPLE, ids=lambda cell: cell.id)
def test_the_authors_charge_each_layer(cell):
    """Their printed deltas come of two charges in each step, and of no other number."""
    assert [layers for layers in (1, 2, 3, 4) if cell.agreement.holds(delta(cell, layers=layers), cell.published)] == [
        2
    ]


@pytest.mark.parametrize("each", BUDGETS, ids=lambda each: each["budget"])
def test_one_epoch_more_breaks_the_budget(each):
    def spent(epochs):
        event = run.charged(each["noise"], each["noise_of_components"], run.EPOCH * epochs)
        return run.AUTHORS.epsilon(event, delta=DELTA, relation="add_remove")

    assert spent(each["epochs"]) <= float(each["budget"]) < spent(each["epochs"] + 1)


def test_both_layers_are_one_release_of_noise_that_is_theirs():
    for each in BUDGETS:
        first, steps = run.released(each["noise"], each["noise_of_components"], 700).events
        assert first == Gaussian(each["noise_of_components"])
        assert steps.times == 700
        assert math.isclose(steps.event.event.noise_multiplier * run.CLIP.bound, 4.0 * each["noise"])


def test_a_record_moves_the_second_moment_by_at_most_one(monkeypatch):
    digits = few(synthetic_digits(600, 200), smoke=True)
    sums, real = [], run.Bounded

    def kept(value, bound):
        sums.append(value)
        assert bound == 1.0
        return real(value, bound)

    monkeypatch.setattr(run, "Bounded", kept)
    ledger = Ledger(relation="add_remove", unit="example")
    for images in (digits.train_images[:20], digits.train_images[:19], np.zeros((2, 1, 28, 28), np.float32)):
        components = run._components(images, 16.0, seeded(0), ledger)
        assert np.allclose(components.T @ components, np.eye(run.COMPONENTS), atol=1e-5)
    assert 0.999 < np.linalg.norm(sums[0] - sums[1]) <= 1.0
    assert not sums[2].any()
    assert [(entry.event, entry.times) for entry in ledger.entries] == [(Gaussian(16.0), 3)]


def test_without_noise_the_components_are_those_of_the_images(monkeypatch):
    images = synthetic_digits(300, 1).train_images
    monkeypatch.setattr(run, "GaussianMechanism", lambda noise_multiplier: Silent())
    found = run._components(images, 1.0, seeded(0), Ledger(relation="add_remove", unit="example")).numpy()
    rows = images.reshape(len(images), -1).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    _, _, wanted = np.linalg.svd(rows, full_matrices=False)
    overlap = np.linalg.svd(wanted[: run.COMPONENTS] @ found, compute_uv=False)
    assert overlap.min() > 0.9999


class Silent:
    """A release as it would be without noise."""

    def release(self, moment, *, ledger, entropy):
        @dataclasses.dataclass
        class Found:
            value: object

        return Found(moment.value)
