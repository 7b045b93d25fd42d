"""The end of a masked sum: secrets joined from shares and checked against what was said, and their masks taken off."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError
from secagg.masking.keys import KEY_BYTES, KeyPair, Purpose, agree, commit, self_mask_key
from secagg.masking.layout import Layout, read_share
from secagg.masking.masks import add_mask
from secagg.masking.shamir import join

__all__ = ["Opening"]


@final
class Opening:
    """What is known when the last round is closed.

    Args:
        layout: the plan's numbers.
        session: 32 bytes.
        keys: what each party advertised.
        shared: for each party, itself and the neighbours that shared their keys with it.
        commitments: of each survivor, to its self-mask seed.

    Attributes:
        needed: the parties of which a secret is needed: the seed of survivors, the mask key of those whom survivors
            masked with and that are none.
    """

    def __init__(
        self,
        layout: Layout,
        session: bytes,
        keys: Mapping[int, bytes],
        shared: Mapping[int, Sequence[int]],
        commitments: Mapping[int, bytes],
    ) -> None:
        self._layout, self._session = layout, session
        self._keys, self._shared, self._commitments = keys, shared, commitments
        self._modulus = 1 << layout.modulus_bits
        gone = {other for party in commitments for other in shared[party] if other not in commitments}
        self.needed = sorted(gone | set(commitments))

    def take_off(
        self,
        total: NDArray[Any],
        answers: Mapping[int, Mapping[int, bytes]],
        holders: Mapping[int, Sequence[int]],
        near: Mapping[int, Sequence[int]],
    ) -> None:
        """Take every mask off a total.

        Args:
            total: the sum of the masked inputs; the sum of the inputs afterwards.
            answers: shares by party that gave them and party whose they are.
            holders: for each needed party, who gave a share of it: at least as many as the threshold.
            near: for each needed party, the survivors around it.

        Raises:
            DecodeError: shares do not fit together, or not what was committed to or advertised.
        """
        for party, secret in self._joined(answers, holders).items():
            if party in self._commitments:
                self._take_off_self_mask(total, party, secret)
            else:
                self._take_off_pair_masks(total, party, secret, near[party])

    def _joined(
        self, answers: Mapping[int, Mapping[int, bytes]], holders: Mapping[int, Sequence[int]]
    ) -> dict[int, bytes]:
        """The secrets; those with the same holders in one product."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for party in self.needed:
            groups.setdefault(tuple(holders[party]), []).append(party)
        found: dict[int, bytes] = {}
        for who, parties in groups.items():
            shares = np.stack([np.stack([read_share(answers[at][party]) for at in who]) for party in parties])
            secrets = join(shares, [at + 1 for at in who], self._layout.threshold)
            found.update(zip(parties, (secret.tobytes() for secret in secrets), strict=True))
        return found

    def _take_off_self_mask(self, total: NDArray[Any], party: int, seed: bytes) -> None:
        if not hmac.compare_digest(commit(self._session, party, seed), self._commitments[party]):
            raise DecodeError("a self-mask seed is not the one that was committed to.", peer=party)
        add_mask(total, self_mask_key(seed, session=self._session, party=party), modulus=self._modulus, sign=-1)

    def _take_off_pair_masks(self, total: NDArray[Any], party: int, secret: bytes, near: Sequence[int]) -> None:
        """The masks that survivors share with a party that is not in the sum."""
        pair = KeyPair(secret)
        if not hmac.compare_digest(pair.public, self._mask_key(party)):
            raise DecodeError("a mask key is not the one that was advertised.", peer=party)
        for other in near:
            if party not in self._shared[other]:
                continue
            public = self._mask_key(other)
            key = agree(pair, public, session=self._session, mine=party, theirs=other, purpose=Purpose.MASK)
            add_mask(total, key.secret, modulus=self._modulus, sign=-1 if other > party else 1)

    def _mask_key(self, party: int) -> bytes:
        return self._keys[party][KEY_BYTES : 2 * KEY_BYTES]
