"""Layout of reals in slots, floods that belong to one sum, and vectors that are refused before encryption."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from secagg.errors import DecodeError, ParameterError
from secagg.he.ckks_work import CKKSClient, SlotLayout
from secagg.he.precision import Precision
from secagg.he.slots import RINGS


def layout_of(dim: int, *, clip: float = 1.0, shift: int = 0) -> SlotLayout:
    return SlotLayout(clip, shift, Precision(RINGS[0], 5, dim, Fraction(clip) / Fraction(2) ** shift, 30))


def client_of(layout: SlotLayout, **changed: bytes) -> CKKSClient:
    keys = {"group_key": bytes(32), "session": bytes(32), "config": bytes(32)} | changed
    return CKKSClient(layout, None, None, **keys)  # without SEAL: nothing is encrypted here


@pytest.mark.parametrize("dim", [1, 2, 3, 4095, 4096, 4097, 8191, 8192, 8193])
@pytest.mark.parametrize(("clip", "shift"), [(1.0, 0), (1e-9, -29), (3e200, 667)])
def test_round_trip_around_the_edges_of_chunks(dim, clip, shift):
    layout = layout_of(dim, clip=clip, shift=shift)
    assert layout.precision.chunks == -(-dim // 4096)
    vector = np.random.default_rng(dim).uniform(-clip, clip, dim)
    vector[-1] = clip
    slots = [layout.slots(vector, chunk) for chunk in range(layout.precision.chunks)]
    assert {part.shape for part in slots} == {(2048,)}
    flat = np.concatenate(slots).view(float)
    assert np.abs(flat).max() <= 1
    assert (slots[0][0].real, slots[0][0].imag) == (vector[0] / 2.0**shift, flat[1])
    assert not flat[dim:].any()
    opened = [layout.values_of(part, chunk, parties=1) for chunk, part in enumerate(slots)]
    assert np.array_equal(np.concatenate(opened), vector)


def test_what_no_inputs_can_give_is_refused():
    layout = layout_of(4096 + 4000)
    error = float(layout.precision.error)
    good = layout.slots(np.full(layout.precision.dim, 1.0), 1)
    flat = good.view(float)
    layout.values_of(good, 1, parties=1)
    for place, value in ((0, 1 + 1.01 * error), (3999, -1 - 1.01 * error), (4000, 1.01 * error), (7, float("nan"))):
        kept, flat[place] = flat[place], value
        with pytest.raises(DecodeError):
            layout.values_of(good, 1, parties=1)
        flat[place] = kept
    flat[0] = 1 + 0.99 * error
    layout.values_of(good, 1, parties=1)
    flat[0] = 1.9
    layout.values_of(good, 1, parties=2)


def test_a_flood_belongs_to_one_sum():
    layout = layout_of(10)
    reference = client_of(layout)._flood(b"ciphertexts", [0, 1, 2]).coefficients(0, 8).tolist()
    again = client_of(layout)._flood(b"ciphertexts", [0, 1, 2]).coefficients(0, 8).tolist()
    assert again == reference
    others = [
        client_of(layout)._flood(b"other ciphertexts", [0, 1, 2]),
        client_of(layout)._flood(b"ciphertexts", [0, 1, 3]),
        client_of(layout)._flood(b"ciphertexts", [0, 1]),
        client_of(layout, group_key=b"\1" * 32)._flood(b"ciphertexts", [0, 1, 2]),
        client_of(layout, session=b"\1" * 32)._flood(b"ciphertexts", [0, 1, 2]),
        client_of(layout, config=b"\1" * 32)._flood(b"ciphertexts", [0, 1, 2]),
    ]
    drawn = [flood.coefficients(0, 8).tolist() for flood in others]
    assert reference not in drawn
    assert len({tuple(row) for row in drawn}) == len(drawn)


@pytest.mark.parametrize(
    "vector",
    [
        [0.0, float("nan"), 0.0],
        [0.0, float("inf"), 0.0],
        [0.0, -float("inf"), 0.0],
        [0.0, 0.7500000001, 0.0],
        [1e308, 0.0, 0.0],
        [0.0, 0.0],
        [[0.0, 0.0, 0.0]],
        [0, 0, 0],
        [True, False, True],
        [0j, 0j, 0j],
        ["0.5", "0", "0"],
        np.zeros(3, dtype=np.longdouble),
        np.ma.masked_array([0.5, 0.5, 0.5], mask=[True, False, False]),
    ],
)
def test_vectors_out_of_range_are_refused_without_being_printed(vector):
    with pytest.raises(ParameterError) as caught:
        client_of(layout_of(3, clip=0.75)).check(vector)
    for value in ("0.7500000001", "1e+308", "nan", "inf"):
        assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("clip", "vector"),
    [
        (1e5, np.full(3, np.inf, dtype=np.float16)),
        (1e40, np.full(3, np.inf, dtype=np.float32)),
        (1e40, np.full(3, np.nan, dtype=np.float32)),
        (0.3, np.full(3, 0.3, dtype=np.float16)),
        (0.1, np.nextafter(np.full(3, 0.1, dtype=np.float32), np.float32(1))),
        (0.1, np.full(3, np.float32(0.1), dtype=np.float64)),
        (1e-50, np.full(3, 1e-45, dtype=np.float32)),
        (1.0, np.full(3, 0x7FA00000, dtype=np.uint32).view(np.float32)),
    ],
)
def test_a_clip_is_not_rounded_to_the_dtype_of_a_vector(clip, vector):
    with pytest.raises(ParameterError, match="values outside"):
        client_of(_layout_with(clip)).check(vector)


def _layout_with(clip: float) -> SlotLayout:
    """A layout that is asked for its clip alone."""
    return SlotLayout(clip, 0, Precision(RINGS[0], 5, 3, Fraction(1), 30))


@pytest.mark.parametrize("clip", [0.1, 0.3, 1 / 3, 1e-9, 1e30])
def test_a_clip_in_float32_is_within_the_clip(clip):
    vector = np.full(3, clip, dtype=np.float32)
    assert client_of(_layout_with(clip)).check(vector).tolist() == vector.tolist()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors_are_copied(dtype):
    vector = np.array([0.75, -0.75, 0.5], dtype=dtype)
    checked = client_of(layout_of(3, clip=0.75)).check(vector)
    assert checked.dtype == np.float64
    vector[:] = 0
    assert checked.tolist() == [0.75, -0.75, 0.5]
