"""Sums under a public key, which one opener opens: exact, and closed to everybody else."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import (
    BFVSum,
    CapacityError,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    PeerProtocolError,
    PlainSum,
    State,
    simulate,
)
from secagg.envelope import Kind
from secagg.he import ClientKeys, OpenerKeys, PublicBFVSum, PublicClientKeys, PublicServerKeys, ServerKeys
from secagg.he.planner import MIN_TAG_BITS, tag_bits
from secagg.he.rings import PUBLIC_RINGS
from secagg.he.seal import Decryptor, PublicEncryptor, backend
from secagg.he.work import join_blobs, split_blobs
from secagg.masking.packing import pack_set
from secagg.onemessage import SumReader
from secagg.testing import Case, failed_checks
from tests.secagg.wires import Network, Stream, exact_sum, vectors_of

UNVERIFIED = "the sum did not verify; it is not shown, and this session is over."


@settings(max_examples=15)
@given(st.integers(3, 8), st.integers(1, 37), st.integers(1, 300), st.integers(0, 2**32))
def test_equals_the_plain_sum(parties, bits, dim, seed):
    plan = BFVSum.plan(parties, dim, bits, key="public")
    vectors = vectors_of(plan, seed)
    ours, plain = simulate(plan, vectors), simulate(PlainSum.plan(parties, dim, bits), vectors)
    assert ours.total.tobytes() == plain.total.tobytes()
    assert ours.total.tolist() == exact_sum(vectors)
    assert ours.survivors == plain.survivors


def test_every_length_around_a_chunk_is_exact():
    values = BFVSum.plan(3, 1, 16, key="public").values_per_chunk
    assert values == 2 * 4095
    for dim in (1, values - 1, values, values + 1, 2 * values + 1):
        plan = BFVSum.plan(3, dim, 16, key="public")
        vectors = vectors_of(plan, seed=dim)
        assert simulate(plan, vectors).total.tolist() == exact_sum(vectors)


@pytest.mark.parametrize(("parties", "degree"), [(288, 4096), (289, 8192)])
def test_largest_sums_of_40_bits_are_exact_and_one_party_more_takes_the_larger_ring(parties, degree):
    plan = BFVSum.plan(parties, 40, 31, key="public")
    assert plan.ring.degree == degree
    assert parties * (2**31 - 1) > 2**39
    vectors = np.full((parties, 40), 2**31 - 1)
    assert simulate(plan, vectors).total.tolist() == [parties * (2**31 - 1)] * 40


def test_bytes_stay_within_the_formula():
    plan = BFVSum.plan(4, 20_000, 16, key="public")
    result = simulate(plan, vectors_of(plan, seed=0))
    assert (result.bytes_up <= plan.bytes_up).all()
    # compression gains at most the eleven idle bits of 64, and the bound leaves less than one percent
    assert (result.bytes_up > plan.bytes_up * (53 / 64) * 0.99 - 200).all()
    assert plan.bytes_down == 0
    assert not result.bytes_down.any()
    network = Opened.started(plan, vectors_of(plan, seed=0))
    assert len(network.closed()) <= plan.bytes_opened


@dataclass
class Opened:
    """A session with its keys, each party's message, and an opener."""

    wire: Network
    opener: SumReader

    @classmethod
    def started(cls, plan, vectors, keys=None):
        wire = Network.started(plan, vectors, keys)
        return cls(wire, plan.opener(keys=wire.keys.opener))

    def closed(self, parties=None):
        """What the server sends to the opener."""
        sent = self.wire.closed(parties)
        assert list(sent) == ["opener"]
        return sent["opener"]

    def result(self, body):
        """What the opener makes of a sum's body that the server vouches for."""
        self.opener.receive(self.wire.server._opener.wrap(Kind.SUM, body), "server")
        return self.opener.result()

    def combined(self, parts, roster, change=None):
        """The body of a sum that a server builds as it likes: `parts` are (party, times)."""
        plan = self.wire.plan
        base, sums = backend(plan.plain_modulus, plan.ring), None
        for party, times in parts:
            for _ in range(times):
                blobs = split_blobs(self.wire.body(party), plan.chunks)
                loaded = [base.load(blob, plan.ring.sent_bytes) for blob in blobs]
                sums = loaded if sums is None else [base.add(a, b) or a for a, b in zip(sums, loaded, strict=True)]
        if change is not None:
            change(base, sums)
        listed = pack_set([party in roster for party in range(plan.num_parties)])
        return listed + join_blobs(base.save(total) for total in sums)


@pytest.fixture(scope="module")
def plan():
    return BFVSum.plan(5, 10_000, 16, key="public", dropout=0.4)


@pytest.fixture(scope="module")
def vectors(plan):
    return vectors_of(plan, seed=5)


@pytest.fixture
def network(plan, vectors):
    return Opened.started(plan, vectors)


def test_survivors_only_are_in_the_sum(plan, vectors, network):
    network.opener.receive(network.closed([4, 0, 2]), "server")
    result = network.opener.result()
    assert result.survivors == [0, 2, 4]
    assert result.total.tolist() == exact_sum(vectors[[0, 2, 4]])
    assert network.opener.state is State.FINISHED


def test_nobody_but_the_opener_opens(plan, network):
    payload = network.closed()
    with pytest.raises(LocalProtocolError, match="no key"):
        network.wire.server.result()
    for client in network.wire.clients:
        assert client.state is State.FINISHED
        for step in (client.result, lambda client=client: client.receive(payload, "server")):
            with pytest.raises(LocalProtocolError, match="holds no key"):
                step()
    with pytest.raises(PeerProtocolError):
        network.opener.receive(payload, 0)


def test_keys_of_roles_share_what_they_must_and_nothing_else(plan):
    keys = plan.keygen()
    assert {type(held) for held in keys.clients} == {PublicClientKeys}
    assert (type(keys.server), type(keys.opener)) == (PublicServerKeys, OpenerKeys)
    assert set(PublicClientKeys.__slots__) == {"party", "session", "public_key", "group_key", "blind_key", "link_key"}
    assert set(PublicServerKeys.__slots__) == {"session", "link_keys", "opener_key"}
    assert keys.server.opener_key == keys.opener.link_key
    assert keys.server.link_keys == tuple(client.link_key for client in keys.clients)
    for name, distinct in (("public_key", 1), ("group_key", 1), ("blind_key", 5), ("link_key", 5)):
        assert len({getattr(client, name) for client in keys.clients}) == distinct
    held = [keys.server.session, keys.server.opener_key, *keys.server.link_keys]
    secrets = [keys.opener.group_key, keys.opener.blind_root, *(client.blind_key for client in keys.clients)]
    assert not set(held) & set(secrets)
    other = plan.keygen()
    assert other.opener.secret_key != keys.opener.secret_key
    assert other.clients[0].public_key != keys.clients[0].public_key


def test_a_client_that_loads_its_key_cannot_decrypt(plan, vectors, network):
    base, client = backend(plan.plain_modulus, plan.ring), network.wire.keys.clients[0]
    blob = next(split_blobs(network.wire.body(0), plan.chunks))
    with pytest.raises(DecodeError):
        Decryptor(base, client.public_key)
    encryptor = PublicEncryptor(base, client.public_key)
    assert not hasattr(encryptor, "decrypt")
    with pytest.raises(RuntimeError, match="secret key is not set"):  # not even what SEAL holds inside it
        encryptor._encryptor.encrypt_symmetric(base.sealapi.Plaintext("1"))
    # a key pair of its own decrypts to noise, not to the vector
    cipher = base.load(blob, plan.ring.sent_bytes)
    own, right = (Decryptor(base, key) for key in (base.new_key_pair()[0], network.wire.keys.opener.secret_key))
    assert np.mean(own.decrypt(cipher) == right.decrypt(cipher)) < 0.01


def test_no_secret_is_on_the_wire_in_a_partys_keys_or_in_a_repr(network):
    wire = b"".join([*network.wire.up, network.closed()])
    windows = {wire[i : i + 16] for i in range(len(wire) - 15)}  # compression has short runs in common
    keys = network.wire.keys
    opener = keys.opener
    for secret in (opener.secret_key[64:], opener.group_key, opener.blind_root, opener.link_key):
        assert not any(secret[i : i + 16] in windows for i in range(len(secret) - 15))
        assert secret[:8].hex() not in repr(keys)
        assert repr(secret[:8])[2:-1] not in repr(keys)
    assert repr(opener) == "OpenerKeys()"
    for client in keys.clients:
        held = client.session + client.public_key + client.group_key + client.blind_key + client.link_key
        assert opener.blind_root not in held
        assert not any(opener.secret_key[i : i + 16] in held for i in range(64, 5000, 16))


@pytest.mark.parametrize(
    ("parts", "roster"),
    [
        ([(0, 1)], [0]),
        ([(0, 1)], [0, 1, 2]),
        ([(0, 2)], [0, 1, 2]),
        ([(0, 2), (1, 2), (2, 2)], [0, 1, 2]),
        ([(0, 1), (1, 1), (2, 2)], [0, 1, 2]),
        ([(0, 1), (1, 1), (2, 1)], [0, 1, 3]),
        ([(0, 1), (1, 1), (2, 1)], [0, 1, 2, 3]),
        ([(0, 1), (1, 1), (2, 1), (3, 1)], [0, 1, 2]),
        ([(0, 1), (1, 1)], [0, 1]),
        ([(0, 1), (1, 1), (2, 1)], []),
    ],
)
def test_a_dishonest_combination_does_not_open(network, parts, roster):
    with pytest.raises(DecodeError) as caught:
        network.result(network.combined(parts, roster))
    assert str(caught.value) == UNVERIFIED
    assert network.opener.state is State.ABORTED
    with pytest.raises(LocalProtocolError):
        network.opener.result()


def test_an_honest_combination_opens(network, vectors):
    body = network.combined([(0, 1), (1, 1), (3, 1)], [0, 1, 3])
    assert network.result(body).total.tolist() == exact_sum(vectors[[0, 1, 3]])


def _forged(network, victims, helpers):
    """What a server makes of the victims' ciphertexts alone, with the keys of its helpers: zeros in all others' names.

    It encrypts, with the helpers' public key, vectors of zeros with the tags of the helpers, under every name that is
    announced and is not a victim.
    """
    plan, keys = network.wire.plan, network.wire.keys
    roster = sorted({*victims, *helpers})
    zeros = np.zeros(plan.dim, dtype=np.int64)
    for party in helpers:
        session = plan.client(party, keys=keys.clients[party])
        session.set_input(zeros)
        (message,) = session.start()
        network.wire.up[party] = message.payload
    return roster, network.combined([(party, 1) for party in roster], roster)


def test_helpers_of_a_lying_server_replace_their_own_vectors_alone(plan, vectors, network):
    # with three survivors required, two helpers get one victim's vector opened, to the opener: min_survivors - 2 = 1
    roster, body = _forged(network, victims=[3], helpers=[0, 1])
    assert network.result(body).total.tolist() == exact_sum(vectors[[3]])
    assert roster == [0, 1, 3]
    assert "3 - k other vectors are still in what is opened" in plan.promise


@pytest.mark.parametrize("announced", [[0, 1, 3], [0, 2, 3], [0, 3, 4]])
def test_one_helper_cannot_stand_in_for_others(plan, vectors, network, announced):
    # party 0 helps with all its keys: it may add what it likes, but no other party's share of the tag
    keys = network.wire.keys.clients[0]
    for party in announced:
        if party in (0, 3):
            continue
        posed = plan.client(party, keys=replace(keys, party=party))
        body = posed._work.seal(np.zeros(plan.dim, dtype=np.uint64), None)
        network.wire.up[party] = network.wire.server._channels[party].wrap(Kind.INPUT, body)
    with pytest.raises(DecodeError):
        network.result(network.combined([(party, 1) for party in announced], announced))


def test_a_change_by_who_knows_no_tag_key_does_not_open(network):
    def add_one(base, sums):
        plain = base.sealapi.Plaintext()
        base.encoder.encode([1] + [0] * (sums[0].poly_modulus_degree() - 1), plain)
        base.evaluator.add_plain_inplace(sums[0], plain)

    with pytest.raises(DecodeError):
        network.result(network.combined([(0, 1), (1, 1), (2, 1)], [0, 1, 2], add_one))


def test_keys_of_another_type_or_plan_are_refused(plan, network):
    keys, shared = network.wire.keys, BFVSum.plan(5, 10_000, 16, dropout=0.4)
    seeded = shared.keygen()
    for bad in (None, seeded.clients[0], keys.clients[1], keys.opener, keys.server):
        with pytest.raises(ParameterError, match="PublicClientKeys of party 0"):
            plan.client(0, keys=bad)
    for bad in (None, seeded.server, keys.opener, replace(keys.server, link_keys=keys.server.link_keys[:4])):
        with pytest.raises(ParameterError, match="PublicServerKeys"):
            plan.server(keys=bad)
    for bad in (None, seeded.clients[0], keys.clients[0], keys.server):
        with pytest.raises(ParameterError, match="OpenerKeys"):
            plan.opener(keys=bad)
    for bad in (keys.clients[0], keys.opener):
        with pytest.raises(ParameterError, match="ClientKeys of party 0"):
            shared.client(0, keys=bad)
    with pytest.raises(ParameterError, match="ServerKeys"):
        shared.server(keys=keys.server)
    assert not hasattr(shared, "opener")
    assert seeded.opener is None
    # a public key exported from a seeded secret key, or of another modulus, is none of this plan's
    for public in (seeded.clients[0].secret_key, keys.opener.secret_key, b"", keys.clients[0].public_key[:-1]):
        with pytest.raises(ParameterError, match="public_key"):
            plan.client(0, keys=replace(keys.clients[0], public_key=public))
    with pytest.raises(ParameterError, match="secret_key"):
        plan.opener(keys=replace(keys.opener, secret_key=seeded.clients[0].secret_key))


def test_ciphertexts_of_another_key_do_not_open(plan, vectors, network):
    clients = list(network.wire.keys.clients)
    clients[2] = replace(clients[2], public_key=plan.keygen().clients[2].public_key)
    mixed = Opened.started(plan, vectors, replace(network.wire.keys, clients=tuple(clients)))
    with pytest.raises(DecodeError):
        mixed.result(mixed.combined([(0, 1), (1, 1), (2, 1)], [0, 1, 2]))


def test_messages_of_another_session_or_mode_are_refused(plan, vectors, network):
    shared = Network.started(BFVSum.plan(5, 10_000, 16, dropout=0.4), vectors)
    other = Opened.started(plan, vectors)
    for payload in (shared.up[0], other.wire.up[0], network.wire.up[1], network.wire.up[0][:-1]):
        with pytest.raises(DecodeError):
            network.wire.server.receive(payload, 0)
    with pytest.raises(DecodeError):
        network.opener.receive(other.closed(), "server")
    with pytest.raises(DecodeError):
        network.opener.receive(network.wire.up[0], "server")
    assert network.opener.state is State.WAITING


def test_ciphertexts_of_equal_inputs_differ_even_with_seeded_entropy(plan):
    keys = plan.keygen(Stream(1))
    again = plan.keygen(Stream(1))
    assert again.server == keys.server
    assert again.opener.secret_key != keys.opener.secret_key
    same = np.tile(vectors_of(plan, seed=0)[0], (5, 1))
    blobs = {Network.started(plan, same, keys).body(party) for _ in range(2) for party in range(2)}
    assert len(blobs) == 4


_CACHE: dict[PublicBFVSum, tuple[Opened, bytes]] = {}


@settings(max_examples=40)
@given(data=st.data())
def test_damaged_sums_never_open_wrongly(plan, vectors, data):
    if plan not in _CACHE:
        made = Opened.started(plan, vectors)
        _CACHE[plan] = made, made.opener._channel.unwrap(Kind.SUM, made.closed(), peer="server")
    network, body = _CACHE[plan]
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    reader = plan.opener(keys=network.wire.keys.opener)
    reader.receive(network.wire.server._opener.wrap(Kind.SUM, bytes(damaged)), "server")
    try:
        result = reader.result()
    except DecodeError as error:
        assert str(error) == UNVERIFIED
        assert reader.state is State.ABORTED
    else:
        # a flip in the low bits of a coefficient is noise, and disappears with it
        assert result.total.tolist() == exact_sum(vectors)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((2, 10, 8), {}),
        ((True, 10, 8), {}),
        ((3, 0, 8), {}),
        ((3, 10, 0), {}),
        ((3, 10, 8), {"dropout": 0.5}),
        ((10, 10, 8), {"dropout": 0.8}),
        ((10, 10, 8), {"dropout": float("nan")}),
    ],
)
def test_impossible_plans_are_refused(arguments, options):
    with pytest.raises(ParameterError):
        BFVSum.plan(*arguments, key="public", **options)
    with pytest.raises(ParameterError):
        PublicBFVSum.plan(*arguments, **options)


def test_the_kit_finds_nothing_but_randomness_that_is_not_ours():
    failed = failed_checks(Case(lambda n, dim: BFVSum.plan(n, dim, 16, key="public", dropout=0.2)))
    assert set(failed) == {"determinism"}


@given(st.integers(3, 2**29 - 1))  # one more, and their sum fits no slot
def test_a_forgery_passes_with_the_chance_that_is_said_and_the_opener_has_one_attempt(parties):
    plan = BFVSum.plan(parties, 1, 1, key="public")
    bits = tag_bits(parties, plan.ring)
    chance = Fraction(3, plan.plain_modulus - 1)
    assert chance <= Fraction(1, 2**bits) < 2 * chance
    assert bits >= MIN_TAG_BITS
    assert f"at most 2^-{bits})" in plan.promise


def test_a_party_cannot_cancel_the_sum_of_the_others():
    """Who reads the wire can send what leaves of a sum its open half alone; SEAL finds that when it has been added."""
    plan = BFVSum.plan(3, 20_000, 16, key="public")
    assert plan.chunks == 3
    vectors = vectors_of(plan, seed=1)
    network = Opened.started(plan, vectors)
    server, base = network.wire.server, network.wire.server._work._backend
    server.receive(network.wire.up[0], 0)
    first, own = (list(split_blobs(network.wire.body(party), plan.chunks)) for party in (0, 1))
    cancelling = base.load(first[1], plan.ring.sent_bytes)
    base.evaluator.negate_inplace(cancelling)
    body = join_blobs([own[0], base.save(cancelling), own[2]])
    with pytest.raises(DecodeError, match="party 1: ") as caught:
        server.receive(server._channels[1].wrap(Kind.INPUT, body), 1)
    assert caught.value.peer == 1
    for party in (1, 2):
        server.receive(network.wire.up[party], party)
    (message,) = server.close_round()
    network.opener.receive(message.payload, "server")
    assert network.opener.result().total.tolist() == exact_sum(vectors)


def test_sums_that_fit_no_ring_are_refused():
    assert BFVSum.plan(512, 10, 31, key="public").ring is PUBLIC_RINGS[1]
    for parties, bits in ((513, 31), (3, 39), (2**31, 10)):
        with pytest.raises(CapacityError):
            BFVSum.plan(parties, 10, bits, key="public")
    with pytest.raises(CapacityError):
        replace(BFVSum.plan(512, 10, 31, key="public"), num_parties=513)


def test_sessions_are_not_written(network):
    for session in (*network.wire.clients, network.opener):
        for written in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(LocalProtocolError, match="not pickled or copied"):
                written(session)


def test_attributes_and_promise():
    plan = BFVSum.plan(15, 1_000_000, 16, key="public", dropout=0.1)
    assert isinstance(plan, PublicBFVSum)
    assert plan == PublicBFVSum.plan(15, 1_000_000, 16, dropout=0.1)
    assert (plan.rounds, plan.modulus_bits, plan.wrap, plan.key) == (("masked_input",), 53, False, "public")
    assert (plan.min_survivors, plan.min_honest) == (14, 13)
    assert "fewer than 14 inputs" in plan.promise
    assert "reads everybody's vector" in plan.promise
    assert "not on one party's vector alone" in plan.promise
    assert plan.ring is PUBLIC_RINGS[0]
    assert not {ClientKeys, ServerKeys} & {type(plan.keygen().clients[0]), type(plan.keygen().server)}
