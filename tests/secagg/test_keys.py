"""Who holds what: the server's keys open nothing, and no key shows itself."""

import pytest

import secagg
from secagg.errors import ParameterError
from secagg.he.keys import ClientKeys, ServerKeys

KEYS = secagg.BFVSum.plan(3, 4, 8).keygen()


def test_the_server_holds_nothing_that_opens_a_ciphertext():
    held = b"".join([KEYS.server.session, *KEYS.server.link_keys])
    for client in KEYS.clients:
        assert client.secret_key not in held
        assert client.group_key not in held
    assert len({client.secret_key for client in KEYS.clients}) == 1
    assert len({client.link_key for client in KEYS.clients}) == 3


def test_keys_do_not_show_themselves():
    for shown in (repr(KEYS), repr(KEYS.clients[0]), repr(KEYS.server)):
        for secret in (KEYS.clients[0].secret_key, KEYS.clients[0].group_key, KEYS.clients[0].link_key):
            assert repr(secret)[2:-1] not in shown
            assert secret.hex() not in shown


def test_every_session_has_keys_of_its_own():
    other = secagg.BFVSum.plan(3, 4, 8).keygen()
    assert other.server.session != KEYS.server.session
    assert other.clients[0].secret_key != KEYS.clients[0].secret_key


@pytest.mark.parametrize("bad", [b"", b"short", bytes(33), "x" * 32, None])
def test_lengths_are_checked(bad):
    good = bytes(32)
    with pytest.raises(ParameterError, match="32 bytes"):
        ClientKeys(0, good, b"key", bad, good)
    with pytest.raises(ParameterError, match="32 bytes"):
        ServerKeys(good, (good, bad))
