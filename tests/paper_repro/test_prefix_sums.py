"""The strategies that the library has no stream of, against whole matrices."""

import math

import numpy as np
import pytest

from paper_repro.prefix_sums.strategies import STRATEGIES, growing, normalised, singular_values, stream, variance

STEPS = 40


@pytest.fixture(scope="module")
def root():
    """The square root of the matrix of prefix sums, by its coefficients binom(2k, k) / 4^k."""
    coefficients = [math.comb(2 * k, k) / 4.0**k for k in range(STEPS)]
    matrix = np.array(
        [[coefficients[row - column] if row >= column else 0.0 for column in range(STEPS)] for row in range(STEPS)]
    )
    np.testing.assert_allclose(matrix @ matrix, np.tri(STEPS), rtol=1e-12, atol=1e-12)
    return matrix


def errors(strategy):
    """Squared, of each prefix sum, times the squared sensitivity: rows of what is left, columns of the strategy."""
    left = np.tri(STEPS) @ np.linalg.inv(strategy)
    return (left**2).sum(axis=1) * (strategy**2).sum(axis=0).max()


def test_the_root_with_columns_of_norm_1(root):
    np.testing.assert_allclose(normalised(STEPS), errors(root / np.linalg.norm(root, axis=0)), rtol=1e-12)


def test_two_sums_are_not_below_the_least_error_there_is():
    """Columns of norm 1 with product p give the two sums variances 1 / (1 - p²) and 2 / (1 + p): 4 / 3 at the least."""
    product = np.arange(-99, 100) / 100
    least = np.maximum(1.0 / (1.0 - product**2), 2.0 / (1.0 + product)).min()
    assert math.isclose(least, 4.0 / 3.0, rel_tol=1e-12)
    for name in STRATEGIES:
        assert variance(name, 2).max() >= least, name


@pytest.mark.parametrize("name", ["root", "buffers"])
def test_streams_are_their_matrices(root, name):
    if name == "buffers":
        made = stream(name, STEPS)
        column = np.concatenate([[1.0], made.output_scale @ made.buf_decay[:, None] ** np.arange(STEPS - 1)])
        root = np.array(
            [[column[row - place] if row >= place else 0.0 for place in range(STEPS)] for row in range(STEPS)]
        )
    np.testing.assert_allclose(variance(name, STEPS), errors(root), rtol=1e-9)


def test_singular_values():
    found = np.linalg.svd(np.tri(STEPS), compute_uv=False)
    np.testing.assert_allclose(np.sort(singular_values(STEPS)), np.sort(found), rtol=1e-12)


def test_what_does_not_grow_is_bounded():
    for reduce, most in ((np.max, 0.18), (np.mean, 0.29)):
        assert all(0.0 < reduce(normalised(steps)) - reduce(growing(steps)) < most for steps in (128, 512, 2048))
