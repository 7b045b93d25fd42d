"""All roles of one session in one place, moved letter by letter: what the checks of the kit stop, tap and disturb."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import numpy as np
from numpy.typing import NDArray

from secagg.api import (
    Address,
    ClientSession,
    Keys,
    OpenedSumProtocol,
    OpenerSession,
    Outgoing,
    ServerSession,
    SumProtocol,
    SumResult,
)
from secagg.errors import ConformanceError, LocalProtocolError, TooFewSurvivorsError

__all__ = ["Carrier", "Letter", "Opened", "Rehearsal", "Source", "made_up_vectors"]

Carrier = Callable[[bytes, Address, Address], bytes]
"""A transport: takes payload, sender and recipient, and returns the bytes that the recipient gets."""

Hook = Callable[["Rehearsal", "Letter"], None]


@final
class Source:
    """Bytes that follow from a seed and a name; another name gives other bytes.

    Args:
        seed: an integer.
        name: whose bytes these are.
    """

    secure = False

    def __init__(self, seed: int, name: str) -> None:
        self._about, self._drawn = f"secagg kit {seed} {name}", 0

    def bytes(self, n: int) -> bytes:
        """`n` bytes."""
        self._drawn += 1
        return hashlib.shake_256(f"{self._about} {self._drawn}".encode()).digest(n)

    def below(self, end: int) -> int:
        """An integer in ``[0, end)``."""
        return int.from_bytes(self.bytes(16), "little") % end


@final
@dataclass(frozen=True, slots=True)
class Letter:
    """A message on its way.

    Args:
        round: the round that it belongs to: the answers to a round's messages belong to the next.
        src: who sends it.
        dst: who gets it.
        payload: the bytes.
    """

    round: str
    src: Address
    dst: Address
    payload: bytes


@final
@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A sum and who opened it.

    Args:
        who: whose session opened it.
        result: what its session returned.
    """

    who: Address
    result: SumResult


def made_up_vectors(plan: SumProtocol, seed: int) -> NDArray[np.uint64]:
    """A vector for each party, uint64 of shape ``(num_parties, dim)``: uniform, and at the end the largest value."""
    count = plan.num_parties * plan.dim
    words = np.frombuffer(Source(seed, "vectors").bytes(8 * count), dtype="<u8").astype(np.uint64)
    vectors = words.reshape(plan.num_parties, plan.dim) >> np.uint64(64 - plan.value_bits)
    vectors[:, -1] = (1 << plan.value_bits) - 1
    return vectors


@final
class Rehearsal:
    """One session of a plan: ``give``, ``start``, ``play``; every step is a function of plan, vectors, seed and keys.

    Args:
        plan: the plan.
        vectors: a row for each party.
        seed: what all entropy follows from.
        carry: the transport.
        keys: what the sessions are given; by default, fresh ones.
        guards: a guard for each party; by default, none.
        before: called with each letter before it is delivered.
        after: called with each letter after it was delivered.

    Attributes:
        plan: the plan.
        vectors: the inputs.
        clients: the parties' sessions.
        server: the server's session.
        opener: the session of who opens the sum, in plans that have one; else None.
        letters: everything that was delivered, in order.
        gone: parties that say and hear nothing any more.
    """

    def __init__(
        self,
        plan: SumProtocol,
        vectors: NDArray[np.uint64],
        *,
        seed: int,
        carry: Carrier,
        keys: Keys[Any, Any] | None = None,
        guards: Sequence[Any] | None = None,
        before: Hook | None = None,
        after: Hook | None = None,
    ) -> None:
        self.plan, self.vectors, self._carry = plan, vectors, carry
        self._hooks = before, after
        keys = plan.keygen(Source(seed, "keys")) if keys is None else keys
        self.clients: list[ClientSession] = [
            plan.client(
                party,
                entropy=Source(seed, f"party {party}"),
                keys=held,
                **({} if guards is None else {"guard": guards[party]}),
            )
            for party, held in enumerate(keys.clients)
        ]
        self.server: ServerSession = plan.server(entropy=Source(seed, "server"), keys=keys.server)
        self.opener: OpenerSession | None = None
        if keys.opener is not None:
            self.opener = cast(OpenedSumProtocol, plan).opener(keys=keys.opener)
        self.letters: list[Letter] = []
        self.gone: set[int] = set()
        self._pending: dict[int, list[Outgoing]] = {}

    def give(self) -> None:
        """Give every party its vector."""
        for client, vector in zip(self.clients, self.vectors, strict=True):
            client.set_input(vector)

    def start(self) -> None:
        """Start all sessions; nothing is delivered yet, but what the server opens the first round with."""
        for message in self.server.start():
            self._deliver(Letter(self.plan.rounds[0], "server", message.dst, message.payload))
        self._pending = {party: client.start() for party, client in enumerate(self.clients)}

    def play(self, dropouts: Mapping[str, Collection[int]] | None = None) -> list[Opened]:
        """Play all rounds.

        Args:
            dropouts: ``{round name: parties}`` that are gone before they send in that round.

        Returns:
            The sum of everybody who can open it.
        """
        for name in self.plan.rounds:
            self.gone.update((dropouts or {}).get(name, ()))
            waiting, self._pending = self._pending, {}
            for party, messages in waiting.items():
                for message in messages if party not in self.gone else []:
                    self._deliver(Letter(name, party, message.dst, message.payload))
            for message in self.server.close_round():
                self._deliver(Letter(name, "server", message.dst, message.payload))
        return self.opened()

    def complete(self, dropouts: Mapping[str, Collection[int]] | None = None) -> list[Opened]:
        """All of a session: :meth:`give`, :meth:`start` and :meth:`play`."""
        self.give()
        self.start()
        return self.play(dropouts)

    def opened(self) -> list[Opened]:
        """The sum of everybody who can open it; empty if nobody can."""
        there = [(party, client) for party, client in enumerate(self.clients) if party not in self.gone]
        third = [] if self.opener is None else [("opener", self.opener)]
        found: list[Opened] = []
        for who, session in (("server", self.server), *third, *there):
            try:
                found.append(Opened(who, session.result()))  # type: ignore[arg-type]
            except LocalProtocolError:
                continue
        return found

    def session(self, who: Address) -> ClientSession | ServerSession | OpenerSession:
        """Whose session it is."""
        if who == "opener":
            if self.opener is None:
                raise ConformanceError("a message goes to 'opener', and keygen has made no keys for one.")
            return self.opener
        return self.server if who == "server" else self.clients[who]

    def _deliver(self, letter: Letter) -> None:
        """Carry a letter to where it goes, and keep what is answered to it for the next round."""
        src, dst = letter.src, letter.dst
        if (src == "server") is (dst == "server"):
            raise ConformanceError(f"in {letter.round!r}, {src!r} writes to {dst!r}: parties and the server do.")
        if dst in self.gone:
            return
        arrived = self._carry(letter.payload, src, dst)
        if arrived != letter.payload:
            raise ConformanceError(f"in {letter.round!r}, what {src!r} sent to {dst!r} arrived as something else.")
        self._call(self._hooks[0], letter)
        try:
            answers = self.session(dst).receive(arrived, src)
        except TooFewSurvivorsError:
            if dst == "server":
                raise
            self.gone.add(cast(int, dst))  # a party that has heard of too few others says nothing more
            return
        self.letters.append(letter)
        self._call(self._hooks[1], letter)
        if dst == "server":
            for message in answers:
                self._deliver(Letter(letter.round, "server", message.dst, message.payload))
        elif answers:
            self._pending.setdefault(cast(int, dst), []).extend(answers)

    def _call(self, hook: Hook | None, letter: Letter) -> None:
        if hook is not None:
            hook(self, letter)
