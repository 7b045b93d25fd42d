import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dpkit.clip import FlatClip
from dpkit.errors import CoverageError
from dpkit.training import clipped_sum, record
from dpkit.training.coverage import assign
from dpkit.training.norms import SHRINK
from tests.oracles.training import Attention, Scaled, cases, clipped_oracle, losses_of

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch's own, for even kernels


class Reused(nn.Module):
    """Uses a layer's weight in a function too: the tied embedding of many language models."""

    def __init__(self, owner: bool):
        super().__init__()
        self.embed = nn.Embedding(7, 3)
        self.own = nn.Parameter(torch.ones(7)) if owner else None

    def forward(self, tokens):
        out = functional.linear(self.embed(tokens).mean(1), self.embed.weight)
        return out if self.own is None else out * self.own


@pytest.mark.parametrize("owner", [False, True])
def test_functional_reuse_of_a_weight_is_refused_by_name(owner):
    model = Reused(owner)
    with record(model) as tape:
        losses = losses_of(model(torch.zeros(2, 4, dtype=torch.int64)))
    with pytest.raises(CoverageError, match=r"embed\.weight"):
        clipped_sum(tape, losses, FlatClip(1.0))
    model.embed.requires_grad_(False)
    with record(model) as tape:
        out = model(torch.zeros(2, 4, dtype=torch.int64))
    if owner:
        assert set(clipped_sum(tape, losses_of(out), FlatClip(1.0)).value) == {"own"}


def test_a_penalty_on_a_weight_is_refused():
    model = nn.Linear(2, 2)
    with record(model) as tape:
        losses = losses_of(model(torch.ones(3, 2))) + model.weight.square().sum()
    with pytest.raises(CoverageError, match="'weight'"):
        clipped_sum(tape, losses, FlatClip(1.0))


def test_a_forward_pass_before_recording_is_refused():
    model = nn.Linear(2, 2)
    losses = losses_of(model(torch.ones(3, 2)))
    with record(model) as tape, pytest.raises(CoverageError, match=r"inside record\(\.\.\.\)"):
        clipped_sum(tape, losses, FlatClip(1.0))


def test_a_failed_call_leaves_graph_and_tape():
    model = nn.Linear(2, 2)
    with record(model) as tape:
        losses = losses_of(model(torch.ones(3, 2)))
        bad = losses + model.bias.sum()
    with pytest.raises(CoverageError):
        clipped_sum(tape, bad, FlatClip(1.0))
    clipped_sum(tape, losses, FlatClip(1.0))


def test_a_reentrant_checkpoint_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with record(model) as tape:
        losses = losses_of(checkpoint(model[1], model[0](torch.ones(3, 2)), use_reentrant=True))
    with pytest.raises(CoverageError, match="use_reentrant=False"):
        clipped_sum(tape, losses, FlatClip(1.0))


def test_complex_parameters_are_refused_by_name():
    model = nn.Linear(3, 1, dtype=torch.complex64)
    with record(model) as tape:
        losses = model(torch.ones(2, 3, dtype=torch.complex64)).abs().squeeze(1)
    with pytest.raises(CoverageError, match="'weight' is complex"):
        clipped_sum(tape, losses, FlatClip(1.0))


class Twice(nn.Module):
    """Returns one tensor at two places."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x):
        out = x * self.weight
        return out, out


@pytest.mark.parametrize("method", ["auto", "loop"])
def test_a_tensor_that_is_returned_twice_counts_once(method):
    model, inputs = Twice(), torch.randn(4, 3)
    with record(model) as tape:
        first, second = model(inputs)
        losses = (first + 2 * second).sum(1)
    found = clipped_sum(tape, losses, FlatClip(1e6), None, method).value["weight"]
    torch.testing.assert_close(found, 3 * inputs.sum(0))


def test_an_unused_parameter_has_a_zero_gradient():
    model = Scaled(3)
    with record(model) as tape:
        losses = losses_of(model(torch.ones(2, 3)))
    found = clipped_sum(tape, losses, FlatClip(1.0)).value
    assert bool((found["unused.weight"] == 0).all())
    assert found["gain"].shape == ()
    assert all(bool((value != 0).any()) for name, value in found.items() if not name.startswith("unused"))


def test_a_layer_answers_for_children_that_it_uses_without_calling():
    model = Attention(batch_first=True)
    with record(model) as tape:
        losses = losses_of(model(torch.randn(2, 3, 4)))
    ((use, answers),) = assign(tape, losses)
    assert use.name == "attention"
    assert {id(p) for p in answers} == {id(p) for p in model.parameters()}


class Small(nn.Module):
    """Calls one layer twice; all numbers are small integers, which 16 bits hold, and so are all gradients."""

    def __init__(self, tied: bool):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2) if tied else self.first
        self.second.weight = self.first.weight
        for value, numbers in ((self.first.weight, [[1, -2], [3, 1]]), (self.first.bias, [1, 2])):
            value.data.copy_(torch.tensor(numbers))
        self.second.bias.data.copy_(torch.tensor([1, 2]))

    def forward(self, x):
        return self.second(self.first(x))


@pytest.mark.parametrize("method", ["auto", "instantiate", "loop"])
@pytest.mark.parametrize("tied", [False, True])
def test_every_call_that_shares_a_cast_weight_answers(tied, method):
    """Autocast casts a weight once for all calls: the two calls' parts of the graph have that node in common."""
    model, x = Small(tied), torch.tensor([[1.0, 2.0], [-3.0, 1.0], [2.0, 0.0]])
    with record(model) as tape, torch.autocast("cpu", torch.bfloat16):
        out = model(x)
    found = clipped_sum(tape, out.float().sum(1), FlatClip(1e6), None, method).value
    expected = torch.autograd.grad(model(x).sum(), list(model.parameters()))
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found.values(), expected, strict=True))


@pytest.mark.parametrize("on", [False, True])
def test_functional_reuse_is_refused_under_autocast_too(on):
    model = nn.Linear(3, 3)
    with record(model) as tape, torch.autocast("cpu", torch.bfloat16, enabled=on):
        out = functional.linear(model(torch.ones(2, 3)), model.weight)
    with pytest.raises(CoverageError, match="'weight'"):
        clipped_sum(tape, losses_of(out.float()), FlatClip(1.0))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_penalty_on_gradients_of_the_inputs_is_refused(share):
    """Its graph enters a layer's where the transposed weight is kept for the backward pass."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = torch.randn(4, 3, requires_grad=True)
    with record(model) as tape:
        out = model(x)
        (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    with pytest.raises(CoverageError, match=r"'[02]\.weight'"):
        clipped_sum(tape, share * losses_of(out) + (slope.norm(dim=1) - 1).square(), FlatClip(1.0))


class Keeps(nn.Module):
    """Keeps a result beside the one that it returns, for a term of the loss."""

    def __init__(self, returns: bool):
        super().__init__()
        self.weight, self.returns, self.kept = nn.Parameter(torch.tensor([1.0, -2.0, 0.5])), returns, torch.zeros(0)

    def forward(self, x):
        self.kept = x * self.weight
        return (torch.tanh(self.kept), self.kept) if self.returns else torch.tanh(self.kept)


@pytest.mark.parametrize("returns", [False, True])
def test_a_result_that_is_kept_and_not_returned_is_refused(returns):
    model, x = Keeps(returns), torch.randn(4, 3)
    with record(model) as tape:
        out = model(x)
        losses = losses_of(out[0] if returns else out) + losses_of(model.kept)
    if not returns:
        with pytest.raises(CoverageError, match="return all of its results"):
            clipped_sum(tape, losses, FlatClip(1e6))
        return
    expected = torch.autograd.grad(losses.sum(), model.weight, retain_graph=True)[0]
    # sums of four products in float32
    torch.testing.assert_close(clipped_sum(tape, losses, FlatClip(1e6)).value["weight"], expected, rtol=1e-5, atol=1e-5)


@given(cases(), st.integers(1, 3))
def test_supported_models_are_covered_once(case, rows):
    with record(case.model) as tape:
        losses = losses_of(case.model(case.batch(rows)))
    answered = {id(p) for _, wanted in assign(tape, losses) for p in wanted}
    found = torch.autograd.grad(losses.sum(), list(tape.parameters().values()), allow_unused=True)
    needed = {id(p) for p, g in zip(tape.parameters().values(), found, strict=True) if g is not None}
    assert answered == needed


class Recursive(nn.Module):
    """Calls itself, and the innermost call uses a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.layer, self.gain = nn.Linear(3, 3), nn.Parameter(torch.randn(3))

    def forward(self, x, depth=2):
        return self(torch.tanh(self.layer(x)), depth - 1) if depth else x * self.gain


class Alias(nn.Module):
    """Owns the weight of a layer too, and returns what the layer returns."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.weight = self.layer.weight

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize("kind", [Recursive, Alias])
def test_of_nested_calls_that_return_one_tensor_the_inner_answers(kind):
    torch.manual_seed(0)
    model, inputs = kind().double(), torch.randn(4, 3, dtype=torch.float64)
    with record(model) as tape:
        losses = losses_of(model(inputs))
    total = clipped_sum(tape, losses, FlatClip(0.5)).value
    for name, value in clipped_oracle(model, list(inputs.split(1)), 0.5 * SHRINK).items():
        torch.testing.assert_close(total[name], value, rtol=1e-9, atol=1e-12, msg=name)
