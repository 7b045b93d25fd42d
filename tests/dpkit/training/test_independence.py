import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dpkit.errors import CoverageError, LossError
from dpkit.training import record
from dpkit.training.independence import Probe, _weights, require_independent
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


def mixed(model, inputs):
    out = model(inputs)
    return losses_of(out - out.mean(0))


def probed(probe, model, losses_from, inputs):
    with record(model) as tape:
        losses = losses_from(model, inputs)
    return probe.after(tape, losses)


def plain(model, inputs):
    return losses_of(model(inputs))


def test_a_batch_that_hides_mixing_is_not_the_last_to_be_tried():
    torch.manual_seed(0)
    model, inputs = nn.Linear(3, 2), torch.randn(4, 3)
    broken = inputs.clone()
    broken[0] = torch.inf
    probe = probed(Probe(), model, mixed, broken)  # one example breaks the gradients of all
    assert probe.is_now and probe.tried == {"Linear"} and not probe.seen
    with pytest.raises(LossError):
        probed(probe, model, mixed, inputs)


def test_a_layer_behind_zeros_is_tried_when_gradients_reach_it():
    torch.manual_seed(0)
    first, last, inputs = nn.Linear(3, 4), nn.Linear(4, 2), torch.randn(6, 3)
    nn.init.zeros_(last.weight)
    model = nn.Sequential(first, last)

    def losses_from(model, inputs):
        hidden = first(inputs)
        return (last(hidden - hidden.mean(0)) - 1).square().sum(1)

    probe = probed(Probe(), model, losses_from, inputs)
    assert probe.seen == {"1"} and probe.tried == {"0", "1"}
    nn.init.ones_(last.weight)
    with pytest.raises(LossError, match="layer '0'"):
        probed(probe, model, losses_from, inputs)


def test_what_was_seen_costs_nothing_more_and_what_was_not_costs_little():
    torch.manual_seed(0)
    idle, used, inputs = nn.Linear(3, 2), nn.Linear(3, 2), torch.randn(4, 3)
    model = nn.Sequential(used, idle)

    def losses_from(model, inputs):
        return losses_of(used(inputs) + 0 * idle(inputs))

    tried = []
    probe = Probe()
    for _ in range(17):
        probe = probed(probe, model, losses_from, inputs)
        tried.append(probe.is_now)
    assert [i + 1 for i, now in enumerate(tried) if now] == [1, 2, 4, 8, 16]
    assert not probed(Probe(), used, plain, inputs[:1]).is_now
    once = probed(Probe(), used, plain, inputs)
    assert once.is_now and not probed(once, used, plain, inputs).is_now


def test_a_layer_that_is_called_for_the_first_time_is_tried():
    torch.manual_seed(0)
    first, later = nn.Linear(3, 2), nn.Linear(3, 2)
    model, inputs = nn.ModuleList([first, later]), torch.randn(4, 3)
    probe = Probe()
    for _ in range(2):
        probe = probed(probe, model, lambda model, inputs: losses_of(first(inputs)), inputs)
    with pytest.raises(LossError, match="layer '1'"):
        probed(probe, model, lambda model, inputs: mixed(later, inputs), inputs)
