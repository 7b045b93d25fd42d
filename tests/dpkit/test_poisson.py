"""The Poisson law, run on every random tape of a small word size; its float64 side against many digits."""

import math
from dataclasses import replace
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit._ladder import MARGIN
from dpkit._poisson import _Slope, log_ratio, poisson_sampler, walk
from tests.oracles.noise import ExhaustedTapeError, Tape, every_trial, trial_tape, word

# rate, log2 of the block
CASES = [(2.0, 1), (6.5, 1), (9.0, 2), (3.25, 2)]


def _weight(n, rate):
    """P[N = n], 60 digits."""
    with mp.workdps(60):
        return mp.exp(-mp.mpf(rate) + n * mp.log(mp.mpf(rate)) - mp.loggamma(n + 1)) if n >= 0 else mp.mpf(0)


def _top(block, width, mode):
    """The likeliest number of a block, by looking at all of it."""
    return mode + (block * width if block >= 0 else block * width + width - 1)


@pytest.mark.parametrize("rate", [0.2, 1.0, 3.7, 8.0])
def test_every_word_of_a_table(rate):
    sampler = poisson_sampler(rate, 16, 6)
    table, mode = sampler.table, math.floor(rate)
    counts = np.bincount(table.lookup(np.arange(1 << 16, dtype=np.uint64)), minlength=table.size + 1)
    for value in range(table.first, table.last + 1):
        law = _weight(mode + value, rate) * (1 << 16)
        assert counts[value - table.first] <= law < counts[value - table.first] + (1 << 6) + 1
    assert table.first >= -mode, "no number below zero"


@pytest.mark.parametrize(("rate", "block_bits"), CASES)
def test_every_tape_of_the_poisson(rate, block_bits):
    """Counting tapes brackets each probability; what is open is the remainder and one uniform a number."""
    sampler = poisson_sampler(rate, 8, 4, 8, block_bits)
    table, width, mode = sampler.table, 1 << block_bits, math.floor(rate)
    words, inside, more, near, weight = every_trial(sampler)
    blocks = table.lookup(words) + table.first
    values = (blocks << block_bits) | inside.astype(np.int64)
    uniforms = (table.marks(words) << 8) | more
    open_ = sampler.decide(blocks, values, uniforms)[1] & near
    columns = words[~open_], inside[~open_], more[~open_], near[~open_]
    tape = trial_tape(sampler, *columns)
    drawn, rejected = sampler.trial(len(columns[0]), tape)  # any further request would raise
    assert not tape.pieces
    assert (drawn == values[~open_]).all()
    surely, maybe, kept = np.delete(weight[~open_], rejected), weight[open_], np.delete(drawn, rejected)
    tapes = 1 << 16 + block_bits
    with mp.workdps(40):
        total = mp.fsum(_weight(_top(i, width, mode), rate) for i in range(-60, 120))
        for value in range(-mode - 3, 25):
            block = value >> block_bits
            left = _weight(_top(block, width, mode), rate) / total - mp.mpf(table._weight(block)) / table.total
            law = _weight(mode + value, rate) / (total * width)
            tabled = law - left * _weight(mode + value, rate) / (_weight(_top(block, width, mode), rate) or 1) / width
            low = mp.mpf(int(surely[kept == value].sum())) / tapes
            high = low + mp.mpf(int(maybe[values[open_] == value].sum())) / tapes
            assert low - mp.mpf(10) ** -30 <= tabled <= high + mp.mpf(10) ** -30
    assert maybe.sum() < 0.02 * tapes


@pytest.mark.parametrize(("rate", "block_bits"), CASES)
def test_undecided_uniforms_are_resolved_by_exact_comparison(rate, block_bits):
    sampler = poisson_sampler(rate, 8, 4, 8, block_bits)
    width, mode = 1 << block_bits, math.floor(rate)
    for value in (1, width + 1, -2, -1 - width, 2 * width - 1):
        block = value >> block_bits
        top = _top(block, width, mode)
        ratio = Fraction(1)
        for n in range(top + 1, mode + value + 1):
            ratio *= Fraction(rate) / n
        for n in range(mode + value + 1, top + 1):
            ratio *= n / Fraction(rate)
        if (ratio * 2**76).denominator == 1:
            continue  # such a ratio has no last digit to be undecided about, but for all further bits being 0
        digits = math.floor(ratio * 2**76)
        uniform, critical = digits >> 64, digits & (2**64 - 1)

        def accept(*words, block=block, value=value, uniform=uniform):
            columns = (np.array([x]) for x in (block, value, uniform))
            return bool(sampler.accept(*columns, Tape(*map(word, words)))[0])

        assert accept(max(critical - 1, 0)) is True
        assert accept(critical + 1) is False
        with pytest.raises(ExhaustedTapeError):
            accept(critical)


def test_no_margin_is_too_small_on_thousands_of_edges():
    """The uniform next to the exact ratio, on both sides; float64 is off by some hundred of them."""
    rng, n = np.random.default_rng(1), 300
    for rate in (2.0**24, 2.0**31 + 0.3):
        sampler = poisson_sampler(rate)
        width = 1 << sampler.block_bits
        blocks = rng.integers(sampler.table.first, sampler.table.last + 1, n)
        values = blocks * width + rng.integers(0, width, n)
        tops = sampler._tops(blocks)
        rows = zip(tops.tolist(), values.tolist(), strict=True)
        bounds = [sampler.ratio_bounds(top, value, 114) for top, value in rows]
        edges = np.array([low >> 64 for low, _ in bounds])
        for uniforms in (edges - 1, edges, np.minimum(edges + 1, 2**50 - 1)):
            accepted, undecided = sampler.decide(blocks, values, uniforms)
            for i, u in enumerate(uniforms.tolist()):
                assert not accepted[i] or u + 1 << 64 <= bounds[i][1]
                assert accepted[i] or undecided[i] or u << 64 >= bounds[i][0]


@given(st.floats(1.0, 2.0**39), st.floats(-8, 8), st.integers(0, 2000))
def test_log_ratio_is_within_half_the_margin(rate, deviations, apart):
    number = max(0, math.floor(rate + deviations * math.sqrt(rate)))
    other = max(0, number - apart)
    with mp.workdps(60):
        truth = (number - other) * mp.log(mp.mpf(rate)) - mp.loggamma(number + 1) + mp.loggamma(other + 1)
        got = float(log_ratio(np.array([number]), np.array([other]), rate)[0])
        assert abs(mp.mpf(got) - truth) < MARGIN / 2


@pytest.mark.parametrize("rate", [1e-6, 0.3, 2.5, 1000.0])
def test_log_ratio_of_small_rates(rate):
    numbers = np.arange(0, 60 if rate < 100 else 1400)
    got = log_ratio(numbers, np.full_like(numbers, math.floor(rate)), rate)
    kept = got > -60
    with mp.workdps(40):
        for n in numbers[kept][:: max(1, int(kept.sum()) // 60)]:
            truth = mp.log(_weight(int(n), rate) / _weight(math.floor(rate), rate))
            assert abs(mp.mpf(float(got[n])) - truth) < MARGIN / 2


@pytest.mark.parametrize("rate", [0.25, 1.0, 5.5, 40.0])
@pytest.mark.parametrize("block_bits", [0, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_slope_encloses_its_weights_both_ways(rate, block_bits, sign):
    slope, mode, width = _Slope(Fraction(rate), block_bits, sign), math.floor(rate), 1 << block_bits
    tops = [_top(k if sign > 0 else -1 - k, width, mode) for k in range(400)]
    with mp.workdps(60):
        truth = [_weight(n, rate) / _weight(mode, rate) for n in tops]
        found, error, rest = slope.integers(128, 46)
        for k, low in enumerate(found):
            assert low <= truth[k] * mp.mpf(2) ** 128 <= low + error
        beyond = mp.fsum(truth[len(found) :])
        assert beyond * mp.mpf(2) ** 128 <= rest
        assert beyond < mp.mpf(2) ** -40
        logs, float_rest = slope.logs(46)
        for k in range(logs.size):
            assert abs(mp.mpf(float(logs[k])) - mp.log(truth[k])) < MARGIN / 2
        assert mp.fsum(truth[logs.size :]) <= float_rest + mp.mpf(2) ** -1000
        assert len(found) == pytest.approx(logs.size, abs=1)


@pytest.mark.parametrize("rate", [2.0**24, 2.0**31 + 0.5, 2.0**39])
def test_blocks_of_a_large_rate(rate):
    """Weights of block tops, the squeeze, and the step of the product, at the largest scales."""
    sampler = poisson_sampler(rate)
    table, width, mode = sampler.table, 1 << sampler.block_bits, math.floor(rate)
    with mp.workdps(60):
        total = mp.fsum(_weight(_top(i, width, mode), rate) for i in range(table.first - 60, table.last + 60))
        for block in (0, 1, -1, table.first // 2, table.last // 2, table.first + 5, table.last - 5):
            share = _weight(_top(block, width, mode), rate) / total * table.total
            assert table._weight(block) <= share < table._weight(block) + 1 + share * mp.mpf(2) ** -32
        for block, farthest in ((table.last, width - 1), (table.first, 0), (0, width - 1), (-1, 0)):
            ratio = _weight(mode + block * width + farthest, rate) / _weight(_top(block, width, mode), rate)
            assert sampler.squeeze <= ratio * (1 << table.spare_bits)
        assert sampler.squeeze > (1 << table.spare_bits) // 2
        low, high = sampler.ratio_bounds(0, 700, 80)
        assert low <= _weight(mode + 700, rate) / _weight(mode, rate) * mp.mpf(2) ** 80 <= high
        low, high = sampler.ratio_bounds(-1, -700, 80)
        assert low <= _weight(mode - 700, rate) / _weight(mode - 1, rate) * mp.mpf(2) ** 80 <= high


def test_numbers_below_zero_are_never_accepted():
    sampler = poisson_sampler(3.25, 8, 4, 8, 2)
    blocks, values = np.array([-1, -1, -1, -1]), np.array([-1, -2, -3, -4])
    accepted, undecided = sampler.decide(blocks, values, np.zeros(4, dtype=np.int64))
    assert (accepted | undecided).tolist() == [True, True, True, False]
    assert walk(1 << 60, 2, -4, Fraction(3)) == 0
    assert (sampler.values(4096, _system()) >= -3).all()


def test_a_proposal_from_the_remainder_is_never_accepted_unseen():
    """Beyond the table the squeeze does not hold; here it would accept a number below zero."""
    sampler = replace(poisson_sampler(6.5, 8, 4, 8, 2), squeeze=1)
    words = np.arange(256, dtype=np.uint64)
    rare = words[(sampler.table.lookup(words) == sampler.table.size) & (sampler.table.marks(words) == 0)]
    value, rejected = sampler.trial(1, Tape(bytes([int(rare[0])]), word(2**64 - 2**40), bytes(8), bytes([255])))
    assert value[0] // 4 < sampler.table.first
    assert rejected.tolist() == [0]


def _system():
    from dpkit.entropy import system

    return system()
