"""Published degrees and thresholds, the same search in exact integers, and servers that lie as well as can be."""

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow

SIZES = (10, 100, 1_000, 10_000, 100_000, 1_000_000)

#: (lying server, corrupt, dropout): degree and threshold for each of the SIZES, None where the table has no row.
#: fcp/secagg/server/graph_parameter_finder_test.cc of google-parfait/federated-compute at commit e7157f0; its rows
#: without an adversary are those of a semi-honest one with nobody corrupt.
PUBLISHED = {
    (False, 0.45, 0.45): (None, (92, 46), (822, 417), (3494, 1771), (5508, 2788), (6240, 3156)),
    (False, 0.33, 0.33): ((8, 4), (68, 34), (286, 150), (422, 221), (480, 251), (518, 270)),
    (True, 0.3, 0.3): (None, (92, 62), (872, 584), (4822, 3230), (9388, 6286), (11136, 7454)),
    (False, 0.05, 0.33): ((4, 2), (28, 6), (72, 24), (86, 29), (96, 32), (102, 34)),
    (True, 0.05, 0.33): ((8, 5), (72, 39), (398, 223), (746, 420), (882, 496), (970, 545)),
    (False, 0.33, 0.05): ((4, 4), (34, 29), (78, 60), (92, 70), (102, 77), (110, 83)),
    (True, 0.33, 0.05): ((4, 4), (42, 37), (132, 109), (178, 146), (196, 160), (212, 173)),
    (False, 0.05, 0.05): ((2, 2), (12, 6), (30, 17), (34, 20), (36, 21), (38, 22)),
    (True, 0.05, 0.05): ((2, 2), (16, 11), (52, 37), (62, 44), (68, 48), (74, 52)),
    (False, 0.33, 0.0): ((4, 4), (26, 25), (38, 36), (42, 40), (46, 44), (50, 47)),
    (True, 0.33, 0.0): ((4, 4), (26, 26), (38, 37), (42, 41), (46, 45), (50, 49)),
    (False, 0.0, 0.33): ((4, 2), (26, 2), (38, 2), (42, 2), (46, 2), (50, 2)),
    (True, 0.0, 0.33): ((8, 5), (68, 35), (228, 115), (326, 164), (372, 187), (410, 206)),
    (False, 0.0, 0.0): ((2, 2),) * 6,
    (True, 0.0, 0.0): ((2, 2),) * 6,
}


#: Rows whose threshold is above t2: the table takes max(t1 + 1, 2) after it has compared t1 with t2. There, some
#: secret goes without two live shares with a probability of up to 1/3.
BEYOND = {(False, 0.05, 0.33, 10), (False, 0.0, 0.33, 10)}


SLACK = 1 + Fraction(1, 2**11)
"""No bound is above the probability by more: e^(2^-13 + 2^-14) < 1 + 2^-11."""


def tail(n: int, marked: int, k: int, values: range) -> Fraction:
    """The probability that the number of marked parties among k of n is one of `values`."""
    ways = sum(math.comb(marked, x) * math.comb(n - marked, k - x) for x in values if 0 <= x <= k)
    return Fraction(ways, math.comb(n, k))


def cut(n: int, k: int, lost: int) -> Fraction:
    """The union bound over the pairs of runs of k/2 places that would have to be lost."""
    if k > lost:
        return Fraction(0)
    return Fraction(n * (n - k - 1), 2) * Fraction(math.comb(n - k, lost - k), math.comb(n, lost))


def conditions(n: int, bad: int, dropped: int, k: int, slack: Fraction) -> tuple[int, int]:
    """t1 and t2 of a degree, or (k, 0) if the honest survivors may be disconnected; probabilities are times `slack`."""
    if cut(n, k, bad + dropped) * slack >= Fraction(1, 2**41):
        return k, 0
    rare, seldom = 1 / (slack * n * 2**41), 1 / (slack * n * 2**20)
    t1 = next(x for x in range(k + 1) if tail(n, bad, k, range(x + 1, k + 1)) <= rare)
    t2 = next(x for x in range(k, -1, -1) if tail(n, n - dropped, k, range(x)) <= seldom)
    return t1, t2


def search(
    n: int, bad: int, dropped: int, *, lying: bool, slack: Fraction = Fraction(1)
) -> tuple[int, int, int] | None:
    """Degree, threshold and t1: every even degree is tried."""
    for k in range(2, n - 1, 2):
        t1, t2 = conditions(n, bad, dropped, k, slack)
        t = next(t for t in range(2, 2 * n) if (2 * t > k + t1 if lying else t > t1))
        if t <= t2:
            return k, t, t1
    return None


def ring(n: int, k: int) -> list[set[int]]:
    """The neighbours of each place."""
    return [{(place + step) % n for step in range(-(k // 2), k // 2 + 1) if step} for place in range(n)]


def components(graph: list[set[int]], nodes: set[int]) -> Iterator[set[int]]:
    """What of the graph hangs together if only `nodes` are left."""
    left = set(nodes)
    while left:
        found, edge = set(), {left.pop()}
        while edge:
            found |= edge
            edge = {other for node in edge for other in graph[node] & left}
            left -= edge
        yield found


def visible(graph: list[set[int]], corrupt: set[int], lists: dict[int, set[int]], t: int) -> Iterator[set[int]]:
    """The honest inputs of each sum that comes out if honest party w is told that lists[w] survive.

    A party answers if it is on its list and at least t of its neighbours are; corrupt ones answer both ways. Nobody
    holds a share of its own secrets.
    """
    answering = {w for w, told in lists.items() if w in told and len(graph[w] & told) >= t}
    seeds, keys = set(), set()
    for v in lists:
        helpers, traitors = graph[v] & answering, len(graph[v] & corrupt)
        seeds |= {v} if traitors + sum(v in lists[w] for w in helpers) >= t else set()
        keys |= {v} if traitors + sum(v not in lists[w] for w in helpers) >= t else set()
    assert not seeds & keys
    hidden = set(lists) - seeds - keys
    for together in components(graph, seeds):
        if not any(graph[v] & hidden for v in together):
            yield together


def subsets(items: set[int]) -> Iterator[set[int]]:
    """All of them."""
    for size in range(len(items) + 1):
        yield from map(set, combinations(sorted(items), size))


def can_cut_out_place_0(n: int, k: int, t: int) -> bool:
    """Whether lists that differ open the mask keys of all neighbours of place 0 and of nobody else; all are honest.

    Each key takes t neighbours that are told the party is gone, and a party stops if told so of more than k - t. No
    party is told anything of itself or of place 0. A flow of claims decides.
    """
    graph, source, sink = ring(n, k), 2 * n, 2 * n + 1
    edges = [(source, w, k - t) for w in range(n)]
    edges += [(n + z, sink, t) for z in graph[0]]
    edges += [(w, n + z, 1) for z in graph[0] for w in graph[z]]
    tails, heads, limits = zip(*edges, strict=True)
    flow = maximum_flow(
        csr_array((np.array(limits, dtype=np.int32), (tails, heads)), shape=(2 * n + 2,) * 2), source, sink
    )
    return bool(flow.flow_value == t * len(graph[0]))
