import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from dpkit.adaptive import AdaptiveClip
from dpkit.clip import FlatClip
from dpkit.errors import CoverageError, LossError, ParameterError
from dpkit.training import clipped_sum, record, sums
from dpkit.training.answers import answer
from dpkit.training.norms import SHRINK
from dpkit.training.sums import clip_and_count
from tests.oracles.training import Case, Recurrent, cases, clipped_oracle, gradient, losses_of, norm

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch's own, for even kernels

METHODS = ("auto", "instantiate", "loop")
BOUNDS = st.sampled_from([0.05, 1.0, 1e6])
ROWS = st.integers(0, 6)
# float64: at most 1e3 roundings of 2**-53 on each path, times a condition of at most 1e4 in models of this size.
CLOSE = 1e-9


def total_of(model, inputs, bound, units=None, method="auto"):
    with record(model) as tape:
        losses = losses_of(model(inputs))
    return clipped_sum(tape, losses, FlatClip(bound), units, method)


def assert_close(found, expected, scale):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape
        torch.testing.assert_close(found[name], value, rtol=0, atol=CLOSE * scale, msg=name)


def scale_of(model, inputs):
    return 1.0 + sum(norm(gradient(model, inputs[i : i + 1])) for i in range(len(inputs)))


@given(cases(), ROWS, BOUNDS)
@settings(max_examples=60)
def test_every_method_is_the_loop_over_examples(case: Case, rows, bound):
    rows = rows if case.takes_empty else max(rows, 1)
    inputs = case.batch(rows)
    expected = clipped_oracle(case.model, list(inputs.split(1)) if rows else [], bound * SHRINK)
    for method in METHODS:
        found = total_of(case.model, inputs, bound, method=method)
        assert (found.bound, found.norm) == (bound, "l2")
        assert_close(found.value, expected, scale_of(case.model, inputs))


@given(cases(), st.integers(1, 6), st.data())
def test_units_are_added_before_the_norm(case: Case, rows, data):
    inputs = case.batch(rows)
    units = data.draw(st.lists(st.integers(-2, 3), min_size=rows, max_size=rows))
    groups = [inputs[[i for i in range(rows) if units[i] == unit]] for unit in set(units)]
    found = total_of(case.model, inputs, 0.5, units=torch.tensor(units))
    assert_close(found.value, clipped_oracle(case.model, groups, 0.5 * SHRINK), scale_of(case.model, inputs))


def test_a_unit_with_many_examples_stays_within_the_bound():
    inputs = torch.ones(5, 3)
    assert norm(total_of(nn.Linear(3, 2), inputs, 0.5, units=torch.zeros(5, dtype=torch.int64)).value) <= 0.5
    assert norm(total_of(nn.Linear(3, 2), inputs, 0.5, units=torch.tensor([9, 9, 4, 4, 4])).value) <= 1.0


@given(cases(), st.integers(2, 6), st.sampled_from(METHODS), st.sampled_from([torch.float32, torch.float64]))
def test_one_example_moves_the_sum_by_at_most_the_bound(case: Case, rows, method, dtype):
    bound, model = 0.3, case.model.to(dtype)
    inputs = case.batch(rows)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    with_it = total_of(model, inputs, bound, method=method).value
    without = total_of(model, inputs[1:], bound, method=method).value
    moved = norm({name: with_it[name].double() - without[name].double() for name in with_it})
    # Adding `rows` float32 numbers of norm at most `bound` rounds each entry by (rows + 1) * 2**-24 of their sum of
    # magnitudes; both sums round, and models whose kernels change with the batch size round their inputs anew.
    rounding = 2 * (rows + 1) * rows * 2.0**-24 + 1e-5 if dtype == torch.float32 else 0.0
    assert moved <= bound * (1 + rounding)  # float64 rounds by less than the clip leaves room for


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("exponent", range(-30, 31, 5))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_example_alone_stays_within_the_bound(exponent, dtype, method):
    generator = torch.Generator().manual_seed(exponent + 100)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(2), nn.Linear(4, 3), nn.Flatten(), nn.Linear(6, 70)).to(dtype)
    inputs = torch.randn(1, 1, 4, 4, generator=generator, dtype=dtype) * 10.0**exponent
    for bound in (1e-4, 1.0, 7e3):
        assert norm(total_of(model, inputs, bound, method=method).value) <= bound


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_an_example_that_is_not_finite_contributes_exactly_nothing(value, method):
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 2), nn.Flatten(2), nn.Linear(9, 5), nn.LayerNorm(5), nn.Flatten(), nn.Linear(10, 3)
    )
    inputs = torch.randn(4, 1, 4, 4)
    inputs[2, 0, 1, 3] = value
    kept = total_of(model, inputs[[0, 1, 3]], 0.7, method=method).value
    found = total_of(model, inputs, 0.7, method=method).value
    broken = total_of(model, inputs[2:3], 0.7, method=method).value
    assert all(bool((part == 0).all()) for part in broken.values())
    for name, part in kept.items():  # 4 numbers of at most 0.7 are added in another order: 8 roundings
        torch.testing.assert_close(found[name], part, rtol=0, atol=8 * 0.7 * 2.0**-24 * 4)


def test_an_infinite_input_behind_a_zero_gradient_does_not_spread():
    model = nn.Linear(2, 1, bias=False)
    inputs = torch.tensor([[float("inf"), 1.0], [3.0, 4.0]])
    with record(model) as tape:
        losses = model(inputs).squeeze(1) * torch.tensor([0.0, 1.0])
    total = clipped_sum(tape, losses, FlatClip(1.0)).value["weight"]
    torch.testing.assert_close(total, torch.tensor([[0.6, 0.8]]), rtol=2.0**-17, atol=0)


@given(cases(), st.integers(1, 6), st.randoms(use_true_random=False))
def test_order_does_not_matter(case: Case, rows, random):
    inputs = case.batch(rows)
    order = random.sample(range(rows), rows)
    found, expected = (total_of(case.model, x, 0.4).value for x in (inputs[order], inputs))
    assert_close(found, expected, scale_of(case.model, inputs))


@given(cases(), st.integers(1, 5))
def test_nothing_is_left_behind(case: Case, rows):
    before = {name: value.clone() for name, value in case.model.state_dict().items()}
    inputs = case.batch(rows)
    first = total_of(case.model, inputs, 0.4).value
    total_of(case.model, case.batch(rows + 1), 0.4)
    again = total_of(case.model, inputs, 0.4).value
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(p.grad is None for p in case.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in case.model.state_dict().items())


def test_a_mean_is_refused_with_the_reason():
    model, labels = nn.Linear(3, 2), torch.tensor([0, 1, 1])
    with record(model) as tape:
        output = model(torch.randn(3, 3))
        loss = functional.cross_entropy(output, labels, weight=torch.tensor([1.0, 9.0]))
    with pytest.raises(LossError, match="weighted mean mixes them"):
        clipped_sum(tape, loss, FlatClip(1.0))
    losses = functional.cross_entropy(output, labels, weight=torch.tensor([1.0, 9.0]), reduction="none")
    with pytest.raises(LossError, match="own entries"):
        clipped_sum(tape, losses[:, None], FlatClip(1.0))
    clipped_sum(tape, losses, FlatClip(1.0))


@pytest.mark.parametrize(
    ("losses", "error"),
    [
        ([1.0], LossError),
        (torch.ones(3, 1, requires_grad=True), LossError),
        (torch.ones(3, dtype=torch.int64), LossError),
        (torch.ones(3), LossError),
    ],
)
def test_losses_must_be_one_number_per_example(losses, error):
    with record(nn.Linear(2, 1)) as tape, pytest.raises(error):
        clipped_sum(tape, losses, FlatClip(1.0))


@pytest.mark.parametrize(
    "change",
    [
        {"clip": 1.0},
        {"clip": FlatClip(1.0, norm="l1")},
        {"method": "fast"},
        {"units": torch.zeros(2)},
        {"units": torch.zeros(3, dtype=torch.int64)},
        {"units": [0, 0]},
    ],
)
def test_parameters_out_of_their_domain(change):
    model = nn.Linear(2, 1)
    with record(model) as tape:
        losses = losses_of(model(torch.ones(2, 2)))
    with pytest.raises(ParameterError):
        clipped_sum(tape, losses, **{"clip": FlatClip(1.0), **change})


def test_an_input_changed_in_place_is_refused():
    model = nn.Linear(2, 1)
    inputs = torch.ones(3, 2)
    with record(model) as tape:
        losses = losses_of(model(inputs))
        inputs += 1.0
    with pytest.raises(CoverageError, match="in place"):
        clipped_sum(tape, losses, FlatClip(1.0))


class Positions(nn.Module):
    """Adds one row of positions to all examples: their gradient is a sum over the batch."""

    def __init__(self):
        super().__init__()
        self.table, self.expand = nn.Embedding(5, 2), False

    def forward(self, x):
        rows = torch.arange(5).expand(len(x), 5) if self.expand else torch.arange(5)
        return x + self.table(rows)


def test_a_layer_without_a_row_for_each_example_is_refused():
    model, inputs = Positions(), torch.randn(3, 5, 2)
    with pytest.raises(CoverageError, match=r"'table' was called on a tensor of shape \(5,\).*expand"):
        total_of(model, inputs, 1.0)
    model.expand = True
    total_of(model, inputs, 1.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [nn.Linear(3, 3), nn.Conv1d(3, 3, 1)])
def test_a_call_without_a_batch_axis_is_refused(layer, method):
    inputs = torch.randn(3) if isinstance(layer, nn.Linear) else torch.randn(3, 4)
    with record(layer) as tape:
        losses = layer(inputs).flatten(1).sum(1) if inputs.dim() > 1 else layer(inputs)
    with pytest.raises(CoverageError, match="without a batch axis"):
        clipped_sum(tape, losses, FlatClip(1.0), method=method)


def test_a_packed_sequence_is_refused():
    model = Recurrent(nn.LSTM, batch_first=True)
    packed = nn.utils.rnn.pack_sequence([torch.randn(3, 3), torch.randn(2, 3)])
    with record(model) as tape:
        _, (hidden, _) = model.cell(packed)
    with pytest.raises(CoverageError):
        clipped_sum(tape, hidden[0].sum(1), FlatClip(1.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_clipped_in_float32(dtype):
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(400, 50), nn.LayerNorm(50), nn.Linear(50, 2)).to(dtype)
    inputs = (300 * torch.randn(3, 8, 400)).to(dtype)  # squares overflow float16
    found = total_of(model, inputs, 0.5)
    assert all(value.dtype == torch.float32 for value in found.value.values())
    alone = total_of(model, inputs[:1], 0.5).value
    assert 0.49 < norm(alone) <= 0.5


def test_autocast_gradients_are_taken_up():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 2))
    inputs = torch.randn(4, 6)
    with record(model) as tape, torch.autocast("cpu", dtype=torch.bfloat16):
        losses = losses_of(model(inputs).float())
    found = clipped_sum(tape, losses, FlatClip(0.1))
    assert 0 < norm(found.value) <= 0.4


def test_what_is_kept_for_all_layers_together_is_bounded(monkeypatch):
    rooms = []

    def watched(use, wanted, signals, rows, *, room, one_by_one):
        rooms.append(room)
        return answer(use, wanted, signals, rows, room=room, one_by_one=one_by_one)

    monkeypatch.setattr(sums, "answer", watched)
    model, inputs = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), torch.randn(3, 40, 4)
    total_of(model, inputs, 1.0)  # 40 positions: forming is cheaper
    assert rooms == [2**29, 2**29 - 3 * (4 * 4 + 4) * 4]
    rooms.clear()
    total_of(model, inputs, 1.0, method="instantiate")
    assert rooms == [None, None]


@pytest.mark.parametrize("method", METHODS)
def test_a_record_in_place_of_padding_moves_the_count_by_at_most_one_half(method):
    torch.manual_seed(0)
    model, inputs = nn.Linear(3, 2), torch.randn(6, 3)

    def twice(records, bound):
        rows, mask = torch.zeros(6, 3), torch.arange(6) < records
        rows[:records] = inputs[:records]
        with record(model) as tape:
            losses = losses_of(model(rows)) * mask
        clip = AdaptiveClip(bound, 0.5, expected_batch_size=6, count_noise_multiplier=1.0)
        return clip_and_count(tape, losses, clip, method=method)[1]

    for bound, sign in ((1e-6, -1), (1e6, 1)):
        assert [twice(records, bound) for records in range(1, 7)] == [sign * records for records in range(1, 7)]
