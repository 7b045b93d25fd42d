"""The transform is its definition, the one of FIPS 204, and turns negacyclic products into products of values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import ParameterError
from secagg.threshold import transform
from secagg.threshold.ring import PRIMES, RING, ROOTS
from secagg.threshold.transform import Transform
from tests.oracles import lattice as oracle

#: FIPS 204, appendix B: zetas 1 to 32.
ZETAS = [
    4808194, 3765607, 3761513, 5178923, 5496691, 5234739, 5178987, 7778734, 3542485, 2682288, 2129892, 3764867, 7375178,
    557458, 7159240, 5010068, 4317364, 2663378, 6705802, 4855975, 7946292, 676590, 7044481, 5152541, 1714295, 2453983,
    1460718, 7737789, 4795319, 2815639, 2283733, 3602218,
]  # fmt: skip
Q = 8380417
FIPS = Transform(256, Q, 1753)
SIZES = [(4, 17), (8, 17), (16, 97), (32, 193), (64, 257), (128, 257), (256, Q)]
seeds = st.integers(0, 2**64 - 1)


def _root(n, prime):
    return oracle.root_of_minus_one(prime, n)


def _random(seed, shape, prime):
    return np.random.default_rng(seed).integers(0, prime, shape, dtype=np.uint64)


def test_zetas_of_fips_204():
    # the polynomial X has the zetas as values: those of the last layer, and their negatives, in the standard's order
    x = np.zeros(256, dtype=np.uint64)
    x[1] = 1
    values = FIPS.forward(x).tolist()
    zetas = [pow(1753, oracle.reversed_bits(k, 256), Q) for k in range(256)]
    assert zetas[1:33] == ZETAS
    assert values[::2] == zetas[128:]
    assert values[1::2] == [Q - z for z in zetas[128:]]
    for degree, first in ((128, 1), (64, 2), (32, 4), (16, 8), (8, 16)):  # X^degree has the zetas of its own layer
        x = np.zeros(256, dtype=np.uint64)
        x[degree] = 1
        assert FIPS.forward(x)[:: 2 * degree].tolist() == ZETAS[first - 1 : 2 * first - 1]


@given(seeds)
def test_equals_the_algorithm_of_fips_204(seed):
    x = _random(seed, 256, Q)
    assert FIPS.forward(x).tolist() == oracle.fips_204_ntt(x.tolist())


@given(st.sampled_from(SIZES), seeds)
def test_transform_equals_its_definition(row, seed):
    n, prime = row
    small, x = Transform(n, prime, _root(n, prime)), _random(seed, (2, n), prime)
    values = small.forward(x)
    assert values.tolist() == [oracle.transform(own, prime, _root(n, prime)) for own in x.tolist()]
    assert (small.inverse(values) == x).all()


@pytest.mark.parametrize(("prime", "root"), list(zip(PRIMES, ROOTS, strict=True)))
def test_large_transform_equals_its_definition(prime, root):
    whole, x = Transform(RING, prime, root), _random(prime, RING, prime)
    values = whole.forward(x)
    for place in (0, 1, 2, 63, 64, 65, 1365, 2048, 4095):
        assert int(values[place]) == oracle.value(x.tolist(), prime, root, place)
    assert (whole.inverse(values) == x).all()


@given(st.sampled_from(SIZES), seeds)
def test_products_equal_the_schoolbook(row, seed):
    n, prime = row
    small = Transform(n, prime, _root(n, prime))
    a, b = _random(seed, (2, n), prime)
    values = small.forward(a) * small.forward(b) % np.uint64(prime)
    assert small.inverse(values).tolist() == oracle.product(a.tolist(), b.tolist(), prime)


@pytest.mark.parametrize(("prime", "root"), list(zip(PRIMES, ROOTS, strict=True)))
def test_extreme_polynomials_are_exact(prime, root):
    # all entries p - 1 give the largest sums of products: minus the values of 1 + X + … = -2/(X - 1) where X^n = -1
    whole = Transform(RING, prime, root)
    top = np.full(RING, prime - 1, dtype=np.uint64)
    values = whole.forward(top)
    for place in range(RING):
        point = pow(root, 2 * oracle.reversed_bits(place, RING) + 1, prime)
        assert int(values[place]) * (point - 1) % prime == 2
    assert (whole.inverse(values) == top).all()
    assert (whole.forward(whole.inverse(top)) == top).all()


def test_sums_of_products_stay_exact_in_float64():
    # what the docstring counts: 64 terms of a residue and half a factor, then the high part moved up by 15 bits
    rows = 1 << (transform.MAX_SIZE.bit_length() // 2)
    largest = rows * (2**transform.MAX_PRIME_BITS - 1) * (2**transform._HALF - 1)
    assert largest < 2**51
    assert largest + 2 ** (transform.MAX_PRIME_BITS + transform._HALF) < 2**53
    assert 2 ** (transform.MAX_PRIME_BITS - transform._HALF) <= 2**transform._HALF  # high halves are no larger
    assert rows**3 <= 2**18  # and each product is small enough for one thread


@pytest.mark.parametrize("step", [1, 2, 5])
def test_batches_of_any_shape_are_transformed_one_by_one(step, monkeypatch):
    x = _random(7, (3, 5, 2, 256), Q)
    before = x.copy()
    wanted = np.stack([FIPS.forward(row) for row in x.reshape(-1, 256)]).reshape(x.shape)
    monkeypatch.setattr(transform, "_BLOCK", step)
    assert (FIPS.forward(x) == wanted).all()
    assert (FIPS.forward(x[:, ::2, 1]) == wanted[:, ::2, 1]).all()
    assert (FIPS.inverse(wanted) == x).all()
    assert (x == before).all()
    assert FIPS.forward(x[:0]).shape == (0, 5, 2, 256)


@pytest.mark.parametrize(
    ("n", "prime", "root", "message"),
    [
        (2, 17, 4, "n must be in"),
        (8192, 17, 2, "n must be in"),
        (12, 97, 2, "power of two"),
        (16, 17, 3, "1 modulo 2n"),
        (4, 17, 3, "root of -1"),
        (4, 17, 0, "root must be in"),
        (4, 2**30 + 1, 2, "prime must be in"),
    ],
)
def test_bad_parameters_are_refused(n, prime, root, message):
    with pytest.raises(ParameterError, match=message):
        Transform(n, prime, root)


def test_bad_arrays_are_refused():
    for x in (np.zeros(256), np.zeros(128, dtype=np.uint64), np.uint64(3), [0] * 256, np.zeros(256, dtype=np.int64)):
        with pytest.raises(ParameterError, match=r"x must be an array of dtype uint64 and shape \(..., 256\)"):
            FIPS.forward(x)
    for step in (FIPS.forward, FIPS.inverse):
        with pytest.raises(ParameterError, match="below the prime"):
            step(np.full((2, 256), Q, dtype=np.uint64))
