"""A task: what a sum is about, known to every party before anything is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final

from secagg.checks import check_bytes, check_integer
from secagg.errors import LocalProtocolError, PeerProtocolError
from secagg.masking.keys import Identity, verify

__all__ = ["PartyKeys", "Registry", "Signer", "Task", "roster_digest"]

_DIGEST = 32


class Signer(Protocol):
    """Who the parties are: signatures of this party, and whether one is another's. The caller supplies it."""

    def sign(self, message: bytes) -> bytes:
        """This party's signature, 64 bytes."""

    def verify(self, party: int, message: bytes, signature: bytes) -> bool:
        """Whether a signature over the message is that party's."""


@final
@dataclass(frozen=True, slots=True)
class Task:
    """What a sum is about.

    Parties whose tasks differ do not add their inputs: each checks the others' before it masks its own, so that inputs
    which depend on different models, or were made under different settings, never meet in one sum. That says nothing
    about models that were crafted, and the same for all.

    Args:
        model: SHA-256 of the bytes that this party actually loaded: model, and every setting of its own.
        round: the round of training.
        nonce: 32 bytes, drawn for this sum by whoever starts it; no party takes part in one task twice.

    Raises:
        ParameterError: an argument is out of its domain.
    """

    model: bytes
    round: int
    nonce: bytes

    def __post_init__(self) -> None:
        check_bytes("model", self.model, _DIGEST)
        check_bytes("nonce", self.nonce, _DIGEST)
        object.__setattr__(self, "round", check_integer("round", self.round, at_least=0, at_most=2**64 - 1))

    def identifier(self, config: bytes) -> bytes:
        """The task under a plan, 32 bytes: SHA-256 of both."""
        parts = (b"secagg task v1", config, self.model, self.round.to_bytes(8, "little"), self.nonce)
        return hashlib.sha256(b"".join(parts)).digest()


@final
@dataclass(frozen=True, slots=True)
class Registry:
    """A :class:`Signer` for those who have no identity layer of their own: the parties' public signing keys.

    Args:
        own: this party's signing key; None for the server, which signs nothing.
        publics: every party's public key by its number; known from elsewhere than a server that may lie about them, or
            they prove nothing.
    """

    own: Identity | None
    publics: Mapping[int, bytes]

    def sign(self, message: bytes) -> bytes:
        """This party's signature, 64 bytes."""
        if self.own is None:
            raise LocalProtocolError("this registry has no signing key: it is for verifying only.")
        return self.own.sign(message)

    def verify(self, party: int, message: bytes, signature: bytes) -> bool:
        """Whether a signature over the message is that party's."""
        public = self.publics.get(party)
        if public is None:
            return False
        try:
            verify(public, signature, message, peer=party)
        except PeerProtocolError:
            return False
        return True


@final
@dataclass(frozen=True, slots=True)
class PartyKeys:
    """What a party is given: the task, and who the parties are.

    Args:
        task: what the sum is about.
        identity: needed where the server may lie; None elsewhere.
    """

    task: Task
    identity: Any = None


def roster_digest(task: bytes, parties: Sequence[int], keys: Sequence[bytes]) -> bytes:
    """The session of a task: SHA-256 over its parties and their public keys, 32 bytes."""
    entries = b"".join(party.to_bytes(4, "little") + key for party, key in zip(parties, keys, strict=True))
    return hashlib.sha256(b"secagg session v1" + task + len(parties).to_bytes(4, "little") + entries).digest()
