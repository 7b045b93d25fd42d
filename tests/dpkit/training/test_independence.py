import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dpkit.errors import CoverageError, LossError
from dpkit.training import record
from dpkit.training.independence import _weights, require_independent
from tests.oracles.training import cases, losses_of

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch's own, for even kernels


def check(model, losses_from, inputs):
    with record(model) as tape:
        losses = losses_from(model(inputs))
    require_independent(tape, losses)
    return losses


@given(cases(), st.integers(1, 6))
def test_independent_examples_pass_and_the_graph_is_kept(case, rows):
    losses = check(case.model, losses_of, case.batch(rows))
    losses.sum().backward()
    case.model.zero_grad()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_passes(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 40), nn.LayerNorm(40), nn.GELU(), nn.Linear(40, 3)).to(dtype)
    check(model, losses_of, (100 * torch.randn(16, 5)).to(dtype))


def test_an_example_that_is_not_finite_does_not_blind_the_probe():
    inputs = torch.randn(4, 3)
    inputs[1] = float("nan")
    check(nn.Linear(3, 2), losses_of, inputs)
    with pytest.raises(LossError):
        check(nn.Linear(3, 2), lambda out: losses_of(out * out[[2, 3, 0, 1]]), inputs)


@pytest.mark.parametrize(
    "mix",
    [
        lambda out: losses_of(out - out.mean(0)),
        lambda out: -torch.log_softmax(out @ out.mT, dim=1).diagonal(),
        lambda out: losses_of(out * out.roll(1, 0)),
        lambda out: losses_of(out.cumsum(0)),
        lambda out: losses_of(out + 1e-2 * out.flip(0)),
    ],
    ids=["centred", "contrastive", "neighbour", "running", "faint"],
)
def test_losses_that_mix_examples_are_refused_with_the_layer(mix):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4))
    with pytest.raises(LossError, match=r"layer '0'|layer '2'"):
        check(model, mix, torch.randn(5, 3))


class Normalised(nn.Module):
    """A batch normalisation written by hand."""

    def __init__(self):
        super().__init__()
        self.gain, self.offset = nn.Parameter(torch.ones(3)), nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return (x - x.mean(0)) / (x.std(0, correction=0) + 1e-5) * self.gain + self.offset


def test_a_first_layer_that_mixes_examples_is_refused_by_name():
    model = nn.Sequential(Normalised(), nn.Linear(3, 2))
    with pytest.raises(CoverageError, match=r"layer '0' \(Normalised\)"):
        check(model, losses_of, torch.randn(14, 3))


@pytest.mark.parametrize("distance", [1, 2, 4, 7, 8, 14, 16])
def test_mixing_at_any_distance_is_refused(distance):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    # missed only if whole blocks of 16 weights repeat: a chance of 1 / 16! for the least
    with pytest.raises(LossError, match="layer '0'"):
        check(model, lambda out: (out * out.roll(distance, 0)).sum(1), torch.randn(56, 3))


@pytest.mark.parametrize("rows", [2, 16, 33])
def test_rows_near_each_other_never_have_the_same_weight(rows):
    for block in _weights(rows).split(16):
        assert len(set(block.tolist())) == len(block)
        assert all(abs(math.frexp(weight)[0]) == 0.5 for weight in block.tolist())


def test_time_and_batch_exchanged_are_refused_even_at_equal_size():
    model = nn.LSTM(3, 3)  # time first; the caller believes batch first
    with pytest.raises(LossError, match="time and batch axes"):
        check(model, lambda out: losses_of(out[0]), torch.randn(4, 4, 3))


def test_shared_rows_are_refused_even_at_equal_size():
    table = nn.Embedding(4, 3)
    with pytest.raises(LossError, match="not expanded"):
        check(table, lambda rows: losses_of(torch.ones(4, 4, 3) * rows), torch.arange(4))
