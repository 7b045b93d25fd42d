"""Parameter checks: exact where a float stands for another number, and short in what they print."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit._checks import check_arrays, check_count, check_finite, check_finite_up, check_positive, check_within
from dpkit.errors import ParameterError


@given(st.one_of(st.fractions(), st.integers(-(2**1023), 2**1023), st.floats(allow_nan=False, allow_infinity=False)))
def test_rounded_up_in_exact_arithmetic(number):
    held = check_finite_up("bound", number, "")
    assert Fraction(held) >= Fraction(number)
    assert Fraction(held) == Fraction(number) or Fraction(float(np.nextafter(held, -np.inf))) < Fraction(number)


@pytest.mark.parametrize(
    "check", [check_finite, check_finite_up, check_positive, lambda *a: check_within(*a[:2], 0, 1, a[2])]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_that_are_too_long_are_refused_in_few_words(check, sign):
    for number in (sign * 10**5000, sign * Fraction(10**400)):
        with pytest.raises(ParameterError, match="stddev must be") as caught:
            check("stddev", number, "change the unit.")
        assert len(str(caught.value)) < 100
    with pytest.raises(ParameterError, match="steps must be an integer >= 1") as caught:
        check_count("steps", -(10**5000), "give a public number.")
    assert len(str(caught.value)) < 100


def test_arrays_pass_as_they_are():
    array, tree = np.ones(2, np.float32), {"a": np.ones(2)}
    assert check_arrays("value", array) is array
    assert check_arrays("value", tree) is tree
    assert check_arrays("value", {"a": [1, 2], "b": array})["b"] is array
