"""Masks are taken off if every secret is what was said of it; whole sessions that end so are in test_server."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.errors import DecodeError
from secagg.masking.opening import Opening
from secagg.masking.plans import SecAgg
from tests.oracles.masked_sessions import Play

PLAN = SecAgg.plan(5, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.4)


class Ended:
    """A sum of 0, 1, 3 and 4: 2 dropped out after it had shared; all that the server needs to open it."""

    def __init__(self):
        self.play = Play.of(PLAN, 4).until("masked_input")
        self.play.round([2])
        self.play.send([0, 1, 3, 4])
        server = self.play.server
        self.answers = {party: dict(shares) for party, shares in server._answers.items()}
        self.commitments, self.keys, self.shared = dict(server._commitments), dict(server._keys), server._shared
        self.session, self.total = server._session, server._total.copy()
        self.holders = {party: [0, 1, 3, 4] for party in range(5)}
        self.near = {party: [0, 1, 3, 4] for party in range(5)}

    def opened(self):
        opening = Opening(PLAN._layout, self.session, self.keys, self.shared, self.commitments)
        assert opening.needed == [0, 1, 2, 3, 4]
        opening.take_off(self.total, self.answers, self.holders, self.near)
        return (self.total % (1 << PLAN.modulus_bits)).tolist()


@pytest.fixture
def ended():
    return Ended()


def test_all_masks_come_off(ended):
    assert ended.opened() == ended.play.expected([0, 1, 3, 4])


def test_any_holders_will_do(ended):
    for party, holders in ([0, [0, 1, 3]], [1, [3, 4, 0]], [2, [1, 3, 4]], [4, [4, 0, 1]]):
        ended.holders[party] = holders
    assert ended.opened() == ended.play.expected([0, 1, 3, 4])


def test_only_secrets_that_are_in_the_way_are_needed(ended):
    late = {party: [other for other in members if other != 2] for party, members in ended.shared.items()}
    assert Opening(PLAN._layout, ended.session, ended.keys, late, ended.commitments).needed == [0, 1, 3, 4]
    assert Opening(PLAN._layout, ended.session, ended.keys, {0: [0, 4]}, {0: b""}).needed == [0, 4]


def test_a_seed_that_was_not_committed_to_is_found(ended):
    ended.commitments[3] = bytes(32)
    with pytest.raises(DecodeError, match="committed to") as error:
        ended.opened()
    assert error.value.peer == 3


def test_a_mask_key_that_was_not_advertised_is_found(ended):
    ended.keys[2] = ended.keys[2][:32] + bytes([9]) + bytes(31)
    with pytest.raises(DecodeError, match="advertised") as error:
        ended.opened()
    assert error.value.peer == 2


@pytest.mark.parametrize("whose", [1, 2])
def test_shares_of_the_other_secret_do_not_fit(ended, whose):
    other = Play.of(PLAN, 4).until("masked_input")
    other.round([0 if whose == 2 else 1])
    other.send(sorted(other.pending))
    for party, shares in other.server._answers.items():
        if whose in shares and party in ended.answers:
            ended.answers[party][whose] = shares[whose]
    ended.holders[whose] = [party for party in (0, 1, 3, 4) if party in other.server._answers]
    with pytest.raises(DecodeError, match=r"committed to|advertised|no secret"):
        ended.opened()


def test_one_wrong_share_among_more_than_enough_is_found(ended):
    share = np.frombuffer(ended.answers[4][0], dtype="<u4").copy()
    share[5] ^= 1
    ended.answers[4][0] = share.tobytes()
    with pytest.raises(DecodeError, match="one polynomial"):
        ended.opened()
