"""Randomness and key streams: the system's bytes, keys derived from keys, and uniform integers from a key.

Nothing here is seeded by default, and nothing is global.
"""

from __future__ import annotations

import os
from typing import final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from secagg.api import Entropy
from secagg.errors import ParameterError

__all__ = ["SystemEntropy", "derive_key", "draw", "system", "uniform"]


@final
class SystemEntropy:
    """The operating system's random bytes."""

    __slots__ = ()
    secure = True

    def bytes(self, n: int) -> bytes:
        """`n` random bytes."""
        return os.urandom(n)


def system() -> SystemEntropy:
    """The source that None stands for everywhere in secagg."""
    return SystemEntropy()


def draw(entropy: Entropy | None, n: int) -> bytes:
    """`n` bytes of a source, checked; None means the system's."""
    if entropy is None:
        return os.urandom(n)
    if not callable(getattr(entropy, "bytes", None)):
        raise ParameterError(f"entropy must have a method bytes(n), got {type(entropy).__name__}.")
    data = entropy.bytes(n)
    if not isinstance(data, bytes) or len(data) != n:
        raise ParameterError(f"entropy.bytes({n}) must return {n} bytes, got something else.")
    return data


def derive_key(secret: bytes, *, salt: bytes, purpose: bytes, parts: tuple[bytes, ...] = ()) -> bytes:
    """A 32-byte key for one purpose: HKDF-SHA256 with length-prefixed info.

    Args:
        secret: key material, uniform.
        salt: the session identifier.
        purpose: what the key is for; different purposes give independent keys.
        parts: what else the key is bound to.

    Returns:
        32 bytes.

    References:
        RFC 5869.
    """
    info = b"".join(len(part).to_bytes(4, "little") + part for part in (b"secagg v1", purpose, *parts))
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(secret)


def uniform(key: bytes, *, index: int, count: int, modulus: int) -> NDArray[np.uint64]:
    """Exactly uniform integers modulo `modulus` from AES-256-CTR, by rejection.

    Args:
        key: 32 bytes, for one purpose only.
        index: which stream of the key; the upper half of the counter block, so that streams never overlap.
        count: how many.
        modulus: >= 1, below 2**63.

    Returns:
        uint64 in ``[0, modulus)``, shape ``(count,)``; the first values of a longer call are those of a shorter one.

    References:
        NIST SP 800-38A section 6.5.
    """
    stream = Cipher(algorithms.AES256(key), modes.CTR(index.to_bytes(8, "big") + bytes(8))).encryptor()
    mask = np.uint64((1 << (modulus - 1).bit_length()) - 1)
    accepted = np.empty(0, dtype=np.uint64)
    while accepted.size < count:
        # a value's place follows from the stream alone, so how many words are drawn at a time is free
        words = ((count - accepted.size) << (modulus - 1).bit_length()) // modulus + 16
        candidates = np.frombuffer(stream.update(bytes(8 * words)), dtype="<u8") & mask
        accepted = np.concatenate((accepted, candidates[candidates < modulus]))
    return accepted[:count].astype(np.uint64)
