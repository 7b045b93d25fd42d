"""How the work of each kind of plan grows: the products of its numbers that the seconds of a step consist of.

What a party or the server does in a step is so much for each party, neighbour, entry or ciphertext, and for each pair
of these that meets in a loop; constant factors are the machine's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.codec import field_bits
from secagg.he.bfv import BFVSum
from secagg.he.ckks import CKKSSum
from secagg.he.public import PublicBFVSum
from secagg.masking.plans import SecAgg, SecAggPlus
from secagg.plain import PlainSum
from secagg.threshold.plan import ThresholdSum

__all__ = ["KINDS", "Kind", "Terms"]

Terms = Callable[[Any], tuple[float, ...]]
"""Products of a plan's numbers."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """How the work of a kind of plan grows.

    Args:
        shrunk: the plan of the same kind for fewer parties and a shorter vector, with sums as wide.
        parties: of the small plans that show how it grows.
        units: lengths of their vectors, in `unit`.
        client: products in each step of a party: ``"input"``, the rounds, ``"result"``.
        server: products in each round.
        opener: products of opening the sum, where a third does.
        unit: entries that belong together: 1, or as many as a ciphertext holds.
        dtype: of entries.
    """

    shrunk: Callable[[Any, int, int], Any]
    parties: tuple[int, ...]
    units: tuple[int, ...]
    client: Mapping[str, Terms]
    server: Mapping[str, Terms]
    opener: Mapping[str, Terms] = field(default_factory=dict)
    unit: Callable[[Any], int] = lambda plan: 1
    dtype: type[np.generic] = np.uint8

    def smaller(self, plan: Any) -> list[Any]:
        """The plans to be played: this one alone, if it is as small."""
        unit = self.unit(plan)
        if plan.num_parties <= max(self.parties) and plan.dim <= max(self.units) * unit:
            return [plan]
        parties = sorted({min(parties, plan.num_parties) for parties in self.parties})
        dims = sorted({min(units * unit, plan.dim) for units in self.units})
        return [self.shrunk(plan, some, dim) for some in parties for dim in dims]

    def vector(self, plan: Any) -> NDArray[Any]:
        """What a party enters: work does not hang on what the entries are."""
        return np.zeros(plan.dim, dtype=self.dtype)


# -- smaller plans


def _width_kept(plan: Any, parties: int) -> int:
    """Bits of an entry with which the sum of fewer parties is as wide."""
    bits: int = plan.value_bits
    while bits < 64 and field_bits(parties, bits + 1) <= field_bits(plan.num_parties, plan.value_bits):
        bits += 1
    return bits


def _fraction(count: int, parties: int) -> float:
    """A fraction of the parties that is floored to so many."""
    return (count + 0.5) / parties if count else 0.0


def _plain(plan: Any, parties: int, dim: int) -> Any:
    return replace(plan, num_parties=parties, dim=dim)


def _exact(plan: Any, parties: int, dim: int) -> Any:
    bits = _width_kept(plan, parties)
    return replace(plan, num_parties=parties, dim=dim, value_bits=bits, min_survivors=parties)


def _approximate(plan: Any, parties: int, dim: int) -> Any:
    """In the same ring: the sum of fewer parties would be within the error in a smaller one, too."""
    small, error = plan, plan.error
    for _ in range(40):
        small = replace(plan, num_parties=parties, dim=dim, min_survivors=parties, error=error)
        if small.modulus_bits == plan.modulus_bits:
            break
        error /= 2
    return small


def _masked(plan: Any, parties: int, dim: int) -> Any:
    if parties == plan.num_parties:
        return replace(plan, dim=dim)
    bits = plan.value_bits if plan.wrap else _width_kept(plan, parties)
    # one in four may leave: so there are masks to be taken off, and as many neighbours as show
    lost = {"corrupt": 0.0, "dropout": _fraction(parties // 4, parties)}
    return replace(plan, num_parties=parties, dim=dim, value_bits=bits, **lost)


def _threshold(plan: Any, parties: int, dim: int) -> Any:
    if parties == plan.num_parties:
        return replace(plan, dim=dim)
    bits, threshold = _width_kept(plan, parties), 2 * parties // 3 + 1
    lost = {"corrupt": 0.0, "dropout": _fraction(parties - threshold, parties)}
    return replace(plan, num_parties=parties, dim=dim, value_bits=bits, threshold=threshold, **lost)


# -- products


def _listed(plan: Any) -> int:
    """Of how many parties one party hears: of all where they sign the list of survivors, else of its neighbours."""
    return int(plan.num_parties if "consistency" in plan.rounds else plan.neighbours)


def _heard(plan: Any) -> tuple[float, ...]:
    return plan.num_parties, plan.num_parties * _listed(plan)


def _unmasked(plan: Any) -> tuple[float, ...]:
    """The server takes off each survivor's own mask, and those of the lost with neighbours that stay."""
    stay, parties = plan.min_survivors, plan.num_parties
    of_pairs = (parties - stay) * plan.neighbours * stay / (parties - 1)
    return parties, of_pairs, (stay + of_pairs) * plan.dim


def _linear(plan: Any) -> tuple[float, ...]:
    return 1, plan.dim


def _encrypted(plan: Any) -> tuple[float, ...]:
    return 1, plan.bytes_up


def _decrypted(plan: Any) -> tuple[float, ...]:
    return 1, plan.num_parties, plan.bytes_up


def _added(plan: Any) -> tuple[float, ...]:
    return plan.num_parties, plan.num_parties * plan.bytes_up


_PLAIN = Kind(
    shrunk=_plain,
    parties=(3, 6),
    units=(1_000, 400_000),
    client={"input": _linear, "result": _linear},
    server={"masked_input": lambda p: (p.num_parties, p.num_parties * p.dim)},
)

_MASKED = Kind(
    shrunk=_masked,
    parties=(5, 15),
    units=(1_000, 100_000),
    client={
        "input": _linear,
        "share_keys": lambda p: (1, p.neighbours),
        "masked_input": lambda p: (p.neighbours, p.dim, p.neighbours * p.dim),
        "consistency": lambda p: (1,),
        "unmask": lambda p: (1, _listed(p)),
    },
    server={
        "advertise": _heard,
        "share_keys": lambda p: (p.num_parties, p.num_parties * p.neighbours),
        "masked_input": lambda p: (p.min_survivors, p.min_survivors * p.dim),
        "consistency": lambda p: (p.min_survivors, p.min_survivors * _listed(p)),
        "unmask": _unmasked,
    },
)

_NEIGHBOURS = replace(_MASKED, parties=(12, 24), units=(1_000, 50_000))
"""With so few parties a plan of neighbours is not yet that of everybody."""

_EXACT = Kind(
    shrunk=_exact,
    parties=(3, 6),
    units=(1, 3),
    client={"input": _encrypted, "result": _encrypted},
    server={"masked_input": _added},
    opener={"result": _decrypted},
    unit=lambda plan: plan.values_per_chunk,
)

_APPROXIMATE = replace(_EXACT, shrunk=_approximate, dtype=np.float64)

_THRESHOLD = Kind(
    shrunk=_threshold,
    parties=(4, 9, 18),
    units=(1, 4),
    client={
        "input": lambda p: (1, p.num_parties, p.num_parties * p.threshold / p.packed),
        "masked_input": lambda p: (1, p.num_parties, p.chunks),
        "reveal": lambda p: (1, p.num_parties),
    },
    server={
        "share_keys": lambda p: (p.num_parties, p.num_parties**2 / p.packed),
        "masked_input": lambda p: (p.min_survivors, p.min_survivors * p.chunks),
        "reveal": lambda p: (p.min_survivors, p.chunks),
    },
    unit=lambda plan: -(-plan.dim // plan.chunks),
)

KINDS: dict[type, Kind] = {
    PlainSum: _PLAIN,
    SecAgg: _MASKED,
    SecAggPlus: _NEIGHBOURS,
    BFVSum: _EXACT,
    PublicBFVSum: _EXACT,
    ThresholdSum: _THRESHOLD,
    CKKSSum: _APPROXIMATE,
}
"""A row for each kind; the first that a plan is an instance of."""
