"""The ring of parties: who its neighbours are, what disconnects it, and that every order is as likely."""

import math
from collections import Counter
from itertools import combinations, permutations, product

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from secagg.errors import ParameterError
from secagg.masking import graph as module
from secagg.masking.graph import HararyGraph, _order
from tests.oracles import thresholds as oracle

KEY = bytes(range(32))


def test_published_example():
    """The example of fcp/secagg/server/secret_sharing_harary_graph.h, which counts a party as its own neighbour."""
    graph = HararyGraph(np.array([3, 2, 5, 4, 1, 8, 9, 0, 6, 7]), degree=4)
    rows = {
        3: {6, 7, 2, 5},
        2: {7, 3, 5, 4},
        5: {3, 2, 4, 1},
        4: {2, 5, 1, 8},
        1: {5, 4, 8, 9},
        8: {4, 1, 9, 0},
        9: {1, 8, 0, 6},
        0: {8, 9, 6, 7},
        6: {9, 0, 7, 3},
        7: {0, 6, 3, 2},
    }
    assert {party: set(graph.neighbours(party)) for party in range(10)} == rows


@given(key=st.binary(min_size=32, max_size=32), n=st.integers(3, 60), data=st.data())
def test_every_party_has_its_neighbours_and_they_have_it(key, n, data):
    degree = data.draw(st.sampled_from([*range(2, n - 1, 2), n - 1]))
    graph = HararyGraph.draw(key, num_parties=n, degree=degree)
    assert graph.num_parties == n
    rows = [graph.neighbours(party) for party in range(n)]
    for party, row in enumerate(rows):
        assert len(set(row)) == degree
        assert list(row) == sorted(row)
        assert party not in row
        assert all(party in rows[other] for other in row)
        assert all(type(other) is int for other in row)


@pytest.mark.parametrize(("n", "degree"), [(7, 2), (7, 4), (9, 4), (9, 6), (10, 4)])
def test_only_two_runs_of_lost_parties_disconnect(n, degree):
    graph = HararyGraph.draw(KEY, num_parties=n, degree=degree)
    rows, places, half = [set(graph.neighbours(party)) for party in range(n)], graph.order.tolist(), degree // 2
    runs = [{places[(start + i) % n] for i in range(half)} for start in range(n)]
    for lost in oracle.subsets(set(range(n))):
        parts = len(list(oracle.components(rows, set(range(n)) - lost)))
        inside = [run for run in runs if run <= lost]
        assert parts <= 1 or any(not a & b for a, b in combinations(inside, 2))
        assert parts <= 1 or len(lost) >= degree


@pytest.mark.parametrize("n", [3, 4, 5])
def test_every_order_is_equally_likely(n):
    """Of all tuples of words, the distinct ones sort into each order as often; the others are drawn again."""
    words = [np.array(row, dtype=np.uint64) for row in product(range(6), repeat=n)]
    counts = Counter(None if (order := _order(row)) is None else tuple(order.tolist()) for row in words)
    assert counts.pop(None) == 6**n - math.perm(6, n)
    assert counts == dict.fromkeys(permutations(range(n)), math.perm(6, n) // math.factorial(n))


def test_keys_give_every_order_as_often():
    draws = 6000
    orders = [
        tuple(HararyGraph.draw(i.to_bytes(32, "little"), num_parties=3, degree=2).order.tolist()) for i in range(draws)
    ]
    law = stats.binom(draws, 1 / 6)
    for order in permutations(range(3)):
        count = orders.count(order)
        assert min(law.cdf(count), law.sf(count - 1)) > 1e-9 / 12


@pytest.mark.parametrize("n", [5, 40])
def test_the_order_is_the_ciphers_words_sorted(n):
    stream = Cipher(algorithms.AES256(KEY), modes.CTR(bytes(16))).encryptor().update(bytes(8 * n))
    words = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") % 2**62 for i in range(n)]
    graph = HararyGraph.draw(KEY, num_parties=n, degree=2)
    assert graph.order.tolist() == sorted(range(n), key=words.__getitem__)


def test_equal_words_are_drawn_again_from_the_next_stream(monkeypatch):
    asked = []

    def uniform(key, *, index, count, modulus):
        asked.append((key, index, count, modulus))
        return np.array([7, 5, 5] if index < 2 else [7, 5, 6], dtype=np.uint64)

    monkeypatch.setattr(module, "uniform", uniform)
    assert HararyGraph.draw(KEY, num_parties=3, degree=2).order.tolist() == [1, 2, 0]
    assert asked == [(KEY, index, 3, 2**62) for index in range(3)]


def test_a_hundred_thousand_parties():
    graph = HararyGraph.draw(KEY, num_parties=100_000, degree=36)
    assert sorted(graph.order.tolist()) == list(range(100_000))
    for party in (0, 1, 77_777, 99_999):
        assert all(party in graph.neighbours(other) for other in graph.neighbours(party))


def test_the_order_is_kept_apart_from_the_callers_array():
    order = np.arange(6)
    graph = HararyGraph(order, degree=2)
    order[:] = 0
    assert graph.neighbours(0) == (1, 5)
    with pytest.raises(ValueError, match="read-only"):
        graph.order[0] = 3


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: HararyGraph(np.array([0, 1, 1]), 2), "order must hold each party"),
        (lambda: HararyGraph(np.array([1, 2, 3]), 2), "order must hold each party"),
        (lambda: HararyGraph(np.array([0.0, 1.0, 2.0]), 2), "order must hold each party"),
        (lambda: HararyGraph(np.array([[0, 1, 2]]), 2), "order must hold each party"),
        (lambda: HararyGraph(np.arange(8), 3), "degree must be even"),
        (lambda: HararyGraph(np.arange(8), 8), "degree must be in"),
        (lambda: HararyGraph(np.arange(8), 0), "degree must be in"),
        (lambda: HararyGraph.draw(KEY[:16], num_parties=8, degree=2), "key must be 32 bytes"),
        (lambda: HararyGraph.draw(bytearray(KEY), num_parties=8, degree=2), "key must be 32 bytes"),
        (lambda: HararyGraph.draw(KEY, num_parties=2, degree=1), "num_parties must be in"),
        (lambda: HararyGraph(np.arange(8), 2).neighbours(8), "party must be in"),
        (lambda: HararyGraph(np.arange(8), 7).neighbours(-1), "party must be in"),
        (lambda: HararyGraph(np.arange(8), 2).neighbours(True), "party must be an integer"),
    ],
)
def test_refusals(call, match):
    with pytest.raises(ParameterError, match=match):
        call()
