import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpkit.training.sequences import by_forming, by_products, product_of_norms

UNIT = 2.0**-24
MEASURES = {"products": by_products, "forming": by_forming}


def draw(seed, positions, groups, width_in, width_out, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(4, groups, positions, width_in, generator=generator, dtype=dtype)
    return inputs, torch.randn(4, groups, positions, width_out, generator=generator, dtype=dtype)


def norms_of(inputs, signals):
    return (signals.double().mT @ inputs.double()).square().sum((1, 2, 3)).sqrt()


@pytest.mark.parametrize("measure", MEASURES)
@given(
    st.integers(1, 6),
    st.integers(1, 2),
    st.integers(1, 150),
    st.integers(1, 9),
    st.integers(-9, 9),
    st.integers(0, 2**20),
)
def test_a_norm_is_never_below_the_true_one_and_little_above(
    measure, positions, groups, width_in, width_out, exponent, seed
):
    inputs, signals = draw(seed, positions, groups, width_in, width_out)
    inputs *= 10.0**exponent
    true, found = norms_of(inputs, signals), MEASURES[measure](inputs, signals).sqrt()
    lengths = inputs.double().flatten(1).norm(dim=1) * signals.double().flatten(1).norm(dim=1)
    assert bool((found >= true).all())
    # Twice the stated errors, one for each side, and what a product of two norms, or a norm, is rounded by.
    squared = true.square() + 2 * (min(width_in, 64) + min(width_out, 64) + 8) * UNIT * lengths.square()
    most = squared.sqrt() if measure == "products" else true
    most = torch.maximum(most + (3 * positions + 12) * UNIT * lengths, lengths / 256)
    assert bool((found <= most * (1 + 40 * UNIT)).all())


@pytest.mark.parametrize("positions", [16, 128])  # by the stated errors: 68 u T + (T + 4) u sqrt(T), 6e-4 for 128
def test_positions_that_do_not_conspire_lose_less_than_a_thousandth(positions):
    inputs, signals = draw(0, positions, 1, 300, 200)
    for measure in MEASURES.values():
        assert bool((measure(inputs, signals).sqrt() <= norms_of(inputs, signals) * 1.001).all())


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_clipped_example_brings_in_long_terms(measure, dtype):
    inputs, signals = draw(1, 8, 1, 5, 3, dtype)
    inputs, signals = torch.cat([inputs, inputs], 2), torch.cat([signals, -signals], 2)  # K is zero
    found = MEASURES[measure](inputs, signals).sqrt()
    assert bool((256 * found >= product_of_norms(inputs, signals) * (1 - 1e-12)).all())


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(measure, value):
    inputs, signals = draw(2, 3, 1, 4, 5)
    inputs[1, 0, 2, 3] = value
    assert torch.isfinite(MEASURES[measure](inputs, signals)).tolist() == [True, False, True, True]


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("positions", "width_in", "width_out"), [(0, 4, 5), (3, 0, 5), (3, 4, 0)])
def test_what_has_no_entries_has_no_length(measure, dtype, positions, width_in, width_out):
    inputs, signals = draw(3, positions, 1, width_in, width_out, dtype)
    assert MEASURES[measure](inputs, signals).tolist() == [0.0] * 4
