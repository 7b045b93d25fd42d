import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from dpkit.training.norms import SHRINK, coefficients, squared_norms


@given(st.integers(1, 300), st.integers(-44, 37), st.integers(0, 2**20))
def test_squared_norms_are_within_the_stated_rounding(width, exponent, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(3, width, generator=generator) * 10.0 ** min(exponent, 0) * 10.0 ** max(exponent, 0)
    expected = rows.double().square().sum(1)
    found = squared_norms(rows)
    assert found.dtype == torch.float64
    # 17 units of 2**-24 on a norm are 34 on its square
    torch.testing.assert_close(found, expected, rtol=35 * 2.0**-24, atol=0)


def test_squares_that_float32_cannot_hold():
    small, large = torch.full((1, 128), 1e-30), torch.full((1, 128), 1e30)
    assert squared_norms(small).item() == pytest.approx(128e-60, rel=1e-6)
    assert squared_norms(large).item() == pytest.approx(128e60, rel=1e-6)
    mixed = torch.cat([torch.full((1, 64), 1e-25), torch.full((1, 1), 1e-24)], dim=1)
    assert squared_norms(mixed).item() == pytest.approx(64e-50 + 1e-48, rel=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_so(value):
    for width in (1, 200):
        rows = torch.ones(3, width)
        rows[1, -1] = value
        assert torch.isfinite(squared_norms(rows)).tolist() == [True, False, True]


def test_rows_may_be_scalars():
    assert squared_norms(torch.tensor([3.0, -2.0])).tolist() == [9.0, 4.0]


@given(st.floats(-3, 45), st.floats(-30, 30))
@example(0.0, 0.0)
@example(1.0, 0.0)
def test_a_coefficient_never_exceeds_the_bound(log_ratio, log_bound):
    bound = 10.0**log_bound
    norm = bound * 10.0**log_ratio
    (factor,) = coefficients(torch.tensor([norm * norm], dtype=torch.float64), bound).tolist()
    assert 0.0 <= factor <= 1.0
    assert factor * norm <= bound
    if norm < bound * SHRINK * (1 - 2.0**-50):
        assert factor == 1.0
    elif factor:
        assert factor * norm >= bound * (1 - 2.0**-17)
    else:
        assert bound / norm < 2.0**-125


def test_a_norm_that_is_not_finite_gives_zero():
    squares = torch.tensor([math.nan, math.inf, 0.0], dtype=torch.float64)
    assert coefficients(squares, 1.0).tolist() == [0.0, 0.0, 1.0]
