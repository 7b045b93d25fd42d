"""Who masks with whom: a Harary graph in random order, or everybody with everybody.

Parties stand on a ring in uniformly random order, and each is joined to the k/2 nearest on either side.

The order comes from a key of the server's. Nobody may know it before the parties are fixed: who can choose a place on
the ring can surround a victim. The *server* is trusted with it: one that chooses the order puts a victim among its
corrupt parties and reads that one input, whatever the thresholds. So every promise about a smaller graph is about a
server that drew the key at random and once; where that is too much to ask, take the complete graph, which nobody can
choose.

References:
    Bell et al. 2020, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from secagg.checks import check_integer
from secagg.errors import ParameterError
from secagg.prg import uniform

__all__ = ["HararyGraph"]

_WORD_BITS = 62


@final
@dataclass(frozen=True, slots=True, eq=False)
class HararyGraph:
    """The Harary graph H(n, degree) on a ring of parties; made by :meth:`draw`.

    Guarantee:
        Every party has `degree` neighbours, each of which has it as a neighbour; the rest is connected without any
        ``degree - 1`` parties, and falls apart only without two runs of ``degree / 2`` places on the ring. Held by
        ``test_every_party_has_its_neighbours_and_they_have_it`` and ``test_only_two_runs_of_lost_parties_disconnect``.

    Args:
        order: the parties 0 to n - 1 by their place on the ring, integers, shape ``(n,)``.
        degree: neighbours of a party: even and at most n - 2, or n - 1 for the complete graph.

    Raises:
        ParameterError: no such degree, or not an order of the parties.

    Example:
        >>> HararyGraph(np.array([3, 0, 2, 5, 1, 4]), degree=2).neighbours(0)
        (2, 3)
    """

    order: NDArray[np.int64]
    degree: int
    _places: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        order = np.array(self.order)
        n = order.size
        if order.ndim != 1 or order.dtype.kind not in "iu" or not np.array_equal(np.sort(order), np.arange(n)):
            raise ParameterError("order must hold each party from 0 to num_parties - 1 once, as integers.")
        degree = check_integer("degree", self.degree, at_least=2, at_most=n - 1)
        if degree % 2 and degree != n - 1:
            raise ParameterError(f"degree must be even, or num_parties - 1 = {n - 1}, got {degree}.")
        order = order.astype(np.int64)
        order.setflags(write=False)
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "degree", degree)
        object.__setattr__(self, "_places", np.argsort(order))

    @classmethod
    def draw(cls, key: bytes, *, num_parties: int, degree: int) -> Self:
        """The graph that a key stands for; each order has the same probability.

        Guarantee:
            The order is exactly uniform if the key's stream is; held by ``test_every_order_is_equally_likely``.

        Args:
            key: 32 bytes, used for nothing else, drawn after the parties are fixed and known to the server alone.
            num_parties: n, >= 3.
            degree: neighbours of a party: even and at most n - 2, or n - 1.

        Returns:
            The graph.

        Raises:
            ParameterError: an argument is out of its domain.
        """
        if not isinstance(key, bytes) or len(key) != 32:
            raise ParameterError("key must be 32 bytes.")
        n = check_integer("num_parties", num_parties, at_least=3, at_most=2**31)
        attempt = 0
        while (order := _order(uniform(key, index=attempt, count=n, modulus=1 << _WORD_BITS))) is None:
            attempt += 1
        return cls(order, degree)

    @property
    def num_parties(self) -> int:
        """Parties on the ring."""
        return self.order.size

    def neighbours(self, party: int) -> tuple[int, ...]:
        """The parties that this one shares masks and secrets with, sorted.

        Args:
            party: its number, 0 to ``num_parties - 1``.

        Returns:
            `degree` numbers, without its own.

        Raises:
            ParameterError: no such party.
        """
        n = self.num_parties
        party = check_integer("party", party, at_least=0, at_most=n - 1)
        if self.degree == n - 1:
            return (*range(party), *range(party + 1, n))
        steps = np.arange(1, self.degree // 2 + 1)
        places = self._places[party] + np.concatenate((-steps, steps))
        return tuple(np.sort(self.order[places % n]).tolist())


def _order(words: NDArray[np.uint64]) -> NDArray[np.int64] | None:
    """The order that sorts the words; None if two are equal: only distinct words sort into every order as often."""
    order = np.argsort(words, kind="stable")
    ranked = words[order]
    return None if bool((ranked[1:] == ranked[:-1]).any()) else order
