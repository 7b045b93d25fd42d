r"""Pads and a keyed tag that add like the values they protect.

Modulo the plaintext modulus t, party i sends in slot j of a chunk, and in the slot of the tag,

.. math:: m_{ij} = x_{ij} + \beta_i \gamma_j, \qquad \mathrm{tag}_i = \sum_j \alpha_j m_{ij} + \rho_i,

so over parties U the slots add to :math:`M_j = S_j + \gamma_j \sum_U \beta_i` and the tags to
:math:`\sum_j \alpha_j M_j + \sum_U \rho_i`. The factors :math:`\alpha, \gamma` depend on session, plan and chunk, the
blinds :math:`\beta, \rho` on the party as well; all are secret from the server. No :math:`\alpha` is zero: who knows
them, as parties do, would know of a slot that the tag does not weigh.

- Whoever combines ciphertexts in any other way (one alone, one twice, a chunk in another's place, a constant added,
  other survivors than announced) must hit a value that is uniform to him: that is the tag's work.
- Without the pads, a lying server could make its change vanish exactly if a party's vector is what it guesses, and
  learn from whether the sum opens if it guessed right. With them, such a guess must hit a uniform value too.
"""

from __future__ import annotations

from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError
from secagg.prg import derive_key, uniform

__all__ = ["Blinds", "SumTag", "dot_mod", "scale_mod"]

_LIMB_BITS = 21
_LIMB_MASK = (1 << _LIMB_BITS) - 1


def dot_mod(left: NDArray[np.uint64], right: NDArray[np.uint64], modulus: int) -> int:
    r"""Σ left·right mod t in 64-bit words: `right` is cut into limbs of 21 bits, so products stay below 2^62.

    Args:
        left: uint64 in ``[0, modulus)``, shape ``(m,)``, m <= 2**20.
        right: likewise.
        modulus: t, below 2**41; so are the residues, and sums of 2**20 of them fit.

    Returns:
        The sum of products modulo t.
    """
    limbs = (right & np.uint64(_LIMB_MASK), right >> np.uint64(_LIMB_BITS))
    low, high = (int(np.sum(left * limb % np.uint64(modulus))) for limb in limbs)
    return (low + (high << _LIMB_BITS)) % modulus


def scale_mod(vector: NDArray[np.uint64], scalar: int, modulus: int) -> NDArray[np.uint64]:
    """`vector` times `scalar` mod t, entry by entry; all in ``[0, modulus)``, modulus below 2**41."""
    t = np.uint64(modulus)
    low = vector * np.uint64(scalar & _LIMB_MASK) % t
    high = vector * np.uint64(scalar >> _LIMB_BITS) % t
    return (low + (high << np.uint64(_LIMB_BITS)) % t) % t


class Blinds(Protocol):
    """Tag blinds and pads that do not follow from the group key, but from keys of the parties."""

    def tag(self, chunk: int, parties: list[int]) -> int:
        """The sum modulo t of the tag blinds that `parties` have in a chunk."""

    def pad(self, chunk: int, parties: list[int], slots: int) -> NDArray[np.uint64]:
        """The sum modulo t of the pads that `parties` have in a chunk, slot by slot, shape ``(slots,)``."""


@final
class SumTag:
    """Pads and tags of one session.

    Guarantee:
        A sum of anything but the announced parties' ciphertexts, one each, opens with probability at most 3/(t - 1) per
        attempt, whatever the vectors are (AES and HKDF ideal): 1/(t - 1) for a forged tag, 2/t for a change that
        vanishes under the pads. Held by ``test_a_dishonest_combination_does_not_open``,
        ``test_a_right_guess_does_not_open`` and ``test_every_slot_weighs_in_the_tag``.

    Args:
        group_key: 32 bytes that all parties share and the server does not know.
        session: 32 bytes, of this session only.
        config: the plan's digest.
        modulus: t, prime, below 2**41.
        num_parties: blinds of one chunk.
        slots: values of one chunk.
        blinds: tag blinds and pads of the parties, where they do not follow from the group key.
    """

    __slots__ = ("_blinds", "_keys", "_modulus", "_num_parties", "_slots")

    def __init__(
        self,
        group_key: bytes,
        *,
        session: bytes,
        config: bytes,
        modulus: int,
        num_parties: int,
        slots: int,
        blinds: Blinds | None = None,
    ) -> None:
        purposes = ("tag factors", "tag blinds", "pad factors", "pad blinds")
        self._keys = {
            purpose: derive_key(group_key, salt=session, purpose=purpose.encode(), parts=(config,))
            for purpose in purposes
        }
        self._modulus = modulus
        self._num_parties = num_parties
        self._slots = slots
        self._blinds = blinds

    def seal(self, values: NDArray[np.uint64], *, chunk: int, party: int) -> NDArray[np.uint64]:
        """One party's chunk, padded and tagged.

        Args:
            values: uint64 in ``[0, t)``, shape ``(slots,)``.
            chunk: which chunk of the vector.
            party: whose.

        Returns:
            uint64 in ``[0, t)``, shape ``(slots + 1,)``: the padded values and their tag.
        """
        padded = (values + self._pad(chunk, [party])) % np.uint64(self._modulus)
        return np.append(padded, np.uint64(self._tag(padded, chunk, [party])))

    def open(self, sums: NDArray[np.uint64], *, chunk: int, survivors: list[int]) -> NDArray[np.uint64]:
        """The sum of the survivors' values.

        Args:
            sums: slot by slot the sum modulo t of what they sealed, shape ``(slots + 1,)``.
            chunk: which chunk of the vector.
            survivors: who is said to be in the sum, each once.

        Returns:
            uint64 in ``[0, t)``, shape ``(slots,)``.

        Raises:
            DecodeError: it is not the sum over exactly these parties.
        """
        padded, t = sums[:-1], np.uint64(self._modulus)
        values = (padded + (t - self._pad(chunk, survivors))) % t
        if self._tag(padded, chunk, survivors) != int(sums[-1]):
            raise DecodeError("a tag does not match.")
        return values

    def _tag(self, padded: NDArray[np.uint64], chunk: int, parties: list[int]) -> int:
        """Σ_j α_j M_j + Σ_i ρ_i mod t."""
        key, count = self._keys["tag factors"], self._slots
        factors = uniform(key, index=chunk, count=count, modulus=self._modulus - 1) + np.uint64(1)
        return (dot_mod(factors, padded, self._modulus) + self._blind("tag blinds", chunk, parties)) % self._modulus

    def _pad(self, chunk: int, parties: list[int]) -> NDArray[np.uint64]:
        """γ_j Σ_i β_i mod t."""
        if self._blinds is not None:
            return self._blinds.pad(chunk, parties, self._slots)
        blind = self._blind("pad blinds", chunk, parties)
        return scale_mod(self._stream("pad factors", chunk, self._slots), blind, self._modulus)

    def _blind(self, purpose: str, chunk: int, parties: list[int]) -> int:
        """The sum of the parties' blinds mod t."""
        if self._blinds is not None:
            return self._blinds.tag(chunk, parties)
        blinds = self._stream(purpose, chunk, self._num_parties)
        return sum(int(value) for value in blinds[parties]) % self._modulus

    def _stream(self, purpose: str, chunk: int, count: int) -> NDArray[np.uint64]:
        """Uniform residues of one purpose and chunk."""
        return uniform(self._keys[purpose], index=chunk, count=count, modulus=self._modulus)
