import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dpkit.training.linear import _contract
from dpkit.training.norms import coefficients
from dpkit.training.parts import Dense, Gram, Outer

ROUNDING = 67 * 2.0**-24


def gram(inputs, signals):
    parameter = nn.Parameter(torch.zeros(signals.shape[-1], inputs.shape[-1]))
    return Gram(parameter, inputs[:, None], signals[:, None], inputs, _contract)


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.integers(-12, 12), st.integers(0, 2**20))
def test_the_norm_without_forming_is_never_below_the_true_one(positions, width_in, width_out, exponent, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(4, positions, width_in, generator=generator) * 10.0**exponent
    signals = torch.randn(4, positions, width_out, generator=generator)
    true = (signals.double().mT @ inputs.double()).square().sum((1, 2))
    found = gram(inputs, signals).squares()
    ceiling = inputs.double().square().sum((1, 2)) * signals.double().square().sum((1, 2))
    terms = width_in + width_out + 2 * positions + 8
    assert bool((found >= true * (1 - ROUNDING)).all())
    assert bool((found <= true + 2 * terms * 2.0**-24 * ceiling * (1 + ROUNDING)).all()) or abs(exponent) > 9


@pytest.mark.parametrize("scale", [1.0, 1e-8, 1e8, 1e-22, 1e18])
def test_cancellation_cannot_hide_a_gradient(scale):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.ones(16, 40, 30) + 1e-6 * torch.randn(16, 40, 30, generator=generator)
    signals = torch.randn(16, 40, 20, generator=generator)
    signals = (signals - signals.mean(1, keepdim=True)) / scale
    part = gram(inputs * scale, signals)
    found = part.squares().sqrt()
    assert bool((found >= (signals.double().mT @ (inputs * scale).double()).square().sum((1, 2)).sqrt()).all())
    for row, seen in enumerate(found.tolist()):  # what would be added, rounding included
        assert seen >= float(part.weighted_sum(torch.eye(16, dtype=torch.float64)[row]).double().norm())


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
    for part in (dense, flipped, gram(inputs[:, None], signals[:, None])):
        torch.testing.assert_close(part.squares(), outer.squares(), rtol=1e-12, atol=0)
        torch.testing.assert_close(part.weighted_sum(weights), outer.weighted_sum(weights), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("positions", [1, 3])
@pytest.mark.parametrize("size", [1e38, 1e30, 1e20])
def test_subnormal_products_do_not_exceed_the_bound(positions, size):
    inputs = torch.full((1, positions, 784), size)
    signals = torch.full((1, positions, 1000), 1e-11)
    parts = [gram(inputs, signals)]
    parts += [Outer(parts[0].parameter, inputs[:, 0], signals[:, 0])] if positions == 1 else []
    for part in parts:
        for bound in torch.logspace(-12, 0, 40, dtype=torch.float64).tolist():
            total = part.weighted_sum(coefficients(part.squares(), bound))
            assert float(total.double().norm()) <= bound


@pytest.mark.parametrize(("inner", "outer"), [(1e-163, 1e154), (5e-324, 1e300), (1e200, 1e-190), (0.0, 1e300)])
def test_factors_whose_squares_float64_cannot_hold(inner, outer):
    inputs = torch.tensor([[inner, inner]], dtype=torch.float64)
    signals = torch.tensor([[outer]], dtype=torch.float64)
    for first, second in ((inputs, signals), (signals, inputs)):
        shaped = nn.Parameter(torch.zeros(second.shape[1], first.shape[1], dtype=torch.float64))
        for part in (Outer(shaped, first, second), gram(first[:, None], second[:, None])):
            found = float(part.squares().sqrt())
            assert found == pytest.approx(2**0.5 * inner * outer, rel=1e-12)


def test_dropped_rows_are_zero_and_nothing_else_changes():
    rows = torch.tensor([False, True])
    inputs, signals = torch.tensor([[1.0, 2.0], [float("inf"), 1.0]]), torch.tensor([[3.0], [float("nan")]])
    before = inputs.clone()
    parameter = nn.Parameter(torch.zeros(1, 2))
    for part in (Outer(parameter, inputs, signals), gram(inputs[:, None], signals[:, None])):
        clean = part.without(rows)
        assert clean.weighted_sum(torch.ones(2, dtype=torch.float64)).tolist() == [[3.0, 6.0]]
    assert torch.equal(inputs, before)
    dense = Dense(parameter, torch.tensor([[[1.0, 2.0]], [[float("nan"), 0.0]]])).without(rows)
    assert dense.weighted_sum(torch.ones(2, dtype=torch.float64)).tolist() == [[1.0, 2.0]]
