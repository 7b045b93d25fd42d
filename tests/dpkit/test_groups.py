"""Groups: each array within its own bound, the record within the root of the sum of squares."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dpkit.clip import FlatClip
from dpkit.errors import ParameterError
from dpkit.groups import GroupClip

BOUNDS = st.one_of(st.sampled_from([1.0, 0.1, 2.0**-500, 2.0**500]), st.floats(1e-6, 1e6))
FLOATS = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
GROUPS = st.dictionaries(st.sampled_from("abcd"), BOUNDS, min_size=1)


def _square(array):
    return sum(Fraction(float(number)) ** 2 for number in np.ravel(array))


@given(st.data(), GROUPS)
def test_each_group_keeps_its_bound(data, bounds):
    clip = GroupClip(bounds)
    record = {name: data.draw(arrays(np.float64, data.draw(st.integers(0, 3)), elements=FLOATS)) for name in bounds}
    clipped = clip.clip(record)
    finite = all(np.isfinite(array).all() for array in record.values())
    for name, bound in bounds.items():
        assert _square(clipped[name]) <= Fraction(bound) ** 2
        assert clipped[name].shape == record[name].shape
        expected = FlatClip(bound).clip(record[name]) if finite else np.zeros_like(record[name])
        assert (clipped[name] == expected).all(), "each as if it were alone; all zero where one is not finite"
    assert sum(_square(array) for array in clipped.values()) <= Fraction(clip.bound) ** 2


@given(GROUPS)
@example({"a": 0.1, "b": 0.1, "c": 0.1})
def test_the_bound_of_the_whole_is_the_root_rounded_up(bounds):
    clip = GroupClip(bounds)
    squares = sum(Fraction(bound) ** 2 for bound in bounds.values())
    assert Fraction(clip.bound) ** 2 >= squares
    assert Fraction(float(np.nextafter(clip.bound, 0.0))) ** 2 < squares, "and by no more than must be"
    assert clip.norm == "l2"


def test_one_bound_for_each_group_is_not_one_for_all():
    """The baseline that must fail: k layers clipped to C each, and taken for a record of norm C."""
    clip = GroupClip({str(i): 1.0 for i in range(9)})
    record = {str(i): np.array([2.0]) for i in range(9)}
    assert 8.999 < sum(_square(array) for array in clip.clip(record).values()) <= 9
    assert clip.bound == 3.0


def test_small_groups_keep_their_precision():
    clip = GroupClip({"large": 1e9, "small": 1e-9})
    total = clip.sum([{"large": np.ones(1), "small": np.full(1, 2e-10)}] * 5).value
    np.testing.assert_allclose(total["small"], 1e-9, rtol=1e-8)
    np.testing.assert_allclose(total["large"], 5.0, rtol=1e-8)


def test_the_order_of_names_is_free():
    one = GroupClip({"a": 1.0, "b": 2.0})
    other = GroupClip({"b": 2.0, "a": 1.0})
    record = {"b": np.array([5.0, 0.5]), "a": np.array([3.0])}
    assert one == other
    assert hash(one) == hash(other)
    assert one.clip(record)["b"].tolist() == other.clip(dict(reversed(record.items())))["b"].tolist()
    assert list(one.clip(record)) == ["b", "a"]
    mixed = [record, dict(reversed(record.items()))]
    assert one.sum(mixed).value["b"].shape == (2,)
    assert (one.sum(mixed).value["b"] == 2 * one.sum([record]).value["b"]).all()
    assert not one.sum(mixed).value["a"].flags.writeable


def test_a_clip_is_frozen_and_travels():
    bounds = {"a": 1.0}
    clip = GroupClip(bounds)
    bounds["a"] = 100.0
    assert clip.bounds["a"] == clip.bound == 1.0
    with pytest.raises(TypeError):
        clip.bounds["a"] = 100.0
    assert pickle.loads(pickle.dumps(clip)) == clip  # noqa: S301 - written one line above
    assert clip != GroupClip({"a": 2.0})


def test_tensors_are_arrays():
    torch = pytest.importorskip("torch")
    clip = GroupClip({"a": 1.0, "b": 2.0})
    record = {"a": np.array([3.0, 4.0]), "b": np.array(9.0)}
    tensors = {"a": torch.tensor([3.0, 4.0], requires_grad=True), "b": torch.tensor(9.0, dtype=torch.bfloat16)}
    for name, array in clip.clip(tensors).items():
        assert (array == clip.clip(record)[name]).all()
    assert clip.sum([tensors, record]).value["b"].shape == ()


def test_factors():
    clip = GroupClip({"a": 1.0, "b": 2.0})
    factors = clip.factors({"b": [1.0, 8.0, np.inf, 2.0], "a": [4.0, 0.5, 1.0, np.nan]})
    assert factors["a"].round(12).tolist() == [0.25, 1.0, 0.0, 0.0]
    assert factors["b"].round(12).tolist() == [1.0, 0.25, 0.0, 0.0]
    with pytest.raises(ParameterError, match="one shape"):
        clip.factors({"a": [1.0], "b": [1.0, 2.0]})
    with pytest.raises(ParameterError, match="arrays a, b"):
        clip.factors({"a": [1.0]})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"a": [1.0]}, "arrays a, b, got one that lacks b and has 0 other"),
        ({"a": [1.0], "b": [1.0], "c": [31.5]}, "arrays a, b, got one that lacks none and has 1 other"),
        ({}, "arrays a, b, got one that lacks a, b and has 0 other"),
        (np.array([31.5]), "dict of the arrays a, b, got ndarray"),
        ([31.5], "dict of the arrays a, b, got ndarray"),
        ({"a": [1.0], "b": ["secret"]}, "real numbers"),
        ({"a": [1.0], "b": np.array([31.5], dtype=object)}, "real numbers"),
    ],
)
def test_other_structures_are_refused_without_being_printed(record, message):
    clip = GroupClip({"a": 1.0, "b": 2.0})
    for use in (clip.clip, lambda r: clip.sum([r])):
        with pytest.raises(ParameterError, match=message) as caught:
            use(record)
        assert not any(text in str(caught.value) for text in ("31.5", "secret"))


def test_no_records_have_no_shape():
    clip = GroupClip({"a": 1.0})
    with pytest.raises(ParameterError, match="empty iterable"):
        clip.sum([])
    with pytest.raises(ParameterError, match="dict of the arrays a, got ndarray"):
        clip.sum(np.empty((0, 3)))
    assert clip.sum([{"a": 1.0}]).value["a"].shape == ()


@pytest.mark.parametrize("bounds", [{}, None, 1.0, [1.0], {"a": 0.0}, {"a": 1.0, "b": float("nan")}, {"a": None}])
def test_bad_bounds(bounds):
    with pytest.raises(ParameterError, match=r"bounds? must be"):
        GroupClip(bounds)


def test_too_many_bounds_that_are_too_large():
    with pytest.raises(ParameterError, match="bound must be"):
        GroupClip({str(i): 2.0**500 for i in range(5)})


def test_names_of_a_record_are_not_told():
    """A record whose names are words, say, holds data in them."""
    clip = GroupClip({"weight": 1.0, "bias": 1.0})
    with pytest.raises(ParameterError, match="lacks bias and has 2 other") as caught:
        clip.sum([{"weight": np.ones(2), "diagnosis": np.ones(1), "7": np.ones(1)}])
    assert "diagnosis" not in str(caught.value)
    with pytest.raises(ParameterError, match=r"lacks none and has 1 other\(s\)"):
        clip.clip({"weight": np.ones(2), "bias": np.ones(1), "more": np.ones(1)})
