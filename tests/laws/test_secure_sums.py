"""Laws that secure sums keep: exhaustively in small worlds, by counting elsewhere, by chance only at full size."""

from __future__ import annotations

from collections import Counter
from itertools import chain, combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from secagg import (
    BFVSum,
    FixedPoint,
    PlainSum,
    SecAgg,
    SecAggPlus,
    ThresholdSum,
    offset_decode,
    offset_encode,
    simulate,
)
from secagg.masking import keys as keys_module
from secagg.masking import opening as opening_module
from secagg.masking.keys import self_mask_key
from secagg.masking.masks import mask
from secagg.masking.packing import unpack_bits
from secagg.masking.secrets import PartySecrets
from secagg.masking.shamir import PRIME, join, split
from tests.oracles.masked_sessions import Play, body_of, fork, outcome, secrets_of
from tests.secagg.wires import Stream, exact_sum

TASK, SESSION, KEY = bytes([7]) * 32, bytes([8]) * 32, bytes(range(32))


def masked(kind, adversary, n, dim=2, bits=8, *, dropout=0.0, wrap=False):
    return kind.plan(n, dim, bits, adversary=adversary, corrupt=0.0, dropout=dropout, wrap=wrap)


def subsets(items):
    return chain.from_iterable(combinations(items, size) for size in range(len(items) + 1))


# Drop-outs, parties, orders


@pytest.mark.parametrize("adversary", ["semi_honest", "malicious"])
@pytest.mark.parametrize(("n", "dropout"), [(3, 0.34), (4, 0.25), (5, 0.4)])
def test_whoever_drops_out_in_a_round_the_sum_is_exact_or_does_not_come(adversary, n, dropout):
    """Every subset of three to five parties, in every round."""
    plan, seen = masked(SecAgg, adversary, n, dropout=dropout), Counter()
    play = Play.of(plan)
    for name in plan.rounds:
        before = fork(play.until(name))
        for gone in subsets(range(n)):
            expected = outcome(plan, before.server._graph.neighbours, {name: gone})
            assert fork(before).played_out({name: gone}) == expected
            seen["none" if isinstance(expected, str) else "sum"] += 1
    assert seen["sum"] + seen["none"] == len(plan.rounds) * 2**n
    assert min(seen.values()) >= len(plan.rounds)


@pytest.mark.parametrize("adversary", ["semi_honest", "malicious"])
def test_whenever_each_of_three_drops_out_the_sum_is_exact_or_does_not_come(adversary):
    """Every round that each of them may be gone from, or never: every script that there is."""
    plan = masked(SecAgg, adversary, 3, dropout=0.34)
    first = Play.of(plan)
    near = first.server._graph.neighbours
    for leaves in product([None, *plan.rounds], repeat=3):
        script = {name: [party for party in range(3) if leaves[party] == name] for name in plan.rounds}
        assert fork(first).played_out(script) == outcome(plan, near, script)


PROTOCOLS = {
    "plain": (2, PlainSum.plan),
    "encrypted": (3, BFVSum.plan),
    "encrypted, for an opener": (3, lambda *size: BFVSum.plan(*size, key="public")),
    "masked": (3, lambda *size: masked(SecAgg, "semi_honest", *size)),
    "masked, malicious": (3, lambda *size: masked(SecAgg, "malicious", *size)),
    "graph": (5, lambda *size: masked(SecAggPlus, "semi_honest", *size)),
    "graph, semi-malicious": (5, lambda *size: masked(SecAggPlus, "semi_malicious", *size)),
    "threshold": (3, lambda *size: ThresholdSum.plan(*size, threshold=size[0], corrupt=0.0, dropout=0.0)),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_number_of_parties_has_its_exact_sum(protocol):
    fewest, make = PROTOCOLS[protocol]
    for n in (*range(fewest, 18), 33):
        plan, codec = make(n, 2, 12), FixedPoint(12, 1.0)
        vectors = codec.encode([[1.0, 1.0 - 2.0 * (party % 2)] for party in range(n)])
        total = simulate(plan, vectors, entropy=Stream(n)).total
        assert total.tolist() == exact_sum(vectors)
        assert (np.abs(codec.decode(total, n) - [n, n % 2]) <= n * codec.error_bound).all()


@given(seed=st.integers(0, 2**32), gone=st.sets(st.integers(0, 4), max_size=1))
def test_one_law(seed, gone):
    """The same offset-encoded integers, and the same parties gone: every protocol has the same total, to the bit."""
    signed = np.random.default_rng(seed).integers(-(2**11), 2**11, (5, 9))
    signed[0], signed[1] = -(2**11), 2**11 - 1
    vectors = offset_encode(signed, 12)
    left = [party for party in range(5) if party not in gone]
    plain = simulate(PlainSum.plan(len(left), 9, 12), vectors[left])
    lost = {"corrupt": 0.0, "dropout": 0.2}
    plans = [
        SecAgg.plan(5, 9, 12, adversary="semi_honest", **lost),
        SecAgg.plan(5, 9, 12, adversary="malicious", **lost),
        SecAggPlus.plan(5, 9, 12, adversary="semi_honest", **lost),
        BFVSum.plan(5, 9, 12, dropout=0.2),
        BFVSum.plan(5, 9, 12, key="public", dropout=0.2),
        ThresholdSum.plan(5, 9, 12, threshold=4, **lost),
    ]
    assert offset_decode(plain.total, len(left), 12).tolist() == signed[left].sum(axis=0).tolist()
    for plan in plans:
        result = simulate(plan, vectors, dropouts={"masked_input": sorted(gone)}, entropy=Stream(seed))
        assert result.survivors == left
        assert result.total.tobytes() == plain.total.tobytes()


@pytest.mark.parametrize("adversary", ["semi_honest", "malicious"])
def test_masked_sums_do_not_depend_on_the_order_of_delivery(adversary):
    """Each round's messages of four parties in all orders, to the server and from it: byte for byte the same."""
    first = Play.of(masked(SecAgg, adversary, 4, dropout=0.25))
    straight = fork(first)
    straight.finish()
    for name in first.plan.rounds:
        first.until(name)
        for order in permutations(range(4)):
            play = fork(first)
            play.send(order)
            messages = play.close()
            play.hear({party: messages[party] for party in reversed(order) if party in messages})
            result = play.finish()
            assert result.total.tolist() == play.expected(range(4))
            assert sorted(play.up) == sorted(straight.up)
            assert sorted(play.down) == sorted(straight.down)


# Masks


@pytest.mark.parametrize("plan", [masked(SecAgg, "semi_honest", 4), masked(SecAggPlus, "semi_honest", 5)])
def test_pair_masks_cancel_for_any_numbers_in_any_order(plan):
    """Parties with gaps between their numbers, beyond a byte and beyond two, met in every order."""
    layout, modulus = plan._layout, 1 << plan.modulus_bits
    everybody = {party: PartySecrets(bytes([i + 1]) * 32, TASK, party, layout) for i, party in enumerate(NUMBERS)}
    zeros = np.zeros(plan.dim, dtype=np.uint64)
    for who in subsets(NUMBERS):
        for turn in range(max(1, len(who))):
            total = np.zeros(plan.dim, dtype=np.int64)
            for party in who[turn:] + who[:turn]:
                others = {other: everybody[other].public for other in who[turn:] + who[:turn] if other != party}
                sent = unpack_bits(everybody[party].masked(zeros, others, SESSION)[32:], plan.dim, plan.modulus_bits)
                own = self_mask_key(everybody[party]._shared[1], session=SESSION, party=party)
                total += sent.astype(np.int64) - mask(own, plan.dim, modulus=modulus).astype(np.int64)
            assert not (total % modulus).any()


NUMBERS = (0, 1, 255, 256, 70_000)


def test_every_bit_of_a_seed_counts():
    """No two of 257 seeds that differ in one bit or two have a word of their masks, or a key, in common."""
    plan = masked(SecAgg, "semi_honest", 3)
    number = int.from_bytes(KEY, "little")
    seeds = [number.to_bytes(32, "little"), *((number ^ 1 << bit).to_bytes(32, "little") for bit in range(256))]
    words = np.concatenate([mask(seed, 4, modulus=2**64) for seed in seeds])
    assert len(np.unique(words)) == 4 * 257
    publics = [PartySecrets(seed, TASK, 0, plan._layout).public for seed in seeds]
    assert len({half for public in publics for half in (public[:32], public[32:])}) == 2 * 257


def test_seeds_that_fold_to_the_same_word_have_other_masks():
    """Seeds that differ by one word in two places: alike to a generator that is seeded with the XOR of its words."""
    words = np.frombuffer(KEY, dtype="<u4")
    rows = []
    for one, two in combinations(range(8), 2):
        changed = words.copy()
        changed[[one, two]] ^= np.uint32(0xDEADBEEF)
        assert np.bitwise_xor.reduce(changed) == np.bitwise_xor.reduce(words)
        rows.append(mask(changed.tobytes(), 8, modulus=2**64))
    assert len(np.unique([mask(KEY, 8, modulus=2**64), *rows])) == 8 * 29


def test_no_key_seals_two_shares_under_one_nonce(monkeypatch):
    """Ten thousand sealed shares of a hundred parties: every pair of key and nonce seals once and opens once."""
    sealed, opened = Counter(), Counter()

    class Counted:
        def __init__(self, key):
            self._key, self._cipher = key, real(key)

        def encrypt(self, nonce, data, about):
            sealed[self._key, nonce] += 1
            return self._cipher.encrypt(nonce, data, about)

        def decrypt(self, nonce, data, about):
            opened[self._key, nonce] += 1
            return self._cipher.decrypt(nonce, data, about)

    real = keys_module.ChaCha20Poly1305
    monkeypatch.setattr(keys_module, "ChaCha20Poly1305", Counted)
    Play.of(masked(SecAgg, "semi_honest", 101, dim=1)).until("unmask")
    assert len(sealed) == 101 * 100
    assert set(sealed.values()) == {1}
    assert opened == sealed


@pytest.mark.parametrize("adversary", ["semi_honest", "malicious"])
def test_no_session_key_or_result_shows_a_secret(adversary):
    """In the repr of whatever a round leaves behind: no eight bytes of a secret, and no entry of the input."""
    play = Play.of(masked(SecAgg, adversary, 4, dim=8, bits=32, dropout=0.25))
    secrets = [secret for client in play.clients for secret in secrets_of(client)]
    inputs = [vector.astype("<u4").tobytes() for vector in play.vectors[:, 1:-1]]
    windows = {secret[i : i + 8] for secret in secrets for i in range(len(secret) - 7)}
    windows |= {row[i : i + 4] for row in inputs for i in range(0, len(row), 4)}
    written = {form for part in windows for form in (part.hex(), repr(part)[2:-1], str(list(part))[1:-1])}
    written |= {str(value) for value in play.vectors[:, 1:-1].ravel().tolist()}
    while True:
        shown = " ".join(map(repr, (*play.clients, play.server, play.keys, *play.keys.clients, play.plan)))
        shown += " ".join(repr(client._secrets) for client in play.clients if hasattr(client, "_secrets"))
        assert [form for form in written if form in shown] == []
        if play.server.state != "collecting":
            break
        play.round()


@pytest.mark.statistical
@pytest.mark.parametrize("adversary", ["semi_honest", "malicious"])
def test_masked_coordinates_are_uniform_at_full_size_and_know_nothing_of_the_input(adversary):
    """32-bit entries in 256 bins by their highest and lowest byte, and beside each value of the input; chi-square."""
    plan = masked(SecAgg, adversary, 3, dim=1 << 18, bits=32, wrap=True)
    vectors = np.random.default_rng(1).choice(np.array([0, 1, 2**31, 2**32 - 1], dtype=np.uint64), (3, plan.dim))
    play = Play.of(plan, 6, vectors=vectors).until("masked_input")
    for party in range(3):
        sent = unpack_bits(body_of(play.pending[party])[32 : 32 + 4 * plan.dim], plan.dim, 32)
        for byte in (sent >> np.uint64(24), sent & np.uint64(255)):
            assert _even(byte, 256)
        # each of the four values of the input goes with every value of the top bits equally often
        kinds = np.searchsorted(np.unique(vectors[party]), vectors[party])
        for kind in range(4):
            assert _even((sent >> np.uint64(26))[kinds == kind], 64)


def _even(values, bins):
    """Whether a chi-square test at 1e-9 takes them for uniform."""
    counts = np.bincount(values.astype(np.int64), minlength=bins)
    expected = len(values) / bins
    return chi2.sf(((counts - expected) ** 2 / expected).sum(), bins - 1) > 1e-9


# Shares, and the work of opening


@pytest.mark.parametrize("threshold", [2, 3, 5])
def test_shares_of_two_secrets_add_to_shares_of_their_sum(threshold):
    """Limb by limb modulo the prime, and for every set of holders that is large enough."""
    drawn = np.random.default_rng(threshold).integers(0, 256, (2, 4, 32)).astype(np.uint8)
    drawn[1] &= ~drawn[0]  # no limb carries into the next
    points = [3, 1, 7, 200, 65_000]
    one, two = (split(secret, points, threshold, bytes([i]) * 32) for i, secret in enumerate(drawn))
    for who in chain.from_iterable(combinations(range(5), size) for size in range(threshold, 6)):
        added = (one[:, list(who)].astype(np.uint64) + two[:, list(who)]) % PRIME
        assert (join(added.astype(one.dtype), [points[i] for i in who], threshold) == drawn[0] + drawn[1]).all()


@pytest.mark.parametrize("kind", [SecAgg, SecAggPlus])
def test_opening_takes_off_one_mask_for_each_survivor_and_each_edge_to_who_is_gone(kind, monkeypatch):
    """Counted: no pass over the vector more, whatever its length, and no key agreed on for an edge between two gone."""
    whole, passes = opening_module.add_mask, Counter()

    def add(total, key, *, modulus, sign):
        passes[total.size] += 1
        whole(total, key, modulus=modulus, sign=sign)

    monkeypatch.setattr(opening_module, "add_mask", add)
    for dim, gone in product((1, 5000), ([], [1], [1, 2], [1, 5, 9])):
        play = Play.of(masked(kind, "semi_honest", 12, dim=dim, dropout=0.25), 3).until("masked_input")
        near, left = play.server._graph.neighbours, [party for party in range(12) if party not in gone]
        passes.clear()
        assert play.played_out({"masked_input": gone}) == set(left)
        edges = sum(other in left for party in gone for other in near(party))
        assert passes == {dim: len(left) + edges}
