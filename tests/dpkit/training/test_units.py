import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dpkit.clip import FlatClip
from dpkit.training import clipped_sum, record, units
from dpkit.training.norms import coefficients
from dpkit.training.parts import Dense, Outer, Table
from dpkit.training.units import Grouped, added
from tests.oracles.routes import ROUTES, forced
from tests.oracles.training import losses_of, norm


def table(generator, pairs, count=5):
    parameter = nn.Parameter(torch.zeros(4, 3, dtype=torch.float64))
    owners, entries = (torch.randint(0, most, (pairs,), generator=generator) for most in (count, 4))
    gradients = torch.randn(pairs, 3, generator=generator, dtype=torch.float64)
    naive = torch.zeros(count, 4, 3, dtype=torch.float64)
    for owner, entry, row in zip(owners, entries, gradients, strict=True):
        naive[owner, entry] += row
    return Table.of(parameter, owners, entries, gradients, count), naive


@given(st.integers(0, 30), st.integers(0, 2**20), st.booleans())
def test_what_is_read_again_is_added_before_the_norm(pairs, seed, merged):
    generator = torch.Generator().manual_seed(seed)
    (part, naive), (other, second) = table(generator, pairs), table(generator, 7)
    slots = torch.tensor([0, 1, 0, 2, 1]) if merged else None
    total = naive + second
    if slots is not None:
        total = torch.stack([total[slots == unit].sum(0) for unit in range(3)])
    found = added([part, other], slots, len(total))
    dense = added([Dense(part.parameter, second), part], slots, len(total))
    assert isinstance(found, Table)
    weights = torch.rand(len(total), generator=generator, dtype=torch.float64)
    for one in (found, dense):  # float64, at most 40 summands below 10
        torch.testing.assert_close(one.formed().gradients, total, rtol=0, atol=1e-12)
        torch.testing.assert_close(one.squares(), total.square().sum((1, 2)), rtol=1e-12, atol=1e-12)
        expected = torch.tensordot(weights, total, 1)
        torch.testing.assert_close(one.weighted_sum(weights), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("cache", [1, 2**22])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", ["vector", "sequence", "convolution"])
@given(slots=st.lists(st.integers(0, 3), min_size=1, max_size=8), seed=st.integers(0, 2**20))
def test_a_unit_is_one_longer_sequence(kind, route, cache, slots, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = {"vector": (4,), "sequence": (3, 4), "convolution": (4, 5)}[kind]
    layer = (nn.Conv1d(4, 6, 2, groups=2) if kind == "convolution" else nn.Linear(4, 3)).double()
    inputs = torch.randn(len(slots), *shape, generator=generator, dtype=torch.float64)
    sums = []
    with pytest.MonkeyPatch.context() as patch:
        forced(patch, route)
        patch.setattr(units, "_CACHE_BYTES", cache)
        for method in ("auto", "instantiate"):
            with record(layer) as tape:
                losses = losses_of(layer(inputs))
            sums.append(clipped_sum(tape, losses, FlatClip(0.7), torch.tensor(slots), method).value["weight"])
    torch.testing.assert_close(*sums, rtol=0, atol=1e-10)  # float64, at most 4 numbers below 0.7; see test_sums


def test_units_are_not_formed():
    parameter, slots = nn.Parameter(torch.zeros(3, 2)), torch.tensor([0, 1, 0])
    assert isinstance(added([Outer(parameter, torch.ones(3, 2), torch.ones(3, 3))], slots, 2), Grouped)


def test_what_cancels_in_a_unit_stays_within_the_bound():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.ones(40, 30) + 1e-6 * torch.randn(40, 30, generator=generator)
    signals = torch.randn(40, 20, generator=generator)
    parameter = nn.Parameter(torch.zeros(20, 30))
    for size in (1.0, 1e-15, 1e15):
        outer = Outer(parameter, inputs * size, (signals - signals.mean(0)) * 1e4)
        part = added([outer], torch.zeros(40, dtype=torch.int64), 1)
        for bound in (1e-6, 1.0, 1e6):
            assert norm({"": part.weighted_sum(coefficients(part.squares(), bound))}) <= bound


def test_rows_of_a_unit_stay_or_go_together():
    parameter, slots = nn.Parameter(torch.zeros(1, 1)), torch.tensor([0, 0, 1])
    inputs, signals = torch.tensor([[1e30], [1.0], [1.0]]), torch.tensor([[1e-30], [1.0], [1e-37]])
    part = added([Outer(parameter, inputs, signals)], slots, 2)
    weights = torch.tensor([1e-3, 1.0], dtype=torch.float64)
    assert part.weighted_sum(weights).item() == pytest.approx(2e-3, rel=1e-6)
    alone = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert part.weighted_sum(alone).item() == 0.0


def test_a_broken_row_takes_its_unit_with_it():
    parameter, slots = nn.Parameter(torch.zeros(1, 1)), torch.tensor([1, 0, 1])
    part = added([Outer(parameter, torch.tensor([[float("nan")], [2.0], [3.0]]), torch.ones(3, 1))], slots, 2)
    assert torch.isfinite(part.squares()).tolist() == [True, False]
    clean = part.without(torch.tensor([False, True]))
    assert clean.weighted_sum(torch.ones(2, dtype=torch.float64)).item() == 2.0
