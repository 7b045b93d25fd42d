"""The alias table: every word of a small size, and the remainder on every prefix."""

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import final

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit._alias import _pair, build_table
from dpkit._ladder import Empty, Ladder, Law
from dpkit.errors import ParameterError
from tests.oracles.noise import ExhaustedTapeError, Tape, word


def _gaussian(variance):
    unit = 1 / (2 * Fraction(variance))
    return Law(Ladder(Fraction(0), unit, 2 * unit), Ladder(unit, 3 * unit, 2 * unit))


GAUSS_1 = _gaussian(1)
LAWS = {
    "gaussian, s=1": GAUSS_1,
    "gaussian, s=2.5": _gaussian(Fraction(25, 4)),
    "blocks of 4, s=7": Law(*[Ladder(Fraction(0), Fraction(12, 98), Fraction(16, 49))] * 2),
    "geometric": Law(Ladder(Fraction(0), Fraction(1, 2), Fraction(0)), Empty()),
    "digit": Law(Ladder(Fraction(0), Fraction(1, 9), Fraction(0), limit=8), Empty()),
    "one of one": Law(Ladder(Fraction(0), Fraction(10**6), Fraction(0)), Empty()),
}


def _probabilities(law, values):
    """U_v / Z with 80 digits, by the closed form of the weights."""

    def weight(v):
        side, k = (law.up, v) if v >= 0 else (law.down, -1 - v)
        if isinstance(side, Empty) or (side.limit is not None and k >= side.limit):
            return mp.mpf(0)
        exponent = side.start + k * side.first + Fraction(k * (k - 1), 2) * side.step
        return mp.exp(-mp.mpf(exponent.numerator) / exponent.denominator)

    with mp.workdps(80):
        total = mp.fsum(weight(v) for v in range(-800, 800))
        return [weight(int(v)) / total for v in values]


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize(("word_bits", "spare_bits"), [(8, 4), (16, 6)])
def test_every_word(name, word_bits, spare_bits):
    """Each entry is chosen by exactly its integer of the words, with every mark of the spare bits equally often."""
    table = build_table(LAWS[name], word_bits, spare_bits)
    words = np.arange(1 << word_bits, dtype=np.uint64)
    index, marks = table.lookup(words), table.marks(words)
    counts = np.zeros((table.size + 1, 1 << spare_bits), dtype=int)
    np.add.at(counts, (index, marks), 1)
    assert (counts[:-1] == table.weights[:, np.newaxis]).all()
    assert (counts[-1] == table.residual).all()
    assert table.residual > 0
    with mp.workdps(60):
        for integer, p in zip(
            table.weights, _probabilities(LAWS[name], range(table.first, table.last + 1)), strict=True
        ):
            assert integer <= p * table.total < integer + 1 + mp.mpf(2) ** -20


@given(st.lists(st.integers(0, 40), min_size=2, max_size=2**5), st.integers(0, 2**32))
def test_pairing_gives_every_entry_its_weight(parts, seed):
    """Any weights that fill 2**b buckets, also with many buckets that are exactly full."""
    buckets = 1 << (len(parts) - 1).bit_length()
    weights = np.zeros(buckets, dtype=np.int64)
    weights[: len(parts)] = parts
    weights[seed % buckets] += -int(weights.sum()) % buckets
    capacity = int(weights.sum()) // buckets
    thresholds, aliases = _pair(weights, capacity)
    got = np.bincount(np.arange(buckets), thresholds, buckets) + np.bincount(aliases, capacity - thresholds, buckets)
    assert (got == weights).all()
    assert ((thresholds >= 0) & (thresholds <= capacity)).all()


def _rank(value):
    """The place of a value in the order of the inversion: 0, 1, 2, ..., -1, -2, ..."""
    return (value < 0, abs(value))


@pytest.mark.parametrize("name", LAWS)
def test_the_remainder_on_every_prefix(name):
    table, bits = build_table(LAWS[name], 8, 4), 9
    found = [table.locate(prefix, bits) for prefix in range(1 << bits)]
    certain = [v for v in found if v is not None]
    assert certain == sorted(certain, key=_rank), "inversion is monotone"
    values = sorted(set(certain))
    with mp.workdps(60):
        for value, p in zip(values, _probabilities(LAWS[name], values), strict=True):
            truth = (p * table.total - table._weight(value)) / table.residual * (1 << bits)
            # a boundary lies in at most one prefix at each end
            assert certain.count(value) <= truth + mp.mpf(10) ** -30
            assert truth <= certain.count(value) + 2


@final
@dataclass(frozen=True)
class Vague:
    """A side that says as little as a side may: the weights in `loose` as far below the truth as the error allows."""

    side: Ladder
    error_bits: int
    rest_bits: int
    loose: int
    listed: int

    def integers(self, bits, depth):
        weights, _, _ = self.side.integers(bits + 40, depth + 40)
        listed = [weight >> 40 for weight in weights[: self.listed]]
        error = 1 << bits - self.error_bits
        rest = (sum(weights[self.listed :]) >> 40) + (1 << bits - self.rest_bits)
        return [weight - (error - 1) * (self.loose >> k & 1) for k, weight in enumerate(listed)], error, rest

    def logs(self, depth):
        return self.side.logs(depth)


@pytest.mark.parametrize("name", ["gaussian, s=1", "blocks of 4, s=7"])
def test_the_remainder_says_only_what_vague_bounds_allow(name):
    """With weights known to parts of a percent, many prefixes stay open; the others' verdict is the exact inversion."""
    law, bits = LAWS[name], 9
    table = build_table(law, 8, 4)
    exact = [table.locate(prefix, bits) for prefix in range(1 << bits)]
    for error_bits, rest_bits, loose, listed in product((8, 60), (5, 60), ((15, 15), (1, 0), (6, 3)), (2, 4)):
        up, down = (
            Vague(side, error_bits, rest_bits, weights, listed)
            for side, weights in zip((law.up, law.down), loose, strict=True)
        )
        vague = replace(table, law=Law(up, down))
        found = [vague.locate(prefix, bits) for prefix in range(1 << bits)]
        assert all(v is None or v == truth for v, truth in zip(found, exact, strict=True) if truth is not None)
        if (error_bits, rest_bits) != (60, 60):
            assert found.count(None) > exact.count(None)


def test_the_remainder_refines_at_its_edges():
    table = build_table(GAUSS_1, 8, 3)
    p = _probabilities(GAUSS_1, [0])[0]
    with mp.workdps(80):
        edge = int(mp.floor((p * table.total - table._weight(0)) / table.residual * mp.mpf(2) ** 64))
    assert table.residual_value(Tape(word(edge - 1))) == 0
    assert table.residual_value(Tape(word(edge + 1))) == 1
    assert table.residual_value(Tape(word(edge), word(0))) == 0
    assert table.residual_value(Tape(word(edge), word(2**64 - 1))) == 1
    with pytest.raises(ExhaustedTapeError):
        table.residual_value(Tape(word(edge)))


def test_the_remainder_reaches_beyond_the_table_on_both_sides():
    table = build_table(GAUSS_1, 8, 3)
    assert table.residual_value(Tape(word(2**64 - 2**20))) < table.first
    with mp.workdps(80):
        up = mp.fsum(_probabilities(GAUSS_1, range(table.last + 1))) * table.total
        integers = sum(table._weight(v) for v in range(table.last + 1))
        edge = int((up - integers) / table.residual * mp.mpf(2) ** 64)
    assert table.residual_value(Tape(word(edge + 2**20))) > table.last


def test_draws_of_the_remainder_are_put_in_place():
    table = build_table(GAUSS_1, 8, 3)
    words = np.arange(256, dtype=np.uint64)
    rare = np.flatnonzero(table.lookup(words) == table.size)
    values, positions = table.draw(words, Tape(*[word(2**64 - 2**20)] * rare.size))
    assert positions.tolist() == rare.tolist()
    assert (values[rare] < table.first).all()
    others = np.delete(values, rare)
    assert ((others >= table.first) & (others <= table.last)).all()


def test_a_table_that_its_entries_cannot_address_is_refused():
    with pytest.raises(ParameterError, match="at most 2\\*\\*3 buckets"):
        build_table(_gaussian(25), 16, 3)


@pytest.mark.parametrize("stddev", [0.001, 1.0, 1500.0, 2.0**14])
def test_the_full_size_table_misses_almost_nothing(stddev):
    table = build_table(_gaussian(Fraction(stddev) ** 2))
    assert int(table.weights.sum()) + table.residual == 1 << 46
    # a floor an entry, 2**-33 of the whole for the margins, and fewer than stddev numbers beyond of less than 2**3 each
    assert table.residual <= table.size + 2**14 + 8 * stddev
    with mp.workdps(60):
        law = [mp.exp(-(mp.mpf(k) ** 2) / (2 * mp.mpf(stddev) ** 2)) for k in (0, 1, 7, int(stddev), int(4 * stddev))]
        total = (
            mp.mpf(stddev) * mp.sqrt(2 * mp.pi) if stddev > 1 else mp.jtheta(3, 0, mp.exp(-0.5 / mp.mpf(stddev) ** 2))
        )
        for k, p in zip((0, 1, 7, int(stddev), int(4 * stddev)), law, strict=True):
            share = p / total * table.total
            if share > 16:
                assert table._weight(k) <= share < table._weight(k) + 1 + share * mp.mpf(2) ** -32
