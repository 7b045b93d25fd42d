"""Clips of every kind in training: the loop's sum, the bound, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from accountants.events import Gaussian
from dpkit import AdaptiveClip, FlatClip, GroupClip, NormalizeClip, ParameterError
from dpkit.entropy import seeded
from dpkit.training import Privatizer, clipped_sum, record
from dpkit.training.norms import SHRINK
from dpkit.training.sums import METHODS
from dpkit.training.weights import require_clip, weights
from tests.oracles.training import cases, clipped_oracle, gradient, grouped_oracle, losses_of, norm, normalized_oracle

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch's own, for even kernels
BOUNDS = st.sampled_from([1e-3, 0.4, 3.0, 1e4])


def total_of(model, inputs, clip, method="auto", units=None):
    with record(model) as tape:
        losses = losses_of(model(inputs))
    return clipped_sum(tape, losses, clip, units, method)


def groups_of(model, bound):
    """A bound for each trainable parameter, no two alike."""
    return {name: bound * (1 + i) for i, (name, p) in enumerate(model.named_parameters()) if p.requires_grad}


def assert_close(found, expected, model, inputs):
    scale = 1.0 + sum(norm(gradient(model, inputs[i : i + 1])) for i in range(len(inputs)))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9 * scale, msg=name)


@given(cases(), st.integers(1, 5), BOUNDS, BOUNDS)
def test_a_normalized_sum_is_the_loop(case, rows, bound, stability):
    inputs = case.batch(rows)
    expected = normalized_oracle(case.model, list(inputs.split(1)), bound * SHRINK, stability)
    for method in METHODS:
        found = total_of(case.model, inputs, NormalizeClip(bound, stability), method)
        assert (found.bound, found.norm) == (bound, "l2")
        # factors may be above 1 here, and carry the error of the gradients with them
        spread = max(1.0, bound / stability)
        scale = spread * (1.0 + sum(norm(gradient(case.model, inputs[i : i + 1])) for i in range(rows)))
        for name, value in expected.items():
            torch.testing.assert_close(found.value[name], value, rtol=1e-9, atol=1e-9 * scale, msg=name)


@given(cases(), st.integers(1, 5), BOUNDS)
def test_a_grouped_sum_is_the_loop(case, rows, bound):
    inputs, bounds = case.batch(rows), groups_of(case.model, bound)
    expected = grouped_oracle(case.model, list(inputs.split(1)), {name: b * SHRINK for name, b in bounds.items()})
    for method in METHODS:
        found = total_of(case.model, inputs, GroupClip(bounds), method)
        assert found.bound == GroupClip(bounds).bound >= np.linalg.norm(list(bounds.values())) * (1 - 1e-15)
        assert_close(found.value, expected, case.model, inputs)


@given(cases(), st.integers(2, 5), st.sampled_from(METHODS), st.sampled_from([torch.float32, torch.float64]))
def test_one_example_moves_the_sum_by_at_most_the_bound_of_its_clip(case, rows, method, dtype):
    model = case.model.to(dtype)
    inputs = case.batch(rows)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    for clip in (NormalizeClip(0.3, 1e-6), GroupClip(groups_of(model, 0.3))):
        with_it = total_of(model, inputs, clip, method).value
        without = total_of(model, inputs[1:], clip, method).value
        moved = {name: with_it[name].double() - without[name].double() for name in with_it}
        # as for FlatClip: (rows + 1) roundings of a sum of `rows` numbers, in both sums; kernels of another batch size
        rounding = 2 * (rows + 1) * rows * 2.0**-24 + 1e-5 if dtype == torch.float32 else 0.0
        slack = 1 + rounding
        if isinstance(clip, NormalizeClip):  # short gradients are made long, and with them what other kernels round
            slack += 2e-3 if dtype == torch.float32 else 1e-9
        assert norm(moved) <= clip.bound * slack
        if isinstance(clip, GroupClip):
            assert all(norm({name: moved[name]}) <= b * slack for name, b in clip.bounds.items())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("exponent", range(-30, 31, 5))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_example_alone_stays_below_the_bound_of_its_clip(exponent, dtype, method):
    generator = torch.Generator().manual_seed(exponent + 100)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(2), nn.Linear(4, 3), nn.Flatten(), nn.Linear(6, 70)).to(dtype)
    inputs = torch.randn(1, 1, 4, 4, generator=generator, dtype=dtype) * 10.0**exponent
    for bound in (1e-4, 1.0, 7e3):
        for stability in (1e-30, 1e-2, 1e30):
            assert norm(total_of(model, inputs, NormalizeClip(bound, stability), method).value) < bound
        groups = GroupClip(groups_of(model, bound))
        found = total_of(model, inputs, groups, method).value
        assert all(norm({name: found[name]}) <= b for name, b in groups.bounds.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_example_that_is_not_finite_in_one_parameter_is_left_out_of_all(value):
    """Only the second layer's gradient breaks: the other parameter's must not keep the example's part."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)

        def forward(self, x):
            return self.a(x[:, :2]) + self.b(x[:, 2:])

    torch.manual_seed(0)
    model, inputs = Two(), torch.randn(3, 4)
    broken = inputs.clone()
    broken[1, 2] = value
    for clip in (FlatClip(1.0), NormalizeClip(1.0, 0.1), GroupClip({"a.weight": 1.0, "b.weight": 2.0})):
        with record(model) as tape:
            losses = model(broken).squeeze(1)
        found = clipped_sum(tape, losses, clip).value
        with record(model) as tape:
            losses = model(inputs[[0, 2]]).squeeze(1)
        expected = clipped_sum(tape, losses, clip).value
        assert all(torch.equal(found[name], expected[name]) for name in found)


@given(cases(), st.integers(2, 5), st.data())
def test_units_are_normalized_as_one(case, rows, data):
    inputs = case.batch(rows)
    units = data.draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    groups = [inputs[[i for i in range(rows) if units[i] == unit]] for unit in set(units)]
    found = total_of(case.model, inputs, NormalizeClip(0.5, 0.5), units=torch.tensor(units))
    assert_close(found.value, normalized_oracle(case.model, groups, 0.5 * SHRINK, 0.5), case.model, inputs)
    flat = total_of(case.model, inputs, FlatClip(0.5), units=torch.tensor(units))
    assert_close(flat.value, clipped_oracle(case.model, groups, 0.5 * SHRINK), case.model, inputs)


def test_names_of_groups_are_those_of_trainable_parameters():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1, bias=False))
    inputs = torch.randn(3, 2)
    with pytest.raises(ParameterError, match=r"none for 0\.bias, and one for 0\.offset"):
        total_of(model, inputs, GroupClip({"0.weight": 1.0, "0.offset": 1.0, "1.weight": 1.0}))
    model[0].bias.requires_grad_(False)
    with pytest.raises(ParameterError, match=r"none for no one that needs it, and one for 0\.bias"):
        total_of(model, inputs, GroupClip({"0.weight": 1.0, "0.bias": 1.0, "1.weight": 1.0}))
    assert total_of(model, inputs, GroupClip({"0.weight": 1.0, "1.weight": 1.0})).bound >= 2**0.5


@pytest.mark.parametrize(
    ("clip", "text"),
    [
        (NormalizeClip(1.0, 0.1, "l1"), "norm 'l2'"),
        (NormalizeClip(1.0, 1e-40), "stability from 1e-30"),
        (NormalizeClip(1e40, 0.1), "bound from 1e-30"),
        (GroupClip({"a": 1.0, "b": 1e-40}), "bound from 1e-30"),
        (FlatClip(1.0, "linf"), "norm 'l2'"),
        (AdaptiveClip(1.0, 0.5, expected_batch_size=8, count_noise_multiplier=2.0, norm="l1"), "norm 'l2'"),
        (1.0, "FlatClip, GroupClip, NormalizeClip or AdaptiveClip of dpkit, got float"),
    ],
    ids=["l1", "stability", "bound", "group", "linf", "adaptive l1", "number"],
)
def test_clips_that_training_cannot_use(clip, text):
    with pytest.raises(ParameterError, match=text):
        require_clip(clip)
    with pytest.raises(ParameterError, match=text):
        Privatizer(nn.Linear(2, 1), clip=clip, noise_multiplier=1.0, expected_batch_size=4)


def test_a_clip_without_weights_is_refused():
    with pytest.raises(ParameterError, match="got float"):
        weights(1.0, torch.ones(1, 1), ["w"])


@pytest.mark.parametrize("kind", ["normalize", "group"])
def test_noise_is_that_of_the_bound(kind):
    model = nn.Linear(3000, 1)
    clip = NormalizeClip(0.5, 0.01) if kind == "normalize" else GroupClip({"weight": 0.3, "bias": 0.4})
    with Privatizer(model, clip=clip, noise_multiplier=2.0, expected_batch_size=4, entropy=seeded(3)) as private:
        release = private.release()
        assert release.event == Gaussian(2.0)
        assert private.noise_stddev == pytest.approx(2.0 * 0.5 / 4, rel=1e-12)
    drawn = float(model.weight.grad.std())
    assert abs(drawn / (2.0 * 0.5 / 4) - 1) < 6 / (2 * 3000) ** 0.5  # six standard errors
