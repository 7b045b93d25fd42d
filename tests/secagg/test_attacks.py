"""What servers say that lie: to whom which list, which proofs, and what is kept from the others."""

from __future__ import annotations

import pytest

from secagg import SecAgg, SecAggPlus, simulate
from secagg._attacks import Impostor, SecondQuestion, SplitView, aliased
from secagg._overheard import Overheard, kind_of
from secagg._scene import Report
from secagg.errors import PeerProtocolError
from secagg.masking.keys import KEY_BYTES, KeyPair, check_public
from secagg.masking.messages import Kind
from tests.secagg.wires import Stream, vectors_of

SIGNED = SecAgg.plan(5, 3, 8, adversary="malicious", corrupt=0.0, dropout=0.4)
GRAPH = SecAggPlus.plan(9, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.3)


class Told:
    """An attack, and all that arrived."""

    def __init__(self, make):
        self.report, self.make, self.arrived = Report(), make, []

    def attack(self, scene):
        self.heard = Overheard(scene.plan._layout)
        attack = self.make(self.heard, self.report.opened)

        def carry(letter):
            moved = attack.carry(letter)
            self.arrived.extend((letter, one) for one in moved)
            return moved

        return carry

    def of(self, kind):
        return [(sent, one) for sent, one in self.arrived if kind_of(one.payload) is kind]


def played(plan, make):
    told = Told(make)
    simulate(plan, vectors_of(plan, 2), entropy=Stream(2), adversary=told)
    return told


def test_by_default_the_later_half_of_the_holders_denies():
    told = played(SIGNED, lambda heard, opened: SplitView(heard, 2, None, opened))
    assert {party for party, (alive,) in told.heard.told.items() if 2 not in alive} == {3, 4}
    told = played(GRAPH, lambda heard, opened: SplitView(heard, 2, None, opened))
    near = [party for party in told.heard.shared[2] if party != 2]
    denied = {party for party in near if 2 not in told.heard.told[party][0]}
    assert denied == set(near[len(near) // 2 :])
    assert 2 in told.heard.told[2][0]


def test_those_who_deny_are_kept_from_the_others_and_shown_their_own_signatures():
    told = played(SIGNED, lambda heard, opened: SplitView(heard, 2, [0, 2, 4], opened))
    assert {one.src for _, one in told.of(Kind.SIGNATURE)} == {1, 2, 3}, "nobody denies itself"
    assert {one.src for _, one in told.of(Kind.UNMASK)} == {1, 2, 3}
    proofs = told.of(Kind.PROOF)
    assert sorted(one.dst for _, one in proofs) == [0, 1, 2, 3, 4]
    assert {one.dst: len(one.payload) for _, one in proofs if one.dst in (0, 4)} == {
        party: len(told.heard.message(Kind.PROOF, party, bytes(1 + 2 * 64))) for party in (0, 4)
    }


def test_the_second_question_is_asked_after_the_truth_and_after_each_answer():
    told = played(GRAPH, lambda heard, opened: SecondQuestion(heard, 2, opened))
    near = told.heard.shared[2]
    for party in range(9):
        lists = [2 in alive for alive in told.heard.told[party]]
        assert lists == ([True, False, False] if party in near else [False])
    asked = [(kind_of(sent.payload), one.dst) for sent, one in told.of(Kind.SURVIVORS)]
    assert {asked.count((Kind.UNMASK, party)) for party in near} == {1}


def test_forged_rosters_have_the_victims_own_keys_and_no_other_key_that_was_advertised():
    told = played(GRAPH, lambda heard, opened: Impostor(heard, 2, Stream(3), puppet=0, disguise=None, opened=opened))
    roster = told.heard.rosters[2]
    assert roster[2] == told.heard.advertised[2]
    assert not set(roster.values()) & {keys for party, keys in told.heard.advertised.items() if party != 2}
    assert {one.src for _, one in told.of(Kind.SHARES)} == set(range(9)) - {2}, "the victim's are kept"
    assert {one.src for _, one in told.of(Kind.INPUT)} == set(range(9)) - {2}
    assert list(told.report.opened) == [2]


def test_a_puppet_stands_in_a_neighbours_place_where_the_roster_is_full():
    for puppet in (0, 1, 3):
        told = played(
            GRAPH,
            lambda heard, opened, puppet=puppet: Impostor(
                heard, 2, None, puppet=puppet, disguise=lambda _: b"k" * 64, opened=opened
            ),
        )
        roster = told.heard.rosters[2]
        assert roster[puppet] == b"k" * 64
        assert len(roster) == GRAPH.neighbours + 1
        assert list(told.report.opened) == []


def test_an_alias_is_another_encoding_of_the_same_keys():
    one, two, own = KeyPair(bytes([1]) * 32), KeyPair(bytes([2]) * 32), KeyPair(bytes([3]) * 32)
    other = aliased(one.public + two.public + b"signature")
    assert other[2 * KEY_BYTES :] == b"signature"
    for key, start in ((one, 0), (two, KEY_BYTES)):
        changed = other[start : start + KEY_BYTES]
        assert changed != key.public
        assert own.exchange(changed) == own.exchange(key.public)
        with pytest.raises(PeerProtocolError, match="canonical"):
            check_public(changed, peer=1)
