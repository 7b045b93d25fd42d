import pytest
import torch
from torch import nn

from dpkit.clip import FlatClip
from dpkit.training import clipped_sum, record, routes
from dpkit.training.parts import Dense
from dpkit.training.routes import Route, fastest
from tests.oracles.training import losses_of

LARGE = 1e9


class Watched:
    """Two routes to the same part that write down what they are asked to form, and what timing is told of them."""

    def __init__(self, patch, seconds, costs=(LARGE, LARGE), memory=(4, 4)):
        self.formed, self.timed, self.parameter = [], [], nn.Parameter(torch.zeros(2))
        patch.setattr(routes, "_choices", {})
        patch.setattr(routes, "_once", lambda route, *tensors: self.time(route.name, seconds))
        rows = zip(("first", "second"), costs, memory, strict=True)
        self.routes = [Route(name, cost, size, self.form(name)) for name, cost, size in rows]

    def time(self, name, seconds):
        self.timed.append(name)
        return seconds[name]

    def form(self, name):
        def make(inputs, signals):
            self.formed.append(name)
            return Dense(self.parameter, inputs * signals)

        return make

    def ask(self, rows=4, layer="layer", width=2, room=10**9):
        tensor = torch.full((rows, width), 3.0)
        assert fastest(layer, self.routes, tensor, tensor, room).squares().shape == (rows,)
        return self.formed.pop()


def test_the_fastest_is_found_once_for_each_shape(monkeypatch):
    seconds = {"first": 2.0, "second": 1.0}
    watched = Watched(monkeypatch, seconds)
    assert watched.ask() == "second"
    seconds["second"] = 3.0  # another time would say otherwise: the choice stands
    assert [watched.ask(), watched.ask(rows=5), watched.ask(rows=7)] == ["second"] * 3
    assert watched.timed == ["first", "second"] * 3
    assert [watched.ask(rows=8), watched.ask(layer="other"), watched.ask(width=3)] == ["first"] * 3
    assert watched.timed == ["first", "second"] * 12


def test_what_is_far_behind_is_timed_once(monkeypatch):
    watched = Watched(monkeypatch, {"first": 7.0, "second": 1.0})
    assert watched.ask() == "second"
    assert watched.timed == ["first", "second"]


def test_as_many_choices_are_kept_as_allowed(monkeypatch):
    watched = Watched(monkeypatch, {"first": 2.0, "second": 1.0})
    monkeypatch.setattr(routes, "_MOST_CHOICES", 2)
    for layer in ("one", "two", "three", "two", "one"):
        watched.ask(layer=layer)
    assert len(routes._choices) == 2
    assert len(watched.timed) == 4 * 6


def test_nothing_is_timed_where_bits_must_be_the_same_everywhere(monkeypatch):
    watched = Watched(monkeypatch, {"first": 2.0, "second": 1.0}, costs=(LARGE, 2 * LARGE))
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert watched.ask() == "first"
    assert watched.timed == []


def test_small_calls_and_clear_cases_are_not_timed(monkeypatch):
    watched = Watched(monkeypatch, {"first": 2.0, "second": 1.0}, costs=(10.0, 11.0))
    assert watched.ask() == "first"
    watched = Watched(monkeypatch, {"first": 2.0, "second": 1.0}, costs=(LARGE, 100 * LARGE))
    assert watched.ask() == "first"
    assert watched.timed == []


def test_too_much_memory_is_taken_by_no_route_if_there_is_another(monkeypatch):
    watched = Watched(monkeypatch, {"first": 1.0, "second": 2.0}, costs=(1.0, LARGE), memory=(100, 8))
    assert [watched.ask(room=399), watched.ask(room=400), watched.ask(room=None)] == ["second", "first", "first"]
    watched = Watched(monkeypatch, {"first": 1.0, "second": 2.0}, memory=(100, 99))
    assert [watched.ask(room=room) for room in (0, -1, 395)] == ["second"] * 3
    assert watched.timed == []


def test_timing_sees_ones_and_few_rows(monkeypatch):
    seen = []

    def form(inputs, signals):
        seen.append((inputs, signals))
        return Dense(nn.Parameter(torch.zeros(2)), inputs * signals)

    data = torch.full((64, 2), float("nan"))
    monkeypatch.setattr(routes, "_TIMED_BYTES", 100)
    found = routes._seconds([Route("one", LARGE, 10, form), Route("two", LARGE, 5, form)], data, data)
    assert found.keys() == {"one", "two"}
    assert all(0.0 < seconds < 1.0 for seconds in found.values())
    assert seen
    for tensors in seen:
        assert [tensor.tolist() for tensor in tensors] == [[[1.0, 1.0]] * 10] * 2


@pytest.mark.parametrize("layer", [nn.Linear(64, 64), nn.Conv1d(64, 64, 3)], ids=["linear", "convolution"])
def test_the_same_batch_gives_the_same_bits(monkeypatch, layer):
    monkeypatch.setattr(routes, "_choices", {})
    inputs = torch.randn(64, 64, 64, generator=torch.Generator().manual_seed(1))
    sums = []
    for _ in range(3):
        with record(layer) as tape:
            losses = losses_of(layer(inputs))
        sums.append(clipped_sum(tape, losses, FlatClip(1.0)).value["weight"])
    assert len(routes._choices) == 1
    assert all(torch.equal(sums[0], other) for other in sums)
