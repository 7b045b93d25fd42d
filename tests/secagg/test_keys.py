"""Who holds what: the server's keys open nothing, and no key shows itself."""

import copy
import pickle
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

import secagg
from secagg.errors import DecodeError, LocalProtocolError, ParameterError
from secagg.he.keys import ClientKeys, OpenerKeys, PublicClientKeys, PublicServerKeys, ServerKeys

KEYS = secagg.BFVSum.plan(3, 4, 8).keygen()
PUBLIC = secagg.BFVSum.plan(3, 4, 8, key="public").keygen()
ROLES = [KEYS.clients[1], KEYS.server, PUBLIC.clients[1], PUBLIC.server, PUBLIC.opener]


def test_the_server_holds_nothing_that_opens_a_ciphertext():
    held = b"".join([KEYS.server.session, *KEYS.server.link_keys])
    for client in KEYS.clients:
        assert client.secret_key not in held
        assert client.group_key not in held
    assert len({client.secret_key for client in KEYS.clients}) == 1
    assert len({client.link_key for client in KEYS.clients}) == 3


def test_keys_do_not_show_themselves():
    for keys in (KEYS, PUBLIC, *ROLES):
        for shown in (repr(keys), str(keys), f"{keys}"):
            for role in ROLES:
                for each in fields(role):
                    secret = getattr(role, each.name)
                    if isinstance(secret, bytes):
                        assert repr(secret)[2:-1] not in shown
                        assert secret.hex() not in shown
    assert [repr(role) for role in ROLES] == [
        "ClientKeys(party=1)",
        "ServerKeys()",
        "PublicClientKeys(party=1)",
        "PublicServerKeys()",
        "OpenerKeys()",
    ]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: type(role).__name__)
def test_keys_are_not_pickled_or_copied(role):
    for step in (copy.copy, copy.deepcopy, pickle.dumps, lambda keys: pickle.dumps({"keys": [keys]})):
        with pytest.raises(LocalProtocolError, match="secret_bytes"):
            step(role)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: type(role).__name__)
def test_keys_are_written_where_that_is_said(role):
    data = role.secret_bytes()
    assert type(role).from_secret_bytes(data) == role
    for other in {type(role) for role in ROLES} - {type(role)}:
        with pytest.raises(DecodeError, match=other.__name__):
            other.from_secret_bytes(data)
    for bad in (b"", data[:5], data[:-1], data + b"\0", data[:20] + data[21:], None, bytearray(data)):
        with pytest.raises(DecodeError):
            type(role).from_secret_bytes(bad)


@given(st.integers(0, 10**6), st.integers(0, 7), st.integers(0, 10**6))
def test_damaged_keys_are_refused_or_other_keys(place, bit, cut):
    role = KEYS.server
    data = bytearray(role.secret_bytes())
    data[place % len(data)] ^= 1 << bit
    for changed in (bytes(data), bytes(data[: cut % len(data)])):
        try:
            found = ServerKeys.from_secret_bytes(changed)
        except DecodeError:
            continue
        assert found != role
        assert len(found.secret_bytes()) == len(data)


def test_every_session_has_keys_of_its_own():
    other = secagg.BFVSum.plan(3, 4, 8).keygen()
    assert other.server.session != KEYS.server.session
    assert other.clients[0].secret_key != KEYS.clients[0].secret_key


@pytest.mark.parametrize("bad", [b"", b"short", bytes(33), "x" * 32, None])
def test_lengths_are_checked(bad):
    good = bytes(32)
    for made in (
        lambda: ClientKeys(0, good, b"key", bad, good),
        lambda: ServerKeys(good, (good, bad)),
        lambda: PublicClientKeys(0, good, b"key", good, bad, good),
        lambda: PublicServerKeys(good, (good,), bad),
        lambda: OpenerKeys(good, b"key", good, bad, good),
    ):
        with pytest.raises(ParameterError, match="32 bytes"):
            made()


def test_types_are_checked():
    good = bytes(32)
    for made in (
        lambda: ClientKeys(-1, good, b"key", good, good),
        lambda: ClientKeys("0", good, b"key", good, good),
        lambda: ClientKeys(0, good, "key", good, good),
        lambda: PublicClientKeys(0, good, None, good, good, good),
        lambda: ServerKeys(good, [good]),
        lambda: PublicServerKeys(good, None, good),
    ):
        with pytest.raises(ParameterError):
            made()
