"""The server's side of a threshold sum: it relays shares, adds masked inputs as they arrive, and opens their sum.

It learns the sum and who is in it. What it must be kept from is the parties' matter; what it checks here keeps one
party's mistake from spoiling the sum: a message that may not be used is refused, and its sender counts as dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.api import Outgoing, State, SumResult
from secagg.errors import DecodeError, PeerProtocolError, TooFewSurvivorsError
from secagg.masking.keys import KEY_BYTES, KeyPair, PairKey, open_share
from secagg.masking.packing import pack_set
from secagg.session import SummingSession, in_turn
from secagg.threshold.keys import SERVER, ThresholdServerKeys, link_key, pair_keys
from secagg.threshold.masked import Progress, add_input, open_total
from secagg.threshold.messages import Kind, body_bytes, list_digest, sealed_bytes, unwrap, wrap
from secagg.threshold.noise import BOUND
from secagg.threshold.parameters import Layout
from secagg.threshold.ring import RING
from secagg.threshold.sharing import combine, unpack

__all__ = ["ROUNDS", "ThresholdServer"]

ROUNDS = ("share_keys", "masked_input", "reveal")
"""Names of the rounds, in order."""

_KINDS = (Kind.SHARES, Kind.INPUT, Kind.REVEAL)
_UNVERIFIED = "the sum did not verify; it is not shown, and this session is over."


@final
class ThresholdServer(SummingSession):
    """The server's session: ``start``, ``receive`` from each party, ``close_round`` for each round, ``result``.

    Args:
        layout: the plan's numbers.
        keys: the server's keys, of one session.
        bound: 32 bytes that stand for session, plan and public keys.
    """

    def __init__(self, layout: Layout, keys: ThresholdServerKeys, bound: bytes) -> None:
        super().__init__(layout.thresholds.num_parties)
        self._layout, self._bound, self._session = layout, bound, keys.session
        self._pairs: dict[int, PairKey] = pair_keys(
            KeyPair(keys.secret), dict(enumerate(keys.roster)), session=keys.session, mine=SERVER
        )
        self._links = {party: link_key(pair, bound) for party, pair in self._pairs.items()}
        self._round = 0
        self._expected = set(range(layout.thresholds.num_parties))
        self._answers: dict[int, Any] = {}
        self._nonces: dict[int, bytes] = {}
        self._masked = np.zeros(layout.packing.chunks * RING, dtype=np.uint64)
        self._survivors: list[int] = []
        self._total: NDArray[np.uint64] | None = None
        self._bytes = np.zeros((2, layout.thresholds.num_parties), dtype=np.int64)

    def start(self) -> list[Outgoing]:
        """Open the first round.

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
        """Take a party's message of the round; a masked input is added at once, and not kept. Threads take turns.

        Args:
            payload: the message.
            sender: the party's number, as the transport knows it.

        Returns:
            Nothing to answer before the round is closed.

        Raises:
            DecodeError: not the message of this round from that party; the session is as it was.
            PeerProtocolError: an unknown sender, one that dropped out, or a second message.
            LocalProtocolError: not started, aborted, or finished.
        """
        self._expect(State.COLLECTING, "receive comes after start and before the last round is closed")
        party = self._party(sender)
        if party not in self._expected:
            raise PeerProtocolError(f"party {party} has dropped out of this sum.", peer=party)
        if party in self._answers:
            raise PeerProtocolError(f"party {party} has sent its message of this round already.", peer=party)
        kind = _KINDS[self._round]
        size = body_bytes(kind, self._layout)
        body = unwrap(kind, self._bound, party, payload, key=self._links[party], most=size, peer=party)
        if len(body) != size:
            raise DecodeError(f"party {party}: the message has another length than the plan's.", peer=party)
        try:
            self._answers[party] = self._read(kind, party, body)
        except DecodeError as error:
            raise DecodeError(f"party {party}: {error}", peer=party) from None
        self._bytes[0, party] += len(payload)
        return []

    @in_turn
    def close_round(self, progress: Progress = None) -> list[Outgoing]:
        """End the round with whoever has answered.

        Args:
            progress: while the sum is opened, called with the chunks that are done, and how many there are.

        Returns:
            The next message for each party that is left; nothing after the last round.

        Raises:
            TooFewSurvivorsError: too few have answered; nothing changed, and the round stays open.
            DecodeError: in the last round: the sum did not verify; the session is over.
            LocalProtocolError: not started, aborted, or finished.
        """
        self._expect(State.COLLECTING, "close_round comes after start and before the last round is closed")
        kind, plan = _KINDS[self._round], self._layout.thresholds
        self._require(plan.threshold if kind is Kind.REVEAL else plan.min_survivors)
        if kind is Kind.REVEAL:
            self._open(progress)
            return []
        outgoing = self._relay() if kind is Kind.SHARES else self._name_the_survivors()
        self._expected, self._answers, self._round = set(self._answers), {}, self._round + 1
        for party, payload in outgoing:
            self._bytes[1, party] += len(payload)
        return [Outgoing(party, payload) for party, payload in outgoing]

    def result(self) -> SumResult:
        """The sum.

        Returns:
            The total of the survivors' vectors, and the traffic that the server saw.

        Raises:
            LocalProtocolError: the last round is not closed.
        """
        self._expect(State.FINISHED, "result comes after the last round is closed")
        total = np.zeros(0, dtype=np.uint64) if self._total is None else self._total.copy()
        return SumResult(total, list(self._survivors), self._bytes[0].copy(), self._bytes[1].copy(), 0.0)

    def _read(self, kind: Kind, party: int, body: memoryview) -> Any:
        """What is kept of a message."""
        if kind is Kind.SHARES:
            others = [other for other in sorted(self._expected) if other != party]
            size = sealed_bytes(self._layout)
            return bytes(body[:KEY_BYTES]), {
                other: bytes(body[KEY_BYTES + place * size :][:size]) for place, other in enumerate(others)
            }
        if kind is Kind.INPUT:
            self._masked = add_input(self._masked, body, self._layout.packing)
            return True
        config = self._bound + self._nonces[party] + list_digest(self._bound, self._set(self._survivors))
        opened = open_share(self._pairs[party], bytes(body), sender=party, receiver=SERVER, config=config)
        return unpack(opened, packed=self._layout.thresholds.packed)

    def _relay(self) -> list[tuple[int, bytes]]:
        """To everybody who shared, the shares that the others sealed for it."""
        shared = sorted(self._answers)
        self._nonces = {party: self._answers[party][0] for party in shared}
        return [
            self._message(
                Kind.RELAY,
                party,
                self._set(shared)
                + b"".join(self._nonces[other] + self._answers[other][1][party] for other in shared if other != party),
            )
            for party in shared
        ]

    def _name_the_survivors(self) -> list[tuple[int, bytes]]:
        """To everybody whose input arrived, whose inputs did."""
        self._survivors = sorted(self._answers)
        listed = self._set(self._survivors)
        return [self._message(Kind.SURVIVORS, party, listed) for party in self._survivors]

    def _open(self, progress: Progress) -> None:
        """Take the mask off, with the first answers that give a sum."""
        for answers in self._choices():
            shares = np.stack([self._answers[party] for party in answers])
            secrets = combine([party + 1 for party in answers], shares, packed=self._layout.thresholds.packed)
            if int(np.abs(secrets).max()) > BOUND * len(self._survivors):
                continue
            try:
                total = open_total(
                    self._masked,
                    self._layout.packing,
                    session=self._session,
                    secrets=secrets,
                    survivors=len(self._survivors),
                    progress=progress,
                )
            except DecodeError:
                continue
            self._refuse_aborted()
            self._total = total
            self._state, self._expected, self._answers = State.FINISHED, set(), {}
            return
        self.abort("the sum did not verify")
        raise DecodeError(_UNVERIFIED)

    def _choices(self) -> Iterator[list[int]]:
        """Answers to open the sum with: as many as it takes, then without each of these in turn.

        So one wrong answer does no harm where there is one more than it takes.
        """
        answered, needed = sorted(self._answers), self._layout.thresholds.threshold
        yield answered[:needed]
        for left_out in answered[:needed] if len(answered) > needed else ():
            yield [party for party in answered if party != left_out][:needed]

    def _require(self, required: int) -> None:
        """Enough, or wait for more."""
        alive = len(self._answers)
        if alive < required:
            raise TooFewSurvivorsError(
                f"at least {required} parties must have answered in {ROUNDS[self._round]!r}, got {alive}; wait for "
                "more, or plan with a larger dropout.",
                alive=alive,
                required=required,
            )

    def _set(self, parties: list[int]) -> bytes:
        """A set of parties, one bit each."""
        return pack_set([party in parties for party in range(self._layout.thresholds.num_parties)])

    def _message(self, kind: Kind, party: int, body: bytes) -> tuple[int, bytes]:
        return party, wrap(kind, self._bound, party, body, key=self._links[party])
