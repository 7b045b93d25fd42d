"""A party against whatever a server says: one answer to each message, and never both secrets of another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from secagg.api import State
from secagg.errors import (
    DecodeError,
    LocalProtocolError,
    ParameterError,
    PeerProtocolError,
    SecAggError,
    TooFewSurvivorsError,
)
from secagg.masking import client as client_module
from secagg.masking.client import MaskingClient
from secagg.masking.keys import Identity, KeyPair
from secagg.masking.layout import SHARE_BYTES
from secagg.masking.messages import Kind, wrap
from secagg.masking.plans import SecAgg, SecAggPlus
from secagg.masking.task import Task
from tests.oracles.masked_sessions import Liar, Play, body_of, frozen, remembered, resealed, secrets_of

PLANS = {
    "semi-honest": SecAgg.plan(5, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.4),
    "malicious": SecAgg.plan(5, 3, 8, adversary="malicious", corrupt=0.0, dropout=0.4),
    "graph": SecAggPlus.plan(7, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.3),
    "semi-malicious": SecAggPlus.plan(7, 3, 8, adversary="semi_malicious", corrupt=0.0, dropout=0.2),
}
SIGNING = ("malicious", "semi-malicious")


@pytest.fixture(params=PLANS)
def liar(request):
    return Liar(PLANS[request.param])


def refuses(liar, payload, error, match=None):
    """The party says nothing, and is as it was."""
    before = frozen(liar.client)
    with pytest.raises(error, match=match) as caught:
        liar.client.receive(payload, "server")
    assert frozen(liar.client) == before
    return caught.value


def listed(liar):
    """Whom the list of survivors is about."""
    return list(range(liar.plan.num_parties)) if liar.layout.quorum else liar.near


def until(liar, kind):
    """Say what is true, up to the message of a kind."""
    steps = {
        Kind.ROSTER: liar.roster,
        Kind.RELAY: lambda: liar.relay(liar.near, others(liar)),
        Kind.SURVIVORS: lambda: liar.survivors(listed(liar), listed(liar)),
        Kind.PROOF: lambda: proof(liar),
    }
    for step, say in steps.items():
        if step is kind:
            return liar
        if step is not Kind.PROOF or liar.layout.quorum:
            liar.tell(say())
    return liar


def others(liar):
    return [party for party in liar.near if party != liar.victim]


def proof(liar, alive=None, *, signers=None, told=None, session=None, shared=None):
    """Signatures over a list, by everybody in it."""
    alive = listed(liar) if alive is None else alive
    signers = [party for party in alive if party != liar.victim] if signers is None else signers
    session = liar.session(liar.near) if session is None else session
    signatures = {
        party: liar.signature(party, session, liar.near if shared is None else shared, alive if told is None else told)
        for party in signers
    }
    return liar.proof(alive, signatures)


def given(liar, payload):
    """Of which parties a message gives the share of the mask key, and of which that of the seed."""
    return tuple(
        {party for party in liar.peers if liar.share(party, of_seed=of_seed) in body_of(payload)}
        for of_seed in (False, True)
    )


# What a party gives


def test_of_each_party_one_share_by_whether_it_is_in_the_sum(liar):
    everybody = listed(liar)
    gone = others(liar)[0]
    alive = [party for party in everybody if party != gone]
    until(liar, Kind.SURVIVORS)
    answer = liar.tell(liar.survivors(everybody, alive))
    if liar.layout.quorum:
        assert given(liar, answer) == (set(), set())
        answer = liar.tell(proof(liar, alive))
    keys, seeds = given(liar, answer)
    assert keys == {gone}
    assert seeds == {*others(liar)} - {gone}
    assert liar.client.state == "finished"
    size = 1 + (len(liar.near) - (not liar.layout.own_share)) * SHARE_BYTES
    assert len(body_of(answer)) == size, "and its own seed's, where it holds one"


def test_of_those_who_sent_no_share_or_rubbish_it_gives_none(liar):
    silent, rubbish, *rest = others(liar)
    liar.tell(liar.roster())
    senders = [rubbish, *rest]
    liar.tell(liar.relay(liar.near, senders, broken=[rubbish]))
    everybody = listed(liar) if liar.layout.quorum else sorted([liar.victim, *senders])
    alive = [party for party in everybody if party != silent]
    answer = liar.tell(liar.survivors(everybody, alive))
    if liar.layout.quorum:
        answer = liar.tell(proof(liar, alive, shared=sorted([liar.victim, *senders])))
    assert given(liar, answer) == (set(), set(rest))


def test_it_answers_once(liar):
    until(liar, Kind.SURVIVORS)
    everybody = listed(liar)
    shorter = [party for party in everybody if party != others(liar)[0]]
    liar.tell(liar.survivors(everybody, everybody))
    refuses(liar, liar.survivors(everybody, shorter), LocalProtocolError if not liar.layout.quorum else DecodeError)
    if liar.layout.quorum:
        refuses(liar, proof(liar, shorter), SecAggError)
        liar.tell(proof(liar))
    more = [proof(liar), proof(liar, shorter)] if liar.layout.quorum else []
    for again in (liar.survivors(everybody, shorter), liar.survivors(everybody, everybody), liar.roster(), *more):
        refuses(liar, again, LocalProtocolError, "answers nothing more")


@pytest.mark.parametrize("kind", [Kind.RELAY, Kind.SURVIVORS])
def test_a_message_that_was_answered_is_not_answered_again(liar, kind):
    until(liar, kind)
    for again in (liar.roster(), liar.relay(liar.near, others(liar))):
        if kind is not Kind.RELAY or again != liar.relay(liar.near, others(liar)):
            refuses(liar, again, DecodeError)


def test_nothing_that_it_sends_holds_a_secret(liar):
    secrets = secrets_of(liar.client)
    values = liar.client._input.astype("<u8").tobytes()
    until(liar, None)
    assert liar.client.state == "finished"
    assert len(liar.said) == len(liar.plan.rounds)
    for secret in (*secrets, values):
        windows = {secret[start : start + 8] for start in range(len(secret) - 7)}
        assert not any(window in payload for payload in liar.said for window in windows)


@pytest.mark.parametrize("end", ["finished", "aborted"])
def test_what_has_ended_knows_no_secret(liar, end):
    secrets = secrets_of(liar.client)
    assert all(secret in remembered(liar.client) for secret in secrets)
    signing = liar.client._secrets.signing._private.private_bytes_raw()
    until(liar, None if end == "finished" else Kind.SURVIVORS)
    held = [liar.share(party, of_seed=of_seed) for party in liar.peers for of_seed in (False, True)]
    if end == "aborted":
        assert any(share in remembered(liar.client) for share in held)
        liar.client.abort("enough")
    assert liar.client.state == end
    left = remembered(vars(liar.client) | {"_latest": b""})
    assert not any(secret in left for secret in (*secrets, *held, signing))


def test_the_masked_input_follows_from_the_seed_and_the_messages(liar):
    again = Liar(liar.plan)
    assert until(liar, None).said == until(again, None).said
    assert liar.said != until(Liar(liar.plan, seed=6), None).said


# Rosters


def changed(liar, party, keys):
    """The roster's entries with other keys of one party."""
    entries = liar.entries()
    return entries | {party: (keys + entries[party][64:])}


def test_its_own_keys_are_in_the_roster_as_it_sent_them(liar):
    own, entries = liar.advertised[liar.victim][:64], liar.entries()
    wrong = [own[32:] + own[:32], bytes([own[0] ^ 1]) + own[1:], own[:63] + bytes([own[63] ^ 1])]
    for keys in wrong:
        refuses(liar, liar.roster(changed(liar, liar.victim, keys)), PeerProtocolError, "own keys")
    without = {party: keys for party, keys in entries.items() if party != liar.victim}
    refuses(liar, liar.roster(without), PeerProtocolError, "own keys")
    liar.tell(liar.roster())


def test_all_keys_of_a_roster_differ(liar):
    one, two = others(liar)[:2]
    own, first, second = (liar.advertised[party][:64] for party in (liar.victim, one, two))
    for keys in (
        first[:32] + second[32:],
        second,
        second[:32] + first[32:],
        first[:32] + first[:32],
        own[:32] + first[32:],
        first[:32] + own[:32],
        own[32:] + first[32:],
        own,
    ):
        refuses(liar, liar.roster(changed(liar, one, keys)), PeerProtocolError, "two keys of the roster are the same")
    liar.tell(liar.roster())


def alias(public):
    """Another encoding of the same point: with the bit that X25519 does not look at."""
    return public[:31] + bytes([public[31] | 128])


def test_other_encodings_of_a_key_are_refused(liar):
    one = others(liar)[0]
    first, second = liar.advertised[one][:32], liar.advertised[one][32:64]
    beyond = (2**255 - 19 + 9).to_bytes(32, "little")
    for keys in (alias(first) + second, first + alias(second), beyond + second, first + beyond, alias(first) + first):
        error = refuses(liar, liar.roster(changed(liar, one, keys)), PeerProtocolError, "canonically")
        assert error.peer == one
    assert KeyPair(bytes([1]) * 32).exchange(alias(first)) == KeyPair(bytes([1]) * 32).exchange(first)


LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
]


@pytest.mark.parametrize("point", LOW_ORDER, ids=range(5))
def test_points_of_low_order_are_refused_before_anything_is_masked(liar, point):
    one = others(liar)[0]
    first, second = liar.advertised[one][:32], liar.advertised[one][32:64]
    if not liar.layout.signed:
        error = refuses(liar, liar.roster(changed(liar, one, point + second)), PeerProtocolError, "low order")
        assert error.peer == one
    keys = first + point
    entries = changed(liar, one, keys)
    if liar.layout.signed:  # by a party that is on the server's side
        liar.advertised[one] = keys
        entries[one] = liar.signed_advertisement(one, liar.task)
    liar.tell(liar.roster(entries))
    refuses(liar, liar.relay(liar.near, others(liar)), PeerProtocolError, "low order")
    assert liar.client._input is not None


def test_keys_signed_for_another_task_or_by_another_party_are_refused():
    """Another model, other settings, another round: all of it is the task, and nothing was masked yet."""
    liar = Liar(PLANS["malicious"])
    one, two = others(liar)[:2]
    task = liar.keys.server.task
    elsewhere = [
        replace(task, model=bytes([1]) * 32).identifier(liar.layout.config),
        replace(task, round=1).identifier(liar.layout.config),
        replace(task, nonce=bytes(32)).identifier(liar.layout.config),
        task.identifier(SecAgg.plan(5, 4, 8, adversary="malicious", corrupt=0.0, dropout=0.4)._config),
    ]
    wrong = [liar.signed_advertisement(one, other) for other in elsewhere]
    right = liar.signed_advertisement(one, liar.task)
    wrong += [right[:64] + bytes(64), right[:-1] + bytes([right[-1] ^ 1]), right[:64] + liar.advertised[two][64:128]]
    for entry in wrong:
        error = refuses(liar, liar.roster(liar.entries() | {one: entry}), PeerProtocolError, "task, model and settings")
        assert error.peer == one
    swapped = liar.entries() | {one: liar.advertised[two], two: liar.advertised[one]}
    refuses(liar, liar.roster(swapped), PeerProtocolError, "not signed by their party")
    liar.tell(liar.roster(liar.entries() | {one: right}))


def test_a_party_with_another_model_hears_of_nobody():
    """Its task is another one: the server's header is not of it, whatever is inside."""
    plan = PLANS["semi-honest"]
    play = Play.of(plan)
    other = plan.client(0, keys=Task(bytes([1]) * 32, 0, play.keys.server.task.nonce))
    other.set_input([1, 2, 3])
    (message,) = other.start()
    with pytest.raises(DecodeError):
        play.server.receive(message.payload, 0)
    play.send(range(5))
    roster = play.close()[0]
    with pytest.raises(DecodeError):
        other.receive(roster, "server")


def test_a_directory_that_leaves_out_or_doubles_is_refused():
    liar = Liar(PLANS["semi-malicious"])
    everybody, one = liar.directory(), others(liar)[0]
    two = next(party for party in everybody if party not in (liar.victim, one))
    for wrong in (
        {party: key for party, key in everybody.items() if party != liar.victim},
        {party: key for party, key in everybody.items() if party != one},
        everybody | {liar.victim: everybody[one]},
        everybody | {liar.victim: bytes(32)},
        everybody | {one: everybody[two]},
    ):
        refuses(liar, liar.roster(directory=wrong), PeerProtocolError, "directory")
    liar.tell(liar.roster())


def test_a_roster_of_more_neighbours_than_planned_is_refused():
    """A lying server could otherwise let one party's shares go to more holders than the threshold is for."""
    for adversary in ("semi_honest", "semi_malicious"):
        liar = Liar(SecAggPlus.plan(40, 1, 8, adversary=adversary, corrupt=0.0, dropout=0.15))
        more = [party for party in range(40) if party not in liar.near][:1]
        directory = liar.directory([party for party in range(40) if party in liar.near or party in more or party > 8])
        crowd = liar.roster(liar.entries(sorted([*liar.near, *more])), directory)
        refuses(liar, crowd, PeerProtocolError)
        liar.tell(liar.roster())


# Thresholds


def holders_to_parties(liar, holders):
    """So many parties, itself counted, hold so many shares."""
    return holders if liar.layout.own_share else holders + 1


def test_it_says_nothing_to_fewer_than_its_own_plan_says(liar):
    threshold = liar.plan.threshold
    enough = sorted([liar.victim, *others(liar)[: holders_to_parties(liar, threshold) - 1]])
    few = enough[:-1] if enough[-1] != liar.victim else enough[1:]
    error = refuses(liar, liar.roster(liar.entries(few)), TooFewSurvivorsError, "advertised")
    assert (error.alive, error.required) == (threshold - 1, threshold)
    liar.tell(liar.roster(liar.entries()))
    shared = [party for party in few if party != liar.victim]
    error = refuses(liar, liar.relay(liar.near, shared), TooFewSurvivorsError, "shared")
    assert (error.alive, error.required) == (threshold - 1, threshold)
    liar.tell(liar.relay(liar.near, others(liar)))
    everybody = listed(liar)
    alive = few if not liar.layout.quorum else [party for party in everybody if party in few or party not in liar.near]
    error = refuses(liar, liar.survivors(everybody, alive), TooFewSurvivorsError, "sent")
    assert (error.alive, error.required) == (threshold - 1, threshold)


@pytest.mark.parametrize("name", ["semi-honest", "graph"])
def test_just_enough_are_enough(name):
    liar = Liar(PLANS[name])
    enough = sorted([liar.victim, *others(liar)[: holders_to_parties(liar, liar.plan.threshold) - 1]])
    liar.tell(liar.roster(liar.entries(enough)))
    liar.tell(liar.relay(enough, [party for party in enough if party != liar.victim]))
    keys, seeds = given(liar, liar.tell(liar.survivors(enough, enough)))
    assert (keys, seeds) == (set(), set(enough) - {liar.victim})


def test_a_list_that_everybody_signs_is_not_shorter_than_planned():
    liar = until(Liar(PLANS["semi-malicious"]), Kind.SURVIVORS)
    everybody = listed(liar)
    far = [party for party in everybody if party not in liar.near]
    assert len(far) == 2 > len(everybody) - liar.plan.min_survivors
    alive = [party for party in everybody if party not in far]
    error = refuses(liar, liar.survivors(everybody, alive), TooFewSurvivorsError)
    assert (error.alive, error.required) == (5, 6)


# Survivors and their signatures


def test_it_is_itself_among_the_survivors_and_they_shared_keys(liar):
    absent = others(liar)[0]
    liar.tell(liar.roster())
    senders = [party for party in others(liar) if party != absent]
    liar.tell(liar.relay(liar.near, senders))
    everybody = listed(liar) if liar.layout.quorum else sorted([liar.victim, *senders])
    here = [party for party in everybody if party != absent]
    without = liar.survivors(everybody, [party for party in here if party != liar.victim])
    refuses(liar, without, PeerProtocolError, "are not this party and others")
    if liar.layout.quorum:
        refuses(liar, liar.survivors(everybody, everybody), PeerProtocolError, "are not this party and others")
    for wrong in (b"", bytes(2), bytes([255])):
        refuses(liar, liar.message(Kind.SURVIVORS, wrong), DecodeError)
    liar.tell(liar.survivors(everybody, here))


@pytest.mark.parametrize("name", SIGNING)
def test_signatures_of_a_quorum_over_what_it_heard(name):
    liar = until(Liar(PLANS[name]), Kind.PROOF)
    everybody = listed(liar)
    peers = [party for party in everybody if party != liar.victim]
    quorum, near = liar.layout.quorum, liar.near
    error = refuses(liar, proof(liar, signers=peers[: quorum - 1]), TooFewSurvivorsError, "signed")
    assert (error.alive, error.required) == (quorum - 1, quorum)
    wrong = [proof(liar, told=everybody[:-1]), proof(liar, session=bytes(32))]
    if liar.layout.is_complete:
        wrong.append(proof(liar, shared=near[:-1]))
    signatures = {party: liar.signature(party, liar.session(near), near, everybody) for party in peers}
    one, two = peers[:2]
    wrong += [
        liar.proof(everybody, signatures | {one: signatures[two]}),
        liar.proof(everybody, signatures | {one: bytes(64)}),
        liar.proof(everybody, signatures | {one: Identity(bytes(32)).sign(b"secagg v1 consistency")}),
    ]
    for payload in wrong:
        refuses(liar, payload, PeerProtocolError, "told of other inputs")
    assert given(liar, b"".join(liar.said)) == (set(), set())
    keys, seeds = given(liar, liar.tell(proof(liar, signers=peers[:quorum])))
    assert (keys, seeds) == (set(), set(others(liar)))


def test_signatures_over_other_sharers_are_refused_on_the_complete_graph():
    """Each signs whom it heard of in the round before, too."""
    liar = Liar(PLANS["malicious"])
    liar.tell(liar.roster())
    liar.tell(liar.relay(liar.near, others(liar)[:-1]))
    alive = [party for party in listed(liar) if party != others(liar)[-1]]
    liar.tell(liar.survivors(listed(liar), alive))
    refuses(liar, proof(liar, alive, shared=liar.near), PeerProtocolError, "told of other inputs")
    liar.tell(proof(liar, alive, shared=alive))


def test_a_signature_cannot_be_replayed_from_an_advertisement_or_another_sum():
    liar, other = until(Liar(PLANS["malicious"]), Kind.PROOF), until(Liar(PLANS["malicious"], seed=6), Kind.PROOF)
    for old in (other, liar):
        signatures = {
            party: (
                old.advertised[party][64:]
                if old is liar
                else old.signature(party, old.session(old.near), old.near, listed(old))
            )
            for party in others(liar)
        }
        refuses(liar, liar.proof(listed(liar), signatures), PeerProtocolError, "told of other inputs")


# Messages that are not for it, and calls out of order


@pytest.mark.parametrize("kind", [Kind.ROSTER, Kind.RELAY, Kind.SURVIVORS, Kind.PROOF])
def test_messages_of_others_and_bodies_of_other_lengths(liar, kind):
    if kind is Kind.PROOF and not liar.layout.quorum:
        kind = Kind.SURVIVORS
    until(liar, kind)
    true = {
        Kind.ROSTER: liar.roster,
        Kind.RELAY: lambda: liar.relay(liar.near, others(liar)),
        Kind.SURVIVORS: lambda: liar.survivors(listed(liar), listed(liar)),
        Kind.PROOF: lambda: proof(liar),
    }[kind]()
    body = body_of(true)
    wrong = [wrap(other, liar.task, liar.victim, body) for other in Kind if other is not kind]
    wrong += [wrap(kind, bytes(32), liar.victim, body), wrap(kind, liar.task, 1, body)]
    wrong += [resealed(true, other) for other in (b"", body[:-1], body + b"\0", body + bytes(64))]
    wrong += [b"", None, 3, "text", bytearray(true)]
    for payload in wrong:
        refuses(liar, payload, DecodeError)
    for sender in (0, 1, liar.victim, None, b"server", "Server"):
        with pytest.raises(PeerProtocolError, match="sender must be 'server'"):
            liar.client.receive(true, sender)
    liar.tell(true)


def test_a_relay_says_whose_shares_it_holds(liar):
    liar.tell(liar.roster())
    body = body_of(liar.relay(liar.near, others(liar)))
    bits = body[0]
    for wrong in (bytes([bits & bits - 1]) + body[1:], bytes([bits | 128]) + body[1:], bytes([0]) + body[1:]):
        refuses(liar, liar.message(Kind.RELAY, wrong), SecAggError)
    liar.tell(liar.message(Kind.RELAY, body))


def test_calls_out_of_order(liar):
    plan = liar.plan
    client = plan.client(1, keys=liar.keys.clients[1])
    assert client.state == "new"
    for call in (client.start, client.close_round, client.result, lambda: client.receive(liar.roster(), "server")):
        with pytest.raises(LocalProtocolError):
            call()
    with pytest.raises(ParameterError):
        client.set_input([1, 2])
    client.set_input([1, 2, 3])
    with pytest.raises(LocalProtocolError, match="set_input is called once"):
        client.set_input([1, 2, 3])
    assert client.state == "ready"
    client.start()
    assert client.state == "waiting"
    for call in (client.start, client.close_round, client.result, lambda: client.set_input([1, 2, 3])):
        with pytest.raises(LocalProtocolError):
            call()
    client.abort("the user went away")
    for call in (client.start, lambda: client.set_input([1, 2, 3]), lambda: client.receive(b"", "server")):
        with pytest.raises(LocalProtocolError, match="aborted: the user went away"):
            call()


@pytest.mark.parametrize(
    "vector", [[1, 2], [[1, 2, 3]], [1.0, 2.0, 3.0], [-1, 0, 0], [0, 0, 256], np.ma.array([1, 2, 3]), "abc"]
)
def test_inputs_out_of_range_are_refused_and_not_shown(vector):
    plan = PLANS["semi-honest"]
    client = plan.client(0, keys=plan.keygen().server)
    with pytest.raises(ParameterError) as error:
        client.set_input(vector)
    assert "256" not in str(error.value)
    assert client.state == "new"


def test_the_input_is_a_copy():
    plan = PLANS["semi-honest"]
    play, vector = Play.of(plan), np.array([1, 2, 3], dtype=np.uint64)
    client = plan.client(0, keys=play.keys.clients[0])
    client.set_input(vector)
    vector[:] = 0
    assert client._input.tolist() == [1, 2, 3]


# A server that says anything at all


class Server(RuleBasedStateMachine):
    """It knows the keys of all parties but one, and says whatever it likes, as often as it likes.

    The shares that the party is given are each made up of bytes that are nothing else's, so what it gives away is read
    off its messages.
    """

    plan = PLANS["semi-honest"]

    @initialize(seed=st.integers(0, 3))
    def begin(self, seed):
        self.liar = Liar(self.plan, seed=seed)
        self.own_secrets = secrets_of(self.liar.client)
        self.old = []
        self.roster, self.shared, self.alive = [], [], []

    def say(self, payload):
        """The party answers, or is as it was."""
        before = frozen(self.liar.client)
        self.old.append(payload)
        try:
            self.liar.tell(payload)
        except SecAggError:
            assert frozen(self.liar.client) == before
            return False
        return True

    def some(self, data, parties):
        kept = data.draw(st.lists(st.booleans(), min_size=len(parties), max_size=len(parties)))
        return [party for party, stays in zip(parties, kept, strict=True) if stays]

    @rule(data=st.data(), spoil=st.sampled_from([None, None, "own", "twice", "alias"]), few=st.booleans())
    def a_roster(self, data, spoil, few):
        liar = self.liar
        near = sorted({liar.victim, *self.some(data, liar.near)}) if few else liar.near
        entries, one = liar.entries(near), data.draw(st.sampled_from(others(liar)))
        if spoil and one in entries and len(entries) > 2:
            entries |= {
                "own": {liar.victim: liar.entries([one])[one]},
                "twice": {one: next(other for party, other in entries.items() if party not in (one, liar.victim))},
                "alias": {one: alias(entries[one][:32]) + entries[one][32:]},
            }[spoil]
        if self.say(liar.roster(entries)):
            assert not spoil or one not in near or len(near) < 3
            self.roster = near

    @precondition(lambda self: self.roster)
    @rule(data=st.data(), few=st.booleans(), broken=st.booleans())
    def a_relay(self, data, few, broken):
        senders = [party for party in self.roster if party != self.liar.victim]
        senders = self.some(data, senders) if few else senders
        if self.say(self.liar.relay(self.roster, senders, broken=senders[:1] if broken else ())):
            self.shared = sorted([self.liar.victim, *senders])

    @precondition(lambda self: self.shared)
    @rule(data=st.data())
    def survivors(self, data):
        everybody = self.roster if self.plan._layout.quorum else self.shared
        if self.plan._layout.has_directory:
            everybody = list(range(self.plan.num_parties))
        gone = data.draw(st.lists(st.sampled_from(everybody), max_size=2))
        alive = [party for party in everybody if party not in gone]
        if self.say(self.liar.survivors(everybody, alive)):
            self.alive = alive

    @precondition(lambda self: self.alive and self.plan._layout.quorum)
    @rule(data=st.data(), other=st.booleans(), all_sign=st.booleans())
    def a_proof(self, data, other, all_sign):
        signers = [party for party in self.alive if party != self.liar.victim]
        signers = signers if all_sign else self.some(data, signers)
        told = self.some(data, self.alive) if other else self.alive
        session = self.liar.session(self.roster)
        signatures = {party: self.liar.signature(party, session, self.shared, told) for party in signers}
        if self.say(self.liar.proof(self.alive, signatures)):
            assert told == self.alive
            assert len(signers) >= self.plan._layout.quorum

    @precondition(lambda self: self.old)
    @rule(data=st.data())
    def something_said_before(self, data):
        self.say(data.draw(st.sampled_from(self.old)))

    @precondition(lambda self: self.old)
    @rule(data=st.data(), byte=st.integers(1, 255), fits=st.booleans())
    def something_changed(self, data, byte, fits):
        payload = bytearray(data.draw(st.sampled_from(self.old)))
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= byte
        changed = resealed(bytes(payload), body_of(bytes(payload))) if fits else bytes(payload)
        before = len(self.liar.said)
        self.say(changed)
        assert fits or len(self.liar.said) == before

    @invariant()
    def never_both_secrets_of_anybody(self):
        everything = b"".join(body_of(payload) for payload in self.liar.said)
        for party in self.liar.peers:
            shares = [self.liar.share(party, of_seed=of_seed) for of_seed in (False, True)]
            assert sum(share in everything for share in shares) <= 1

    @invariant()
    def one_answer_of_each_kind_in_order(self):
        kinds = [Kind(payload[5]) for payload in self.liar.said]
        signature = [Kind.SIGNATURE] if self.plan._layout.quorum else []
        order = [Kind.ADVERTISE, Kind.SHARES, Kind.INPUT, *signature, Kind.UNMASK]
        assert kinds == order[: len(kinds)]

    @invariant()
    def no_secret_of_its_own_is_said(self):
        assert not any(secret in payload for payload in self.liar.said for secret in self.own_secrets)


class SigningServer(Server):
    """The same where parties have identities."""

    plan = PLANS["malicious"]


class GraphServer(Server):
    """The same where the list of survivors is signed with keys of a directory."""

    plan = PLANS["semi-malicious"]


@pytest.mark.parametrize("server", [Server, SigningServer, GraphServer], ids=["honest plan", "signed", "graph"])
def test_no_server_gets_both_shares_of_a_party(server):
    run_state_machine_as_test(server)


def test_the_class_is_the_plans():
    assert type(PLANS["graph"].client(0, keys=PLANS["graph"].keygen().server)) is MaskingClient


def test_two_lists_at_once_get_one_answer(liar, monkeypatch):
    """A server that says of a party that it is there, and at the same time that it is not: one share, never both."""
    until(liar, Kind.SURVIVORS)
    everybody, missing, refused = listed(liar), others(liar)[-1], []
    fewer = liar.survivors(everybody, [party for party in everybody if party != missing])
    original = client_module.unpack_set

    def meanwhile(*args):
        monkeypatch.undo()
        with ThreadPoolExecutor(1) as pool:
            refused.append(pool.submit(liar.client.receive, fewer, "server").exception())
        return original(*args)

    monkeypatch.setattr(client_module, "unpack_set", meanwhile)
    liar.tell(liar.survivors(everybody, everybody))
    assert [type(error) for error in refused] == [LocalProtocolError]
    assert "one call at a time" in str(refused[0])


@pytest.mark.parametrize("kind", [Kind.ROSTER, Kind.RELAY, Kind.SURVIVORS])
def test_whoever_is_aborted_at_work_says_nothing(liar, monkeypatch, kind):
    """From another thread: what is forgotten on the way must not be replaced by what everybody knows."""
    until(liar, kind)
    said = {Kind.ROSTER: liar.roster, Kind.RELAY: lambda: liar.relay(liar.near, others(liar))}
    payload = said.get(kind, lambda: liar.survivors(listed(liar), listed(liar)))()
    original = client_module.unwrap

    def cancelled(*args, **kwargs):
        liar.client.abort("enough")
        return original(*args, **kwargs)

    monkeypatch.setattr(client_module, "unwrap", cancelled)
    with pytest.raises((LocalProtocolError, PeerProtocolError, DecodeError)):
        liar.client.receive(payload, "server")
    assert liar.client.state is State.ABORTED
    assert len(liar.said) == 1 + [Kind.ROSTER, Kind.RELAY, Kind.SURVIVORS].index(kind)
