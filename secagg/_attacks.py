"""What servers do that lie in masked sums, message by message."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import final

import numpy as np
from numpy.typing import NDArray

from secagg._overheard import Overheard, body_of, kind_of
from secagg._rehearsal import Letter
from secagg.api import Entropy
from secagg.masking.keys import KEY_BYTES, SIGNATURE_BYTES, KeyPair, Purpose, agree, open_share
from secagg.masking.layout import SEALED_BYTES
from secagg.masking.messages import Kind
from secagg.masking.packing import pack_set
from secagg.prg import draw

__all__ = ["Impostor", "SecondQuestion", "SplitView", "aliased"]

Opened = dict[int, NDArray[np.uint64]]


@final
class SplitView:
    """Some holders of a victim's shares hear that it dropped out, and the others that it did not.

    What those who were lied to answer is kept from the server's session, which goes on with the others.

    Args:
        heard: what the server hears.
        victim: whose input is wanted.
        deniers: who is lied to; None for the later half of those with whom the victim shares.
        opened: where its input is put.
    """

    def __init__(self, heard: Overheard, victim: int, deniers: Collection[int] | None, opened: Opened) -> None:
        self._heard, self._victim, self._opened = heard, victim, opened
        self._deniers = None if deniers is None else frozenset(deniers) - {victim}
        self._signatures: dict[int, bytes] = {}
        self._shown = False

    def carry(self, letter: Letter) -> list[Letter]:
        """What becomes of a message."""
        kind = kind_of(letter.payload)
        if kind is Kind.SURVIVORS:
            return [self._heard.hear(self._told(letter))]
        self._heard.hear(letter)
        denies = letter.src in (self._deniers or ())
        if kind is Kind.SIGNATURE and denies and isinstance(letter.src, int):
            self._signatures[letter.src] = body_of(letter.payload)
        if kind is Kind.UNMASK:
            keep_input(self._heard, self._victim, self._opened)
        if kind is Kind.PROOF and not self._shown:
            self._shown = True
            return [letter, *self._proofs(letter.round)]
        return [] if denies and kind in (Kind.SIGNATURE, Kind.UNMASK) else [letter]

    def _told(self, letter: Letter) -> Letter:
        """The list of survivors that a party gets."""
        party, victim = letter.dst, self._victim
        if not isinstance(party, int) or victim not in self._heard.shared:
            return letter
        if self._deniers is None:
            others = [other for other in self._heard.shared[victim] if other != victim]
            half = self._heard.layout.holders(len(others) + 1) // 2
            self._deniers = frozenset(others[len(others) - half :])
        listed = self._heard.listed(party)
        if party not in self._deniers or victim not in listed:
            return letter
        # a victim that is not in the sum anyway cannot be split from it
        alive = {other for other in self._heard.inputs if other in listed} - {victim}
        return Letter(letter.round, "server", party, self._heard.survivors(party, alive))

    def _proofs(self, name: str) -> list[Letter]:
        """To those who were lied to, the signatures of their own list, however few these are."""
        found = []
        for party in sorted(self._signatures):
            alive = self._heard.told[party][0]
            signers = [other for other in alive if other in self._signatures]
            body = pack_set([other in signers for other in alive])
            body += b"".join(self._signatures[other] for other in signers)
            found.append(Letter(name, "server", party, self._heard.message(Kind.PROOF, party, body)))
        return found


@final
class SecondQuestion:
    """Every party hears the truth, and then, as often as it says something, that a victim has dropped out.

    Args:
        heard: what the server hears.
        victim: whose input is wanted.
        opened: where its input is put.
    """

    def __init__(self, heard: Overheard, victim: int, opened: Opened) -> None:
        self._heard, self._victim, self._opened = heard, victim, opened

    def carry(self, letter: Letter) -> list[Letter]:
        """What becomes of a message."""
        kind = kind_of(letter.payload)
        self._heard.hear(letter)
        if kind is Kind.UNMASK:
            keep_input(self._heard, self._victim, self._opened)
        if kind not in (Kind.SURVIVORS, Kind.SIGNATURE, Kind.PROOF, Kind.UNMASK):
            return [letter]
        lie = self._lie(letter)
        # the list is told as if for the first time: an answer to it is taken for one to it
        return [letter] if lie is None else [letter, self._heard.hear(lie)]

    def _lie(self, letter: Letter) -> Letter | None:
        """That the victim is not in the sum."""
        party = letter.dst if letter.src == "server" else letter.src
        if not isinstance(party, int) or self._victim not in self._heard.listed(party):
            return None
        alive = {other for other in self._heard.inputs if other in self._heard.listed(party)} - {self._victim}
        return Letter(letter.round, "server", party, self._heard.survivors(party, alive))


@final
class Impostor:
    """A victim is told of keys that are not the others', and whoever believes them is kept from the others.

    Args:
        heard: what the server hears.
        victim: who is told so.
        entropy: source of keys of the server's own.
        puppet: in whose name another party's keys are advertised, and told to the victim.
        disguise: what is made of what the other advertised; None if all others' keys are the server's own instead.
        opened: where the victim's input is put.
    """

    def __init__(
        self,
        heard: Overheard,
        victim: int,
        entropy: Entropy | None,
        *,
        puppet: int,
        disguise: Callable[[bytes], bytes] | None,
        opened: Opened,
    ) -> None:
        self._heard, self._victim, self._entropy, self._opened = heard, victim, entropy, opened
        self._puppet, self._disguise, self._entered = puppet, disguise, False
        self._channels: dict[int, KeyPair] = {}

    def carry(self, letter: Letter) -> list[Letter]:
        """What becomes of a message."""
        kind = kind_of(letter.payload)
        if kind is Kind.ROSTER and letter.dst == self._victim:
            return [self._heard.hear(self._told(letter))]
        self._heard.hear(letter)
        if kind is Kind.ADVERTISE:
            return [letter, *self._enter(letter)]
        if letter.src != self._victim:
            return [letter]
        if kind is Kind.SHARES and self._disguise is None:
            self._take_shares(body_of(letter.payload))
            return [self._heard.hear(self._rubbish(letter.round))]
        keep_input(self._heard, self._victim, self._opened)
        return []

    def _enter(self, letter: Letter) -> list[Letter]:
        """The puppet advertises, too: the first keys of another that come by, disguised."""
        if self._disguise is None or self._entered or letter.src == self._puppet:
            return []
        self._entered, body = True, self._disguise(body_of(letter.payload))
        return [Letter(letter.round, self._puppet, "server", self._heard.message(Kind.ADVERTISE, self._puppet, body))]

    def _told(self, letter: Letter) -> Letter:
        """The roster that the victim gets."""
        layout = self._heard.layout
        roster, directory = layout.read_roster(body_of(letter.payload))
        others = [party for party in roster if party != self._victim]
        if self._disguise is None:
            roster |= {party: self._made_up(party) for party in others}
        else:
            double = next((party for party in others if party != self._puppet), self._victim)
            roster[self._puppet] = self._disguise(roster[double])[: layout.entry_bytes]
            if len(roster) > layout.neighbours + 1:  # the puppet stands in a neighbour's place
                del roster[next(party for party in reversed(others) if party != double)]
        body = layout.write_roster(sorted(roster.items()), sorted(directory.items()))
        return Letter(letter.round, "server", self._victim, self._heard.message(Kind.ROSTER, self._victim, body))

    def _made_up(self, party: int) -> bytes:
        """Keys of the server's own in a party's name; it cannot sign like it."""
        self._channels[party] = KeyPair(draw(self._entropy, KEY_BYTES))
        public = self._channels[party].public + KeyPair(draw(self._entropy, KEY_BYTES)).public
        return public + (draw(self._entropy, SIGNATURE_BYTES) if self._heard.layout.signed else b"")

    def _take_shares(self, body: bytes) -> None:
        """The victim has sealed all shares of its secrets for keys of the server's."""
        victim, session = self._victim, self._heard.session(self._victim)
        public, config = self._heard.advertised[victim][:KEY_BYTES], self._heard.layout.config
        for party, sealed in self._heard.sealed(victim, body).items():
            own = self._channels[party]
            key = agree(own, public, session=session, mine=party, theirs=victim, purpose=Purpose.SHARES)
            pair = open_share(key, sealed, sender=victim, receiver=party, config=config)
            self._heard.take_pair(pair, of=victim, holder=party)

    def _rubbish(self, name: str) -> Letter:
        """Shares in everybody's name that do not open: the victim masks its input all the same."""
        count = len(self._heard.others(self._victim))
        body = pack_set([True] * count) + bytes(count * SEALED_BYTES)
        return Letter(name, "server", self._victim, self._heard.message(Kind.RELAY, self._victim, body))


def keep_input(heard: Overheard, victim: int, opened: Opened) -> None:
    """Put down the victim's input as soon as it can be read."""
    if victim not in opened and (vector := heard.input_of(victim)) is not None:
        opened[victim] = vector


def aliased(advertised: bytes) -> bytes:
    """The same keys in another encoding: X25519 does not look at the highest bit."""
    keys = bytearray(advertised)
    for end in (KEY_BYTES - 1, 2 * KEY_BYTES - 1):
        keys[end] |= 0x80
    return bytes(keys)
