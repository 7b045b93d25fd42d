"""An end-to-end attack: with the worst record there or not, no test tells runs apart better than epsilon allows."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from accountants import Ledger
from dpkit.clip import FlatClip
from dpkit.entropy import seeded
from dpkit.training import Privatizer

pytestmark = pytest.mark.statistical

ALPHA = 1e-9
RUNS, DELTA = 1000, 0.1
THRESHOLDS = (0.5, 0.75, 1.0, 1.25, 1.5)  # in clipping bounds, chosen before any run
BOUND, MULTIPLIER, EXPECTED = 2.0, 1.0, 4


def lower_bound(without, with_it):
    """What epsilon is at least, at DELTA: wrong for a mechanism that has less with probability ALPHA at most.

    For every event E, P[E with it] <= e^epsilon P[E without] + delta. Both probabilities are bounded by Clopper and
    Pearson's exact intervals, for each threshold, with an equal share of ALPHA.
    """
    share, best = ALPHA / (2 * len(THRESHOLDS)), -math.inf
    for threshold in THRESHOLDS:
        n, caught, false = len(with_it), int((with_it > threshold).sum()), int((without > threshold).sum())
        least = stats.beta.ppf(share, caught, n - caught + 1) if caught else 0.0
        most = stats.beta.isf(share, false + 1, n - false) if false < n else 1.0
        if least > DELTA:
            best = max(best, math.log((least - DELTA) / most))
    return best


def model_and_data():
    """Logistic regression on three records; the last one's gradient is huge, and points where no other one does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Linear(3, 1, bias=False)
    x = torch.tensor([[0.4, 1.0, 0.0], [-0.7, 0.2, 0.0], [0.0, 0.0, -1e4]])
    y = torch.tensor([0.0, 1.0, 1.0])
    model.weight.data[0, 2] = 1.0  # which the last record contradicts
    return model, x, y


def losses(model, x, y):
    return functional.binary_cross_entropy_with_logits(model(x)[:, 0], y, reduction="none")


def claimed(release):
    ledger = Ledger(relation="add_remove")
    ledger.record(release)
    return ledger.epsilon(delta=DELTA)


def trained(rows, seed):
    """The last coordinate of what RUNS single steps release, in clipping bounds, and the event of one."""
    model, x, y = model_and_data()
    seen = np.empty(RUNS)
    with Privatizer(
        model,
        clip=FlatClip(BOUND),
        noise_multiplier=MULTIPLIER,
        expected_batch_size=EXPECTED,
        entropy=seeded(seed),
    ) as private:
        for i in range(RUNS):
            private.backward(losses(model, x[:rows], y[:rows]))
            release = private.release()
            seen[i] = float(model.weight.grad[0, 2]) * EXPECTED / BOUND
    return seen, release


def planted(rows, seed, *, factor=1.0, clip_after=False):
    """The same steps by hand, with one bug: noise without a factor, or one clip for the mean of all gradients."""
    model, x, y = model_and_data()
    found = []
    for i in range(rows):
        (gradient,) = torch.autograd.grad(losses(model, x[i : i + 1], y[i : i + 1]).sum(), model.weight)
        found.append(gradient[0].double().numpy())
    if clip_after:
        mean = np.sum(found, axis=0) / EXPECTED
        mean *= min(1.0, BOUND / np.linalg.norm(mean))
    else:
        mean = sum(g * min(1.0, BOUND / np.linalg.norm(g)) for g in found) / EXPECTED
    noise = np.random.default_rng(seed).normal(size=RUNS) * MULTIPLIER * BOUND / EXPECTED * factor
    return (mean[2] + noise) * EXPECTED / BOUND


def test_an_attack_does_not_beat_the_claim():
    without, release = trained(2, 1)
    with_it, other = trained(3, 2)
    assert release.event == other.event
    epsilon = claimed(release)
    assert lower_bound(without, with_it) <= epsilon
    # the attack has power: runs do differ by the whole bound, here within six standard errors
    assert abs(with_it.mean() - without.mean() - 1.0) < 6 * math.sqrt(2 / RUNS) * MULTIPLIER


@pytest.mark.parametrize(
    ("bug", "is_caught"),
    [({}, False), ({"factor": 1 / BOUND}, True), ({"factor": 1 / EXPECTED}, True), ({"clip_after": True}, True)],
    ids=["none", "noise without the bound", "noise divided twice", "clip after the mean"],
)
def test_the_attack_catches_what_is_planted(bug, is_caught):
    model, *_ = model_and_data()
    with Privatizer(
        model, clip=FlatClip(BOUND), noise_multiplier=MULTIPLIER, expected_batch_size=EXPECTED, entropy=seeded(1)
    ) as private:
        epsilon = claimed(private.release())
    assert (lower_bound(planted(2, 1, **bug), planted(3, 2, **bug)) > epsilon) == is_caught
