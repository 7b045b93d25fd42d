"""A task differs as soon as anything of it does, and identities say yes to nothing but signatures."""

from __future__ import annotations

import hashlib

import pytest

from secagg.errors import ParameterError
from secagg.masking.keys import Identity
from secagg.masking.task import PartyKeys, Registry, Task, roster_digest

MODEL, NONCE, CONFIG = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32


def test_the_identifier_is_of_all_that_a_task_is():
    task = Task(MODEL, 7, NONCE)
    whole = b"secagg task v1" + CONFIG + MODEL + (7).to_bytes(8, "little") + NONCE
    assert task.identifier(CONFIG) == hashlib.sha256(whole).digest()
    others = [Task(CONFIG, 7, NONCE), Task(MODEL, 8, NONCE), Task(MODEL, 7, MODEL), Task(NONCE, 7, MODEL)]
    identifiers = {other.identifier(CONFIG) for other in (task, *others)} | {task.identifier(MODEL)}
    assert len(identifiers) == 6


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": bytes(31)}, "model"),
        ({"model": "text"}, "model"),
        ({"nonce": bytes(33)}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"round": -1}, "round"),
        ({"round": 2**64}, "round"),
        ({"round": 1.0}, "round"),
        ({"round": True}, "round"),
    ],
)
def test_a_task_out_of_its_domain_is_refused(change, named):
    with pytest.raises(ParameterError, match=f"^{named} must"):
        Task(**({"model": MODEL, "round": 0, "nonce": NONCE} | change))


def test_the_last_round_is_one():
    assert Task(MODEL, 2**64 - 1, NONCE).identifier(CONFIG) != Task(MODEL, 0, NONCE).identifier(CONFIG)


def test_a_registry_says_yes_to_the_partys_own_signature_only():
    own, other = Identity(MODEL), Identity(NONCE)
    registry = Registry(own, {0: own.public, 1: other.public, 2: bytes([255]) * 32})
    signature = registry.sign(b"message")
    assert registry.verify(0, b"message", signature)
    assert registry.verify(1, b"message", other.sign(b"message"))
    for party, message, wrong in (
        (1, b"message", signature),
        (0, b"another", signature),
        (0, b"message", signature[:-1]),
        (0, b"message", signature[:-1] + bytes([signature[-1] ^ 1])),
        (0, b"message", bytes(64)),
        (2, b"message", signature),
        (3, b"message", signature),
    ):
        assert registry.verify(party, message, wrong) is False


def test_keys_of_a_party_need_no_identity():
    assert PartyKeys(Task(MODEL, 0, NONCE)).identity is None


def test_a_roster_has_another_digest_as_soon_as_anything_differs():
    first, second = bytes([4]) * 64, bytes([5]) * 64
    whole = b"secagg session v1" + NONCE + (2).to_bytes(4, "little")
    whole += (1).to_bytes(4, "little") + first + (6).to_bytes(4, "little") + second
    digests = {
        roster_digest(NONCE, parties, keys)
        for parties, keys in (([1, 6], [first, second]), ([1, 7], [first, second]), ([1, 6], [second, first]))
    }
    assert hashlib.sha256(whole).digest() in digests
    digests |= {roster_digest(MODEL, [1, 6], [first, second]), roster_digest(NONCE, [1], [first])}
    assert len(digests) == 5
