"""What a party keeps to itself in one session, all of it from one seed, and what it makes of that for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError
from secagg.masking.keys import (
    KEY_BYTES,
    Identity,
    KeyPair,
    PairKey,
    Purpose,
    agree,
    commit,
    open_share,
    seal_share,
    self_mask_key,
)
from secagg.masking.layout import Layout, join_share
from secagg.masking.masks import add_mask, word_type
from secagg.masking.packing import pack_bits
from secagg.masking.shamir import split
from secagg.prg import derive_key

__all__ = ["PartySecrets"]


@final
class PartySecrets:
    """The keys of a party and its self-mask seed.

    Args:
        seed: 32 bytes; the same seed, task and messages give the same answers.
        task: 32 bytes, the task's identifier.
        party: the party's number.
        layout: the plan's numbers.

    Attributes:
        seed: the seed.
        signing: the key that the list of survivors is signed with where there are no identities.
    """

    def __init__(self, seed: bytes, task: bytes, party: int, layout: Layout) -> None:
        keys = {
            name: derive_key(seed, salt=task, purpose=name)
            for name in (b"channel", b"mask", b"self", b"sharing", b"signing")
        }
        self.seed, self.signing = seed, Identity(keys[b"signing"])
        self._party, self._layout = party, layout
        self._channel, self._mask = KeyPair(keys[b"channel"]), KeyPair(keys[b"mask"])
        self._shared = keys[b"mask"], keys[b"self"]
        self._sharing = keys[b"sharing"]

    @property
    def public(self) -> bytes:
        """The public keys: for sealed shares, and for masks."""
        return self._channel.public + self._mask.public

    def shares(self, roster: Mapping[int, bytes], session: bytes) -> tuple[bytes, bytes]:
        """Shares of mask key and self-mask seed, for everybody in the roster.

        Args:
            roster: public keys by party, this one's among them.
            session: 32 bytes.

        Returns:
            This party's own pair, empty where it keeps none; and those of the others, sealed, in order.
        """
        holders = [party for party in roster if party != self._party or self._layout.own_share]
        secrets = np.frombuffer(b"".join(self._shared), dtype=np.uint8).reshape(2, KEY_BYTES)
        pairs = split(secrets, [party + 1 for party in holders], self._layout.threshold, self._sharing)
        own, sealed = b"", []
        for place, party in enumerate(holders):
            pair = join_share(pairs[:, place])
            if party == self._party:
                own = pair
                continue
            key = self._agreed(Purpose.SHARES, party, roster[party], session)
            sealed.append(seal_share(key, pair, sender=self._party, receiver=party, config=self._layout.config))
        return own, b"".join(sealed)

    def opened(self, sealed: bytes, sender: int, keys: bytes, session: bytes) -> bytes | None:
        """The pair of shares that a neighbour sealed for this party, or None if it sealed something else."""
        key = self._agreed(Purpose.SHARES, sender, keys, session)
        try:
            return open_share(key, sealed, sender=sender, receiver=self._party, config=self._layout.config)
        except DecodeError:
            return None

    def masked(self, vector: NDArray[np.uint64], others: Mapping[int, bytes], session: bytes) -> bytes:
        """The commitment to the self-mask seed, and the vector under that mask and one for each of the others."""
        modulus, seed = 1 << self._layout.modulus_bits, self._shared[1]
        total = vector.astype(word_type(modulus))
        add_mask(total, self_mask_key(seed, session=session, party=self._party), modulus=modulus, sign=1)
        for party, keys in others.items():
            key = self._agreed(Purpose.MASK, party, keys, session)
            add_mask(total, key.secret, modulus=modulus, sign=1 if self._party > party else -1)
        return commit(session, self._party, seed) + pack_bits(total, self._layout.modulus_bits)

    def _agreed(self, purpose: Purpose, party: int, keys: bytes, session: bytes) -> PairKey:
        """The key that this party and a neighbour share for a purpose."""
        own, start = (self._channel, 0) if purpose is Purpose.SHARES else (self._mask, KEY_BYTES)
        return agree(
            own, keys[start : start + KEY_BYTES], session=session, mine=self._party, theirs=party, purpose=purpose
        )
