r"""Tag blinds and pads that each party shares with the opener alone: who helps a lying server knows none but its own.

In place of the :math:`\beta_i \gamma_j` of :mod:`secagg.tag`, where the pads of a chunk are multiples of each other,
every slot of every party has a pad of its own. Whoever knows how tags weigh the slots, as all parties do, still has to
hit a value that is uniform to him if he changes any slot of another party: its tag then moves by a multiple of a pad
that he does not know.
"""

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
    """Sums of the parties' tag blinds and pads, chunk by chunk.

    Guarantee:
        With these, what holds of a :class:`~secagg.tag.SumTag` against a server also holds against one that other
        parties help, of every party that does not: held by ``test_one_helper_cannot_stand_in_for_others`` and
        ``test_a_right_guess_with_the_help_of_a_party_does_not_open``.

    Args:
        key_of: the blind key of a party, 32 bytes each; a party knows its own, the opener all.
        session: 32 bytes, of this session only.
        config: the plan's digest.
        modulus: t, below 2**41.
        chunks: chunks of a vector.
    """

    __slots__ = ("_chunks", "_config", "_key_of", "_keys", "_modulus", "_session", "_tags")

    def __init__(
        self, key_of: Callable[[int], bytes], *, session: bytes, config: bytes, modulus: int, chunks: int
    ) -> None:
        self._key_of = key_of
        self._session = session
        self._config = config
        self._modulus = modulus
        self._chunks = chunks
        self._keys: dict[tuple[str, int], bytes] = {}
        self._tags: tuple[list[int], NDArray[np.uint64]] = [], np.zeros(chunks, dtype=np.uint64)

    def tag(self, chunk: int, parties: list[int]) -> int:
        """The sum modulo t of the tag blinds that `parties` have in a chunk; those of all chunks are drawn at once."""
        if self._tags[0] != parties:
            self._tags = list(parties), self._sum("tag blinds", 0, parties, self._chunks)
        return int(self._tags[1][chunk])

    def pad(self, chunk: int, parties: list[int], slots: int) -> NDArray[np.uint64]:
        """The sum modulo t of the pads that `parties` have in a chunk, slot by slot, shape ``(slots,)``."""
        return self._sum("pads", chunk, parties, slots)

    def _sum(self, purpose: str, index: int, parties: list[int], count: int) -> NDArray[np.uint64]:
        """The sum modulo t of one stream of each party."""
        total, t = np.zeros(count, dtype=np.uint64), np.uint64(self._modulus)
        for party in parties:
            total += uniform(self._key(purpose, party), index=index, count=count, modulus=self._modulus)
            total %= t
        return total

    def _key(self, purpose: str, party: int) -> bytes:
        """The key of one purpose and party."""
        if (purpose, party) not in self._keys:
            self._keys[purpose, party] = derive_key(
                self._key_of(party), salt=self._session, purpose=purpose.encode(), parts=(self._config,)
            )
        return self._keys[purpose, party]
