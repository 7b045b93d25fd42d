"""Coins are exact on every tape."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit.batches._coins import coin_rows, coins
from dpkit.entropy import seeded
from dpkit.errors import EntropyError
from tests.oracles.noise import ExhaustedTapeError, Tape, word

LENGTH = 8 + 64 * 17  # enough digits for every float64


def _tape(number):
    digits = number.to_bytes(LENGTH // 8, "big")
    return Tape(digits[:1], *(digits[i : i + 8] for i in range(1, len(digits), 8)))


@given(
    st.floats(0, 1, exclude_min=True),
    st.integers(0, 2**LENGTH - 1),
    st.integers(0, LENGTH),
    st.sampled_from([-1, 0, 1]),
)
def test_every_tape_of_the_coins(probability, anywhere, place, sign):
    """A coin is the exact comparison of the whole tape with q: anywhere, and next to q at every digit."""
    exact = Fraction(probability)
    close = int(exact * 2**LENGTH) + (sign << place)
    for number in (anywhere, min(max(close, 0), 2**LENGTH - 1)):
        heads = coins(_tape(number), 1, probability, word_bits=8)[0]
        assert heads == (Fraction(number, 2**LENGTH) < exact)


def test_coins_ask_on_while_digits_are_equal():
    probability = 0.1
    digits = [int(Fraction(probability) * 2 ** (8 + 64 * i)) for i in range(2)]
    first, second = digits[0], digits[1] % 2**64
    assert not coins(Tape(bytes([first]), word(second)), 1, probability, 8)[0], "equal to the last digit: not below"
    assert coins(Tape(bytes([first]), word(second - 1)), 1, probability, 8)[0]
    assert not coins(Tape(bytes([first]), word(second + 1)), 1, probability, 8)[0]
    with pytest.raises(ExhaustedTapeError):
        coins(Tape(bytes([first])), 1, probability, 8)
    # 2**-80 needs a second refinement
    assert coins(Tape(b"\0", word(0), word(0)), 1, 2.0**-80, 8)[0]
    assert not coins(Tape(b"\0", word(0), word(2**63)), 1, 2.0**-80, 8)[0]


def test_a_refinement_takes_no_short_answer():
    class Short:
        asked = 0

        def bytes(self, n):
            self.asked += 1
            return b"\0" * (n if self.asked == 1 else n - 1)

    with pytest.raises(EntropyError, match="must return 8 bytes"):
        coins(Short(), 1, 2.0**-80, 8)


@given(st.integers(1, 200_000), st.integers(0, 2**64))
def test_every_record_has_a_coin_of_its_own(num_records, seed):
    """Chunk after chunk, whatever is left of the last: the words of all, in one piece, say the same."""
    rows = coin_rows(seeded(seed), num_records, 0.25)
    words = np.frombuffer(seeded(seed).bytes(4 * num_records), dtype="<u4")
    assert rows.tolist() == np.flatnonzero(words < 2**30).tolist()
