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
