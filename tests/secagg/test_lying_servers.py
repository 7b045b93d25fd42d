"""What a lying server of a homomorphic sum still learns or moves: attacks that succeed, and how far they get."""

from __future__ import annotations

import resource
from dataclasses import replace

import numpy as np
import pytest

from secagg import BFVSum, CapacityError, DecodeError
from secagg.envelope import Kind
from secagg.he.planner import MAX_OPENERS, plain_modulus
from secagg.he.rings import LIMITS_2024, PUBLIC_RINGS, SHARED_RING
from secagg.he.seal import Backend, _frame, _load, backend
from secagg.he.work import join_blobs, split_blobs
from secagg.masking.packing import pack_set, set_bytes
from secagg.tag import SumTag
from tests.secagg.wires import Network, exact_sum, vectors_of


def _content(base: Backend, halves: list[np.ndarray]) -> bytes:
    """A ciphertext of these two polynomials, in SEAL's uncompressed format."""
    degree = base.ring.degree
    body = np.array(base.context.first_parms_id(), dtype="<u8").tobytes() + b"\0"
    body += b"".join(number.to_bytes(8, "little") for number in (2, degree, 1))
    body += np.array([1.0]).tobytes() + (1).to_bytes(8, "little")
    array = (2 * degree).to_bytes(8, "little") + b"".join(half.astype("<u8").tobytes() for half in halves)
    return body + _headed(base, array)


def _headed(base: Backend, data: bytes, compression: int = 0) -> bytes:
    """Data behind a header of SEAL."""
    header = base.prefix[:5] + bytes([compression]) + bytes(2)
    return header + (16 + len(data)).to_bytes(8, "little") + data


def _key(plan: BFVSum, secret_key: bytes) -> np.ndarray:
    """The coefficients of a secret key: what (0, floor(q/t)) decrypts to."""
    base, t = backend(plan.plain_modulus), plan.plain_modulus
    halves = [np.zeros(4096, dtype=np.uint64) for _ in range(2)]
    halves[1][0] = plan.ring.modulus // t
    cipher = _load(base.sealapi.Ciphertext(), base.context, _headed(base, _content(base, halves)))
    shown = base.sealapi.Plaintext()
    base.sealapi.Decryptor(base.context, base.load_secret_key(secret_key)).decrypt(cipher, shown)
    found = np.array([shown.data(i) for i in range(shown.coeff_count())] + [0] * (4096 - shown.coeff_count()))
    return np.where(found > t // 2, found - t, found)


def test_whether_a_party_opens_tells_the_server_one_bit_of_the_key():
    # half a step times the key, and three quarters of one at coefficient k: only there can a sum come out changed,
    # and does so if the key's coefficient has this sign; sums open but for that, and every party can be asked once
    plan = BFVSum.plan(12, 10, 16)
    network = Network.started(plan, vectors_of(plan, seed=0))
    base, step = backend(plan.plain_modulus), plan.ring.modulus // (2 * plan.plain_modulus)
    body = network.clients[0]._channel.unwrap(Kind.SUM, network.closed()[0], peer="server")
    cut = set_bytes(plan.num_parties)
    opened = []
    for party in range(12):
        halves = [np.zeros(4096, dtype=np.uint64) for _ in range(2)]
        halves[0][party // 2] = 3 * step // 4
        halves[1][0] = step // 2 if party % 2 else plan.ring.modulus - step // 2
        total = base.load(next(split_blobs(body[cut:], 1)), plan.ring.full_bytes)
        base.add(total, _load(base.sealapi.Ciphertext(), base.context, _headed(base, _content(base, halves))))
        try:
            network.open_body(body[:cut] + join_blobs([base.save(total)]), party)
        except DecodeError:
            opened.append(False)
        else:
            opened.append(True)
    read = [int(down) - int(up) for down, up in zip(opened[::2], opened[1::2], strict=True)]
    assert read == _key(plan, network.keys.clients[0].secret_key)[:6].tolist()
    assert "12 of some 6492 bits" in plan.promise


def test_plans_end_before_those_bits_are_many():
    plan = BFVSum.plan(MAX_OPENERS, 1, 8)
    # were each bit a coefficient, and 3 of 4 were left: they alone keep the modulus within the 192-bit row, in
    # proportion to their number
    left = SHARED_RING.degree - MAX_OPENERS
    assert SHARED_RING.security.modulus_bits <= left * LIMITS_2024[4096][192] / 4096
    assert f"{MAX_OPENERS} of some 6492 bits" in plan.promise
    for refused in (lambda: BFVSum.plan(MAX_OPENERS + 1, 1, 8), lambda: replace(plan, num_parties=MAX_OPENERS + 1)):
        with pytest.raises(CapacityError, match="opens the sum"):
            refused()
    # where one opens for all, it is one bit for any number of parties
    assert BFVSum.plan(MAX_OPENERS + 1, 1, 8, key="public").num_parties == MAX_OPENERS + 1


def test_two_parties_can_be_told_sums_of_different_survivors():
    plan = BFVSum.plan(5, 10, 16, dropout=0.2)
    vectors = vectors_of(plan, seed=1)
    network, base = Network.started(plan, vectors), backend(plan.plain_modulus)

    def told(party, survivors):
        total = base.load(next(split_blobs(network.body(survivors[0]), 1)), plan.ring.sent_bytes)
        for other in survivors[1:]:
            base.add(total, base.load(next(split_blobs(network.body(other), 1)), plan.ring.sent_bytes))
        roster = pack_set([other in survivors for other in range(5)])
        return network.open_body(roster + join_blobs([base.save(total)]), party).total

    everybody, fewer = told(0, [0, 1, 2, 3, 4]), told(1, [0, 1, 2, 4])
    assert (everybody - fewer).tolist() == exact_sum(vectors[[3]])
    assert "different survivors" in plan.promise
    # nobody may drop out: there is one list, and one sum
    assert "different survivors" not in BFVSum.plan(5, 10, 16).promise


@pytest.mark.parametrize("modulus", [3, 5])
def test_every_slot_weighs_in_the_tag(modulus):
    # parties know the factors of the tags: a slot of factor zero could be changed by one that helps the server
    tag = SumTag(bytes(32), session=bytes(32), config=bytes(32), modulus=modulus, num_parties=3, slots=500)
    values = np.zeros(500, dtype=np.uint64)
    sealed = tag.seal(values, chunk=0, party=0)
    for slot in range(500):
        changed = sealed.copy()
        changed[slot] = (changed[slot] + np.uint64(1)) % np.uint64(modulus)
        with pytest.raises(DecodeError):
            tag.open(changed, chunk=0, survivors=[0])


@pytest.mark.parametrize("key", ["shared", "public"])
@pytest.mark.parametrize("spoiled", [0, 2])
def test_where_a_sum_does_not_verify_is_not_seen_from_the_work(key, spoiled):
    plan = BFVSum.plan(3, 3 * 8190, 16, key=key)
    network = Network.started(plan, vectors_of(plan, seed=2))
    sent = network.closed()
    opens = network.clients[0] if key == "shared" else plan.opener(keys=network.keys.opener)
    channel = network.server._channels[0] if key == "shared" else network.server._opener
    cut = set_bytes(3)
    body = replace(channel, limit=2**30).unwrap(Kind.SUM, sent[0 if key == "shared" else "opener"], peer="server")
    blobs = list(split_blobs(body[cut:], 3))
    blobs[spoiled] = blobs[1]
    opens.receive(channel.wrap(Kind.SUM, body[:cut] + join_blobs(blobs)), "server")
    seen = []
    with pytest.raises(DecodeError):
        opens.result(lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_party_that_cheats_enters_what_it_likes_and_the_promise_says_so():
    plan = BFVSum.plan(3, 2, 16)
    network = Network.started(plan, np.full((3, 2), 1000, dtype=np.uint64))
    cheat = plan.client(2, keys=network.keys.clients[2])._work
    slots = np.zeros(4095, dtype=np.uint64)
    # two fields of 18 bits: three times the largest value in one, and 500 less than nothing in the other
    slots[0] = 3 * 65535 - 2000 + (plan.plain_modulus - (500 << 18))
    body = cheat._encryptor.encrypt(cheat._tag.seal(slots, chunk=0, party=2))
    network.up[2] = network.server._channels[2].wrap(Kind.INPUT, join_blobs([body]))
    network.clients[0].receive(network.closed()[0], "server")
    assert network.clients[0].result().total.tolist() == [3 * 65535, 2000 - 500]
    for promise in (plan.promise, BFVSum.plan(3, 2, 16, key="public").promise):
        assert "beyond the planned range" in promise


def _held(thing: object, seen: set[int]) -> set[bytes]:
    """All bytes that can be reached from a session of ours."""
    if id(thing) in seen or isinstance(thing, type):
        return set()
    seen.add(id(thing))
    if isinstance(thing, bytes):
        return {thing}
    parts = list(thing.values()) if isinstance(thing, dict) else list(thing) if isinstance(thing, (list, tuple)) else []
    parts += vars(thing).values() if hasattr(thing, "__dict__") else []
    for kind in type(thing).__mro__ if type(thing).__module__.startswith("secagg") else ():
        names = kind.__dict__.get("__slots__", ())
        parts += [getattr(thing, name) for name in names if not name.startswith("__") and hasattr(thing, name)]
    return set().union(*(_held(part, seen) for part in parts))


@pytest.mark.parametrize("key", ["shared", "public"])
def test_a_session_that_is_over_holds_no_key(key):
    plan = BFVSum.plan(3, 10, 16, key=key)
    keys = plan.keygen()
    sessions = [plan.client(0, keys=keys.clients[0])]
    sessions += [plan.opener(keys=keys.opener)] if key == "public" else []
    for session in sessions:
        public = {keys.server.session, plan._config}
        before = {held for held in _held(session, set()) if len(held) == 32}
        assert public < before and len(before) >= 7  # the link key, and those of the tags
        session.abort("the round was cancelled")
        session.abort("twice")
        assert _held(session, set()) & before <= public
        assert not hasattr(session, "_work")  # SEAL's keys are not in Python's bytes


def _zeros(count: int) -> bytes:
    """A zstd frame of so many blocks of 2^17 zeros, 4 bytes each; the first 8 of its contents are an array's length."""
    length = ((8 << 3) | 0).to_bytes(3, "little") + (4096).to_bytes(8, "little")
    block = ((1 << 17) << 3 | 2).to_bytes(3, "little") + b"\0"
    last = ((1 << 17) << 3 | 3).to_bytes(3, "little") + b"\0"
    return bytes.fromhex("28b52ffd0038") + length + block * (count - 1) + last


@pytest.mark.parametrize("ring", [SHARED_RING, *PUBLIC_RINGS])
def test_hostile_bytes_take_no_more_memory_than_a_ciphertext(ring):
    base = backend(plain_modulus(15, ring), ring)
    content, bomb = ring.sent_bytes, _zeros((ring.sent_bytes - 300) // 4)  # of more than a gigabyte
    start = _content(base, [np.zeros(ring.degree, dtype=np.uint64)] * 2)[:73]
    nested = (start + _headed(base, bomb, compression=2)).ljust(content, b"\0")
    frames = [
        _stored(nested),  # compressed contents within contents of the right size
        _stored(nested) + bomb,  # and a frame behind
        _frame(content) + bomb[6:],  # more blocks than the frame announces
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for frame in frames:
        try:
            base.load(_headed(base, frame, compression=2), content)
        except DecodeError:
            continue
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB


def _stored(data: bytes) -> bytes:
    """A zstd frame of stored blocks."""
    blocks = [data[start : start + (1 << 17)] for start in range(0, len(data), 1 << 17)]
    heads = [(len(block) << 3 | (block is blocks[-1])).to_bytes(3, "little") for block in blocks]
    return _frame(len(data)) + b"".join(head + block for head, block in zip(heads, blocks, strict=True))
