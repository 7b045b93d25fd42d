import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpkit.clip import FlatClip
from dpkit.training import clipped_sum, layers, record
from dpkit.training.norms import SHRINK
from dpkit.training.parts import Gram
from tests.oracles.training import cases, clipped_oracle, gradient, losses_of, norm

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch's own, for even kernels

ROUTES = {
    "gram": {"_TRAFFIC": 10**9},
    "patches": {"_TRAFFIC": -(10**9), "_MANY_POSITIONS": 10**9},
    "kernel": {"_TRAFFIC": -(10**9), "_MANY_POSITIONS": 0},
}


@pytest.mark.parametrize("route", ROUTES)
@given(case=cases(("linear", "convolution")), rows=st.integers(1, 4), bound=st.sampled_from([0.1, 1e6]))
def test_every_route_gives_the_same_sum(route, case, rows, bound):
    inputs = case.batch(rows)
    expected = clipped_oracle(case.model, list(inputs.split(1)), bound * SHRINK)
    scale = 1.0 + sum(norm(gradient(case.model, x)) for x in inputs.split(1))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ROUTES[route].items():
            patch.setattr(layers, name, value)
        with record(case.model) as tape:
            losses = losses_of(case.model(inputs))
        found = clipped_sum(tape, losses, FlatClip(bound)).value
    for name, value in expected.items():  # float64, see test_sums
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-9 * scale, msg=name)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_route_lets_a_broken_example_through(route, value):
    torch.manual_seed(4)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 2, padding=1), torch.nn.Flatten(2), torch.nn.Linear(36, 3))
    inputs = torch.randn(3, 1, 5, 5)
    inputs[1, 0, 2, 2] = value
    sums = []
    with pytest.MonkeyPatch.context() as patch:
        for name, changed in ROUTES[route].items():
            patch.setattr(layers, name, changed)
        for batch in (inputs, inputs[[0, 2]]):
            with record(model) as tape:
                losses = losses_of(model(batch))
            sums.append(clipped_sum(tape, losses, FlatClip(1.0)).value)
    for name, kept in sums[1].items():  # two summands of norm 1, in kernels for three rows and for two
        torch.testing.assert_close(sums[0][name], kept, rtol=0, atol=1e-5, msg=name)


def test_gradients_too_large_to_form_are_not_formed():
    layer = torch.nn.Linear(600, 500)
    with record(layer) as tape:
        losses_of(layer(torch.zeros(1000, 64, 600)[:, :40])).sum()
    (use,) = tape.uses
    parts = layers.linear(use, torch.zeros(1000, 40, 500), list(layer.parameters()), False)
    assert [type(part) for part in parts if part.parameter is layer.weight] == [Gram]
