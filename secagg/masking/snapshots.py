"""Snapshots: the state of a session as bytes, sealed under a key of the caller's.

A value is written as one letter, a length and its content: ``n`` None, ``i`` integers, ``b`` bytes, ``l`` lists and
``d`` dicts from integers, in ascending order. So every state has one encoding, and nothing is ever evaluated.
"""

from __future__ import annotations

import struct
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from secagg.checks import check_bytes
from secagg.errors import DecodeError, ParameterError
from secagg.prg import draw

__all__ = ["KEY_BYTES", "Guard", "seal", "unseal"]

KEY_BYTES = 32
"""Length of a snapshot's key."""

_NONCE_BYTES = 12
_HEAD = struct.Struct("<cQ")
_BROKEN = "the snapshot does not open: it is another key's or another session's, or was changed."


class Guard(Protocol):
    """What keeps a session from answering twice: a register that outlives every snapshot. The caller supplies it."""

    def claim(self, session: bytes, step: str, digest: bytes) -> bool:
        """Whether this session may send, in this step, the message with this digest.

        True if nothing was claimed for session and step, which the digest then holds for good, or if it was this very
        digest; False for any other. It must be atomic, and stored before it returns.
        """


def seal(state: dict[str, Any], key: bytes, about: bytes) -> bytes:
    """A state, encrypted and authenticated (ChaCha20-Poly1305, RFC 8439, under a fresh nonce of the system's).

    Args:
        state: None, int >= 0, bytes, lists and dicts from integers, by name.
        key: 32 secret bytes.
        about: what the snapshot belongs to; it opens only there.

    Returns:
        The snapshot.
    """
    cipher = ChaCha20Poly1305(check_bytes("key", key, KEY_BYTES))
    nonce = draw(None, _NONCE_BYTES)
    return nonce + cipher.encrypt(
        nonce, _write([part for name in sorted(state) for part in (name.encode(), state[name])]), about
    )


def unseal(snapshot: bytes, key: bytes, about: bytes) -> dict[str, Any]:
    """The state that :func:`seal` sealed.

    Raises:
        ParameterError: the key is not 32 bytes, or the snapshot not bytes.
        DecodeError: it does not open; why is not told.
    """
    cipher = ChaCha20Poly1305(check_bytes("key", key, KEY_BYTES))
    if not isinstance(snapshot, bytes):
        raise ParameterError(f"snapshot must be bytes, got {type(snapshot).__name__}.")
    try:
        plain = cipher.decrypt(snapshot[:_NONCE_BYTES], snapshot[_NONCE_BYTES:], about)
    except (InvalidTag, ValueError):
        raise DecodeError(_BROKEN) from None
    parts, _ = _read(memoryview(plain), 0)
    return {name.decode(): value for name, value in zip(parts[::2], parts[1::2], strict=True)}


def _write(value: Any) -> bytes:
    """One value."""
    if value is None:
        return _HEAD.pack(b"n", 0)
    if isinstance(value, int):
        return _HEAD.pack(b"i", value)
    if isinstance(value, bytes):
        return _HEAD.pack(b"b", len(value)) + value
    if isinstance(value, dict):
        items = [part for name in sorted(value) for part in (name, value[name])]
        return _HEAD.pack(b"d", len(items)) + b"".join(map(_write, items))
    return _HEAD.pack(b"l", len(value)) + b"".join(map(_write, value))


def _read(data: memoryview, at: int) -> tuple[Any, int]:
    """One value of what was authentic, and where the next begins."""
    kind, size = _HEAD.unpack_from(data, at)
    at += _HEAD.size
    if kind == b"n":
        return None, at
    if kind == b"i":
        return size, at
    if kind == b"b":
        return bytes(data[at : at + size]), at + size
    items = []
    for _ in range(size):
        value, at = _read(data, at)
        items.append(value)
    return (dict(zip(items[::2], items[1::2], strict=True)) if kind == b"d" else items), at
