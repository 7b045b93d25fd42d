"""The rounded Laplace law, run on every random tape of a small word size."""

import itertools
import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit._exact import truncated_exponential_bounds
from dpkit._laplace import discrete_laplace_table, rounded_laplace
from tests.oracles.noise import ExhaustedTapeError, Tape, word

CASES = [(0.75, 0.0), (1.0, 0.25), (2.0, -0.5), (2.0, 0.5), (3.0, 0.3)]


def _law(j, fraction, scale):
    """P[rint(f + s Laplace) = j] from the real CDF, 40 digits."""

    def cdf(x):
        return mp.exp(x) / 2 if x < 0 else 1 - mp.exp(-x) / 2

    f, s = mp.mpf(fraction), mp.mpf(scale)
    return cdf((j + mp.mpf(1) / 2 - f) / s) - cdf((j - mp.mpf(1) / 2 - f) / s)


@pytest.mark.parametrize(("scale", "fraction"), CASES)
def test_every_tape_of_the_laplace(scale, fraction):
    """All tapes of the tables' own entries, one word of the high digit for each of its signs, which are counted."""
    sampler = rounded_laplace(scale, 8, 3, 8)
    every = np.arange(256, dtype=np.uint64)
    tabled = every[sampler.high.lookup(every) < sampler.high.size]
    assert not sampler.high.lookup(tabled).any(), "a high digit beyond 0 has probability below 2**-5 here"
    assert np.bincount(sampler.high.marks(tabled) & 1).tolist() == [4 * int(sampler.high.weights[0])] * 2
    signs = [int(tabled[sampler.high.marks(tabled) & 1 == bit][0]) for bit in (0, 1)]
    words, lows, marks = (column.reshape(-1) for column in np.meshgrid(signs, every, every, indexing="ij"))
    keep = sampler.low.lookup(lows) < sampler.low.size
    words, lows, marks = words[keep], lows[keep], marks[keep]
    sign = 1 - 2 * (words & 1)
    open_ = sampler.decide(sign, np.full(len(words), fraction), marks)[1]
    low_digit = sampler.low.lookup(lows)
    tapes = [column[~open_].astype("<u1").tobytes() for column in (words, lows, marks)]
    drawn = sampler.offsets(np.full(int((~open_).sum()), fraction), Tape(*tapes))
    with mp.workdps(40):
        for j in range(-5, 6):
            # given high digit 0 and a tabled low digit n: n = |j| or |j| - 1, each by its integer weight
            law = mp.mpf(0)
            for v in (1, -1):
                theta = mp.mpf(1) / 2 - v * mp.mpf(fraction)
                stay = mp.expm1(-theta / scale) / mp.expm1(-1 / mp.mpf(scale))
                size = v * j
                for n, chance in ((size, stay), (size - 1, 1 - stay)):
                    if 0 <= n < sampler.low.size:
                        law += chance / 2 * int(sampler.low.weights[n]) / sampler.low.total
            digits = np.abs(np.where(sign[open_] > 0, j, -j))
            surely = mp.mpf(int((drawn == j).sum())) / 2**17
            maybe = mp.mpf(int(((low_digit[open_] == digits) | (low_digit[open_] == digits - 1)).sum())) / 2**17
            assert surely <= law + mp.mpf(10) ** -30
            assert law <= surely + maybe + mp.mpf(10) ** -30


@pytest.mark.parametrize(("scale", "block_bits", "digit_bits"), [(0.4, 0, 1), (3.0, 0, 1), (5.0, 1, 1), (5.0, 2, 1)])
def test_every_tape_of_the_discrete_laplace(scale, block_bits, digit_bits):
    """Every combination of entries of the tables, weighted by its words: the law up to what the remainders hold."""
    sampler = discrete_laplace_table(scale, 16, 6, block_bits, digit_bits)
    tables = [sampler.blocks, *(table for _, table in sampler.digits)]
    assert len(tables) == 1 + block_bits
    words = np.arange(1 << 16, dtype=np.uint64)
    # a word stands for its entry; the first word of each is enough, with the entry's integer as weight
    firsts = []
    for table in tables:
        index, at = np.unique(table.lookup(words), return_index=True)
        firsts.append(
            [(int(words[a]), int(table.weights[i])) for i, a in zip(index, at, strict=True) if i < table.size]
        )
    rows = list(itertools.product(*firsts))
    tape = [np.array([row[k][0] for row in rows], dtype="<u2").tobytes() for k in range(len(tables))]
    drawn = sampler.values(len(rows), Tape(*tape))
    total = math.prod(table.total for table in tables)
    with mp.workdps(40):
        q = mp.exp(-1 / mp.mpf(scale))
        got = Counter()
        for value, row in zip(drawn.tolist(), rows, strict=True):
            got[value] += math.prod(weight for _, weight in row)
        missing = mp.fsum(mp.mpf(table.residual) / table.total for table in tables)
        for k in range(-12, 13):
            law = (1 - q) / (1 + q) * q ** abs(k)
            # no value has more than its share, and none lacks more than a floor of each table
            lack = mp.fsum(mp.mpf(3) / table.total for table in tables)
            assert mp.mpf(got[k]) / total <= law <= mp.mpf(got[k]) / total + lack
        assert missing < 0.05


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1023.0, 1024.0, 5e4, 2.0**40])
def test_the_blocks_and_digits_of_the_discrete_laplace_make_up_its_law(scale):
    """The ideal laws of the full-size parts, multiplied, are q^|k|: for places in several blocks on both sides."""
    sampler = discrete_laplace_table(scale)
    width = 1 << sampler.block_bits
    assert sum(table.law.up.limit.bit_length() - 1 for _, table in sampler.digits) == sampler.block_bits
    for k in (0, 1, -1, -2, width - 1, width, -width, -width - 1, 5 * width + width // 3, -7 * width - width // 5):
        block = k >> sampler.block_bits
        place = (k & (width - 1)) ^ (width - 1 if k < 0 else 0)
        side = sampler.blocks.law.down if block < 0 else sampler.blocks.law.up
        exponent = side.start + (-1 - block if block < 0 else block) * side.first
        for lowest, table in sampler.digits:
            exponent += (place >> lowest & table.law.up.limit - 1) * table.law.up.first
        assert exponent == abs(k) / Fraction(scale)


@pytest.mark.parametrize(("scale", "fraction"), [*CASES, (1500.0, 0.3), (1024.0, -0.5)])
def test_the_composition_of_sign_digits_and_fraction_is_the_law(scale, fraction):
    """What the sampler draws, summed with the ideal laws of its parts, is the rounded real Laplace law."""
    with mp.workdps(40):
        s, f = mp.mpf(scale), mp.mpf(fraction)
        for j in (-70, -3, -1, 0, 1, 2, 5, 64, 129):
            total = mp.mpf(0)
            for v in (1, -1):
                theta = mp.mpf(1) / 2 - v * f
                stay = mp.expm1(-theta / s) / mp.expm1(-1 / s)
                for n, chance in ((v * j, stay), (v * j - 1, 1 - stay)):
                    if n >= 0:
                        high, low = divmod(n, 64)
                        top = mp.exp(-64 * high / s) * -mp.expm1(-64 / s)
                        total += chance / 2 * top * mp.exp(-low / s) * mp.expm1(-1 / s) / mp.expm1(-64 / s)
            assert abs(total - _law(j, fraction, scale)) < mp.mpf(10) ** -35


@pytest.mark.parametrize(("scale", "fraction"), CASES)
def test_undecided_marks_are_resolved_by_exact_comparison(scale, fraction):
    sampler = rounded_laplace(scale, 8, 3, 8)
    for v in (1, -1):
        theta = Fraction(1, 2) - v * Fraction(fraction)
        digits = truncated_exponential_bounds(theta, Fraction(scale), 200)[0] >> 200 - 72
        mark, critical = digits >> 64, digits & (2**64 - 1)
        if theta in (0, 1):
            continue

        def jump(*words, v=v, mark=mark):
            # a word of either sign, low digit 0: the offset is 0 where T < theta and v elsewhere
            tape = [bytes([0 if v > 0 else 1]), bytes([0]), bytes([mark]), *map(word, words)]
            return int(sampler.offsets(np.array([fraction]), Tape(*tape))[0])

        assert sampler.low.lookup(np.zeros(1, dtype=np.uint64))[0] == 0
        assert not sampler.high.lookup(np.array([0, 1], dtype=np.uint64)).any()
        assert jump(critical - 1) == 0
        assert jump(critical + 1) == v
        with pytest.raises(ExhaustedTapeError):
            jump(critical)


@given(st.floats(0.5, 2048), st.floats(-0.5, 0.5), st.sampled_from([1, -1]), st.integers(-3, 3))
def test_float_decisions_agree_with_exact_ones(scale, fraction, sign, near):
    sampler = rounded_laplace(1024.0)
    sampler = type(sampler)(scale, sampler.high, sampler.low, 32)
    theta = Fraction(1, 2) - sign * Fraction(fraction)
    low, high = truncated_exponential_bounds(theta, Fraction(scale), 96)
    mark = min(max((low >> 64) + near, 0), 2**32 - 1)
    columns = np.array([sign]), np.array([fraction]), np.array([mark], dtype="<u4")
    stays, undecided = (bool(verdict[0]) for verdict in sampler.decide(*columns))
    if stays:
        assert (mark + 1) << 64 <= high
    elif not undecided:
        assert mark << 64 >= low


def test_no_margin_is_too_small_on_thousands_of_edges():
    """At 51 bits, the finest that float64 tells apart, the mark next to the exact chance, on both sides."""
    rng, n = np.random.default_rng(1), 700
    for scale in (0.5, 1024.0, 1777.7):
        sampler = replace(rounded_laplace(1024.0), scale=scale, accept_bits=51)
        sign, fractions = rng.choice([-1, 1], n), rng.uniform(-0.5, 0.5, n)
        thetas = [Fraction(1, 2) - v * Fraction(f) for v, f in zip(sign.tolist(), fractions.tolist(), strict=True)]
        lows, highs = zip(*(truncated_exponential_bounds(t, Fraction(scale), 115) for t in thetas), strict=True)
        edges = np.array([low >> 64 for low in lows])
        for marks in (edges - 1, edges, edges + 1):
            stays, undecided = sampler.decide(sign, fractions, marks)
            for i, mark in enumerate(marks.tolist()):
                assert not stays[i] or mark + 1 << 64 <= highs[i]
                assert stays[i] or undecided[i] or mark << 64 >= lows[i]


def test_the_ends_of_theta_are_certain():
    """f = 1/2 upwards always reaches the next integer, downwards never: no mark may say otherwise."""
    sampler = rounded_laplace(1024.0)
    marks = np.array([0, 2**31, 2**32 - 1], dtype="<u4")
    halves = np.full(3, 0.5)
    stays, undecided = sampler.decide(np.ones(3, dtype=np.int64), halves, marks)
    assert not stays.any()
    assert not undecided[1:].any()
    stays, undecided = sampler.decide(-np.ones(3, dtype=np.int64), halves, marks)
    assert stays[:2].all()
