"""A party's side of a masked sum: one answer to each message of the server, or none ever again.

::

    set_input ─► start ─ keys ─► roster ─ shares ─► relay ─ masked input ─► survivors
                                                       (─ signature ─► proof) ─ shares ─► ∎

What protects a party is here and nowhere else: it believes nothing that the server says about the others beyond what
its plan allows, and of every other party it gives away a share of the mask key or of the self-mask seed, never of both.
"""

from __future__ import annotations

import hashlib
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.api import Entropy, Outgoing, State, SumResult
from secagg.checks import check_vector
from secagg.errors import (
    DecodeError,
    LocalProtocolError,
    PeerProtocolError,
    RollbackRiskError,
    TooFewSurvivorsError,
)
from secagg.masking.keys import (
    KEY_BYTES,
    SIGNATURE_BYTES,
)
from secagg.masking.layout import (
    SEALED_BYTES,
    Layout,
    advertised,
    consistent,
    split_share,
)
from secagg.masking.messages import Kind, unwrap, wrap
from secagg.masking.packing import pack_set, set_bytes, unpack_set
from secagg.masking.rosters import check_directory, check_keys, check_signatures
from secagg.masking.secrets import PartySecrets
from secagg.masking.snapshots import Guard, seal, unseal
from secagg.masking.task import Registry, Signer, roster_digest
from secagg.prg import draw
from secagg.session import PartySession, check_server, one_at_a_time

__all__ = ["MaskingClient"]

_OVER = "this party has answered, and answers nothing more"


@final
class MaskingClient(PartySession):
    """A party's session: ``set_input``, ``start``, and ``receive`` until it has nothing more to say.

    Args:
        layout: the plan's numbers.
        party: this party's number.
        task: 32 bytes, the task's identifier.
        signer: who the parties are, where the server may lie; None elsewhere.
        entropy: source of the session's one seed, from which everything it draws follows; None means the system's.
        guard: asked before every message; None where the session is never restored.
    """

    def __init__(
        self,
        layout: Layout,
        party: int,
        task: bytes,
        signer: Signer | None,
        entropy: Entropy | None,
        guard: Guard | None = None,
    ) -> None:
        super().__init__()
        self._layout, self._party, self._task, self._signer = layout, party, task, signer
        self._expects = Kind.ROSTER
        self._secrets = PartySecrets(draw(entropy, KEY_BYTES), task, party, layout)
        self._guard = guard
        self._session = task
        self._roster: dict[int, bytes] = {}
        self._directory: list[int] = []
        self._shared: list[int] = []
        self._own_share = b""
        self._held: dict[int, bytes] = {}
        self._alive: list[int] = []
        self._latest = b""

    @one_at_a_time
    def start(self) -> list[Outgoing]:
        """Advertise this party's keys.

        Returns:
            One message, to the server.

        Raises:
            LocalProtocolError: no input yet, or started before.
        """
        self._expect(State.READY, "start is called once, after set_input")
        keys = self._secrets.public
        signature = b"" if self._signer is None else self._signer.sign(advertised(self._task, self._party, keys))
        signing = self._secrets.signing.public if self._layout.has_directory else b""
        message = keys + signature + signing
        self._claim(Kind.ADVERTISE, message)
        self._state = State.WAITING
        return self._send(Kind.ADVERTISE, message)

    @one_at_a_time
    def receive(self, payload: bytes, sender: int | str) -> list[Outgoing]:
        """Take the server's message of the round.

        Args:
            payload: the message.
            sender: who sent it: ``"server"``.

        Returns:
            The answer, one message to the server.

        Raises:
            DecodeError: not the message of this round; the session is as it was.
            PeerProtocolError: the message asks for what this party never gives; the session is as it was.
            TooFewSurvivorsError: fewer parties than the plan promised; the session is as it was.
            LocalProtocolError: not started, aborted, or finished.
        """
        self._refuse_aborted()
        if self._state is not State.WAITING:
            raise LocalProtocolError(f"receive comes after start and before the last answer; {_OVER}.")
        check_server(sender)
        limit = self._layout.body_limit(self._expects, len(self._roster), len(self._directory))
        body = unwrap(self._expects, self._task, self._party, payload, limit=limit, peer="server")
        step = {
            Kind.ROSTER: self._share,
            Kind.RELAY: self._mask_input,
            Kind.SURVIVORS: self._hear_of_the_survivors,
            Kind.PROOF: self._believe,
        }[self._expects]
        return step(body)

    def result(self) -> SumResult:
        """Refused: only the server reads a masked sum.

        Raises:
            LocalProtocolError: always.
        """
        raise LocalProtocolError("only the server can open a masked sum; ask it for the result.")

    def snapshot(self, key: bytes) -> bytes:
        """The session as bytes that only the key opens; take it after each step, and store it before sending.

        Guarantee:
            A restored session answers what it is told with the same bytes (``test_a_restored_party_goes_on``).

        Args:
            key: 32 secret bytes of the caller's.

        Returns:
            The snapshot; it holds every secret of the session.

        Raises:
            LocalProtocolError: the session was aborted.
        """
        self._refuse_aborted()
        state = {
            "seed": self._secrets.seed,
            "state": self._state.value.encode(),
            "expects": int(self._expects),
            "input": None if self._input is None else self._input.astype("<u8").tobytes(),
            "session": self._session,
            "roster": self._roster,
            "directory": self._directory,
            "shared": self._shared,
            "own share": self._own_share,
            "held": self._held,
            "alive": self._alive,
            "latest": self._latest,
            "keys": dict(getattr(self._signer, "publics", {})) if self._layout.has_directory else {},
        }
        return seal(state, key, self._about)

    def restore(self, snapshot: bytes, key: bytes) -> list[Outgoing]:
        """Go on where a snapshot was taken; into a session that was made with the same arguments and has done nothing.

        An old snapshot would let this party answer a second time, and in another way: masks used twice give away the
        difference of two inputs, and so does a roster that is answered twice. Bytes alone cannot prevent that. So a
        session that has sent anything is restored only with a guard, which knows what was sent.

        Args:
            snapshot: what :meth:`snapshot` returned.
            key: the key it was sealed under.

        Returns:
            The latest message, to be sent again: the server takes it once.

        Raises:
            RollbackRiskError: the snapshot is of a session that had sent a message, and there is no guard.
            DecodeError: it does not open; nothing changed.
            LocalProtocolError: this session has an input already.
        """
        self._expect(State.NEW, "restore goes into a new session")
        held = unseal(snapshot, key, self._about)
        if held["latest"] and self._guard is None:
            raise RollbackRiskError("a session that has sent a message may have sent more since; restore with guard=.")
        if held["latest"]:  # if nothing was sent, this session's seed stays: another restore may use the old one
            self._secrets = PartySecrets(held["seed"], self._task, self._party, self._layout)
        self._state, self._expects = State(held["state"].decode()), Kind(held["expects"])
        if held["input"] is not None:
            self._input = np.frombuffer(held["input"], dtype="<u8").astype(np.uint64)
        self._session, self._roster, self._directory = held["session"], held["roster"], held["directory"]
        self._shared, self._own_share, self._held = held["shared"], held["own share"], held["held"]
        self._alive, self._latest = held["alive"], held["latest"]
        if self._layout.has_directory and self._expects is not Kind.ROSTER:
            self._signer = Registry(self._secrets.signing, held["keys"])
        return [Outgoing("server", self._latest)] if self._latest else []

    @property
    def _about(self) -> bytes:
        """What a snapshot belongs to."""
        return b"secagg client v1" + self._layout.config + self._task + self._party.to_bytes(4, "little")

    def _checked(self, vector: Any) -> NDArray[np.uint64]:
        return check_vector("vector", vector, shape=(self._layout.dim,), value_bits=self._layout.value_bits)

    def _share(self, body: bytes) -> list[Outgoing]:
        """The roster: check whose keys they are, and share both secrets among the neighbours."""
        roster, directory = self._layout.read_roster(body)
        self._require_enough(len(roster), "advertised keys")
        check_keys(roster, self._party, self._secrets.public)
        if self._signer is not None:
            check_signatures(roster, self._task, self._signer)
        signer = self._signer
        if self._layout.has_directory:
            check_directory(directory, roster, self._party, self._secrets.signing.public)
            signer = Registry(self._secrets.signing, directory)
        session = self._task
        if self._layout.is_complete:  # everybody has the same roster
            session = roster_digest(self._task, list(roster), [keys[: 2 * KEY_BYTES] for keys in roster.values()])
        own, sealed = self._secrets.shares(roster, session)
        self._claim(Kind.SHARES, sealed)
        self._session, self._own_share, self._expects, self._signer = session, own, Kind.RELAY, signer
        self._roster, self._directory = roster, list(directory or roster)
        return self._send(Kind.SHARES, sealed)

    def _mask_input(self, body: bytes) -> list[Outgoing]:
        """The relayed shares: mask the input for those who sent some, and forget it."""
        others = [party for party in self._roster if party != self._party]
        cut = set_bytes(len(others))
        senders = [party for party, sent in zip(others, unpack_set(body[:cut], len(others)), strict=True) if sent]
        if len(body) != cut + SEALED_BYTES * len(senders):
            raise DecodeError("the message does not hold a share of every sender.", peer="server")
        self._require_enough(len(senders) + 1, "shared their keys")
        held = {self._party: self._own_share} if self._layout.own_share else {}
        for place, party in enumerate(senders):
            sealed = body[cut + place * SEALED_BYTES : cut + (place + 1) * SEALED_BYTES]
            share = self._secrets.opened(sealed, party, self._roster[party], self._session)
            if share is not None:  # who sends rubbish has only itself to blame: others hold shares of its secrets
                held[party] = share
        if self._input is None:
            raise LocalProtocolError(f"the input is gone; {_OVER}.")
        neighbours = {party: self._roster[party] for party in senders}
        message = self._secrets.masked(self._input, neighbours, self._session)
        self._claim(Kind.INPUT, message)
        self._held, self._shared, self._input = held, sorted([*senders, self._party]), None
        self._expects = Kind.SURVIVORS
        return self._send(Kind.INPUT, message)

    def _hear_of_the_survivors(self, body: bytes) -> list[Outgoing]:
        """Whose masked input arrived: sign it, or give the shares that are wanted."""
        everybody = self._directory if self._layout.quorum else self._shared
        alive = [party for party, there in zip(everybody, unpack_set(body, len(everybody)), strict=True) if there]
        near = [party for party in alive if party in self._roster]
        if self._party not in near or not set(near) <= set(self._shared):
            raise PeerProtocolError("the survivors are not this party and others that shared keys.", peer="server")
        self._require_enough(len(near), "sent their masked inputs")
        if self._layout.quorum and len(alive) < self._layout.min_survivors:
            raise TooFewSurvivorsError(
                f"at least {self._layout.min_survivors} inputs must be in the sum, got {len(alive)}.",
                alive=len(alive),
                required=self._layout.min_survivors,
            )
        if self._signer is None:
            return self._unmask(alive)
        signature = self._signer.sign(self._heard(alive))
        self._claim(Kind.SIGNATURE, signature)
        self._alive, self._expects = alive, Kind.PROOF
        return self._send(Kind.SIGNATURE, signature)

    def _heard(self, alive: list[int]) -> bytes:
        """What this party was told, for all to sign: who shared keys, where all know that, and who is in the sum."""
        return consistent(self._session, self._shared if self._layout.is_complete else [], alive)

    def _believe(self, body: bytes) -> list[Outgoing]:
        """The others' signatures: enough of them heard the same."""
        cut = set_bytes(len(self._alive))
        sent = unpack_set(body[:cut], len(self._alive))
        signers = [party for party, has_signed in zip(self._alive, sent, strict=True) if has_signed]
        if len(body) != cut + SIGNATURE_BYTES * len(signers):
            raise DecodeError("the message does not hold a signature of every signer.", peer="server")
        if len(signers) < self._layout.quorum:
            raise TooFewSurvivorsError(
                f"at least {self._layout.quorum} parties must have signed the list, got {len(signers)}.",
                alive=len(signers),
                required=self._layout.quorum,
            )
        for place, party in enumerate(signers):
            signature = body[cut + place * SIGNATURE_BYTES : cut + (place + 1) * SIGNATURE_BYTES]
            if self._signer is None or not self._signer.verify(party, self._heard(self._alive), signature):
                raise PeerProtocolError("a party was told of other inputs than this one, or did not sign.", peer=party)
        return self._unmask(self._alive)

    def _unmask(self, survivors: list[int]) -> list[Outgoing]:
        """Of each party one share: of its self-mask seed if its input is in the sum, of its mask key if not."""
        alive = set(survivors)
        given = [party in self._held for party in self._shared]
        shares = [
            split_share(self._held[party], of_seed=party in alive) for party in self._shared if party in self._held
        ]
        message = pack_set(given) + b"".join(shares)
        self._claim(Kind.UNMASK, message)
        self._state = State.FINISHED
        self._forget()
        return self._send(Kind.UNMASK, message)

    def _require_enough(self, around: int, what: str) -> None:
        """No fewer holders of shares than this party's own plan says, whatever the server thinks."""
        count = self._layout.holders(around)
        if count < self._layout.threshold:
            raise TooFewSurvivorsError(
                f"at least {self._layout.threshold} parties must have {what}, got {count}; this party says nothing.",
                alive=count,
                required=self._layout.threshold,
            )

    def _send(self, kind: Kind, body: bytes) -> list[Outgoing]:
        self._refuse_aborted()
        self._latest = wrap(kind, self._task, self._party, body)
        return [Outgoing("server", self._latest)]

    def _claim(self, kind: Kind, body: bytes) -> None:
        """Ask the guard before anything is changed; whoever was aborted on the way says nothing."""
        self._refuse_aborted()
        step, digest = kind.name.lower(), hashlib.sha256(wrap(kind, self._task, self._party, body)).digest()
        if self._guard is not None and not self._guard.claim(self._task, step, digest):
            raise RollbackRiskError(
                f"another {step} message was claimed for this task: it is an old one, or an old snapshot was "
                "restored; this party must not answer again: abort."
            )

    def _forget(self) -> None:
        """Drop every secret."""
        self._input, self._own_share = None, b""
        self._held, self._signer = {}, None
        self._secrets = PartySecrets(bytes(KEY_BYTES), self._task, self._party, self._layout)
