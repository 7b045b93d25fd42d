"""The server: the exact sum of whoever survives or no sum at all, and messages that change nothing when refused."""

from __future__ import annotations

import contextlib
import gc
import time
import tracemalloc
from dataclasses import replace
from itertools import chain, combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import (
    DecodeError,
    LocalProtocolError,
    PeerProtocolError,
    SecAggError,
    TooFewSurvivorsError,
)
from secagg.masking import opening as opening_module
from secagg.masking import secrets as secrets_module
from secagg.masking.keys import KeyPair, Purpose, agree, self_mask_key
from secagg.masking.layout import SEALED_BYTES, SHARE_BYTES
from secagg.masking.masks import mask
from secagg.masking.messages import Kind, wrap
from secagg.masking.packing import unpack_bits
from secagg.masking.plans import SecAgg, SecAggPlus
from secagg.masking.shamir import PRIME, join
from tests.oracles.masked_sessions import (
    Play,
    body_of,
    fork,
    frozen,
    opened_by,
    outcome,
    proven,
    resealed,
    told,
)

PLANS = {
    "semi-honest": SecAgg.plan(5, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.4),
    "malicious, wrap": SecAgg.plan(5, 3, 16, adversary="malicious", corrupt=0.0, dropout=0.4, wrap=True),
    "graph, wrap": SecAggPlus.plan(7, 3, 64, adversary="semi_honest", corrupt=0.0, dropout=0.3, wrap=True),
    "semi-malicious": SecAggPlus.plan(7, 3, 8, adversary="semi_malicious", corrupt=0.0, dropout=0.2),
}


@pytest.fixture(params=PLANS)
def plan(request):
    return PLANS[request.param]


@pytest.fixture(scope="module")
def begun():
    """A play of each plan before each round, to be forked."""
    plays = {}
    for name, plan in PLANS.items():
        play = Play.of(plan)
        for current in plan.rounds:
            plays[name, current] = fork(play.until(current))
    return plays


def subsets(items, most):
    return chain.from_iterable(combinations(items, size) for size in range(most + 1))


# Sums and drop-outs


@pytest.mark.parametrize("wrap", [False, True])
def test_the_sum_is_exact_for_every_width(wrap):
    for bits in (1, 7, 16, 29, 31, 32, 33, 61, *((64,) if wrap else ())):
        plan = SecAgg.plan(3, 5, bits, adversary="semi_honest", corrupt=0.0, dropout=0.34, wrap=wrap)
        result = Play.of(plan, bits).finish()
        assert result.survivors == [0, 1, 2]
        assert Play.of(plan, bits).played_out({"masked_input": [1]}) == {0, 2}


@pytest.mark.parametrize("name", PLANS)
def test_the_sum_is_exact_or_nothing_comes_out(begun, name):
    """Every two parties gone in every round."""
    plan, seen = PLANS[name], set()
    for current in plan.rounds:
        for gone in subsets(range(plan.num_parties), 2):
            play = fork(begun[name, current])
            expected = outcome(plan, play.server._graph.neighbours, {current: gone})
            assert play.played_out({current: gone}) == expected
            seen.add(expected if isinstance(expected, str) else frozenset(expected))
    assert frozenset(range(plan.num_parties)) in seen
    assert len(seen) > plan.num_parties


@pytest.mark.parametrize("name", ["malicious, wrap", "graph, wrap"])
def test_drop_outs_in_two_rounds(begun, name):
    plan = PLANS[name]
    for first, second in combinations(plan.rounds, 2):
        for one, other in product((0, 3), range(plan.num_parties)):
            if one != other:
                play, gone = fork(begun[name, first]), {first: [one], second: [other]}
                assert play.played_out(gone) == outcome(plan, play.server._graph.neighbours, gone)


@pytest.mark.parametrize("name", PLANS)
def test_a_sum_needs_enough_holders_of_every_secret_whoever_they_are(begun, name):
    """Whoever answers in the last round, of parties that lost one before they sent their input, and of all."""
    plan, found = PLANS[name], []
    for lost in ({}, {"masked_input": [1]}):
        first = fork(begun[name, "masked_input"])
        first.round(lost.get("masked_input", ()))
        first.until("unmask")
        for gone in subsets(range(plan.num_parties), plan.num_parties):
            play, script = fork(first), lost | {"unmask": gone}
            expected = outcome(plan, play.server._graph.neighbours, script)
            assert play.played_out(script) == expected
            found.append(expected)
    assert "unmask" in found
    assert set(range(plan.num_parties)) in found
    assert {0, *range(2, plan.num_parties)} in found


def test_who_has_too_few_neighbours_left_is_left_out_and_silences_nobody():
    """Its share would be masked with, and could not be opened: so it is as if it had not shared."""
    plan = SecAggPlus.plan(10, 2, 8, adversary="semi_honest", corrupt=0.0, dropout=0.3)
    object.__setattr__(plan, "thresholds", replace(plan.thresholds, neighbours=4, threshold=2, min_survivors=5))
    first = Play.of(plan, 6).until("share_keys")
    near = first.server._graph.neighbours(3)
    for gone in combinations(near, 3):
        survivors = fork(first).played_out({"share_keys": gone})
        assert survivors == outcome(plan, first.server._graph.neighbours, {"share_keys": gone})
        assert survivors & {3, *gone} == set()
        assert len(survivors) >= plan.min_survivors
    object.__setattr__(plan, "thresholds", replace(plan.thresholds, threshold=3))
    first = Play.of(plan, 6).until("share_keys")
    assert fork(first).played_out({"share_keys": near[:2]}) == "masked_input", "one after the other is left alone"
    assert outcome(plan, first.server._graph.neighbours, {"share_keys": near[:2]}) == "masked_input"


@pytest.mark.parametrize("name", ["malicious, wrap", "semi-malicious"])
def test_a_list_that_too_few_sign_is_not_shown(begun, name):
    plan = PLANS[name]
    most = plan.num_parties - plan._layout.quorum
    for gone in (range(most), range(most + 1)):
        play = fork(begun[name, "consistency"])
        end = play.played_out({"consistency": gone})
        assert end == outcome(plan, play.server._graph.neighbours, {"consistency": gone})
        assert (end == "consistency") == (len(gone) > most)


def test_nothing_is_opened_before_enough_have_answered_and_late_ones_are_waited_for(plan):
    play = Play.of(plan).until("unmask")
    few = play.plan.threshold - 1
    play.send(range(few))
    with pytest.raises(TooFewSurvivorsError, match="'unmask'") as error:
        play.close()
    assert error.value.alive < error.value.required == plan.threshold
    assert play.server.state == "collecting"
    with pytest.raises(LocalProtocolError, match="result comes after"):
        play.server.result()
    masked = play.server._total.tolist()
    assert masked != play.expected(range(plan.num_parties)), "what the server holds is masked"
    play.send(range(few, plan.num_parties))
    play.close()
    assert play.server.result().total.tolist() == play.expected(range(plan.num_parties))


def test_who_delivered_an_input_is_in_the_sum_though_it_leaves_then(begun, plan):
    name = next(name for name, other in PLANS.items() if other is plan)
    after = fork(begun[name, plan.rounds[3]])
    assert after.played_out({plan.rounds[3]: [2]}) == set(range(plan.num_parties))


# Senders and messages that are refused


def test_senders_that_may_not_speak(plan):
    play = Play.of(plan)
    for sender in (-1, plan.num_parties, "server", None, 1.0, True, b"0", "0", np.array([0, 1])):
        before = frozen(play.server)
        with pytest.raises(PeerProtocolError, match="sender must be a party's number"):
            play.server.receive(play.pending[0], sender)
        assert frozen(play.server) == before
    play.server.receive(play.pending[0], np.int64(0))
    for other in range(1, plan.num_parties):
        with pytest.raises(DecodeError):
            play.server.receive(play.pending[0], other)


@pytest.mark.parametrize("name", PLANS)
def test_second_late_and_early_messages_change_nothing(begun, name):
    plan = PLANS[name]
    true = {current: begun[name, current].pending for current in plan.rounds}
    for current in plan.rounds:
        play = fork(begun[name, current])
        play.send([0])
        before = frozen(play.server)
        with pytest.raises(PeerProtocolError, match="already"):
            play.server.receive(true[current][0], 0)
        for other in set(plan.rounds) - {current}:
            with pytest.raises(DecodeError):
                play.server.receive(true[other][1], 1)
        assert frozen(play.server) == before
        play.send(range(1, plan.num_parties))
        play.hear(play.close())
        assert set(play.finish().survivors) == set(range(plan.num_parties))


def test_who_dropped_out_stays_out(begun, plan):
    name = next(name for name, other in PLANS.items() if other is plan)
    for current, following in zip(plan.rounds[:-1], plan.rounds[1:], strict=True):
        play = fork(begun[name, current])
        play.send(range(1, plan.num_parties))
        play.hear(play.close())
        before = frozen(play.server)
        for payload in (begun[name, current].pending[0], begun[name, following].pending[0]):
            with pytest.raises(PeerProtocolError):
                play.server.receive(payload, 0)
        assert frozen(play.server) == before


def test_calls_out_of_order_change_nothing(plan):
    play = Play.of(plan)
    fresh = plan.server(keys=play.keys.server)
    for call in (lambda: fresh.receive(play.pending[0], 0), fresh.close_round, fresh.result):
        with pytest.raises(LocalProtocolError):
            call()
    assert fresh.state == "new"
    with pytest.raises(LocalProtocolError, match="once"):
        play.server.start()
    late = play.pending[0]
    play.finish()
    before = frozen(play.server)
    for call in (lambda: play.server.receive(late, 0), play.server.close_round, play.server.start):
        with pytest.raises(LocalProtocolError):
            call()
    assert frozen(play.server) == before
    play.server.abort("enough")
    for call in (lambda: play.server.receive(late, 0), play.server.close_round, play.server.result):
        with pytest.raises(LocalProtocolError, match="aborted: enough"):
            call()


def test_a_result_is_not_changed_by_who_reads_it():
    server = Play.of(PLANS["semi-honest"]).until("never").server
    first = server.result()
    expected = first.total.tolist()
    first.total[:] = 0
    first.bytes_up[:] = 0
    assert server.result().total.tolist() == expected
    assert server.result().bytes_up.min() > 0


def test_every_flipped_bit_of_every_message_is_refused():
    """On both sides; nothing changes, and the sum comes out as if they had never come."""
    plan = SecAgg.plan(3, 1, 2, adversary="malicious", corrupt=0.0, dropout=0.34)
    play = Play.of(plan)

    def refuses(session, payload, sender):
        before, changed = frozen(session), bytearray(payload)
        for place in range(8 * len(payload)):
            changed[place // 8] ^= 1 << place % 8
            with pytest.raises(DecodeError):
                session.receive(bytes(changed), sender)
            changed[place // 8] ^= 1 << place % 8
        assert frozen(session) == before

    while play.server.state == "collecting":
        for party in (0, 2):
            refuses(play.server, play.pending[party], party)
        play.send(range(3))
        messages = play.close()
        if messages:
            refuses(play.clients[1], messages[1], "server")
        play.hear(messages)
    assert play.server.result().total.tolist() == play.expected(range(3))


# Parties that send what is wrong under a digest that fits


def spoilt(payload, place):
    body = bytearray(body_of(payload))
    body[place] ^= 1 << place % 8
    return resealed(payload, bytes(body))


def ends(play, party, payload):
    """What comes of one changed message: never a wrong sum."""
    play.pending[party] = payload
    try:
        play.server.receive(payload, party)
    except SecAggError:
        play.pending.pop(party)
        in_sum = {0, 1, 2} if play.current == "unmask" else {0, 1, 2} - {party}
        assert play.played_out({}) == in_sum
        return "refused"
    others = [other for other in play.pending if other != party]
    play.send(others)
    try:
        messages = play.close()
        for other, message in messages.items():
            try:
                play.pending[other] = play.clients[other].receive(message, "server")[0].payload
            except SecAggError:
                play.pending.pop(other, None)
        return play.played_out({})
    except DecodeError:
        assert play.server.state == "aborted"
        with pytest.raises(LocalProtocolError, match="a share was wrong"):
            play.server.result()
        return "found"


@pytest.mark.parametrize(("name", "step"), [("advertise", 3), ("share_keys", 7), ("unmask", 1)])
def test_a_changed_body_is_refused_or_found_or_does_no_harm(name, step):
    """A wrong key, a wrong sealed share, a wrong share; :meth:`Play.played_out` compares each sum that comes out."""
    plan = SecAgg.plan(3, 1, 2, adversary="semi_honest", corrupt=0.0, dropout=0.34)
    first = Play.of(plan).until(name)
    size = len(body_of(first.pending[1]))
    assert size == {"advertise": 64, "share_keys": 2 * SEALED_BYTES, "unmask": 1 + 3 * SHARE_BYTES}[name]
    outcomes = [ends(fork(first), 1, spoilt(first.pending[1], place)) for place in range(0, size, step)]
    if name == "advertise":  # its owner does not know the keys, and says nothing more
        assert all(outcome in ({0, 2}, "refused") for outcome in outcomes)
    if name == "share_keys":  # its holder has no share of it, and others are enough
        assert all(outcome == {0, 1, 2} for outcome in outcomes)
    if name == "unmask":
        assert set(outcomes) == {"refused", "found"}, "with one more than t shares, every wrong one is found"


def test_a_wrong_commitment_is_found():
    plan = SecAgg.plan(3, 1, 2, adversary="semi_honest", corrupt=0.0, dropout=0.34)
    first = Play.of(plan).until("masked_input")
    for place in range(0, 32, 5):
        play = fork(first)
        play.pending[1] = spoilt(first.pending[1], place)
        with pytest.raises(DecodeError, match="committed") as error:
            play.played_out({})
        assert error.value.peer == 1
        assert play.server.state == "aborted"


def moved(payload, members, whose):
    """An unmasking with another, valid share of one party: one more in its fourth limb.

    In the first it might do no harm: X25519 does not look at the lowest three bits of a private key.
    """
    body = bytearray(body_of(payload))
    given = [member for place, member in enumerate(members) if body[place // 8] >> place % 8 & 1]
    start = -(-len(members) // 8) + given.index(whose) * SHARE_BYTES + 12
    value = (int.from_bytes(body[start : start + 4], "little") + 1) % PRIME
    body[start : start + 4] = value.to_bytes(4, "little")
    return resealed(payload, bytes(body))


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize(
    ("gone", "match"), [((), "committed to"), ((1,), "mask key is not|no secret")], ids=["seed", "mask key"]
)
def test_one_wrong_share_among_just_enough_is_found(name, gone, match):
    """Nothing to compare shares with: what they give is compared with the commitment, or with the public key."""
    plan, whose = PLANS[name], 1
    play = Play.of(plan, 7).until("masked_input")
    play.round(gone)
    play.until("unmask")
    members = play.server._shared
    holders = [other for other in sorted(play.pending) if other != whose and whose in members[other]]
    play.pending[holders[0]] = moved(play.pending[holders[0]], members[holders[0]], whose)
    for other in {*play.pending} - {*holders[: plan.threshold]}:
        play.pending[other] = without(play.pending[other], members[other], whose)
    play.send(sorted(play.pending))
    with pytest.raises(DecodeError, match=match):
        play.close()
    assert play.server.state == "aborted"


def without(payload, members, whose):
    """An unmasking that says nothing of one party."""
    body = body_of(payload)
    given = [member for place, member in enumerate(members) if body[place // 8] >> place % 8 & 1]
    if whose not in given:
        return payload
    size = -(-len(members) // 8)
    start = size + given.index(whose) * SHARE_BYTES
    bits = int.from_bytes(body[:size], "little") & ~(1 << members.index(whose))
    return resealed(payload, bits.to_bytes(size, "little") + body[size:start] + body[start + SHARE_BYTES :])


def test_one_wrong_share_among_more_than_enough_is_found():
    for name in PLANS:
        play = Play.of(PLANS[name], 8).until("unmask")
        whose = play.server._shared[0][1]
        play.pending[0] = moved(play.pending[0], play.server._shared[0], whose)
        play.send(sorted(play.pending))
        with pytest.raises(DecodeError):
            play.close()
        assert play.server.state == "aborted"


def test_a_share_beyond_the_prime_is_found():
    play = Play.of(PLANS["semi-honest"]).until("unmask")
    body = bytearray(body_of(play.pending[0]))
    body[1:5] = (PRIME).to_bytes(4, "little")
    play.pending[0] = resealed(play.pending[0], bytes(body))
    play.send(range(5))
    with pytest.raises(DecodeError, match="not below the prime"):
        play.close()
    assert play.server.state == "aborted"


def test_a_party_that_seals_rubbish_costs_nobody_else_anything(plan):
    play = Play.of(plan).until("share_keys")
    body = body_of(play.pending[1])
    play.pending[1] = resealed(play.pending[1], bytes(SEALED_BYTES) + body[SEALED_BYTES:])
    assert play.played_out({}) == set(range(plan.num_parties)), "one share of it is missing, and others are enough"


def drops_out_alone(play, party, payload):
    """The server refuses the message of a party, and the others go on without it."""
    before = frozen(play.server)
    with pytest.raises(PeerProtocolError):
        play.server.receive(payload, party)
    assert frozen(play.server) == before
    play.send([other for other in sorted(play.pending) if other != party])
    play.hear(play.close(), deaf=[party])
    return set(play.finish().survivors)


def test_a_party_that_uses_anothers_keys_or_weak_ones_drops_out_alone(plan):
    first = Play.of(plan)
    own, other = body_of(first.pending[1]), body_of(first.pending[0])
    wrong = [other[:64] + own[64:], own[:32] + other[32:64] + own[64:], own[:32] * 2 + own[64:], bytes(32) + own[32:]]
    if plan._layout.has_directory:
        wrong.append(own[:64] + other[64:])
    if plan._layout.signed:
        wrong += [own[:64] + other[64:], own[:-1] + bytes([own[-1] ^ 1])]
    for body in wrong:
        play = fork(first)
        play.send([0])
        play.pending.pop(0)
        assert drops_out_alone(play, 1, resealed(play.pending[1], body)) == {0, *range(2, plan.num_parties)}


@pytest.mark.parametrize("name", ["malicious, wrap", "semi-malicious"])
def test_a_party_that_signs_another_list_drops_out_alone(begun, name):
    plan = PLANS[name]
    for changed in (bytes(64), body_of(begun[name, "consistency"].pending[0])):
        play = fork(begun[name, "consistency"])
        survivors = drops_out_alone(play, 1, resealed(play.pending[1], changed))
        assert survivors == set(range(plan.num_parties)), "its input had arrived"


def test_nobody_has_a_share_of_itself_on_a_smaller_graph(begun):
    play = fork(begun["graph, wrap", "unmask"])
    body, members = body_of(play.pending[0]), play.server._shared[0]
    place = members.index(0)
    bits = int.from_bytes(body[:1], "little")
    assert not bits >> place & 1
    start = 1 + (bits & (1 << place) - 1).bit_count() * SHARE_BYTES
    more = bytes([bits | 1 << place]) + body[1:start] + bytes(SHARE_BYTES) + body[start:]
    with pytest.raises(DecodeError):
        play.server.receive(resealed(play.pending[0], more), 0)
    assert play.played_out({}) == set(range(7))


def test_bodies_of_other_lengths_are_refused(begun, plan):
    name = next(name for name, other in PLANS.items() if other is plan)
    for current in plan.rounds:
        play = fork(begun[name, current])
        payload, before = play.pending[0], frozen(play.server)
        body = body_of(payload)
        for wrong in (b"", body[:-1], body[:-36], body + b"\0", body + bytes(36)):
            with pytest.raises(DecodeError):
                play.server.receive(resealed(payload, wrong), 0)
        assert frozen(play.server) == before


# Servers that lie


def both_secrets(plan, victim, halves):
    """What two halves give of a victim that the first are told is in the sum, and the others that it left."""
    play = Play.of(plan, 9).until("masked_input")
    sent = dict(play.pending)
    play.send(range(plan.num_parties))
    play.close()
    everybody = set(range(plan.num_parties))
    lists = dict.fromkeys(halves[0], everybody) | dict.fromkeys(halves[1], everybody - {victim})
    answers = told(play, lists)
    opened = opened_by(answers, play.server._shared, victim)
    seeds, keys = ({party: opened[party] for party in half if party in opened} for half in halves)
    return play, sent, seeds, keys


def joined(shares, threshold):
    rows = np.stack(list(shares.values()))[None]
    return join(rows, [party + 1 for party in shares], threshold)[0].tobytes()


@pytest.mark.parametrize(
    "plan",
    [
        SecAgg.plan(5, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.6),
        SecAggPlus.plan(7, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.3),
    ],
    ids=["complete", "graph"],
)
def test_at_the_semi_honest_threshold_a_lying_server_reads_a_single_input(plan):
    """Which the plan does not promise to prevent: the attack is what the other adversaries' plans are for."""
    victim = 1
    near = Play.of(plan, 9).server._graph.neighbours(victim)
    halves = near[: plan.threshold], near[plan.threshold : 2 * plan.threshold]
    play, sent, seeds, keys = both_secrets(plan, victim, halves)
    assert min(len(seeds), len(keys)) >= plan.threshold
    seed, secret = joined(seeds, plan.threshold), joined(keys, plan.threshold)
    modulus, session = 1 << plan.modulus_bits, play.server._session
    total = unpack_bits(body_of(sent[victim])[32:], plan.dim, plan.modulus_bits).astype(object)
    total -= mask(self_mask_key(seed, session=session, party=victim), plan.dim, modulus=modulus)
    pair = KeyPair(secret)
    for other in near:
        public = play.server._keys[other][32:64]
        key = agree(pair, public, session=session, mine=victim, theirs=other, purpose=Purpose.MASK).secret
        total -= mask(key, plan.dim, modulus=modulus).astype(object) * (1 if victim > other else -1)
    assert [int(value) % modulus for value in total] == play.expected([victim])


def test_no_two_lists_both_open_at_the_malicious_threshold():
    plan = SecAgg.plan(5, 3, 8, adversary="malicious", corrupt=0.0, dropout=0.4)
    first = Play.of(plan, 9).until("masked_input")
    first.send(range(5))
    first.close()
    everybody, victim, worked = set(range(5)), 1, 0
    for halves in product((True, False), repeat=4):
        others = [party for party in range(5) if party != victim]
        lists = {
            party: everybody if there else everybody - {victim} for party, there in zip(others, halves, strict=True)
        } | {victim: everybody}
        play = fork(first)
        signatures = told(play, lists)
        assert set(signatures) == everybody, "each party hears one list, and signs it"
        answers = proven(play, lists, signatures)
        assert len({len(lists[party]) for party in answers}) <= 1
        heard = [len(one) for one in lists.values()]
        assert len(answers) == sum(count for count in (heard.count(5), heard.count(4)) if count >= 3)
        worked += bool(answers)
    assert worked == 16, "one of two lists always has a majority of five"


def test_no_two_lists_both_open_at_the_semi_malicious_threshold():
    plan = PLANS["semi-malicious"]
    first = Play.of(plan, 9).until("masked_input")
    first.send(range(7))
    first.close()
    everybody, opened = set(range(7)), set()
    near = first.server._graph.neighbours(1)
    for size in range(5):
        lists = dict.fromkeys(everybody, everybody) | dict.fromkeys(near[:size], everybody - {1})
        play = fork(first)
        answers = proven(play, lists, told(play, lists))
        assert len({frozenset(lists[party]) for party in answers}) <= 1
        opened |= {len(lists[party]) for party in answers}
    assert opened == {6, 7}, "whichever list has a quorum, never both"
    without_quorum = [party for party in near if party in told(fork(first), dict.fromkeys(near, everybody - {1}))]
    assert len(without_quorum) == 4, "each of them would have answered"


# Exactly what a server sees


def enumerated(monkeypatch, moduli_bits=2):
    """Masks in which every entry is one world: entry j of the i-th key's mask is the i-th digit of j."""
    table = {}

    def add(total, key, *, modulus, sign):
        place = table.setdefault(key, len(table))
        digits = np.arange(total.size) >> moduli_bits * place & (1 << moduli_bits) - 1
        total[:] = (total.astype(np.int64) + sign * digits) % modulus

    for module in (secrets_module, opening_module):
        monkeypatch.setattr(module, "add_mask", add)
    return table


@pytest.mark.parametrize("late", [False, True], ids=["all", "one is late"])
def test_a_server_sees_the_sum_and_nothing_else(monkeypatch, late):
    """All masks of three parties in Z_4 are enumerated, one world in each of 4^6 entries, for all inputs of three.

    What the server is sent and opens is then distributed alike for all inputs with the same sum of the survivors. A
    party that is late sends its masked input all the same; its mask key is opened, its seed is not.
    """
    table = enumerated(monkeypatch)
    plan = SecAgg.plan(3, 4**6, 2, adversary="semi_honest", corrupt=0.0, dropout=0.34, wrap=True)
    first = Play.of(plan).until("share_keys")
    first.send(range(3))
    relays = first.close()
    views = {}
    for inputs in product(range(4), repeat=3):
        play = fork(first)
        for client, value in zip(play.clients, inputs, strict=True):
            client._input = np.full(plan.dim, value, dtype=np.uint64)
        play.hear(relays)
        seen = [unpack_bits(body_of(play.pending[party])[32:], plan.dim, 2) for party in range(3)]
        play.send([0, 1] if late else range(3))
        play.hear(play.close())
        play.send(sorted(play.pending))
        before = set(table)
        opened = opened_masks(monkeypatch, play)
        assert set(table) == before
        total = sum(inputs[: 2 if late else 3]) % 4
        assert set(play.server.result().total.tolist()) == {total}
        columns = np.stack([*seen, *(np.arange(plan.dim) >> 2 * table[key] & 3 for key in sorted(opened))])
        assert len(opened) == (4 if late else 3)
        worlds = np.sort(4 ** np.arange(len(columns)) @ columns.astype(np.int64))
        views.setdefault(total, []).append(worlds)
    assert len(table) == 6
    assert sorted(views) == [0, 1, 2, 3]
    for found in views.values():
        assert all((worlds == found[0]).all() for worlds in found), "alike for all inputs of one sum"
        different, times = np.unique(found[0], return_counts=True)
        # free: the three masks and two words; if one is late, one more mask, and its word
        assert (len(different), set(times)) == ((4**6, {1}) if late else (4**5, {4})), "uniform"
    assert not set(views[0][0]) & set(views[1][0]), "the sum is seen"


def opened_masks(monkeypatch, play):
    """The mask keys that the server takes off when it opens the sum."""
    keys, whole = [], opening_module.add_mask

    def add(total, key, *, modulus, sign):
        keys.append(key)
        whole(total, key, modulus=modulus, sign=sign)

    with monkeypatch.context() as patch:
        patch.setattr(opening_module, "add_mask", add)
        play.close()
    return set(keys)


# Bytes that are no messages


@pytest.fixture(scope="module")
def stations():
    """Every session of a play in each of its states, and what it might be told: (session, sender, true message)."""
    found = []
    for plan in PLANS.values():
        play, true, reached = Play.of(plan, 3), [], []
        fresh = [plan.server(keys=play.keys.server), plan.client(0, keys=play.keys.clients[0])]
        while play.server.state == "collecting":
            true += play.pending.values()
            reached.append((fork(play.server), 0, play.pending[0]))
            play.send(range(plan.num_parties))
            messages = play.close()
            true += messages.values()
            if messages:
                reached.append((fork(play.clients[0]), "server", messages[0]))
            play.hear(messages)
        ended = [fork(play.server), fork(play.clients[0])]
        play.server.abort("over")
        play.clients[0].abort("over")
        for server, client in (fresh, ended, (play.server, play.clients[0])):
            reached += [(server, 0, true[0]), (client, "server", true[-1])]
        found += [(*one, true) for one in reached]
    return [(session, sender, payload, true, frozen(session)) for session, sender, payload, true in found]


@st.composite
def changes(draw, payload, others):
    """A message, and what may become of it."""
    payload = draw(st.sampled_from([payload, payload, payload, *others]))
    body = bytearray(body_of(payload))
    kind = draw(st.sampled_from(["bytes", "flip", "cut", "more", "splice", "body", "other body"]))
    if kind == "bytes":
        return draw(st.binary(max_size=300))
    if kind == "flip":
        changed = bytearray(payload)
        for _ in range(draw(st.integers(1, 3))):
            changed[draw(st.integers(0, len(changed) - 1))] ^= draw(st.integers(1, 255))
        return bytes(changed)
    if kind == "cut":
        return payload[: draw(st.integers(0, len(payload) - 1))]
    if kind == "more":
        return payload + draw(st.binary(min_size=1, max_size=100))
    if kind == "splice":
        other = draw(st.sampled_from(others))
        return payload[: draw(st.integers(0, len(payload)))] + other[draw(st.integers(0, len(other))) :]
    if kind == "other body":
        return resealed(payload, draw(st.binary(max_size=300)))
    for _ in range(draw(st.integers(1, 4))):
        if body:
            body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return resealed(payload, bytes(body))


@given(st.data())
def test_bytes_that_are_no_messages_end_in_typed_errors_and_change_nothing(stations, data):
    for _ in range(8):
        session, sender, payload, others, before = data.draw(st.sampled_from(stations))
        changed = data.draw(changes(payload, others))
        session = fork(session)
        try:
            answers = session.receive(changed, sender)
        except SecAggError:
            assert frozen(session) == before
        else:  # an attacker's message that is as good as a true one
            assert len(answers) == (sender == "server")
            assert frozen(session) != before


@contextlib.contextmanager
def metered(spent):
    """What a call takes: CPU seconds and the bytes it had at its peak, each the most of all calls."""
    tracemalloc.reset_peak()
    held, began = tracemalloc.get_traced_memory()[0], time.thread_time()
    try:
        yield
    finally:
        seconds, peak = time.thread_time() - began, tracemalloc.get_traced_memory()[1] - held
        spent["seconds"], spent["bytes"] = max(spent["seconds"], seconds), max(spent["bytes"], peak)


@pytest.fixture
def traced():
    """Memory is traced, and no collection of garbage is counted as somebody's time."""
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


@pytest.mark.timeout(1800)  # for the deep profile: four minutes of one core
@pytest.mark.usefixtures("traced")
def test_many_changed_messages_end_in_typed_errors_and_change_nothing(stations):
    """As many as the profile says, 10^6 in the deep one: true messages with some bytes changed, cut, or spliced.

    Every other one has a header and digest that fit. Sessions that take no message at all get a few more. Each takes
    at most half a second, and a megabyte: twice the block that masks are made in.
    """
    draw = np.random.default_rng(1)
    live = sum(session.state in ("collecting", "waiting") for session, *_ in stations)
    each = -(-200 * settings().max_examples // live)
    refused = accepted = 0
    spent = {"seconds": 0.0, "bytes": 0}
    for first, sender, payload, others, before in stations:
        session = fork(first)
        for _ in range(each if session.state in ("collecting", "waiting") else 50):
            base = payload if draw.random() < 0.7 else others[draw.integers(len(others))]
            changed = bytearray(base)
            for place in draw.integers(0, len(base), draw.integers(1, 5)):
                changed[place] = draw.integers(256)
            match draw.integers(4):
                case 0:
                    del changed[draw.integers(len(base)) :]
                case 1:
                    changed[draw.integers(len(base)) :] = others[draw.integers(len(others))]
            changed = bytes(changed) if draw.random() < 0.5 else resealed(base, body_of(bytes(changed)))
            try:
                with metered(spent):
                    session.receive(changed, sender)
            except SecAggError:
                refused += 1
            else:
                accepted += 1
                session = fork(first)
            if refused % 64 == 0:
                assert frozen(session) == before
        assert frozen(session) == before, "after all that was refused since the last message that was as good as true"
    assert refused > accepted > 0
    assert spent["seconds"] < 0.5
    assert spent["bytes"] < 1 << 20


@given(st.data())
def test_the_last_messages_are_never_opened_to_a_wrong_sum(begun, data):
    play = fork(begun[data.draw(st.sampled_from(sorted(PLANS))), "unmask"])
    party = data.draw(st.sampled_from(sorted(play.pending)))
    with contextlib.suppress(SecAggError):
        play.server.receive(data.draw(changes(play.pending[party], list(play.pending.values()))), party)
    play.send([other for other in sorted(play.pending) if other not in play.server._answers])
    try:
        play.close()
    except SecAggError:
        assert play.server.state in ("aborted", "collecting")
    else:
        assert play.server.result().total.tolist() == play.expected(range(play.plan.num_parties))


def test_a_message_for_the_wrong_side_is_refused(plan):
    play = Play.of(plan)
    for kind in Kind:
        if kind is not Kind.ADVERTISE:
            with pytest.raises(DecodeError):
                play.server.receive(wrap(kind, play.server._task, 0, body_of(play.pending[0])), 0)
