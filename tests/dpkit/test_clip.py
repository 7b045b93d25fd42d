"""Clips hold their bound in exact arithmetic, and so do their sums."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dpkit.adaptive import AdaptiveClip
from dpkit.bounded import Bounded
from dpkit.clip import Clip, FlatClip, NormalizeClip
from dpkit.errors import ParameterError
from dpkit.groups import GroupClip

NORMS = ["l1", "l2", "linf"]
BOUNDS = st.one_of(st.sampled_from([1.0, 0.1, 2.0**-500, 2.0**500, 3e-150]), st.floats(1e-6, 1e6))
FLOATS = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
RECORDS = st.integers(0, 6).flatmap(lambda d: arrays(np.float64, d, elements=FLOATS))
STABILITIES = st.sampled_from([0.01, 1.0, 2.0**-500, 2.0**500])
TABLES = st.integers(1, 4).flatmap(
    lambda d: st.integers(1, 7).flatmap(lambda n: arrays(np.float64, (n, d), elements=FLOATS))
)


ADAPTIVE = AdaptiveClip(1.0, 0.5, expected_batch_size=10, count_noise_multiplier=5.0)


def _within(vector, bound, norm, strictly=False):
    """Whether the exact norm of numbers is at most the bound, or below it."""
    numbers, limit = [abs(Fraction(x)) for x in vector], Fraction(bound)
    if norm == "l2":
        size, limit = sum(x * x for x in numbers), limit * limit
    else:
        size = sum(numbers) if norm == "l1" else max(numbers, default=0)
    return size < limit or (size == limit and not strictly)


def _clips(bound, norm):
    """Every clip, over arrays: groups see a record as a dict of its first number and the rest."""
    near = min(max(bound, 2.0**-400), 2.0**400)
    adaptive = AdaptiveClip(near, 0.5, expected_batch_size=10, count_noise_multiplier=5.0, norm=norm)
    clips = [FlatClip(bound, norm), NormalizeClip(bound, bound / 100 if bound > 1e-100 else bound, norm), adaptive]
    return [*clips, GroupClip({"a": bound, "b": bound / 3 if bound > 1e-100 else bound})] if norm == "l2" else clips


def _records(clip, table):
    """Rows as the clip takes them, in an iterable or an array."""
    return [{"a": row[:1], "b": row[1:]} for row in table] if isinstance(clip, GroupClip) else table


def _numbers(value):
    """The numbers of a value, exactly."""
    arrays = value.values() if isinstance(value, dict) else [value]
    return [Fraction(float(number)) for array in arrays for number in np.ravel(array)]


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


@pytest.mark.parametrize("norm", NORMS)
@given(RECORDS, BOUNDS)
@example(np.array([0.1, 0.7, 0.1]), 0.3)
@example(np.full(6, 0.1), 0.1)
def test_clipping_twice_is_clipping_once(norm, record, bound):
    clip = FlatClip(bound, norm)
    once = clip.clip(record)
    assert (clip.clip(once) == once).all()


@pytest.mark.parametrize("norm", NORMS)
@given(RECORDS, BOUNDS, STABILITIES)
@example(np.array([1e308, 1e308, -1e308]), 1.0, 0.01)
@example(np.array([1e308]), 1.0, 2.0**-500)  # the stability is lost beside it, and the norm is still below the bound
@example(np.array([5e-324]), 2.0**500, 2.0**-500)
@example(np.array([0.1, np.nan]), 1.0, 0.01)
def test_normalized_norm_in_exact_arithmetic(norm, record, bound, stability):
    clipped = NormalizeClip(bound, stability, norm).clip(record)
    assert _within(clipped, bound, norm, strictly=True)
    if not np.isfinite(record).all():
        assert not clipped.any()


@given(arrays(np.float64, 4, elements=st.floats(-1e6, 1e6)), st.floats(0.01, 1e3), st.floats(1e-3, 1e3))
def test_normalizing_is_its_formula(record, bound, stability):
    expected = record * (bound / (float(np.linalg.norm(record)) + stability))
    np.testing.assert_allclose(NormalizeClip(bound, stability).clip(record), expected, rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("make", [FlatClip, lambda bound: NormalizeClip(bound, bound / 8)], ids=["flat", "normalize"])
@given(arrays(np.float64, (3, 3), elements=st.floats(-8, 8)), st.floats(0.01, 10), st.integers(-300, 300))
def test_powers_of_two_scale_record_bound_and_sum_alike(make, records, bound, power):
    """The unit of a record is free: not a bit changes."""
    records = records * (np.abs(records) > 1e-30)  # clear of subnormals, which have fewer bits
    scaled, clip, other = np.ldexp(records, power), make(bound), make(np.ldexp(bound, power))
    for record, twin in zip(records, scaled, strict=True):
        assert (np.ldexp(clip.clip(record), power) == other.clip(twin)).all()
    assert (np.ldexp(clip.sum(records).value, power) == other.sum(scaled).value).all()


NORM_VALUES = st.one_of(st.floats(0, allow_infinity=True), st.sampled_from([np.nan, np.inf, -1.0, 5e-324, 1e308]))


@given(st.lists(NORM_VALUES, max_size=5), BOUNDS, STABILITIES)
@example([4.9], 0.7, 1.0)
@example([2.0**560 * 1.1], 2.0**-500, 1.0)  # the factor is subnormal
def test_factors_keep_the_bound(norms, bound, stability):
    norms = np.array(norms)
    for clip, strictly in ((FlatClip(bound), False), (NormalizeClip(bound, stability), True)):
        factors = clip.factors(norms)
        assert factors.shape == norms.shape
        for factor, norm in zip(factors, norms, strict=True):
            if not (np.isfinite(norm) and norm >= 0):
                assert factor == 0
                continue
            moved = Fraction(float(factor)) * Fraction(float(norm))
            assert moved < Fraction(bound) or (moved == Fraction(bound) and not strictly)
    inside = norms <= bound
    assert (FlatClip(bound).factors(norms)[inside & (norms >= 0)] == 1).all()


def test_factors_are_what_clipping_multiplies_by():
    records = np.sin(np.arange(12.0)).reshape(4, 3) * np.array([[0.1], [1.0], [3.0], [9.0]])
    norms = np.linalg.norm(records, axis=1)
    for clip in (FlatClip(1.0), NormalizeClip(1.0, 0.5), ADAPTIVE):
        expected = np.array([clip.clip(record) for record in records])
        np.testing.assert_allclose(clip.factors(norms)[:, None] * records, expected, rtol=1e-14)
    with pytest.raises(ParameterError, match="real numbers") as caught:
        FlatClip(1.0).factors(["secret"])
    assert "secret" not in str(caught.value)


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


@pytest.mark.parametrize(
    "clip", [FlatClip(1.0), NormalizeClip(1.0, 0.01), ADAPTIVE], ids=lambda clip: type(clip).__name__
)
def test_numbers_without_axes_and_integers(clip):
    """A leaf that is a number, or an integer at the end of its range, is clipped like any other."""
    for leaf in (1000.0, np.float32(1000), np.int64(-(2**63)), np.uint64(2**64 - 1), np.array(200, np.uint8), 10**18):
        assert _within([Fraction(float(clip.clip(leaf)))], 1.0, "l2")
        assert abs(clip.clip(leaf)) > 0.99
        tree = clip.clip({"scale": leaf, "steps": np.array([7, -7], np.int8)})
        assert tree["scale"].shape == ()
        assert _within(_numbers(tree), 1.0, "l2")
        assert clip.sum([{"scale": leaf}]).value["scale"].dtype == np.float64
    assert clip.sum(np.array([3, -3, 5], np.int16)).value.shape == ()
    assert not clip.clip(np.ldexp(np.ones(2, np.longdouble), 2000)).any(), "beyond float64 is not finite"


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_leaves_is_float64_whatever_came(dtype):
    """The bound holds in the dtype of the result. Rounding it to a narrower one would not keep it: the baseline."""
    records = np.sin(np.arange(300.0)).reshape(100, 3).astype(dtype) * 2
    clip = FlatClip(0.7)
    clipped = [clip.clip(record) for record in records]
    assert clip.sum(records).value.dtype == clip.sum({"a": r} for r in records).value["a"].dtype == np.float64
    assert all(row.dtype == np.float64 and _within(_numbers(row), 0.7, "l2") for row in clipped)
    assert not all(_within(_numbers(row.astype(dtype)), 0.7, "l2") for row in clipped)


def test_rows_that_are_not_finite_leave_the_others_alone():
    rows = np.array([[0.25, 0.0], [np.nan, 0.0], [0.0, np.inf], [-np.inf, np.nan], [1e308, 1e308], [0.0, 0.25]])
    total = FlatClip(1.0).sum(rows).value
    np.testing.assert_allclose(total, np.array([0.25, 0.25]) + np.sqrt(0.5), atol=2.0**-28)
    assert (FlatClip(1.0).sum(rows[[0, 4, 5]]).value == total).all()


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
    """Adding or removing a record, whatever it holds, in whatever order the rest comes, to every clip: exactly."""
    gone = data.draw(st.integers(0, len(records) - 1))
    order = data.draw(st.permutations([i for i in range(len(records)) if i != gone]))
    for clip in _clips(bound, norm):
        if isinstance(clip, GroupClip) and not order:
            continue  # no dict is left to say the shapes
        whole, rest = (clip.sum(_records(clip, table)) for table in (records, records[np.array(order, dtype=int)]))
        difference = [a - b for a, b in zip(_numbers(whole.value), _numbers(rest.value), strict=True)]
        assert _within(difference, whole.bound, norm)
        assert (whole.bound, whole.norm) == (clip.bound, clip.norm) == (rest.bound, norm)


@given(st.data(), TABLES, BOUNDS)
def test_order_and_container_change_no_bit(data, records, bound):
    shuffled = records[np.array(data.draw(st.permutations(range(len(records)))))]
    for clip in _clips(bound, "l2"):
        whole = _numbers(clip.sum(_records(clip, records)).value)
        assert whole == _numbers(clip.sum(list(_records(clip, shuffled))).value)
        assert whole == _numbers(clip.sum(record for record in _records(clip, shuffled)).value)
        if not isinstance(clip, GroupClip):
            trees = [{"x": row[:1], "y": row[1:].reshape(1, -1)} for row in shuffled]
            assert whole == _numbers(clip.sum(trees).value)
            assert _numbers(clip.clip(records[0])) == _numbers(clip.clip({"x": records[0][:1], "y": records[0][1:]}))


@given(TABLES, BOUNDS)
def test_a_clip_is_what_its_sum_adds(records, bound):
    """The sum of one record is the clipped record, cut towards zero by less than a grain."""
    for clip in _clips(bound, "l2"):
        record = _records(clip, records)[0]
        clipped, summed = _numbers(clip.clip(record)), _numbers(clip.sum([record]).value)
        for exact, cut in zip(clipped, summed, strict=True):
            assert abs(cut) <= abs(exact)
            assert abs(exact - cut) < Fraction(clip.bound) / 2**28


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
    monkeypatch.setattr("dpkit._grains._BLOCK", 6)
    assert (FlatClip(0.5).sum(records).value == whole).all()


def test_sums_saturate_where_float64_ends(monkeypatch):
    monkeypatch.setattr("dpkit._grains._EXACT", 2**30)
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
    for bad in ("l3", None, "L2"):
        with pytest.raises(ParameterError, match="norm must be"):
            FlatClip(1.0, bad)
        with pytest.raises(ParameterError, match="norm must be"):
            NormalizeClip(1.0, 0.01, bad)
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


@pytest.mark.parametrize(
    "clip", [FlatClip(1.0), NormalizeClip(1.0, 0.01), ADAPTIVE], ids=lambda clip: type(clip).__name__
)
def test_what_holds_no_numbers_is_refused_without_being_printed(clip):
    held = np.array(["secret", 31.5], dtype=object)
    for record in (held, np.array([True]), np.array([1j]), np.array(["secret"]), np.array(["2020-01-01"], "M8[D]")):
        for use in (clip.clip, lambda r: clip.sum([r]), lambda r: clip.sum({"a": r} for _ in (1, 2)), clip.sum):
            with pytest.raises(ParameterError, match="real numbers") as caught:
                use(record)
            assert not any(text in str(caught.value) for text in ("secret", "31.5", "2020"))


@pytest.mark.parametrize(
    "clip", [FlatClip(1.0), NormalizeClip(1.0, 0.01), ADAPTIVE], ids=lambda clip: type(clip).__name__
)
def test_empty_records(clip):
    assert clip.clip(np.empty(0)).shape == (0,)
    assert clip.clip({}) == {}
    assert clip.sum(np.empty((5, 0))).value.shape == (0,)
    assert clip.sum(np.empty((0, 2, 0))).value.shape == (2, 0)
    assert clip.sum(np.empty(0)).value.shape == ()
    assert clip.sum([{}, {}]).value == {}


def test_every_clip_is_one():
    def accepts(clip: Clip) -> Bounded:
        return clip.sum(_records(clip, np.ones((2, 2))))

    assert all(isinstance(accepts(clip), Bounded) for clip in _clips(1.0, "l2"))


@pytest.mark.parametrize("stability", [0.0, -1.0, float("nan"), float("inf"), 1e-300, True, None])
def test_bad_stabilities(stability):
    with pytest.raises(ParameterError, match="stability must be"):
        NormalizeClip(1.0, stability)


def test_lists_are_arrays():
    assert FlatClip(1.0).clip({"a": [3.0], "b": [4.0]})["b"].round(12).tolist() == [0.8]
    assert FlatClip(2.0).sum([{"a": [1.0]}, {"a": [0.5]}]).value["a"].tolist() == [1.5]
