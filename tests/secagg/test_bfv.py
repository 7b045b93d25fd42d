from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secagg.he.plans
from secagg import BFVSum, CapacityError, DecodeError, LocalProtocolError, ParameterError, PlainSum, State, simulate
from secagg.envelope import OVERHEAD, Kind
from secagg.he import ClientKeys, ServerKeys
from secagg.he.rings import SHARED_RING
from secagg.he.seal import backend, blob_limit
from secagg.he.work import join_blobs, split_blobs
from tests.secagg.wires import Network, Stream, exact_sum, vectors_of


@settings(max_examples=20)
@given(st.integers(3, 8), st.integers(1, 37), st.integers(1, 300), st.integers(0, 2**32))
def test_equals_the_plain_sum(parties, bits, dim, seed):
    plan = BFVSum.plan(parties, dim, bits)
    vectors = vectors_of(plan, seed)
    ours, plain = simulate(plan, vectors), simulate(PlainSum.plan(parties, dim, bits), vectors)
    assert ours.total.tobytes() == plain.total.tobytes()
    assert ours.total.tolist() == exact_sum(vectors)
    assert ours.survivors == plain.survivors


@pytest.mark.parametrize("bits", [16, 38])
def test_every_length_around_a_chunk_is_exact(bits):
    values = BFVSum.plan(3, 1, bits).values_per_chunk
    assert values == {16: 2 * 4095, 38: 4095}[bits]
    for dim in (1, 2, values - 1, values, values + 1, 2 * values, 2 * values + 1):
        plan = BFVSum.plan(3, dim, bits)
        assert plan.chunks == -(-dim // values)
        vectors = vectors_of(plan, seed=dim)
        assert simulate(plan, vectors).total.tolist() == exact_sum(vectors)


def test_largest_sum_of_every_field_is_exact():
    plan = BFVSum.plan(16, 9000, 16)  # 16 * 65535 needs all 20 bits of its field
    vectors = np.full((16, 9000), 2**16 - 1)
    assert simulate(plan, vectors).total.tolist() == [16 * (2**16 - 1)] * 9000


def test_a_vector_summed_with_itself():
    plan = BFVSum.plan(5, 100, 16)
    vector = vectors_of(plan, seed=3)[0]
    assert (simulate(plan, np.tile(vector, (5, 1))).total == 5 * vector).all()


@given(st.integers(3, 6), st.integers(1, 20_000))
@settings(max_examples=8)
def test_bytes_stay_within_the_formula(parties, dim):
    plan = BFVSum.plan(parties, dim, 16)
    result = simulate(plan, vectors_of(plan, seed=0))
    assert plan.bytes_up == OVERHEAD + plan.chunks * (4 + blob_limit(SHARED_RING.seeded_bytes))
    for bound, measured in ((plan.bytes_up, result.bytes_up), (plan.bytes_down, result.bytes_down)):
        assert (measured <= bound).all()
        # a bound of use: compression gains at most the ten idle bits of 64, and the bound leaves less than one percent
        assert (measured > bound * (54 / 64) * 0.99 - 200).all()


def _public_half(plan: BFVSum, blob: bytes) -> tuple[int, ...]:
    """Some coefficients of the uniform polynomial of a ciphertext."""
    cipher = backend(plan.plain_modulus).load(blob, SHARED_RING.seeded_bytes)
    coefficients = cipher.dyn_array()
    return tuple(coefficients.at(coefficients.size() - 1 - i) for i in range(8))


def test_ciphertexts_of_equal_inputs_differ_even_with_seeded_entropy():
    plan = BFVSum.plan(3, 10, 8)
    vectors = np.tile(vectors_of(plan, seed=0)[0], (3, 1))
    keys = plan.keygen(Stream(1))
    networks = [Network.started(plan, vectors, keys) for _ in range(2)]
    blobs = [next(split_blobs(network.body(party), 1)) for network in networks for party in range(3)]
    # with a seeded generator all randomness would repeat: the public half of every ciphertext, and the noise
    halves = {_public_half(plan, blob) for blob in blobs}
    assert len(set(blobs)) == len(halves) == 6
    # keys of one seed are of one session, but never of one secret key
    again = plan.keygen(Stream(1))
    assert again.server == keys.server
    assert again.clients[0].secret_key != keys.clients[0].secret_key


def test_keys_of_two_sessions_share_nothing():
    plan = BFVSum.plan(3, 1, 8)
    one, two = plan.keygen(), plan.keygen()
    secrets = [
        secret
        for keys in (one, two)
        for client in keys.clients
        for secret in (client.session, client.secret_key, client.group_key, client.link_key)
    ]
    assert len(set(secrets)) == 2 * (3 + 3)


@pytest.fixture(scope="module")
def plan():
    return BFVSum.plan(5, 10_000, 16, dropout=0.4)


@pytest.fixture(scope="module")
def vectors(plan):
    return vectors_of(plan, seed=5)


@pytest.fixture
def network(plan, vectors):
    return Network.started(plan, vectors)


def test_survivors_only_are_in_the_sum(plan, vectors, network):
    down = network.closed([4, 0, 2])
    assert sorted(down) == [0, 2, 4]
    network.clients[2].receive(down[2], "server")
    result = network.clients[2].result()
    assert result.survivors == [0, 2, 4]
    assert result.total.tolist() == exact_sum(vectors[[0, 2, 4]])


def test_the_server_opens_nothing(network):
    network.closed()
    with pytest.raises(LocalProtocolError, match="cannot open"):
        network.server.result()
    assert set(ServerKeys.__slots__) == {"session", "link_keys"}


def test_no_secret_is_on_the_wire_or_in_a_repr(network):
    down = network.closed()
    wire = b"".join([*network.up, *down.values()])
    windows = {wire[i : i + 8] for i in range(len(wire) - 7)}
    for keys in network.keys.clients:
        for secret in (keys.secret_key[64:], keys.group_key, keys.link_key):
            assert not any(secret[i : i + 8] in windows for i in range(len(secret) - 7))
            assert secret[:8].hex() not in repr(network.keys)
            assert repr(secret[:8])[2:-1] not in repr(network.keys)
    assert repr(network.keys.clients[0]) == "ClientKeys(party=0)"


def _roster(parties: list[int]) -> bytes:
    return sum(1 << party for party in parties).to_bytes(1, "little")


def _combined(network: Network, parts: list[tuple[int, int]], roster: list[int], swap: bool = False) -> bytes:
    """The body of a sum that a server builds as it likes: `parts` are (party, times)."""
    base = backend(network.plan.plain_modulus)
    sums = None
    for party, times in parts:
        for _ in range(times):
            blobs = split_blobs(network.body(party), network.plan.chunks)
            loaded = [base.load(blob, SHARED_RING.seeded_bytes) for blob in blobs]
            if sums is None:
                sums = loaded
            else:
                for total, part in zip(sums, loaded, strict=True):
                    base.add(total, part)
    blobs = [base.save(total) for total in sums]
    return _roster(roster) + join_blobs(reversed(blobs) if swap else blobs)


def test_an_honest_combination_opens(network, vectors):
    body = _combined(network, [(0, 1), (1, 1), (3, 1)], [0, 1, 3])
    assert network.open_body(body).total.tolist() == exact_sum(vectors[[0, 1, 3]])


@pytest.mark.parametrize(
    ("parts", "roster", "swap"),
    [
        ([(0, 1)], [0], False),
        ([(0, 1)], [0, 1, 2], False),
        ([(0, 2)], [0, 1, 2], False),
        ([(0, 2), (1, 2), (2, 2)], [0, 1, 2], False),
        ([(0, 1), (1, 1), (2, 2)], [0, 1, 2], False),
        ([(0, 1), (1, 1), (2, 1)], [0, 1, 3], False),
        ([(0, 1), (1, 1), (2, 1)], [0, 1, 2, 3], False),
        ([(0, 1), (1, 1), (2, 1), (3, 1)], [0, 1, 2], False),
        ([(0, 1), (1, 1)], [0, 1], False),
        ([(0, 1), (1, 1), (2, 1)], [], False),
        ([(0, 1), (1, 1), (2, 1)], [0, 1, 2], True),
        ([(0, 1), (1, 1), (2, 1)], [0, 1, 2, 5], False),
    ],
    ids=[
        "one party alone",
        "one party passed off as three",
        "one party twice",
        "everybody twice",
        "one party too often",
        "another survivor announced",
        "one survivor more announced",
        "one survivor fewer announced",
        "too few survivors",
        "nobody announced",
        "chunks exchanged",
        "a survivor that does not exist",
    ],
)
def test_a_dishonest_combination_does_not_open(network, parts, roster, swap):
    with pytest.raises(DecodeError) as caught:
        network.open_body(_combined(network, parts, roster, swap))
    assert str(caught.value) == "the sum did not verify; it is not shown, and this session is over."
    assert caught.value.peer == "server"
    # one attempt: the session is over, so a party is no decryption oracle
    assert network.clients[0].state is State.ABORTED
    with pytest.raises(LocalProtocolError):
        network.clients[0].result()


def test_a_constant_added_by_the_server_does_not_open(network):
    base = backend(network.plan.plain_modulus)
    plain = base.sealapi.Plaintext()
    base.encoder.encode([1] + [0] * 4095, plain)
    totals = [
        base.load(blob, SHARED_RING.full_bytes)
        for blob in split_blobs(_combined(network, [(0, 1), (1, 1), (2, 1)], [])[1:], 2)
    ]
    base.evaluator.add_plain_inplace(totals[0], plain)
    with pytest.raises(DecodeError):
        network.open_body(_roster([0, 1, 2]) + join_blobs(map(base.save, totals)))


def test_ciphertexts_of_another_key_do_not_open(plan, vectors, network):
    # the group, link and session keys are the same; only the SEAL secret key of party 2 is another
    fresh = plan.keygen().clients[2].secret_key
    keys = list(network.keys.clients)
    keys[2] = replace(keys[2], secret_key=fresh)
    mixed = Network.started(plan, vectors, replace(network.keys, clients=tuple(keys)))
    with pytest.raises(DecodeError):
        down = mixed.closed()
        mixed.clients[0].receive(down[0], "server")
        mixed.clients[0].result()


def test_a_party_with_another_group_key_spoils_the_sum_visibly(plan, vectors, network):
    keys = list(network.keys.clients)
    keys[2] = replace(keys[2], group_key=bytes(32))
    mixed = Network.started(plan, vectors, replace(network.keys, clients=tuple(keys)))
    down = mixed.closed()
    mixed.clients[0].receive(down[0], "server")
    with pytest.raises(DecodeError):
        mixed.clients[0].result()


def test_messages_of_another_session_or_plan_are_refused(plan, vectors, network):
    other = Network.started(plan, vectors)
    wider = BFVSum.plan(5, 10_000, 16)  # differs in min_survivors alone
    wider_network = Network.started(wider, vectors, wider.keygen())
    for payload in (other.up[0], wider_network.up[0]):
        with pytest.raises(DecodeError):
            network.server.receive(payload, 0)
    with_same_keys = wider.server(keys=network.keys.server)
    with_same_keys.start()
    with pytest.raises(DecodeError):
        with_same_keys.receive(network.up[0], 0)
    down = other.closed()
    with pytest.raises(DecodeError):
        network.clients[0].receive(down[0], "server")


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_ciphertexts_of_a_lying_server_never_give_a_wrong_sum(plan, vectors, data):
    network = _shared(plan, vectors)
    damaged = bytearray(network.sum_body)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    client = plan.client(1, keys=network.keys.clients[1])
    client.set_input(vectors[1])
    client._state, client._input = State.WAITING, None  # as after start, without the cost of an encryption
    client.receive(client._channel.wrap(Kind.SUM, bytes(damaged)), "server")
    try:
        result = client.result()
    except DecodeError:
        assert client.state is State.ABORTED
    else:
        # a flip in the low bits of a coefficient is noise, and disappears with it
        assert result.total.tolist() == network.sum


@settings(max_examples=60)
@given(data=st.data())
def test_damaged_ciphertexts_of_a_lying_party_never_crash_the_server(plan, vectors, data):
    network = _shared(plan, vectors)
    damaged = bytearray(network.body(0))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    server = plan.server(keys=network.keys.server)
    server.start()
    payload = server._channels[0].wrap(Kind.INPUT, bytes(damaged))
    try:
        server.receive(payload, 0)
    except DecodeError as error:
        assert error.peer == 0
        server.receive(network.up[0], 0)  # the sum is as it was, and takes the true message


_CACHE: dict[BFVSum, Network] = {}


def _shared(plan, vectors) -> Network:
    """One closed session for all examples of a property."""
    if plan not in _CACHE:
        network = Network.started(plan, vectors)
        network.sum_body = network.clients[1]._channel.unwrap(Kind.SUM, network.closed()[1], peer="server")
        network.sum = exact_sum(vectors)
        _CACHE[plan] = network
    return _CACHE[plan]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((2, 10, 8), {}),
        ((True, 10, 8), {}),
        ((3.0, 10, 8), {}),
        ((3, 0, 8), {}),
        ((3, 10, 0), {}),
        ((3, 10, None), {}),
        ((3, 10, 8), {"key": "private"}),
        ((3, 10, 8), {"key": None}),
        ((3, 10, 8), {"dropout": 0.5}),
        ((10, 10, 8), {"dropout": 0.8}),
        ((10, 10, 8), {"dropout": 1.0}),
        ((10, 10, 8), {"dropout": -0.1}),
        ((10, 10, 8), {"dropout": float("nan")}),
        ((10, 10, 8), {"dropout": True}),
        ((10, 10, 8), {"dropout": "0.1"}),
    ],
)
def test_impossible_plans_are_refused(arguments, options):
    with pytest.raises(ParameterError):
        BFVSum.plan(*arguments, **options)


def test_sums_that_do_not_fit_are_refused():
    with pytest.raises(CapacityError):
        BFVSum.plan(3, 10, 39)
    with pytest.raises(TypeError):
        BFVSum.plan(3, 10, 8, wrap=True)


@pytest.mark.parametrize(
    ("parties", "dropout", "survivors"), [(10, 0.0, 10), (10, 0.1, 9), (100, 0.29, 71), (7, 0.3, 5), (15, 0.05, 15)]
)
def test_dropout_is_floored_to_parties(parties, dropout, survivors):
    plan = BFVSum.plan(parties, 1, 8, dropout=dropout)
    assert plan.min_survivors == survivors
    assert plan.min_honest == survivors - 1


def test_attributes_and_promise():
    plan = BFVSum.plan(15, 1_000_000, 16, dropout=0.1)
    assert (plan.rounds, plan.modulus_bits, plan.wrap) == (("masked_input",), 54, False)
    assert "fewer than 14 inputs" in plan.promise
    assert "reads everybody's vector" in plan.promise
    assert plan.bytes_up <= 1.02 * 4 * plan.dim


def test_keys_are_checked(plan, network):
    keys = network.keys
    for bad in (None, keys.server, keys.clients[1], keys.clients[0].secret_key):
        with pytest.raises(ParameterError):
            plan.client(0, keys=bad)
    for bad in (None, keys.clients[0], ServerKeys(keys.server.session, keys.server.link_keys[:4])):
        with pytest.raises(ParameterError):
            plan.server(keys=bad)
    # a key of another plaintext modulus, and bytes that are no key
    other = BFVSum.plan(400, 1, 8).keygen().clients[0].secret_key
    for secret in (other, b"", keys.clients[0].secret_key[:-1]):
        with pytest.raises(ParameterError):
            plan.client(0, keys=replace(keys.clients[0], secret_key=secret))
    for bad in ({"session": b""}, {"group_key": bytes(31)}, {"link_key": "x" * 32}):
        with pytest.raises(ParameterError):
            replace(keys.clients[0], **bad)
    with pytest.raises(ParameterError):
        ServerKeys(bytes(32), (bytes(16),))


def test_there_is_no_public_key_to_export():
    assert set(ClientKeys.__slots__) == {"party", "session", "secret_key", "group_key", "link_key"}
    base = backend(BFVSum.plan(3, 1, 8).plain_modulus)
    assert not base.context.using_keyswitching()
    with pytest.raises(RuntimeError):
        base.sealapi.KeyGenerator(base.context).create_relin_keys(base.sealapi.RelinKeys())


def test_a_server_digests_its_plan_once(monkeypatch):
    plan = BFVSum.plan(100, 1, 8)
    keys = plan.keygen()
    calls = []
    digest = secagg.he.plans.digest
    monkeypatch.setattr(secagg.he.plans, "digest", lambda *args: calls.append(args) or digest(*args))
    plan.server(keys=keys.server)
    assert len(calls) == 1


def test_numpy_integers_plan_the_same_sum():
    plan = BFVSum.plan(np.int64(3), np.uint8(2), np.int32(8))
    assert plan == BFVSum.plan(3, 2, 8)
    assert {type(number) for number in (plan.num_parties, plan.dim, plan.value_bits, plan.min_survivors)} == {int}
    assert simulate(plan, [[1, 2]] * 3).total.tolist() == [3, 6]
