"""The envelope of every message: its fields where they are said to be, and nothing else opens."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError
from secagg.masking.messages import OVERHEAD, Kind, unwrap, wrap

TASK, BODY = bytes(range(32)), b"what it holds"
KINDS = list(Kind)


def opened(payload, *, kind=Kind.RELAY, task=TASK, party=3, limit=13):
    return unwrap(kind, task, party, payload, limit=limit, peer="server")


def test_a_message_byte_by_byte():
    payload = wrap(Kind.RELAY, TASK, 3, BODY)
    assert payload[:8] == b"SAGM\x01\x04\x00\x00"
    assert payload[8:40] == TASK
    assert struct.unpack("<IQ", payload[40:52]) == (3, len(BODY))
    assert payload[52:-32] == BODY
    assert payload[-32:] == hashlib.sha256(payload[:-32]).digest()
    assert len(payload) == OVERHEAD + len(BODY) == 84 + len(BODY)
    assert [int(kind) for kind in KINDS] == list(range(1, 10)), "numbers of the wire never change"


@given(st.sampled_from(KINDS), st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1), st.binary(max_size=200))
def test_what_is_wrapped_unwraps(kind, task, party, body):
    payload = wrap(kind, task, party, body)
    assert unwrap(kind, task, party, payload, limit=len(body), peer=party) == body


def test_every_flipped_bit_is_found():
    payload = wrap(Kind.RELAY, TASK, 3, BODY)
    assert opened(payload) == BODY
    for place in range(8 * len(payload)):
        changed = bytearray(payload)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(DecodeError):
            opened(bytes(changed))


def test_it_opens_as_what_it_is_only():
    payload = wrap(Kind.RELAY, TASK, 3, BODY)
    others = [{"kind": kind} for kind in KINDS if kind is not Kind.RELAY]
    for other in (*others, {"task": bytes(32)}, {"party": 2}, {"limit": len(BODY) - 1}):
        with pytest.raises(DecodeError) as error:
            opened(payload, **other)
        assert error.value.peer == "server"
    for cut in range(len(payload)):
        with pytest.raises(DecodeError):
            opened(payload[:cut])
    with pytest.raises(DecodeError):
        opened(payload + b"\0", limit=100)


@pytest.mark.parametrize("payload", [None, 7, "text", bytearray(100), memoryview(bytes(100)), [1]])
def test_only_bytes_are_looked_at(payload):
    with pytest.raises(DecodeError, match="length"):
        opened(payload)


class Vast(bytes):
    """A message that says it is vast, and must not be touched."""

    def __len__(self):
        return 2**50

    def __getitem__(self, place):
        raise AssertionError("looked at before its length was compared")


def test_a_vast_message_is_refused_unseen():
    with pytest.raises(DecodeError, match="length"):
        opened(Vast(b"x"))


def test_a_length_that_the_header_claims_allocates_nothing():
    payload = bytearray(wrap(Kind.RELAY, TASK, 3, BODY))
    payload[44:52] = (2**60).to_bytes(8, "little")
    payload[-32:] = hashlib.sha256(payload[:-32]).digest()
    with pytest.raises(DecodeError):
        opened(bytes(payload), limit=2**61)
