"""The server's side of a masked sum: it collects, relays, adds, and takes the masks off.

It learns the sum and who is in it. What it must be kept from is the clients' matter; what it checks here keeps one
party's mistake from spoiling the sum: a message that may not be used is refused, and its sender counts as dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.api import Outgoing, State, SumResult
from secagg.errors import DecodeError, PeerProtocolError, TooFewSurvivorsError
from secagg.masking.graph import HararyGraph
from secagg.masking.keys import KEY_BYTES, SIGNATURE_BYTES, KeyPair, check_public
from secagg.masking.layout import SEALED_BYTES, SHARE_BYTES, Layout, advertised, consistent
from secagg.masking.masks import word_type
from secagg.masking.messages import Kind, unwrap, wrap
from secagg.masking.opening import Opening
from secagg.masking.packing import pack_set, set_bytes, unpack_bits, unpack_set
from secagg.masking.snapshots import seal, unseal
from secagg.masking.task import Registry, Signer, roster_digest
from secagg.session import SummingSession, in_turn

__all__ = ["MaskingServer"]

_PLAIN = ("graph_key", "round", "session", "expected", "answers", "keys", "roster", "shared", "commitments")


@final
class MaskingServer(SummingSession):
    """The server's session: ``start``, ``receive`` from each party, ``close_round`` for each round, ``result``.

    Args:
        layout: the plan's numbers.
        rounds: names of the rounds.
        task: 32 bytes, the task's identifier.
        graph: 32 random bytes that the graph follows from.
        signer: who the parties are, to refuse what the others would stop at; None where nobody signs, or the server
            cannot tell.
    """

    def __init__(
        self, layout: Layout, rounds: tuple[str, ...], task: bytes, graph: bytes, signer: Signer | None = None
    ) -> None:
        super().__init__(layout.num_parties)
        self._layout, self._rounds, self._task, self._signer = layout, rounds, task, signer
        self._draw_graph(graph)
        self._round = 0
        self._bytes = np.zeros((2, layout.num_parties), dtype=np.int64)
        self._modulus = 1 << layout.modulus_bits
        self._total: NDArray[Any] = np.zeros(layout.dim, dtype=word_type(self._modulus))
        self._session = task
        self._expected: dict[int, list[int]] = {}
        self._answers: dict[int, Any] = {}
        self._keys: dict[int, bytes] = {}
        self._public: set[bytes] = set()
        self._roster: dict[int, list[int]] = {}
        self._shared: dict[int, list[int]] = {}
        self._commitments: dict[int, bytes] = {}

    def _draw_graph(self, key: bytes) -> None:
        """Who masks with whom."""
        self._graph_key, self._probe = key, KeyPair(key)
        self._graph = HararyGraph.draw(key, num_parties=self._layout.num_parties, degree=self._layout.neighbours)

    def start(self) -> list[Outgoing]:
        """Open the first round.

        Returns:
            Nothing to send: the parties begin.

        Raises:
            LocalProtocolError: started before.
        """
        self._expect(State.NEW, "start is called once")
        self._state = State.COLLECTING
        self._expected = {party: [] for party in range(self._layout.num_parties)}
        return []

    @in_turn
    def receive(self, payload: bytes, sender: int | str) -> list[Outgoing]:
        """Take a party's message of the round.

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
        kind, read = self._reader()
        limit = self._layout.body_limit(kind, len(self._roster.get(party, ())), len(self._keys))
        body = unwrap(kind, self._task, party, payload, limit=limit, peer=party)
        try:
            self._answers[party] = read(party, body)
        except DecodeError as error:
            raise DecodeError(f"party {party}: {error}", peer=party) from None
        self._bytes[0, party] += len(payload)
        return []

    @in_turn
    def close_round(self) -> list[Outgoing]:
        """End the round with whoever has answered.

        Returns:
            The next message for each party that is left; nothing after the last round.

        Raises:
            TooFewSurvivorsError: too few have answered; nothing changed, and the round stays open.
            DecodeError: in the last round: shares do not fit what was committed to; the session is over.
            LocalProtocolError: not started, or finished.
        """
        self._expect(State.COLLECTING, "close_round comes after start and before the last round is closed")
        outgoing = {
            "advertise": self._send_rosters,
            "share_keys": self._relay,
            "masked_input": self._name_the_survivors,
            "consistency": self._send_proofs,
            "unmask": self._open,
        }[self._rounds[self._round]]()
        self._answers, self._round = {}, self._round + 1
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
        survivors = sorted(self._commitments)
        return SumResult(self._total.astype(np.uint64), survivors, self._bytes[0].copy(), self._bytes[1].copy(), 0.0)

    def snapshot(self, key: bytes) -> bytes:
        """The session as bytes that only the key opens; the total in it is masked until the last round is closed.

        Args:
            key: 32 secret bytes of the caller's.

        Returns:
            The snapshot, about as long as a masked input and the messages of the round.
        """
        state = {name: getattr(self, f"_{name}") for name in _PLAIN}
        arrays = {"total": self._total.astype("<u8").tobytes(), "bytes": self._bytes.astype("<i8").tobytes()}
        return seal({**state, **arrays, "state": self._state.value.encode()}, key, self._about)

    def restore(self, snapshot: bytes, key: bytes) -> None:
        """Go on where a snapshot was taken; into a session that was made with the same arguments and has done nothing.

        Args:
            snapshot: what :meth:`snapshot` returned.
            key: the key it was sealed under.

        Raises:
            DecodeError: it does not open; nothing changed.
            LocalProtocolError: this session was started already.
        """
        self._expect(State.NEW, "restore goes into a new session")
        held = unseal(snapshot, key, self._about)
        for name in _PLAIN:
            setattr(self, f"_{name}", held[name])
        self._draw_graph(held["graph_key"])
        self._total = np.frombuffer(held["total"], dtype="<u8").astype(self._total.dtype)
        self._bytes = np.frombuffer(held["bytes"], dtype="<i8").astype(np.int64).reshape(self._bytes.shape)
        self._state = State(held["state"].decode())
        if not self._round:
            self._public = {key for keys in self._answers.values() for key in self._parts(keys)}

    @property
    def _about(self) -> bytes:
        """What a snapshot belongs to."""
        return b"secagg server v1" + self._layout.config + self._task

    # -- what a message holds

    def _reader(self) -> tuple[Kind, Callable[[int, bytes], Any]]:
        """What is expected in this round, and how it is read."""
        return {
            "advertise": (Kind.ADVERTISE, self._read_keys),
            "share_keys": (Kind.SHARES, self._read_shares),
            "masked_input": (Kind.INPUT, self._add),
            "consistency": (Kind.SIGNATURE, self._read_signature),
            "unmask": (Kind.UNMASK, self._read_unmasking),
        }[self._rounds[self._round]]

    def _read_keys(self, party: int, body: bytes) -> bytes:
        if len(body) != self._layout.key_bytes:
            raise DecodeError("the message does not hold the keys of a party.")
        keys = self._parts(body)
        for key in keys[:2]:
            if not any(self._probe.exchange(check_public(key, peer=party))):
                raise DecodeError("a public key is a point of low order.")
        if len(set(keys)) < len(keys) or self._public & set(keys):
            raise DecodeError("a public key is not this party's alone.")
        size = 2 * KEY_BYTES
        if self._layout.signed and not self._verified(party, advertised(self._task, party, body[:size]), body[size:]):
            raise DecodeError("the keys are not signed by their party for this task, model and settings.")
        self._public.update(keys)
        return body

    def _parts(self, body: bytes) -> list[bytes]:
        """The public keys in what a party advertised: for shares, for masks and, where it has one, for the list."""
        signing = [body[self._layout.entry_bytes :]] if self._layout.has_directory else []
        return [body[:KEY_BYTES], body[KEY_BYTES : 2 * KEY_BYTES], *signing]

    def _read_shares(self, party: int, body: bytes) -> dict[int, bytes]:
        others = self._expected[party]
        if len(body) != SEALED_BYTES * len(others):
            raise DecodeError("the message does not hold a share for every neighbour.")
        return {other: body[i * SEALED_BYTES : (i + 1) * SEALED_BYTES] for i, other in enumerate(others)}

    def _add(self, party: int, body: bytes) -> bytes:
        """Add a masked input to the total; only its commitment is kept."""
        if len(body) != self._layout.input_bytes:
            raise DecodeError("the message does not hold an input of this plan.")
        values = unpack_bits(body[KEY_BYTES:], self._layout.dim, self._layout.modulus_bits)
        self._total += values.astype(self._total.dtype)
        return body[:KEY_BYTES]

    def _read_signature(self, party: int, body: bytes) -> bytes:
        if len(body) != SIGNATURE_BYTES:
            raise DecodeError("the message does not hold a signature.")
        shared = self._shared[party] if self._layout.is_complete else []
        if not self._verified(party, consistent(self._session, shared, sorted(self._commitments)), body):
            raise DecodeError("the signature is not of the list of survivors.")
        return body

    def _verified(self, party: int, message: bytes, signature: bytes) -> bool:
        """Whether a signature is its party's, as far as the server can tell."""
        if self._layout.has_directory:
            entry = self._keys[party]
            return Registry(None, {party: entry[self._layout.entry_bytes :]}).verify(party, message, signature)
        return self._signer is None or self._signer.verify(party, message, signature)

    def _read_unmasking(self, party: int, body: bytes) -> dict[int, bytes]:
        members = self._shared[party]
        cut = set_bytes(len(members))
        given = [member for member, sent in zip(members, unpack_set(body[:cut], len(members)), strict=True) if sent]
        if len(body) != cut + SHARE_BYTES * len(given) or (party in given and not self._layout.own_share):
            raise DecodeError("the message does not hold the shares that it says.")
        return {member: body[cut + i * SHARE_BYTES :][:SHARE_BYTES] for i, member in enumerate(given)}

    # -- what follows from a round

    def _send_rosters(self) -> list[tuple[int, bytes]]:
        """To everybody the keys of its neighbours, as far as there are enough of them."""
        self._require(len(self._answers), self._layout.min_survivors)
        around = {party: self._around(party, set(self._answers)) for party in sorted(self._answers)}
        self._keys, self._roster = dict(self._answers), self._enough(around)
        if self._layout.is_complete:
            parties = sorted(self._keys)
            self._session = roster_digest(
                self._task, parties, [self._keys[party][: 2 * KEY_BYTES] for party in parties]
            )
        self._expected = {party: [other for other in near if other != party] for party, near in self._roster.items()}
        size = self._layout.entry_bytes
        signing = [(party, keys[size:]) for party, keys in sorted(self._keys.items()) if self._layout.has_directory]
        entries = {party: keys[:size] for party, keys in self._keys.items()}
        return [
            self._message(
                Kind.ROSTER, party, self._layout.write_roster([(other, entries[other]) for other in near], signing)
            )
            for party, near in self._roster.items()
        ]

    def _relay(self) -> list[tuple[int, bytes]]:
        """To everybody the shares that its neighbours sealed for it."""
        self._require(len(self._answers), self._layout.min_survivors)
        senders, before = set(self._answers), -1
        while before != len(senders):  # who has too few around it is no neighbour of the others, either
            before = len(senders)
            around = {party: [other for other in self._roster[party] if other in senders] for party in sorted(senders)}
            self._shared = self._enough(around)
            senders = set(self._shared)
        messages = []
        for party, near in self._shared.items():
            others = [other for other in self._roster[party] if other != party]
            sealed = [self._answers[other][party] for other in near if other != party]
            messages.append(
                self._message(Kind.RELAY, party, pack_set([other in near for other in others]) + b"".join(sealed))
            )
        self._expected = {party: [] for party in self._shared}
        return messages

    def _name_the_survivors(self) -> list[tuple[int, bytes]]:
        """To every survivor, whose inputs arrived: of all parties where the list is signed, else of those near."""
        self._require(len(self._answers), self._layout.min_survivors)
        self._commitments = dict(self._answers)
        self._expected = {party: [] for party in sorted(self._commitments)}
        everybody = sorted(self._keys)
        return [
            self._message(
                Kind.SURVIVORS,
                party,
                pack_set([other in self._commitments for other in (everybody if self._layout.quorum else near)]),
            )
            for party, near in self._shared.items()
            if party in self._expected
        ]

    def _send_proofs(self) -> list[tuple[int, bytes]]:
        """To everybody who signed, all signatures."""
        self._require(len(self._answers), self._layout.quorum)
        survivors, signatures = sorted(self._commitments), sorted(self._answers.items())
        body = pack_set([party in self._answers for party in survivors])
        body += b"".join(signature for _, signature in signatures)
        self._expected = {party: [] for party, _ in signatures}
        return [self._message(Kind.PROOF, party, body) for party in self._expected]

    def _open(self) -> list[tuple[int, bytes]]:
        """Take the masks off."""
        survivors = set(self._commitments)
        opening = Opening(self._layout, self._session, self._keys, self._shared, self._commitments)
        holders = {
            party: [other for other in self._around(party, set(self._answers)) if party in self._answers[other]]
            for party in opening.needed
        }
        self._require(min(map(len, holders.values()), default=0), self._layout.threshold)
        near = {party: self._around(party, survivors) for party in opening.needed}
        total = self._total.copy()
        try:
            opening.take_off(total, self._answers, holders, near)
        except (DecodeError, PeerProtocolError):
            self.abort("a share was wrong")
            raise
        self._total, self._state, self._expected = total, State.FINISHED, {}
        return []

    def _around(self, party: int, among: set[int]) -> list[int]:
        """A party and its neighbours, as far as they are among these, in order."""
        return sorted(other for other in (party, *self._graph.neighbours(party)) if other in among)

    def _enough(self, around: dict[int, list[int]]) -> dict[int, list[int]]:
        """Without the parties that would say nothing because too few are around them."""
        return {
            party: near for party, near in around.items() if self._layout.holders(len(near)) >= self._layout.threshold
        }

    def _message(self, kind: Kind, party: int, body: bytes) -> tuple[int, bytes]:
        return party, wrap(kind, self._task, party, body)

    def _require(self, alive: int, required: int) -> None:
        """Enough, or wait for more."""
        if alive < required:
            raise TooFewSurvivorsError(
                f"at least {required} parties must have answered in {self._rounds[self._round]!r}, got {alive}; wait "
                "for more, or plan with a larger dropout.",
                alive=alive,
                required=required,
            )
