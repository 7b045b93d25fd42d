"""Poisson batches: exact coins on every tape, one pass, honest about seeds."""

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accountants.events import Gaussian, PoissonSampled
from dpkit.batches import PoissonBatches, _coins
from dpkit.entropy import seeded
from dpkit.errors import EntropyError, ExhaustedError, ParameterError, StateError
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
        heads = _coins(_tape(number), 1, probability, word_bits=8)[0]
        assert heads == (Fraction(number, 2**LENGTH) < exact)


def test_coins_ask_on_while_digits_are_equal():
    probability = 0.1
    digits = [int(Fraction(probability) * 2 ** (8 + 64 * i)) for i in range(2)]
    first, second = digits[0], digits[1] % 2**64
    assert not _coins(Tape(bytes([first]), word(second)), 1, probability, 8)[0], "equal to the last digit: not below"
    assert _coins(Tape(bytes([first]), word(second - 1)), 1, probability, 8)[0]
    assert not _coins(Tape(bytes([first]), word(second + 1)), 1, probability, 8)[0]
    with pytest.raises(ExhaustedTapeError):
        _coins(Tape(bytes([first])), 1, probability, 8)
    # 2**-80 needs a second refinement
    assert _coins(Tape(b"\0", word(0), word(0)), 1, 2.0**-80, 8)[0]
    assert not _coins(Tape(b"\0", word(0), word(2**63)), 1, 2.0**-80, 8)[0]


@given(st.integers(1, 200_000), st.floats(0, 1, exclude_min=True), st.integers(0, 2**64))
def test_batches_are_sorted_index_arrays(num_records, probability, seed):
    batch = PoissonBatches(num_records, probability, 1, seeded(seed)).draw()
    assert batch.dtype == np.int64
    assert (np.diff(batch) > 0).all()
    assert batch.size == 0 or (batch[0] >= 0 and batch[-1] < num_records)


def test_one_means_everybody_and_empty_batches_come():
    assert PoissonBatches(5, 1.0, 1).draw().tolist() == [0, 1, 2, 3, 4]
    batches = list(PoissonBatches(3, 1e-300, 4))
    assert [batch.size for batch in batches] == [0, 0, 0, 0]


def test_one_plan_is_one_pass():
    batches = PoissonBatches(10, 0.5, 3)
    assert len(batches) == batches.remaining == 3
    batches.draw()
    assert len(list(batches)) == 2
    assert (len(batches), batches.remaining) == (3, 0)
    with pytest.raises(ExhaustedError, match="all 3 batches"):
        iter(batches)
    with pytest.raises(ExhaustedError, match="all 3 batches"):
        batches.draw()


def test_at_most_one_draw_is_open():
    batches = PoissonBatches(10, 0.5, 4)
    assert batches.open is False
    with pytest.raises(StateError, match="no open draw"):
        batches.spend()
    batches.draw()
    batches.draw()  # the first one is void: two draws are not two tickets
    assert batches.open is True
    batches.spend()
    assert batches.open is False
    with pytest.raises(StateError, match="no open draw"):
        batches.spend()
    for _ in batches:
        batches.spend()


def test_a_broken_source_costs_no_step():
    batches = PoissonBatches(4, 0.5, 1, Tape())
    with pytest.raises(ExhaustedTapeError):
        batches.draw()
    assert batches.remaining == 1
    assert batches.open is False


def test_the_event():
    batches = PoissonBatches(10, 0.25, 1)
    assert batches.sampled(Gaussian(2.0)) == PoissonSampled(Gaussian(2.0), 0.25)


def test_seeds_are_admitted():
    assert PoissonBatches(10, 0.5, 1).secure is True
    assert PoissonBatches(10, 0.5, 1, seeded(1)).secure is False
    assert "secure=False" in repr(PoissonBatches(10, 0.5, 1, seeded(1)))
    first, second = (PoissonBatches(1000, 0.5, 2, seeded(1)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    first = PoissonBatches(1000, 0.5, 2)
    assert first.draw().tolist() != first.draw().tolist()


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickle.dumps])
def test_plans_are_not_copied(make):
    with pytest.raises(EntropyError, match="may not be copied"):
        make(PoissonBatches(10, 0.5, 1))


@pytest.mark.parametrize("name", ["num_records", "steps"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3", pytest.param(-(10**5000), id="huge")])
def test_bad_counts(name, value):
    good = {"num_records": 10, "sampling_prob": 0.5, "steps": 2}
    with pytest.raises(ParameterError, match=f"{name} must be an integer"):
        PoissonBatches(**{**good, name: value})


@pytest.mark.parametrize(
    "value", [0.0, -0.1, 1.1, float("nan"), float("inf"), True, "0.5", None, pytest.param(10**400, id="huge")]
)
def test_bad_probabilities(value):
    with pytest.raises(ParameterError, match="sampling_prob must be"):
        PoissonBatches(10, value, 2)


@pytest.mark.statistical
@pytest.mark.parametrize("probability", [0.01, 1 / 3, 0.9])
def test_batch_law(probability):
    """Each record's and each pair's count over many steps, by exact binomial tails; alpha 1e-9 in all."""
    steps, records = 3000, 40
    table = np.zeros((steps, records), dtype=bool)
    for row, batch in zip(table, PoissonBatches(records, probability, steps, seeded(5)), strict=True):
        row[batch] = True
    neighbours = table & np.roll(table, 1, axis=1)
    repeats = table[1::2] & table[0::2]
    for coins, chance in ((table, probability), (neighbours, probability**2), (repeats, probability**2)):
        law, counts = stats.binom(len(coins), chance), coins.sum(axis=0)
        tails = np.minimum(law.cdf(counts), law.sf(counts - 1))
        assert 2 * 3 * records * tails.min() > 1e-9
