import copy
import gc
import io
import weakref

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.nn.utils import prune

from dpkit.clip import FlatClip
from dpkit.errors import CoverageError, ParameterError
from dpkit.training import Privatizer, clipped_sum, record
from dpkit.training.norms import SHRINK
from tests.oracles.training import clipped_oracle, losses_of


def build():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))


def names(tape):
    return [use.name for use in tape.uses]


def installed():
    return len(torch_module._global_forward_hooks) + len(torch_module._global_forward_pre_hooks)


def test_the_model_is_untouched_while_it_is_recorded():
    model, before = build(), installed()
    plain = copy.deepcopy(model)
    with record(model) as tape:
        losses = losses_of(model(torch.ones(2, 3)))
        assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
        assert [vars(m).keys() for m in model.modules()] == [vars(m).keys() for m in plain.modules()]
        assert model.state_dict().keys() == plain.state_dict().keys()
        copied = copy.deepcopy(model)
        stream = io.BytesIO()
        torch.save(model, stream)
        stream.seek(0)
        loaded = torch.load(stream, weights_only=False)
        for other in (copied, loaded):
            assert all(torch.equal(a, b) for a, b in zip(other.parameters(), model.parameters(), strict=True))
            other(torch.ones(1, 3))
        assert names(tape) == ["0", "2"]  # copies are not recorded
    clipped_sum(tape, losses, FlatClip(1.0))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert installed() == before


def test_recording_ends_with_the_block_and_keeps_what_it_has():
    model = build()
    with record(model) as tape:
        model(torch.ones(2, 3))
    model(torch.ones(2, 3))
    tape.close()
    assert names(tape) == ["0", "2"]
    tape.clear()
    assert names(tape) == []


def test_a_forgotten_tape_is_collected_and_unhooked():
    model, before = build(), installed()
    tape = record(model)
    model(torch.ones(2, 3))
    reference = weakref.ref(tape)
    del tape
    gc.collect()
    assert reference() is None
    assert installed() == before


def test_passes_without_gradients_leave_no_trace():
    model = build()
    with record(model) as tape:
        with torch.no_grad():
            model(torch.ones(2, 3))
        with torch.inference_mode():
            model(torch.ones(2, 3))
    assert names(tape) == []


def test_freezing_is_decided_at_each_call():
    model = build()
    with record(model) as tape:
        model[0].requires_grad_(False)
        model(torch.ones(2, 3))
        model[0].weight.requires_grad_(True)
        model(torch.ones(2, 3))
        assert list(tape.parameters()) == ["0.weight", "2.weight", "2.bias"]
    assert names(tape) == ["2", "0", "2"]


def test_two_recordings_do_not_meet():
    first, second = build(), build()
    with record(first) as one, record(second) as two, record(first) as again:
        losses = losses_of(first(torch.ones(2, 3)))
        assert (names(one), names(two), names(again)) == (["0", "2"], [], ["0", "2"])
    clipped_sum(one, losses, FlatClip(1.0))


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(4),
        nn.BatchNorm1d(4, affine=False),
        nn.BatchNorm1d(4, track_running_stats=False).eval(),
        nn.SyncBatchNorm(4),
        nn.InstanceNorm1d(4, track_running_stats=True),
    ],
    ids=repr,
)
def test_layers_that_mix_examples_are_refused_by_name(layer):
    model = nn.Sequential(nn.Linear(3, 4), layer)
    inputs = torch.randn(2, 3) if not isinstance(layer, nn.InstanceNorm1d) else torch.randn(2, 4, 3)
    model = model if inputs.dim() == 2 else nn.Sequential(nn.Identity(), layer)
    with (
        record(model),
        pytest.raises((CoverageError, ValueError), match=r"layer '1'.*GroupNorm|track_running|SyncBatch"),
    ):
        model(inputs)


def test_a_frozen_backbone_without_gradients_may_not_mix_examples():
    backbone, head = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).requires_grad_(False), nn.Linear(4, 2)
    model = nn.ModuleDict({"backbone": backbone, "head": head})
    with record(model):
        with torch.no_grad(), pytest.raises(CoverageError, match=r"backbone\.1"):
            backbone(torch.randn(5, 3))
        model.eval()
        with torch.no_grad():
            head(backbone(torch.randn(5, 3)))


def test_batch_norm_with_fixed_statistics_is_allowed():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    with record(model) as tape:
        losses = losses_of(model(torch.randn(2, 3)))
    assert set(clipped_sum(tape, losses, FlatClip(1.0)).value) == {"0.weight", "0.bias", "1.weight", "1.bias"}


class Writes(nn.Module):
    """Keeps a running mean of its inputs, in place or by assignment."""

    def __init__(self, assign):
        super().__init__()
        self.assign, self.weight = assign, nn.Parameter(torch.ones(3))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        with torch.no_grad():
            if self.assign:
                self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            else:
                self.mean.mul_(0.9).add_(0.1 * x.mean(0))
        return x * self.weight


@pytest.mark.parametrize("assign", [False, True])
def test_a_layer_that_writes_its_inputs_down_is_refused(assign):
    model = nn.Sequential(nn.Identity(), Writes(assign))
    for mode in (torch.enable_grad, torch.no_grad):
        with record(model), mode(), pytest.raises(CoverageError, match="layer '1'"):
            model(torch.ones(2, 3))


@pytest.mark.parametrize("option", [{"max_norm": 0.1}, {"scale_grad_by_freq": True}, {"sparse": True}], ids=str)
def test_embeddings_that_treat_rows_of_the_batch_apart_are_refused_untouched(option):
    table = nn.Embedding(5, 3, **option)
    before = table.weight.detach().clone()
    with record(table), pytest.raises(CoverageError, match=next(iter(option))):
        table(torch.tensor([1, 2]))
    assert torch.equal(table.weight, before)


def test_spectral_norm_may_write_what_it_computes_from_weights():
    model = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2))
    with record(model) as tape:
        model(torch.ones(2, 3))
        with torch.no_grad():
            model.parametrizations.weight.original.mul_(0.5)
        model(torch.ones(2, 3))
    assert len(tape.uses) == 2


@pytest.mark.filterwarnings("ignore")  # torch's own: these are deprecated
@pytest.mark.parametrize("wrap", [nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.parametrize("layer", [nn.Linear(3, 2), nn.Bilinear(3, 3, 2)], ids=str)
def test_weights_computed_in_a_hook_are_refused(wrap, layer):
    model = wrap(copy.deepcopy(layer))
    with record(model), pytest.raises(CoverageError, match="hook"):
        model(*[torch.ones(2, 3)] * (1 + isinstance(layer, nn.Bilinear)))


def test_only_modules_are_recorded():
    with pytest.raises(ParameterError, match="got function"):
        record(lambda x: x)


class Hidden(torch.autograd.Function):
    """Calls a layer out of autograd's sight, and runs a backward pass of its own."""

    @staticmethod
    def forward(ctx, inputs, layer):
        ctx.layer = layer
        ctx.save_for_backward(inputs)
        with torch.no_grad():
            return layer(inputs)

    @staticmethod
    def backward(ctx, signals):
        inputs = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            outputs = ctx.layer(inputs)
        torch.autograd.backward(outputs, signals)
        return inputs.grad, None


@pytest.mark.parametrize("rows", [1, 5])  # one row is not probed
@pytest.mark.parametrize("had", [False, True])
def test_gradients_that_a_function_writes_by_itself_are_refused_and_removed(rows, had):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    steps = Privatizer(model, clip=FlatClip(1.0), noise_multiplier=1.0, expected_batch_size=4)
    if had:
        steps.release()
    losses = Hidden.apply(model[0](torch.randn(rows, 3)), model[1]).square().sum(1)
    with pytest.raises(CoverageError, match=r"'1\.weight'"):
        steps.backward(losses)
    assert all(value.grad is None for value in model[1].parameters())


class Listed(nn.Module):
    """Parameters in a list and a dict, which are never called."""

    def __init__(self):
        super().__init__()
        self.several = nn.ParameterList([torch.randn(3, 3), torch.randn(3, 3)])
        self.named = nn.ParameterDict({"gain": torch.randn(3)})

    def forward(self, x):
        for weight in self.several:
            x = torch.tanh(x @ weight)
        return x * self.named["gain"]


def test_lists_and_dicts_of_parameters_belong_to_who_holds_them():
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(3, 3), Listed()).double(), torch.randn(4, 3, dtype=torch.float64)
    with record(model) as tape:
        losses = losses_of(model(inputs))
    total = clipped_sum(tape, losses, FlatClip(0.5)).value
    expected = clipped_oracle(model, list(inputs.split(1)), 0.5 * SHRINK)
    for name, value in expected.items():
        torch.testing.assert_close(total[name], value, rtol=1e-9, atol=1e-12)


def test_a_pruned_layer_is_refused_until_its_pruning_is_final():
    layer, inputs = nn.Linear(3, 2), torch.randn(4, 3)
    prune.l1_unstructured(layer, "weight", 0.5)
    with record(layer), pytest.raises(CoverageError, match=r"prune\.remove"):
        layer(inputs)
    prune.remove(layer, "weight")
    with record(layer) as tape:
        losses = losses_of(layer(inputs))
    clipped_sum(tape, losses, FlatClip(1.0))


def test_inputs_that_were_made_in_inference_mode():
    layer = nn.Linear(3, 2)
    layer.weight.requires_grad_(False)
    with torch.inference_mode():
        inputs = torch.randn(4, 3)
    with record(layer) as tape:
        losses = losses_of(layer(inputs))
    assert clipped_sum(tape, losses, FlatClip(1.0)).value["bias"].any()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of its compiler
@pytest.mark.parametrize("compiled", [lambda m: torch.compile(m, backend="eager"), lambda m: m.compile() or m])
def test_compiled_modules_are_refused(compiled):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    model[0] = compiled(model[0])
    with pytest.raises(ParameterError, match="got 0 that is"):
        record(model)
    with pytest.raises(ParameterError, match="got one that is"):
        record(model[0])
