"""Who holds what in a homomorphic sum: each role is a type of its own, and no type shows or copies a secret by itself.

::

    BFVSum         every party: ClientKeys, with the secret key        the server: ServerKeys
    PublicBFVSum   every party: PublicClientKeys, with the public key  the server: PublicServerKeys
                   the opener:  OpenerKeys, with the secret key
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NoReturn, Self, final

from secagg.checks import check_integer
from secagg.errors import DecodeError, LocalProtocolError, ParameterError

__all__ = ["KEY_BYTES", "ClientKeys", "OpenerKeys", "PublicClientKeys", "PublicServerKeys", "ServerKeys"]

KEY_BYTES = 32
"""Length of session identifiers and symmetric keys."""

_MAGIC = b"SAGK\x01"
_NUMBER, _BYTES, _LIST = range(3)


class _Held:
    """Keys of one role: their bytes are to be had by :meth:`secret_bytes` alone."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise LocalProtocolError(
            f"{type(self).__name__} are secret, and are not pickled or copied; where they must travel, say so with "
            "secret_bytes() and from_secret_bytes()."
        )

    def secret_bytes(self) -> bytes:
        """All of these keys as bytes, secrets included: for this role's own store, and a channel to it alone."""
        values = [getattr(self, each.name) for each in fields(self)]  # type: ignore[arg-type]
        return _MAGIC + _counted(type(self).__name__.encode()) + b"".join(_written(value) for value in values)

    @classmethod
    def from_secret_bytes(cls, data: bytes) -> Self:
        """Keys from :meth:`secret_bytes`.

        Args:
            data: the bytes.

        Returns:
            The keys.

        Raises:
            DecodeError: they are not keys of this role; they are not printed.
        """
        start = _MAGIC + _counted(cls.__name__.encode())
        if not isinstance(data, bytes) or data[: len(start)] != start:
            raise DecodeError(f"data must be the secret_bytes() of {cls.__name__}, got something else.")
        values, place = [], len(start)
        for _ in fields(cls):  # type: ignore[arg-type]
            value, place = _read(data, place)
            values.append(value)
        if place != len(data):
            raise DecodeError(f"data is longer than the keys of {cls.__name__}.")
        try:
            return cls(*values)
        except ParameterError as error:
            raise DecodeError(f"data holds no keys of {cls.__name__}: {error}") from None


def _counted(data: bytes) -> bytes:
    """Bytes behind their length."""
    return len(data).to_bytes(4, "little") + data


def _written(value: int | bytes | tuple[bytes, ...]) -> bytes:
    """One field: what it is, and its bytes."""
    if isinstance(value, int):
        return bytes([_NUMBER]) + value.to_bytes(8, "little")
    if isinstance(value, bytes):
        return bytes([_BYTES]) + _counted(value)
    return bytes([_LIST]) + len(value).to_bytes(4, "little") + b"".join(map(_counted, value))


def _read(data: bytes, place: int) -> tuple[Any, int]:
    """One field, and where the next one starts."""
    kind, place = _cut(data, place, 1)
    if kind[0] == _NUMBER:
        number, place = _cut(data, place, 8)
        return int.from_bytes(number, "little"), place
    if kind[0] == _BYTES:
        return _read_counted(data, place)
    if kind[0] != _LIST:
        raise DecodeError("data holds a field of an unknown kind.")
    count, place = _cut(data, place, 4)
    found = []
    for _ in range(int.from_bytes(count, "little")):
        value, place = _read_counted(data, place)
        found.append(value)
    return tuple(found), place


def _read_counted(data: bytes, place: int) -> tuple[bytes, int]:
    """Bytes behind their length."""
    count, place = _cut(data, place, 4)
    return _cut(data, place, int.from_bytes(count, "little"))


def _cut(data: bytes, place: int, count: int) -> tuple[bytes, int]:
    """So many bytes, which must be there."""
    if place + count > len(data):
        raise DecodeError("data is shorter than the keys it begins with.")
    return data[place : place + count], place + count


def _check(party: object, serialised: tuple[object, ...], keys: tuple[object, ...]) -> None:
    """A short key would be padded silently further down."""
    check_integer("party", party, at_least=0, at_most=2**31)
    if any(not isinstance(key, bytes) or len(key) != KEY_BYTES for key in keys):
        raise ParameterError(
            f"session identifiers, group, blind and link keys must be {KEY_BYTES} bytes each; make them with keygen()."
        )
    if any(not isinstance(key, bytes) for key in serialised):
        raise ParameterError("secret_key and public_key must be bytes; make them with keygen().")


def _check_links(links: object) -> tuple[object, ...]:
    """The link keys of all parties, to be checked one by one."""
    if not isinstance(links, tuple):
        raise ParameterError(f"link_keys must be a tuple, a key for each party, got {type(links).__name__}.")
    return links


@final
@dataclass(frozen=True, slots=True)
class ClientKeys(_Held):
    """What one party holds, for one session only.

    The secret key and the group key are the same for all parties; the link key is shared with the server alone. There
    is no public, relinearisation or Galois key: none is ever made, and under the single prime of ``BFVSum`` SEAL could
    not make the latter two.

    Args:
        party: whose keys these are.
        session: 32 bytes, of this session only.
        secret_key: the SEAL secret key, serialised.
        group_key: 32 bytes, for the tags.
        link_key: 32 bytes, for this party's envelopes.
    """

    party: int
    session: bytes = field(repr=False)
    secret_key: bytes = field(repr=False)
    group_key: bytes = field(repr=False)
    link_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check(self.party, (self.secret_key,), (self.session, self.group_key, self.link_key))


@final
@dataclass(frozen=True, slots=True)
class ServerKeys(_Held):
    """What the server holds: nothing that opens a ciphertext.

    Args:
        session: 32 bytes, of this session only.
        link_keys: 32 bytes for each party, in order.
    """

    session: bytes = field(repr=False)
    link_keys: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        _check(0, (), (self.session, *_check_links(self.link_keys)))


@final
@dataclass(frozen=True, slots=True)
class PublicClientKeys(_Held):
    """What one party holds where a third opens the sum, for one session only: nothing that opens a ciphertext.

    Public key and group key are the same for all parties. The opener has the group key and the blind key too, and the
    server the link key.

    Args:
        party: whose keys these are.
        session: 32 bytes, of this session only.
        public_key: the SEAL public key, serialised.
        group_key: 32 bytes, for the factors of the tags.
        blind_key: 32 bytes, for this party's part of the tags.
        link_key: 32 bytes, for this party's envelopes.
    """

    party: int
    session: bytes = field(repr=False)
    public_key: bytes = field(repr=False)
    group_key: bytes = field(repr=False)
    blind_key: bytes = field(repr=False)
    link_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check(self.party, (self.public_key,), (self.session, self.group_key, self.blind_key, self.link_key))


@final
@dataclass(frozen=True, slots=True)
class OpenerKeys(_Held):
    """What the one who opens the sum holds, for one session only.

    Args:
        session: 32 bytes, of this session only.
        secret_key: the SEAL secret key, serialised.
        group_key: 32 bytes, for the factors of the tags.
        blind_root: 32 bytes, of which every party's blind key is made.
        link_key: 32 bytes, for the envelope of the sum.
    """

    session: bytes = field(repr=False)
    secret_key: bytes = field(repr=False)
    group_key: bytes = field(repr=False)
    blind_root: bytes = field(repr=False)
    link_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check(0, (self.secret_key,), (self.session, self.group_key, self.blind_root, self.link_key))


@final
@dataclass(frozen=True, slots=True)
class PublicServerKeys(_Held):
    """What the server holds where a third opens the sum: nothing that opens a ciphertext.

    Args:
        session: 32 bytes, of this session only.
        link_keys: 32 bytes for each party, in order.
        opener_key: 32 bytes, for the envelope of the sum.
    """

    session: bytes = field(repr=False)
    link_keys: tuple[bytes, ...] = field(repr=False)
    opener_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _check(0, (), (self.session, self.opener_key, *_check_links(self.link_keys)))
