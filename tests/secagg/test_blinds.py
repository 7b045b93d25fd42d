"""Blinds of parties: the opener's sums are those of the parties, and nobody has another's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import DecodeError
from secagg.he.blinds import PartyBlinds, party_key
from secagg.tag import SumTag

ROOT, SESSION, CONFIG, T = bytes(range(32)), b"s" * 32, b"c" * 32, 2199023190017


def _blinds(key_of, **changed):
    return PartyBlinds(key_of, **({"session": SESSION, "config": CONFIG, "modulus": T, "chunks": 3} | changed))


def _key(party, root=ROOT, session=SESSION):
    return party_key(root, session, party)


def _alone(party):
    return _blinds({party: _key(party)}.__getitem__)


@given(st.lists(st.integers(0, 30), unique=True), st.integers(0, 2))
def test_the_opener_has_the_sums_of_what_the_parties_have(parties, chunk):
    opener = _blinds(_key)
    assert opener.tag(chunk, parties) == sum(_alone(party).tag(chunk, [party]) for party in parties) % T
    pads = [_alone(party).pad(chunk, [party], 5).tolist() for party in parties]
    assert opener.pad(chunk, parties, 5).tolist() == [sum(pad[slot] for pad in pads) % T for slot in range(5)]


def test_another_set_of_parties_has_another_sum():
    blinds = _blinds(_key)
    sums = [blinds.tag(1, parties) for parties in ([0], [0, 1], [1], [0, 1], [0])]
    assert sums[1] == sums[3] == (sums[0] + sums[2]) % T
    assert sums[0] == sums[4] != sums[2]


def test_whatever_a_blind_is_for_is_in_it():
    found = {_blinds(_key).tag(chunk, [0]) for chunk in range(3)}
    found |= {int(value) for chunk in range(3) for value in _blinds(_key).pad(chunk, [0], 4)}
    for changed in ({"config": b"d" * 32}, {"session": b"t" * 32}):
        found |= {_blinds(_key, **changed).tag(0, [0]), int(_blinds(_key, **changed).pad(0, [0], 1)[0])}
    found |= {_blinds(_key).tag(0, [1]), int(_blinds(_key).pad(0, [1], 1)[0])}
    assert len(found) == 3 + 12 + 4 + 2
    assert all(0 <= value < T for value in found)
    assert len({_key(0), _key(1), _key(0, root=bytes(32)), _key(0, session=bytes(32))}) == 4


def test_a_party_has_no_blinds_but_its_own():
    for asked in (lambda: _alone(2).tag(0, [1]), lambda: _alone(2).pad(0, [1], 4)):
        with pytest.raises(KeyError):
            asked()


def _opens(blinds_of, guess, vector):
    """Whether a sum opens after a lying server that a party helps has tripled slots of a victim it guesses at.

    The helper knows the group key, and so the factors of the tags and what pads there are made of it: of three slots
    are tripled fractions that leave the tag of the guessed values and the multiples of these factors as they were.
    """
    group = {"session": SESSION, "config": CONFIG, "modulus": T, "num_parties": 3, "slots": 3}
    tags = [SumTag(bytes(32), **group, blinds=blinds_of(party)) for party in range(3)]
    alpha = [tags[0]._tag(np.eye(3, dtype=np.uint64)[j], 0, []) for j in range(3)]
    gamma = [int(v) for v in tags[0]._stream("pad factors", 0, 3)]
    # u with Σ α_j u_j γ_j = 0 and Σ α_j u_j guess_j = 0: the cross product of both rows
    rows = [[a * g % T for a, g in zip(alpha, other, strict=True)] for other in (gamma, guess)]
    (a, b, c), (d, e, f) = rows
    change = [(b * f - c * e) % T, (c * d - a * f) % T, (a * e - b * d) % T]
    assert any(change)
    sealed = [tag.seal(np.array(vector, dtype=np.uint64), chunk=0, party=i).tolist() for i, tag in enumerate(tags)]
    sums = [sum(column) % T for column in zip(*sealed, strict=True)]
    for slot in range(3):
        sums[slot] = (sums[slot] + change[slot] * sealed[2][slot]) % T
    opener = SumTag(bytes(32), **group, blinds=blinds_of(None))
    try:
        opener.open(np.array(sums, dtype=np.uint64), chunk=0, survivors=[0, 1, 2])
    except DecodeError:
        return False
    return True


def test_a_right_guess_with_the_help_of_a_party_does_not_open():
    def own(party):
        return _blinds(_key) if party is None else _alone(party)

    vector = [5, 7, 11]
    # with the group key alone, whoever has it can try a guess; with a pad for each slot of each party, nobody can
    assert _opens(lambda _: None, vector, vector)
    assert not _opens(lambda _: None, [5, 7, 12], vector)
    assert not _opens(own, vector, vector)
    assert not _opens(own, [5, 7, 12], vector)
