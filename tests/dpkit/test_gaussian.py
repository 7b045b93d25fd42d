"""The discrete Gaussian's proposal and accept step, run on every random tape of a small word size."""

import math
from dataclasses import replace
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit._exact import exp_bounds
from dpkit._gaussian import centred_gaussian, gaussian_table
from dpkit.samplers import centred_discrete_gaussian
from tests.oracles.noise import ExhaustedTapeError, Tape, every_trial, gaussian_weight, trial_tape, word

# stddev, fraction of the centre, log2 of the block
CASES = [(0.5, 0.3, 0), (0.7, -0.5, 0), (1.0, 0.0, 0), (1.0, 0.25, 0), (1.7, -0.5, 0), (3.0, 0.3, 1), (5.0, -0.4, 2)]


def _small(stddev, block_bits):
    return centred_gaussian(stddev, 8, 4, 8, block_bits)


def _least(block, width):
    """The least magnitude in a block, by looking at all of it."""
    return min(abs(block * width + x) for x in range(width))


def _index_weight(block, width, stddev):
    a = mp.mpf(_least(block, width))
    return mp.exp(-a * (a - 1) / (2 * mp.mpf(stddev) ** 2))


@pytest.mark.parametrize(("stddev", "fraction", "block_bits"), CASES)
def test_every_tape_of_the_gaussian(stddev, fraction, block_bits):
    """Counting tapes brackets each probability; what is open is the remainder and one uniform an offset."""
    sampler = _small(stddev, block_bits)
    words, inside, more, near, weight = every_trial(sampler)
    blocks = sampler.table.lookup(words) + sampler.table.first
    offsets = (blocks << block_bits) | inside.astype(np.int64)
    uniforms = (sampler.table.marks(words) << 8) | more
    open_ = sampler.decide(blocks, offsets, np.full(len(words), fraction), uniforms)[1] & near
    columns = words[~open_], inside[~open_], more[~open_], near[~open_]
    tape = trial_tape(sampler, *columns)
    drawn, rejected = sampler.trial(np.full(len(columns[0]), fraction), tape)  # any further request would raise
    assert not tape.pieces
    assert (drawn == offsets[~open_]).all()
    surely, maybe = np.delete(weight[~open_], rejected), weight[open_]
    kept = np.delete(drawn, rejected)
    tapes = 1 << 16 + block_bits
    width = 1 << block_bits
    with mp.workdps(40):
        total = mp.fsum(_index_weight(i, width, stddev) for i in range(-300, 300))
        shift = mp.exp(mp.mpf(fraction) ** 2 / (2 * mp.mpf(stddev) ** 2))
        for j in range(-12, 13):
            law = gaussian_weight(j, fraction, stddev) * shift / (total * width)
            # the remainder proposes j with its share of the index law that the table's integers leave out
            chance = _index_weight(j >> block_bits, width, stddev) / total
            left = chance - mp.mpf(sampler.table._weight(j >> block_bits)) / sampler.table.total
            tabled = law * (1 - left / chance)
            low = mp.mpf(int(surely[kept == j].sum())) / tapes
            high = low + mp.mpf(int(maybe[offsets[open_] == j].sum())) / tapes
            assert low - mp.mpf(10) ** -30 <= tabled <= high + mp.mpf(10) ** -30
    assert maybe.sum() < 0.02 * tapes


@pytest.mark.parametrize("stddev", [0.4, 1.0, 2.0, 4.5])
def test_every_tape_of_the_integer_gaussian(stddev):
    """All 2**16 words, each with its 2**6 marks: the law up to what the remainder holds, whose draw is tested apart."""
    table = gaussian_table(stddev, 16, 6)
    counts = np.bincount(table.lookup(np.arange(1 << 16, dtype=np.uint64)), minlength=table.size + 1)
    with mp.workdps(40):
        total = mp.fsum(gaussian_weight(k, 0, stddev) for k in range(-200, 201))
        for k in range(table.first, table.last + 1):
            law = gaussian_weight(k, 0, stddev) / total * (1 << 16)
            assert counts[k - table.first] <= law < counts[k - table.first] + (1 << 6) + 1
    assert table.values(3, Tape(np.array([5, 6, 7], dtype="<u2").tobytes())).shape == (3,)


@pytest.mark.parametrize(("stddev", "fraction", "block_bits"), CASES)
def test_undecided_uniforms_are_resolved_by_exact_comparison(stddev, fraction, block_bits):
    sampler = _small(stddev, block_bits)
    width = 1 << block_bits
    for offset in (0, 1, width, width + 1, -1, -2, -1 - width, -2 - width):
        block = offset >> block_bits
        exponent = sampler.exponent(block, offset, fraction)
        assert exponent >= 0
        digits = exp_bounds(exponent, 200)[0] >> 200 - 76
        uniform, critical = digits >> 64, digits & (2**64 - 1)
        if exponent == 0:
            uniform, critical = 2**12 - 1, 2**64 - 1

        def accept(*words, block=block, offset=offset, uniform=uniform):
            columns = (np.array([x]) for x in (block, offset, fraction, uniform))
            return bool(sampler.accept(*columns, Tape(*map(word, words)))[0])

        assert accept(max(critical - 1, 0)) is True
        if exponent:
            assert accept(critical + 1) is False
            with pytest.raises(ExhaustedTapeError):
                accept(critical)


@given(
    st.floats(2.0**-10, 2.0**40),
    st.integers(-(2**15), 2**15),
    st.floats(0, 1, exclude_max=True),
    st.floats(-0.5, 0.5),
    st.integers(0, 2**50 - 1),
    st.integers(-3, 3),
)
def test_float_decisions_agree_with_exact_ones(stddev, block, inside, fraction, uniform, near):
    """What float64 decides is right: certain verdicts are compared with the exact number, also next to it."""
    block_bits = max(0, int(np.frexp(stddev)[1]) - 12)
    sampler = replace(centred_gaussian(1024.0), stddev=stddev, block_bits=block_bits)
    offset = (block << block_bits) + int(inside * (1 << block_bits))
    low, high = exp_bounds(sampler.exponent(block, offset, fraction), 114)
    for candidate in (uniform, min(max((low >> 64) + near, 0), 2**50 - 1)):
        columns = (np.array([x]) for x in (block, offset, fraction, candidate))
        accepted, undecided = (bool(verdict[0]) for verdict in sampler.decide(*columns))
        if accepted:
            assert (candidate + 1) << 64 <= high
        elif not undecided:
            assert candidate << 64 >= low


def test_no_margin_is_too_small_on_thousands_of_edges():
    """The uniform next to the exact chance, on both sides: without the margin some hundred verdicts are wrong."""
    rng = np.random.default_rng(1)
    for stddev in (0.8, 5.0, 1500.0, 2.0**30):
        sampler = replace(centred_gaussian(stddev), more_bits=33)  # 51 bits: the finest that float64 tells apart
        width, n = 1 << sampler.block_bits, 500
        blocks = rng.integers(sampler.table.first, sampler.table.last + 1, n)
        offsets, fractions = blocks * width + rng.integers(0, width, n), rng.uniform(-0.5, 0.5, n)
        rows = zip(blocks.tolist(), offsets.tolist(), fractions.tolist(), strict=True)
        lows, highs = zip(*(exp_bounds(sampler.exponent(*row), 115) for row in rows), strict=True)
        edges = np.array([low >> 64 for low in lows])
        for uniforms in (edges - 1, edges, edges + 1):
            accepted, undecided = sampler.decide(blocks, offsets, fractions, uniforms)
            for i, u in enumerate(uniforms.tolist()):
                assert not accepted[i] or u + 1 << 64 <= highs[i]
                assert accepted[i] or undecided[i] or u << 64 >= lows[i]


@pytest.mark.parametrize("stddev", [0.3, 1.0, 60.0, 1024.0, 1999.0, 5000.0, 3e9])
def test_the_squeeze_accepts_only_what_is_certain(stddev):
    sampler = centred_gaussian(stddev)
    table, width = sampler.table, 1 << sampler.block_bits
    for fraction in (0.5, -0.5, 0.0):
        for block, offset in (
            (table.last, table.last * width + width - 1),
            (table.first, table.first * width),
            (0, width - 1),
            (-1, -width),
        ):
            low, _ = exp_bounds(sampler.exponent(block, offset, fraction), 114)
            assert sampler.squeeze << 96 <= low
    assert sampler.squeeze > 0 or stddev < 30


@given(st.integers(-300, 300), st.integers(0, 4))
def test_the_least_magnitude_of_a_block(block, block_bits):
    sampler = replace(centred_gaussian(1024.0), block_bits=block_bits)
    assert int(sampler._least(np.array(block))) == _least(block, 1 << block_bits)


def test_the_exponential_is_within_the_stated_error():
    """The margin of 2**-45 allows numpy's exp an error of 2**-50; measured against mpmath."""
    u = np.concatenate([np.linspace(0, 60, 4001), np.logspace(-12, 1, 2001)])
    measured = np.exp(-u)
    with mp.workdps(40):
        worst = max(abs(mp.mpf(float(p)) - mp.exp(-mp.mpf(float(x)))) for x, p in zip(u, measured, strict=True))
    assert worst <= mp.mpf(2) ** -50


@pytest.mark.parametrize(("stddev", "block_bits"), [(0.25, 0), (0.4, 0), (1.0, 0), (3.0, 1), (5.0, 2)])
def test_the_chance_of_a_proposal_hardly_follows_the_fraction(stddev, block_bits):
    """By a factor of at most min(2, exp(1/8s^2)): of all proposals' weights times the shipped accept step."""
    sampler = _small(stddev, block_bits)
    width = 1 << block_bits
    fractions = [Fraction(i, 16) for i in range(-8, 9)]
    with mp.workdps(30):
        chances = []
        for fraction in fractions:
            total = mp.mpf(0)
            for j in range(-20 * math.ceil(stddev), 20 * math.ceil(stddev) + width):
                e = sampler.exponent(j >> block_bits, j, float(fraction))
                total += _index_weight(j >> block_bits, width, stddev) * mp.exp(-mp.mpf(e.numerator) / e.denominator)
            chances.append(total)
        assert all(abs(a - b) < a * mp.mpf("1e-20") for a, b in zip(chances, reversed(chances), strict=True))
        assert chances[8:] == sorted(chances[8:])
        factor = chances[16] / chances[8]
        most = min(mp.mpf(2), mp.exp(1 / (8 * mp.mpf(stddev) ** 2)))
        assert (1 + most) / 2 < factor <= most * (1 + mp.mpf("1e-20")), "hardly any room, and 30 digits"


def test_exponent_is_the_accept_step_of_the_formula():
    sampler = _small(1.5, 1)
    # block -2 is {-4, -3}: a = 3
    assert sampler.exponent(-2, -4, 0.25) == Fraction(16 + 2 - 6, 1) / (2 * Fraction(9, 4))


def test_a_proposal_from_the_remainder_is_never_accepted_unseen():
    """Beyond the table the squeeze does not hold; here it would accept what the law gives 1e-7 of its weight."""
    sampler = _small(1.0, 0)
    words = np.arange(256, dtype=np.uint64)
    rare = words[(sampler.table.lookup(words) == sampler.table.size) & (sampler.table.marks(words) == 0)]
    far = word(2**64 - 2**20)
    offsets, rejected = replace(sampler, squeeze=1).trial(
        np.array([0.5]), Tape(bytes([int(rare[0])]), far, bytes([255]))
    )
    assert offsets[0] < sampler.table.first
    assert rejected.tolist() == [0]


def test_draws_are_around_the_nearest_integer_of_each_center():
    centers = np.array([-(2.0**52), 7.0, 2.0**52, 0.0])
    assert (centred_discrete_gaussian(centers, 0.0625) == centers).all()
