"""What TenSEAL lets happen silently, shown on TenSEAL itself, and that it cannot happen here.

If one of the first halves fails one day, TenSEAL was mended, and the test may go.
"""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import tenseal as ts
import tenseal.sealapi as sa

from secagg import BFVSum, CapacityError, DecodeError, LocalProtocolError, ParameterError, PeerProtocolError
from secagg.envelope import Kind
from secagg.he.seal import Decryptor, _load, _save, backend
from secagg.he.work import join_blobs, split_blobs
from secagg.masking.packing import pack_set
from tests.secagg.wires import Network, vectors_of

PLAIN_MODULUS = 1032193
PLAN = BFVSum.plan(3, 4, 8)
PUBLIC = BFVSum.plan(3, 4, 8, key="public")


@pytest.fixture(scope="module")
def contexts():
    return [ts.context(ts.SCHEME_TYPE.BFV, 4096, plain_modulus=PLAIN_MODULUS) for _ in range(2)]


def test_a_public_context_still_decrypts_there_and_the_server_has_no_key_here():
    context = ts.context(ts.SCHEME_TYPE.BFV, 4096, plain_modulus=PLAIN_MODULUS)
    vector = ts.bfv_vector(context, [1, 2, 3])
    context.make_context_public()
    assert not context.is_private()
    plain, encoder = sa.Plaintext(), sa.BatchEncoder(context.seal_context().data)
    context.data.decryptor().decrypt(vector.ciphertext()[0], plain)
    assert encoder.decode_uint64(plain)[:3] == [1, 2, 3]
    # the server's keys have no ciphertext key of any kind, and those of parties under a public key none that decrypts
    assert set(type(PLAN.keygen().server).__slots__) == {"session", "link_keys"}
    keys = PUBLIC.keygen()
    assert set(type(keys.server).__slots__) == {"session", "link_keys", "opener_key"}
    with pytest.raises(DecodeError):
        Decryptor(backend(PUBLIC.plain_modulus, PUBLIC.ring), keys.clients[0].public_key)
    client = PUBLIC.client(0, keys=keys.clients[0])
    assert client._reader is None
    assert not hasattr(client._work._encryptor, "_decryptor")


def test_sums_over_two_keys_are_garbage_there_and_refused_here(contexts):
    one, two = contexts
    foreign = ts.bfv_vector_from(one, ts.bfv_vector(two, [1, 2, 3]).serialize())
    assert (ts.bfv_vector(one, [1, 2, 3]) + foreign).decrypt() != [2, 4, 6]
    keys = PLAN.keygen()
    odd = PLAN.keygen().clients[1].secret_key
    clients = list(keys.clients)
    clients[1] = type(clients[1])(1, clients[1].session, odd, clients[1].group_key, clients[1].link_key)
    network = Network.started(PLAN, vectors_of(PLAN, seed=0), type(keys)(tuple(clients), keys.server))
    network.clients[0].receive(network.closed()[0], "server")
    with pytest.raises(DecodeError):
        network.clients[0].result()


def test_overflow_wraps_silently_there_and_is_no_plan_here(contexts):
    large = ts.bfv_vector(contexts[0], [PLAIN_MODULUS // 2])
    assert (large + large).decrypt() != [PLAIN_MODULUS // 2 * 2]
    with pytest.raises(CapacityError):
        BFVSum.plan(3, 1, 39)


def test_a_flipped_bit_decrypts_to_garbage_there_and_is_refused_here(contexts):
    context = contexts[0]
    blob = bytearray(ts.bfv_vector(context, [1, 2, 3]).serialize())
    wrong = 0
    for place in range(len(blob) // 2, len(blob) // 2 + 40):
        changed = bytes(blob[:place]) + bytes([blob[place] ^ 0x10]) + bytes(blob[place + 1 :])
        try:
            wrong += ts.bfv_vector_from(context, changed).decrypt() != [1, 2, 3]
        except (RuntimeError, ValueError):
            continue
    assert wrong > 0
    network = Network.started(PLAN, vectors_of(PLAN, seed=0))
    middle = len(network.up[0]) // 2
    for place in range(middle, middle + 40):
        changed = bytearray(network.up[0])
        changed[place] ^= 0x10
        with pytest.raises(DecodeError):
            network.server.receive(bytes(changed), 0)


def test_a_seeded_generator_repeats_itself_there_and_is_never_set_here():
    def encrypted(seeded: bool) -> list[int]:
        parameters = sa.EncryptionParameters(sa.SCHEME_TYPE.BFV)
        parameters.set_poly_modulus_degree(4096)
        parameters.set_coeff_modulus(sa.CoeffModulus.BFVDefault(4096, sa.SEC_LEVEL_TYPE.TC128))
        parameters.set_plain_modulus(sa.PlainModulus.Batching(4096, 20))
        if seeded:
            parameters.set_random_generator(sa.Blake2xbPRNGFactory([1, 2, 3, 4, 5, 6, 7, 8]))
        context = sa.SEALContext(parameters, True, sa.SEC_LEVEL_TYPE.TC128)
        encryptor = sa.Encryptor(context, sa.KeyGenerator(context).secret_key())
        rows = []
        for _ in range(2):
            cipher = _load(sa.Ciphertext(), context, _save(encryptor.encrypt_symmetric(sa.Plaintext("1"))))
            array = cipher.dyn_array()
            rows.append([array.at(array.size() - 1 - i) for i in range(8)])
        return rows

    repeated, fresh = encrypted(seeded=True), encrypted(seeded=False)
    assert repeated[0] == repeated[1]
    assert fresh[0] != fresh[1]
    keys = PLAN.keygen()
    same = np.tile(vectors_of(PLAN, seed=0)[0], (3, 1))
    bodies = [Network.started(PLAN, same, keys).body(0) for _ in range(2)]
    assert bodies[0] != bodies[1]


def test_a_sum_changes_what_is_added_there_and_not_here():
    context = ts.context(ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=[60, 40, 40, 60])
    context.global_scale = 2**40
    product = ts.ckks_vector(context, [1.0]) * ts.ckks_vector(context, [1.0])
    operand = ts.ckks_vector(context, [1.0])
    primes = operand.ciphertext()[0].coeff_modulus_size()
    _ = product + operand
    assert operand.ciphertext()[0].coeff_modulus_size() == primes - 1
    for plan in (PLAN, PUBLIC):
        vectors = vectors_of(plan, seed=0)
        given, network = vectors.copy(), Network.started(plan, vectors)
        base = backend(plan.plain_modulus, plan.ring)
        left, right = (base.load(blob, plan.ring.sent_bytes) for blob in _blobs(network, 2))
        before = _save(right)
        base.add(left, right)
        assert _save(right) == before
        assert np.array_equal(vectors, given)


def _blobs(network: Network, parties: int) -> list[bytes]:
    """The first ciphertexts of some parties."""
    return [next(split_blobs(network.body(party), network.plan.chunks)) for party in range(parties)]


def test_noise_beyond_the_room_is_garbage_there_and_no_sum_here():
    context = ts.context(ts.SCHEME_TYPE.BFV, 4096, plain_modulus=PLAIN_MODULUS)
    two = ts.bfv_vector(context, [2])
    assert (two * two * two).decrypt() != [8]
    # nothing multiplies here; a server that adds a ciphertext to itself until its noise is beyond all room is found
    for plan in (PLAN, PUBLIC):
        network = Network.started(plan, vectors_of(plan, seed=0))
        base = backend(plan.plain_modulus, plan.ring)
        total = base.load(_blobs(network, 1)[0], plan.ring.sent_bytes)
        for _ in range(20):
            base.add(total, base.load(base.save(total), plan.ring.full_bytes))
        reader = PUBLIC.opener(keys=network.keys.opener) if plan is PUBLIC else network.clients[0]
        body = pack_set([True] * 3) + join_blobs([base.save(total)])
        channel = (reader if plan is PUBLIC else reader._reader)._channel
        reader.receive(channel.wrap(Kind.SUM, body), "server")
        with pytest.raises(DecodeError, match="did not verify"):
            reader.result()
    # and no plan is made, nor party added, beyond the room
    with pytest.raises(CapacityError):
        BFVSum.plan(382, 1, 32)
    with pytest.raises(PeerProtocolError):
        network.server.receive(network.up[0], 3)


def test_a_context_hands_its_key_on_there_and_keys_are_written_only_where_that_is_said_here():
    context = ts.context(ts.SCHEME_TYPE.BFV, 4096, plain_modulus=PLAIN_MODULUS)
    copied = ts.context_from(context.serialize(save_secret_key=True))
    assert ts.bfv_vector_from(copied, ts.bfv_vector(context, [1, 2, 3]).serialize()).decrypt() == [1, 2, 3]
    for plan in (PLAN, PUBLIC):
        keys = plan.keygen()
        for held in (keys, *keys.clients, keys.server):
            with pytest.raises(LocalProtocolError):
                pickle.dumps(held)
        assert type(keys.clients[0]).from_secret_bytes(keys.clients[0].secret_bytes()) == keys.clients[0]


def test_keys_and_messages_of_other_parameters_are_refused():
    for plan, other in ((PLAN, BFVSum.plan(3, 5, 8)), (PUBLIC, BFVSum.plan(3, 5, 8, key="public"))):
        keys = plan.keygen()
        network = Network.started(plan, vectors_of(plan, seed=0), keys)
        server = other.server(keys=keys.server)  # the same session and links, and another plan
        server.start()
        with pytest.raises(DecodeError, match="another plan"):
            server.receive(network.up[0], 0)
        with pytest.raises(ParameterError, match="key of this plan"):
            replace(plan, num_parties=400, min_survivors=400).client(0, keys=keys.clients[0])
