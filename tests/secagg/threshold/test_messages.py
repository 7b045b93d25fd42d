"""Messages are what a session expects, to the byte, or nothing of them is looked at."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from secagg.errors import DecodeError
from secagg.threshold.messages import OVERHEAD, Kind, body_bytes, list_digest, unwrap, wrap
from secagg.threshold.plan import ThresholdSum

BOUND, KEY = bytes(range(32)), bytes(range(32, 64))
WHAT = {"key": KEY, "most": 100, "peer": 3}


def test_a_message_is_these_bytes():
    header = b"SAGT\x01\x03\0\0" + BOUND + b"\x07\0\0\0" + b"\x05" + bytes(7)
    body = b"hello"
    wanted = header + body + hmac.new(KEY, header + body, hashlib.sha256).digest()
    assert wrap(Kind.INPUT, BOUND, 7, body, key=KEY) == wanted
    assert len(wanted) == OVERHEAD + 5
    assert unwrap(Kind.INPUT, BOUND, 7, wanted, **WHAT) == body


def test_every_changed_bit_is_refused():
    message = wrap(Kind.INPUT, BOUND, 7, b"hello", key=KEY)
    for bit in range(8 * len(message)):
        changed = bytearray(message)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeError) as caught:
            unwrap(Kind.INPUT, BOUND, 7, bytes(changed), **WHAT)
        assert caught.value.peer == 3


@pytest.mark.parametrize(
    "change", [{"kind": Kind.REVEAL}, {"bound": KEY}, {"party": 8}, {"key": BOUND}, {"most": 4}, {"payload": None}]
)
def test_a_message_of_something_else_is_refused(change):
    message = wrap(Kind.INPUT, BOUND, 7, b"hello", key=KEY)
    with pytest.raises(DecodeError):
        unwrap(**{"kind": Kind.INPUT, "bound": BOUND, "party": 7, "payload": message, **WHAT, **change})


@pytest.mark.parametrize(
    ("n", "threshold", "coefficients", "sealed"),
    [(15, 11, 123 * 4096 * 46 // 8, 8720), (15, 14, 123 * 4096 * 46 // 8, 2192), (128, 116, 3526656, 339)],
)
def test_bodies_have_the_lengths_of_the_page(n, threshold, coefficients, sealed):
    plan = ThresholdSum.plan(n, 10**6, 16, threshold=threshold, corrupt=0.1, dropout=0.1)
    sizes = {kind: body_bytes(kind, plan._layout) for kind in Kind}
    named = -(-n // 8)
    assert sizes == {
        Kind.SHARES: 32 + (n - 1) * sealed,
        Kind.RELAY: named + (n - 1) * (32 + sealed),
        Kind.INPUT: coefficients,
        Kind.SURVIVORS: named,
        Kind.REVEAL: sealed,
    }
    assert plan.bytes_up == 3 * OVERHEAD + sizes[Kind.SHARES] + sizes[Kind.INPUT] + sizes[Kind.REVEAL]
    assert plan.bytes_down == 2 * OVERHEAD + sizes[Kind.RELAY] + sizes[Kind.SURVIVORS]


def test_a_digest_of_survivors_differs_by_binding_and_set():
    digests = [list_digest(BOUND, b"\x07"), list_digest(BOUND, b"\x03"), list_digest(KEY, b"\x07")]
    assert len(set(digests)) == 3
    assert digests[0] == hashlib.sha256(b"secagg v1 threshold survivors" + BOUND + b"\x07").digest()
