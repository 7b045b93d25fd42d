"""Interval exponentials against mpmath; Bernoulli comparisons on every prefix and at the critical word."""

import decimal
from fractions import Fraction

import mpmath as mp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit._exact import LazyUniform, exp_bounds, truncated_exponential_bounds
from dpkit.errors import EntropyError
from tests.oracles.noise import ExhaustedTapeError, Tape, word

RATES = st.fractions(min_value=0, max_value=200, max_denominator=10**9)


def _exact(function, bits):
    with mp.workprec(2 * bits + 400):
        return int(mp.floor(function() * mp.mpf(2) ** bits))


@given(RATES, st.integers(8, 700))
def test_exp_bounds_enclose(exponent, bits):
    low, high = exp_bounds(exponent, bits)
    truth = _exact(lambda: mp.exp(-mp.mpf(exponent.numerator) / exponent.denominator), bits)
    assert low <= truth
    assert (truth + 1 <= high) or exponent == 0
    assert high - low <= 3


def test_exp_bounds_far_out_and_at_zero():
    assert exp_bounds(Fraction(10**6), 100) == (0, 1)
    assert exp_bounds(Fraction(0), 100) == (1 << 100, 1 << 100)


@given(st.fractions(0, 1, max_denominator=10**6), st.fractions(Fraction(1, 2), 3000), st.integers(8, 300))
def test_truncated_exponential_bounds_enclose(theta, scale, bits):
    low, high = truncated_exponential_bounds(theta, scale, bits)

    def truth():
        rate = mp.mpf(scale.denominator) / scale.numerator
        return mp.expm1(-rate * theta.numerator / theta.denominator) / mp.expm1(-rate)

    exact = _exact(truth, bits)
    assert low <= exact <= high
    assert high - low <= 2


@pytest.mark.parametrize("exponent", [Fraction(1, 3), Fraction(7, 5), Fraction(1, 10**6), Fraction(6)])
def test_bernoulli_on_every_prefix(exponent):
    bits = 10
    verdicts = []
    for prefix in range(1 << bits):
        try:
            verdicts.append(LazyUniform(Tape(), prefix, bits).below(lambda b: exp_bounds(exponent, b)))
        except ExhaustedTapeError:
            verdicts.append(None)
    heads = verdicts.count(True)
    assert verdicts.count(None) == 1
    assert verdicts == [True] * heads + [None] + [False] * ((1 << bits) - heads - 1)
    assert heads == _exact(lambda: mp.exp(-mp.mpf(exponent.numerator) / exponent.denominator), bits)


def test_bernoulli_refines_with_fresh_bits_at_the_critical_word():
    exponent, bits = Fraction(1, 3), 10
    digits = _exact(lambda: mp.exp(-mp.mpf(1) / 3), bits + 64)
    prefix, critical = digits >> 64, digits & (2**64 - 1)

    def below(*words):
        return LazyUniform(Tape(*map(word, words)), prefix, bits).below(lambda b: exp_bounds(exponent, b))

    assert below(critical - 1) is True
    assert below(critical + 1) is False
    assert below(critical, 0) is True
    assert below(critical, 2**64 - 1) is False
    with pytest.raises(ExhaustedTapeError):
        below(critical)


def test_certainty_needs_no_bits():
    assert LazyUniform(Tape(), 7, 3).below(lambda bits: exp_bounds(Fraction(0), bits)) is True


@pytest.mark.parametrize("length", [0, 7, 9])
def test_a_uniform_is_refined_by_as_many_bits_as_it_counts(length):
    """A ninth byte would lift the uniform above 1, a missing one press it towards 0."""

    class Broken:
        def bytes(self, _):
            return b"\xff" * length

    uniform = LazyUniform(Broken())
    with pytest.raises(EntropyError, match="must return 8 bytes"):
        uniform.refine()


def test_exp_bounds_do_not_hear_of_the_default_context(monkeypatch):
    expected = [exp_bounds(Fraction(x, 3), 164) for x in (1, 100, 400)]
    monkeypatch.setitem(decimal.DefaultContext.traps, decimal.Inexact, True)
    monkeypatch.setattr(decimal.DefaultContext, "Emax", 1)
    monkeypatch.setattr(decimal.DefaultContext, "Emin", -1)
    assert [exp_bounds(Fraction(x, 3), 164) for x in (1, 100, 400)] == expected


@pytest.mark.parametrize("prefix", range(8))
def test_wide_bounds_decide_only_what_they_enclose(prefix):
    """A chance of 1/2 that is first known to lie in [1/4, 3/4]: what is between takes bits, and then their verdict."""

    def bounds(bits):
        return (1 << bits - 2, 3 << bits - 2) if bits < 100 else (1 << bits - 1, 1 << bits - 1)

    assert LazyUniform(Tape(word(0)), prefix, 3).below(bounds) is (prefix < 4)
    if 2 <= prefix < 6:
        with pytest.raises(ExhaustedTapeError):
            LazyUniform(Tape(), prefix, 3).below(bounds)
    else:
        assert LazyUniform(Tape(), prefix, 3).below(bounds) is (prefix < 4)
