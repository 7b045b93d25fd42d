"""Layout of values in ciphertexts, against plain Python; and bodies that are not what they claim."""

import gc
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import BFVSum
from secagg.envelope import Kind
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


MEBIBYTE = 2**20


@pytest.fixture(scope="module", params=["shared", "public"])
def long(request):
    """A plan of many chunks, its keys, and a party's message."""
    plan = BFVSum.plan(15, 300_000, 16, key=request.param, dropout=0.8)
    keys = plan.keygen()
    session = plan.client(0, keys=keys.clients[0])
    session.set_input(np.zeros(plan.dim, dtype=np.uint16))
    (message,) = session.start()
    return plan, keys, message.payload


def _peak(step):
    """Most bytes of Python that a step holds at once, beside what there was."""
    gc.collect()
    tracemalloc.start()
    try:
        step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_party_holds_its_vector_and_its_message_twice(long):
    plan, keys, payload = long
    session, vector, seen = plan.client(1, keys=keys.clients[1]), np.zeros(plan.dim, dtype=np.uint16), []

    def sent():
        session.set_input(vector)
        session.start(lambda done, total: seen.append((done, total)))

    # the copy of the vector, the body that is sealed, and the envelope around a copy of it; a chunk's arrays beside
    assert _peak(sent) <= 8 * plan.dim + 2 * len(payload) + MEBIBYTE
    assert seen == [(chunk + 1, plan.chunks) for chunk in range(plan.chunks)]
    assert plan.chunks > 30


def test_who_opens_holds_the_sum_and_its_message_twice(long):
    plan, keys, _ = long
    server = plan.server(keys=keys.server)
    server.start()
    clients = [plan.client(party, keys=keys.clients[party]) for party in range(3)]
    for party, client in enumerate(clients):
        client.set_input(np.full(plan.dim, party + 1))
        (message,) = client.start()
        server.receive(message.payload, party)
    sent = server.close_round()[0].payload
    reader = clients[0] if keys.opener is None else plan.opener(keys=keys.opener)
    seen, found = [], []

    def opened():
        reader.receive(sent, "server")
        found.append(reader.result(lambda done, total: seen.append((done, total))))

    assert _peak(opened) <= 8 * plan.dim + 2 * len(sent) + MEBIBYTE
    assert seen == [(chunk + 1, plan.chunks) for chunk in range(plan.chunks)]
    assert found[0].total.tolist() == [6] * plan.dim


def _resident():
    """Bytes of this process in memory; SEAL's are not Python's."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory that is not Python's is read from /proc")
def test_a_server_holds_as_much_after_fifteen_parties_as_after_three(long):
    plan, keys, payload = long
    server = plan.server(keys=keys.server)
    server.start()
    body = server._channels[0].unwrap(Kind.INPUT, payload, peer=0)
    held = []
    for party in range(15):  # the server cannot tell that it is one ciphertext again and again
        server.receive(server._channels[party].wrap(Kind.INPUT, body), party)
        held.append(_resident())
    ciphertexts = 16 * plan.ring.degree * plan.chunks
    assert max(held[3:]) - max(held[:3]) <= 2 * ciphertexts  # those of twelve parties would be six times as much
    assert len(server._work._sums) == plan.chunks


def test_one_bad_ciphertext_of_many_leaves_the_sum_as_it_was(long):
    plan, keys, payload = long
    server = plan.server(keys=keys.server)
    server.start()
    channel = server._channels[0]
    blobs = list(split_blobs(channel.unwrap(Kind.INPUT, payload, peer=0), plan.chunks))
    bad = channel.wrap(Kind.INPUT, join_blobs([*blobs[:-1], blobs[-1][:-1]]))
    with pytest.raises(DecodeError, match="party 0"):
        server.receive(bad, 0)
    assert server._work._sums == []
    server.receive(payload, 0)
    assert len(server._work._sums) == plan.chunks
