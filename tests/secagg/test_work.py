"""Layout of values in ciphertexts, against plain Python; and bodies that are not what they claim."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError
from secagg.he.rings import PUBLIC_RINGS, SHARED_RING
from secagg.he.work import Layout, join_blobs, split_blobs


def _joined(layout, vector):
    return [layout.slots(vector, chunk) for chunk in range(layout.chunks)]


def _values(layout, slots, parties):
    return np.concatenate([layout.values_of(row, chunk, parties) for chunk, row in enumerate(slots)])


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("ring", [SHARED_RING, *PUBLIC_RINGS])
def test_round_trip_at_chunk_edges(chunks, extra, ring):
    values = Layout(dim=1, num_parties=10, value_bits=16, ring=ring).values
    layout = Layout(dim=chunks * values + extra, num_parties=10, value_bits=16, ring=ring)
    assert layout.chunks == -(-layout.dim // values)
    vector = np.random.default_rng(chunks).integers(0, 2**16, layout.dim, dtype=np.uint64)
    slots = _joined(layout, vector)
    assert {row.shape for row in slots} == {(ring.degree - 1,)}
    assert np.array_equal(_values(layout, slots, parties=1), vector)


def test_slots_add_like_the_vectors():
    layout = Layout(dim=9, num_parties=3, value_bits=12)
    vectors = np.random.default_rng(0).integers(0, 2**12, (3, 9), dtype=np.uint64)
    vectors[:, 0] = 2**12 - 1
    total = np.sum([_joined(layout, vector) for vector in vectors], axis=0, dtype=np.uint64)
    assert _values(layout, total, parties=3).tolist() == [sum(map(int, column)) for column in vectors.T]


def test_what_no_inputs_can_give_is_refused():
    layout = Layout(dim=3, num_parties=3, value_bits=8)
    slots = layout.slots(np.array([255, 0, 0], dtype=np.uint64), 0)
    beyond = slots.copy()
    beyond[-1] = 1
    too_large = slots * np.uint64(2)
    overfull = slots.copy()
    overfull[0] = np.uint64(1) << np.uint64(layout.width * layout.fields)
    for bad in (beyond, too_large, overfull):
        with pytest.raises(DecodeError):
            layout.values_of(bad, 0, parties=1)
    assert layout.values_of(slots, 0, parties=1).tolist() == [255, 0, 0]


@given(blobs=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5))
def test_blobs_round_trip(blobs):
    assert list(split_blobs(join_blobs(blobs), len(blobs))) == blobs


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
