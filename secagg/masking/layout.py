"""What the bodies of the messages hold: public numbers of a plan, and how rosters and shares are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError
from secagg.masking.keys import KEY_BYTES, SEAL_OVERHEAD, SIGNATURE_BYTES
from secagg.masking.messages import Kind
from secagg.masking.packing import packed_bytes, set_bytes
from secagg.masking.shamir import LIMBS

__all__ = [
    "SEALED_BYTES",
    "SHARE_BYTES",
    "Layout",
    "advertised",
    "consistent",
    "join_share",
    "read_share",
    "split_share",
]

SHARE_BYTES = 4 * LIMBS
"""Bytes of a share of one secret."""

SEALED_BYTES = 2 * SHARE_BYTES + SEAL_OVERHEAD
"""Bytes of a sealed pair of shares: of the mask key, and of the self-mask seed."""

_ID = 4


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """The public numbers that both sides of a session need.

    Args:
        num_parties: parties of the plan.
        dim: entries of a vector.
        value_bits: bits of one entry.
        modulus_bits: bits of a masked entry.
        neighbours: parties that one party shares masks with, at most.
        threshold: shares that give a secret; no party says anything where fewer holders of its own are left.
        own_share: whether a party holds a share of its own self-mask seed, and so counts itself.
        min_survivors: the least number of inputs in a sum.
        is_complete: whether all parties are neighbours.
        signed: whether parties sign their keys, with identities of their own.
        quorum: signatures over the list of survivors without which nobody gives a share; 0 where nobody signs it.
        config: 32 bytes, the plan's digest.
    """

    num_parties: int
    dim: int
    value_bits: int
    modulus_bits: int
    neighbours: int
    threshold: int
    own_share: bool
    min_survivors: int
    is_complete: bool
    signed: bool
    quorum: int
    config: bytes

    @property
    def has_directory(self) -> bool:
        """Whether keys for the list's signatures are advertised: those who have no identities sign with them."""
        return self.quorum > 0 and not self.signed

    def holders(self, around: int) -> int:
        """Of a party and those around it, itself counted, how many hold shares of its seed."""
        return around if self.own_share else around - 1

    @property
    def entry_bytes(self) -> int:
        """Bytes of a party's keys in a roster, with their signature."""
        return 2 * KEY_BYTES + (SIGNATURE_BYTES if self.signed else 0)

    @property
    def key_bytes(self) -> int:
        """Bytes of all keys that a party advertises, the one that it signs the list with at the end."""
        return self.entry_bytes + (KEY_BYTES if self.has_directory else 0)

    @property
    def input_bytes(self) -> int:
        """Bytes of a commitment and a masked input."""
        return KEY_BYTES + packed_bytes(self.dim, self.modulus_bits)

    def body_limit(self, kind: Kind, roster: int, listed: int) -> int:
        """The most bytes of a body.

        Args:
            kind: what the message is.
            roster: parties that the roster of this party has, itself counted; 0 before there is one.
            listed: parties that the list of survivors is about.
        """
        most = self.neighbours + 1
        directory = self.num_parties * (_ID + KEY_BYTES) if self.has_directory else 0
        return {
            Kind.ADVERTISE: self.key_bytes,
            Kind.ROSTER: _ID + most * (_ID + self.entry_bytes) + directory,
            Kind.SHARES: max(roster - 1, 0) * SEALED_BYTES,
            Kind.RELAY: set_bytes(roster) + max(roster - 1, 0) * SEALED_BYTES,
            Kind.INPUT: self.input_bytes,
            Kind.SURVIVORS: set_bytes(listed),
            Kind.SIGNATURE: SIGNATURE_BYTES,
            Kind.PROOF: set_bytes(listed) + listed * SIGNATURE_BYTES,
            Kind.UNMASK: set_bytes(roster) + max(self.holders(roster), 0) * SHARE_BYTES,
        }[kind]

    def write_roster(self, entries: Sequence[tuple[int, bytes]], directory: Sequence[tuple[int, bytes]]) -> bytes:
        """Parties in ascending order, each with its keys as it advertised them; then who signs the list, likewise."""
        written = b"".join(party.to_bytes(_ID, "little") + keys for party, keys in (*entries, *directory))
        return len(entries).to_bytes(_ID, "little") + written

    def read_roster(self, body: bytes) -> tuple[dict[int, bytes], dict[int, bytes]]:
        """The keys of each neighbour, and the keys with which all parties sign the list; both in ascending order.

        Raises:
            DecodeError: it is no roster of this plan.
        """
        cut = _ID + int.from_bytes(body[:_ID], "little") * (_ID + self.entry_bytes)
        if len(body) < _ID or len(body) < cut:
            raise DecodeError("the message does not hold a roster of this plan.", peer="server")
        entries = self._read_entries(body[_ID:cut], self.entry_bytes)
        directory = self._read_entries(body[cut:], KEY_BYTES)
        if bool(directory) != self.has_directory or len(entries) > self.neighbours + 1:
            raise DecodeError("the message does not hold a roster of this plan.", peer="server")
        return entries, directory

    def _read_entries(self, body: bytes, size: int) -> dict[int, bytes]:
        """Parties with something of this size, each at most once."""
        if len(body) % (_ID + size):
            raise DecodeError("the message does not hold a roster of this plan.", peer="server")
        entries: dict[int, bytes] = {}
        before = -1
        for start in range(0, len(body), _ID + size):
            party = int.from_bytes(body[start : start + _ID], "little")
            if not before < party < self.num_parties:
                raise DecodeError("a roster names each party of the plan at most once, in order.", peer="server")
            entries[party] = body[start + _ID : start + _ID + size]
            before = party
        return entries


def advertised(task: bytes, party: int, keys: bytes) -> bytes:
    """What a party signs when it advertises its keys."""
    return b"secagg v1 advertise" + task + party.to_bytes(_ID, "little") + keys


def consistent(session: bytes, shared: Sequence[int], alive: Sequence[int]) -> bytes:
    """What a party signs about what it was told: who shared keys, and whose input is in the sum."""
    sets = b"".join(
        len(parties).to_bytes(_ID, "little") + b"".join(party.to_bytes(_ID, "little") for party in parties)
        for parties in (shared, alive)
    )
    return b"secagg v1 consistency" + session + sets


def join_share(shares: NDArray[np.uint32]) -> bytes:
    """The shares of a mask key and of a self-mask seed, shape ``(2, LIMBS)``, as bytes."""
    return shares.astype("<u4").tobytes()


def split_share(pair: bytes, *, of_seed: bool) -> bytes:
    """One of the two shares."""
    return pair[SHARE_BYTES:] if of_seed else pair[:SHARE_BYTES]


def read_share(share: bytes) -> NDArray[Any]:
    """A share as field elements, uint32 of shape ``(LIMBS,)``."""
    return np.frombuffer(share, dtype="<u4").astype(np.uint32)
