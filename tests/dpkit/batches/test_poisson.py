"""Poisson batches: their shape, their event and their law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accountants.events import Gaussian, PoissonSampled
from dpkit.batches import PoissonBatches
from dpkit.entropy import seeded


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


def test_the_event():
    batches = PoissonBatches(10, 0.25, 1)
    assert batches.sampled(Gaussian(2.0)) == PoissonSampled(Gaussian(2.0), 0.25)


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
