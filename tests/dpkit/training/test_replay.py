import threading

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from dpkit.clip import FlatClip
from dpkit.errors import CoverageError
from dpkit.training import clipped_sum, record, replay
from dpkit.training.independence import require_independent
from tests.oracles.training import Recurrent, clipped_oracle, losses_of


class Wrapped(nn.Module):
    """Calls a function of the test's, so that a recorded layer can misbehave."""

    def __init__(self, function):
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.tensor([1.0, -2.0, 0.5])), function

    def forward(self, *args, **kwargs):
        return self.function(self.weight, *args, **kwargs)


def total_of(model, *inputs, method="auto", **named):
    with record(model) as tape:
        losses = losses_of(model(*inputs, **named))
    return clipped_sum(tape, losses, FlatClip(1e6), method=method).value


@pytest.mark.parametrize("method", ["auto", "loop"])
@pytest.mark.parametrize(
    "layer",
    [
        nn.Sequential(nn.Dropout(0.0), nn.MultiheadAttention(4, 2, dropout=0.5)),
        nn.LSTM(4, 4, num_layers=2, dropout=0.5),
        Wrapped(lambda weight, x: x[..., :3] * weight * torch.rand(3)),
    ],
    ids=["attention", "lstm", "own"],
)
def test_a_layer_that_draws_random_numbers_is_refused(layer, method):
    inputs = torch.randn(5, 3, 4) if not isinstance(layer, Wrapped) else torch.randn(3, 4)
    inner = layer[1] if isinstance(layer, nn.Sequential) else layer
    with record(inner) as tape:
        out = inner(inputs, inputs, inputs)[0] if inner is not layer else inner(inputs)
    out = out[0] if isinstance(out, tuple) else out
    before = torch.get_rng_state()
    with pytest.raises(CoverageError, match="draws random numbers"):
        clipped_sum(tape, losses_of(out.transpose(0, 1) if out.dim() > 2 else out), FlatClip(1.0), method=method)
    assert torch.equal(before, torch.get_rng_state())


def test_arguments_of_every_kind_are_cut():
    def function(weight, pair, *, table, scale, flag=True):
        first, second = pair
        return first * weight + second * weight.square() * scale * table["x"] * (2.0 if flag else 1.0)

    model = Wrapped(function)
    inputs = [torch.randn(4, 3) for _ in range(3)]
    named = {"table": {"x": inputs[2]}, "scale": torch.tensor(0.3), "flag": False}
    vmapped = total_of(model, (inputs[0], inputs[1]), **named)["weight"]
    looped = total_of(model, (inputs[0], inputs[1]), **named, method="loop")["weight"]
    model.zero_grad()
    losses_of(model((inputs[0], inputs[1]), **named)).sum().backward()
    for found in (vmapped, looped):  # far below the bound: the plain gradient; 12 products in float32
        torch.testing.assert_close(found, model.weight.grad, rtol=1e-5, atol=1e-5)


def test_an_argument_that_may_hide_a_batch_is_refused():
    class Box:
        batch = torch.rand(4, 3)

    model = Wrapped(lambda weight, x, box: x * weight * box.batch.mean())
    with pytest.raises(CoverageError, match="type Box"):
        total_of(model, torch.rand(4, 3), Box())


def test_checkpointed_layers_are_seen_or_refused():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    inputs = torch.rand(4, 3, requires_grad=True)
    with record(model) as tape:
        losses = losses_of(checkpoint(model, inputs, use_reentrant=False))
    found = clipped_sum(tape, losses, FlatClip(1e6)).value
    for name, value in clipped_oracle(model, list(inputs.split(1)), 1e6).items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)
    assert len(tape.uses) == 2
    with record(model) as tape:
        losses = losses_of(checkpoint(model, inputs, use_reentrant=True))
    with pytest.raises(CoverageError, match="checkpointing"):
        clipped_sum(tape, losses, FlatClip(1.0))


def test_a_layer_that_cannot_be_batched_is_looped():
    def function(weight, x):
        return x * weight if x.sum().item() > 0 else x * weight.square()

    model = Wrapped(function)
    inputs = torch.rand(4, 3)
    torch.testing.assert_close(
        total_of(model, inputs)["weight"],
        clipped_oracle(model, list(inputs.split(1)), 1e6)["weight"],
        rtol=1e-5,
        atol=1e-5,
    )


def test_layers_count_as_many_as_time_steps_do_not_confuse_the_axes():
    # two layers and two examples: the hidden state (layers, batch, hidden) has its batch second
    model = nn.LSTM(3, 4, num_layers=2, batch_first=True).double()
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)

    def losses(batch):
        return losses_of(model(batch)[1][0].transpose(0, 1))

    with record(model) as tape:
        found = clipped_sum(tape, losses(inputs), FlatClip(1e6)).value
    expected = torch.autograd.grad(losses(inputs).sum(), list(model.parameters()))
    for (name, _), value in zip(model.named_parameters(), expected, strict=True):
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)


def test_time_first_is_not_taken_for_the_batch():
    model = Recurrent(nn.LSTM, batch_first=False)
    model.cell.batch_first = True  # now it treats time as the batch
    with record(model) as tape:
        losses = losses_of(model(torch.randn(4, 3, 3)))
    with pytest.raises(CoverageError, match=r"axis 0 must be the batch of 4 examples"):
        clipped_sum(tape, losses, FlatClip(1.0))


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("method", ["auto", "loop"])
def test_a_layer_that_writes_into_its_input_is_refused(method, named):
    layer, inputs = Wrapped(lambda weight, x: torch.tanh(x.add_(1) * weight)), torch.randn(4, 3)
    with record(layer) as tape:
        losses = losses_of(layer(x=inputs) if named else layer(inputs))
    with pytest.raises(CoverageError, match="modified in place"):
        clipped_sum(tape, losses, FlatClip(1.0), method=method)
    with pytest.raises(CoverageError, match="modified in place"):
        require_independent(tape, losses)


@pytest.mark.parametrize("method", ["auto", "loop"])
def test_attention_without_dropout_draws_nothing(method):
    layer, inputs = nn.MultiheadAttention(4, 2, batch_first=True), torch.randn(3, 5, 4)
    with record(layer) as tape:
        losses = losses_of(layer(inputs, inputs, inputs, need_weights=False)[0])
    require_independent(tape, losses)
    clipped_sum(tape, losses, FlatClip(1.0), method=method)


def test_numbers_that_another_thread_draws_are_not_those_of_the_layer(monkeypatch):
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.LSTM(3, 2, batch_first=True)), torch.randn(3, 4, 3)
    with record(model) as tape:
        losses = losses_of(model(inputs)[0])
    plain = replay._pull_plain

    def meanwhile(*given):
        drawing = threading.Thread(target=torch.rand, args=(1,))
        drawing.start()
        drawing.join()
        return plain(*given)

    monkeypatch.setattr(replay, "_pull_plain", meanwhile)
    state = torch.get_rng_state()
    assert clipped_sum(tape, losses, FlatClip(1.0)).value["0.weight_ih_l0"].any()
    assert not torch.equal(torch.get_rng_state(), state)  # what was drawn there stays drawn


@pytest.mark.parametrize("rows", [1, 3])
def test_an_attention_mask_for_each_example_and_head_is_refused(rows):
    layer, inputs = nn.MultiheadAttention(4, 2, batch_first=True), torch.randn(rows, 5, 4)
    with record(layer) as tape:
        out = layer(inputs, inputs, inputs, attn_mask=torch.zeros(2 * rows, 5, 5), need_weights=False)[0]
    with pytest.raises(CoverageError, match="key_padding_mask"):
        clipped_sum(tape, losses_of(out), FlatClip(1.0))


@pytest.mark.parametrize("given", [(), ("input",)])
def test_a_packed_sequence_is_refused_and_told_what_to_give(given):
    layer, lengths = nn.LSTM(4, 3, batch_first=True), [3, 1]
    packed = pack_padded_sequence(torch.randn(2, 3, 4), lengths, batch_first=True)
    with record(layer) as tape:
        _, (last, _) = layer(**dict.fromkeys(given, packed)) if given else layer(packed)
    with pytest.raises(CoverageError, match="give it the padded tensor, and read"):
        clipped_sum(tape, losses_of(last[0]), FlatClip(1.0))
