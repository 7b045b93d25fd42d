import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import EventError, LedgerError
from accountants._checks import (
    check_count,
    check_delta,
    check_epsilon,
    check_epsilons,
    check_finite,
    check_numbers,
    check_positive,
    check_positive_down,
    check_prob,
)

NOT_NUMBERS = [math.nan, math.inf, -math.inf, True, False, None, "1", 1j, [1.0], np.array([1.0]), 10**400]


@pytest.mark.parametrize("check", [check_positive, check_finite, check_prob])
@pytest.mark.parametrize("wrong", [*NOT_NUMBERS, -1e-300, -1])
def test_what_is_not_a_number_is_refused_by_name(check, wrong):
    with pytest.raises(EventError, match=r"^thing must be .*, got .*; do so"):
        check("thing", wrong, "do so.")


@pytest.mark.parametrize("good", [1, 0.5, Fraction(1, 4), np.float32(0.5), np.int64(1)])
def test_real_numbers_of_any_kind_become_floats(good):
    for check in (check_positive, check_finite, check_prob):
        assert type(check("thing", good, "")) is float
        assert check("thing", good, "") == float(good)


def test_edges():
    with pytest.raises(EventError):
        check_positive("thing", 0.0, "")
    with pytest.raises(EventError):
        check_prob("thing", math.nextafter(1.0, 2.0), "")
    assert math.copysign(1.0, check_finite("thing", -0.0, "")) == 1.0
    assert check_prob("thing", 0, "") == 0.0
    assert check_prob("thing", 1, "") == 1.0


@pytest.mark.parametrize("wrong", [1.0, True, "1", None, math.nan, 0, -1, np.bool_(True)])
def test_counts(wrong):
    with pytest.raises(LedgerError, match=r"an integer from 1 to 2\*\*53"):
        check_count("times", wrong, 1, "count.", LedgerError)
    assert type(check_count("times", np.int32(3), 1, "")) is int


@pytest.mark.parametrize("wrong", [0, 1, 0.0, 1.0, -1e-9, 1.5, math.nan, math.inf, True, "1e-5", None])
def test_delta_is_strictly_between_zero_and_one(wrong):
    with pytest.raises(EventError, match="delta"):
        check_delta(wrong)


@pytest.mark.parametrize("wrong", [-1e-9, math.inf, math.nan, True, None])
def test_epsilon_is_finite(wrong):
    with pytest.raises(EventError, match="epsilon"):
        check_epsilon(wrong)


@pytest.mark.parametrize("check", [check_delta, check_epsilon, lambda value: check_positive_down("thing", value, "")])
@given(exact=st.fractions(Fraction(1, 10**9), Fraction(10**9 - 1, 10**9), max_denominator=10**30))
def test_targets_are_rounded_down(check, exact):
    """A tenth is below the float64 0.1: who may spend a tenth may not spend 0.1."""
    number = check(exact)
    assert Fraction(number) <= exact < Fraction(math.nextafter(number, 2.0))
    assert check(float(exact)) == float(exact)


def test_targets_without_a_float64_below_are_refused():
    with pytest.raises(EventError, match="> 0 as a float64"):
        check_positive_down("thing", Fraction(3, 4) * Fraction(1, 2**1074), "")
    assert check_positive_down("thing", np.longdouble(0.5), "") == 0.5
    assert check_positive_down("thing", 2**53 + 1, "") == 2.0**53


@pytest.mark.parametrize("given", [[0.0, 2], (np.float32(0.0), 2.0), np.array([-0.0, 2.0]), np.array([0, 2])])
def test_epsilons_become_floats(given):
    epsilons = check_epsilons(given)
    assert epsilons.dtype == np.float64
    assert repr(epsilons.tolist()) == "[0.0, 2.0]"


def test_epsilons_are_copied():
    given = np.array([1.0])
    assert check_epsilons(given) is not given


@pytest.mark.parametrize("wrong", [-1e-9, math.inf, math.nan])
@pytest.mark.parametrize("kind", [list, np.array])
def test_each_of_many_epsilons_is_finite(wrong, kind):
    with pytest.raises(EventError, match="epsilon"):
        check_epsilons(kind([1.0, wrong]))


@pytest.mark.parametrize("wrong", [1.0, None])
def test_epsilons_are_a_sequence(wrong):
    with pytest.raises(EventError, match="epsilons must be a sequence of finite numbers"):
        check_epsilons(wrong)


def test_a_message_never_prints_something_long():
    with pytest.raises(EventError) as caught:
        check_positive("thing", list(range(1000)), "do so.")
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("wrong", [None, 1.0, "12", b"12", [], [1.0, None], [True], ["1"], [math.nan], [1j], [10**400]])
def test_numbers_are_a_sequence_of_them(wrong):
    with pytest.raises(EventError, match="thing must be a sequence of numbers"):
        check_numbers("thing", wrong, "do so.")


def test_numbers_become_plain_floats():
    numbers = check_numbers("thing", np.array([1, 2], dtype=np.int32), "")
    assert numbers == (1.0, 2.0)
    assert {type(number) for number in numbers} == {float}
    assert repr(check_numbers("thing", iter([-0.0, math.inf, -math.inf]), "")) == "(0.0, inf, -inf)"
