"""Vectors and sets as bytes: equal to one large integer, and with one encoding each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError
from secagg.masking.packing import pack_bits, pack_set, packed_bytes, set_bytes, unpack_bits, unpack_set

WIDTHS = range(1, 65)
COUNTS = (0, 1, 7, 63, 64, 65, 130)


def as_integer(values, bits):
    """All values behind each other in one integer, the first at the bottom."""
    return sum(int(value) << bits * place for place, value in enumerate(values))


def vector(count, bits, seed=0):
    return np.random.default_rng(seed).integers(0, 2**bits - 1, count, dtype=np.uint64, endpoint=True)


@pytest.mark.parametrize("bits", WIDTHS)
def test_packed_bits_are_one_large_integer(bits):
    for count in COUNTS:
        for values in (vector(count, bits), np.full(count, 2**bits - 1, dtype=np.uint64)):
            packed = pack_bits(values, bits)
            assert packed == as_integer(values, bits).to_bytes(-(-count * bits // 8), "little")
            assert len(packed) == packed_bytes(count, bits)
            back = unpack_bits(packed, count, bits)
            assert back.dtype == np.uint64
            assert back.tolist() == values.tolist()


@pytest.mark.parametrize("bits", [1, 8, 23, 32])
def test_words_of_32_bits_are_packed_alike(bits):
    values = vector(70, bits)
    assert pack_bits(values.astype(np.uint32), bits) == pack_bits(values, bits)


@given(st.data(), st.integers(1, 64), st.integers(0, 140))
def test_bytes_that_unpack_pack_to_the_same_bytes(data, bits, count):
    raw = data.draw(st.binary(min_size=packed_bytes(count, bits), max_size=packed_bytes(count, bits)))
    spare = 8 * len(raw) - bits * count
    if spare and raw[-1] >> (8 - spare):
        with pytest.raises(DecodeError, match="vector of this plan"):
            unpack_bits(raw, count, bits)
        raw = raw[:-1] + bytes([raw[-1] & 0xFF >> spare])
    assert pack_bits(unpack_bits(raw, count, bits), bits) == raw


@given(st.integers(1, 64), st.integers(0, 140), st.binary(max_size=40))
def test_other_lengths_do_not_unpack(bits, count, more):
    packed = pack_bits(vector(count, bits), bits)
    for wrong in (packed + b"\0" + more, packed[:-1] if packed else b"\0"):
        with pytest.raises(DecodeError):
            unpack_bits(wrong, count, bits)


@given(st.lists(st.booleans(), max_size=40))
def test_a_set_is_one_bit_each_from_the_bottom(members):
    packed = pack_set(members)
    assert len(packed) == set_bytes(len(members))
    assert packed == as_integer(members, 1).to_bytes(-(-len(members) // 8), "little")
    assert unpack_set(packed, len(members)) == members


@given(st.data(), st.integers(0, 40))
def test_a_set_has_one_encoding(data, size):
    raw = data.draw(st.binary(min_size=set_bytes(size), max_size=set_bytes(size)))
    if int.from_bytes(raw, "little") >> size:
        with pytest.raises(DecodeError, match="do not exist"):
            unpack_set(raw, size)
    else:
        assert pack_set(unpack_set(raw, size)) == raw
    for wrong in (raw + b"\0", raw[:-1] if raw else b"\0"):
        with pytest.raises(DecodeError, match="set of these parties"):
            unpack_set(wrong, size)
