"""What every plan of a BFV sum says of itself, whoever holds its keys."""

from __future__ import annotations

from abc import ABC, abstractmethod

from secagg.envelope import OVERHEAD, digest
from secagg.he.planner import check_openers, check_sizes, failure_bits, fields_per_slot, plain_modulus, tag_bits
from secagg.he.rings import Ring, Security
from secagg.he.seal import blob_limit
from secagg.he.work import Layout
from secagg.masking.packing import set_bytes
from secagg.onemessage import ROUNDS

__all__ = ["BFVPlan"]


class BFVPlan(ABC):
    """Sizes and limits that follow from parties, entries, bits and ring."""

    __slots__ = ()

    num_parties: int
    dim: int
    value_bits: int
    min_survivors: int

    @property
    @abstractmethod
    def ring(self) -> Ring:
        """Where ciphertexts live."""

    @property
    def wrap(self) -> bool:
        """Never: homomorphic sums are exact integers."""
        return False

    @property
    def rounds(self) -> tuple[str, ...]:
        """Names of the rounds, in order."""
        return ROUNDS

    @property
    def modulus_bits(self) -> int:
        """Bits of the ciphertext modulus."""
        return self.ring.modulus.bit_length()

    @property
    def security(self) -> Security:
        """How hard RLWE is here, by the table of 2024 and by the one of 2018."""
        return self.ring.security

    @property
    def plain_modulus(self) -> int:
        """The plaintext modulus t: a sum of slots stays below it."""
        return plain_modulus(self.num_parties, self.ring)

    @property
    def failure_bits(self) -> float:
        """The sum decrypts but with a chance of 2 to the minus this; infinite where it never fails."""
        return failure_bits(self.num_parties, self.ring)

    @property
    def values_per_chunk(self) -> int:
        """Values of one ciphertext: all slots but the tag's, several fields each."""
        return self._layout.values

    @property
    def chunks(self) -> int:
        """Ciphertexts of one vector."""
        return self._layout.chunks

    @property
    def bytes_up(self) -> int:
        """Bytes a party sends, at most: SEAL compresses, and a compressed length has a bound but varies a little."""
        return OVERHEAD + self.chunks * (4 + blob_limit(self.ring.sent_bytes))

    @property
    def _sum_bytes(self) -> int:
        """Bytes of the sum, at most."""
        return OVERHEAD + set_bytes(self.num_parties) + self.chunks * (4 + blob_limit(self.ring.full_bytes))

    @property
    def _layout(self) -> Layout:
        """Where values stand in ciphertexts."""
        return Layout(self.dim, self.num_parties, self.value_bits, self.ring)

    @property
    def _config(self) -> bytes:
        """The plan's digest: whatever two sides must agree on."""
        return digest(
            type(self).__name__,
            *(self.num_parties, self.dim, self.value_bits, self.min_survivors),
            *(self.ring.degree, *self.ring.primes, self.plain_modulus, self._layout.width, self._layout.fields),
        )

    def _check(self) -> None:
        """Sizes of their domains and types, and a slot that carries the sum and its tag."""
        sizes = check_sizes(self.num_parties, self.dim, self.value_bits, self.min_survivors)
        for name, size in zip(("num_parties", "dim", "value_bits", "min_survivors"), sizes, strict=True):
            object.__setattr__(self, name, size)
        check_openers(self.num_parties, self.ring)
        fields_per_slot(self.num_parties, self.value_bits, self.ring)
        tag_bits(self.num_parties, self.ring)
