"""Sums without secrecy: the server reads everything. For tests, baselines and debugging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from secagg.api import Entropy, Keys
from secagg.checks import check_integer, check_vector
from secagg.codec import field_bits
from secagg.envelope import OVERHEAD, Channel, digest
from secagg.errors import CapacityError, DecodeError, ParameterError
from secagg.masking.packing import set_bytes
from secagg.onemessage import ROUNDS, OneMessageClient, OneMessageServer, Progress, refuse_unused

__all__ = ["PlainSum"]


@final
@dataclass(frozen=True, slots=True)
class PlainSum:
    """A plan of a sum in the clear; made by :meth:`plan`.

    Args:
        num_parties: parties, >= 2.
        dim: entries of a vector.
        value_bits: bits of one entry.
        wrap: whether the sum is taken modulo ``2**value_bits``.

    Example:
        >>> PlainSum.plan(3, 1000, 16).modulus_bits
        18
    """

    num_parties: int
    dim: int
    value_bits: int
    wrap: bool

    def __post_init__(self) -> None:
        for name, least, most in (("num_parties", 2, 2**31), ("dim", 1, 2**40), ("value_bits", 1, 64)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=least, at_most=most))
        if not isinstance(self.wrap, bool):
            raise ParameterError(f"wrap must be a bool, got {type(self.wrap).__name__}.")
        if not self.wrap and field_bits(self.num_parties, self.value_bits) > 64:
            raise CapacityError(
                f"the sum of {self.num_parties} values of {self.value_bits} bits must fit 64 bits; use fewer "
                "value_bits, or wrap=True for a sum modulo 2**value_bits."
            )

    @classmethod
    def plan(cls, num_parties: int, dim: int, value_bits: int, *, wrap: bool = False) -> Self:
        """Plan a sum in the clear.

        Args:
            num_parties: parties, >= 2; all must stay (``min_survivors`` is all of them).
            dim: entries of a vector, >= 1.
            value_bits: bits of one entry, 1 to 64.
            wrap: sum modulo ``2**value_bits`` instead of exactly.

        Returns:
            The plan.

        Raises:
            ParameterError: an argument is out of its domain.
            CapacityError: without `wrap`, the sum may need more than 64 bits.
        """
        return cls(num_parties, dim, value_bits, wrap)

    @property
    def rounds(self) -> tuple[str, ...]:
        """Names of the rounds, in order."""
        return ROUNDS

    @property
    def promise(self) -> str:
        """What this protocol promises."""
        return (
            "PlainSum promises no secrecy: the server, and whoever reads the wire, sees every party's vector. Sums are "
            "exact or the call raises; a checksum finds accidents, not forgeries. For tests and baselines only."
        )

    @property
    def modulus_bits(self) -> int:
        """Bits of an entry of the sum."""
        return self.value_bits if self.wrap else field_bits(self.num_parties, self.value_bits)

    @property
    def min_survivors(self) -> int:
        """All parties: a plain plan tolerates no drop-out."""
        return self.num_parties

    @property
    def min_honest(self) -> int:
        """Inputs in the sum that a party which reads the sum does not know: all but its own.

        Noise planned for so many shares protects the *sum* against one party. Nothing protects the vectors from the
        server.
        """
        return self.min_survivors - 1

    @property
    def bytes_up(self) -> int:
        """Bytes a party sends, exactly."""
        return OVERHEAD + self.dim * _dtype(self.value_bits).itemsize

    @property
    def bytes_down(self) -> int:
        """Bytes a party receives, exactly."""
        return OVERHEAD + set_bytes(self.num_parties) + self.dim * _dtype(self.modulus_bits).itemsize

    def keygen(self, entropy: Entropy | None = None) -> Keys[None, None]:
        """Nobody holds a key; `entropy` is not used."""
        return Keys((None,) * self.num_parties, None)

    def client(
        self, party: int, *, entropy: Entropy | None = None, identity: Any = None, keys: None = None, guard: Any = None
    ) -> OneMessageClient:
        """A party's session.

        Args:
            party: its number, 0 to ``num_parties - 1``.
            entropy: not used: nothing is random here.
            identity: must be None.
            keys: must be None.
            guard: must be None.

        Returns:
            The session.

        Raises:
            ParameterError: no such party, or an argument that must be None.
        """
        refuse_unused(identity, guard)
        _refuse_keys(keys)
        party = check_integer("party", party, at_least=0, at_most=self.num_parties - 1)
        work = _PlainClient(self)
        return OneMessageClient(self, _channel(party, self._config, self.bytes_down), work, work)

    def server(self, *, entropy: Entropy | None = None, keys: None = None) -> OneMessageServer:
        """The server's session.

        Args:
            entropy: not used.
            keys: must be None.

        Returns:
            The session.

        Raises:
            ParameterError: keys were given.
        """
        _refuse_keys(keys)
        config, limit = self._config, self.bytes_up
        channels = tuple(_channel(party, config, limit) for party in range(self.num_parties))
        return OneMessageServer(self, channels, _PlainServer(self))

    @property
    def _config(self) -> bytes:
        """The plan's digest: whatever two sides must agree on."""
        return digest("PlainSum", self.num_parties, self.dim, self.value_bits, int(self.wrap))


def _channel(party: int, config: bytes, limit: int) -> Channel:
    """A channel whose key is public: the HMAC is a checksum, and all sessions are one."""
    return Channel(session=bytes(32), config=config, party=party, chunks=1, key=config, limit=limit)


def _refuse_keys(keys: object) -> None:
    """A key that is ignored would look like protection."""
    if keys is not None:
        raise ParameterError("keys must be None: PlainSum protects nothing.")


def _dtype(bits: int) -> np.dtype[Any]:
    """The smallest little-endian unsigned integer of at least so many bits."""
    return np.dtype(f"<u{next(size for size in (1, 2, 4, 8) if 8 * size >= bits)}")


def _parse(body: bytes, *, dim: int, bits: int, largest: int) -> NDArray[np.uint64]:
    """The entries of a body, checked."""
    dtype = _dtype(bits)
    if len(body) != dim * dtype.itemsize:
        raise DecodeError("the message does not have the length of this plan.")
    values = np.frombuffer(body, dtype=dtype).astype(np.uint64)
    if int(values.max()) > largest:
        raise DecodeError("the message holds values that this plan cannot have.")
    return values


@final
class _PlainClient:
    """A client's work: write the vector, read the sum."""

    __slots__ = ("_plan",)

    def __init__(self, plan: PlainSum) -> None:
        self._plan = plan

    def check(self, vector: Any) -> NDArray[np.uint64]:
        """Integers of the plan's range."""
        return check_vector("vector", vector, shape=(self._plan.dim,), value_bits=self._plan.value_bits)

    def seal(self, vector: NDArray[np.uint64], progress: Progress) -> bytes:
        """The vector's bytes."""
        return vector.astype(_dtype(self._plan.value_bits)).tobytes()

    def open(self, body: bytes, survivors: list[int], progress: Progress) -> NDArray[np.uint64]:
        """The sum's entries."""
        largest = (1 << self._plan.value_bits) - 1
        if not self._plan.wrap:
            largest *= len(survivors)
        return _parse(body, dim=self._plan.dim, bits=self._plan.modulus_bits, largest=largest)


@final
class _PlainServer:
    """The server's work: add."""

    __slots__ = ("_plan", "_sum")

    def __init__(self, plan: PlainSum) -> None:
        self._plan = plan
        self._sum = np.zeros(plan.dim, dtype=np.uint64)

    def parse(self, body: bytes) -> NDArray[np.uint64]:
        """A party's entries."""
        bits = self._plan.value_bits
        return _parse(body, dim=self._plan.dim, bits=bits, largest=(1 << bits) - 1)

    def add(self, parts: NDArray[np.uint64]) -> None:
        """Add: exact by the plan's capacity; with wrap, modulo 2**64 and then 2**value_bits."""
        self._sum += parts
        if self._plan.wrap:
            self._sum &= np.uint64((1 << self._plan.value_bits) - 1)

    def body(self) -> bytes:
        """The sum's bytes."""
        return self._sum.astype(_dtype(self._plan.modulus_bits)).tobytes()

    def total(self) -> NDArray[np.uint64]:
        """The sum."""
        return self._sum.copy()
