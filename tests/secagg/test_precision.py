"""Scale, flood and error bound of a sum of reals, against the same formulas in arbitrary precision."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import CapacityError
from secagg.he.precision import _ROOT_2, MAX_FLOOD_BITS, MIN_FLOOD_BITS, Precision, precise
from secagg.he.slots import RINGS

REACHES = st.fractions(Fraction(1, 2), 1, max_denominator=1000).filter(lambda reach: reach > Fraction(1, 2))
PRECISIONS = st.builds(
    Precision,
    ring=st.sampled_from(RINGS),
    num_parties=st.integers(3, 2000),
    dim=st.integers(1, 10**8),
    reach=REACHES,
    flood_bits=st.integers(MIN_FLOOD_BITS, 40),
)


def _largest(precision: Precision, scale_bits: int) -> mpmath.mpf:
    """The largest coefficient that a sum can have."""
    encoded = mpmath.sqrt(2) * mpmath.mpf(precision.reach.numerator) / precision.reach.denominator * 2**scale_bits
    return precision.num_parties * (encoded + mpmath.mpf(1) / 2 + 21) + 3 * (precision.width - 1) // 2


KNOWN = [
    Precision(ring, parties, dim, reach, 30)
    for ring in RINGS
    for parties, dim, reach in ((3, 1, Fraction(1)), (15, 10**6, Fraction(3, 4)), (100, 10**5, Fraction(51, 100)))
]


def _check_scale(precision: Precision) -> None:
    half = mpmath.mpf(precision.ring.modulus) / 2
    with mpmath.workdps(60):
        if precision.scale_bits > 0:
            assert _largest(precision, precision.scale_bits) < half
        # up to the slack of 2e-5 that its constants are rounded up by
        assert _largest(precision, max(precision.scale_bits, 0) + 1) > half * (1 - mpmath.mpf("2e-5"))


def _check_error(precision: Precision) -> None:
    n, degree = precision.num_parties, precision.ring.degree
    with mpmath.workdps(60):
        # two-sided Gaussian tail in each of the entries of all ciphertexts, 2^-64 in all
        entries = mpmath.ceil(mpmath.log(precision.chunks * degree, 2))
        tail = (65 + entries) * mpmath.log(2)
        variance = mpmath.mpf("10.5") * n + mpmath.mpf(precision.width) ** 2 / 4
        noise = mpmath.sqrt(2 * variance * degree / 2 * tail)
        reach = mpmath.mpf(precision.reach.numerator) / precision.reach.denominator
        transforms = 2 * mpmath.sqrt(2 * degree) * n * reach * mpmath.mpf(2) ** -45
        least = (noise + n * degree / 2) / mpmath.mpf(2) ** precision.scale_bits + transforms
        error = mpmath.mpf(precision.error.numerator) / precision.error.denominator
        assert least <= error <= least * mpmath.mpf("1.01") + transforms


def test_there_is_room_for_a_clip_that_was_rounded_in_float32():
    with mpmath.workdps(60):
        assert mpmath.sqrt(2) * (1 + mpmath.mpf(2) ** -24) < mpmath.mpf(_ROOT_2.numerator) / _ROOT_2.denominator


@pytest.mark.parametrize("precision", KNOWN)
def test_scale_and_error_at_known_sizes(precision):
    _check_scale(precision)
    _check_error(precision)


@given(PRECISIONS)
def test_the_scale_is_the_largest_that_fits_the_modulus(precision):
    _check_scale(precision)


@given(PRECISIONS.filter(lambda precision: precision.scale_bits > 0))
def test_the_error_is_the_sum_of_its_parts_rounded_up(precision):
    _check_error(precision)


@pytest.mark.parametrize("values", [3, 4, 7, 101])
def test_uniform_integers_are_strictly_sub_gaussian(values):
    places = np.arange(values) - (values - 1) / 2
    for t in np.geomspace(1e-3, 20, 60):
        largest = t * places[-1]
        mgf = math.log(np.exp(t * places - largest).mean()) + largest
        assert mgf <= t**2 * values**2 / 24 * (1 + 1e-12)


def test_a_centred_binomial_is_strictly_sub_gaussian():
    for t in np.geomspace(1e-3, 20, 60):
        # 42 bits, 21 of them negative: the moment generating function of one bit's half is cosh(t/2)
        assert 42 * np.logaddexp(t / 2, -t / 2) - 42 * math.log(2) <= 10.5 * t**2 / 2 * (1 + 1e-12)


def test_noise_grows_with_the_root_of_the_parties_and_the_scale_with_their_number():
    small, large = (Precision(RINGS[1], n, 1000, Fraction(1), 30) for n in (16, 64))
    assert small.scale_bits - large.scale_bits == 2
    # n·sqrt(n): the flood follows the noise, and the modulus holds n vectors
    assert 8 * 0.99 <= large.error / small.error <= 8 * 1.01


@given(parties=st.integers(3, 500), dim=st.integers(1, 10**7), reach=REACHES, exponent=st.integers(-30, 8))
def test_the_smallest_ring_and_the_widest_flood_are_taken(parties, dim, reach, exponent):
    error = Fraction(2) ** exponent
    try:
        found = precise(parties, dim, reach, error)
    except CapacityError:
        tight = Precision(RINGS[-1], parties, dim, reach, MIN_FLOOD_BITS)
        assert tight.error > error
        return
    assert found.error <= error
    assert found.scale_bits > 0
    assert MIN_FLOOD_BITS <= found.flood_bits <= MAX_FLOOD_BITS
    if found.ring is RINGS[1]:
        lean = Precision(RINGS[0], parties, dim, reach, MIN_FLOOD_BITS)
        assert lean.scale_bits < 1 or lean.error > error
    if found.flood_bits < MAX_FLOOD_BITS:
        wider = Precision(found.ring, parties, dim, reach, found.flood_bits + 1)
        assert wider.scale_bits < 1 or wider.error > error


def test_what_the_message_offers_is_accepted():
    with pytest.raises(CapacityError, match=r"error must be at least (\S+) \* clip") as caught:
        precise(15, 10**6, Fraction(3, 4), Fraction(1, 10**9))
    offered = Fraction(caught.value.args[0].split("at least ")[1].split(" ")[0]) * Fraction(3, 4)
    assert precise(15, 10**6, Fraction(3, 4), offered).flood_bits >= MIN_FLOOD_BITS
    with pytest.raises(CapacityError):
        precise(15, 10**6, Fraction(3, 4), offered * Fraction(9, 10))


def test_sums_without_room_are_refused():
    with pytest.raises(CapacityError, match="too many"):
        precise(2**31, 2**40, Fraction(1), Fraction(10**9))
