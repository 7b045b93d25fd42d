"""What a server hears of one masked sum, and what it can make of it: one party's input, if it has both its secrets."""

from __future__ import annotations

import hmac
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg._rehearsal import Letter
from secagg.errors import DecodeError
from secagg.masking.keys import KEY_BYTES, KeyPair, Purpose, agree, commit, self_mask_key
from secagg.masking.layout import SEALED_BYTES, SHARE_BYTES, Layout, read_share, split_share
from secagg.masking.masks import add_mask, word_type
from secagg.masking.messages import OVERHEAD, Kind, wrap
from secagg.masking.packing import pack_set, set_bytes, unpack_bits, unpack_set
from secagg.masking.shamir import join
from secagg.masking.task import roster_digest

__all__ = ["Overheard", "body_of", "kind_of", "resealed"]

_DIGEST = 32
_KIND = 5
_TASK, _PARTY = slice(8, 40), slice(40, 44)


def kind_of(payload: bytes) -> Kind:
    """What a message of a masked sum says that it is."""
    return Kind(payload[_KIND])


def body_of(payload: bytes) -> bytes:
    """What is between its header and its digest."""
    return payload[OVERHEAD - _DIGEST : -_DIGEST]


def resealed(payload: bytes, body: bytes) -> bytes:
    """The message with another body, and a digest that fits it."""
    return wrap(kind_of(payload), payload[_TASK], int.from_bytes(payload[_PARTY], "little"), body)


@final
class Overheard:
    """What went by, as far as a server can read it.

    Args:
        layout: the plan's numbers.

    Attributes:
        layout: the plan's numbers.
        advertised: all that each party advertised.
        rosters: the keys that each party was told of, its own among them, by party.
        shared: for each party, who of these has shared with it, itself among them.
        inputs: the commitment and masked input of each party.
        told: the lists of survivors that each party was told, in order.
        seeds: shares of a party's self-mask seed, by its number and that of the holder.
        keys: the same of its mask key.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.advertised: dict[int, bytes] = {}
        self.rosters: dict[int, dict[int, bytes]] = {}
        self.shared: dict[int, list[int]] = {}
        self.inputs: dict[int, bytes] = {}
        self.told: dict[int, list[list[int]]] = {}
        self.seeds: dict[int, dict[int, bytes]] = {}
        self.keys: dict[int, dict[int, bytes]] = {}
        self._answers: dict[int, int] = {}
        self._task = b""

    def hear(self, letter: Letter) -> Letter:
        """Read a message that is as it should be, from a party or to one; returns it."""
        party, body = letter.dst if letter.src == "server" else letter.src, body_of(letter.payload)
        kind, self._task = kind_of(letter.payload), letter.payload[_TASK]
        if not isinstance(party, int):
            return letter
        if kind is Kind.ADVERTISE:
            self.advertised[party] = body
        elif kind is Kind.ROSTER:
            self.rosters[party], _ = self.layout.read_roster(body)
        elif kind is Kind.RELAY:
            others = self.others(party)
            sent = unpack_set(body[: set_bytes(len(others))], len(others))
            self.shared[party] = sorted([party, *(other for other, there in zip(others, sent, strict=True) if there)])
        elif kind is Kind.INPUT:
            self.inputs[party] = body
        elif kind is Kind.SURVIVORS:
            listed = self.listed(party)
            alive = [other for other, there in zip(listed, unpack_set(body, len(listed)), strict=True) if there]
            self.told.setdefault(party, []).append(alive)
        elif kind is Kind.UNMASK:
            self._take_shares(party, body)
        return letter

    def message(self, kind: Kind, party: int, body: bytes) -> bytes:
        """A message of this sum with any body."""
        return wrap(kind, self._task, party, body)

    def others(self, party: int) -> list[int]:
        """Who is in a party's roster beside itself."""
        return [other for other in self.rosters[party] if other != party]

    def listed(self, party: int) -> list[int]:
        """Whom the list of survivors is about that a party gets."""
        return sorted(self.advertised) if self.layout.quorum else self.shared[party]

    def survivors(self, party: int, alive: set[int]) -> bytes:
        """A message that tells a party so."""
        return self.message(Kind.SURVIVORS, party, pack_set([other in alive for other in self.listed(party)]))

    def take_pair(self, pair: bytes, *, of: int, holder: int) -> None:
        """Keep the shares of both secrets of a party that one holder has."""
        self.seeds.setdefault(of, {})[holder] = split_share(pair, of_seed=True)
        self.keys.setdefault(of, {})[holder] = split_share(pair, of_seed=False)

    def sealed(self, party: int, body: bytes) -> dict[int, bytes]:
        """What a party sealed for each of the others."""
        return {
            other: body[place * SEALED_BYTES : (place + 1) * SEALED_BYTES]
            for place, other in enumerate(self.others(party))
        }

    def session(self, party: int) -> bytes:
        """The session that a party believes to be in."""
        if not self.layout.is_complete:
            return self._task
        roster = self.rosters[party]
        return roster_digest(self._task, list(roster), [keys[: 2 * KEY_BYTES] for keys in roster.values()])

    def input_of(self, victim: int) -> NDArray[np.uint64] | None:
        """A single party's vector, or None where the shares do not give both of its secrets, or there is no input."""
        body = self.inputs.get(victim)
        seed, secret = (self._joined(shares.get(victim, {})) for shares in (self.seeds, self.keys))
        if body is None or seed is None or secret is None:
            return None
        session, pair = self.session(victim), KeyPair(secret)
        advertised = self.advertised[victim][KEY_BYTES : 2 * KEY_BYTES]
        is_seed = hmac.compare_digest(commit(session, victim, seed), body[:KEY_BYTES])
        if not is_seed or not hmac.compare_digest(pair.public, advertised):
            return None
        modulus = 1 << self.layout.modulus_bits
        values = unpack_bits(body[KEY_BYTES:], self.layout.dim, self.layout.modulus_bits)
        total: NDArray[Any] = values.astype(word_type(modulus))
        add_mask(total, self_mask_key(seed, session=session, party=victim), modulus=modulus, sign=-1)
        for other in self.shared[victim]:
            if other != victim:
                public = self.rosters[victim][other][KEY_BYTES : 2 * KEY_BYTES]
                key = agree(pair, public, session=session, mine=victim, theirs=other, purpose=Purpose.MASK)
                add_mask(total, key.secret, modulus=modulus, sign=-1 if victim > other else 1)
        return total.astype(np.uint64)

    def _take_shares(self, party: int, body: bytes) -> None:
        """The n-th answer of a party is about the n-th list that it was told."""
        count = self._answers.get(party, 0)
        self._answers[party] = count + 1
        members, alive = self.shared[party], self.told[party][count]
        start = set_bytes(len(members))
        for member, there in zip(members, unpack_set(body[:start], len(members)), strict=True):
            if there:
                shares = self.seeds if member in alive else self.keys
                shares.setdefault(member, {})[party] = body[start : start + SHARE_BYTES]
                start += SHARE_BYTES

    def _joined(self, shares: dict[int, bytes]) -> bytes | None:
        """A secret, from as many shares as it takes."""
        enough = sorted(shares)[: self.layout.threshold]
        if len(enough) < self.layout.threshold:
            return None
        rows = np.stack([read_share(shares[holder]) for holder in enough])[None]
        try:
            return bytes(join(rows, [holder + 1 for holder in enough], self.layout.threshold)[0])
        except DecodeError:
            return None
