"""Keys are types that refuse what is none, show nothing, and bind what follows from them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secagg.errors import ParameterError, PeerProtocolError
from secagg.masking.keys import KeyPair
from secagg.threshold.keys import SERVER, ThresholdKeys, ThresholdServerKeys, binding, link_key, pair_keys

SECRETS = [bytes([k]) * 32 for k in range(1, 5)]
PUBLICS = tuple(KeyPair(secret).public for secret in SECRETS)
ROSTER, SESSION = PUBLICS[:3], bytes(range(32))
KEYS = ThresholdKeys(1, SESSION, SECRETS[1], ROSTER, PUBLICS[3])
SERVER_KEYS = ThresholdServerKeys(SESSION, SECRETS[3], ROSTER)
ALIAS = (int.from_bytes(PUBLICS[0], "little") + (1 << 255)).to_bytes(32, "little")


@pytest.mark.parametrize(
    "wrong",
    [
        {"session": bytes(31)},
        {"session": "s" * 32},
        {"secret": SECRETS[0]},
        {"secret": bytes(31)},
        {"party": 0},
        {"party": 3},
        {"party": -1},
        {"party": True},
        {"roster": list(ROSTER)},
        {"roster": (ROSTER[1], ROSTER[1], ROSTER[2])},
        {"roster": (ALIAS, *ROSTER[1:])},
        {"roster": (b"", *ROSTER[1:])},
        {"roster": (None, *ROSTER[1:])},
        {"roster": ()},
        {"server": ROSTER[1]},
        {"server": ROSTER[0]},
        {"server": None},
        {"server": ALIAS},
    ],
)
def test_what_are_no_keys_of_a_party_is_refused(wrong):
    with pytest.raises(ParameterError):
        replace(KEYS, **wrong)


@pytest.mark.parametrize(
    "wrong", [{"session": b""}, {"secret": SECRETS[1]}, {"secret": b""}, {"roster": ROSTER[:2] * 2}, {"roster": None}]
)
def test_what_are_no_keys_of_a_server_is_refused(wrong):
    with pytest.raises(ParameterError):
        replace(SERVER_KEYS, **wrong)


def test_nothing_of_a_key_is_shown():
    assert repr(KEYS) == "ThresholdKeys(party=1)"
    assert repr(SERVER_KEYS) == "ThresholdServerKeys()"


def test_the_binding_differs_by_everything_it_stands_for():
    parts = {"session": SESSION, "config": bytes(32), "server": PUBLICS[3], "roster": ROSTER}
    changed = [
        {"session": bytes(32)},
        {"config": SESSION},
        {"server": ROSTER[0], "roster": (PUBLICS[3], *ROSTER[1:])},
        {"roster": ROSTER[::-1]},
        {"roster": ROSTER[:2]},
    ]
    bound = [binding(**parts)] + [binding(**{**parts, **change}) for change in changed]
    assert len(set(bound)) == len(bound)
    assert {len(value) for value in bound} == {32}


def test_both_ends_of_a_link_have_one_key_and_each_link_another():
    mine = pair_keys(KeyPair(SECRETS[1]), {0: ROSTER[0], SERVER: PUBLICS[3]}, session=SESSION, mine=1)
    theirs = pair_keys(KeyPair(SECRETS[3]), dict(enumerate(ROSTER)), session=SESSION, mine=SERVER)
    bound = bytes(32)
    assert link_key(mine[SERVER], bound) == link_key(theirs[1], bound)
    links = [link_key(pair, bound) for pair in theirs.values()] + [
        link_key(mine[0], bound),
        link_key(theirs[1], SESSION),
    ]
    assert len(set(links)) == len(links)


def test_a_key_of_low_order_is_refused():
    with pytest.raises(PeerProtocolError, match="low order"):
        pair_keys(KeyPair(SECRETS[1]), {0: bytes(32)}, session=SESSION, mine=1)
