"""What a server hears: it reads a single input from both secrets, and from nothing less."""

from __future__ import annotations

import numpy as np
import pytest

from secagg import SecAgg, SecAggPlus
from secagg._overheard import Overheard, body_of, kind_of, resealed
from secagg._rehearsal import Rehearsal
from secagg.errors import DecodeError
from secagg.masking.layout import join_share
from secagg.masking.messages import OVERHEAD, Kind, unwrap
from secagg.masking.shamir import split
from tests.secagg.wires import vectors_of

PLANS = {
    "complete": SecAgg.plan(5, 3, 8, adversary="malicious", corrupt=0.0, dropout=0.4),
    "graph": SecAggPlus.plan(7, 3, 64, adversary="semi_honest", corrupt=0.0, dropout=0.3, wrap=True),
}
VICTIM = 1


def heard(plan, **dropouts):
    """A played session, all that was said in it, and the victim's two secrets."""
    played, overheard, secrets = [], Overheard(plan._layout), []

    def tap(rehearsal, letter):
        if letter.round == "share_keys" and letter.src == VICTIM:
            secrets.extend(rehearsal.clients[VICTIM]._secrets._shared)

    vectors = vectors_of(plan, 3)
    play = Rehearsal(plan, vectors, seed=3, carry=lambda payload, *_: payload, before=tap)
    play.complete(dropouts)
    played.extend(overheard.hear(letter) for letter in play.letters)
    return play, overheard, secrets


def pairs(secrets, holders, threshold):
    """Shares of both secrets, as a party seals them."""
    rows = np.frombuffer(b"".join(secrets), dtype=np.uint8).reshape(2, 32)
    shares = split(rows, [holder + 1 for holder in holders], threshold, bytes(32))
    return [join_share(shares[:, place]) for place in range(len(holders))]


@pytest.mark.parametrize("name", PLANS)
def test_an_input_is_read_from_both_secrets_and_from_nothing_less(name):
    plan = PLANS[name]
    play, overheard, secrets = heard(plan)
    assert overheard.input_of(VICTIM) is None, "an honest session gives one of them"
    assert set(overheard.seeds[VICTIM]) >= set(overheard.shared[VICTIM]) - {VICTIM}
    assert VICTIM not in overheard.keys
    overheard.seeds.clear()
    holders = overheard.others(VICTIM)[: plan.threshold]
    for count, (holder, pair) in enumerate(zip(holders, pairs(secrets, holders, plan.threshold), strict=True), 1):
        overheard.take_pair(pair, of=VICTIM, holder=holder)
        read = overheard.input_of(VICTIM)
        if count < plan.threshold:
            assert read is None
    assert read.tolist() == play.vectors[VICTIM].tolist()
    del overheard.inputs[VICTIM]
    assert overheard.input_of(VICTIM) is None, "there is nothing to take masks off"


@pytest.mark.parametrize("which", [0, 1], ids=["mask key", "seed"])
def test_wrong_secrets_read_nothing(which):
    plan = PLANS["complete"]
    _, overheard, secrets = heard(plan)
    overheard.seeds.clear()
    secrets[which] = bytes(31) + b"\1"
    holders = overheard.others(VICTIM)[: plan.threshold]
    for holder, pair in zip(holders, pairs(secrets, holders, plan.threshold), strict=True):
        overheard.take_pair(pair, of=VICTIM, holder=holder)
    assert overheard.input_of(VICTIM) is None
    for holder in holders:
        overheard.take_pair(b"\xff" * 72, of=VICTIM, holder=holder)
    assert overheard.input_of(VICTIM) is None, "no field elements"


@pytest.mark.parametrize("name", PLANS)
def test_what_was_said_is_read_as_the_sessions_read_it(name):
    plan = PLANS[name]
    play, overheard, _ = heard(plan, share_keys=[0], masked_input=[2])
    everybody, server = set(range(plan.num_parties)), play.server
    assert set(overheard.advertised) == everybody
    for party in everybody - {0}:
        assert overheard.session(party) == server._session
        assert overheard.others(party) == [other for other in server._roster[party] if other != party]
        assert overheard.shared[party] == server._shared[party]
        assert overheard.sealed(party, bytes(88 * 9)).keys() == set(overheard.others(party))
    assert set(overheard.inputs) == everybody - {0, 2}
    for party in everybody - {0, 2}:
        (told,) = overheard.told[party]
        assert set(told) == set(overheard.listed(party)) - {0, 2}
    assert set(overheard.keys) == {2}, "of who is not in the sum, shares of the mask key"
    assert set(overheard.seeds) == everybody - {0, 2}


def test_messages_that_are_made_are_messages():
    plan = PLANS["complete"]
    play, overheard, _ = heard(plan)
    task, letter = play.server._task, play.letters[0]
    made = overheard.survivors(3, {0, 1})
    assert kind_of(made) is Kind.SURVIVORS
    assert unwrap(Kind.SURVIVORS, task, 3, made, limit=9, peer="server") == body_of(made) == b"\3"
    other = resealed(letter.payload, b"other")
    assert unwrap(Kind.ADVERTISE, task, 0, other, limit=9, peer=0) == body_of(other) == b"other"
    assert len(other) == OVERHEAD + 5
    with pytest.raises(DecodeError):
        unwrap(Kind.ADVERTISE, task, 1, other, limit=9, peer=1)
