"""Bounded: the bound follows the value through every operation, in exact arithmetic."""

import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dpkit.bounded import Bounded, flatten, opened, rebuild
from dpkit.errors import BoundError, ParameterError, UnboundedError
from dpkit.samplers import root_up

HUGE = pytest.param(10**400, id="huge")
BOUNDS = st.floats(2.0**-200, 2.0**200)
FACTORS = st.floats(-(2.0**200), 2.0**200).filter(lambda c: c == 0 or abs(c) > 2.0**-200)


@example(1.0, 1.0, 2.0)
@given(BOUNDS, BOUNDS, FACTORS)
def test_bound_follows_the_value_in_exact_arithmetic(bound, other, factor):
    value = Bounded(np.zeros(2), bound)
    assert Fraction((value * factor).bound) >= Fraction(bound) * abs(Fraction(factor))
    assert Fraction((value + Bounded(np.zeros(2), other)).bound) >= Fraction(bound) + Fraction(other)
    if factor:
        assert Fraction((value / factor).bound) >= Fraction(bound) / abs(Fraction(factor))
    # and not by more than one unit in the last place
    assert (value * factor).bound <= np.nextafter(bound * abs(factor), np.inf)


@example(0.1, 0)
@given(FACTORS.filter(lambda c: 2.0**-100 < abs(c) < 2.0**100), st.integers(-10, 10))
def test_the_bound_follows_the_scalar_that_float32_makes(factor, power):
    """A float32 array times 0.1 is the array times 0.100000001: a record of exactly the bound shows it."""
    one = np.array([2.0**power], np.float32)
    values = [one, {"a": one, "b": np.zeros(1)}, one.astype(">f4")]
    if torch := sys.modules.get("torch"):
        values.append(torch.from_numpy(one))
    for value in values:
        for scaled in (Bounded(value, 2.0**power) * factor, Bounded(value, 2.0**power) / factor):
            array = scaled.value["a"] if isinstance(scaled.value, dict) else scaled.value
            moved = abs(Fraction(float(array[0])))
            assert moved <= Fraction(scaled.bound) * (1 + Fraction(1, 2**24)), "the quotient is rounded once"
        assert abs(Fraction(float(np.float32(factor)))) * Fraction(2) ** power <= Fraction(
            (Bounded(value, 2.0**power) * factor).bound
        )
        quotient = Fraction(2) ** power / abs(Fraction(float(np.float32(factor))))
        assert (
            max(quotient, Fraction(2) ** power / abs(Fraction(factor))) <= (Bounded(value, 2.0**power) / factor).bound
        )


@pytest.mark.parametrize("factor", [1e39, 1e-60])
def test_scalars_beyond_float32_are_refused_for_it(factor):
    for use in (lambda value: value * factor, lambda value: value / factor):
        with pytest.raises(ParameterError, match="range of float32"):
            use(Bounded(np.ones(1, np.float32), 1.0))
        use(Bounded(np.ones(1), 1.0))


def test_exact_results_are_not_rounded_up():
    value = Bounded(np.ones(2), 3.0)
    assert (value * 2).bound == 6.0
    assert (value / 4).bound == 0.75
    assert (value + value).bound == 6.0
    assert (value * -2).bound == 6.0


@pytest.mark.parametrize("factor", [2, 2.0, np.float64(2), np.float32(2), np.int64(2)])
def test_public_scalars_of_every_kind_scale_from_both_sides(factor):
    value = Bounded({"w": np.ones((2, 2)), "b": np.zeros(1)}, 1.5)
    for scaled in (value * factor, factor * value):
        assert isinstance(scaled, Bounded)
        assert scaled.bound == 3.0
        assert scaled.value["w"].tolist() == [[2.0, 2.0], [2.0, 2.0]]
    assert (value / factor).value["w"][0, 0] == 0.5


@pytest.mark.parametrize("factor", [np.ones(2), [1.0], "2", True, None, np.bool_(True), 1j, HUGE])
def test_what_is_not_a_public_scalar_is_refused(factor):
    with pytest.raises(ParameterError, match="public number"):
        Bounded(np.ones(2), 1.0) * factor
    with pytest.raises(ParameterError, match="public number"):
        Bounded(np.ones(2), 1.0) / factor


def test_zero_nan_and_infinity_are_refused():
    value = Bounded(np.ones(2), 1.0)
    with pytest.raises(ParameterError, match="must not be 0"):
        value / 0
    for factor in (float("nan"), float("inf")):
        with pytest.raises(ParameterError, match="finite"):
            value * factor
    with pytest.raises(ParameterError, match="bound must be finite"):
        Bounded(np.ones(1), 1e308) * 1e10


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.float16])
def test_narrow_numbers_become_float64(dtype):
    """Their own arithmetic wraps or rounds: one record could then move a sum by more than its bound."""
    most = min(int(np.iinfo(dtype).max), 2**53 - 1) if np.dtype(dtype).kind in "iu" else 2048
    value, one = Bounded(np.array([most], dtype), 1.0), Bounded(np.array([1], dtype), 1.0)
    results = [value + one, one + value, Bounded.disjoint([value, one])]
    results.append(Bounded({"w": value.value}, 1.0) + Bounded({"w": one.value}, 1.0))
    for total in results:
        array = total.value["w"] if isinstance(total.value, dict) else total.value
        assert (array.dtype, array.tolist()) == (np.float64, [float(most + 1)])
    assert (value * 64).value.tolist() == [most * 64.0]
    assert (value / 3).value.tolist() == [float(most) / 3]
    assert (Bounded(np.ones(1, np.float32), 1.0) + Bounded(np.ones(1, np.float32), 1.0)).value.dtype == np.float32


def test_narrow_tensors_become_float64():
    torch = pytest.importorskip("torch")
    for dtype, most in ((torch.int8, 127), (torch.float16, 2048), (torch.bfloat16, 256)):
        total = Bounded(torch.tensor([most], dtype=dtype), 1.0) + Bounded(torch.tensor([1], dtype=dtype), 1.0)
        assert (total.value.dtype, total.value.tolist()) == (torch.float64, [most + 1.0])
    ones = Bounded(torch.ones(1), 1.0)
    assert (ones + ones).value.dtype == torch.float32


@pytest.mark.parametrize(
    "bound", [2**53 + 1, Fraction(1, 3), np.int64(2**53 + 1), np.longdouble(1) / 3, Fraction(1, 10**400), 0.1, 3]
)
def test_bounds_are_rounded_up_from_any_number(bound):
    exact = Fraction(*(bound.as_integer_ratio() if hasattr(bound, "as_integer_ratio") else (int(bound), 1)))
    held = Fraction(Bounded(np.ones(1), bound).bound)
    assert held >= exact
    assert held == exact or Fraction(float(np.nextafter(float(held), 0.0))) < exact


def test_sums_need_equal_norms_and_structures():
    value = Bounded(np.ones(2), 1.0)
    with pytest.raises(BoundError, match="norms must be equal"):
        value + Bounded(np.ones(2), 1.0, "l1")
    with pytest.raises(BoundError, match="shapes must be equal"):
        value + Bounded(np.ones(1), 1.0)
    with pytest.raises(BoundError, match="shapes must be equal"):
        value + Bounded({"w": np.ones(2)}, 1.0)
    with pytest.raises(UnboundedError):
        value + np.ones(2)


def test_tensors_are_added_to_tensors_only():
    torch = pytest.importorskip("torch")
    tensor, array = torch.ones(2), np.ones(2)
    for left, right in ((tensor, array), (array, tensor), ({"a": array}, {"a": tensor})):
        with pytest.raises(ParameterError, match="one kind, got"):
            Bounded(left, 1.0) + Bounded(right, 1.0)


def test_disjoint_parts_keep_the_largest_bound():
    parts = [Bounded(np.full(2, float(i)), bound) for i, bound in enumerate([2.0, 5.0, 1.0])]
    total = Bounded.disjoint(iter(parts))
    assert total.bound == 5.0
    assert total.value.tolist() == [3.0, 3.0]
    with pytest.raises(BoundError, match="at least one"):
        Bounded.disjoint([])
    with pytest.raises(BoundError, match="norms"):
        Bounded.disjoint([parts[0], Bounded(np.ones(2), 1.0, "linf")])
    with pytest.raises(UnboundedError):
        Bounded.disjoint([parts[0], np.ones(2)])


@pytest.mark.parametrize("bound", [-1.0, float("nan"), float("inf"), "1", True, None, 2**1024 - 2**971 + 1, HUGE])
def test_bad_bounds(bound):
    with pytest.raises(ParameterError, match="bound must be"):
        Bounded(np.ones(1), bound)


@pytest.mark.parametrize("norm", ["L2", "", None, 2])
def test_bad_norms(norm):
    with pytest.raises(ParameterError, match="norm must be"):
        Bounded(np.ones(1), 1.0, norm)


def test_values_pass_untouched_and_lists_become_arrays():
    array = np.ones(2, dtype=np.float32)
    assert Bounded(array, 1.0).value is array
    assert Bounded([1, 2], 1.0).value.dtype == np.float64
    with pytest.raises(ParameterError, match="carries one bound"):
        Bounded(Bounded(array, 1.0), 1.0)
    assert repr(Bounded({"a": [1.0, 2.0], "b": 3}, 1.0)) == "Bounded(shape={'a': (2,), 'b': ()}, bound=1.0, norm='l2')"


@pytest.mark.parametrize(
    "value", ["secret", ["secret"], {"a": "secret"}, {"a": {"b": 1.0}}, [[1.5], [1.5, 2.5]], True, None, [10**400]]
)
def test_bad_values_are_refused_without_being_printed(value):
    with pytest.raises(ParameterError, match="value must") as caught:
        Bounded(value, 1.0)
    assert not any(data in str(caught.value) for data in ("secret", "1.5", "000", "U6"))


@pytest.mark.parametrize("name", ["complex64", "bool", "U6", "S6", "O", "M8[s]", "m8[s]", "V4"])
def test_arrays_of_no_real_numbers_are_refused_at_once(name):
    array = np.zeros(2, dtype=name)
    for value in (array, {"a": np.ones(1), "b": array}, array[0] if name != "O" else array):
        with pytest.raises(ParameterError, match="real numbers"):
            Bounded(value, 1.0)
    with pytest.raises(ParameterError, match="real numbers"):
        opened(array)


def test_what_would_be_rounded_on_the_way_in_is_refused():
    if np.dtype(np.longdouble).itemsize > 8:
        for value in (np.ones(2, np.longdouble), {"a": np.longdouble(1)}):
            with pytest.raises(ParameterError, match="64 bits"):
                Bounded(value, 1.0)
    with pytest.raises(ParameterError, match="masked"):
        Bounded(np.ma.array([1.0, 2.0], mask=[True, False]), 1.0)


@example(2**53 + 1, 1, False)
@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 2**12), st.booleans())
def test_integers_beyond_float64_do_not_move_apart(value, step, listed):
    """2**53 + 1 and 2**53 + 2 are neighbours at a bound of 1; rounded to float64 they would be 2 apart."""
    other = min(value + step, 2**63 - 1)
    taken = [opened(Bounded([x] if listed else np.array([x]), 1.0).value)[0][0] for x in (value, other)]
    assert 0 <= int(taken[1]) - int(taken[0]) <= other - value
    wider = [(Bounded(np.array([x]), 1.0) * 1.0).value[0] for x in (value, other)]
    assert wider == taken
    if abs(value) <= 2**53:
        assert taken[0] == value


@given(st.dictionaries(st.text(max_size=3), st.lists(st.integers(0, 3), max_size=3).map(tuple), max_size=4))
def test_flatten_and_rebuild_are_inverse(shapes):
    count = iter(range(10**6))
    tree = {
        name: np.reshape([next(count) for _ in range(int(np.prod(shape)))], shape) for name, shape in shapes.items()
    }
    back = rebuild(flatten(tree), tree)
    assert list(back) == list(tree)
    for name, array in tree.items():
        assert back[name].shape == array.shape
        assert (back[name] == array).all()


def test_flatten_refuses_what_is_not_real():
    for value in (np.ones(1, dtype=complex), np.array(["a"]), np.array([True])):
        with pytest.raises(ParameterError, match="real numbers"):
            flatten(value)


def test_repr_shows_structure_and_never_data():
    assert repr(Bounded(np.array([31.5]), 2.0)) == "Bounded(shape=(1,), bound=2.0, norm='l2')"
    assert repr(Bounded({"w": np.array([[31.5]])}, 2.0, "l1")) == "Bounded(shape={'w': (1, 1)}, bound=2.0, norm='l1')"


RECORD = st.tuples(*[st.floats(-1, 1, width=32).map(lambda x: x * abs(x) ** 5)] * 2)


@given(st.lists(RECORD, min_size=1, max_size=30), RECORD, st.randoms(use_true_random=False), st.booleans())
def test_float_sums_move_by_at_most_the_bound(rows, extra, random, single):
    """Any two orders of addition, one record more: the computed sums against the bound, in exact arithmetic."""
    dtype = np.float32 if single else np.float64
    records = [np.array(row, dtype) for row in [*rows, extra]]

    def total(parts):
        parts = list(parts)
        random.shuffle(parts)
        while len(parts) > 1:  # any grouping: two of them become one
            left, right = parts.pop(random.randrange(len(parts))), parts.pop(random.randrange(len(parts)))
            parts.append(left + right)
        return parts[0]

    moved = [
        abs(Fraction(float(x)) - Fraction(float(y))) for x, y in zip(*map(total, (records, records[:-1])), strict=True)
    ]
    for norm, size in {"l1": sum, "linf": max}.items():
        largest = max(size(abs(Fraction(float(x))) for x in record) for record in records)
        held = Bounded.of_float_sum(total(records), largest, max_records=len(records), norm=norm)
        assert size(moved) <= Fraction(held.bound)
    squares = max(sum(Fraction(float(x)) ** 2 for x in record) for record in records)
    bound = root_up(squares) if squares else 0.0
    held = Bounded.of_float_sum(total(records), bound, max_records=len(records))
    assert sum(x**2 for x in moved) <= Fraction(held.bound) ** 2


def test_the_bare_bound_of_a_float_sum_is_false():
    """0.1 + 1.0 is 1.1 rounded up: the record 1.0 moved the sum by more than 1, and re-ordering by more still."""
    one = Fraction(0.1 + 1.0) - Fraction(0.1)
    assert one > 1
    assert one <= Fraction(Bounded.of_float_sum(0.1 + 1.0, 1.0, max_records=2).bound)
    records = np.array([1.0, *[2.0**-24] * 254], np.float32)
    down, up = (np.add.accumulate(order)[-1] for order in (records, records[::-1]))
    moved = Fraction(float(up)) - Fraction(float(down))  # the same records: their neighbours need not even differ
    assert moved == Fraction(254, 2**24)
    held = Bounded.of_float_sum(up, 1.0, max_records=255)
    assert 1 + moved <= Fraction(held.bound)


def test_the_slack_of_a_float_sum():
    for dtype, bits in ((np.float32, 24), (np.float64, 53)):
        for count in (1, 2, 1000):
            gamma = Fraction(count - 1, 2**bits) / (1 - Fraction(count - 1, 2**bits))
            exact = 3 * (1 + (2 * count - 1) * gamma)
            held = Fraction(Bounded.of_float_sum(np.ones(2, dtype), 3, max_records=count, norm="linf").bound)
            assert exact <= held <= exact * (1 + Fraction(1, 2**52))
    mixed = {"a": np.ones(1), "b": np.ones(1, ">f4")}
    assert (
        Bounded.of_float_sum(mixed, 1, max_records=9).bound == Bounded.of_float_sum(mixed["b"], 1, max_records=9).bound
    )
    assert Bounded.of_float_sum(np.float32(1), 1.0, max_records=2900).bound < 2.01


def test_float_sums_of_other_types_and_counts_are_refused():
    for value in (np.ones(1, np.float16), np.ones(1, np.int64)):
        with pytest.raises(ParameterError, match="float32 or float64"):
            Bounded.of_float_sum(value, 1.0, max_records=2)
    for count in (0, -1, 2.0, True, None):
        with pytest.raises(ParameterError, match="max_records must be"):
            Bounded.of_float_sum(np.ones(1), 1.0, max_records=count)
    with pytest.raises(ParameterError, match="sum in float64"):
        Bounded.of_float_sum(np.ones(1, np.float32), 1.0, max_records=2**24 + 1)
    with pytest.raises(ParameterError, match="bound must be"):
        Bounded.of_float_sum(np.ones(1, np.float32), 1e308, max_records=2**24 - 1)
    with pytest.raises(ParameterError, match="bound must be >= 0"):
        Bounded.of_float_sum(np.ones(1), -1.0, max_records=2)
    torch = pytest.importorskip("torch")
    assert Bounded.of_float_sum(torch.ones(2), 1.0, max_records=3).bound > 1 + 2.0**-23
    with pytest.raises(ParameterError, match="float32 or float64"):
        Bounded.of_float_sum(torch.ones(2, dtype=torch.bfloat16), 1.0, max_records=3)
