"""Blinds of tags and pads, each party's own: whoever helps a lying server gives away no other party's."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np
from numpy.typing import NDArray

from secagg.prg import derive_key, uniform

__all__ = ["PartyBlinds", "party_key"]


def party_key(root: bytes, session: bytes, party: int) -> bytes:
    """The blind key of a party, 32 bytes, of the opener's root."""
    return derive_key(root, salt=session, purpose=b"party blinds", parts=(party.to_bytes(4, "little"),))


@final
class PartyBlinds:
    """Sums of the parties' blinds, chunk by chunk.

    Args:
        key_of: the blind key of a party, 32 bytes each; a party knows its own, the opener all.
        session: 32 bytes, of this session only.
        config: the plan's digest.
        modulus: t, below 2**41.
        chunks: chunks of a vector.
    """

    __slots__ = ("_chunks", "_config", "_key_of", "_modulus", "_session", "_totals")

    def __init__(
        self, key_of: Callable[[int], bytes], *, session: bytes, config: bytes, modulus: int, chunks: int
    ) -> None:
        self._key_of = key_of
        self._session = session
        self._config = config
        self._modulus = modulus
        self._chunks = chunks
        self._totals: dict[str, tuple[list[int], NDArray[np.uint64]]] = {}

    def sum(self, purpose: str, chunk: int, parties: list[int]) -> int:
        """The sum modulo t of the blinds that `parties` have for a purpose in a chunk."""
        known, totals = self._totals.get(purpose, ([], np.zeros(0, dtype=np.uint64)))
        if known != parties:
            totals = np.zeros(self._chunks, dtype=np.uint64)
            for party in parties:
                key = derive_key(
                    self._key_of(party), salt=self._session, purpose=purpose.encode(), parts=(self._config,)
                )
                blinds = uniform(key, index=0, count=self._chunks, modulus=self._modulus)
                totals = (totals + blinds) % np.uint64(self._modulus)
            self._totals[purpose] = (list(parties), totals)
        return int(totals[chunk]) if parties else 0
