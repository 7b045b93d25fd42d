"""The integer grid of sums: cutting never lengthens, and integers lose nothing."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dpkit._grains import add_records, from_grains, grain_sum

SCALES = st.one_of(st.sampled_from([1.0, 2.0**-500, 2.0**500, 0.3]), st.floats(1e-6, 1e6))


@given(arrays(np.float64, 4, elements=st.floats(-1, 1)), SCALES)
@example(np.array([0.75, -0.75, 1.75, 0.0]) * 2.0**-29, 1.0)
def test_entries_are_cut_towards_zero_to_whole_grains(row, scale):
    row = row * scale
    cut = from_grains(grain_sum(row[np.newaxis], scale), scale, row)
    grain = Fraction(2) ** (int(np.frexp(scale)[1]) - 30)
    for exact, number in zip(row, cut, strict=True):
        exact, number = Fraction(float(exact)), Fraction(float(number))
        assert number == (abs(exact) // grain) * grain * (1 if exact >= 0 else -1)


@given(arrays(np.float64, (5, 3), elements=st.floats(-1, 1)))
def test_the_sum_is_the_sum_of_the_cut_rows(rows):
    whole = grain_sum(rows, 1.0)
    assert whole.dtype == np.int64
    assert (whole == sum(grain_sum(row[np.newaxis], 1.0) for row in rows)).all()


def test_each_coordinate_may_have_a_scale_of_its_own():
    scales = np.array([2.0**-100, 1.0, 2.0**100])
    row = scales * 0.75
    assert (from_grains(grain_sum(row[np.newaxis], scales), scales, row) == row).all()


@pytest.mark.parametrize("shape", [(0, 3), (0,), (2, 0), (7, 2, 2)])
def test_arrays_are_added_along_their_first_axis(shape):
    seen = []

    def grains(rows, like):
        seen.append(rows.shape)
        assert like.shape == shape[1:]
        return grain_sum(rows, 1.0)

    total, like = add_records(np.ones(shape), grains)
    assert like.shape == shape[1:]
    assert (total == 2**29 * shape[0]).all()
    assert sum(rows for rows, _ in seen) == shape[0]


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_never_wrap(sign):
    """Blocks and single records: int64 ends at 2**63, behind which the largest sum would be the smallest."""
    block = np.array([sign * 2**61, 1])
    for records in (np.broadcast_to(0.0, (6 << 19, 2)), [np.zeros(2)] * 6):
        total, _ = add_records(records, lambda rows, like: block)
        assert total.tolist() == [sign * 2**62, 6]


def test_eight_million_records_of_one_sign_fit():
    """What the pages say of where sums end: 2**23 bounds at least, 2**24 for a power of two."""
    for bound, most in ((1.0, 2**24), (np.nextafter(1.0, 0.0), 2**23)):
        grains = grain_sum(np.array([[bound]]), bound)
        reached = from_grains(grains * most, bound, np.zeros(1)), from_grains(grains * (most + 1), bound, np.zeros(1))
        assert bound * most * (1 - 2.0**-29) <= reached[0] <= reached[1] <= bound * most * (1 + 2.0**-29)
