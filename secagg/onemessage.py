"""Sessions of protocols in which every party sends one message, and whoever may open the sum gets one.

What a message's body holds is a protocol's own matter, behind small roles (:class:`ClientWork`, :class:`ReaderWork`,
:class:`ServerWork`); order, authenticity, duplicates, survivors and aborts are handled here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, final, overload

import numpy as np
from numpy.typing import NDArray

from secagg.api import Address, Outgoing, State, SumProtocol, SumResult
from secagg.envelope import OVERHEAD, Channel, Kind
from secagg.errors import DecodeError, LocalProtocolError, ParameterError, PeerProtocolError, TooFewSurvivorsError
from secagg.masking.packing import pack_set, set_bytes, unpack_set
from secagg.session import PartySession, Session, SummingSession, Uncopied, check_server, in_turn

__all__ = [
    "ROUNDS",
    "ClientWork",
    "OneMessageClient",
    "OneMessageServer",
    "Progress",
    "ReaderWork",
    "ServerWork",
    "SumReader",
    "refuse_unused",
]

ROUNDS = ("masked_input",)
"""The rounds of a one-message protocol."""

Progress = Callable[[int, int], None] | None
"""Called with how many parts of a vector are done, and how many there are."""

_UNVERIFIED = "the sum did not verify; it is not shown, and this session is over."


class ClientWork(Protocol):
    """What a protocol does with a party's vector."""

    def check(self, vector: Any) -> NDArray[Any]:
        """A copy of a vector that the plan can sum; raises ParameterError."""

    def seal(self, vector: NDArray[Any], progress: Progress) -> bytes:
        """The body of a vector."""


class ReaderWork(Protocol):
    """What a protocol does with the sum."""

    def open(self, body: bytes, survivors: list[int], progress: Progress) -> NDArray[Any]:
        """The verified sum; raises DecodeError if it is not the survivors' sum."""


class ServerWork(Protocol):
    """What a protocol does at the server."""

    def parse(self, body: bytes) -> Any:
        """The parts of a body; raises DecodeError."""

    def add(self, parts: Any) -> None:
        """Add the parts to the sum; raises DecodeError, and the sum is as it was, if the two make no sum."""

    def body(self) -> bytes:
        """The body of the sum."""

    def total(self) -> NDArray[np.uint64] | None:
        """The sum itself, or None where the server cannot read it."""


def refuse_unused(identity: object, guard: object) -> None:
    """One-message protocols have nothing to sign and nothing to answer twice."""
    if identity is not None or guard is not None:
        raise ParameterError("identity and guard must be None: this protocol sends one message and uses neither.")


@final
class SumReader(Uncopied, Session):
    """Who opens the sum: ``receive``, ``result``. Every party has one, or the opener where parties hold no secret key.

    Args:
        plan: the protocol's plan.
        channel: what the reader shares with the server.
        work: how a sum is opened.
    """

    def __init__(self, plan: SumProtocol, channel: Channel, work: ReaderWork) -> None:
        super().__init__()
        self._plan = plan
        self._channel = channel
        self._work = work
        self._state = State.WAITING
        self._body = b""
        self._received = 0
        self._is_opening = False
        self._result: SumResult | None = None

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
            LocalProtocolError: the session was aborted.
        """
        self._refuse_aborted()
        check_server(sender)
        body = self._channel.unwrap(Kind.SUM, payload, peer="server")
        if self._state is not State.WAITING:
            raise PeerProtocolError("the server sent a second sum; the first one stands.", peer="server")
        self._body, self._received, self._state = body, len(payload), State.SUMMED
        return []

    def result(self, progress: Progress = None) -> SumResult:
        """Open the sum, once, and verify it against the announced survivors.

        Args:
            progress: called with the parts of the sum that are opened, and how many there are.

        Returns:
            The result; the same object on later calls.

        Raises:
            DecodeError: the sum did not verify. The session is over, because a second attempt would make its reader a
                decryption oracle.
            LocalProtocolError: there is no sum yet, or the session was aborted, be it by `progress`.
        """
        if self._result is not None:
            return self._result
        self._expect(State.SUMMED, "result comes after the server's sum")
        work, body, received = self._work, self._body, self._received
        self.abort("the sum did not verify")  # until it has: whatever happens on the way, there is one attempt
        self._is_opening = True
        survivors, total = self._open(work, body, progress)
        if not self._is_opening:  # progress() gave up
            self._refuse_aborted()
        counts = np.zeros((2, self._plan.num_parties), dtype=np.int64)
        counts[1:, self._channel.party : self._channel.party + 1] = received
        self._result = SumResult(total, survivors, counts[0], counts[1], 0.0)
        self._state = State.FINISHED
        return self._result

    def _open(self, work: ReaderWork, body: bytes, progress: Progress) -> tuple[list[int], NDArray[Any]]:
        """Survivors and their verified sum; every failure looks the same."""
        cut = set_bytes(self._plan.num_parties)
        try:
            there = unpack_set(body[:cut], self._plan.num_parties)
            survivors = [party for party, is_there in enumerate(there) if is_there]
            if len(survivors) < self._plan.min_survivors:
                raise DecodeError(_UNVERIFIED, peer="server")
            return survivors, work.open(body[cut:], survivors, progress)
        except DecodeError:
            raise DecodeError(_UNVERIFIED, peer="server") from None

    def _forget(self) -> None:
        self._body, self._result, self._is_opening = b"", None, False
        self._channel = replace(self._channel, key=b"")
        self.__dict__.pop("_work", None)  # with its keys; nothing asks for it any more


@final
class OneMessageClient(PartySession):
    """A party's side: ``set_input``, ``start``, and where it can open the sum ``receive``, ``result``.

    Args:
        plan: the protocol's plan.
        channel: what this party shares with the server.
        work: what the protocol does here.
        reader: how this party opens the sum; None where it holds no key for it.
    """

    def __init__(self, plan: SumProtocol, channel: Channel, work: ClientWork, reader: ReaderWork | None = None) -> None:
        super().__init__()
        self._channel = channel
        self._work = work
        self._reader = None if reader is None else SumReader(plan, channel, reader)
        self._sent = 0
        self._result: SumResult | None = None

    @property
    def state(self) -> State:
        """Where the session stands; a party that cannot open the sum is finished when it has sent its input."""
        if self._state is State.WAITING:
            return State.FINISHED if self._reader is None else self._reader.state
        return self._state

    def start(self, progress: Progress = None) -> list[Outgoing]:
        """Seal the input and send it; the plain input is forgotten.

        Args:
            progress: called with the parts of the vector that are sealed, and how many there are.

        Returns:
            One message, to the server.

        Raises:
            LocalProtocolError: no input yet, started before, or aborted, be it by `progress`; nothing is sent.
        """
        if self._input is None:
            self._refuse_aborted()
            raise LocalProtocolError(f"start is called once, after set_input; this session is {self.state.value!r}.")
        payload = self._channel.wrap(Kind.INPUT, self._work.seal(self._input, progress))
        self._expect(State.READY, "start is called once, after set_input")  # progress() may have done it, or aborted
        self._input, self._sent, self._state = None, len(payload), State.WAITING
        return [Outgoing("server", payload)]

    def receive(self, payload: bytes, sender: int | str) -> list[Outgoing]:
        """Take the server's sum; see :meth:`SumReader.receive`, and before `start` a LocalProtocolError."""
        return self._opened_by("receive").receive(payload, sender)

    def result(self, progress: Progress = None) -> SumResult:
        """Open the sum, once; see :meth:`SumReader.result`."""
        reader = self._opened_by("result")
        if self._result is None:
            result = reader.result(progress)
            sent = np.zeros_like(result.bytes_up)
            sent[self._channel.party] = self._sent
            self._result = replace(result, bytes_up=sent)
        return self._result

    def _opened_by(self, call: str) -> SumReader:
        """Who opens the sum here."""
        self._refuse_aborted()
        if self._state is not State.WAITING:
            raise LocalProtocolError(f"{call} comes after start: this party has sent nothing yet.")
        if self._reader is None:
            raise LocalProtocolError(f"{call} is the opener's: this party holds no key for the sum, and has finished.")
        return self._reader

    def _checked(self, vector: Any) -> NDArray[Any]:
        return self._work.check(vector)

    def _forget(self) -> None:
        self._input, self._result = None, None
        self._channel = replace(self._channel, key=b"")
        self.__dict__.pop("_work", None)  # with its keys; nothing asks for it any more
        if self._reader is not None:
            self._reader.abort(self._reason)


@final
class _Broadcast(Sequence[Outgoing]):
    """One body for many, each in an envelope of its own."""

    def __init__(self, channels: Mapping[Address, Channel], body: bytes) -> None:
        self._channels, self._body = list(channels.items()), body

    def __len__(self) -> int:
        return len(self._channels)

    @overload
    def __getitem__(self, place: int) -> Outgoing: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Outgoing]: ...

    def __getitem__(self, place: int | slice) -> Outgoing | Sequence[Outgoing]:
        if isinstance(place, slice):
            return _Broadcast(dict(self._channels[place]), self._body)
        dst, channel = self._channels[place]
        return Outgoing(dst, channel.wrap(Kind.SUM, self._body))


@final
class OneMessageServer(SummingSession):
    """The server's side: ``start``, ``receive`` from each party, ``close_round``.

    Args:
        plan: the protocol's plan.
        channels: what the server shares with each party, in order.
        work: what the protocol does here.
        opener: what the server shares with whoever opens the sum; None where the survivors do.
    """

    def __init__(
        self, plan: SumProtocol, channels: tuple[Channel, ...], work: ServerWork, opener: Channel | None = None
    ) -> None:
        super().__init__(plan.num_parties)
        self._plan = plan
        self._channels = channels
        self._work = work
        self._opener = opener
        self._bytes = np.zeros((2, plan.num_parties), dtype=np.int64)
        self._survivors: set[int] = set()

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

    @in_turn
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
            self._work.add(self._work.parse(body))
        except DecodeError as error:
            raise DecodeError(f"party {party}: {error}", peer=party) from None
        self._survivors.add(party)
        self._bytes[0, party] = len(payload)
        return []

    @in_turn
    def close_round(self) -> Sequence[Outgoing]:
        """End the round with whoever has sent.

        Returns:
            The sum, to every survivor or to the opener; each message is made when it is taken, so that there is memory
            for one of them at a time.

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
        body = pack_set([party in self._survivors for party in range(self._plan.num_parties)]) + self._work.body()
        self._state = State.SUMMED
        if self._opener is not None:
            return _Broadcast({"opener": self._opener}, body)
        self._bytes[1, survivors] = len(body) + OVERHEAD
        return _Broadcast({party: self._channels[party] for party in survivors}, body)

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
            raise LocalProtocolError("the server cannot open this sum: it holds no key for it.")
        return SumResult(total, sorted(self._survivors), self._bytes[0].copy(), self._bytes[1].copy(), 0.0)
