"""Arguments are checked once, where they enter, and errors never show data."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.checks import check_bytes, check_finite, check_fraction, check_integer, check_vector, dropped_parties
from secagg.errors import ParameterError


@pytest.mark.parametrize("value", [True, np.True_, 1.0, "1", None, np.float64(3)])
def test_integers_only(value):
    with pytest.raises(ParameterError, match="size must be an integer"):
        check_integer("size", value, at_least=0)


def test_integer_range():
    assert check_integer("size", np.int8(3), at_least=3, at_most=3) == 3
    with pytest.raises(ParameterError, match=r"size must be >= 3, got 2"):
        check_integer("size", 2, at_least=3)
    with pytest.raises(ParameterError, match=r"size must be in \[3, 5\], got 6"):
        check_integer("size", 6, at_least=3, at_most=5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "0.5", None, 1j, 10**400])
def test_finite_numbers_only(value):
    with pytest.raises(ParameterError, match="clip must be"):
        check_finite("clip", value)


@given(percent=st.integers(0, 99), parties=st.integers(1, 10_000))
def test_dropout_is_floored_as_typed(percent, parties):
    assert dropped_parties(percent / 100, parties) == percent * parties // 100


@given(digits=st.integers(0, 10**6 - 1))
def test_fractions_are_the_decimals_that_were_typed(digits):
    assert check_fraction("corrupt", float(f"0.{digits:06d}")) == Fraction(digits, 10**6)


@pytest.mark.parametrize("corrupt", [1.0, -0.1, math.nan, True, "0.1"])
def test_fraction_range(corrupt):
    with pytest.raises(ParameterError, match="corrupt must be"):
        check_fraction("corrupt", corrupt)


@pytest.mark.parametrize("dropout", [1.0, -0.1, math.nan])
def test_dropout_range(dropout):
    with pytest.raises(ParameterError, match="dropout"):
        dropped_parties(dropout, 10)


SECRET = 123_456_789


@pytest.mark.parametrize(
    "vector",
    [
        np.array([SECRET, -1]),
        np.array([SECRET, 2**30]),
        np.array([SECRET, np.nan]),
        np.array([float(SECRET), 1.0]),
        np.array([[SECRET, 1]]),
        np.array([SECRET]),
        np.array(["1", "2"]),
        np.array([SECRET, 1], dtype="m8[s]"),
        np.ma.masked_array([SECRET, 1], [True, False]),
        [np.ma.masked_array(SECRET, True), 1],
    ],
    ids=["negative", "too large", "NaN", "float", "shape", "short", "text", "seconds", "masked", "a masked entry"],
)
def test_bad_vectors_are_refused_without_showing_them(vector):
    with pytest.raises(ParameterError) as caught:
        check_vector("vector", vector, shape=(2,), value_bits=28)
    assert str(SECRET) not in str(caught.value)


def test_vector_is_a_copy():
    vector = np.array([1, 2], dtype=np.uint64)
    checked = check_vector("vector", vector, shape=(2,), value_bits=64)
    vector[0] = 9
    assert checked.tolist() == [1, 2]


@pytest.mark.parametrize("value", [b"", b"secretsecret\x00", bytearray(12), "secretsecret", None])
def test_bytes_of_another_length_are_refused_without_showing_them(value):
    assert check_bytes("key", b"secretsecret", 12) == b"secretsecret"
    with pytest.raises(ParameterError, match="key must be 12 bytes, got") as caught:
        check_bytes("key", value, 12)
    assert "secret" not in str(caught.value)
