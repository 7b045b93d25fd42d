"""Sessions that are stored and go on, and old snapshots, which never make a party answer twice."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError, LocalProtocolError, ParameterError, RollbackRiskError, SecAggError
from secagg.masking.plans import SecAgg, SecAggPlus
from secagg.masking.snapshots import seal, unseal
from tests.oracles.masked_sessions import Liar, Play, body_of, frozen, secrets_of

KEY = bytes(range(32))
PLANS = {
    "semi-honest": SecAgg.plan(5, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.4),
    "malicious": SecAgg.plan(5, 3, 40, adversary="malicious", corrupt=0.0, dropout=0.4),
    "graph": SecAggPlus.plan(7, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.3),
    "semi-malicious": SecAggPlus.plan(7, 3, 8, adversary="semi_malicious", corrupt=0.0, dropout=0.2),
}


class Register:
    """A guard in memory."""

    def __init__(self):
        self.claims = {}

    def claim(self, session, step, digest):
        return self.claims.setdefault((session, step), digest) == digest


@pytest.fixture(params=PLANS)
def plan(request):
    return PLANS[request.param]


# Bytes

VALUES = st.recursive(
    st.none() | st.integers(0, 2**64 - 1) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 2**32), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text("abc ", min_size=1, max_size=5), VALUES, max_size=5))
def test_what_is_sealed_is_unsealed(state):
    assert unseal(seal(state, KEY, b"about"), KEY, b"about") == state


@given(st.binary(max_size=100))
def test_bytes_that_are_no_snapshot_do_not_open(data):
    with pytest.raises(DecodeError):
        unseal(data, KEY, b"about")


def test_a_snapshot_opens_as_what_it_is_only():
    state = {"name": b"content", "other": [1, 2]}
    snapshot = seal(state, KEY, b"about")
    assert b"content" not in snapshot
    for place in range(8 * len(snapshot)):
        changed = bytearray(snapshot)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(DecodeError):
            unseal(bytes(changed), KEY, b"about")
    for key, about in ((KEY[::-1], b"about"), (KEY, b"another")):
        with pytest.raises(DecodeError):
            unseal(snapshot, key, about)
    assert seal(state, KEY, b"about") != snapshot, "under a nonce of its own"


@pytest.mark.parametrize("key", [b"", bytes(31), "text", None])
def test_keys_of_other_lengths_are_refused(key):
    with pytest.raises(ParameterError, match="key must be 32 bytes"):
        seal({}, key, b"")
    with pytest.raises(ParameterError, match="key must be 32 bytes"):
        unseal(seal({}, KEY, b""), key, b"")
    with pytest.raises(ParameterError, match="snapshot must be bytes"):
        unseal(None, KEY, b"")


# Parties


def guarded(plan, seed=5):
    """A party that asks a register before each answer."""
    liar, register = Liar(plan, seed=seed), Register()
    liar.client = anew(liar, register)
    liar.client.set_input([1, 2, 3])
    (message,) = liar.client.start()
    liar.advertised[liar.victim] = body_of(message.payload)
    liar.said = [message.payload]
    return liar, register


def anew(liar, register=None):
    """A session that has done nothing yet."""
    return liar.plan.client(liar.victim, keys=liar.keys.clients[liar.victim], guard=register)


def others(liar):
    return [party for party in liar.near if party != liar.victim]


def listed(liar):
    return list(range(liar.plan.num_parties)) if liar.layout.quorum else liar.near


def steps(liar, gone=()):
    """What a server says, in order, of which some inputs did not arrive."""
    alive = [party for party in listed(liar) if party not in gone]
    yield lambda: liar.roster()
    yield lambda: liar.relay(liar.near, others(liar))
    yield lambda: liar.survivors(listed(liar), alive)
    if liar.layout.quorum:
        signatures = {
            party: liar.signature(party, liar.session(liar.near), liar.near, alive)
            for party in alive
            if party != liar.victim
        }
        yield lambda: liar.proof(alive, signatures)


def test_a_restored_party_goes_on(plan):
    """With the very bytes that it would have sent, after every step; and it sends again what it sent last."""
    liar, register = guarded(plan)
    for step in steps(liar):
        snapshot = liar.client.snapshot(KEY)
        restored = anew(liar, register)
        (again,) = restored.restore(snapshot, KEY)
        assert (again.dst, again.payload) == ("server", liar.said[-1])
        payload = step()
        answer = liar.tell(payload)
        (same,) = restored.receive(payload, "server")
        assert same.payload == answer
        assert frozen(restored) == frozen(liar.client)
    assert liar.client.state == "finished"
    last = anew(liar, register)
    assert [message.payload for message in last.restore(liar.client.snapshot(KEY), KEY)] == [liar.said[-1]]
    with pytest.raises(LocalProtocolError, match="answers nothing more"):
        last.receive(liar.roster(), "server")


def test_without_a_guard_nothing_that_was_sent_is_restored(plan):
    liar = Liar(plan)
    for step in (*steps(liar), None):
        snapshot = liar.client.snapshot(KEY)
        fresh = anew(liar)
        before = frozen(fresh)
        with pytest.raises(RollbackRiskError, match="guard"):
            fresh.restore(snapshot, KEY)
        assert frozen(fresh) == before
        if step is not None:
            liar.tell(step())


def test_an_early_snapshot_does_not_make_two_sessions_of_the_same_keys(plan):
    """Or a server would tell one of one list, the other of another, and have both secrets of each peer."""
    liar = Liar(plan)
    for vector in (None, [1, 2, 3]):
        client = anew(liar)
        if vector is not None:
            client.set_input(vector)
        snapshot, sent = client.snapshot(KEY), set()
        for _ in range(2):
            restored = anew(liar)
            assert restored.restore(snapshot, KEY) == []
            assert restored.state == client.state
            if vector is None:
                restored.set_input([1, 2, 3])
            assert not set(secrets_of(restored)) & set(secrets_of(client))
            sent.add(restored.start()[0].payload)
        assert len(sent) == 2


def test_an_old_snapshot_never_answers_in_another_way(plan):
    """At every step: the server says something else, after it was answered and the party was rolled back."""
    liar, register = guarded(plan)
    one = others(liar)[0]
    few = [party for party in liar.near if party != one]
    elsewhere = [
        lambda: liar.roster(liar.entries(few)),
        lambda: liar.relay(liar.near, [party for party in others(liar) if party != one]),
        lambda: liar.survivors(listed(liar), [party for party in listed(liar) if party != one]),
    ]
    for step, another in zip(steps(liar), elsewhere, strict=False):
        snapshot = liar.client.snapshot(KEY)
        liar.tell(step())
        restored = anew(liar, register)
        restored.restore(snapshot, KEY)
        before = frozen(restored)
        with pytest.raises(RollbackRiskError, match="must not answer again"):
            restored.receive(another(), "server")
        assert frozen(restored) == before


def test_no_order_of_rollbacks_gives_both_shares_of_a_party(plan):
    """Every snapshot of a session, restored when the session is over, and played to the end with another list."""
    liar, register = guarded(plan)
    one, snapshots = others(liar)[0], []
    for step in steps(liar):
        snapshots.append(liar.client.snapshot(KEY))
        liar.tell(step())
    for snapshot in snapshots:
        liar.client = anew(liar, register)
        liar.client.restore(snapshot, KEY)
        for step in steps(liar, gone=[one]):
            with contextlib.suppress(SecAggError):
                liar.tell(step())
    everything = b"".join(liar.said)
    assert liar.share(one, of_seed=True) in everything
    assert liar.share(one, of_seed=False) not in everything


def test_a_restored_party_keeps_its_input(plan):
    liar, register = guarded(plan)
    restored = anew(liar, register)
    restored.restore(liar.client.snapshot(KEY), KEY)
    with pytest.raises(LocalProtocolError, match="set_input is called once"):
        restored.set_input([3, 2, 1])
    with pytest.raises(LocalProtocolError, match="restore goes into a new session"):
        restored.restore(liar.client.snapshot(KEY), KEY)


def test_nobody_takes_part_in_a_task_twice(plan):
    """With other randomness, of course: what was signed for a task could be used against its party."""
    liar, register = guarded(plan)
    again = anew(liar, register)
    again.set_input([1, 2, 3])
    before = frozen(again)
    with pytest.raises(RollbackRiskError, match="advertise"):
        again.start()
    assert frozen(again) == before
    assert len(liar.said) == 1


def test_a_snapshot_is_of_one_party_task_and_plan(plan):
    liar, register = guarded(plan)
    snapshot = liar.client.snapshot(KEY)
    other = plan.keygen()
    sessions = [
        plan.client(1, keys=liar.keys.clients[1], guard=register),
        plan.client(0, keys=other.clients[0], guard=register),
    ]
    for session in sessions:
        before = frozen(session)
        with pytest.raises(DecodeError):
            session.restore(snapshot, KEY)
        assert frozen(session) == before
    with pytest.raises(DecodeError):
        anew(liar, register).restore(snapshot, KEY[::-1])


def test_what_has_ended_leaves_no_secret_in_its_snapshot(plan):
    liar, _ = guarded(plan)
    secrets = secrets_of(liar.client)
    held = str(unseal(liar.client.snapshot(KEY), KEY, liar.client._about))
    assert str(secrets[-1])[2:-1] in held, "the seed, which a session that goes on needs"
    for step in steps(liar):
        liar.tell(step())
    state = unseal(liar.client.snapshot(KEY), KEY, liar.client._about) | {"latest": b""}
    assert not any(str(secret)[2:-1] in str(state) for secret in secrets)
    liar.client.abort("enough")
    with pytest.raises(LocalProtocolError, match="aborted"):
        liar.client.snapshot(KEY)


# Servers


def test_a_restored_server_goes_on(plan):
    """Before and after every message; parties drop out at each round, and the sum is the same."""
    play, lost = Play.of(plan, 2), []
    while play.server.state == "collecting":
        if len(lost) < plan.num_parties - plan.min_survivors:
            lost.append(max(play.pending))
        for party in sorted(set(play.pending) - set(lost)):
            play.send([party])
            restored = plan.server(keys=play.keys.server)
            restored.restore(play.server.snapshot(KEY), KEY)
            assert frozen(restored) == frozen(play.server)
            play.server = restored
        play.hear(play.close(), deaf=lost)
        restored = plan.server(keys=play.keys.server)
        restored.restore(play.server.snapshot(KEY), KEY)
        play.server = restored
    result = play.server.result()
    assert result.total.tolist() == play.expected(result.survivors)
    assert result.bytes_up.tolist() == [sum(len(p) for n, p in play.up if n == i) for i in range(plan.num_parties)]


def test_a_servers_snapshot_opens_in_its_own_task_only(plan):
    play = Play.of(plan)
    snapshot = play.server.snapshot(KEY)
    for keys in (plan.keygen().server,):
        fresh = plan.server(keys=keys)
        before = frozen(fresh)
        with pytest.raises(DecodeError):
            fresh.restore(snapshot, KEY)
        assert frozen(fresh) == before
    with pytest.raises(LocalProtocolError, match="restore goes into a new session"):
        play.server.restore(snapshot, KEY)
