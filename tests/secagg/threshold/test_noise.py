"""The noise is the discrete Gaussian to the last bit of its table, and its sums stay where they are said to stay."""

from __future__ import annotations

import math
from bisect import bisect_right
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import ParameterError
from secagg.threshold import noise
from secagg.threshold.noise import BOUND, STDDEV, gaussian, tail
from tests.oracles import lattice as oracle

KEY = bytes(range(32))
TABLE = noise._thresholds()
words = st.integers(0, 2**64 - 1)


def _weights():
    """2^128 times the probability of each value that is drawn, from -BOUND on."""
    return np.diff(np.array([0, *TABLE, 2**128], dtype=object)).tolist()


@cache
def _sum_law(parties):
    return oracle.sum_law(_weights(), parties)


def _words(numbers):
    first = np.array([n >> 64 for n in numbers], dtype=np.uint64)
    return first, np.array([n % 2**64 for n in numbers], dtype=np.uint64)


def test_law_is_the_gaussian_to_the_last_bit():
    assert oracle.table() == TABLE
    weights = _weights()
    assert len(weights) == 2 * BOUND + 1
    assert weights == weights[::-1]
    assert min(weights) > 0
    with mpmath.workdps(150):
        ideal, beyond = oracle.gaussian_weights()
        total = ideal[0] + 2 * sum(ideal[1:]) + 2 * beyond
        theta = mpmath.jtheta(3, 0, mpmath.exp(-50 / mpmath.mpf(64) ** 2))
        assert abs(total - theta) < mpmath.mpf(10) ** -140
        drawn = [mpmath.mpf(w) / 2**128 for w in weights[BOUND:]]
        law = [weight / total for weight in ideal]
        gap = [abs(a - b) for a, b in zip(drawn, law, strict=True)]
        distance = (gap[0] + 2 * sum(gap[1:]) + 2 * beyond / total) / 2
        assert mpmath.mpf(2) ** -108 < distance < mpmath.mpf(2) ** -107
        assert max(a / b for a, b in zip(drawn, law, strict=True)) <= 1 + mpmath.mpf(2) ** -20


def test_no_threshold_is_near_a_half():
    # so that what is rounded to the next integer is the same for everybody who computes it a little differently
    with mpmath.workdps(150):
        assert min(abs(abs(t - mpmath.nint(t)) - mpmath.mpf(1) / 2) for t in oracle.thresholds()) > 2.0**-20


def test_standard_deviation_is_that_of_the_law():
    variance = Fraction(sum(w * (x - BOUND) ** 2 for x, w in enumerate(_weights())), 2**128)
    assert abs(variance - Fraction(4096, 100)) < Fraction(1, 2**80)
    assert math.sqrt(variance) == STDDEV
    assert 12 * STDDEV - 1 < BOUND <= 12 * STDDEV


def test_every_threshold_decides_to_the_last_bit():
    numbers = [0, 2**64 - 1, 2**64, 2**128 - 2**64, 2**128 - 1]
    for step in TABLE:
        whole = step >> 64 << 64
        numbers += [step - 1, step, step + 1, whole, whole - 1, whole + 2**64 - 1, whole + 2**64]
    numbers = sorted({n for n in numbers if 0 <= n < 2**128})
    drawn = noise._table().draw(*_words(numbers)).tolist()
    assert drawn == [sum(step <= n for step in TABLE) - BOUND for n in numbers]
    assert set(drawn) == set(range(-BOUND, BOUND + 1))


@given(st.lists(st.integers(0, 2**128 - 1), max_size=20), st.data())
def test_any_table_is_searched_exactly(numbers, data):
    # few upper words and cells, so that thresholds share them
    narrow = st.tuples(st.sampled_from([0, 1, 2**48 - 1, 2**48, 2**64 - 1]), st.integers(0, 3) | words)
    several = st.lists(narrow.map(lambda w: w[0] << 64 | w[1]), min_size=1, max_size=8)
    steps = sorted(data.draw(several))
    numbers = numbers + data.draw(several) + steps
    drawn = noise._Table(steps).draw(*_words(numbers)).tolist()
    assert drawn == [bisect_right(steps, n) - BOUND for n in numbers]


@pytest.mark.parametrize("index", [0, 3, 2**32 - 1])
def test_draws_are_those_of_the_thresholds(index):
    draws = gaussian(KEY, index=index, count=400)
    assert draws.dtype == np.int64
    assert draws.tolist() == oracle.gaussian(KEY, index, 400)


def test_draws_go_on_in_the_next_chunk():
    size = 2**15
    whole = gaussian(KEY, index=1, count=2 * size + 5)
    for count in (0, 1, size - 1, size, size + 1, 2 * size):
        assert (gaussian(KEY, index=1, count=count) == whole[:count]).all()
    stream = noise.Keystream(KEY, np.dtype(np.uint64), 1)
    for chunk in (0, 1, 2):
        own = whole[size * chunk : size * (chunk + 1)][:5]
        pairs = stream.words(chunk, 0, 2 * own.size).tolist()
        assert own.tolist() == [
            bisect_right(TABLE, first << 64 | second) - BOUND
            for first, second in zip(pairs[::2], pairs[1::2], strict=True)
        ]


def test_streams_of_a_key_differ():
    seen = {gaussian(key, index=index, count=64).tobytes() for key in (KEY, bytes(32)) for index in (0, 1, 256, 2**31)}
    assert len(seen) == 8


@pytest.mark.parametrize("parties", [1, 2, 3, 5])
def test_tail_bounds_the_exact_convolution(parties):
    law = _sum_law(parties)
    total, centre = 2 ** (128 * parties), parties * BOUND
    beyond = total
    for limit in range(centre + 2):
        beyond -= law[centre] if limit == 0 else 2 * law[centre + limit] if limit <= centre else 0
        bound = tail(parties, limit)
        assert Fraction(beyond, total) <= Fraction(bound)
        assert (bound == 0.0) == (limit >= centre) == (beyond == 0)
        assert bound <= 1.0


@given(st.integers(1, 2**20), st.integers(0, 2**28))
def test_tail_is_rounded_up(parties, limit):
    # the formula to 60 digits; from an exponent of 700 on the bound stays, and is larger
    bound = tail(parties, limit)
    if limit >= parties * BOUND:
        assert bound == 0.0
        return
    with mpmath.workdps(60):
        exponent = mpmath.mpf(25) * (limit + 1) ** 2 / (2048 * parties)
        formula = 2 * (1 + mpmath.mpf(2) ** -20) ** parties * mpmath.exp(-exponent)
        assert bound >= min(1, formula)
        assert exponent > 699 or bound <= formula * (1 + mpmath.mpf(2) ** -30) * mpmath.exp(mpmath.mpf(parties) / 2**40)


def test_tail_of_a_hundred_parties():
    # q = 2^60 and t = 2^46 leave 2^13 - 50 for the noise of a hundred
    assert tail(100, 8142) == 0.0
    assert 0.0 < tail(128, 8128) < 2.0**-1000
    assert tail(100, 775) < 2.0**-64 < tail(100, 600)


def test_bad_arguments_are_refused():
    for key, index, count in (
        (bytes(31), 0, 1),
        ("k" * 32, 0, 1),
        (KEY, -1, 1),
        (KEY, 2**32, 1),
        (KEY, 0, -1),
        (KEY, 0, 2**47 + 1),
        (KEY, 0, 1.0),
        (KEY, True, 1),
    ):
        with pytest.raises(ParameterError):
            gaussian(key, index=index, count=count)
    for parties, limit in ((0, 1), (2**20 + 1, 1), (1, -1), (1, 0.5), (True, 1)):
        with pytest.raises(ParameterError, match=r"parties must be|limit must be"):
            tail(parties, limit)
