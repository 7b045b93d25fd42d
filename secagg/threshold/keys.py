"""The keys of one session: each party's own, all parties' public ones, and what follows from them."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import final

from secagg.checks import check_bytes, check_integer
from secagg.errors import ParameterError, PeerProtocolError
from secagg.masking.keys import KEY_BYTES, KeyPair, PairKey, Purpose, agree, check_public
from secagg.prg import derive_key

__all__ = ["SERVER", "ThresholdKeys", "ThresholdServerKeys", "binding", "link_key", "pair_keys"]

SERVER = (1 << 32) - 1
"""The server's number where keys are derived."""


@final
@dataclass(frozen=True, slots=True)
class ThresholdKeys:
    """What a party holds: of one session, and used once.

    Two sessions of the same keys, one after a crash, say, could be asked for two sums: who crashed has dropped out.
    The session and the public keys must have reached the party over a channel that the server cannot change: with other
    keys in the roster, the server would be the holder of the shares.

    Args:
        party: the party's number.
        session: 32 bytes, fresh for each sum.
        secret: 32 uniform bytes, the party's X25519 private key, made by the party itself.
        roster: the X25519 public keys of all parties, by number.
        server: the server's X25519 public key.

    Raises:
        ParameterError: not such bytes, keys that are not canonical or occur twice, or another's secret.
    """

    party: int
    session: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    roster: tuple[bytes, ...] = field(repr=False)
    server: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_bytes("session", self.session, KEY_BYTES)
        check_roster(self.roster, self.server)
        check_integer("party", self.party, at_least=0, at_most=len(self.roster) - 1)
        if not hmac.compare_digest(KeyPair(self.secret).public, self.roster[self.party]):
            raise ParameterError(f"secret must be the private key of party {self.party}'s key in the roster.")


@final
@dataclass(frozen=True, slots=True)
class ThresholdServerKeys:
    """What the server holds: public keys, and its own, by which messages between it and a party are authenticated.

    Args:
        session: as in :class:`ThresholdKeys`.
        secret: 32 uniform bytes, the server's X25519 private key.
        roster: as in :class:`ThresholdKeys`.

    Raises:
        ParameterError: as in :class:`ThresholdKeys`.
    """

    session: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    roster: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        check_bytes("session", self.session, KEY_BYTES)
        check_roster(self.roster, KeyPair(self.secret).public)


def check_roster(roster: object, server: object) -> None:
    """Refuse what is no tuple of distinct public keys, the server's another."""
    if not isinstance(roster, tuple):
        raise ParameterError(f"roster must be a tuple of public keys, got {type(roster).__name__}.")
    for number, public in (*enumerate(roster), (SERVER, server)):
        try:
            check_public(public, peer=number)
        except PeerProtocolError as error:
            raise ParameterError(f"roster and server must hold public keys: {error}") from None
    if len({*roster, server}) != len(roster) + 1:
        raise ParameterError("roster and server must hold each public key once.")


def binding(session: bytes, config: bytes, server: bytes, roster: tuple[bytes, ...]) -> bytes:
    """What every key and message is bound to: SHA-256 over session, plan and all public keys, 32 bytes."""
    return hashlib.sha256(b"secagg v1 threshold binding" + session + config + server + b"".join(roster)).digest()


def pair_keys(pair: KeyPair, publics: dict[int, bytes], *, session: bytes, mine: int) -> dict[int, PairKey]:
    """What one end agrees on with each of others, by number; a key of low order raises PeerProtocolError."""
    return {
        theirs: agree(pair, public, session=session, mine=mine, theirs=theirs, purpose=Purpose.SHARES)
        for theirs, public in publics.items()
    }


def link_key(pair: PairKey, bound: bytes) -> bytes:
    """The key that authenticates messages between a party and the server, 32 bytes."""
    return derive_key(pair.secret, salt=pair.session, purpose=b"threshold link", parts=(bound,))
