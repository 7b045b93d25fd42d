"""Laws of steps: what the noise follows from, and what a neighbouring data set changes under equal randomness."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats
from torch import nn

from accountants import Gaussian, Ledger, PoissonSampled
from dpkit.batches import PoissonBatches
from dpkit.clip import FlatClip, NormalizeClip
from dpkit.entropy import seeded
from dpkit.groups import GroupClip
from dpkit.samplers import lattice_step
from dpkit.training import Privatizer
from tests.oracles.architectures import architectures
from tests.oracles.training import losses_of, norm

pytestmark = [  # torch's own
    pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning"),
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning"),
]

ALPHA = 1e-9
BOUND, MULTIPLIER, EXPECTED = 0.5, 1.5, 8


class Recorder:
    """A ledger that remembers events."""

    def __init__(self):
        self.events = []

    def record(self, release):
        self.events.append((release.event, release.secure))


def private(model, seed=1, **changes):
    given = {"clip": FlatClip(BOUND), "noise_multiplier": MULTIPLIER, "expected_batch_size": EXPECTED}
    return Privatizer(model, **{**given, "entropy": seeded(seed), **changes})


def small():
    """Few enough coordinates for what equal randomness asks: see the test of neighbours."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(3, 2)


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def run(rows, seed, parts=1, records=20):
    """Six steps at fixed weights on Poisson batches; records outside of `rows` have no loss."""
    model, ledger = small(), Recorder()
    data = torch.randn(records, 3, generator=torch.Generator().manual_seed(3))
    there = torch.tensor([1.0 if i in rows else 0.0 for i in range(records)])
    batches = PoissonBatches(records, 0.3, steps=6, entropy=seeded(seed))
    seen = []
    with private(model, seed + 100, sampling=batches, ledger=ledger) as step:
        for batch in step:
            for part in torch.from_numpy(batch).tensor_split(parts):
                step.backward(losses_of(model(data[part])) * there[part])
            step.release()
            seen.append((batch.tolist(), step.noise_stddev, gradients(model)))
    return seen, ledger.events


@pytest.mark.parametrize("seed", range(4))
def test_neighbours_under_equal_randomness_differ_by_the_bound_and_in_nothing_else(seed):
    """Record 0 is there or is not. A step without it is the same to the last bit, noise and all.

    In a step with it, both sums are moved to the noise's lattice, by half a step at most each. A draw may be rejected
    for one of two centres only, with a probability below 1/s, where s = 1024 is the least stddev in lattice steps: of
    8 coordinates in two steps or so, and with these seeds, none is.
    """
    with_it, first = run(range(20), seed)
    without, second = run(range(1, 20), seed)
    assert first == second == [(PoissonSampled(Gaussian(MULTIPLIER), 0.3), False)] * 6
    lattice = math.sqrt(8) * lattice_step(MULTIPLIER * BOUND) / EXPECTED
    touched = 0
    for (rows, stddev, one), (others, again, other) in zip(with_it, without, strict=True):
        assert rows == others
        assert stddev == again == MULTIPLIER * BOUND / EXPECTED
        if 0 not in rows:
            assert equal(one, other)
            continue
        touched += 1
        moved = norm({name: one[name].double() - other[name].double() for name in one})
        # float32 rounds the sums, of at most 20 summands, and the gradients
        rounding = 2.0**-24 * (2 * 20 * 20 * BOUND / EXPECTED + 2 * norm(one))
        assert 0.0 < moved <= BOUND / EXPECTED + lattice + rounding
    assert 0 < touched < 6


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_parts_of_a_batch_take_one_draw_of_noise(parts):
    """No record has a loss, so that what is released is the noise: the same, however often backward was called."""
    whole, events = run((), seed=5)
    parted, again = run((), seed=5, parts=parts)
    assert events == again
    assert all(equal(one[2], other[2]) for one, other in zip(whole, parted, strict=True))


@pytest.mark.parametrize("records", [1, 19, 21, 4000])
def test_noise_does_not_depend_on_how_many_records_there_are(records):
    few, events = run((), seed=6)
    many, again = run((), seed=6, records=records)
    assert events == again
    for (_, stddev, one), (_, other_stddev, other) in zip(few, many, strict=True):
        assert stddev == other_stddev
        assert equal(one, other)


@given(architectures(), st.integers(0, 2**20))
def test_a_step_without_rows_is_noise_and_one_event(case, seed):
    """Over random architectures: zeros are released as any sum is, and the model's weights stay where they are."""
    before = {name: value.clone() for name, value in case.model.state_dict().items()}
    ledger = Recorder()
    with private(case.model, seed, ledger=ledger) as step:
        if case.takes_empty:
            step.backward(case.losses(case.batch(0)))
        released = step.release().value
    named = {name: p for name, p in case.model.named_parameters() if p.requires_grad}
    assert released.keys() == named.keys()
    assert all(p.grad.shape == p.shape and p.grad.dtype == p.dtype for p in named.values())
    assert norm(released) > 0.0
    assert all(p.grad is None for name, p in case.model.named_parameters() if name not in named)
    assert ledger.events == [(Gaussian(MULTIPLIER), False)]
    assert all(torch.equal(value, before[name]) for name, value in case.model.state_dict().items())


CLIPS = {
    "flat": FlatClip(2.5),
    "normalize": NormalizeClip(2.5, 0.01),
    "group": GroupClip({"0.weight": 1.5, "1.weight": 2.0}),
}


@pytest.mark.statistical
@pytest.mark.parametrize("kind", sorted(CLIPS))
def test_noise_is_gaussian_of_the_stated_stddev_in_every_parameter(kind):
    """By Kolmogorov's exact test; its lattice of 1/1024 stddevs moves a distribution function by 4e-4 at most."""
    model = nn.Sequential(nn.Linear(80, 60, bias=False), nn.Linear(60, 80, bias=False))
    draws = {}
    for seed in (1, 2):
        with private(model, seed, clip=CLIPS[kind]) as step:
            for i in range(2):
                step.release()
                assert step.noise_stddev == pytest.approx(MULTIPLIER * 2.5 / EXPECTED, rel=1e-12)
                for name, p in model.named_parameters():
                    draws[seed, i, name] = p.grad.double().numpy().ravel() / step.noise_stddev
    for drawn in draws.values():
        assert stats.kstest(drawn, "norm").pvalue > ALPHA
        assert stats.kstest(drawn * 1.5, "norm").pvalue < ALPHA, "half as much again would be seen"
    # other steps, parameters and seeds, and pairs within a draw
    pairs = [*itertools.combinations(draws.values(), 2), *((drawn[::2], drawn[1::2]) for drawn in draws.values())]
    for one, other in pairs:  # r**2 of independent normals is a beta variable
        correlation = float(np.corrcoef(one, other)[0, 1])
        assert correlation**2 < stats.beta.isf(ALPHA, 0.5, (len(one) - 2) / 2)


def spent(steps, sampling_prob, multiplier):
    """The epsilon of a run, from what its ledger was told."""
    model, ledger = small(), Ledger(relation="add_remove")
    batches = PoissonBatches(10, sampling_prob, steps=steps, entropy=seeded(4))
    with private(model, sampling=batches, ledger=ledger, noise_multiplier=multiplier) as step:
        for _ in step:
            step.release()
    assert len(ledger) == steps
    return ledger.epsilon(delta=1e-5)


def test_epsilon_grows_with_steps_and_sampling_and_falls_with_noise():
    steps = [spent(count, 0.1, 1.5) for count in (1, 2, 8)]
    sampling = [spent(4, q, 1.5) for q in (0.01, 0.1, 0.5, 1.0)]
    noise = [spent(4, 0.1, multiplier) for multiplier in (4.0, 2.0, 1.0, 0.5)]
    for series in (steps, sampling, noise):
        assert series == sorted(set(series))


@pytest.mark.parametrize(("steps", "multiplier"), [(1, 1.0), (4, 3.0), (9, 0.7)])
def test_epsilon_without_sampling_is_the_gaussian_closed_form(steps, multiplier):
    """Balle and Wang 2018, theorem 8: k releases are one with 1/sqrt(k) of the noise."""
    mean = math.sqrt(steps) / multiplier

    def excess(epsilon):
        low, high = (stats.norm.cdf(sign * mean / 2 - epsilon / mean) for sign in (-1, 1))
        return high - math.exp(epsilon) * low - 1e-5

    exact = optimize.brentq(excess, 0.0, 200.0, xtol=1e-12)
    assert exact * (1 - 1e-9) <= spent(steps, 1.0, multiplier) <= exact * (1 + 1e-3)
