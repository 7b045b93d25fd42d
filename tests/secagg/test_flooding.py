"""The flood's law against its exact probabilities, and the bound of its statistical distance against the distance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.he.flooding import SUMMANDS, Flood, flood_width
from secagg.prg import uniform

KEY = bytes(range(32))


def _law(width: int) -> np.ndarray:
    """Probabilities of a coefficient, from the lowest value up."""
    one = np.full(width, 1 / width)
    return np.convolve(np.convolve(one, one), one)


def _distance(law: np.ndarray, shift: int) -> float:
    """Statistical distance between a law and the law shifted."""
    padding = np.zeros(shift)
    return 0.5 * float(np.abs(np.concatenate((law, padding)) - np.concatenate((padding, law))).sum())


@pytest.mark.parametrize("width", [3, 5, 31, 1001, 20001])
def test_squared_hellinger_distance_of_a_step_is_as_proven(width):
    law = np.concatenate(([0.0], _law(width), [0.0]))
    step = 0.5 * float(((np.sqrt(law[1:]) - np.sqrt(law[:-1])) ** 2).sum())
    assert step < 1.5 / width**2
    assert step > 0.25 / width**2  # and the bound is no luxury


@pytest.mark.parametrize("width", [3, 11, 101, 1001])
def test_distance_of_a_shift_is_below_the_bound(width):
    law = _law(width)
    for shift in {1, 2, width // 7 + 1, width // 3, width, 2 * width}:
        bound = math.sqrt(3) * shift / width
        assert _distance(law, shift) <= bound
        assert shift > width / 3 or _distance(law, shift) > bound / 4


@pytest.mark.parametrize(("width", "shifts"), [(5, (1, 2)), (15, (1, 0, 2)), (31, (3, 3)), (31, (1, 1, 1))])
def test_distance_of_shifts_together_is_below_the_bound(width, shifts):
    law, joint, moved = _law(width), np.ones(1), np.ones(1)
    for shift in shifts:
        padding = np.zeros(max(shifts))
        joint = np.multiply.outer(joint, np.concatenate((law, padding)))
        moved = np.multiply.outer(moved, np.concatenate((np.zeros(shift), law, padding[shift:])))
    distance = 0.5 * float(np.abs(joint - moved).sum())
    bound = math.sqrt(3 * sum(shift**2 for shift in shifts)) / width
    assert distance <= bound
    assert distance > bound / 4


@given(bits=st.integers(1, 64), parties=st.integers(1, 10**6), chunks=st.integers(1, 10**6))
def test_width_is_the_least_odd_number_that_hides_the_noise(bits, parties, chunks):
    coefficients = 4096 * chunks
    width = flood_width(bits, num_parties=parties, coefficients=coefficients)
    # 3 E Σ e² / m² <= 4^-s, with E e² = 42/4 for each party and coefficient
    needed = 3 * 42 * parties * coefficients * 4**bits
    assert width % 2 == 1
    assert 4 * width**2 >= needed > 4 * (width - 2) ** 2


def test_coefficients_are_sums_of_three_uniform_integers():
    width, count = 9, 20_000
    drawn = Flood(KEY, width).coefficients(7, count)
    terms = uniform(KEY, index=7, count=SUMMANDS * count, modulus=width).astype(np.int64).reshape(3, count)
    assert (drawn == terms.sum(axis=0) - 12).all()
    counts = np.bincount(drawn + 12, minlength=25)
    # Hoeffding for each of 25 frequencies at 1e-9 in all
    slack = math.sqrt(math.log(2 * 25 / 1e-9) / (2 * count))
    assert np.abs(counts / count - _law(width)).max() <= slack
    assert (drawn.min(), drawn.max()) == (-12, 12)


def test_a_flood_follows_from_its_key_and_chunk_alone():
    one = Flood(KEY, 101).coefficients(0, 50)
    assert (Flood(KEY, 101).coefficients(0, 50) == one).all()
    assert (Flood(KEY, 101).coefficients(1, 50) != one).any()
    assert (Flood(bytes(32), 101).coefficients(0, 50) != one).any()


def test_the_widest_flood_fits_64_bits():
    width = (1 << 60) - 1
    drawn = Flood(KEY, width).coefficients(0, 4096)
    assert drawn.dtype == np.int64
    assert np.abs(drawn).max() <= 3 * (width - 1) // 2
    assert np.abs(drawn).max() > width // 2
