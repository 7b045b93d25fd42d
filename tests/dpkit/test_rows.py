"""Blocks of rows: every row is handled as if it were alone, and the flags say what happened to it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dpkit._rows import clip_rows, normalize_rows, norms_within

FLOATS = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
BLOCKS = st.tuples(st.integers(0, 5), st.integers(0, 4)).flatmap(lambda s: arrays(np.float64, s, elements=FLOATS))


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@given(BLOCKS)
def test_rows_do_not_see_each_other(norm, rows):
    clipped, within = clip_rows(rows, 0.7, norm)
    normalized = normalize_rows(rows, 0.7, 0.1, norm)
    assert clipped.shape == normalized.shape == rows.shape
    assert within.shape == rows.shape[:1]
    for i, row in enumerate(rows):
        alone, flag = clip_rows(row[np.newaxis], 0.7, norm)
        assert (alone[0] == clipped[i]).all()
        assert flag[0] == within[i]
        assert (normalize_rows(row[np.newaxis], 0.7, 0.1, norm)[0] == normalized[i]).all()


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@given(BLOCKS)
def test_within_means_unchanged(norm, rows):
    before = rows.copy()
    clipped, within = clip_rows(rows, 0.7, norm)
    assert np.array_equal(rows, before, equal_nan=True), "what came is not written to"
    for row, after, flag in zip(rows, clipped, within, strict=True):
        finite = np.isfinite(row).all()
        assert flag <= finite
        assert not flag or (after == row).all()
        assert finite or not after.any()


def test_norms_within():
    norms = [0.0, 1.0, np.nextafter(1.0, 2.0), np.inf, np.nan, -1.0]
    assert norms_within(norms, 1.0).tolist() == [True, True, False, False, False, False]
