"""Layout of values in ciphertexts, against plain Python; and bodies that are not what they claim."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError
from secagg.he.seal import RING
from secagg.he.work import Layout, join_blobs, split_blobs


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("chunks", [1, 2])
def test_round_trip_at_chunk_edges(chunks, extra):
    values = Layout(dim=1, num_parties=10, value_bits=16).values
    layout = Layout(dim=chunks * values + extra, num_parties=10, value_bits=16)
    assert layout.chunks == -(-layout.dim // values)
    vector = np.random.default_rng(chunks).integers(0, 2**16, layout.dim, dtype=np.uint64)
    slots = layout.slots(vector)
    assert slots.shape == (layout.chunks, RING - 1)
    assert np.array_equal(layout.values_of(slots, parties=1), vector)


def test_slots_add_like_the_vectors():
    layout = Layout(dim=9, num_parties=3, value_bits=12)
    vectors = np.random.default_rng(0).integers(0, 2**12, (3, 9), dtype=np.uint64)
    vectors[:, 0] = 2**12 - 1
    total = np.sum([layout.slots(vector) for vector in vectors], axis=0, dtype=np.uint64)
    assert layout.values_of(total, parties=3).tolist() == [sum(map(int, column)) for column in vectors.T]


def test_what_no_inputs_can_give_is_refused():
    layout = Layout(dim=3, num_parties=3, value_bits=8)
    slots = layout.slots(np.array([255, 0, 0], dtype=np.uint64))
    beyond = slots.copy()
    beyond[0, -1] = 1
    too_large = slots * np.uint64(2)
    overfull = slots.copy()
    overfull[0, 0] = np.uint64(1) << np.uint64(layout.width * layout.fields)
    for bad in (beyond, too_large, overfull):
        with pytest.raises(DecodeError):
            layout.values_of(bad, parties=1)


@given(blobs=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5))
def test_blobs_round_trip(blobs):
    assert split_blobs(join_blobs(blobs), len(blobs)) == blobs


@given(
    blobs=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4),
    cut=st.integers(1, 20),
    count=st.integers(1, 6),
)
def test_wrong_lengths_are_refused(blobs, cut, count):
    body = join_blobs(blobs)
    for changed, number in ((body[:-cut], len(blobs)), (body + bytes(cut), len(blobs)), (body, len(blobs) + count)):
        with pytest.raises(DecodeError):
            split_blobs(changed, number)


def test_empty_blob_is_refused():
    with pytest.raises(DecodeError):
        split_blobs(bytes(4), 1)
