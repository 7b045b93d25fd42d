from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import DecodeError
from secagg.envelope import OVERHEAD, Channel, Kind, digest

CHANNEL = Channel(session=bytes([1]) * 32, config=bytes([2]) * 32, party=5, chunks=3, key=bytes([3]) * 32, limit=4096)
MESSAGE = CHANNEL.wrap(Kind.INPUT, b"the body of a message")


@given(st.binary(max_size=200), st.sampled_from(Kind))
def test_round_trip_and_exact_length(body, kind):
    payload = CHANNEL.wrap(kind, body)
    assert len(payload) == OVERHEAD + len(body)
    assert CHANNEL.unwrap(kind, payload, peer=5) == body


def test_every_bit_flip_is_refused():
    for bit in range(8 * len(MESSAGE)):
        changed = bytearray(MESSAGE)
        changed[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(DecodeError) as caught:
            CHANNEL.unwrap(Kind.INPUT, bytes(changed), peer=5)
        assert caught.value.peer == 5


def test_every_truncation_and_any_suffix_is_refused():
    for payload in [MESSAGE[:end] for end in range(len(MESSAGE))] + [MESSAGE + b"\0", b"\0" + MESSAGE, MESSAGE * 2]:
        with pytest.raises(DecodeError):
            CHANNEL.unwrap(Kind.INPUT, payload, peer=5)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(payload):
    with pytest.raises(DecodeError):
        CHANNEL.unwrap(Kind.INPUT, payload, peer=5)


@pytest.mark.parametrize(
    "other",
    [
        replace(CHANNEL, session=bytes(32)),
        replace(CHANNEL, config=bytes(32)),
        replace(CHANNEL, party=6),
        replace(CHANNEL, chunks=4),
        replace(CHANNEL, key=bytes(32)),
        replace(CHANNEL, limit=len(MESSAGE) - 1),
    ],
    ids=["session", "plan", "party", "chunks", "key", "limit"],
)
def test_messages_of_another_channel_are_refused(other):
    with pytest.raises(DecodeError):
        other.unwrap(Kind.INPUT, MESSAGE, peer=5)


def test_a_message_cannot_be_sent_back_as_the_other_kind():
    with pytest.raises(DecodeError):
        CHANNEL.unwrap(Kind.SUM, MESSAGE, peer="server")


@pytest.mark.parametrize("bad", [None, "text", 7, [1, 2]])
def test_what_is_no_bytes_is_refused(bad):
    with pytest.raises(DecodeError):
        CHANNEL.unwrap(Kind.INPUT, bad, peer=5)


def test_repr_shows_no_key():
    assert repr(CHANNEL) == "Channel(party=5, chunks=3, limit=4096)"


def test_digests_of_different_plans_differ():
    digests = {digest("a", 1, 2), digest("a", 2, 1), digest("b", 1, 2), digest("a", 1), digest("a", 1, 2, 0)}
    assert len(digests) == 5
