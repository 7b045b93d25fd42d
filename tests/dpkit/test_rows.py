"""Blocks of rows: every row is handled as if it were alone, and the flags say what happened to it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dpkit._rows import clip_factors, clip_rows, normalize_factors, normalize_rows, norms_within

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


@pytest.mark.parametrize(
    ("norms", "bound"),
    [
        (np.array([2**53 + 1, 2**63 - 1]), 2.0**53),
        (np.array([2**64 - 1], np.uint64), 2.0**63),
        (np.array([1], np.longdouble) + np.finfo(np.longdouble).eps, 1.0),
    ],
    ids=["int64", "uint64", "longdouble"],
)
def test_norms_that_float64_rounds_are_rounded_up(norms, bound):
    exact = [Fraction(*norm.as_integer_ratio()) if norms.dtype.kind == "f" else Fraction(int(norm)) for norm in norms]
    for factors in (clip_factors(norms, bound), normalize_factors(norms, bound, 2.0**-500)):
        assert all(Fraction(float(f)) * norm <= bound for f, norm in zip(factors, exact, strict=True))
    if any(norm > bound for norm in exact):
        assert not norms_within(norms, bound).any()


def test_norms_of_every_kind_of_array():
    torch = pytest.importorskip("torch")
    for norms in (
        torch.tensor([0.5, 4.0], requires_grad=True),
        torch.tensor([0.5, 4.0], dtype=torch.bfloat16),
        torch.complex(torch.zeros(2), torch.tensor([-0.5, -4.0])).conj().imag,
        np.array([0.5, 4.0], ">f4"),
        [0.5, 4.0],
    ):
        assert norms_within(norms, 1.0).tolist() == [True, False]
        assert clip_factors(norms, 2.0).round(6).tolist() == [1.0, 0.5]


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("size", [2, 3, 10])
def test_a_norm_that_float64_rounds_down_is_not_within(norm, size):
    """Rows longer than the bound whose computed norm is the bound: half of all that were normalised in floats."""
    rows = np.random.default_rng(size).normal(size=(200, size))
    rows /= np.linalg.norm(rows, ord=int(norm[1]), axis=1, keepdims=True)

    def exceeds(row):
        return sum(abs(Fraction(float(x))) ** int(norm[1]) for x in row) > 1

    longer = np.array([exceeds(row) for row in rows])
    computed = np.linalg.norm(rows, ord=int(norm[1]), axis=1)
    assert (longer & (computed <= 1.0)).sum() >= 20
    clipped, within = clip_rows(rows, 1.0, norm)
    assert not within[longer].any()
    assert not any(exceeds(row) for row in clipped)
