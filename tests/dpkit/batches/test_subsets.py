"""Uniform integers and subsets: exact on every tape of small words, whatever route is taken."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit.batches import _subsets
from dpkit.batches._subsets import marked_subset, sorted_subset, uniform_below, uniform_subset
from dpkit.entropy import seeded
from tests.oracles.batches import Script, exact_law
from tests.oracles.noise import Tape


@pytest.mark.parametrize("bound", range(1, 257))
def test_every_word_of_a_uniform_integer(bound):
    """Of all 256 words every integer has equally many; fewer than `bound` are drawn again, and nothing else is."""
    again = 256 % bound
    tape = Tape(bytes(range(256)), *([bytes(again)] if again else []))
    numbers = uniform_below(tape, bound, 256, word_bits=8)
    assert numbers.dtype == np.int64
    assert np.bincount(numbers[: 256 - again], minlength=bound).tolist() == [256 // bound] * bound
    assert numbers[256 - again :].tolist() == [0] * again
    assert tape.pieces == []


def test_a_word_is_drawn_again_until_it_fits():
    tape = Tape(bytes([255, 2, 255]), bytes([255, 1]), bytes([0]))
    assert uniform_below(tape, 3, 3, word_bits=8).tolist() == [0, 2, 1]
    assert tape.pieces == []


@pytest.mark.parametrize("bound", [1, 3, 2**32, 2**62 - 1, 2**62])
def test_the_last_words_of_full_size(bound):
    """The comparison and the remainder are those of integers, up to the last of 64 bits."""
    last = 2**64 - 2**64 % bound - 1
    tape = Tape(last.to_bytes(8, "little"))
    assert uniform_below(tape, bound, 1).tolist() == [bound - 1]
    if last < 2**64 - 1:
        tape = Tape((last + 1).to_bytes(8, "little"), (5).to_bytes(8, "little"))
        assert uniform_below(tape, bound, 1).tolist() == [5 % bound]


@pytest.mark.parametrize("few", [sorted_subset, marked_subset])
@pytest.mark.parametrize(("population", "count"), [(1, 0), (3, 1), (4, 2), (5, 2), (6, 3), (130, 1)])
def test_every_tape_of_a_subset(few, population, count):
    """Every subset has one and the same probability, after every number of words: no word tells which it will be."""
    alphabet = [(bytes([i]), Fraction(256 // population, 256)) for i in range(population)]
    rejected = Fraction(256 % population, 256)
    if rejected and population < 6:
        alphabet.append((b"\xff", rejected))
    depth = 5 if population < 6 else 4
    law, left = exact_law(lambda source: few(source, population, count, 8), lambda place: alphabet, depth)
    by_words = {}
    for (subset, words), weight in law.items():
        by_words.setdefault(words, []).append(weight)
        assert sorted(set(subset)) == list(subset)
        assert len(subset) == count
    for weights in by_words.values():
        assert weights == [weights[0]] * comb(population, count)
    missing = Fraction(0) if population < 6 else rejected  # words that are left out of the alphabet
    assert missing or sum(law.values()) + left == 1
    assert min(by_words) == count


@given(st.integers(1, 3000), st.integers(0, 3000), st.integers(0, 2**64))
def test_both_routes_give_the_same(population, count, seed):
    """Sorting and marking read the same words and return the same integers."""
    count = min(count, population // 2)
    rows = sorted_subset(seeded(seed), population, count)
    assert rows.tolist() == marked_subset(seeded(seed), population, count).tolist()
    assert rows.dtype == np.int64
    assert rows.tolist() == uniform_subset(seeded(seed), population, count).tolist()


@given(st.integers(1, 3000), st.integers(0, 3000), st.integers(0, 2**64))
def test_more_than_half_is_the_complement(population, count, seed):
    count = min(count, population)
    rows = uniform_subset(seeded(seed), population, count)
    others = uniform_subset(seeded(seed), population, population - count)
    assert rows.dtype == np.int64
    assert (np.diff(rows) > 0).all()
    assert rows.size == count
    if 2 * count != population:
        assert sorted([*rows.tolist(), *others.tolist()]) == list(range(population))


def test_a_few_of_very_many_take_little(monkeypatch):
    """Nothing of the size of the population is made, and no word is read without need."""
    monkeypatch.setattr(_subsets, "marked_subset", None)
    words = b"".join(i.to_bytes(8, "little") for i in (2**62 - 1, 7, 7))
    script = Script([words, (3).to_bytes(8, "little")])
    assert uniform_subset(script, 2**62, 3).tolist() == [3, 7, 2**62 - 1]
    assert script.place == 32
