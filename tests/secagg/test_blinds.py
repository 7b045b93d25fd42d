"""Blinds of parties: the opener's sums are those of the parties, and nobody has another's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.he.blinds import PartyBlinds, party_key

ROOT, SESSION, CONFIG, T = bytes(range(32)), b"s" * 32, b"c" * 32, 2199023190017


def _blinds(key_of, **changed):
    return PartyBlinds(key_of, **({"session": SESSION, "config": CONFIG, "modulus": T, "chunks": 3} | changed))


def _key(party, root=ROOT, session=SESSION):
    return party_key(root, session, party)


@given(st.lists(st.integers(0, 30), unique=True), st.integers(0, 2), st.sampled_from(["tag blinds", "pad blinds"]))
def test_the_opener_has_the_sum_of_what_the_parties_have(parties, chunk, purpose):
    alone = [_blinds({party: _key(party)}.__getitem__).sum(purpose, chunk, [party]) for party in parties]
    assert _blinds(_key).sum(purpose, chunk, parties) == sum(alone) % T


def test_another_set_of_parties_has_another_sum():
    blinds = _blinds(_key)
    sums = [blinds.sum("tag blinds", 1, parties) for parties in ([0], [0, 1], [1], [0, 1], [0])]
    assert sums[1] == sums[3] == (sums[0] + sums[2]) % T
    assert sums[0] == sums[4] != sums[2]


def test_whatever_a_blind_is_for_is_in_it():
    blinds = {_blinds(_key).sum(purpose, chunk, [0]) for purpose in ("tag blinds", "pad blinds") for chunk in range(3)}
    blinds |= {_blinds(_key, config=b"d" * 32).sum("tag blinds", 0, [0])}
    blinds |= {_blinds(_key, session=b"t" * 32).sum("tag blinds", 0, [0])}
    blinds |= {_blinds(_key).sum("tag blinds", 0, [1])}
    assert len(blinds) == 9
    assert all(0 <= blind < T for blind in blinds)
    assert len({_key(0), _key(1), _key(0, root=bytes(32)), _key(0, session=bytes(32))}) == 4


def test_a_party_has_no_blinds_but_its_own():
    with pytest.raises(KeyError):
        _blinds({2: _key(2)}.__getitem__).sum("tag blinds", 0, [1])
