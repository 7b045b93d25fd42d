"""Sums of reals: the error bound held and of use, the flood there, and faults that end in a typed error."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import tenseal as ts
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants import Ledger
from dpkit import DiscreteGaussianMechanism, FlatClip
from dpkit.entropy import seeded
from dpkit.errors import DPKitError
from dpkit.federated import private_mean
from secagg import (
    BFVSum,
    CapacityError,
    DecodeError,
    FixedPoint,
    LocalProtocolError,
    ParameterError,
    PeerProtocolError,
    State,
    TooFewSurvivorsError,
    simulate,
)
from secagg.envelope import OVERHEAD, Kind
from secagg.he import CKKSSum, ServerKeys
from secagg.he.precision import MIN_FLOOD_BITS
from secagg.he.seal import blob_limit
from secagg.he.work import join_blobs, split_blobs
from tests.secagg.test_slots import plain_coefficients
from tests.secagg.wires import Network, Stream

LOOSE, TIGHT = 0.05, 1e-6
"""Errors, in units of clip for a handful of parties, that need one prime and two."""


def reals(plan: CKKSSum, seed: int) -> np.ndarray:
    """Uniform vectors, with both ends of the range among them."""
    drawn = np.random.default_rng(seed).uniform(-plan.clip, plan.clip, (plan.num_parties, plan.dim))
    drawn[0, 0], drawn[:, -1] = -plan.clip, plan.clip
    return drawn


def sums(vectors: np.ndarray) -> np.ndarray:
    """The sums, rounded once each."""
    return np.array([math.fsum(column) for column in vectors.T])


def off(total: np.ndarray, vectors: np.ndarray) -> float:
    return float(np.abs(total - sums(vectors)).max())


@settings(max_examples=20)
@given(
    parties=st.integers(3, 12),
    dim=st.integers(1, 9000),
    clip=st.floats(1e-6, 1e6),
    error=st.sampled_from([LOOSE, 1e-3, TIGHT]),
    seed=st.integers(0, 2**32),
)
def test_error_bound_holds(parties, dim, clip, error, seed):
    plan = CKKSSum.plan(parties, dim, clip=clip, error=error * clip * parties)
    vectors = reals(plan, seed)
    result = simulate(plan, vectors)
    assert result.total.dtype == np.float64
    assert off(result.total, vectors) <= plan.error_bound <= plan.error
    assert result.survivors == list(range(parties))


def _largest_coefficient(plan: CKKSSum) -> np.ndarray:
    """The vector of which one coefficient is the largest that any has: slots turn with a power of X, at 45 degrees."""
    degree = plan.values_per_chunk
    angles = np.array([pow(3, slot, 2 * degree) * (degree // 4) % (2 * degree) for slot in range(degree // 2)])
    turned = np.exp(1j * np.pi * angles / degree)
    return plan.clip * np.sign(np.stack((turned.real, turned.imag), axis=1).reshape(-1))


@pytest.mark.parametrize("error", [LOOSE, TIGHT])
@pytest.mark.parametrize("sign", ["all up", "all down", "alternating", "by party", "zero", "largest coefficient"])
def test_error_bound_holds_at_the_extremes(error, sign):
    plan = CKKSSum.plan(6, 8192, clip=1.0, error=6 * error)
    places, parties = np.arange(8192), np.arange(6)[:, None]
    vectors = {
        "all up": np.ones((6, 8192)),
        "all down": -np.ones((6, 8192)),
        "alternating": np.tile(1.0 - 2.0 * (places % 2), (6, 1)),
        "by party": np.where(parties % 2, 1.0, -1.0) + np.zeros(8192),
        "zero": np.zeros((6, 8192)),
        "largest coefficient": np.tile(np.resize(_largest_coefficient(plan), 8192), (6, 1)),
    }[sign]
    total = simulate(plan, vectors).total
    assert off(total, vectors) <= plan.error_bound
    # the bound is of use: a sum of eight thousand entries comes near it
    assert plan.error_bound <= 100 * off(total, vectors)


@pytest.mark.parametrize("error", [LOOSE, TIGHT])
def test_no_sum_wraps_at_the_largest_coefficients(error):
    # the scale is a power of two, so how full the modulus gets hangs on clip; this one fills it
    best = max(np.linspace(0.51, 1.0, 50), key=lambda clip: _fill(CKKSSum.plan(12, 4096, clip=clip, error=12 * error)))
    plan = CKKSSum.plan(12, 4096, clip=best, error=12 * error)
    assert _fill(plan) > 0.95
    vectors = np.tile(np.resize(_largest_coefficient(plan), 4096), (12, 1))
    assert off(simulate(plan, vectors).total, vectors) <= plan.error_bound


def _fill(plan: CKKSSum) -> float:
    """How much of half the modulus the largest coefficient takes."""
    precision = plan._precision
    largest = plan.num_parties * math.sqrt(2) * float(precision.reach) * 2.0**precision.scale_bits
    return (largest + 1.5 * precision.width) / (precision.ring.modulus / 2)


@pytest.mark.parametrize("error", [LOOSE, TIGHT])
def test_every_length_around_a_chunk_is_opened(error):
    degree = CKKSSum.plan(3, 1, clip=1.0, error=3 * error).values_per_chunk
    for dim in (1, 2, 3, degree - 1, degree, degree + 1, 2 * degree, 2 * degree + 1):
        plan = CKKSSum.plan(3, dim, clip=1.0, error=3 * error)
        assert plan.chunks == -(-dim // degree)
        vectors = reals(plan, dim)
        total = simulate(plan, vectors).total
        assert total.shape == (dim,)
        assert off(total, vectors) <= plan.error_bound


def test_a_vector_is_left_as_it_was_and_forgotten():
    plan = CKKSSum.plan(3, 100, clip=1.0, error=LOOSE)
    vectors = reals(plan, 1)
    before = vectors.copy()
    network = Network.started(plan, vectors)
    assert np.array_equal(vectors, before)
    assert all(client._input is None for client in network.clients)


def test_all_parties_open_one_total_and_asking_again_gives_no_second_noise():
    plan = CKKSSum.plan(5, 5000, clip=1.0, error=LOOSE)
    network = Network.started(plan, reals(plan, 2))
    totals = []
    for party, payload in network.closed().items():
        network.clients[party].receive(payload, "server")
        result = network.clients[party].result()
        assert network.clients[party].result() is result
        totals.append(result.total.tobytes())
    assert len(set(totals)) == 1


def test_totals_of_two_sums_differ_by_fresh_noise():
    plan = CKKSSum.plan(5, 4096, clip=1.0, error=LOOSE, dropout=0.4)
    vectors = reals(plan, 3)
    network = Network.started(plan, vectors)
    opened = []
    for parties in ([0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 4]):
        server = plan.server(keys=network.keys.server)
        server.start()
        for party in parties:
            server.receive(network.up[party], party)
        client = plan.client(0, keys=network.keys.clients[0])
        client.set_input(vectors[0])
        client.start()
        client.receive(server.close_round()[0].payload, "server")
        opened.append(client.result().total - sums(vectors[parties]))
    for one, two in ((0, 1), (0, 2), (1, 2)):
        # independent: the difference has the variance of two floods, not the little of one ciphertext's noise
        assert 1.2 <= (opened[one] - opened[two]).std() / opened[one].std() <= 1.6


@pytest.mark.parametrize("error", [LOOSE, TIGHT])
def test_the_flood_is_in_the_total_at_its_planned_size(error):
    plan = CKKSSum.plan(5, 8192, clip=1.0, error=5 * error)
    vectors = reals(plan, 4)
    network = Network.started(plan, vectors)
    body = network.clients[0]._channel.unwrap(Kind.SUM, network.closed()[0], peer="server")
    total = network.open_body(body).total
    work, precision = network.clients[1]._work, plan._precision
    blobs = split_blobs(body[1:], plan.chunks)
    bare = [work._cipher.decrypt(work._backend.load(blob, precision.ring.full_bytes)) for blob in blobs]
    noise = total - np.concatenate(bare).view(float)
    # three uniform integers of variance m²/12, over N coefficients of which each entry sees half the squares
    stddev = precision.width / 2 * math.sqrt(precision.ring.degree / 2) / 2.0**precision.scale_bits
    # the sample variance of 8192 sums of thousands of terms: 7 standard deviations are 1e-11
    assert abs(noise.var() / stddev**2 - 1) <= 7 * math.sqrt(2 / 8192)
    assert plan.flood_bits >= MIN_FLOOD_BITS
    # 2^30 times the noise that it hides, of one coefficient, and more by the root of all
    hidden = math.sqrt(10.5 * plan.num_parties * precision.ring.degree / 2) / 2.0**precision.scale_bits
    assert stddev >= 2**MIN_FLOOD_BITS * hidden * math.sqrt(8192 * 3) / 2 * 0.99


def test_drop_outs_are_left_out():
    plan = CKKSSum.plan(6, 300, clip=2.0, error=LOOSE, dropout=0.5)
    vectors = reals(plan, 5)
    assert (plan.min_survivors, plan.min_honest) == (3, 2)
    for gone in ([], [0], [5, 1], [0, 2, 4]):
        left = [party for party in range(6) if party not in gone]
        result = simulate(plan, vectors, dropouts={"masked_input": gone})
        assert result.survivors == left
        assert off(result.total, vectors[left]) <= plan.error_bound
    with pytest.raises(TooFewSurvivorsError):
        simulate(plan, vectors, dropouts={"masked_input": [0, 1, 2, 3]})


def test_the_order_of_arrival_changes_nothing_but_noise():
    plan = CKKSSum.plan(5, 300, clip=1.0, error=LOOSE)
    vectors = reals(plan, 6)
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 1, 3]):
        network = Network.started(plan, vectors)
        network.clients[3].receive(network.closed(order)[3], "server")
        result = network.clients[3].result()
        assert result.survivors == [0, 1, 2, 3, 4]
        assert off(result.total, vectors) <= plan.error_bound


def test_a_second_message_and_a_late_one_are_refused():
    plan = CKKSSum.plan(4, 10, clip=1.0, error=LOOSE, dropout=0.25)
    network = Network.started(plan, reals(plan, 7))
    for party in range(3):
        network.server.receive(network.up[party], party)
    with pytest.raises(PeerProtocolError, match="already"):
        network.server.receive(network.up[1], 1)
    with pytest.raises(DecodeError):
        network.server.receive(network.up[1], 3)
    network.server.close_round()
    with pytest.raises(PeerProtocolError, match="late"):
        network.server.receive(network.up[3], 3)
    with pytest.raises(LocalProtocolError, match="cannot open"):
        network.server.result()


@settings(max_examples=8)
@given(parties=st.integers(3, 6), dim=st.integers(1, 20_000), error=st.sampled_from([LOOSE, TIGHT]))
def test_bytes_stay_within_the_formula(parties, dim, error):
    plan = CKKSSum.plan(parties, dim, clip=1.0, error=error * parties)
    ring = plan._precision.ring
    result = simulate(plan, reals(plan, 0))
    assert plan.bytes_up == OVERHEAD + plan.chunks * (4 + blob_limit(ring.seeded_bytes))
    for bound, measured in ((plan.bytes_up, result.bytes_up), (plan.bytes_down, result.bytes_down)):
        assert (measured <= bound).all()
        # a bound of use: compression gains at most the idle bits of each prime's 64
        assert (measured > bound * (ring.primes[0].bit_length() / 64) * 0.99 - 200).all()


def test_two_values_to_a_slot_weigh_twice_float32():
    lean = CKKSSum.plan(15, 1_000_000, clip=1.0, error=0.5)
    assert lean.modulus_bits == 60
    assert lean.bytes_up <= 2.05 * 4 * lean.dim
    fine = CKKSSum.plan(15, 1_000_000, clip=1.0, error=1e-3)
    assert fine.modulus_bits == 80
    assert fine.bytes_up <= 4.1 * 4 * fine.dim


@pytest.fixture(scope="module")
def plan():
    return CKKSSum.plan(5, 5000, clip=1.0, error=LOOSE, dropout=0.4)


@pytest.fixture(scope="module")
def vectors(plan):
    return reals(plan, 8)


@pytest.fixture
def network(plan, vectors):
    return Network.started(plan, vectors)


def test_no_secret_is_on_the_wire_or_in_a_repr(network):
    down = network.closed()
    wire = b"".join([*network.up, *down.values()])
    windows = {wire[i : i + 8] for i in range(len(wire) - 7)}
    for keys in network.keys.clients[:2]:
        for secret in (keys.secret_key[128:2000], keys.group_key, keys.link_key):
            assert not any(secret[i : i + 8] in windows for i in range(len(secret) - 7))
    assert set(ServerKeys.__slots__) == {"session", "link_keys"}


def test_ciphertexts_of_equal_inputs_differ_even_with_seeded_entropy(plan, vectors):
    keys = plan.keygen(Stream(1))
    same = np.tile(vectors[0], (5, 1))
    bodies = {Network.started(plan, same, keys).body(party) for party in range(2)}
    bodies |= {Network.started(plan, same, keys).body(party) for party in range(2)}
    assert len(bodies) == 4
    again = plan.keygen(Stream(1))
    assert again.server == keys.server
    assert again.clients[0].secret_key != keys.clients[0].secret_key


def test_ciphertexts_of_another_key_do_not_open(plan, vectors, network):
    keys = list(network.keys.clients)
    keys[2] = replace(keys[2], secret_key=plan.keygen().clients[2].secret_key)
    mixed = Network.started(plan, vectors, replace(network.keys, clients=tuple(keys)))
    mixed.clients[0].receive(mixed.closed()[0], "server")
    with pytest.raises(DecodeError, match="did not verify"):
        mixed.clients[0].result()
    # one attempt
    assert mixed.clients[0].state is State.ABORTED
    with pytest.raises(LocalProtocolError):
        mixed.clients[0].result()


def test_messages_of_another_session_or_plan_are_refused(plan, vectors, network):
    other = Network.started(plan, vectors)
    narrower = replace(plan, error=plan.error / 2)
    for payload in (other.up[0], Network.started(narrower, vectors).up[0]):
        with pytest.raises(DecodeError):
            network.server.receive(payload, 0)
    server = narrower.server(keys=network.keys.server)
    server.start()
    with pytest.raises(DecodeError):
        server.receive(network.up[0], 0)


def test_a_lying_server_is_not_found_out_and_the_promise_says_so(plan, vectors, network):
    """What an exact sum's tag would catch: one party passed off as three."""
    work = network.clients[1]._work
    blobs = split_blobs(network.body(1), plan.chunks)
    loaded = [work._backend.load(blob, plan._precision.ring.seeded_bytes) for blob in blobs]
    body = b"\x07" + join_blobs(map(work._backend.save, loaded))
    total = network.open_body(body).total
    assert np.abs(total - vectors[1]).max() <= plan.error_bound
    assert "a server that lies" in plan.promise
    assert "NOT found out" in plan.promise
    assert "follows the protocol" in plan.promise


def _made_up(plan: CKKSSum, cipher) -> bytes:
    """A sum's body for the first three parties: a ciphertext, and behind it some that decrypt to very little."""
    harmless = plan._backend._pair(np.zeros(plan.values_per_chunk, dtype=np.int64))
    return b"\x07" + join_blobs(map(plan._backend.save, [cipher] + [harmless] * (plan.chunks - 1)))


def test_a_lying_server_reads_the_key_off_one_total_and_the_promise_says_so(plan, network):
    """What decrypts to a multiple of the secret key: no flood that fits beside a sum hides that."""
    backend, width = plan._backend, plan._precision.width
    cipher, doublings = backend._pair(np.zeros(plan.values_per_chunk, dtype=np.int64)), width.bit_length() + 2
    for _ in range(doublings):
        backend.evaluator.add_inplace(cipher, cipher)
    total = network.open_body(_made_up(plan, cipher)).total[: plan.values_per_chunk]
    plain = backend.sealapi.Plaintext()
    backend.encoder.encode(total.view(complex).tolist(), 2.0**backend.scale_bits, plain)
    read = np.array(plain_coefficients(backend, plain, list(range(256))), dtype=object) / 2**doublings
    # a flood of three uniform integers is below 3/2 of its width, so below 3/8 of what multiplies the key
    assert np.abs(read - np.rint(read.astype(float))).max() < 0.5
    assert set(np.rint(read.astype(float)).tolist()) == {-1.0, 0.0, 1.0}
    assert "the secret key" in plan.promise


def test_a_sum_that_the_flood_would_leave_nothing_of_ends_in_a_typed_error(plan, network):
    backend = plan._backend
    cipher = backend._pair(np.zeros(plan.values_per_chunk, dtype=np.int64))
    backend.evaluator.negate_inplace(cipher)
    with pytest.raises(DecodeError, match="did not verify"):
        network.open_body(_made_up(plan, cipher))
    assert network.clients[0].state is State.ABORTED


@pytest.mark.parametrize("clip", [0.1, 0.7, 1 / 3, 1e-9, 123456.7])
def test_vectors_that_were_clipped_in_float32_are_summed(clip):
    plan = CKKSSum.plan(3, 64, clip=clip, error=clip * 5e-9)
    vectors = np.clip(np.random.default_rng(1).uniform(-2 * clip, 2 * clip, (3, 64)).astype(np.float32), -clip, clip)
    vectors[:, :2] = np.float32(clip)
    assert off(simulate(plan, vectors).total, vectors.astype(float)) <= plan.error_bound


@settings(max_examples=40)
@given(data=st.data())
def test_damaged_bodies_end_in_a_typed_error_or_within_range(plan, vectors, data):
    if not _CLOSED:
        network = Network.started(plan, vectors)
        body = network.clients[1]._channel.unwrap(Kind.SUM, network.closed()[1], peer="server")
        _CLOSED.append((network, body))
    network, body = _CLOSED[0]
    sent = data.draw(st.booleans())
    damaged = bytearray(network.body(0) if sent else body)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    if sent:
        server = plan.server(keys=network.keys.server)
        server.start()
        payload = server._channels[0].wrap(Kind.INPUT, bytes(damaged))
        try:
            server.receive(payload, 0)
        except DecodeError as error:
            assert error.peer == 0
            server.receive(network.up[0], 0)  # the sum is as it was, and takes the true message
        return
    client = plan.client(1, keys=network.keys.clients[1])
    client.set_input(vectors[1])
    client._state, client._input = State.WAITING, None  # as after start, without the cost of an encryption
    client.receive(client._channel.wrap(Kind.SUM, bytes(damaged)), "server")
    try:
        result = client.result()
    except DecodeError:
        assert client.state is State.ABORTED
    else:
        assert np.abs(result.total).max() <= len(result.survivors) * plan.clip + plan.error_bound


_CLOSED: list[tuple[Network, bytes]] = []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1.0000001, 1e308])
def test_inputs_out_of_range_are_refused_and_the_session_goes_on(plan, vectors, network, value):
    client = plan.client(0, keys=network.keys.clients[0])
    bad = vectors[0].copy()
    bad[17] = value
    with pytest.raises(ParameterError):
        client.set_input(bad)
    assert client.state is State.NEW
    client.set_input(vectors[0])
    assert client.state is State.READY


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((2, 10), {}),
        ((True, 10), {}),
        ((3.0, 10), {}),
        ((3, 0), {}),
        ((3, 10), {"clip": 0.0}),
        ((3, 10), {"clip": -1.0}),
        ((3, 10), {"clip": float("nan")}),
        ((3, 10), {"clip": float("inf")}),
        ((3, 10), {"clip": 1e-300}),
        ((3, 10), {"clip": 1e300}),
        ((3, 10), {"clip": "1"}),
        ((3, 10), {"error": 0.0}),
        ((3, 10), {"error": -1.0}),
        ((3, 10), {"error": float("nan")}),
        ((3, 10), {"error": True}),
        ((3, 10), {"dropout": 0.5}),
        ((10, 10), {"dropout": 1.0}),
    ],
)
def test_impossible_plans_are_refused(arguments, options):
    with pytest.raises(ParameterError):
        CKKSSum.plan(*arguments, **{"clip": 1.0, "error": 0.1} | options)


def test_errors_that_leave_no_room_for_a_flood_are_refused():
    with pytest.raises(CapacityError, match="error must be at least"):
        CKKSSum.plan(15, 1_000_000, clip=1.0, error=1e-12)
    with pytest.raises(CapacityError):
        replace(CKKSSum.plan(15, 1_000_000, clip=1.0, error=1.0), error=1e-12)
    with pytest.raises(TypeError):
        CKKSSum.plan(3, 10, clip=1.0, error=0.1, wrap=True)


@pytest.mark.parametrize("clip", [1e-250, 1e250, 0.5, 1.0])
def test_clips_of_any_size_and_powers_of_two(clip):
    plan = CKKSSum.plan(3, 8, clip=clip, error=clip * 1e-5)
    vectors = reals(plan, 9)
    assert 0.5 < plan._precision.reach <= 1
    assert off(simulate(plan, vectors).total, vectors) <= plan.error_bound <= plan.error


def test_attributes_and_promise(plan):
    assert (plan.rounds, plan.value_bits, plan.wrap) == (("masked_input",), 64, False)
    assert "fewer than 3 announced inputs" in plan.promise
    assert "reads everybody's vector" in plan.promise
    assert plan == CKKSSum.plan(np.int64(5), np.int32(5000), clip=np.float64(1), error=LOOSE, dropout=0.4)


def test_keys_are_checked(plan, network):
    keys = network.keys
    for bad in (None, keys.server, keys.clients[1], keys.clients[0].secret_key):
        with pytest.raises(ParameterError):
            plan.client(0, keys=bad)
    for bad in (None, keys.clients[0], ServerKeys(keys.server.session, keys.server.link_keys[:4])):
        with pytest.raises(ParameterError):
            plan.server(keys=bad)
    other = CKKSSum.plan(5, 5000, clip=1.0, error=TIGHT).keygen().clients[0].secret_key
    exact = BFVSum.plan(5, 10, 8).keygen().clients[0].secret_key
    for secret in (other, exact, b"", keys.clients[0].secret_key[:-1]):
        with pytest.raises(ParameterError):
            plan.client(0, keys=replace(keys.clients[0], secret_key=secret))
    with pytest.raises(ParameterError):
        plan.client(0, keys=keys.clients[0], guard=object())


def test_codecs_and_integer_vectors_are_refused(plan, vectors):
    with pytest.raises(ParameterError, match="codec must be None: CKKSSum takes reals"):
        simulate(plan, vectors, codec=FixedPoint(16, 1.0))
    with pytest.raises(ParameterError, match="floating dtype"):
        simulate(plan, np.zeros((5, 5000), dtype=np.int64))


def test_a_private_mean_is_refused_and_nothing_is_recorded():
    ledger = Ledger(relation="add_remove", unit="party")
    with pytest.raises(DPKitError, match="plan must sum integers exactly, got CKKSSum"):
        private_mean(
            [np.ones(4)] * 5,
            clip=FlatClip(1.0),
            mechanism=DiscreteGaussianMechanism(noise_multiplier=2.0),
            plan=CKKSSum.plan(5, 4, clip=1.0, error=LOOSE),
            denominator=5,
            ledger=ledger,
            entropy=seeded(1),
        )
    assert len(ledger) == 0


def test_progress_counts_the_ciphertexts(plan, vectors, network):
    sealed, opened = [], []
    client = plan.client(0, keys=network.keys.clients[0])
    client.set_input(vectors[0])
    client.start(lambda done, of: sealed.append((done, of)))
    client.receive(network.closed()[0], "server")
    client.result(lambda done, of: opened.append((done, of)))
    assert sealed == opened == [(1, 2), (2, 2)]


# What TenSEAL's vectors let happen silently, shown on them, and that it cannot happen here.


@pytest.fixture(scope="module")
def contexts():
    made = [ts.context(ts.SCHEME_TYPE.CKKS, 8192, -1, [60, 40, 60]) for _ in range(2)]
    for context in made:
        context.global_scale = 2**40
    return made


def test_sums_over_two_keys_are_garbage_there(contexts):
    """And refused here: ``test_ciphertexts_of_another_key_do_not_open``."""
    one, two = contexts
    foreign = ts.ckks_vector_from(one, ts.ckks_vector(two, [1.0, 2.0]).serialize())
    assert np.abs((ts.ckks_vector(one, [1.0, 2.0]) + foreign).decrypt()).max() > 1e6


def test_overflow_wraps_silently_there_and_is_refused_here():
    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, -1, [60, 60])
    context.global_scale = 2**40
    large = ts.ckks_vector(context, [2.0**18])
    assert (large + large).decrypt()[0] < 0
    plan = CKKSSum.plan(3, 1, clip=2.0**17, error=1.0)
    with pytest.raises(ParameterError):
        simulate(plan, [[2.0**18]] * 3)


def test_a_second_decryption_is_bare_there(contexts):
    """And flooded here: ``test_the_flood_is_in_the_total_at_its_planned_size``."""
    vector = ts.ckks_vector(contexts[0], [0.5])
    assert vector.decrypt() == vector.decrypt()  # nothing is added: each decryption shows the noise


def test_operands_stay_as_they_were(contexts):
    left, right = (ts.ckks_vector(contexts[0], [value]) for value in (0.25, 0.5))
    total = left + right
    assert abs(total.decrypt()[0] - 0.75) < 1e-6
    left += right  # in place, as it says
    assert abs(left.decrypt()[0] - 0.75) < 1e-6
    # here, a party's message stays as it was when a server has added it, and is good for another server
    plan = CKKSSum.plan(3, 4, clip=1.0, error=LOOSE)
    vectors = reals(plan, 10)
    network = Network.started(plan, vectors)
    kept = [bytes(payload) for payload in network.up]
    network.closed()
    assert network.up == kept
    second = plan.server(keys=network.keys.server)
    second.start()
    for party, payload in enumerate(network.up):
        second.receive(payload, party)
    network.clients[1].receive(second.close_round()[1].payload, "server")
    assert off(network.clients[1].result().total, vectors) <= plan.error_bound
