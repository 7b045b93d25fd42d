"""Clips hold their bound in exact arithmetic, and so do their sums."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dpkit.clip import FlatClip
from dpkit.errors import ParameterError

NORMS = ["l1", "l2", "linf"]
BOUNDS = st.one_of(st.sampled_from([1.0, 0.1, 2.0**-500, 2.0**500, 3e-150]), st.floats(1e-6, 1e6))
FLOATS = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
RECORDS = st.integers(0, 6).flatmap(lambda d: arrays(np.float64, d, elements=FLOATS))
TABLES = st.integers(1, 4).flatmap(
    lambda d: st.integers(1, 7).flatmap(lambda n: arrays(np.float64, (n, d), elements=FLOATS))
)


def _within(vector, bound, norm):
    """Whether the exact norm of float64 numbers is at most the bound."""
    numbers, limit = [abs(Fraction(float(x))) for x in vector], Fraction(bound)
    if norm == "l2":
        return sum(x * x for x in numbers) <= limit * limit
    return (sum(numbers) if norm == "l1" else max(numbers, default=0)) <= limit


@pytest.mark.parametrize("norm", NORMS)
@given(RECORDS, BOUNDS)
@example(np.array([1e308, 1e308, -1e308]), 1.0)
@example(np.array([5e-324, 5e-324]), 2.0**-500)
@example(np.array([0.1, 0.7, 0.1]), 0.7141428428542851)
@example(np.array([4.9]), 0.7)  # 0.7 / 4.9 * 4.9 is above 0.7 in float64: what the slack is for
@example(np.array([0.1, np.nan]), 1.0)
@example(np.array([0.1, -np.inf]), 1.0)
def test_clipped_norm_in_exact_arithmetic(norm, record, bound):
    clipped = FlatClip(bound, norm).clip(record)
    assert _within(clipped, bound, norm)
    assert clipped.dtype == np.float64
    if not np.isfinite(record).all():
        assert not clipped.any()
    elif _within(record, bound * (1 - 2.0**-40), norm):
        assert (clipped == record).all(), "shorter records stay as they are"


@given(arrays(np.float64, 5, elements=st.floats(-1e6, 1e6)), st.floats(0.01, 1e3))
def test_clipping_keeps_the_direction_and_reaches_the_bound(record, bound):
    clipped = FlatClip(bound).clip(record)
    norm = float(np.linalg.norm(record))
    np.testing.assert_allclose(clipped, record * min(1.0, bound / norm) if norm else record, rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.int64, np.uint64])
def test_other_dtypes_and_shapes(dtype):
    record = np.array([[3, 0], [4, 0]], dtype=dtype)
    clipped = FlatClip(1.0).clip(record)
    assert clipped.shape == (2, 2)
    assert clipped.dtype == np.float64
    np.testing.assert_allclose(clipped, [[0.6, 0], [0.8, 0]], rtol=1e-14)


def test_a_dict_is_one_record():
    clipped = FlatClip(1.0).clip({"a": np.array([3.0]), "b": np.array([[4.0]])})
    assert clipped["a"].round(12).tolist() == [0.6]
    assert clipped["b"].round(12).tolist() == [[0.8]]
    mixed = [{"a": np.array([0.25]), "b": np.zeros(1)}, {"b": np.zeros(1), "a": np.array([0.5])}]
    assert FlatClip(1.0).sum(mixed).value["a"].tolist() == [0.75], "by name, in whatever order"
    total = FlatClip(1.0).sum({"a": np.array([x])} for x in (0.25, 0.5, float("inf")))
    assert total.value["a"].tolist() == [0.75]


@pytest.mark.parametrize("norm", NORMS)
@given(st.data(), TABLES, BOUNDS)
def test_sum_moves_by_at_most_the_bound(norm, data, records, bound):
    """Adding or removing a record, whatever it holds, in whatever order the rest comes: exact arithmetic."""
    clip = FlatClip(bound, norm)
    gone = data.draw(st.integers(0, len(records) - 1))
    order = data.draw(st.permutations([i for i in range(len(records)) if i != gone]))
    whole, rest = clip.sum(records), clip.sum(records[np.array(order, dtype=int)])
    difference = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(whole.value, rest.value, strict=True)]
    limit = Fraction(whole.bound)
    if norm == "l2":
        assert sum(x * x for x in difference) <= limit * limit
    else:
        assert (sum(map(abs, difference)) if norm == "l1" else max(map(abs, difference))) <= limit
    assert whole.bound == bound
    assert whole.norm == norm


def test_float_summation_would_not_keep_the_bound():
    """The baseline that must fail: adding clipped records in float64 moves by more than the bound."""
    records = np.full((1000, 1), 0.1)
    partial = [Fraction(float(total)) for total in np.cumsum(records)]
    assert max(after - before for before, after in pairwise(partial)) > Fraction(0.1)
    exact = [Fraction(float(FlatClip(0.1).sum(records[:n]).value[0])) for n in range(50, 70)]
    assert max(after - before for before, after in pairwise(exact)) <= Fraction(0.1)


@given(st.integers(1, 40), st.floats(0.5, 2.0))
def test_sum_is_the_sum_of_the_clipped_records(count, bound):
    records = np.sin(np.arange(3.0 * count)).reshape(count, 3) * 2
    clip = FlatClip(bound)
    total = clip.sum(records)
    slow = sum(clip.clip(record) for record in records)
    np.testing.assert_allclose(total.value, slow, atol=count * bound * 2.0**-29)
    assert (clip.sum(list(records)).value == total.value).all()
    assert (clip.sum(records.reshape(count, 3, 1)).value == total.value[:, None]).all()


def test_long_sums_go_by_blocks(monkeypatch):
    records = np.sin(np.arange(100.0)).reshape(50, 2)
    whole = FlatClip(0.5).sum(records).value
    monkeypatch.setattr("dpkit.clip._BLOCK", 6)
    assert (FlatClip(0.5).sum(records).value == whole).all()


def test_sums_saturate_where_float64_ends(monkeypatch):
    monkeypatch.setattr("dpkit.clip._EXACT", 2**30)
    assert FlatClip(1.0).sum(np.ones((9, 1))).value.tolist() == [2.0]


def test_no_records():
    assert FlatClip(1.0).sum(np.empty((0, 3))).value.tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ParameterError, match="empty iterable"):
        FlatClip(1.0).sum([])
    with pytest.raises(ParameterError, match="shape"):
        FlatClip(1.0).sum([np.ones(2), np.ones(3)])
    with pytest.raises(ParameterError, match="single number"):
        FlatClip(1.0).sum(np.float64(3))


@pytest.mark.parametrize(
    "bound", [0.0, -1.0, float("nan"), float("inf"), 1e-300, True, "1", None, pytest.param(10**400, id="huge")]
)
def test_bad_bounds(bound):
    with pytest.raises(ParameterError, match="bound must be"):
        FlatClip(bound)


@pytest.mark.parametrize("like", [np.ones(2), np.ones((2, 2)), np.float64(1), {"a": np.ones(2)}])
def test_a_sum_is_read_only(like):
    """``value *= 100`` would leave the bound behind."""
    value = FlatClip(1.0).sum([like]).value
    array = value["a"] if isinstance(value, dict) else value
    with pytest.raises(ValueError, match="read-only"):
        array *= 100
    with pytest.raises(ValueError, match="read-only"):
        np.multiply(array, 100, out=array)


def test_bad_norms_and_records():
    with pytest.raises(ParameterError, match="norm must be"):
        FlatClip(1.0, "l3")
    for record in (np.array([1j]), np.array([True]), ["a"]):
        with pytest.raises(ParameterError, match="real numbers"):
            FlatClip(1.0).clip(record)
    for records in (None, 3.0, {"a": np.ones(2)}):
        with pytest.raises(ParameterError, match="records must be an array or an iterable"):
            FlatClip(1.0).sum(records)
    for ragged in ([[31.5], [1.0, 2.0]], {"a": [[31.5], [1.0, 2.0]]}, "secret"):
        for use in (lambda r: FlatClip(1.0).sum([r]), FlatClip(1.0).clip):
            with pytest.raises(ParameterError, match=r"records? must") as caught:
                use(ragged)
            assert "31.5" not in str(caught.value)
            assert "secret" not in str(caught.value)


def test_lists_are_arrays():
    assert FlatClip(1.0).clip({"a": [3.0], "b": [4.0]})["b"].round(12).tolist() == [0.8]
    assert FlatClip(2.0).sum([{"a": [1.0]}, {"a": [0.5]}]).value["a"].tolist() == [1.5]
