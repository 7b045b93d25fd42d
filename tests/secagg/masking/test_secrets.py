"""What a party makes of its secrets, against the slow oracle: shares that give them, and the masked input itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from secagg.errors import PeerProtocolError
from secagg.masking.keys import Purpose, agree, open_share
from secagg.masking.layout import SEALED_BYTES, read_share, split_share
from secagg.masking.packing import unpack_bits
from secagg.masking.plans import SecAgg, SecAggPlus
from secagg.masking.secrets import PartySecrets
from secagg.masking.shamir import join
from tests.oracles import masking as oracle

TASK, SESSION = bytes([7]) * 32, bytes([8]) * 32
COMPLETE = SecAgg.plan(4, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.25)._layout
GRAPH = SecAggPlus.plan(7, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.3)._layout


def parties(layout, count=4):
    return {party: PartySecrets(bytes([party + 1]) * 32, TASK, party, layout) for party in range(count)}


def test_all_secrets_follow_from_the_seed_and_the_task_and_differ():
    one, same, *others = (
        PartySecrets(seed, task, 0, COMPLETE)
        for seed, task in ((TASK, TASK), (TASK, TASK), (SESSION, TASK), (TASK, SESSION))
    )
    assert one.public == same.public
    assert one.signing.public == same.signing.public
    publics = [half for each in (one, *others) for half in (each.public[:32], each.public[32:], each.signing.public)]
    assert len(set(publics)) == 9
    assert one._shared[0] == oracle.derived(TASK, TASK, b"mask")
    assert one._shared[1] == oracle.derived(TASK, TASK, b"self")
    assert one.public[32:] == oracle.x25519(one._shared[0], oracle.BASE), "the mask key is what is shared"


@pytest.mark.parametrize("layout", [COMPLETE, GRAPH], ids=["complete", "graph"])
def test_enough_shares_give_both_secrets(layout):
    everybody = parties(layout)
    roster = {party: each.public for party, each in everybody.items()}
    own, sealed = everybody[1].shares(roster, SESSION)
    assert len(sealed) == 3 * SEALED_BYTES
    pairs = {1: own} if layout.own_share else {}
    assert bool(own) == layout.own_share
    for place, party in enumerate((0, 2, 3)):
        box = sealed[place * SEALED_BYTES : (place + 1) * SEALED_BYTES]
        pairs[party] = everybody[party].opened(box, 1, roster[1], SESSION)
        assert everybody[2 if party != 2 else 3].opened(box, 1, roster[1], SESSION) is None
        assert everybody[party].opened(box, 1, roster[1], TASK) is None, "another session"
        assert everybody[party].opened(bytes(SEALED_BYTES), 1, roster[1], SESSION) is None
    for who in combinations(sorted(pairs), layout.threshold):
        for of_seed, secret in enumerate(everybody[1]._shared):
            rows = np.stack([read_share(split_share(pairs[party], of_seed=bool(of_seed))) for party in who])
            assert join(rows[None], [party + 1 for party in who], layout.threshold)[0].tobytes() == secret


def test_what_is_sealed_opens_under_the_plans_digest_only():
    everybody = parties(COMPLETE)
    roster = {party: each.public for party, each in everybody.items()}
    _, sealed = everybody[1].shares(roster, SESSION)
    pair = everybody[0]._channel
    key = agree(pair, roster[1][:32], session=SESSION, mine=0, theirs=1, purpose=Purpose.SHARES)
    assert open_share(key, sealed[:SEALED_BYTES], sender=1, receiver=0, config=COMPLETE.config)
    elsewhere = PartySecrets(bytes([1]) * 32, TASK, 0, replace(COMPLETE, config=bytes(32)))
    assert elsewhere.opened(sealed[:SEALED_BYTES], 1, roster[1], SESSION) is None


@pytest.mark.parametrize(("bits", "party"), [(2, 0), (23, 1), (32, 2), (33, 3), (64, 1)])
def test_a_masked_input_is_the_input_under_every_mask(bits, party):
    layout = replace(COMPLETE, modulus_bits=bits, dim=5)
    everybody = parties(layout)
    own, modulus = everybody[party], 2**bits
    vector = np.array([0, 1, 2, 3, modulus - 1], dtype=np.uint64)
    others = {other: each.public for other, each in everybody.items() if other != party}
    message = own.masked(vector, others, SESSION)
    key, seed = own._shared
    assert message[:32] == oracle.commitment(SESSION, party, seed)
    masks = [(1, oracle.self_mask_key(seed, SESSION, party))]
    for other, keys in others.items():
        agreed = oracle.agreed(key, keys[32:], SESSION, party, other, b"pairwise mask")
        masks.append((1 if party > other else -1, agreed))
    expected = [int(value) for value in vector]
    for sign, secret in masks:
        for place, entry in enumerate(oracle.mask_entries(secret, modulus, count=5)):
            expected[place] = (expected[place] + sign * entry) % modulus
    assert unpack_bits(message[32:], 5, bits).tolist() == expected


def test_pair_masks_cancel_and_self_masks_stay():
    everybody, total = parties(COMPLETE), [0] * 3
    modulus = 2**COMPLETE.modulus_bits
    for party, each in everybody.items():
        others = {other: peer.public for other, peer in everybody.items() if other != party}
        masked = unpack_bits(each.masked(np.zeros(3, dtype=np.uint64), others, SESSION)[32:], 3, COMPLETE.modulus_bits)
        own = oracle.mask_entries(oracle.self_mask_key(each._shared[1], SESSION, party), modulus, count=3)
        total = [(left + int(got) - mine) % modulus for left, got, mine in zip(total, masked, own, strict=True)]
    assert total == [0, 0, 0]


def test_a_roster_that_was_refused_leaves_nothing_behind():
    """Keys that were agreed on before the one that was refused are not taken for those of the next roster."""
    everybody = parties(COMPLETE)
    roster = {party: each.public for party, each in everybody.items()}
    one, undisturbed = everybody[1], parties(COMPLETE)[1]
    with pytest.raises(PeerProtocolError, match="low order"):
        one.shares(roster | {0: roster[2], 3: bytes(64)}, SESSION)
    assert one.shares(roster, SESSION) == undisturbed.shares(roster, SESSION)
    _, sealed = everybody[0].shares(roster, SESSION)
    box = sealed[:SEALED_BYTES]
    assert one.opened(box, 0, roster[0], SESSION) == undisturbed.opened(box, 0, roster[0], SESSION) is not None


def test_keys_that_may_not_be_used_stop_everything():
    one = parties(COMPLETE)[0]
    weak = {0: one.public, 1: bytes(64), 2: bytes([9]) + bytes(63)}
    with pytest.raises(PeerProtocolError, match="low order"):
        one.shares(weak, SESSION)
    with pytest.raises(PeerProtocolError, match="low order"):
        one.masked(np.zeros(3, dtype=np.uint64), {1: bytes(64)}, SESSION)
