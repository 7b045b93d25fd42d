import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from accountants import Budget, Gaussian, Ledger, PoissonSampled
from accountants.errors import BudgetExceededError, InsecureReleaseError
from accountants.participation import Participation
from dpkit.adaptive import AdaptiveClip, split_noise
from dpkit.batches import CyclicBatches, PoissonBatches
from dpkit.clip import FlatClip
from dpkit.correlated import BandedNoise, BufferedToeplitzNoise, TreeNoise
from dpkit.entropy import seeded
from dpkit.errors import BoundError, DPKitError, ParameterError
from dpkit.training import Privatizer
from dpkit.training.sums import clip_and_count
from dpkit.training.tape import record
from tests.oracles.training import losses_of

ALPHA = 1e-9


def build(inputs=4, outputs=2):
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1, 1, inputs * outputs).reshape(outputs, inputs))
        layer.bias.zero_()
    return layer


def private(model, **changes):
    return Privatizer(model, **{"clip": FlatClip(1.0), "noise_multiplier": 1.0, "expected_batch_size": 8} | changes)


def streamed(model, noise, **changes):
    return Privatizer(model, **{"clip": FlatClip(1.0), "noise": noise, "expected_batch_size": 8} | changes)


def banded(model, **changes):
    chosen = {"noise_multiplier": 2.0, "bound": 1.0, "steps": 6, "bands": 2} | changes
    return BandedNoise(dict(model.named_parameters()), **chosen)


def flat(model):
    return torch.cat([p.grad.flatten().double() for p in model.parameters()])


# -- streams


def test_a_stream_gives_each_step_the_row_that_it_gives_alone():
    model, alone = build(), banded(build(), entropy=seeded(4))
    with streamed(model, banded(model, entropy=seeded(4)), expected_batch_size=16) as step:
        for _ in range(6):
            step.release()
            row = alone.next()
            for name, p in model.named_parameters():
                expected = torch.from_numpy(np.asarray(row[name])).float() / 16
                assert torch.equal(p.grad, expected)


def test_a_stream_noises_the_clipped_sum():
    model = build()
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    with record(model) as tape:
        losses = losses_of(model(inputs))
    total, _ = clip_and_count(tape, losses, FlatClip(1.0))
    with streamed(model, banded(model, noise_multiplier=1e-7), expected_batch_size=1) as step:
        step.backward(losses_of(model(inputs)))
        step.release()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, total.value[name], rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("sampling", "participation", "worst"),
    [
        (lambda: None, None, Participation(steps=6)),
        (lambda: None, Participation(steps=6, min_separation=3), Participation(steps=6, min_separation=3)),
        (lambda: PoissonBatches(20, 0.2, 6), None, Participation(steps=6)),
        (lambda: CyclicBatches(20, 3, 2), None, Participation(steps=6, min_separation=3, max_participations=2)),
    ],
    ids=["every step", "given", "poisson", "cyclic"],
)
def test_all_steps_are_one_event_of_the_participation_recorded_before_the_first(sampling, participation, worst):
    model, ledger, plan = build(), Ledger(relation="zero_out"), sampling()
    stream = banded(model)
    with streamed(model, stream, sampling=plan, participation=participation, ledger=ledger) as step:
        assert len(ledger) == 0
        for _ in range(6) if plan is None else step:
            release = step.release()
            assert ledger.entries == ((stream.event(worst), 1, ""),)
            assert release.event == stream.event(worst)
            assert release.secure
        assert stream.remaining == 0
        with pytest.raises(DPKitError):
            step.release()
    assert ledger.secure_releases == 1


def test_a_budget_that_refuses_the_stream_loses_nothing():
    model = build()
    stream = banded(model)
    budget = Budget(epsilon=0.5, delta=1e-6, relation="zero_out")
    with streamed(model, stream, ledger=budget) as step:
        step.backward(losses_of(model(torch.ones(3, 4))))
        with pytest.raises(BudgetExceededError):
            step.release()
        assert stream.remaining == 6
        assert all(p.grad is None for p in model.parameters())
        step._witness._ledger = None
        step.release()
    assert float(flat(model).abs().sum()) > 0
    assert len(budget) == 0


@pytest.mark.parametrize("kind", [TreeNoise, BandedNoise, BufferedToeplitzNoise])
@pytest.mark.statistical
def test_the_stated_stddev_is_that_of_each_row(kind):
    model = build(60, 60)
    chosen = {TreeNoise: {}, BandedNoise: {"bands": 3}, BufferedToeplitzNoise: {"buffers": 2}}[kind]
    stream = kind(dict(model.named_parameters()), noise_multiplier=3.0, bound=0.5, steps=8, **chosen)
    with streamed(model, stream, clip=FlatClip(0.5), expected_batch_size=4) as step:
        first = step.noise_stddev
        assert first == 3.0 * 0.5 / 4
        for _ in range(8):
            step.release()
            total = float((flat(model) / step.noise_stddev).square().sum())
            size = sum(p.numel() for p in model.parameters())
            assert stats.chi2.sf(total, size) > ALPHA / 48
            assert stats.chi2.cdf(total, size) > ALPHA / 48


def test_a_stream_of_other_parameters_or_a_smaller_bound_is_refused():
    model = build()
    with pytest.raises(BoundError, match="clip's bound"):
        streamed(model, banded(model, bound=0.5))
    model.bias.requires_grad_(False)
    ledger = Ledger(relation="zero_out")
    with streamed(model, banded(model), ledger=ledger) as step:
        with pytest.raises(BoundError, match="shapes"):
            step.release()
        assert len(ledger) == 0


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"noise_multiplier": 1.0}, "not both"),
        ({"noise": None}, "noise_multiplier must be given"),
        ({"noise": "tree"}, "noise must be a stream"),
        ({"entropy": seeded(1)}, "entropy must be None"),
        ({"clip": AdaptiveClip(1.0, 0.5, expected_batch_size=8, count_noise_multiplier=9.0)}, "clip must have a fixed"),
        (
            {"sampling": PoissonBatches(9, 0.5, 6), "participation": Participation(steps=6)},
            "participation must be None",
        ),
        ({"participation": Participation(steps=5)}, "6 steps"),
        ({"sampling": PoissonBatches(9, 0.5, 5)}, "6 steps"),
        (
            {"noise": None, "noise_multiplier": 1.0, "participation": Participation(steps=6)},
            "participation must be None",
        ),
    ],
)
def test_what_does_not_go_together(changes, text):
    model = build()
    with pytest.raises(ParameterError, match=text):
        streamed(model, **{"noise": banded(model)} | changes)


# -- adaptive clips


@given(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=3), st.booleans(), st.integers(0, 2**20))
def test_the_count_is_of_norms_within_the_bound_however_the_batch_is_cut(rows, cuts, by_units, seed):
    """Against norms of gradients that are taken one by one; noise far below a half."""
    model = build().double()
    inputs = torch.randn(rows, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    units = torch.arange(rows) // 2 if by_units else None
    singles = [inputs[i : i + (2 if by_units else 1)] for i in range(0, rows, 2 if by_units else 1)]
    norms = []
    for some in singles:
        found = torch.autograd.grad(losses_of(model(some)).sum(), list(model.parameters()))
        norms.append(float(torch.cat([g.flatten() for g in found]).norm()))
    bound = float(np.median(norms)) * 1.01 + 1e-3 if norms else 1.0
    expected = sum(1 if norm <= bound else -1 for norm in norms)
    total = 0
    edges = sorted({0, rows, *(min(cut, rows) // 2 * 2 for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        with record(model) as tape:
            losses = losses_of(model(inputs[start:end]))
        clip = AdaptiveClip(bound, 0.5, expected_batch_size=4, count_noise_multiplier=9.0)
        total += clip_and_count(tape, losses, clip, None if units is None else units[start:end])[1]
    assert total == expected


def test_the_bound_follows_the_quantile_and_each_step_is_one_event():
    model, ledger = build(), Ledger(relation="add_remove")
    clip = AdaptiveClip(100.0, 0.5, expected_batch_size=64, count_noise_multiplier=6.0)
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(2))
    before = [p.detach().clone() for p in model.parameters()]
    with private(model, clip=clip, ledger=ledger, entropy=seeded(3)) as step:
        assert step.noise_stddev == split_noise(1.0, count_noise_multiplier=6.0) * 100.0 / 8
        bounds = []
        for _ in range(120):
            bounds.append(step.clip.bound)
            step.backward(losses_of(model(inputs)))
            step.release()
            assert step.noise_stddev == split_noise(1.0, count_noise_multiplier=6.0) * bounds[-1] / 8
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    norms = []
    for row in inputs:
        found = torch.autograd.grad(losses_of(model(row[None])).sum(), list(model.parameters()))
        norms.append(float(torch.cat([g.flatten() for g in found]).norm()))
    assert np.quantile(norms, 0.25) < bounds[-1] < np.quantile(norms, 0.75)
    assert ledger.entries == ((Gaussian(1.0), 120, ""),)


def test_an_empty_batch_moves_the_bound_by_noise_and_a_refusal_by_nothing():
    class Refusing:
        def record(self, release):
            raise RuntimeError("over budget")

    model = build()
    clip = AdaptiveClip(1.0, 0.5, expected_batch_size=8, count_noise_multiplier=6.0)
    with private(model, clip=clip) as step:
        step.release()
        assert step.clip.bound != 1.0
    with private(model, clip=clip, ledger=Refusing()) as step:
        with pytest.raises(RuntimeError):
            step.release()
        assert step.clip.bound == 1.0


def test_sampled_batches_with_an_adaptive_clip_are_one_sampled_event():
    model, ledger = build(), Ledger(relation="add_remove")
    clip = AdaptiveClip(1.0, 0.5, expected_batch_size=8, count_noise_multiplier=6.0)
    with private(model, clip=clip, sampling=PoissonBatches(30, 0.1, 4), ledger=ledger) as step:
        for rows in step:
            step.backward(losses_of(model(torch.ones(len(rows), 4))))
            step.release()
    assert ledger.entries == ((PoissonSampled(Gaussian(1.0), 0.1), 4, ""),)


# -- a device's generator


@pytest.mark.statistical
def test_a_generator_of_torch_is_taken_and_recorded_as_not_secure():
    model, ledger = build(60, 60), Ledger(relation="add_remove")
    generator = torch.Generator().manual_seed(5)
    with private(model, noise_multiplier=1.5, clip=FlatClip(2.0), ledger=ledger, entropy=generator) as step:
        release = step.release()
        stddev = step.noise_stddev
    assert ledger.entries == ((Gaussian(1.5), 1, ""),)
    assert (ledger.seeded_releases, release.secure) == (1, False)
    total = float((flat(model) / stddev).square().sum())
    size = sum(p.numel() for p in model.parameters())
    assert stats.chi2.sf(total, size) > ALPHA
    assert stats.chi2.cdf(total, size) > ALPHA
    model.zero_grad()
    strict = Ledger(relation="add_remove", require_secure=True)
    with private(model, ledger=strict, entropy=generator) as step, pytest.raises(InsecureReleaseError):
        step.release()
    assert all(p.grad is None for p in model.parameters())


def test_noise_of_a_generator_is_added_to_the_sum_and_lies_on_the_lattice():
    model = build()
    inputs = torch.ones(3, 4)
    with record(model) as tape:
        losses = losses_of(model(inputs))
    total, _ = clip_and_count(tape, losses, FlatClip(1.0))
    with private(model, noise_multiplier=1e-6, expected_batch_size=1, entropy=torch.Generator()) as step:
        step.backward(losses_of(model(inputs)))
        release = step.release()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, total.value[name], rtol=0, atol=2e-5)
    model = model.double()
    with private(model, noise_multiplier=1.5, expected_batch_size=1, entropy=torch.Generator()) as step:
        step.backward(losses_of(model(inputs.double())))
        release = step.release()
    assert all(bool((value * 2**10 == (value * 2**10).round()).all()) for value in release.value.values())


def test_a_generator_and_an_adaptive_clip():
    clip = AdaptiveClip(1.0, 0.5, expected_batch_size=8, count_noise_multiplier=6.0)
    with pytest.raises(ParameterError, match="entropy"):
        private(build(), clip=clip, entropy=torch.Generator())


def test_a_generator_does_not_begin_again_after_a_restore():
    model, seen, states = build(), [], []
    for _ in range(2):
        with private(model, entropy=torch.Generator().manual_seed(5)) as step:
            for state in states:
                step.load_state_dict(state)
            for _ in range(2):
                step.release()
                seen.append(flat(model))
            states.append(step.state_dict())
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])
