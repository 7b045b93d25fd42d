"""What TenSEAL lets happen silently, shown on TenSEAL itself, and that it cannot happen here.

If one of the first halves fails one day, TenSEAL was mended, and the test may go.
"""

from __future__ import annotations

import numpy as np
import pytest
import tenseal as ts
import tenseal.sealapi as sa

from secagg import BFVSum, CapacityError, DecodeError
from secagg.he.seal import _load, _save
from tests.secagg.wires import Network, vectors_of

PLAIN_MODULUS = 1032193
PLAN = BFVSum.plan(3, 4, 8)


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
    server_keys = PLAN.keygen().server
    assert set(type(server_keys).__slots__) == {"session", "link_keys"}


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
