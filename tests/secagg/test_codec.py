from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import CapacityError, FixedPoint, ParameterError, field_bits, offset_decode, offset_encode, pack, unpack
from tests.secagg.wires import Stream


@given(st.integers(1, 10**6), st.integers(1, 64))
def test_field_bits_is_the_least_width(n, b):
    width = field_bits(n, b)
    assert n * (2**b - 1) < 2**width
    assert n * (2**b - 1) >= 2 ** (width - 1)
    assert width <= b + (n - 1).bit_length()


@given(st.data())
def test_offset_round_trip_of_sums(data):
    bits = data.draw(st.integers(1, 62))
    parties = data.draw(st.integers(1, min(6, 2 ** (64 - bits) - 1)))
    entry = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    signed = np.array(data.draw(st.lists(st.lists(entry, min_size=3, max_size=3), min_size=parties, max_size=parties)))
    encoded = offset_encode(signed.astype(np.int64), bits)
    assert encoded.dtype == np.uint64
    assert int(encoded.max()) < 2**bits
    assert offset_decode(encoded.sum(axis=0, dtype=np.uint64), parties, bits).tolist() == signed.sum(axis=0).tolist()


def test_offset_covers_both_ends():
    for bits in (1, 8, 63, 64):
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1], dtype=np.int64)
        assert offset_encode(ends, bits).tolist() == [0, 2**bits - 1]
        assert offset_decode(offset_encode(ends, bits), 1, bits).tolist() == ends.tolist()


@pytest.mark.parametrize("value", [-129, 128])
def test_offset_refuses_out_of_range_without_printing_it(value):
    with pytest.raises(CapacityError) as caught:
        offset_encode(np.array([0, value]), 8)
    assert str(value) not in str(caught.value)


@pytest.mark.parametrize("bad", [np.array([1.0]), np.array([True]), np.array([1], dtype=np.uint64)])
def test_offset_refuses_what_is_not_signed(bad):
    with pytest.raises(ParameterError):
        offset_encode(bad, 8)


def test_offset_decode_refuses_impossible_totals():
    assert offset_decode(np.array([2 * 255], dtype=np.uint64), 2, 8).tolist() == [254]
    with pytest.raises(CapacityError):
        offset_decode(np.array([2 * 255 + 1], dtype=np.uint64), 2, 8)
    with pytest.raises(CapacityError):
        offset_decode(np.array([0], dtype=np.uint64), 3, 63)
    with pytest.raises(ParameterError):
        offset_decode(np.array([0]), 2, 8)


@given(st.data())
def test_pack_equals_positional_notation_and_unpack_inverts(data):
    width = data.draw(st.integers(1, 40))
    fields = data.draw(st.integers(1, 64 // width))
    values = data.draw(st.lists(st.integers(0, 2**width - 1), max_size=20))
    words = pack(np.array(values, dtype=np.uint64), width, fields)
    slow = [
        sum(value << (width * j) for j, value in enumerate(values[start : start + fields]))
        for start in range(0, len(values), fields)
    ]
    assert words.tolist() == slow
    assert unpack(words, width, fields, len(values)).tolist() == values


def test_packed_sums_add_field_by_field_up_to_the_capacity():
    n, b = 15, 16
    width = field_bits(n, b)
    top = np.full(4, 2**b - 1, dtype=np.uint64)
    words = sum((pack(top, width, 3) for _ in range(n)), start=np.zeros(2, dtype=np.uint64))
    assert unpack(words, width, 3, 4).tolist() == [n * (2**b - 1)] * 4


def test_pack_refuses_what_does_not_fit():
    with pytest.raises(CapacityError):
        pack(np.array([16], dtype=np.uint64), 4, 2)
    with pytest.raises(CapacityError):
        pack(np.array([1], dtype=np.uint64), 33, 2)
    with pytest.raises(ParameterError):
        unpack(np.array([1], dtype=np.uint64), 8, 2, 3)


@pytest.mark.parametrize(
    "bad",
    [
        np.array([987_654, -1]),
        np.array([987_654.0]),
        np.array([[987_654]], dtype=np.uint64),
        np.array(987_654, dtype=np.uint64),
        np.array([987_654], dtype=np.uint32),
        np.ma.masked_array(np.array([987_654], dtype=np.uint64), [True]),
        [987_654],
        None,
    ],
    ids=["signed", "float", "2-d", "0-d", "uint32", "masked", "list", "none"],
)
def test_pack_and_unpack_take_words_only_and_print_none(bad):
    for call in (lambda: pack(bad, 20, 2), lambda: unpack(bad, 20, 2, 1)):
        with pytest.raises(ParameterError, match=r"(values|words) must") as caught:
            call()
        assert "987" not in str(caught.value)


def test_overflown_fields_are_refused_and_not_printed():
    top = np.array([2**40 - 1], dtype=np.uint64)
    assert unpack(top, 20, 2, 2).tolist() == [2**20 - 1] * 2
    for call in (lambda: pack(top, 39, 1), lambda: unpack(top + np.uint64(1), 20, 2, 2)):
        with pytest.raises(CapacityError) as caught:
            call()
        assert "1099511" not in str(caught.value)
    whole = np.array([2**64 - 1], dtype=np.uint64)
    assert unpack(pack(whole, 64, 1), np.int64(64), np.int64(1), 1).tolist() == whole.tolist()


def test_offset_decode_is_right_up_to_the_last_party_that_int64_can_hold():
    for bits in (1, 2, 8, 63, 64):
        most = 2**63 >> (bits - 1)
        ends = np.array([0, most * (2**bits - 1)], dtype=np.uint64)
        assert offset_decode(ends, most, bits).tolist() == [-(2**63), 2**63 - most]
        with pytest.raises(CapacityError, match="int64"):
            offset_decode(ends[:1], most + 1, bits)


@pytest.mark.parametrize("clip", [Fraction(3, 2), np.float32(1.5), np.float64(1.5)])
def test_clip_is_kept_as_a_float(clip):
    codec = FixedPoint(np.int64(8), clip)
    assert type(codec.clip) is float
    assert type(codec.value_bits) is int
    assert codec == FixedPoint(8, 1.5)
    assert codec.encode([-9.0, 0.0, 9.0]).tolist() == [1, 128, 255]


def test_masked_and_timed_entries_are_refused():
    for bad in (np.ma.masked_array([1], [True]), np.array([1], dtype="m8[s]")):
        with pytest.raises(ParameterError):
            offset_encode(bad, 8)
        with pytest.raises(ParameterError):
            FixedPoint(8, 1.0).encode(bad)


def _clamped(value: float, clip: float) -> Fraction:
    return max(min(Fraction(value), Fraction(clip)), -Fraction(clip))


@given(
    st.integers(2, 32),
    st.floats(1e-3, 1e3),
    st.lists(st.floats(-2e3, 2e3), min_size=1, max_size=8),
    st.sampled_from(["nearest", "stochastic"]),
    st.integers(0, 2**32),
)
def test_error_bound_holds_and_is_tight(bits, clip, values, rounding, seed):
    codec = FixedPoint(bits, clip, rounding)
    encoded = codec.encode(np.array(values), Stream(seed))
    assert int(encoded.max()) < 2**bits
    decoded = codec.decode(np.array([encoded.sum(dtype=np.uint64)]), len(values))
    exact = sum(_clamped(value, clip) for value in values)
    assert abs(Fraction(float(decoded[0])) - exact) <= len(values) * Fraction(codec.error_bound)
    # tight: a value half a step from its neighbours is off by all but the part of the bound that is float rounding
    half = FixedPoint(bits, clip)
    off = abs(Fraction(float(half.decode(half.encode([half.step / 2]), 1)[0])) - Fraction(half.step / 2))
    assert off >= Fraction(half.error_bound) / (1 + Fraction(2) ** (bits - 50))


def test_nearest_is_nearest_and_zero_is_exact():
    codec = FixedPoint(4, 7.0)
    assert codec.step == 1.0
    assert codec.encode([-9.0, -7.0, -0.4, 0.0, 0.6, 6.9, 7.0, 8.0]).tolist() == [1, 1, 8, 8, 9, 15, 15, 15]
    assert codec.decode(codec.encode([0.0]), 1).tolist() == [0.0]


class _Words:
    """One 64-bit word, over and over."""

    def __init__(self, word: int) -> None:
        self._word = word

    def bytes(self, n: int) -> bytes:
        return (self._word.to_bytes(8, "little") * n)[:n]


def test_stochastic_rounding_goes_up_on_exactly_the_fraction_of_words():
    codec = FixedPoint(4, 7.0, "stochastic")
    for fraction in (0.25, 0.5, 0.75):
        threshold = int(fraction * 2**64)
        assert codec.encode([1.0 + fraction], _Words(threshold - 1)).tolist() == [10]
        assert codec.encode([1.0 + fraction], _Words(threshold)).tolist() == [9]
    for word in (0, 2**64 - 1):
        assert codec.encode([-3.0, 0.0, 7.0], _Words(word)).tolist() == [5, 8, 15]


@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [1.0, -np.inf], ["1"], [1j], [True]])
def test_encode_refuses_what_is_no_finite_real(bad):
    with pytest.raises(ParameterError):
        FixedPoint(8, 1.0).encode(np.array(bad))


def test_encode_refuses_what_no_float64_holds_without_a_warning():
    signalling = np.array([0x7FA00000], dtype=np.uint32).view(np.float32)
    with np.errstate(over="ignore"):  # where long doubles are no wider
        large = np.full(1, 1e300, dtype=np.longdouble) ** 2
    for bad in (signalling, large):
        with pytest.raises(ParameterError, match="finite"):
            FixedPoint(8, 1.0).encode(bad)


@pytest.mark.parametrize(
    "arguments",
    [
        (1, 1.0),
        (33, 1.0),
        (8.0, 1.0),
        (True, 1.0),
        (8, 0.0),
        (8, -1.0),
        (8, np.nan),
        (8, np.inf),
        (8, True),
        (8, "1"),
        (8, 1e-300),
        (8, 10**400),
        (8, Fraction(1, 10**400)),
        (8, 1.0, "down"),
    ],
)
def test_codec_refuses_impossible_parameters(arguments):
    with pytest.raises(ParameterError):
        FixedPoint(*arguments)
