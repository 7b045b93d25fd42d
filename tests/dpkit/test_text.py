"""A printed bound is a bound."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from dpkit._text import rounded_down, rounded_up


@given(value=st.floats(0.0, exclude_min=True, allow_infinity=False), digits=st.integers(1, 17))
@example(value=0.00041000000000000005, digits=6)
@example(value=5e-324, digits=6)
@example(value=2.50004, digits=5)
@example(value=1.7976931348623157e308, digits=17)
def test_text_is_never_below_and_close(value, digits):
    shown = float(rounded_up(value, digits))
    assert shown >= value
    assert shown <= value * (1 + 10.0 ** (1 - digits) + 1e-15) or shown == math.inf or shown < 1e-300


@given(value=st.floats(0.0, exclude_min=True, allow_infinity=False), digits=st.integers(1, 17))
@example(value=0.00041, digits=6)
@example(value=2.50006, digits=5)
@example(value=5e-324, digits=6)
def test_text_of_a_lower_bound_is_never_above_and_close(value, digits):
    shown = float(rounded_down(value, digits))
    assert shown <= value
    assert shown >= value * (1 - 10.0 ** (1 - digits) - 1e-15) or shown < 1e-300


def test_edges():
    assert rounded_up(0.0) == "0"
    assert rounded_up(math.inf) == "inf"
    assert rounded_up(100.0) == "100"
    assert rounded_up(2.50004, 5) == "2.5001"
    assert rounded_down(2.50006, 5) == "2.5"
    assert rounded_down(0.0) == "0"
