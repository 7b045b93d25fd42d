"""Truncated Poisson batches: the exact law, no dearer than the event, and one shape."""

import importlib
from fractions import Fraction
from math import comb, lcm

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accountants import Ledger, PLDAccountant
from accountants.events import Gaussian, PoissonSampled, TruncatedPoissonSampled
from dpkit.batches import PoissonBatches, TruncatedPoissonBatches
from dpkit.clip import FlatClip
from dpkit.entropy import seeded
from dpkit.errors import ExhaustedError, ParameterError
from tests.oracles.batches import delta_below, exact_law, truncated_law


@pytest.mark.parametrize(("num_records", "largest"), [(2, 1), (3, 1), (3, 2), (4, 1), (4, 2), (4, 3), (3, 3)])
@pytest.mark.parametrize("prob", [0.5, 0.75])
def test_every_tape_of_a_truncated_batch(num_records, largest, prob):
    """The law of the shipped code, in fractions. What a short tape leaves open is the same for all full batches."""
    heads = [(b"\0\0\0\0", Fraction(prob)), (b"\xff\xff\xff\xff", 1 - Fraction(prob))]
    common = lcm(*range(1, num_records + 1))  # uniform modulo every number of records that may come
    integers = [(i.to_bytes(8, "little"), Fraction(1, common)) for i in range(common)]

    def draw(source):
        return TruncatedPoissonBatches(num_records, prob, largest, 1, source).draw()

    read, left = exact_law(draw, lambda place: heads if place < num_records else integers, num_records + 3)
    law = {}
    for (batch, _), weight in read.items():
        law[batch] = law.get(batch, Fraction(0)) + weight
    wanted = truncated_law(num_records, Fraction(prob), largest)
    share = left / comb(num_records, largest)
    assert law == {batch: chance - (share if len(batch) == largest else 0) for batch, chance in wanted.items()}
    assert left < Fraction(1, 20)


@given(st.integers(1, 6), st.integers(1, 6), st.fractions(0, 1))
def test_truncation_moves_the_mass_of_the_tail(num_records, largest, prob):
    """The distance from a Poisson batch is P[more come], exactly: what the event says, whatever is kept."""
    whole, cut = (truncated_law(num_records, prob, size) for size in (num_records, largest))
    distance = sum(max(cut.get(batch, 0) - whole.get(batch, 0), 0) for batch in {*whole, *cut})
    tail = sum(
        comb(num_records, k) * prob**k * (1 - prob) ** (num_records - k) for k in range(largest + 1, num_records + 1)
    )
    assert distance == tail


@given(st.integers(1, 100_000), st.floats(0, 1, exclude_min=True), st.integers(1, 100_000), st.integers(0, 2**64))
def test_a_batch_is_the_poisson_batch_or_a_part_of_it(num_records, probability, largest, seed):
    batch = TruncatedPoissonBatches(num_records, probability, largest, 1, seeded(seed)).draw()
    whole = PoissonBatches(num_records, probability, 1, seeded(seed)).draw()
    assert batch.dtype == np.int64
    assert batch.size == min(whole.size, largest)
    assert (np.diff(batch) > 0).all()
    assert np.isin(batch, whole).all()


def test_the_event():
    event = TruncatedPoissonBatches(10, 0.25, 6, 1).sampled(Gaussian(2.0))
    assert event == TruncatedPoissonSampled(Gaussian(2.0), 0.25, population=11, max_batch=6)


SIGNS = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=2, max_size=4)


@given(
    SIGNS,
    st.integers(1, 4),
    st.sampled_from([Fraction(1, 8), Fraction(1, 2), Fraction(7, 8), Fraction(1)]),
    st.sampled_from([-1.0, 0.0, 1.0]),
    st.floats(0.5, 4.0),
    st.floats(0.0, 2.0),
)
def test_truncated_poisson_costs_no_more_than_its_event(records, largest, prob, other, noise, epsilon):
    """Noisy sums of batches, in both orders: a record added, removed, replaced, made zero; the truth from below."""
    count = len(records)
    event = TruncatedPoissonBatches(count, float(prob), largest, 1).sampled(Gaussian(noise))
    law, more, less = (truncated_law(n, prob, largest) for n in (count, count + 1, count - 1))
    neighbours = [
        ("add_remove", more, [*records, other]),
        ("add_remove", less, records[:-1]),
        ("replace_one", law, [*records[:-1], other]),
        ("zero_out", law, [*records[:-1], 0.0]),
    ]
    for relation, other_law, others in neighbours:
        claimed = PLDAccountant().delta(event, epsilon=epsilon, relation=relation)
        assert delta_below(law, records, other_law, others, noise, epsilon) <= claimed
        assert delta_below(other_law, others, law, records, noise, epsilon) <= claimed


def test_a_neighbour_with_one_record_more_is_paid_for():
    """With the number of records as population, nothing would ever be cut, and the claim be below the truth."""
    records, prob, epsilon = [-1.0, -1.0, -1.0], 0.875, 1.0
    batches = TruncatedPoissonBatches(3, prob, 3, 1)
    law, more = truncated_law(3, Fraction(prob), 3), truncated_law(4, Fraction(prob), 3)
    truth = delta_below(more, [*records, 1.0], law, records, 1.0, epsilon)
    account = {"epsilon": epsilon, "relation": "add_remove"}
    small = TruncatedPoissonSampled(Gaussian(1.0), prob, population=3, max_batch=3)
    assert PLDAccountant().delta(small, **account) < truth
    assert truth <= PLDAccountant().delta(batches.sampled(Gaussian(1.0)), **account)


def test_what_is_cut_is_paid_for_and_nothing_at_the_mean_is_private():
    noise, steps = Gaussian(1.0), 1000
    poisson = PLDAccountant().epsilon(PoissonSampled(noise, 0.01) * steps, delta=1e-6, relation="add_remove")
    costs = [
        PLDAccountant().epsilon(
            TruncatedPoissonBatches(10_000, 0.01, most, steps).sampled(noise) * steps, delta=1e-6, relation="add_remove"
        )
        for most in (100, 160, 170, 180, 10_001)
    ]
    assert costs[0] == np.inf
    assert costs == sorted(costs, reverse=True)
    assert poisson <= costs[-1] <= costs[-2] < 1.0001 * poisson


@given(st.integers(1, 300), st.floats(0, 1, exclude_min=True), st.integers(1, 400), st.integers(0, 2**64))
def test_padded_batches_have_one_shape(num_records, probability, largest, seed):
    """Records first, then an index that is nobody's; the sum over the mask is that of the batch."""
    rows, mask = TruncatedPoissonBatches(num_records, probability, largest, 1, seeded(seed)).padded()
    batch = TruncatedPoissonBatches(num_records, probability, largest, 1, seeded(seed)).draw()
    assert (rows.shape, rows.dtype, mask.shape, mask.dtype) == ((largest,), np.int64, (largest,), np.bool_)
    assert rows[mask].tolist() == batch.tolist()
    assert (rows[~mask] == num_records).all()
    assert mask.sum() == batch.size


def test_padding_is_no_record():
    """Read without the mask it raises; with a row for it, the clipped sum is that of the batch."""
    batches, records = TruncatedPoissonBatches(20, 0.25, 15, 8, seeded(1)), np.arange(40.0).reshape(20, 2) + 1.0
    table = np.append(records, np.zeros((1, 2)), axis=0)
    for batch in batches:
        rows, mask = batches.padded(batch)
        with pytest.raises(IndexError):
            records[rows]
        padded = FlatClip(1.0).sum(table[rows] * mask[:, None])
        assert padded.value.tolist() == FlatClip(1.0).sum(records[batch]).value.tolist()


def test_padding_a_batch_draws_nothing():
    batches = TruncatedPoissonBatches(4, 1.0, 6, 2)
    batch = batches.draw()
    batches.spend()
    assert batches.padded(batch)[0].tolist() == [0, 1, 2, 3, 4, 4]
    assert (batches.remaining, batches.open) == (1, False)
    assert batches.padded()[1].tolist() == [True] * 4 + [False] * 2
    assert (batches.remaining, batches.open) == (0, True)
    with pytest.raises(ExhaustedError):
        batches.padded()


def test_training_on_padded_batches_is_training_on_batches():
    """Losses times the mask, of one shape: the same releases, and the same entries, as the rows alone give."""
    torch = pytest.importorskip("torch")
    training = importlib.import_module("dpkit.training")
    inputs, targets = torch.linspace(-1.0, 1.0, 63).reshape(21, 3), torch.arange(21) % 2  # of them 20 are records

    def trained(pad):
        model = torch.nn.Linear(3, 2)
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        plan, ledger = TruncatedPoissonBatches(20, 0.25, 8, 5, seeded(4)), Ledger(relation="add_remove")
        with training.Privatizer(
            model,
            clip=FlatClip(1.0),
            noise_multiplier=1.0,
            expected_batch_size=5,
            sampling=plan,
            ledger=ledger,
            entropy=seeded(9),
        ) as private:
            for batch in private:
                rows, mask = plan.padded(batch) if pad else (batch, np.ones(batch.size, dtype=bool))
                outputs = model(inputs[torch.from_numpy(rows)])
                losses = torch.nn.functional.cross_entropy(outputs, targets[rows], reduction="none")
                private.backward(losses * torch.from_numpy(mask))
                private.release()
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter -= parameter.grad
        assert len(ledger) == 5
        return model.weight.detach(), ledger.entries

    (weight, entries), (other, others) = trained(pad=True), trained(pad=False)
    assert entries == others
    torch.testing.assert_close(weight, other)


@pytest.mark.parametrize(
    "batch", [[0, 1], np.zeros(2), np.zeros((1, 2), dtype=np.int64), np.zeros(2, dtype=np.int32), np.int64(3)]
)
def test_what_is_no_batch_is_not_padded(batch):
    batches = TruncatedPoissonBatches(4, 0.5, 2, 1)
    with pytest.raises(ParameterError, match="batch must be an int64 array"):
        batches.padded(batch)
    with pytest.raises(ParameterError, match="at most max_batch_size = 2 records, got 3"):
        batches.padded(np.arange(3))


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3"])
def test_bad_sizes(value):
    with pytest.raises(ParameterError, match="max_batch_size must be"):
        TruncatedPoissonBatches(10, 0.5, value, 1)


@pytest.mark.statistical
@pytest.mark.parametrize(("probability", "largest"), [(0.25, 8), (0.25, 12), (0.9, 30), (0.05, 1)])
def test_truncated_law(probability, largest):
    """Sizes, records, pairs and what two steps share, by exact binomial tails; alpha 1e-9 in all."""
    steps, records = 3000, 40
    table = np.zeros((steps, records), dtype=bool)
    plan = TruncatedPoissonBatches(records, probability, largest, steps, seeded(7))
    for row, batch in zip(table, plan, strict=True):
        row[batch] = True
    pmf = stats.binom(records, probability).pmf(np.arange(records + 1))
    sizes = np.minimum(np.arange(records + 1), largest)
    one, two = pmf @ sizes / records, pmf @ (sizes * (sizes - 1)) / (records * (records - 1))
    full = (table.sum(axis=1) == largest)[:, None]
    assert table.sum(axis=1).max() == largest
    neighbours = table & np.roll(table, 1, axis=1)
    repeats = table[1::2] & table[0::2]
    for coins, chance in ((table, one), (neighbours, two), (repeats, one**2), (full, pmf[largest:].sum())):
        law, counts = stats.binom(len(coins), chance), coins.sum(axis=0)
        tails = np.minimum(law.cdf(counts), law.sf(counts - 1))
        assert 2 * 4 * records * tails.min() > 1e-9
