import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dpkit.clip import FlatClip
from dpkit.errors import CoverageError
from dpkit.training import clipped_sum, record
from dpkit.training.independence import require_independent
from dpkit.training.layers import RULES, rule_of
from dpkit.training.norms import SHRINK
from tests.oracles.layers import KINDS, layer_cases
from tests.oracles.routes import ROUTES, forced
from tests.oracles.training import cases, clipped_oracle, gradient, losses_of, norm

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch's own, for even kernels


def total_of(model, inputs, bound, method="auto"):
    with record(model) as tape:
        losses = losses_of(model(inputs))
    return clipped_sum(tape, losses, FlatClip(bound), method=method).value


def assert_oracle(case, inputs, bound, found):
    expected = clipped_oracle(case.model, list(inputs.split(1)), bound * SHRINK)
    scale = 1.0 + sum(norm(gradient(case.model, x)) for x in inputs.split(1))
    for name, value in expected.items():  # float64, see test_sums
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-9 * scale, msg=name)


@pytest.mark.parametrize("route", ROUTES)
@given(
    case=st.one_of(cases(("linear", "convolution")), layer_cases(("transposed",))),
    rows=st.integers(1, 4),
    bound=st.sampled_from([0.1, 1e6]),
)
def test_every_route_gives_the_same_sum(route, case, rows, bound):
    inputs = case.batch(rows)
    with pytest.MonkeyPatch.context() as patch:
        forced(patch, route)
        found = total_of(case.model, inputs, bound)
    assert_oracle(case, inputs, bound, found)


@pytest.mark.parametrize("kind", KINDS)
@given(st.data(), st.integers(1, 4), st.sampled_from([0.1, 1e6]), st.sampled_from(["auto", "instantiate"]))
def test_every_rule_is_the_loop_over_examples(kind, data, rows, bound, method):
    case = data.draw(layer_cases((kind,)))
    inputs = case.batch(rows)
    assert_oracle(case, inputs, bound, total_of(case.model, inputs, bound, method))
    assert type(case.model) in RULES


@pytest.mark.parametrize("kind", KINDS)
@given(st.data(), st.integers(-30, 30), st.sampled_from([1e-10, 0.3, 1e10]), st.sampled_from(list(ROUTES)))
def test_one_example_of_any_size_stays_within_the_bound(kind, data, exponent, bound, route):
    case = data.draw(layer_cases((kind,)))
    model, inputs = case.model.float(), case.batch(1)
    with record(model) as tape:
        losses = losses_of(model(inputs if kind == "embedding" else inputs.float()))
        losses = losses * torch.tensor(10.0).pow(exponent)
    with pytest.MonkeyPatch.context() as patch:
        forced(patch, route)
        found = clipped_sum(tape, losses, FlatClip(bound)).value
    assert norm(found) <= bound


@pytest.mark.parametrize("kind", KINDS)
@given(st.data(), st.sampled_from([float("nan"), float("inf"), -float("inf")]), st.sampled_from(list(ROUTES)))
def test_a_broken_example_is_zero_and_changes_no_other(kind, data, value, route):
    case = data.draw(layer_cases((kind,)))
    inputs, slope = case.batch(3), torch.ones(3, dtype=torch.float64)
    if kind == "embedding":
        slope[1] = value
    else:
        inputs[1].view(-1)[-1] = value
    sums = []
    with pytest.MonkeyPatch.context() as patch:
        forced(patch, route)
        for rows in ([0, 1, 2], [0, 2]):
            with record(case.model) as tape:
                losses = losses_of(case.model(inputs[rows])) * slope[rows]
            sums.append(clipped_sum(tape, losses, FlatClip(1.0)).value)
    for name, kept in sums[1].items():  # float64, two summands of norm 1
        torch.testing.assert_close(sums[0][name], kept, rtol=0, atol=1e-12, msg=name)


class Twice(nn.Module):
    """One layer of each of three kinds, each called twice, by position and by keyword, before in-place functions."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4, padding_idx=2)
        self.norm = nn.LayerNorm(4)
        self.up = nn.ConvTranspose1d(4, 4, 1)

    def forward(self, tokens):
        seen = self.norm(self.table(tokens) - self.table(input=tokens.flip(1)).square()).tanh_()
        seen = self.norm(input=nn.functional.relu(self.up(seen.mT), inplace=True).mT)
        return self.up(seen.mT, output_size=[tokens.shape[1]])


@given(st.integers(1, 4), st.integers(0, 2**20), st.sampled_from(["auto", "instantiate", "loop"]))
def test_layers_may_be_called_twice_and_changed_in_place(rows, seed, method):
    generator = torch.Generator().manual_seed(seed)
    model = Twice().double()
    for parameter in model.parameters():
        parameter.data.normal_(generator=generator)
    inputs = torch.randint(0, 5, (rows, 3), generator=generator)
    expected = clipped_oracle(model, list(inputs.split(1)), 0.5 * SHRINK)
    scale = 1.0 + sum(norm(gradient(model, x)) for x in inputs.split(1))
    for name, value in total_of(model, inputs, 0.5, method).items():  # float64, see test_sums
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-9 * scale, msg=name)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.LayerNorm(4), (4,)), (nn.RMSNorm((3, 4)), (3, 4)), (nn.InstanceNorm1d(4, affine=True), (4, 3))],
)
def test_a_call_without_a_batch_axis_is_refused(layer, shape):
    with record(layer) as tape:
        losses = layer(torch.randn(shape)).reshape(shape[0], -1).sum(1)
    with pytest.raises(CoverageError, match="without a batch axis"):
        clipped_sum(tape, losses, FlatClip(1.0))


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)
def test_a_derived_layer_is_not_taken_for_its_base(kind):
    derived = type(f"Own{kind.__name__}", (kind,), {})
    assert rule_of(kind.__new__(kind)) is RULES[kind]
    assert rule_of(derived.__new__(derived)) is None


def test_a_replaced_forward_is_called_again():
    layer = nn.Linear(3, 2).double()
    layer.forward = lambda x: nn.functional.linear(x, layer.weight.square(), layer.bias)
    inputs = torch.randn(4, 3, dtype=torch.float64)
    found = total_of(layer, inputs, 0.5)
    for name, value in clipped_oracle(layer, list(inputs.split(1)), 0.5 * SHRINK).items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)
    layer.forward = lambda x: nn.functional.linear(x - x.mean(0), layer.weight, layer.bias)
    with record(layer) as tape:
        losses = losses_of(layer(inputs))
    with pytest.raises(CoverageError, match="another output alone"):
        require_independent(tape, losses)
