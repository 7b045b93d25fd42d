r"""A keyed tag that adds like the values it protects.

One slot of every ciphertext holds, modulo the plaintext modulus t,

.. math:: \mathrm{tag}_i = \sum_j \alpha_j x_{ij} + \rho_i \bmod t,

so the sum over parties U has the tag :math:`\sum_j \alpha_j S_j + \sum_{i \in U} \rho_i`. The factors :math:`\alpha`
depend on session, plan and chunk, the blinds :math:`\rho` on the party as well; both are secret from the server.
Whoever combines ciphertexts in any other way (one alone, one twice, a chunk in another's place, a constant added, other
survivors than announced) must hit a value that is uniform to him.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from secagg.prg import derive_key, uniform

__all__ = ["SumTag", "dot_mod"]

_LIMB_BITS = 21


def dot_mod(left: NDArray[np.uint64], right: NDArray[np.uint64], modulus: int) -> int:
    r"""Σ left·right mod t in 64-bit words: `right` is cut into limbs of 21 bits, so products stay below 2^62.

    Args:
        left: uint64 in ``[0, modulus)``, shape ``(m,)``, m <= 2**20.
        right: likewise.
        modulus: t, below 2**41; so are the residues, and sums of 2**20 of them fit.

    Returns:
        The sum of products modulo t.
    """
    low = right & np.uint64((1 << _LIMB_BITS) - 1)
    high = right >> np.uint64(_LIMB_BITS)
    parts = [int(np.sum(left * limb % np.uint64(modulus))) for limb in (low, high)]
    return (parts[0] + (parts[1] << _LIMB_BITS)) % modulus


@final
class SumTag:
    """Tags of one session.

    Guarantee:
        A sum of anything but the announced parties' ciphertexts, one each, verifies with probability at most 1/t per
        attempt and chunk (AES and HKDF ideal); held by ``test_a_dishonest_combination_does_not_open``.

    Args:
        group_key: 32 bytes that all parties share and the server does not know.
        session: 32 bytes, of this session only.
        config: the plan's digest.
        modulus: t, prime, below 2**41.
        num_parties: blinds of one chunk.
        slots: values of one chunk.
    """

    __slots__ = ("_blind_key", "_factor_key", "_modulus", "_num_parties", "_slots")

    def __init__(
        self, group_key: bytes, *, session: bytes, config: bytes, modulus: int, num_parties: int, slots: int
    ) -> None:
        self._factor_key = derive_key(group_key, salt=session, purpose=b"tag factors", parts=(config,))
        self._blind_key = derive_key(group_key, salt=session, purpose=b"tag blinds", parts=(config,))
        self._modulus = modulus
        self._num_parties = num_parties
        self._slots = slots

    def of(self, values: NDArray[np.uint64], *, chunk: int, party: int) -> int:
        """The tag of one party's chunk; `values` in ``[0, t)``, shape ``(slots,)``."""
        return (self._mixed(values, chunk) + int(self._blinds(chunk)[party])) % self._modulus

    def matches(self, total: NDArray[np.uint64], tag: int, *, chunk: int, survivors: list[int]) -> bool:
        """Whether `tag` is the tag of a sum over exactly `survivors`."""
        blind = sum(int(value) for value in self._blinds(chunk)[survivors])
        return (self._mixed(total, chunk) + blind - tag) % self._modulus == 0

    def _mixed(self, values: NDArray[np.uint64], chunk: int) -> int:
        """Σ α_j x_j mod t."""
        factors = uniform(self._factor_key, index=chunk, count=self._slots, modulus=self._modulus)
        return dot_mod(factors, values, self._modulus)

    def _blinds(self, chunk: int) -> NDArray[np.uint64]:
        """ρ of every party in this chunk."""
        return uniform(self._blind_key, index=chunk, count=self._num_parties, modulus=self._modulus)
