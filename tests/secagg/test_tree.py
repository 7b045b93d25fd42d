from __future__ import annotations

from collections import UserList, deque
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from secagg import ParameterError, flatten, unflatten

ARRAYS = hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
TREES = st.recursive(
    ARRAYS,
    lambda inner: (
        st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=6,
)


def _same(left, right) -> bool:
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return type(left) is type(right) and len(left) == len(right) and all(map(_same, left, right))
    return left.shape == right.shape and bool((left == right).all())


@given(TREES)
def test_round_trip(tree):
    vector, spec = flatten(tree)
    assert vector.shape == (spec.size,)
    assert _same(tree, unflatten(vector, spec))


def test_order_of_a_dict_does_not_matter():
    one = flatten({"b": np.array([1.0]), "a": np.array([2.0])})
    two = flatten({"a": np.array([2.0]), "b": np.array([1.0])})
    assert one[1] == two[1]
    assert one[0].tolist() == two[0].tolist() == [2.0, 1.0]


def test_specs_differ_where_trees_do():
    specs = {
        flatten(tree)[1]
        for tree in (
            {"a": np.ones(2)},
            {"b": np.ones(2)},
            {"a": np.ones((2, 1))},
            [np.ones(2)],
            (np.ones(2),),
            [np.ones(1), np.ones(1)],
            np.ones(2),
        )
    }
    assert len(specs) == 7


def test_unflatten_copies_and_keeps_the_dtype():
    vector, spec = flatten([np.ones(2), np.ones(1)])
    tree = unflatten(vector.astype(np.uint64), spec)
    tree[0][0] = 7
    assert tree[0].dtype == np.uint64
    assert vector.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "tree",
    [
        {1: np.ones(1)},
        [np.ones(1), np.ones(1, dtype=np.float32)],
        [np.array([1]), np.array([1], dtype=np.uint64)],
        ["text"],
        [np.array([True])],
        None,
    ],
)
def test_refuses_what_cannot_be_one_vector(tree):
    with pytest.raises(ParameterError):
        flatten(tree)


class _Pair(NamedTuple):
    one: np.ndarray
    two: np.ndarray


class _MyList(list):
    pass


@pytest.mark.parametrize(
    "tree",
    [
        _Pair(np.ones(1), np.ones(1)),
        {"a": [_Pair(np.ones(1), np.ones(2))]},
        _MyList([np.ones(1)]),
        UserList([np.ones(1)]),
        deque([np.ones(1)]),
    ],
    ids=["named tuple", "inner named tuple", "list subclass", "UserList", "deque"],
)
def test_sequences_that_would_not_come_back_are_refused(tree):
    with pytest.raises(ParameterError, match=r"convert it first"):
        flatten(tree)


def test_masked_and_timed_leaves_are_refused():
    for leaf in (np.ma.masked_array([1.0], [True]), np.array([1], dtype="m8[s]")):
        with pytest.raises(ParameterError):
            flatten({"w": leaf})


def test_64_levels_come_back_and_more_are_refused():
    tree = np.ones(1)
    for _ in range(64):
        tree = [tree]
    vector, spec = flatten(tree)
    assert _same(tree, unflatten(vector, spec))
    endless = [np.ones(1)]
    endless.append(endless)
    deep = np.ones(1)
    for level in range(10_000):
        deep = {"a": deep} if level % 2 else (deep,)
    for bad in ([tree], endless, deep):
        with pytest.raises(ParameterError, match="64 levels"):
            flatten(bad)


def test_unflatten_refuses_another_length():
    _, spec = flatten([np.ones(2)])
    with pytest.raises(ParameterError):
        unflatten(np.ones(3), spec)


@pytest.mark.parametrize("vector", [[1.0, 2.0], None, np.ma.ones(3), np.ones((3, 1)), 3.0])
def test_unflatten_refuses_what_is_no_vector(vector):
    with pytest.raises(ParameterError):
        unflatten(vector, flatten(np.zeros(3))[1])


def test_refusals_say_where():
    for tree, where in (
        ({"a": [np.ones(1), "text"]}, r"tree\['a'\]\[1\]"),
        ({"a": {"b": None}}, r"tree\['a'\]\['b'\]"),
        ({"a": {1: np.ones(1)}}, r"tree\['a'\] must have str keys"),
        (({"c": np.array([True])},), r"tree\[0\]\['c'\].*bool"),
        ([np.ma.masked_array([1.0], [True])], r"tree\[0\] must not be a masked array"),
        ({"w": np.ones(1), "n": np.array(3), "v": np.ones(2)}, r"int64 in tree\['n'\], float64 in tree\['v'\]"),
    ):
        with pytest.raises(ParameterError, match=where):
            flatten(tree)


def test_what_refuses_to_become_an_array_is_refused_by_its_place():
    class Stubborn:
        def __init__(self, error):
            self._error = error

        def __array__(self, dtype=None, copy=None):
            raise self._error("no")

    for error in (TypeError, RuntimeError, NotImplementedError, ValueError):
        with pytest.raises(ParameterError, match=r"tree\['w'\].*convert it first"):
            flatten({"w": Stubborn(error)})


def _model(torch):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    model(torch.randn(5, 3))
    return model


def test_float_state_of_a_torch_model_there_and_back():
    torch = pytest.importorskip("torch")
    model, other = _model(torch), _model(torch)
    state = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    vector, spec = flatten(state)
    assert vector.dtype == np.float32
    assert vector.size == sum(value.numel() for value in state.values())
    for sent in (vector, vector.astype(np.float64)):  # as decoded sums are
        for value in other.parameters():
            value.data.zero_()
        tensors = {name: torch.from_numpy(array) for name, array in unflatten(sent, spec).items()}
        other.load_state_dict(other.state_dict() | tensors)
        assert all(torch.equal(other.state_dict()[name], value) for name, value in state.items())


def test_tensors_are_taken_off_the_graph_and_copied():
    torch = pytest.importorskip("torch")
    model = _model(torch)
    vector, spec = flatten(dict(model.named_parameters()))
    assert spec == flatten({name: value.detach().numpy() for name, value in model.named_parameters()})[1]
    before = model[0].weight.detach().clone()
    vector[:] = 7.0
    assert torch.equal(model[0].weight, before)
    assert all(value.requires_grad for value in model.parameters())
    transposed = flatten([model[0].weight.T])[0]
    assert transposed.tolist() == before.T.reshape(-1).tolist()


def test_tensors_are_brought_from_their_device():
    class Far:
        """As a tensor elsewhere: no array until it is detached and on the CPU."""

        def detach(self):
            return type("Detached", (), {"cpu": lambda _: np.array([1.0, 2.0])})()

        def cpu(self):
            raise AssertionError("gradients would come along")

        def __array__(self, dtype=None, copy=None):
            raise TypeError("can't convert")

    assert flatten({"w": Far()})[0].tolist() == [1.0, 2.0]


def test_states_of_several_dtypes_and_tensors_without_arrays_are_refused_by_name():
    torch = pytest.importorskip("torch")
    with pytest.raises(ParameterError, match=r"float32 in .*0\.bias.*int64 in .*1\.num_batches_tracked.*leave out"):
        flatten(_model(torch).state_dict())
    for bad in (
        torch.ones(2, dtype=torch.bfloat16),
        torch.ones(2, device="meta"),
        torch.ones(2).to_sparse(),
        torch.nn.UninitializedParameter(),
        torch.tensor([True]),
    ):
        with pytest.raises(ParameterError, match=r"tree\['w'\]"):
            flatten({"w": bad})
    assert flatten({"w": torch.ones(2, dtype=torch.bfloat16).float()})[0].tolist() == [1.0, 1.0]
