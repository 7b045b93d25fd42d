import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dpkit.clip import FlatClip
from dpkit.training import clipped_sum, record
from dpkit.training.embedding import embedding
from dpkit.training.tape import tensors_in
from tests.oracles.training import losses_of, norm


class Largest(TorchDispatchMode):
    """The most entries of any tensor that an operation inside gives."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.entries = max(self.entries, *(tensor.numel() for tensor in tensors_in([found])), 0)
        return found


@pytest.mark.parametrize("units", [None, torch.arange(64) // 4])
def test_the_table_is_formed_once_and_not_for_each_example(units):
    model = nn.Sequential(nn.Embedding(1000, 4), nn.Flatten(), nn.Linear(12, 2))
    tokens = torch.randint(0, 1000, (64, 3), generator=torch.Generator().manual_seed(0))
    with Largest() as largest:
        with record(model) as tape:
            losses = losses_of(model(tokens))
        clipped_sum(tape, losses, FlatClip(1.0), units)
    assert largest.entries == 1000 * 4


@given(st.integers(0, 2**20), st.sampled_from([None, 2]))
def test_the_forms_agree(seed, padding):
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Embedding(4, 3, padding_idx=padding).double()
    tokens = torch.randint(0, 4, (5, 2, 3), generator=generator, dtype=torch.int32)
    with record(layer) as tape:
        signals = torch.randn(layer(tokens).shape, generator=generator, dtype=torch.float64)
    weights = torch.rand(5, generator=generator, dtype=torch.float64)
    (table,) = embedding(tape.uses[0], signals, [layer.weight], 0)
    dense = table.formed()
    torch.testing.assert_close(table.squares(), dense.squares(), rtol=1e-12, atol=0)
    torch.testing.assert_close(table.weighted_sum(weights), dense.weighted_sum(weights), rtol=1e-12, atol=1e-12)


def test_a_token_that_comes_often_is_added_before_the_norm():
    layer = nn.Embedding(3, 4, padding_idx=0)
    for tokens in ([1] * 6, [0, 0, 1, 1, 1, 2]):
        with record(layer) as tape:
            losses = 100.0 * layer(torch.tensor([tokens])).sum((1, 2))
        found = clipped_sum(tape, losses, FlatClip(0.5)).value
        assert 0.499 < norm(found) <= 0.5
        assert not found["weight"][0].any()


@pytest.mark.parametrize("tokens", [torch.full((3, 2), 1), torch.zeros(3, 0, dtype=torch.int64)])
def test_padding_and_nothing_at_all_give_no_gradient(tokens):
    layer = nn.Embedding(4, 3, padding_idx=1)
    with record(layer) as tape:
        output = layer(tokens)
    (part,) = embedding(tape.uses[0], torch.ones_like(output), [layer.weight], 0)
    assert part.squares().tolist() == [0.0] * 3
    assert not part.weighted_sum(torch.ones(3, dtype=torch.float64)).any()
