"""Messages between a party and the server: a fixed header, a body of known length, and an HMAC over both.

::

    magic 4 | version 1 | kind 1 | zero 2 | binding 32 | party 4 | body length 8 | body | HMAC-SHA256 32

All integers are little-endian. The binding stands for session, plan and public keys; nothing of a body is looked at
before header, length and HMAC are what they must be.

::

    SHARES     nonce 32 ‖ for each other party, in order: its share, sealed, z
    RELAY      set of the parties that shared ‖ for each of them but the reader, in order: nonce 32 ‖ sealed share z
    INPUT      coefficients of all chunks, packed to the bit
    SURVIVORS  set of the parties whose input arrived
    REVEAL     the sum of the survivors' shares, sealed, z

z is :func:`sealed_bytes`: a share (:func:`secagg.threshold.sharing.share_bytes`) and a tag of 16 bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from enum import IntEnum

from secagg.errors import DecodeError
from secagg.masking.keys import KEY_BYTES, SEAL_OVERHEAD
from secagg.masking.packing import set_bytes
from secagg.threshold.parameters import Layout
from secagg.threshold.sharing import share_bytes

__all__ = ["OVERHEAD", "Kind", "body_bytes", "list_digest", "sealed_bytes", "unwrap", "wrap"]

_HEADER = struct.Struct("<4sBBH32sIQ")
_MAGIC = b"SAGT"
_VERSION = 1
_MAC_BYTES = 32

OVERHEAD = _HEADER.size + _MAC_BYTES
"""Bytes of a message beside its body."""


class Kind(IntEnum):
    """What a message is; the direction is part of it."""

    SHARES = 1
    RELAY = 2
    INPUT = 3
    SURVIVORS = 4
    REVEAL = 5


def sealed_bytes(layout: Layout) -> int:
    """Length of a sealed share."""
    return share_bytes(layout.thresholds.packed) + SEAL_OVERHEAD


def body_bytes(kind: Kind, layout: Layout) -> int:
    """Length of a body; of a relay's, if everybody shared: others are shorter."""
    parties, sealed = layout.thresholds.num_parties, sealed_bytes(layout)
    return {
        Kind.SHARES: KEY_BYTES + (parties - 1) * sealed,
        Kind.RELAY: set_bytes(parties) + (parties - 1) * (KEY_BYTES + sealed),
        Kind.INPUT: layout.packing.input_bytes,
        Kind.SURVIVORS: set_bytes(parties),
        Kind.REVEAL: sealed,
    }[kind]


def list_digest(bound: bytes, survivors: bytes) -> bytes:
    """What an answer is bound to: SHA-256 over the binding and the set of survivors as it was sent, 32 bytes."""
    return hashlib.sha256(b"secagg v1 threshold survivors" + bound + survivors).digest()


def wrap(kind: Kind, bound: bytes, party: int, body: bytes, *, key: bytes) -> bytes:
    """The message with this body.

    Args:
        kind: what it is.
        bound: 32 bytes, the binding.
        party: who sends it to the server, or whom the server sends it to.
        body: the bytes.
        key: of the link between the two.
    """
    header = _HEADER.pack(_MAGIC, _VERSION, kind, 0, bound, party, len(body))
    return b"".join((header, body, _mac(key, header, body)))


def unwrap(
    kind: Kind, bound: bytes, party: int, payload: object, *, key: bytes, most: int, peer: int | str
) -> memoryview:
    """The body of a message that is what it must be.

    Args:
        kind: as in :func:`wrap`, and so are the binding, the party and the key.
        bound: see there.
        party: see there.
        payload: what came.
        key: see there.
        most: the most bytes that its body may have.
        peer: who sent it, for the error.

    Returns:
        The body.

    Raises:
        DecodeError: it is not such a message; what is wrong with it is not told.
    """
    if not isinstance(payload, bytes) or not OVERHEAD <= len(payload) <= OVERHEAD + most:
        raise DecodeError("the message is not one of this round: its length is none that the plan allows.", peer=peer)
    body = memoryview(payload)[_HEADER.size : -_MAC_BYTES]
    header = _HEADER.pack(_MAGIC, _VERSION, kind, 0, bound, party, len(body))
    if payload[: _HEADER.size] != header or not hmac.compare_digest(_mac(key, header, body), payload[-_MAC_BYTES:]):
        raise DecodeError("the message is not one of this round, or not authentic.", peer=peer)
    return body


def _mac(key: bytes, header: bytes, body: bytes | memoryview) -> bytes:
    """HMAC-SHA256 over header and body; the header fixes where the body starts and ends."""
    mac = hmac.new(key, header, hashlib.sha256)
    mac.update(body)
    return mac.digest()
