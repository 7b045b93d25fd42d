"""What every protocol is: a plan that says what it promises, and sessions that step on bytes.

Rules of a session:

1. Bytes in, bytes out. The caller owns transport, time and threads.
2. Parties are ints from 0, the server is ``"server"``; who opens sums that parties cannot open is ``"opener"``.
3. A call out of order raises ``LocalProtocolError``; a message that may not be used raises ``PeerProtocolError``. Both
   leave the session as it was.
4. A sum that does not verify aborts the session of who opened it: one attempt, one uninformative error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Literal, Protocol, TypeVar, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Address",
    "ClientSession",
    "Entropy",
    "Keys",
    "OpenedSumProtocol",
    "OpenerSession",
    "Outgoing",
    "ServerSession",
    "State",
    "SumProtocol",
    "SumResult",
]

Address = int | Literal["server", "opener"]
"""Whom a message is from or for: a party's number, the server, or who opens the sum where parties cannot."""

ClientT = TypeVar("ClientT")
ServerT = TypeVar("ServerT")


class Entropy(Protocol):
    """A source of random bytes; dpkit's fit, and so does anything with this method."""

    def bytes(self, n: int) -> bytes:
        """`n` random bytes."""


class State(StrEnum):
    """Where a session stands."""

    NEW = "new"
    """Nothing has happened; a client waits for its input."""
    READY = "ready"
    """The client has its input and may start."""
    COLLECTING = "collecting"
    """The server takes messages of the round."""
    WAITING = "waiting"
    """The client has sent its input and waits for the sum."""
    SUMMED = "summed"
    """The sum is here; ``result()`` opens it (where this side can)."""
    FINISHED = "finished"
    """The sum was opened and verified."""
    ABORTED = "aborted"
    """No further step is possible."""


@final
@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be sent.

    Args:
        dst: the recipient, a party's number, ``"server"``, or ``"opener"`` where parties cannot open the sum.
        payload: the bytes.
    """

    dst: Address
    payload: bytes


@final
@dataclass(frozen=True, slots=True, eq=False)
class SumResult:
    """A sum and what it took.

    Args:
        total: uint64 sum of the survivors' vectors, shape ``(dim,)`` (float64 from ``simulate`` with a codec).
        survivors: the parties whose input is in the total, sorted.
        bytes_up: bytes sent by each party, int64, shape ``(num_parties,)``; a client's session knows only its own.
        bytes_down: bytes received by each party, likewise.
        seconds: wall time of ``simulate``; 0.0 from a session, which has no clock.
    """

    total: NDArray[Any]
    survivors: list[int]
    bytes_up: NDArray[np.int64]
    bytes_down: NDArray[np.int64]
    seconds: float


@final
@dataclass(frozen=True, slots=True)
class Keys(Generic[ClientT, ServerT]):
    """Who holds what: hand each party its entry, and the server its own.

    Args:
        clients: keys of each party, in order.
        server: keys of the server.
        opener: keys of the one who opens the sum, in plans where neither parties nor server do; None in others.
    """

    clients: tuple[ClientT, ...]
    server: ServerT
    opener: Any = None


class ClientSession(Protocol):
    """One party's side of one sum."""

    @property
    def state(self) -> State:
        """Where the session stands."""

    def set_input(self, vector: Any) -> None:
        """Give the party's vector: integers in ``[0, 2**value_bits)``, shape ``(dim,)``."""

    def start(self) -> list[Outgoing]:
        """The first messages."""

    def receive(self, payload: bytes, sender: int | str) -> list[Outgoing]:
        """Take a message; returns the answers."""

    def close_round(self) -> list[Outgoing]:
        """Refused: only the server closes a round."""

    def result(self) -> SumResult:
        """The opened sum."""

    def abort(self, reason: str) -> None:
        """Give up, and forget the input."""


class ServerSession(Protocol):
    """The server's side of one sum."""

    @property
    def state(self) -> State:
        """Where the session stands."""

    def start(self) -> list[Outgoing]:
        """Open the first round."""

    def receive(self, payload: bytes, sender: int | str) -> list[Outgoing]:
        """Take a message; returns the answers."""

    def close_round(self) -> Sequence[Outgoing]:
        """End the round with whoever has answered; returns the next messages."""

    def result(self) -> SumResult:
        """The sum, where the server may read it."""

    def abort(self, reason: str) -> None:
        """Give up."""


class OpenerSession(Protocol):
    """The side of who opens a sum that neither the parties nor the server can open."""

    @property
    def state(self) -> State:
        """Where the session stands."""

    def receive(self, payload: bytes, sender: int | str) -> list[Outgoing]:
        """Take the server's sum; there is nothing to answer."""

    def result(self) -> SumResult:
        """The opened sum."""

    def abort(self, reason: str) -> None:
        """Give up."""


class SumProtocol(Protocol):
    """A planned sum: parameters, promise, costs, keys and sessions. All attributes are public and fixed."""

    @property
    def num_parties(self) -> int:
        """Parties that take part."""

    @property
    def dim(self) -> int:
        """Entries of a vector."""

    @property
    def value_bits(self) -> int:
        """Bits of one entry."""

    @property
    def wrap(self) -> bool:
        """Whether the sum is taken modulo ``2**value_bits``."""

    @property
    def rounds(self) -> tuple[str, ...]:
        """Names of the rounds, in order."""

    @property
    def promise(self) -> str:
        """One paragraph: secure against whom, assuming what, leaking what."""

    @property
    def modulus_bits(self) -> int:
        """Bits of the modulus that a ciphertext (or a masked entry) lives in."""

    @property
    def min_survivors(self) -> int:
        """The sum is opened only if at least so many inputs are in it."""

    @property
    def min_honest(self) -> int:
        """Honest inputs that any opened sum contains beside the observer's own; noise is planned for so many."""

    @property
    def bytes_up(self) -> int:
        """Bytes a party sends, an upper bound."""

    @property
    def bytes_down(self) -> int:
        """Bytes a party receives, an upper bound."""

    def keygen(self, entropy: Entropy | None = None) -> Keys[Any, Any]:
        """Keys of one session."""

    def client(
        self, party: int, *, entropy: Entropy | None = None, identity: Any = None, keys: Any = None, guard: Any = None
    ) -> ClientSession:
        """A party's session."""

    def server(self, *, entropy: Entropy | None = None, keys: Any = None) -> ServerSession:
        """The server's session."""


class OpenedSumProtocol(SumProtocol, Protocol):
    """A planned sum that a third opens, who holds the only key; ``keygen`` then returns its keys too."""

    def opener(self, *, keys: Any = None) -> OpenerSession:
        """The session of who opens the sum."""
