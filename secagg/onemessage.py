"""Sessions of protocols in which every party sends one message and gets one back.

What a message's body holds is a protocol's own matter, behind two small roles (:class:`ClientWork`,
:class:`ServerWork`); order, authenticity, duplicates, survivors and aborts are handled here, once.
"""

from __future__ import annotations

from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from secagg.api import Outgoing, State, SumProtocol, SumResult
from secagg.checks import check_integer, check_vector
from secagg.envelope import OVERHEAD, Channel, Kind
from secagg.errors import DecodeError, LocalProtocolError, ParameterError, PeerProtocolError, TooFewSurvivorsError

__all__ = [
    "ROUNDS",
    "ClientWork",
    "OneMessageClient",
    "OneMessageServer",
    "ServerWork",
    "refuse_unused",
    "roster_bytes",
]

ROUNDS = ("masked_input",)
"""The rounds of a one-message protocol."""

_UNVERIFIED = "the sum did not verify; it is not shown, and this session is over."


class ClientWork(Protocol):
    """What a protocol does at a client."""

    def seal(self, vector: NDArray[np.uint64]) -> bytes:
        """The body of a vector."""

    def open(self, body: bytes, survivors: list[int]) -> NDArray[np.uint64]:
        """The verified sum; raises DecodeError if it is not the survivors' sum."""


class ServerWork(Protocol):
    """What a protocol does at the server."""

    def parse(self, body: bytes) -> Any:
        """The parts of a body; raises DecodeError."""

    def add(self, parts: Any) -> None:
        """Add the parts to the sum; cannot fail on what `parse` returned."""

    def body(self) -> bytes:
        """The body of the sum."""

    def total(self) -> NDArray[np.uint64] | None:
        """The sum itself, or None where the server cannot read it."""


def refuse_unused(identity: object, guard: object) -> None:
    """One-message protocols have nothing to sign and nothing to answer twice."""
    if identity is not None or guard is not None:
        raise ParameterError("identity and guard must be None: this protocol sends one message and uses neither.")


def roster_bytes(num_parties: int) -> int:
    """Length of a set of parties: one bit each."""
    return -(-num_parties // 8)


def _pack_roster(survivors: list[int], num_parties: int) -> bytes:
    """A set of parties as bits, party 0 first and lowest."""
    bits = np.zeros(num_parties, dtype=np.uint8)
    bits[survivors] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def _parse_roster(roster: bytes, num_parties: int) -> list[int]:
    """The sorted parties of a roster; a bit behind the last party is refused, so every set has one encoding."""
    bits = np.unpackbits(np.frombuffer(roster, dtype=np.uint8), bitorder="little")
    if bits.size < num_parties or bits[num_parties:].any():
        raise DecodeError(_UNVERIFIED, peer="server")
    survivors: list[int] = np.flatnonzero(bits).tolist()
    return survivors


@final
class OneMessageClient:
    """A party's side: ``set_input``, ``start``, ``receive``, ``result``.

    Args:
        plan: the protocol's plan.
        channel: what this party shares with the server.
        work: what the protocol does here.
    """

    def __init__(self, plan: SumProtocol, channel: Channel, work: ClientWork) -> None:
        self._plan = plan
        self._channel = channel
        self._work = work
        self._state = State.NEW
        self._input: NDArray[np.uint64] | None = None
        self._body = b""
        self._sent = 0
        self._received = 0
        self._reason = ""
        self._result: SumResult | None = None

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    def set_input(self, vector: Any) -> None:
        """Give the party's vector.

        Args:
            vector: integers in ``[0, 2**value_bits)``, shape ``(dim,)``; copied.

        Raises:
            ParameterError: another shape, dtype or range; the values are not printed.
            LocalProtocolError: there is an input already.
        """
        self._expect(State.NEW, "set_input is called once, before start")
        self._input = check_vector("vector", vector, shape=(self._plan.dim,), value_bits=self._plan.value_bits)
        self._state = State.READY

    def start(self) -> list[Outgoing]:
        """Seal the input and send it; the plain input is forgotten.

        Returns:
            One message, to the server.

        Raises:
            LocalProtocolError: no input yet, or started before.
        """
        if self._input is None:
            self._expect(State.READY, "start is called once, after set_input")
            return []
        payload = self._channel.wrap(Kind.INPUT, self._work.seal(self._input))
        self._input, self._sent, self._state = None, len(payload), State.WAITING
        return [Outgoing("server", payload)]

    def receive(self, payload: bytes, sender: int | str) -> list[Outgoing]:
        """Take the server's sum; it is opened by :meth:`result`.

        Args:
            payload: the message.
            sender: who sent it: ``"server"``.

        Returns:
            Nothing to answer.

        Raises:
            DecodeError: not an authentic message of this session.
            PeerProtocolError: not from the server, or a second sum.
            LocalProtocolError: not started.
        """
        self._refuse_aborted()
        if self._state in (State.NEW, State.READY):
            raise LocalProtocolError("receive comes after start: this party has sent nothing yet.")
        if sender != "server":
            raise PeerProtocolError(
                f"sender must be 'server', got {sender!r}: parties do not write to parties.", peer=sender
            )
        body = self._channel.unwrap(Kind.SUM, payload, peer="server")
        if self._state is not State.WAITING:
            raise PeerProtocolError("the server sent a second sum; the first one stands.", peer="server")
        self._body, self._received, self._state = body, len(payload), State.SUMMED
        return []

    def close_round(self) -> list[Outgoing]:
        """Refused: only the server closes a round.

        Raises:
            LocalProtocolError: always.
        """
        raise LocalProtocolError("close_round belongs to the server; a client waits for its message.")

    def result(self) -> SumResult:
        """Open the sum, once, and verify it against the announced survivors.

        Returns:
            The result; the same object on later calls.

        Raises:
            DecodeError: the sum did not verify. The session is aborted, because a second attempt would make this party
                a decryption oracle.
            LocalProtocolError: there is no sum yet.
        """
        if self._result is not None:
            return self._result
        self._expect(State.SUMMED, "result comes after the server's sum")
        try:
            survivors, total = self._open()
        except DecodeError:
            self.abort("the sum did not verify")
            raise
        counts = np.zeros((2, self._plan.num_parties), dtype=np.int64)
        counts[:, self._channel.party] = self._sent, self._received
        self._result = SumResult(total, survivors, counts[0], counts[1], 0.0)
        self._state, self._body = State.FINISHED, b""
        return self._result

    def abort(self, reason: str) -> None:
        """Give up: no further step is possible, and input and sum are forgotten.

        Args:
            reason: for the error messages of later calls.
        """
        self._state, self._reason = State.ABORTED, reason
        self._input, self._body, self._result = None, b"", None

    def _open(self) -> tuple[list[int], NDArray[np.uint64]]:
        """Survivors and their verified sum; every failure looks the same."""
        cut = roster_bytes(self._plan.num_parties)
        survivors = _parse_roster(self._body[:cut], self._plan.num_parties)
        if len(survivors) < self._plan.min_survivors:
            raise DecodeError(_UNVERIFIED, peer="server")
        try:
            return survivors, self._work.open(self._body[cut:], survivors)
        except DecodeError:
            raise DecodeError(_UNVERIFIED, peer="server") from None

    def _expect(self, state: State, rule: str) -> None:
        """Out of order is the caller's error."""
        self._refuse_aborted()
        if self._state is not state:
            raise LocalProtocolError(f"{rule}; this session is {self._state.value!r}.")

    def _refuse_aborted(self) -> None:
        """Nothing happens after an abort."""
        if self._state is State.ABORTED:
            raise LocalProtocolError(f"this session was aborted: {self._reason}.")


@final
class OneMessageServer:
    """The server's side: ``start``, ``receive`` from each party, ``close_round``.

    Args:
        plan: the protocol's plan.
        channels: what the server shares with each party, in order.
        work: what the protocol does here.
    """

    def __init__(self, plan: SumProtocol, channels: tuple[Channel, ...], work: ServerWork) -> None:
        self._plan = plan
        self._channels = channels
        self._work = work
        self._state = State.NEW
        self._bytes = np.zeros((2, plan.num_parties), dtype=np.int64)
        self._survivors: set[int] = set()
        self._reason = ""

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    def start(self) -> list[Outgoing]:
        """Open the round.

        Returns:
            Nothing to send: the parties begin.

        Raises:
            LocalProtocolError: started before.
        """
        self._expect(State.NEW, "start is called once")
        self._state = State.COLLECTING
        return []

    def receive(self, payload: bytes, sender: int | str) -> list[Outgoing]:
        """Add a party's message to the sum.

        Args:
            payload: the message.
            sender: the party's number, as the transport knows it.

        Returns:
            Nothing to answer before the round is closed.

        Raises:
            DecodeError: not an authentic message of that party in this session; the sum is as it was.
            PeerProtocolError: an unknown sender, a second message, or one that comes too late.
            LocalProtocolError: not started.
        """
        if self._state is State.NEW or self._state is State.ABORTED:
            self._expect(State.COLLECTING, "receive comes after start")
        party = self._party(sender)
        body = self._channels[party].unwrap(Kind.INPUT, payload, peer=party)
        if self._state is not State.COLLECTING:
            raise PeerProtocolError(f"party {party} is late: the round is closed.", peer=party)
        if party in self._survivors:
            raise PeerProtocolError(f"party {party} has sent its input already.", peer=party)
        try:
            parts = self._work.parse(body)
        except DecodeError as error:
            raise DecodeError(f"party {party}: {error}", peer=party) from None
        self._work.add(parts)
        self._survivors.add(party)
        self._bytes[0, party] = len(payload)
        return []

    def close_round(self) -> list[Outgoing]:
        """End the round with whoever has sent.

        Returns:
            The sum, to every survivor.

        Raises:
            TooFewSurvivorsError: fewer than ``min_survivors``; nothing is sent, and the round stays open.
            LocalProtocolError: not started, or closed before.
        """
        self._expect(State.COLLECTING, "close_round is called once, after start")
        alive, required = len(self._survivors), self._plan.min_survivors
        if alive < required:
            raise TooFewSurvivorsError(
                f"at least {required} of {self._plan.num_parties} inputs must have arrived, got {alive}; wait for "
                "more, or plan with a larger dropout.",
                alive=alive,
                required=required,
            )
        survivors = sorted(self._survivors)
        body = _pack_roster(survivors, self._plan.num_parties) + self._work.body()
        self._state = State.SUMMED
        self._bytes[1, survivors] = len(body) + OVERHEAD
        return [Outgoing(party, self._channels[party].wrap(Kind.SUM, body)) for party in survivors]

    def result(self) -> SumResult:
        """The sum, where the server may read it.

        Returns:
            The result, with the traffic that the server saw.

        Raises:
            LocalProtocolError: the round is not closed, or only clients can open this sum.
        """
        self._expect(State.SUMMED, "result comes after close_round")
        total = self._work.total()
        if total is None:
            raise LocalProtocolError("only clients can open this sum: the server holds no key for it.")
        return SumResult(total, sorted(self._survivors), self._bytes[0].copy(), self._bytes[1].copy(), 0.0)

    def abort(self, reason: str) -> None:
        """Give up: no further step is possible.

        Args:
            reason: for the error messages of later calls.
        """
        self._state, self._reason = State.ABORTED, reason

    def _party(self, sender: int | str) -> int:
        """The sender as a party's number, whichever integer type the transport uses."""
        last = self._plan.num_parties - 1
        try:
            return check_integer("sender", sender, at_least=0, at_most=last)
        except ParameterError:
            raise PeerProtocolError(
                f"sender must be a party's number, 0 to {last}, got {sender!r}.", peer=sender
            ) from None

    def _expect(self, state: State, rule: str) -> None:
        """Out of order is the caller's error."""
        if self._state is State.ABORTED:
            raise LocalProtocolError(f"this session was aborted: {self._reason}.")
        if self._state is not state:
            raise LocalProtocolError(f"{rule}; this session is {self._state.value!r}.")
