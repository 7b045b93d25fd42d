"""The alias table: every word of a small size, and the remainder on every prefix."""

from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest

from dpkit._alias import Ladder, build_table
from tests.oracles.noise import ExhaustedTapeError, Tape, word

GAUSS_1 = Ladder(Fraction(0), Fraction(1))
LADDERS = {
    "gaussian, s=1": GAUSS_1,
    "gaussian, s=5": Ladder(Fraction(0), Fraction(1, 25)),
    "blocks of 4, s=7": Ladder(Fraction(12, 98), Fraction(16, 49)),
    "geometric": Ladder(Fraction(1, 3), Fraction(0)),
    "digit": Ladder(Fraction(1, 9), Fraction(0), limit=16),
}


def _probabilities(ladder, size):
    """U_k / Z with 80 digits, by the closed form of the weights."""
    with mp.workdps(80):

        def weight(k):
            exponent = k * ladder.first + Fraction(k * (k - 1), 2) * ladder.step
            return mp.exp(-mp.mpf(exponent.numerator) / exponent.denominator)

        total = mp.fsum(weight(k) for k in range(ladder.limit or 2000))
        return [weight(k) / total if ladder.limit is None or k < ladder.limit else mp.mpf(0) for k in range(size)]


@pytest.mark.parametrize("name", LADDERS)
@pytest.mark.parametrize("word_bits", [8, 16])
def test_every_word(name, word_bits):
    table = build_table(LADDERS[name], word_bits)
    half = 1 << (word_bits - 1)
    words = np.arange(2 * half, dtype=f"<u{word_bits // 8}")
    index = table.lookup(words)
    assert (index[:half] == index[half:]).all(), "the top bit is left for the sign"
    counts = np.bincount(index[:half], minlength=table.size + 1)
    assert tuple(counts[: table.size]) == table.weights
    assert counts[table.size] == table.residual > 0
    assert counts.sum() == half
    for k, p in enumerate(_probabilities(LADDERS[name], table.size)):
        with mp.workdps(60):
            assert table.weights[k] <= p * half < table.weights[k] + 1 + mp.mpf(2) ** -10


@pytest.mark.parametrize("name", LADDERS)
def test_the_remainder_on_every_prefix(name):
    table, bits = build_table(LADDERS[name], 8), 9
    found = [table.locate(prefix, bits) for prefix in range(1 << bits)]
    certain = [k for k in found if k is not None]
    assert certain == sorted(certain), "inversion is monotone"
    # a prefix is open where a boundary between two indices lies in it, or beyond the last certain one
    last = max(i for i, k in enumerate(found) if k is not None)
    assert found[:last].count(None) <= max(certain)
    size = max(certain) + 1
    weights = [*table.weights, *[0] * size][:size]
    beyond = len(found) - 1 - last
    with mp.workdps(60):
        for k, p in enumerate(_probabilities(LADDERS[name], size)):
            truth = (p * 128 - weights[k]) / table.residual * (1 << bits)
            room = 2 if k < max(certain) else 1 + beyond
            assert certain.count(k) <= truth + mp.mpf(10) ** -30
            assert truth <= certain.count(k) + room


def test_the_remainder_refines_at_its_edges():
    table = build_table(GAUSS_1, 8)
    p = _probabilities(GAUSS_1, 1)[0]
    with mp.workdps(80):
        edge = int(mp.floor((p * 128 - table.weights[0]) / table.residual * mp.mpf(2) ** 64))
    assert table.residual_index(Tape(word(edge - 1))) == 0
    assert table.residual_index(Tape(word(edge + 1))) == 1
    assert table.residual_index(Tape(word(edge), word(0))) == 0
    assert table.residual_index(Tape(word(edge), word(2**64 - 1))) == 1
    with pytest.raises(ExhaustedTapeError):
        table.residual_index(Tape(word(edge)))


def test_the_remainder_reaches_beyond_the_table():
    table = build_table(GAUSS_1, 8)
    assert table.residual_index(Tape(word(2**64 - 2**20))) > table.size


def test_the_full_size_table_misses_almost_nothing():
    table = build_table(Ladder(Fraction(0), 1 / Fraction(1500) ** 2), 64)
    assert sum(table.weights) + table.residual == 1 << 63
    assert table.residual <= table.size + 100
    assert int(table.thresholds.max()) <= 1 << 63 - 14
    with mp.workdps(60):
        weights = [mp.exp(-mp.mpf(k * (k - 1)) / (2 * 1500**2)) for k in range(30_000)]
        unit = mp.mpf(2) ** 63 / mp.fsum(weights)
        for k in (0, 1, 2, 700, 9000):
            # a floor, and the bound of the total is within 2**-56 of it (the tail beyond 2**-64)
            assert 0 <= weights[k] * unit - table.weights[k] < 1 + weights[k] * unit * mp.mpf(2) ** -56
