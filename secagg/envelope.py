"""Authenticated envelopes: a fixed header, a body of exact length, and an HMAC over both.

::

    magic 4 | version 1 | kind 1 | session 32 | config 32 | party 4 | chunks 4 | body length 8 | body | HMAC-SHA256 32

All integers are little-endian. Nothing of a body is looked at before its envelope has been verified.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import final

from secagg.errors import DecodeError

__all__ = ["OVERHEAD", "Channel", "Kind", "digest"]

_HEADER = struct.Struct("<4sBB32s32sIIQ")
_MAGIC = b"SAGG"
_VERSION = 1
_MAC_BYTES = 32

OVERHEAD = _HEADER.size + _MAC_BYTES
"""Bytes of an envelope beside its body."""


class Kind(IntEnum):
    """What a message is; the direction is part of it, so that nobody's message can be sent back to it."""

    INPUT = 1
    SUM = 2


def digest(name: str, *numbers: int) -> bytes:
    """A plan as 32 bytes: SHA-256 over its name and its numbers, length-prefixed and of fixed width."""
    encoded = name.encode()
    body = b"".join(number.to_bytes(16, "little") for number in numbers)
    return hashlib.sha256(b"secagg plan v1" + len(encoded).to_bytes(4, "little") + encoded + body).digest()


@final
@dataclass(frozen=True, slots=True)
class Channel:
    """What one party and the server share: the session, the plan, and a key.

    Args:
        session: 32 bytes, of this session only.
        config: 32 bytes, the plan's digest.
        party: the party at one end.
        chunks: ciphertexts of one message.
        key: 32 bytes, known to this party and the server.
        limit: longest payload that is looked at, in bytes.
    """

    session: bytes = field(repr=False)
    config: bytes = field(repr=False)
    party: int
    chunks: int
    key: bytes = field(repr=False)
    limit: int

    def wrap(self, kind: Kind, body: bytes) -> bytes:
        """The message of a body."""
        header = self._header(kind, len(body))
        return b"".join((header, body, self._mac(header, body)))

    def unwrap(self, kind: Kind, payload: bytes, *, peer: int | str) -> bytes:
        """The body of an authentic message of this session, plan, party, kind and exact length.

        Args:
            kind: what the message must be.
            payload: the bytes.
            peer: who to name in the error.

        Returns:
            The body.

        Raises:
            DecodeError: it is not.
        """
        if not isinstance(payload, bytes) or not OVERHEAD <= len(payload) <= self.limit:
            raise DecodeError(
                "payload must be the bytes of one message, of a length that this plan can have.", peer=peer
            )
        body_length = len(payload) - OVERHEAD
        header = payload[: _HEADER.size]
        if header[:5] != _MAGIC + bytes([_VERSION]):
            raise DecodeError(f"payload is not a secagg message of format version {_VERSION}.", peer=peer)
        if header[6:70] != self.session + self.config:
            raise DecodeError("payload belongs to another session, or to another plan.", peer=peer)
        body = payload[_HEADER.size : _HEADER.size + body_length]
        if header != self._header(kind, body_length) or not hmac.compare_digest(
            payload[-_MAC_BYTES:], self._mac(header, body)
        ):
            raise DecodeError("payload is not authentic: truncated, changed, or from somebody else.", peer=peer)
        return body

    def _header(self, kind: Kind, length: int) -> bytes:
        """The one header that a message of this channel can have."""
        return _HEADER.pack(_MAGIC, _VERSION, kind, self.session, self.config, self.party, self.chunks, length)

    def _mac(self, header: bytes, body: bytes) -> bytes:
        """HMAC-SHA256 over header and body (the header fixes where the body starts and ends)."""
        mac = hmac.new(self.key, header, hashlib.sha256)
        mac.update(body)
        return mac.digest()
