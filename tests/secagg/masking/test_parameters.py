"""Degrees, thresholds and what they promise: the published table, exact tails, and servers that lie."""

import math
from fractions import Fraction
from functools import partial
from itertools import combinations, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import CapacityError, ParameterError
from secagg.masking.parameters import (
    CORRECTNESS_BITS,
    SECURITY_BITS,
    Thresholds,
    _search,
    complete_graph,
    harary_graph,
    modulus_bits,
)
from secagg.masking.tails import Tails
from tests.oracles import thresholds as oracle

ROWS = [
    (lying, corrupt, dropout, n, row)
    for (lying, corrupt, dropout), rows in oracle.PUBLISHED.items()
    for n, row in zip(oracle.SIZES, rows, strict=True)
    if row and (lying, corrupt, dropout, n) not in oracle.BEYOND
]


def _adversary(lying):
    return "semi_malicious" if lying else "semi_honest"


@pytest.mark.parametrize(("lying", "corrupt", "dropout", "n", "row"), ROWS)
def test_published_rows(lying, corrupt, dropout, n, row):
    bad, dropped = (math.floor(Fraction(str(fraction)) * n) for fraction in (corrupt, dropout))
    assert _search(n, bad, dropped, lying=lying)[:2] == row
    if corrupt and not bad:
        with pytest.raises(ParameterError, match="corrupt must be 0 or at least 1 / num_parties"):
            harary_graph(n, adversary=_adversary(lying), corrupt=corrupt, dropout=dropout)
    else:
        plan = harary_graph(n, adversary=_adversary(lying), corrupt=corrupt, dropout=dropout)
        assert (plan.neighbours, plan.threshold, plan.own_share) == (*row, False)
        assert (plan.corrupt, plan.dropped, plan.min_survivors) == (bad, dropped, n - dropped)


def test_published_rows_that_break_their_own_third_condition():
    for lying, corrupt, dropout, n in oracle.BEYOND:
        dropped = math.floor(dropout * n)
        k, t = oracle.PUBLISHED[lying, corrupt, dropout][oracle.SIZES.index(n)]
        assert n * oracle.tail(n, n - dropped, k, range(t)) == Fraction(1, 3)
        k, t, _ = _search(n, math.floor(corrupt * n), dropped, lying=lying)
        assert n * oracle.tail(n, n - dropped, k, range(t)) <= Fraction(1, 2**CORRECTNESS_BITS)


@given(st.data())
def test_equals_the_search_in_exact_integers(data):
    n = data.draw(st.integers(3, 90))
    bad, dropped, lying = data.draw(st.integers(0, n // 2)), data.draw(st.integers(0, n // 2)), data.draw(st.booleans())
    # a probability that is below its bound by less than the slack counts as above it
    exact = {oracle.search(n, bad, dropped, lying=lying, slack=slack) for slack in (Fraction(1), oracle.SLACK)}
    assert _search(n, bad, dropped, lying=lying) in exact


@pytest.mark.parametrize(
    ("n", "bad", "dropped", "lying"),
    [(300, 15, 15, False), (300, 30, 20, True), (400, 20, 120, False), (250, 0, 80, True)],
)
def test_degrees_that_are_passed_over_would_not_do(n, bad, dropped, lying):
    assert _search(n, bad, dropped, lying=lying) == oracle.search(n, bad, dropped, lying=lying)


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize(
    ("n", "lying", "corrupt", "dropout"),
    [
        (100, False, 0.05, 0.05),
        (100, True, 0.05, 0.33),
        (1000, False, 0.33, 0.33),
        (1000, True, 0.33, 0.05),
        (10**8, False, 0.05, 0.05),
        (10**8, True, 0.05, 0.05),
    ],
)
def test_probabilities_are_within_the_bounds(n, lying, corrupt, dropout, connected):
    plan = harary_graph(n, adversary=_adversary(lying), corrupt=corrupt, dropout=dropout, connected=connected)
    k, t, unsafe = plan.neighbours, plan.threshold, Fraction(1, 2 ** (SECURITY_BITS + 1))
    most = 2 * t - k - 1 if lying else t - 1
    assert n * oracle.tail(n, plan.corrupt, k, range(most + 1, k + 1)) <= unsafe
    assert n * oracle.tail(n, n - plan.dropped, k, range(t)) <= Fraction(1, 2**CORRECTNESS_BITS)
    lost = plan.corrupt + plan.dropped
    runs = Fraction(math.perm(lost, k), math.perm(n, k)) if k <= lost else 0
    assert Fraction(n * (n - k - 1), 2) * runs < unsafe
    rich = oracle.tail(n, plan.corrupt, k // 2, range(t - k // 2, k // 2 + 1))
    whole = not lying or Fraction(n**2, 2) * rich**2 <= unsafe
    assert whole or not connected
    assert (plan.min_honest == n - plan.corrupt - plan.dropped) == whole


@pytest.mark.parametrize("n", [100, 1000, 10**6])
@pytest.mark.parametrize(("corrupt", "dropout"), [(0.0, 0.33), (0.05, 0.05), (0.1, 0.3), (0.33, 0.05)])
def test_connected_plans_have_as_few_neighbours_as_can_be(n, corrupt, dropout):
    plan = harary_graph(n, adversary="semi_malicious", corrupt=corrupt, dropout=dropout, connected=True)
    published = harary_graph(n, adversary="semi_malicious", corrupt=corrupt, dropout=dropout)
    assert published.neighbours <= plan.neighbours <= 1.4 * published.neighbours
    assert published == plan if not corrupt else published.min_honest < plan.min_honest
    law, alive = Tails(n).law(plan.corrupt), Tails(n).law(n - plan.dropped)
    for k in range(published.neighbours, plan.neighbours, 2):
        t = alive.tail(k, -CORRECTNESS_BITS, lower=True)
        rich = law.pmf(k // 2)[t - k // 2 :].sum()
        assert n**2 / 2 * rich**2 > 2.0 ** -(SECURITY_BITS + 1) or 2 * t <= k + k - law.tail(k, -(SECURITY_BITS + 1))


def test_two_rich_runs_are_as_rare_as_is_counted():
    for n, half, bad in product((7, 10), (1, 2, 3), (1, 2, 3, 4)):
        runs = [{(start + i) % n for i in range(half)} for start in range(n)]
        sets = list(map(set, combinations(range(n), bad)))
        for rich in range(1, half + 1):
            hit = sum(
                any(not a & b and len(a & corrupt) >= rich <= len(b & corrupt) for a, b in combinations(runs, 2))
                for corrupt in sets
            )
            once = oracle.tail(n, bad, half, range(rich, half + 1))
            assert Fraction(hit, len(sets)) <= Fraction(n**2, 2) * once**2


@pytest.mark.parametrize(("n", "k", "bad"), [(10, 2, 2), (8, 2, 3), (9, 4, 1), (10, 4, 3)])
def test_one_list_splits_only_at_two_runs_of_corrupt_parties(n, k, bad):
    graph, half, split = oracle.ring(n, k), k // 2, set()
    runs = [{(start + i) % n for i in range(half)} for start in range(n)]
    for corrupt in combinations(range(1, n), bad):
        traitors, honest = set(corrupt), set(range(n)) - set(corrupt)
        t1 = max(len(graph[v] & traitors) for v in honest)
        for t in range(t1 + 1, k + 1):
            rich = [run for run in runs if len(run & traitors) >= t - half]
            pair = any(not a & b for a, b in combinations(rich, 2))
            for gone in oracle.subsets(honest):
                lists = dict.fromkeys(honest, set(range(n)) - gone)
                sums = list(oracle.visible(graph, traitors, lists, t))
                assert pair or all(together == honest - gone for together in sums)
                split |= {pair} if len(sums) > 1 else set()
    assert split == {True}


@pytest.mark.parametrize(("k", "corrupt", "x"), [(2, 2, 1), (2, 3, 0), (4, 3, 2)])
def test_a_random_partys_neighbourhood_is_a_uniform_subset(k, corrupt, x):
    n = 6
    graph, orders = oracle.ring(n, k), list(permutations(range(n)))
    more = sum(sum(order[place] < corrupt for place in graph[v]) > x for order in orders for v in range(n))
    assert Fraction(more, len(orders)) == n * oracle.tail(n, corrupt, k, range(x + 1, k + 1))


@given(
    n=st.integers(3, 2**31),
    corrupt=st.integers(0, 99),
    dropout=st.integers(0, 99),
    adversary=st.sampled_from(["semi_honest", "malicious"]),
)
def test_complete_graph_is_what_the_rules_say(n, corrupt, dropout, adversary):
    bad, dropped = corrupt * n // 100, dropout * n // 100
    sound = n - dropped - bad >= 2 and n - dropped >= 2 and not (corrupt and not bad)
    if adversary == "malicious":
        sound = sound and 2 * (n - dropped) > n + bad
    try:
        plan = complete_graph(n, adversary=adversary, corrupt=corrupt / 100, dropout=dropout / 100)
    except ParameterError:
        assert not sound
    else:
        assert sound
        t = n - dropped
        assert plan == Thresholds(n - 1, t, True, t, t - bad, bad, dropped)


def test_split_views_open_both_secrets_only_below_the_malicious_threshold():
    opened = set()
    for n, bad, dropped in product(range(3, 13), range(4), range(8)):
        for adversary in ("semi_honest", "malicious"):
            try:
                plan = complete_graph(n, adversary=adversary, corrupt=bad / n, dropout=(dropped + 0.5) / n)
            except ParameterError:
                continue
            assert (plan.corrupt, plan.dropped) in {(bad, dropped), (bad - 1, dropped)}
            honest, bad_shares = n - plan.corrupt, plan.corrupt
            both = any(
                bad_shares + told >= plan.threshold and bad_shares + honest - told >= plan.threshold
                for told in range(honest + 1)
            )
            assert not (both and adversary == "malicious")
            opened |= {adversary} if both else set()
    assert opened == {"semi_honest"}


@pytest.mark.parametrize(("lying", "corrupt", "dropout", "n", "row"), [row for row in ROWS if row[0]])
def test_no_split_of_the_neighbours_opens_both_secrets(lying, corrupt, dropout, n, row):
    k, t, t1 = _search(n, math.floor(Fraction(str(corrupt)) * n), math.floor(Fraction(str(dropout)) * n), lying=lying)
    assert max(min(t1 + told, k - told) for told in range(k - t1 + 1)) < t
    # a share of its own seed would be one more of one kind: plans without a margin say that there is none
    own = max(min(t1 + told + 1, k - told) for told in range(k - t1 + 1))
    assert own < t or (k + t1) % 2


@pytest.mark.parametrize(("n", "k", "bad"), [(8, 4, 0), (8, 4, 1), (9, 6, 1), (9, 4, 2)])
def test_any_one_list_leaves_min_honest_together(n, k, bad):
    graph, beyond = oracle.ring(n, k), set()
    for corrupt in combinations(range(1, n), bad):
        traitors, honest = set(corrupt), set(range(n)) - set(corrupt)
        t1 = max(len(graph[v] & traitors) for v in honest)
        for gone, t in product(oracle.subsets(set(range(n))), range(t1 + 1, k + 1)):
            lists = dict.fromkeys(honest, set(range(n)) - gone)
            beyond |= {len(together) - (t - t1 + 1) for together in oracle.visible(graph, traitors, lists, t)}
    assert min(beyond) == 0, "never fewer, and so few are reached"


@pytest.mark.parametrize(("n", "corrupt", "dropout", "cut"), [(100, 0.05, 0.33, True), (100, 0.05, 0.05, False)])
def test_two_lists_cut_out_a_single_party(n, corrupt, dropout, cut):
    plan = harary_graph(n, adversary="semi_malicious", corrupt=corrupt, dropout=dropout)
    assert oracle.can_cut_out_place_0(n, plan.neighbours, plan.threshold) is cut
    assert plan.min_honest > 2, "which holds for one list only, as the docstring says"


@pytest.mark.parametrize(
    ("call", "arguments", "match"),
    [
        (complete_graph, (2, "malicious", 0.0, 0.0), "num_parties must be in"),
        (complete_graph, (10, "semi_malicious", 0.0, 0.0), "adversary must be"),
        (harary_graph, (10, "malicious", 0.0, 0.0), "adversary must be"),
        (complete_graph, (8, "malicious", 0.1, 0.0), "less than one of 8 parties"),
        (harary_graph, (8, "semi_honest", 0.1, 0.0), "less than one of 8 parties"),
        (complete_graph, (9, "malicious", 0.4, 0.4), "no threshold t with 2 t > num_parties"),
        (complete_graph, (10, "malicious", 0.0, 0.5), "no threshold t with 2 t > num_parties"),
        (complete_graph, (4, "semi_honest", 0.25, 0.5), "both must be at least 2"),
        (complete_graph, (10, "semi_honest", 0.0, 0.9), "both must be at least 2"),
        (complete_graph, (10, "semi_honest", 0.9, 0.9), "a sum of 0 honest inputs"),
        (harary_graph, (1000, "semi_honest", 0.5, 0.41), r"corrupt \+ dropout must be at most 0.9, got 0.91"),
        (harary_graph, (1000, "semi_malicious", 0.31, 0.3), r"corrupt \+ 2 \* dropout must be at most 0.9"),
        (harary_graph, (3, "semi_honest", 0.34, 0.34), "both must be at least 2"),
        (harary_graph, (3, "semi_malicious", 0.67, 0.0), "both must be at least 2"),
        (harary_graph, (10, "semi_honest", 1.0, 0.0), "corrupt must be in"),
        (harary_graph, (10, "semi_honest", 0.0, -0.1), "dropout must be in"),
        (harary_graph, (10.0, "semi_honest", 0.0, 0.0), "num_parties must be an integer"),
        (partial(harary_graph, connected=1), (10, "semi_malicious", 0.0, 0.0), "connected must be a bool"),
    ],
)
def test_what_promises_nothing_is_refused(call, arguments, match):
    n, adversary, corrupt, dropout = arguments
    with pytest.raises(ParameterError, match=match):
        call(n, adversary=adversary, corrupt=corrupt, dropout=dropout)


def test_fractions_at_the_edge_are_read_as_typed():
    # 0.7 + 0.1 + 0.1 is 0.8999999999999999 in floats, and 0.3 + 0.6 likewise; 0.9 itself is allowed
    for corrupt, dropout in ((0.1, 0.4), (0.3, 0.3), (0.7, 0.1)):
        harary_graph(1000, adversary="semi_malicious", corrupt=corrupt, dropout=dropout)
    with pytest.raises(ParameterError, match=r"must be at most 0\.9"):
        harary_graph(1000, adversary="semi_honest", corrupt=0.45, dropout=0.450001)
    assert complete_graph(100, adversary="malicious", corrupt=0.29, dropout=0.29).corrupt == 29


@pytest.mark.parametrize(("n", "b", "wrap", "bits"), [(3, 1, False, 2), (100, 16, False, 23), (3, 64, True, 64)])
def test_modulus(n, b, wrap, bits):
    assert modulus_bits(n, b, wrap=wrap) == bits


def test_a_sum_that_does_not_fit_is_refused():
    assert modulus_bits(4, 62, wrap=False) == 64
    with pytest.raises(CapacityError, match="must fit 64 bits"):
        modulus_bits(5, 62, wrap=False)
    with pytest.raises(ParameterError, match="value_bits must be in"):
        modulus_bits(5, 65, wrap=True)
    with pytest.raises(ParameterError, match="wrap must be a bool"):
        modulus_bits(5, 8, wrap=1)
