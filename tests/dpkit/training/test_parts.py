import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dpkit.training import parts
from dpkit.training.linear import _contract, _grouped
from dpkit.training.norms import coefficients, normalizers
from dpkit.training.parts import Dense, Outer, Table, Unformed
from dpkit.training.sequences import by_forming, by_products
from dpkit.training.units import Grouped


def unformed(inputs, signals, measure=by_products):
    parameter = nn.Parameter(torch.zeros(signals.shape[-1], inputs.shape[-1]))
    return Unformed(parameter, inputs, signals, _grouped, measure, _contract, 4)


@pytest.mark.parametrize("measure", [by_products, by_forming])
@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e8, 1e-22, 1e18])
def test_cancellation_cannot_hide_a_gradient(scale, measure):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.ones(16, 40, 30) + 1e-6 * torch.randn(16, 40, 30, generator=generator)
    signals = torch.randn(16, 40, 20, generator=generator)
    signals = (signals - signals.mean(1, keepdim=True)) / scale
    part = unformed(inputs * scale, signals, measure)
    found = part.squares().sqrt()
    assert bool((found >= (signals.double().mT @ (inputs * scale).double()).square().sum((1, 2)).sqrt()).all())
    for row, seen in enumerate(found.tolist()):  # what would be added, rounding included
        assert seen >= float(part.weighted_sum(torch.eye(16, dtype=torch.float64)[row]).double().norm())


def test_norms_are_measured_some_rows_at_a_time(monkeypatch):
    seen = []

    def measure(inputs, signals):
        seen.append(len(inputs))
        return by_products(inputs, signals)

    inputs, signals = torch.randn(5, 3, 2), torch.randn(5, 3, 4)
    monkeypatch.setattr(parts, "_CACHE_BYTES", 8)
    found = unformed(inputs, signals, measure).squares()
    assert seen == [2, 2, 1]
    assert torch.equal(found, by_products(inputs[:, None], signals[:, None]))


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**20))
def test_the_forms_agree(rows, width, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    signals = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    weights = torch.rand(rows, generator=generator, dtype=torch.float64)
    parameter = nn.Parameter(torch.zeros(width, 3, dtype=torch.float64))
    outer = Outer(parameter, inputs, signals)
    dense = Dense(parameter, signals[:, :, None] * inputs[:, None])
    flipped = Dense(parameter, dense.gradients.mT.contiguous().mT)  # another order in memory
    sequences = [unformed(inputs[:, None], signals[:, None], measure) for measure in (by_products, by_forming)]
    for part in (dense, flipped, *sequences):
        torch.testing.assert_close(part.squares(), outer.squares(), rtol=1e-12, atol=0)
        torch.testing.assert_close(part.weighted_sum(weights), outer.weighted_sum(weights), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("measure", [by_products, by_forming])
@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize("size", [1e38, 1e30, 1e20])
def test_subnormal_products_do_not_exceed_the_bound(positions, size, measure):
    inputs = torch.full((1, positions, 784), size)
    signals = torch.full((1, positions, 1000), 1e-11)
    tried = [unformed(inputs, signals, measure)]
    tried += [Outer(tried[0].parameter, inputs[:, 0], signals[:, 0])] if positions == 1 else []
    for part in tried:
        for bound in torch.logspace(-12, 0, 40, dtype=torch.float64).tolist():
            total = part.weighted_sum(coefficients(part.squares(), bound))
            assert float(total.double().norm()) <= bound


@pytest.mark.parametrize("measure", [by_products, by_forming])
@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize("inner", [0.0, 1e-44, 1e-39, 1e-38, 1.0])
@pytest.mark.parametrize("outer", [0.0, 1e-38, 1.0, 3e37, 3e38])
@pytest.mark.parametrize(("bound", "stability"), [(1.0, 0.01), (1e10, 1e-30)])
def test_weights_above_one_do_not_overflow(positions, measure, inner, outer, bound, stability):
    inputs, signals = torch.full((1, positions, 4), inner), torch.full((1, positions, 5), outer)
    formed = Dense(nn.Parameter(torch.zeros(5, 4)), signals.mT @ inputs)
    parts = [formed, unformed(inputs, signals, measure)]
    for part in [*parts, Grouped(parts[1], torch.tensor([0]), 1)]:
        if torch.isfinite(part.squares()).all():  # else the example is left out
            total = part.weighted_sum(normalizers(part.squares(), bound, stability))
            assert float(total.double().norm()) <= bound


@pytest.mark.parametrize(("inner", "outer"), [(1e-163, 1e154), (5e-324, 1e300), (1e200, 1e-190), (0.0, 1e300)])
def test_factors_whose_squares_float64_cannot_hold(inner, outer):
    inputs = torch.tensor([[inner, inner]], dtype=torch.float64)
    signals = torch.tensor([[outer]], dtype=torch.float64)
    for first, second in ((inputs, signals), (signals, inputs)):
        shaped = nn.Parameter(torch.zeros(second.shape[1], first.shape[1], dtype=torch.float64))
        for part in (Outer(shaped, first, second), unformed(first[:, None], second[:, None])):
            found = float(part.squares().sqrt())
            assert found == pytest.approx(2**0.5 * inner * outer, rel=1e-12)


def test_dropped_rows_are_zero_and_nothing_else_changes():
    rows = torch.tensor([False, True])
    inputs, signals = torch.tensor([[1.0, 2.0], [float("inf"), 1.0]]), torch.tensor([[3.0], [float("nan")]])
    before = inputs.clone()
    parameter = nn.Parameter(torch.zeros(1, 2))
    for part in (Outer(parameter, inputs, signals), unformed(inputs[:, None], signals[:, None])):
        clean = part.without(rows)
        assert clean.weighted_sum(torch.ones(2, dtype=torch.float64)).tolist() == [[3.0, 6.0]]
    assert torch.equal(inputs, before)
    dense = Dense(parameter, torch.tensor([[[1.0, 2.0]], [[float("nan"), 0.0]]])).without(rows)
    assert dense.weighted_sum(torch.ones(2, dtype=torch.float64)).tolist() == [[1.0, 2.0]]


def test_dropped_rows_of_a_table_are_zero_and_nothing_else_changes():
    parameter = nn.Parameter(torch.zeros(3, 1))
    owners, entries = torch.tensor([0, 1, 1]), torch.tensor([2, 2, 0])
    part = Table.of(parameter, owners, entries, torch.tensor([[1.0], [float("nan")], [5.0]]), 2)
    assert torch.isfinite(part.squares()).tolist() == [True, False]
    clean = part.without(torch.tensor([False, True]))
    assert clean.weighted_sum(torch.ones(2, dtype=torch.float64)).flatten().tolist() == [0.0, 0.0, 1.0]
    assert clean.squares().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("size", [1e30, 1.0, 1e-12, 1e-30, 1e-44])
def test_a_scaled_table_stays_within_the_bound(size):
    generator = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.zeros(50, 200))
    gradients = torch.randn(80, 200, generator=generator) * size
    part = Table.of(parameter, torch.zeros(80, dtype=torch.int64), torch.arange(80) % 50, gradients, 1)
    for bound in torch.logspace(-30, 30, 31, dtype=torch.float64).tolist():
        total = part.weighted_sum(coefficients(part.squares(), bound))
        assert float(total.double().norm()) <= bound
