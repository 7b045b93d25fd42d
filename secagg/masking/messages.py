"""Messages of the masking protocols: a fixed header, a body of known length, and a digest.

::

    magic 4 | version 1 | kind 1 | zero 2 | task 32 | party 4 | body length 8 | body | SHA-256 32

All integers are little-endian. The task, the kind and the party that a message is from (or to, if the server sends it)
are what a session expects, or nothing of the body is looked at; lengths are compared before anything is allocated. The
digest finds accidents, not forgeries: who sent a message is the transport's matter, and in the malicious setting the
signatures' inside.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum

from secagg.errors import DecodeError

__all__ = ["OVERHEAD", "Kind", "unwrap", "wrap"]

_HEADER = struct.Struct("<4sBBH32sIQ")
_MAGIC = b"SAGM"
_VERSION = 1
_DIGEST_BYTES = 32

OVERHEAD = _HEADER.size + _DIGEST_BYTES
"""Bytes of a message beside its body."""


class Kind(IntEnum):
    """What a message is; the direction is part of it."""

    ADVERTISE = 1
    ROSTER = 2
    SHARES = 3
    RELAY = 4
    INPUT = 5
    SURVIVORS = 6
    SIGNATURE = 7
    PROOF = 8
    UNMASK = 9


def wrap(kind: Kind, task: bytes, party: int, body: bytes) -> bytes:
    """The message with this body.

    Args:
        kind: what it is.
        task: 32 bytes.
        party: who sends it to the server, or whom the server sends it to.
        body: the bytes.
    """
    head = _HEADER.pack(_MAGIC, _VERSION, kind, 0, task, party, len(body))
    return head + body + hashlib.sha256(head + body).digest()


def unwrap(kind: Kind, task: bytes, party: int, payload: object, *, limit: int, peer: int | str) -> bytes:
    """The body of a message that is what it must be.

    Args:
        kind: as in :func:`wrap`, and so are task and party.
        task: see there.
        party: see there.
        payload: what came.
        limit: the most bytes that its body may have.
        peer: who sent it, for the error.

    Returns:
        The body.

    Raises:
        DecodeError: it is not such a message; what is wrong with it is not told.
    """
    if not isinstance(payload, bytes) or not OVERHEAD <= len(payload) <= OVERHEAD + limit:
        raise DecodeError("the message is not one of this round: its length is none that the plan allows.", peer=peer)
    body = payload[_HEADER.size : -_DIGEST_BYTES]
    head = _HEADER.pack(_MAGIC, _VERSION, kind, 0, task, party, len(body))
    found = hashlib.sha256(memoryview(payload)[:-_DIGEST_BYTES]).digest()
    if payload[: _HEADER.size] != head or found != payload[-_DIGEST_BYTES:]:
        raise DecodeError("the message is not one of this round: its header or digest is another.", peer=peer)
    return body
