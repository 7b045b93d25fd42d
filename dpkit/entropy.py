"""Randomness: AES-256-CTR streams that no two processes share.

Everything in the library that draws takes ``entropy``: an object with ``.bytes(n)`` and ``.secure``, or None, which
means :func:`system`. There is no global generator and no default seed. A source from :func:`seeded` says of itself that
it is not secure, and every release and ledger entry made with it says so too.
"""

from __future__ import annotations

import hashlib
import os
import threading
from typing import Any, NoReturn, Protocol, final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from dpkit.errors import EntropyError, ParameterError

__all__ = ["Entropy", "Source", "is_secure", "read_bytes", "read_words", "resolve", "seeded", "system"]

_PERSON = b"dpkit.entropy/1"
_WORD_TYPES: dict[int, np.dtype[Any]] = {
    8: np.dtype("<u1"),
    16: np.dtype("<u2"),
    32: np.dtype("<u4"),
    64: np.dtype("<u8"),
}


class Source(Protocol):
    """What the library asks of a source of randomness."""

    def bytes(self, n: int, /) -> bytes:
        """Return `n` random bytes."""


class _Forks:
    """Counts the forks between the first process and this one; a process id alone may be used again."""

    count = 0

    @classmethod
    def in_child(cls) -> None:
        cls.count += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Forks.in_child)


def _process() -> tuple[int, int]:
    """The process we are in. The id also sees forks made by C code, which run no Python hook."""
    return os.getpid(), _Forks.count


class _Stream:
    """A key stream, its lock and the process it belongs to. Replaced as one, so that a lock held at a fork is left."""

    __slots__ = ("_cipher", "_lock", "process")

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        self._lock = threading.Lock()
        self.process = _process()

    def read(self, n: int) -> bytes:
        with self._lock:
            return self._cipher.update(bytes(n))


@final
class Entropy:
    """A stream of random bytes; made by :func:`system` or :func:`seeded`, never directly.

    Guarantee: no two processes and no two objects continue the same stream. After a fork a system source takes a new
    key in the child and a seeded source refuses there (``test_fork_never_shares_a_stream``). Copying and pickling are
    refused (``test_no_copies``). Several threads may share a source.

    Attributes:
        secure: False when the bytes follow from a seed.
    """

    __slots__ = ("_key", "_stream", "secure")

    _key: bytes | None
    secure: bool

    def __init__(self, key: bytes | None) -> None:
        self._key = key
        self.secure = key is None
        self._stream = _Stream(os.urandom(32) if key is None else key)

    def bytes(self, n: int, /) -> bytes:
        """Return the next `n` bytes of the stream.

        Args:
            n: how many bytes, at least 0.

        Returns:
            `n` bytes.

        Raises:
            EntropyError: the source is seeded and was made before a fork that led to this process.

        Example:
            >>> len(system().bytes(5))
            5
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 0:
            raise ParameterError(f"n must be an integer >= 0, got {n!r}; ask for a number of bytes.")
        stream = self._stream
        if stream.process != _process():
            stream = self._after_fork()
        return stream.read(n)

    def child(self, label: str, /) -> Entropy:
        """Return an independent source, named by a label.

        The child of a seeded source follows from its seed and the label; it may be made in a forked process too, where
        each worker takes a label of its own. The child of a system source is a fresh system source.

        Args:
            label: a name; equal labels of one seeded source give equal streams.

        Returns:
            A new source.

        Example:
            >>> seeded(7).child("a").bytes(4) == seeded(7).child("b").bytes(4)
            False
        """
        if not isinstance(label, str):
            raise ParameterError(f"label must be a str, got {type(label).__name__}; name the child source.")
        if self._key is None:
            return system()
        return Entropy(_digest(b"child", self._key + label.encode()))

    def _after_fork(self) -> _Stream:
        """The stream of this process: a new key for a system source, an error for a seeded one."""
        if self._key is not None:
            raise EntropyError(
                "a seeded source may not be used on both sides of a fork: parent and child would draw the same noise; "
                "call .child(label) in the new process, with a label of its own."
            )
        self._stream = _Stream(os.urandom(32))
        return self._stream

    def __repr__(self) -> str:
        return "<dpkit.entropy.system()>" if self.secure else "<dpkit.entropy.seeded(...): reproducible, not secure>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Copy, deepcopy and pickle all come here."""
        raise EntropyError(
            "a source of randomness may not be copied or pickled: both copies would draw the same noise; "
            "make a new one where it is needed."
        )


def system() -> Entropy:
    """Return a fresh source, keyed by the operating system.

    Returns:
        A source whose 256-bit key came from ``os.urandom``; each call makes a new one.

    Example:
        >>> system().secure
        True
    """
    return Entropy(None)


def seeded(seed: int | bytes) -> Entropy:
    """Return a reproducible source for tests and published experiments; it is never secure.

    The 256-bit key is the BLAKE2b hash of the seed, which may therefore be of any size.

    Args:
        seed: an integer or a byte string; 5 and b"5" are different seeds.

    Returns:
        A source whose stream follows from the seed, with ``secure`` False.

    Raises:
        ParameterError: the seed is neither an integer nor bytes.

    Example:
        >>> seeded(7).bytes(4) == seeded(7).bytes(4)
        True
    """
    if isinstance(seed, bytes):
        return Entropy(_digest(b"bytes", seed))
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise ParameterError(f"seed must be an int or bytes, got {type(seed).__name__}; give for example seeded(7).")
    number = int(seed)
    return Entropy(_digest(b"int", number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)))


def _digest(kind: bytes, data: bytes) -> bytes:
    """A 256-bit key, separated by what the data is."""
    return hashlib.blake2b(data, digest_size=32, person=_PERSON, salt=kind).digest()


def resolve(entropy: Source | None) -> Source:
    """Return the source to draw from: the one given, or a fresh system source for None.

    Args:
        entropy: any object with ``.bytes(n)``, or None.

    Returns:
        A source.

    Raises:
        EntropyError: the object has no ``.bytes``.

    Example:
        >>> is_secure(resolve(None))
        True
    """
    if entropy is None:
        return system()
    if not callable(getattr(entropy, "bytes", None)):
        raise EntropyError(
            f"entropy must have a method .bytes(n), got {type(entropy).__name__}; use dpkit.entropy.system()."
        )
    return entropy


def is_secure(source: object) -> bool:
    """Return whether a source, or a sampling plan, says that its randomness is secure; silence means no.

    Args:
        source: any object; its attribute ``secure`` is read.

    Returns:
        True only when ``source.secure`` is True.

    Example:
        >>> is_secure(seeded(7))
        False
    """
    return getattr(source, "secure", False) is True


def read_bytes(source: Source, n: int) -> bytes:
    """Return random bytes, exactly as many as were asked for.

    Immutable ones: a buffer that its source fills again would change words that are not used up yet.

    Args:
        source: where the bytes come from.
        n: how many.

    Returns:
        `n` bytes.

    Raises:
        EntropyError: the source returned another number of bytes, or something else than bytes.

    Example:
        >>> len(read_bytes(system(), 8))
        8
    """
    data = source.bytes(n)
    if not isinstance(data, bytes):
        raise EntropyError(f"entropy.bytes({n}) must return bytes, got {type(data).__name__}; the source is broken.")
    if len(data) != n:
        raise EntropyError(f"entropy.bytes({n}) must return {n} bytes, got {len(data)}; the source is broken.")
    return data


def read_words(source: Source, count: int, bits: int) -> NDArray[Any]:
    """Return uniform words as an array; read-only, little-endian on every machine.

    Args:
        source: where the bytes come from.
        count: how many words.
        bits: 8, 16, 32 or 64.

    Returns:
        Unsigned integers, shape (count,), each of `bits` bits.

    Raises:
        EntropyError: as :func:`read_bytes`.

    Example:
        >>> read_words(system(), 3, 32).dtype.itemsize
        4
    """
    kind = _WORD_TYPES[bits]
    return np.frombuffer(read_bytes(source, count * kind.itemsize), dtype=kind)
