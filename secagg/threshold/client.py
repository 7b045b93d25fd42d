"""A party's side of a threshold sum: one answer to each message of the server, or none ever again.

::

    set_input ─► start ─ shares ─► relay ─ masked input ─► survivors ─ sum of shares ─► ∎

What protects a party is here and nowhere else: it gives away the sum of the shares that it holds for one list of
survivors, itself on it and no shorter than its own plan says, and then forgets them.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.api import Outgoing, State, SumResult
from secagg.checks import check_vector
from secagg.errors import DecodeError, LocalProtocolError, PeerProtocolError, TooFewSurvivorsError
from secagg.masking.keys import KEY_BYTES, KeyPair, PairKey, open_share, seal_share
from secagg.masking.packing import set_bytes, unpack_set
from secagg.prg import derive_key
from secagg.session import PartySession, check_server, one_at_a_time
from secagg.threshold.keys import SERVER, ThresholdKeys, link_key, pair_keys
from secagg.threshold.masked import Progress, mask_input
from secagg.threshold.messages import Kind, body_bytes, list_digest, sealed_bytes, unwrap, wrap
from secagg.threshold.noise import gaussian
from secagg.threshold.parameters import Layout
from secagg.threshold.ring import RING
from secagg.threshold.sharing import PRIME, length, pack, share, unpack

__all__ = ["ThresholdClient"]

_OVER = "this party has answered, and answers nothing more"


@final
class ThresholdClient(PartySession):
    """A party's session: ``set_input``, ``start``, and ``receive`` until it has nothing more to say.

    Guarantee:
        It gives away one sum of shares, for one list, also if two threads ask at once; and what is aborted at work says
        nothing. Held by ``test_it_answers_once_and_then_holds_nothing``, ``test_two_threads_get_one_answer`` and
        ``test_what_is_aborted_at_work_says_nothing``.

    Args:
        layout: the plan's numbers.
        keys: this party's keys, of one session.
        bound: 32 bytes that stand for session, plan and public keys.
        seed: 32 uniform bytes, from which everything follows that the session draws; used for this session only.
    """

    def __init__(self, layout: Layout, keys: ThresholdKeys, bound: bytes, seed: bytes) -> None:
        super().__init__()
        self._layout, self._bound, self._party, self._session = layout, bound, keys.party, keys.session
        others = {party: public for party, public in enumerate(keys.roster) if party != keys.party}
        self._pairs: dict[int, PairKey] = pair_keys(
            KeyPair(keys.secret), {**others, SERVER: keys.server}, session=keys.session, mine=keys.party
        )
        self._link = link_key(self._pairs[SERVER], bound)
        self._seed = seed
        self._expects = Kind.RELAY
        self._held: dict[int, NDArray[np.uint32]] = {}

    @one_at_a_time
    def start(self) -> list[Outgoing]:
        """Share this session's secret among all parties.

        Returns:
            One message, to the server.

        Raises:
            LocalProtocolError: no input yet, or started before.
        """
        self._expect(State.READY, "start is called once, after set_input")
        plan, pairs, nonce = self._layout.thresholds, self._pairs, self._derived(b"nonce")
        shares = share(
            self._secret(),
            threshold=plan.threshold,
            packed=plan.packed,
            num_holders=plan.num_parties,
            key=self._derived(b"shares"),
        )
        sealed = [
            seal_share(pairs[party], pack(row), sender=self._party, receiver=party, config=self._bound + nonce)
            for party, row in enumerate(shares)
            if party != self._party
        ]
        self._refuse_aborted()
        self._held, self._state = {self._party: shares[self._party]}, State.WAITING
        return self._message(Kind.SHARES, nonce + b"".join(sealed))

    @one_at_a_time
    def receive(self, payload: bytes, sender: int | str, progress: Progress = None) -> list[Outgoing]:
        """Take the server's message of the round.

        Args:
            payload: the message.
            sender: who sent it: ``"server"``.
            progress: while the input is masked, called with the chunks that are done, and how many there are.

        Returns:
            The answer, one message to the server.

        Raises:
            DecodeError: not the message of this round, or a share of the party that the error names does not open; the
                session is as it was.
            PeerProtocolError: the message asks for what this party never gives; the session is as it was.
            TooFewSurvivorsError: fewer parties than the plan promised; the session is as it was.
            LocalProtocolError: not started, aborted, finished, or at work on another message.
        """
        self._refuse_aborted()
        if self._state is not State.WAITING:
            raise LocalProtocolError(f"receive comes after start and before the last answer; {_OVER}.")
        check_server(sender)
        most = body_bytes(self._expects, self._layout)
        body = unwrap(self._expects, self._bound, self._party, payload, key=self._link, most=most, peer="server")
        if self._expects is Kind.RELAY:
            return self._mask(bytes(body), progress)
        return self._reveal(bytes(body))

    def result(self) -> SumResult:
        """Refused: only the server reads the sum.

        Raises:
            LocalProtocolError: always.
        """
        raise LocalProtocolError("only the server can open this sum; ask it for the result.")

    def _checked(self, vector: Any) -> NDArray[np.uint64]:
        """A copy of a vector that the plan can sum; raises ParameterError."""
        packing = self._layout.packing
        return check_vector("vector", vector, shape=(packing.dim,), value_bits=packing.value_bits)

    def _mask(self, body: bytes, progress: Progress) -> list[Outgoing]:
        """The relayed shares: keep them, mask the input and forget it."""
        cut = set_bytes(self._layout.thresholds.num_parties)
        shared = self._read_set(body[:cut])
        dealers = [party for party in shared if party != self._party]
        entry = KEY_BYTES + sealed_bytes(self._layout)
        if len(body) != cut + entry * len(dealers):
            raise DecodeError("the message does not hold a share of every party that shared.", peer="server")
        if self._party not in shared:
            raise PeerProtocolError("the server says that this party has not shared.", peer="server")
        self._require_enough(len(shared), "shared their secrets")
        held = {party: self._opened(party, body[cut + place * entry :][:entry]) for place, party in enumerate(dealers)}
        if self._input is None:
            raise LocalProtocolError(f"the input is gone; {_OVER}.")
        masked = mask_input(
            self._input,
            self._layout.packing,
            session=self._session,
            secret=self._secret(),
            noise_key=self._derived(b"noise"),
            progress=progress,
        )
        self._refuse_aborted()
        self._held.update(held)
        self._input, self._expects = None, Kind.SURVIVORS
        return self._message(Kind.INPUT, masked)

    def _opened(self, dealer: int, entry: bytes) -> NDArray[np.uint32]:
        """The share that another party sealed for this one."""
        nonce, sealed = entry[:KEY_BYTES], entry[KEY_BYTES:]
        opened = open_share(
            self._pairs[dealer], sealed, sender=dealer, receiver=self._party, config=self._bound + nonce
        )
        try:
            return unpack(opened, packed=self._layout.thresholds.packed)
        except DecodeError:
            raise DecodeError("a sealed share holds a number that is no share.", peer=dealer) from None

    def _reveal(self, body: bytes) -> list[Outgoing]:
        """Whose input arrived: the sum of their shares, once."""
        survivors = self._read_set(body)
        if self._party not in survivors or not set(survivors) <= set(self._held):
            raise PeerProtocolError("the survivors are not this party and others that shared with it.", peer="server")
        self._require_enough(len(survivors), "sent their masked inputs")
        total = np.zeros(length(self._layout.thresholds.packed), dtype=np.int64)
        for party in survivors:
            total += self._held[party]
        config = self._bound + self._derived(b"nonce") + list_digest(self._bound, body)
        sealed = seal_share(
            self._pairs[SERVER], pack(total % PRIME), sender=self._party, receiver=SERVER, config=config
        )
        message = self._message(Kind.REVEAL, sealed)
        self._refuse_aborted()
        self._state = State.FINISHED
        self._forget()
        return message

    def _read_set(self, body: bytes) -> list[int]:
        """The parties of a set, in order."""
        try:
            members = unpack_set(body, self._layout.thresholds.num_parties)
        except DecodeError as error:
            raise DecodeError(str(error), peer="server") from None
        return [party for party, there in enumerate(members) if there]

    def _require_enough(self, count: int, what: str) -> None:
        """No fewer parties than this party's own plan says, whatever the server thinks."""
        required = self._layout.thresholds.min_survivors
        if count < required:
            raise TooFewSurvivorsError(
                f"at least {required} parties must have {what}, got {count}; this party says nothing.",
                alive=count,
                required=required,
            )

    def _secret(self) -> NDArray[np.int64]:
        """This session's secret."""
        return gaussian(self._derived(b"secret"), index=0, count=RING)

    def _derived(self, purpose: bytes) -> bytes:
        """32 bytes of the seed's, for one purpose."""
        return derive_key(self._seed, salt=self._session, purpose=b"threshold " + purpose, parts=(self._bound,))

    def _message(self, kind: Kind, body: bytes) -> list[Outgoing]:
        return [Outgoing("server", wrap(kind, self._bound, self._party, body, key=self._link))]

    def _forget(self) -> None:
        """Drop every secret."""
        self._input, self._seed, self._link = None, b"", b""
        self._held, self._pairs = {}, {}
