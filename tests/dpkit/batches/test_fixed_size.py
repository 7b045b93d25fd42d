"""Batches of a fixed size: uniform without replacement, and no dearer than their event."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accountants import PLDAccountant, RDPAccountant
from accountants.events import FixedSizeSampled, Gaussian, PoissonSampled
from dpkit.batches import FixedSizeBatches
from dpkit.batches._subsets import uniform_subset
from dpkit.entropy import seeded
from dpkit.errors import ParameterError
from tests.oracles.batches import delta_below, fixed_size_law


@given(st.integers(1, 100_000), st.integers(1, 100_000), st.integers(0, 2**64))
def test_batches_are_sorted_and_hold_no_record_twice(num_records, batch_size, seed):
    batch_size = min(num_records, batch_size)
    batch = FixedSizeBatches(num_records, batch_size, 1, seeded(seed)).draw()
    assert batch.dtype == np.int64
    assert batch.shape == (batch_size,)
    assert (np.diff(batch) > 0).all()
    assert batch[0] >= 0
    assert batch[-1] < num_records


def test_every_step_draws_anew_from_all_records():
    """Not a shuffle that is cut: each draw is the subset that the stream gives next, whatever came before."""
    batches, source = FixedSizeBatches(10, 5, 20, seeded(3)), seeded(3)
    drawn = [batch.tolist() for batch in batches]
    assert drawn == [uniform_subset(source, 10, 5).tolist() for _ in range(20)]
    assert any(set(first) & set(second) for first, second in zip(drawn[::2], drawn[1::2], strict=True))


def test_all_records_are_a_batch():
    assert FixedSizeBatches(5, 5, 1).draw().tolist() == [0, 1, 2, 3, 4]


def test_the_event():
    batches = FixedSizeBatches(10, 4, 1)
    assert batches.sampled(Gaussian(2.0)) == FixedSizeSampled(Gaussian(2.0), 10, 4)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3", 11])
def test_bad_sizes(value):
    with pytest.raises(ParameterError, match="batch_size must be"):
        FixedSizeBatches(10, value, 1)


SIGNS = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=3, max_size=5)


@given(SIGNS, st.integers(1, 5), st.sampled_from([-1.0, 0.0, 1.0]), st.floats(0.5, 4.0), st.floats(0.0, 2.0))
def test_fixed_size_costs_no_more_than_its_event(records, size, other, noise, epsilon):
    """Noisy sums of batches, in both orders: a record removed, replaced, made zero. The truth is bounded from below."""
    size = min(size, len(records) - 1)
    event = FixedSizeBatches(len(records), size, 1).sampled(Gaussian(noise))
    law = fixed_size_law(len(records), size)
    neighbours = {
        "add_remove": (fixed_size_law(len(records) - 1, size), records[:-1]),
        "replace_one": (law, [*records[:-1], other]),
        "zero_out": (law, [*records[:-1], 0.0]),
    }
    for relation, (other_law, others) in neighbours.items():
        claimed = PLDAccountant().delta(event, epsilon=epsilon, relation=relation)
        assert delta_below(law, records, other_law, others, noise, epsilon) <= claimed
        assert delta_below(other_law, others, law, records, noise, epsilon) <= claimed


def test_accounted_as_poisson_it_would_cost_less_than_it_does():
    """The test above can fail: a Poisson event of the same rate is below the truth."""
    records, law, smaller = [-1.0, -1.0, -1.0, 1.0], fixed_size_law(4, 2), fixed_size_law(3, 2)
    truth = delta_below(law, records, smaller, records[:-1], 1.0, 0.5)
    account = {"epsilon": 0.5, "relation": "add_remove"}
    assert PLDAccountant().delta(PoissonSampled(Gaussian(1.0), 0.5), **account) < truth
    assert truth <= PLDAccountant().delta(FixedSizeBatches(4, 2, 1).sampled(Gaussian(1.0)), **account)


def test_gaussian_noise_has_an_account_under_every_relation():
    event = FixedSizeBatches(1000, 10, 1).sampled(Gaussian(2.0)) * 100
    for relation in ("add_remove", "replace_one", "zero_out"):
        low, high = PLDAccountant().bounds(event, delta=1e-6, relation=relation)
        assert 0.0 < low <= high <= RDPAccountant().epsilon(event, delta=1e-6, relation=relation)


@pytest.mark.statistical
@pytest.mark.parametrize(("records", "size"), [(40, 1), (40, 13), (40, 36), (400, 5)])
def test_fixed_size_law(records, size):
    """Each record's and each pair's count, and what two steps share, by exact binomial tails; alpha 1e-9 in all."""
    steps = 3000
    table = np.zeros((steps, records), dtype=bool)
    for row, batch in zip(table, FixedSizeBatches(records, size, steps, seeded(6)), strict=True):
        row[batch] = True
    neighbours = table & np.roll(table, 1, axis=1)
    repeats = table[1::2] & table[0::2]
    one, two = size / records, size * (size - 1) / (records * (records - 1))
    for coins, chance in ((table, one), (neighbours, two), (repeats, one**2)):
        law, counts = stats.binom(len(coins), chance), coins.sum(axis=0)
        tails = np.minimum(law.cdf(counts), law.sf(counts - 1))
        assert 2 * 3 * records * tails.min() > 1e-9
