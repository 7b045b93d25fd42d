import pytest
import torch
from torch import nn

from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.errors import ParameterError, StateError
from dpkit.training.processes import Alone
from dpkit.training.step import NOTHING, Clipped, Pending, Witness, gather, offered, require_apart, require_methods


class Twins:
    """Two processes, of which the other one is told by hand."""

    first = True

    def __init__(self, other):
        self.other = other

    def gathered(self, place, act):
        return [act(), self.other]

    def summed(self, tensors):
        return {name: 2 * value for name, value in tensors.items()}


def gathered(pending, layer, processes, **settings):
    parameters = dict(layer.named_parameters())
    return gather(lambda: offered(pending, parameters, settings), pending, parameters, FlatClip(1.0), processes)


def twins(layer, twice=5, units=None, **settings):
    part = Bounded({"weight": torch.ones(1, 2)}, 1.0)
    return Twins(offered(NOTHING.joined(part, twice, units), dict(layer.named_parameters()), settings))


def test_parts_of_a_step_are_disjoint_and_units_are_joined():
    part = Bounded({"w": torch.ones(2)}, 1.5)
    step = NOTHING.joined(part, 3, frozenset({1})).joined(part, -1, frozenset({2}))
    assert step.total.bound == 1.5
    assert step.total.value["w"].tolist() == [2.0, 2.0]
    assert (step.twice, step.units) == (2, frozenset({1, 2}))
    assert Pending() == NOTHING
    assert NOTHING.joined(part, 0, None).units is None


def test_a_count_has_the_bound_of_one_half():
    count = Clipped(Bounded({"w": torch.ones(2)}, 1.0), -3).count()
    assert (float(count.value), count.bound) == (-1.5, 0.5)


def test_what_was_not_summed_is_zero_and_what_was_frozen_is_left_out():
    layer = nn.Linear(2, 1).to(torch.bfloat16)
    pending = NOTHING.joined(Bounded({"old": torch.ones(1), "bias": torch.ones(1)}, 1.0), 2, None)
    clipped = gathered(pending, layer, Alone())
    assert set(clipped.total.value) == {"weight", "bias"}
    assert clipped.total.value["weight"].tolist() == [[0.0, 0.0]]
    assert clipped.total.value["weight"].dtype == torch.float32
    assert (clipped.total.bound, clipped.twice) == (1.0, 2)


def test_processes_add_sums_and_counts():
    layer, other = nn.Linear(2, 1, bias=False), nn.Linear(2, 1)
    pending = NOTHING.joined(Bounded({"weight": torch.ones(1, 2)}, 1.0), 2, frozenset({1}))
    clipped = gathered(pending, layer, twins(layer, units=frozenset({2})))
    assert clipped.total.value["weight"].tolist() == [[2.0, 2.0]]
    assert clipped.total.bound == 1.0
    assert clipped.twice == 7
    with pytest.raises(ParameterError, match="two backward calls"):
        gathered(pending, layer, twins(layer, units=frozenset({1})))
    with pytest.raises(ParameterError, match="in all processes or in none"):
        gathered(pending, layer, twins(layer))
    with pytest.raises(StateError, match="trainable parameters must be the same"):
        gathered(pending, layer, twins(other, units=frozenset({2})))
    with pytest.raises(StateError, match="clip must be the same"):
        gathered(pending, layer, twins(layer, units=frozenset({2}), clip="b"), clip="a")


def test_a_process_without_rows_knows_no_units():
    layer = nn.Linear(2, 1, bias=False)
    clipped = gathered(NOTHING, layer, twins(layer, units=frozenset({2})))
    assert clipped.total.value["weight"].tolist() == [[0.0, 0.0]]
    assert clipped.twice == 5


def test_units_apart():
    require_apart((None, None))
    require_apart((None, frozenset({1})))
    require_apart((frozenset({1}), frozenset(), frozenset({2})))
    with pytest.raises(ParameterError, match="exceed the bound"):
        require_apart((frozenset({1}), None, frozenset({1, 2})))


def test_a_witness_keeps_what_was_recorded_and_nothing_else():
    class Refusing:
        def record(self, release):
            raise RuntimeError("no")

    witness = Witness(None)
    witness.record("a")
    assert witness.seen == ("a",)
    witness.forget()
    witness.copy(["b", "c"])
    assert witness.seen == ("b", "c")
    witness = Witness(Refusing())
    with pytest.raises(RuntimeError):
        witness.record("a")
    assert witness.seen == ()


def test_methods_are_required_of_objects_and_not_of_classes():
    require_methods("ledger", None, ("record",), "a Ledger")
    require_methods("ledger", Witness(None), ("record",), "a Ledger")
    for wrong in (Witness, 5):
        with pytest.raises(ParameterError, match="ledger must be None or have record"):
            require_methods("ledger", wrong, ("record",), "a Ledger")
