"""A party against whatever a server says: one answer to each message, and one sum of shares ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from secagg.api import State
from secagg.errors import DecodeError, LocalProtocolError, ParameterError, PeerProtocolError, TooFewSurvivorsError
from secagg.masking.keys import KeyPair, open_share, seal_share
from secagg.masking.packing import pack_bits
from secagg.threshold import client as client_module
from secagg.threshold.keys import SERVER, pair_keys
from secagg.threshold.messages import Kind, list_digest, sealed_bytes
from secagg.threshold.noise import gaussian
from secagg.threshold.ring import RING
from secagg.threshold.sharing import PRIME, combine, unpack
from tests.secagg.threshold.sessions import EIGHT, PACKED, PLAN, VECTORS, Play, body_of, frozen, refuses

SEALED = sealed_bytes(PLAN._layout)
ENTRY = 32 + SEALED


@pytest.fixture
def play():
    return Play()


def _secret(client):
    return gaussian(client._derived(b"secret"), index=0, count=RING)


@pytest.mark.parametrize(("plan", "vectors"), [(PLAN, VECTORS), (PACKED, EIGHT)], ids=["plain", "packed"])
def test_what_it_reveals_is_the_sum_of_the_survivors_shares_and_no_more(plan, vectors):
    play = Play(plan, vectors).to_survivors(gone=[2])
    secrets = [_secret(client) for client in play.clients]
    left = [party for party in range(plan.num_parties) if party != 2]
    bound, listed, size = play.server._bound, play.server._set(left), sealed_bytes(plan._layout)
    play.answer()
    rows = []
    for party, payload in play.sent.items():
        config = bound + play.server._nonces[party] + list_digest(bound, listed)
        assert len(body_of(payload)) == size
        opened = open_share(play.server._pairs[party], body_of(payload), sender=party, receiver=SERVER, config=config)
        rows.append(unpack(opened, packed=plan.packed))
    wanted = sum(secrets) - secrets[2]
    assert combine([party + 1 for party in left], np.stack(rows), packed=plan.packed).tolist() == wanted.tolist()


def test_it_answers_once_and_then_holds_nothing(play):
    play.to_survivors()
    client, told = play.clients[0], play.told[0]
    client.receive(told, "server")
    assert client.state is State.FINISHED
    for payload in (told, play.survivors(0, range(5)), play.survivors(0, range(6))):
        with pytest.raises(LocalProtocolError, match="answers nothing more"):
            client.receive(payload, "server")
    assert not any((client._held, client._pairs, client._seed, client._link, client._input is not None))


@pytest.mark.parametrize(
    ("members", "error", "match"),
    [
        ([1, 2, 3, 4, 5], PeerProtocolError, "not this party and others that shared with it"),
        ([0, 1, 2, 3], TooFewSurvivorsError, "at least 5 parties must have sent their masked inputs, got 4"),
        ([0, 3], TooFewSurvivorsError, "got 2"),
        ([0], TooFewSurvivorsError, "got 1"),
        ([], PeerProtocolError, "not this party"),
    ],
)
def test_a_list_that_its_plan_forbids_is_refused(play, members, error, match):
    """Among them: lists that leave a single honest party beside the corrupt one, and nobody but this party."""
    play.to_survivors()
    refuses(play.clients[0], play.survivors(0, members), "server", error, match)
    assert play.clients[0].receive(play.told[0], "server")


def test_a_survivor_whose_share_it_does_not_hold_is_refused(play):
    play.start().close(gone=[2]).answer().close()
    refuses(play.clients[0], play.survivors(0, range(6)), "server", PeerProtocolError, "shared with it")
    assert play.clients[0].receive(play.told[0], "server")


def test_a_list_of_another_length_or_of_nobody_is_refused(play):
    play.to_survivors()
    for body in (b"\x40", b"\xff", b""):
        error = refuses(play.clients[0], play.sealed(Kind.SURVIVORS, 0, body), "server", DecodeError)
        assert error.peer == "server"


def test_a_relay_of_too_few_is_refused(play):
    play.start().close()
    body = body_of(play.told[0])
    few = play.server._set([0, 1, 2, 3]) + body[1 : 1 + 3 * ENTRY]
    refuses(play.clients[0], play.sealed(Kind.RELAY, 0, few), "server", TooFewSurvivorsError, "got 4")
    without = play.server._set([1, 2, 3, 4, 5]) + body[1:]
    refuses(play.clients[0], play.sealed(Kind.RELAY, 0, without), "server", PeerProtocolError, "has not shared")
    for wrong in (body[:-1], body[: 1 + 4 * ENTRY], play.server._set(range(5)) + body[1:], b""):
        refuses(play.clients[0], play.sealed(Kind.RELAY, 0, wrong), "server", DecodeError)
    assert play.clients[0].receive(play.told[0], "server")


def test_a_share_that_does_not_open_names_its_dealer_and_nothing_is_sent(play):
    play.start().close()
    body = bytearray(body_of(play.told[0]))
    for place in (0, 40, ENTRY - 1):  # its nonce, its bytes, its tag
        changed = bytearray(body)
        changed[1 + 2 * ENTRY + place] ^= 1
        error = refuses(play.clients[0], play.sealed(Kind.RELAY, 0, bytes(changed)), "server", DecodeError)
        assert error.peer == 3
    swapped = body[:1] + body[1 + ENTRY : 1 + 2 * ENTRY] + body[1 : 1 + ENTRY] + body[1 + 2 * ENTRY :]
    assert refuses(play.clients[0], play.sealed(Kind.RELAY, 0, bytes(swapped)), "server", DecodeError).peer == 1
    others = body_of(play.told[1])  # what was sealed for another party
    assert refuses(play.clients[0], play.sealed(Kind.RELAY, 0, others), "server", DecodeError).peer == 1


def test_a_share_beyond_the_field_is_refused(play):
    play.start().close()
    pairs = pair_keys(
        KeyPair(play.keys.clients[1].secret), {0: play.keys.clients[0].roster[0]}, session=play.server._session, mine=1
    )
    for value, ok in ((PRIME - 1, True), (PRIME, False)):
        row = np.full(RING, value, dtype=np.uint64)
        sealed = seal_share(pairs[0], pack_bits(row, 17), sender=1, receiver=0, config=play.server._bound + bytes(32))
        body = body_of(play.told[0])
        payload = play.sealed(Kind.RELAY, 0, body[:1] + bytes(32) + sealed + body[1 + ENTRY :])
        if ok:
            assert Play().start().clients[0].receive(payload, "server")
        else:
            assert refuses(play.clients[0], payload, "server", DecodeError, "no share").peer == 1


def test_messages_of_other_sessions_rounds_and_senders_are_refused(play):
    other = Play(seed=1).start().close()
    play.start().close()
    client = play.clients[0]
    refuses(client, other.told[0], "server", DecodeError)
    refuses(client, play.told[1], "server", DecodeError)
    refuses(client, play.survivors(0, range(6)), "server", DecodeError)
    refuses(client, play.sent[0], "server", DecodeError)
    for sender in (0, 1, None, "nobody"):
        refuses(client, play.told[0], sender, PeerProtocolError)
    relay = play.told[0]
    client.receive(relay, "server")
    refuses(client, relay, "server", DecodeError)


def test_a_replay_under_the_same_keys_opens_nothing_of_the_other_session():
    """Keys used twice against the rule: shares of the one session are sealed apart from those of the other."""
    first = Play(seed=0).start()
    second = Play(seed=1, keys=first.keys).start()
    assert first.server._bound == second.server._bound
    nonces = [body_of(play.sent[party])[:32] for play in (first, second) for party in range(6)]
    assert len(set(nonces)) == 12
    sealed = [body_of(play.sent[0])[32:][:SEALED] for play in (first, second)]
    assert first.clients[1]._pairs[0] is not None
    assert sealed[0][-16:] != sealed[1][-16:]
    with pytest.raises(DecodeError):
        open_share(
            pair_keys(
                KeyPair(first.keys.clients[1].secret),
                {0: first.keys.clients[0].roster[0]},
                session=first.keys.server.session,
                mine=1,
            )[0],
            sealed[0],
            sender=0,
            receiver=1,
            config=first.server._bound + nonces[6],
        )


def test_calls_out_of_order_are_refused_and_change_nothing(play):
    client = play.clients[0]
    for call in (client.start, client.result, client.close_round, lambda: client.receive(b"", "server")):
        with pytest.raises(LocalProtocolError):
            call()
    with pytest.raises(ParameterError):
        client.set_input(VECTORS[0].astype(float))
    client.set_input(VECTORS[0])
    with pytest.raises(LocalProtocolError):
        client.set_input(VECTORS[0])
    client.start()
    before = frozen(client)
    for call in (client.start, client.result, client.close_round):
        with pytest.raises(LocalProtocolError):
            call()
    assert frozen(client) == before
    client.abort("the test wants it")
    assert not any((client._held, client._pairs, client._seed, client._link, client._input is not None))
    with pytest.raises(LocalProtocolError, match="the test wants it"):
        client.receive(b"", "server")


def test_the_input_is_forgotten_when_it_is_sent(play):
    play.start().close()
    assert play.clients[0]._input is not None
    play.answer()
    assert all(client._input is None for client in play.clients)


def test_everything_that_is_drawn_is_drawn_apart(play):
    """The nonce is sent in the clear: nothing else may follow from it, nor from another session or plan."""
    client = play.clients[0]
    seed, purposes = client._seed, (b"nonce", b"secret", b"noise", b"shares")
    drawn = [client._derived(purpose) for purpose in purposes]
    assert body_of(play.start().sent[0])[:32] == drawn[0]
    for other in (Play(seed=1), Play(replace(PLAN, corrupt=0.0))):
        other.clients[0]._seed = seed
        drawn += [other.clients[0]._derived(purpose) for purpose in purposes]
    assert len(set(drawn)) == len(drawn)


def test_two_threads_get_one_answer(play, monkeypatch):
    """A server that asks for two lists at once, while the party is at work on the first."""
    play.to_survivors()
    client, refused = play.clients[0], []

    def meanwhile(*args):
        monkeypatch.undo()
        with ThreadPoolExecutor(1) as pool:
            refused.append(pool.submit(client.receive, play.survivors(0, range(5)), "server").exception())
        return list_digest(*args)

    monkeypatch.setattr(client_module, "list_digest", meanwhile)
    assert client.receive(play.told[0], "server")
    assert [type(error) for error in refused] == [LocalProtocolError]
    assert "one call at a time" in str(refused[0])
    assert client.state is State.FINISHED


def test_progress_that_fails_leaves_the_session_as_it_was(play):
    """The second attempt, be it after another relay, sends the same bytes: no second noise, no second mask."""
    play.start().close()
    client, told = play.clients[0], play.told[0]
    few = play.sealed(Kind.RELAY, 0, play.server._set(range(5)) + body_of(told)[1:-ENTRY])
    before = frozen(client)

    def fails(*_):
        raise KeyboardInterrupt

    def asks_again(*_):
        with pytest.raises(LocalProtocolError, match="one call at a time"):
            client.receive(few, "server")

    with pytest.raises(KeyboardInterrupt):
        client.receive(few, "server", fails)
    assert frozen(client) == before
    other = Play().start().clients[0].receive(few, "server")
    assert client.receive(told, "server", asks_again)[0].payload == other[0].payload
    assert sorted(client._held) == list(range(6))


@pytest.mark.parametrize("at", ["share", "mask_input", "progress", "seal_share"])
def test_what_is_aborted_at_work_says_nothing(play, monkeypatch, at):
    """By the callback, or by another thread at the worst moment."""
    client = play.clients[0]
    original = getattr(client_module, at, None)

    def call(*args, **terms):
        client.abort("cancelled")
        return original(*args, **terms) if original else None

    if at != "share":
        play.start().close()
    if at == "seal_share":
        play.answer().close()
    if original:
        monkeypatch.setattr(client_module, at, call)
    with pytest.raises(LocalProtocolError, match="aborted: cancelled"):
        if at == "share":
            play.start()
        else:
            client.receive(play.told[0], "server", None if original else call)
    assert client.state is State.ABORTED
    assert not any((client._held, client._pairs, client._seed, client._link, client._input is not None))


def test_progress_is_told(play):
    told = []
    play.start().close()
    play.clients[0].receive(play.told[0], "server", progress=lambda *done: told.append(done))
    assert told == [(1, 1)] == [(PLAN.chunks, PLAN.chunks)]
