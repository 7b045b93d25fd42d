"""Known faults of Flower 1.41.0's secure aggregation, beside ours: each test holds that it has them and that we do not.

What is short is also restated here, marked as such, so that it stays on record where Flower is not installed; where it
is, its own code is run (tests/bench/peers_rounds.py says which).
"""

import base64
import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from dpkit.entropy import seeded
from secagg import simulate
from secagg.errors import LocalProtocolError, PeerProtocolError
from secagg.masking.layout import SHARE_BYTES
from secagg.masking.masks import mask
from secagg.masking.messages import OVERHEAD
from secagg.masking.plans import SecAgg
from tests.bench.peers_masking import MissingPeerError
from tests.bench.peers_rounds import FlowerRounds, Grid


class Restated:
    """Flower's code, restated in a few lines: no part of ours."""

    @staticmethod
    def pseudo_rand_gen(seed, num_range, dimensions_list):
        """Of ``common/secure_aggregation/secaggplus_utils.py``: 32 bits of the seed start a Mersenne twister."""
        generator = np.random.RandomState(folded(seed))
        return [generator.randint(0, num_range - 1, dims, dtype=np.int64) for dims in dimensions_list]

    @staticmethod
    def _unmask(state, configs):
        """Of ``client/mod/secure_aggregation/secaggplus_mod.py``: a share for each name on either list."""
        active, dead = configs["active_nids"], configs["dead_nids"]
        if len(active) < state.threshold:
            raise ValueError("Available neighbours number smaller than threshold")
        shares = [state.rd_seed_share_dict[nid] for nid in active] + [state.sk1_share_dict[nid] for nid in dead]
        return {"nids": active + dead, "shares": shares}


def folded(seed):
    """What Flower keeps of a seed."""
    return int(np.bitwise_xor.reduce(np.frombuffer(seed, dtype="<u4")))


def flower():
    try:
        return FlowerRounds()
    except MissingPeerError as missing:
        pytest.skip(f"not installed: {missing}")


@pytest.fixture(params=["restated", "installed"])
def client(request):
    return Restated if request.param == "restated" else flower().client


def test_the_restatement_is_theirs():
    theirs = flower().client
    for seed in (bytes(range(32)), base64.urlsafe_b64encode(bytes(range(32)))):
        both = [side.pseudo_rand_gen(seed, 2**23, [(100,), (3, 4)]) for side in (theirs, Restated)]
        assert all(np.array_equal(a, b) for a, b in zip(*both, strict=True))


def test_two_seeds_of_a_self_mask_give_one_mask(client):
    """The order of a seed's words does not matter to it."""
    seed = bytes(range(32))
    other = seed[4:8] + seed[:4] + seed[8:]
    theirs = [client.pseudo_rand_gen(key, 2**32, [(1000,)])[0] for key in (seed, other)]
    assert np.array_equal(*theirs)
    assert not np.array_equal(*(mask(key, 1000, modulus=2**32) for key in (seed, other)))


def test_seeds_of_pairs_have_28_bits_and_meet(client):
    """They are base64: the top bit of each byte is zero. Two of 2^16 keys give one mask; of ours, two of some 2^128."""
    seen = {}
    for number in range(1 << 16):
        key = hashlib.sha256(number.to_bytes(4, "little")).digest()
        seed = folded(base64.urlsafe_b64encode(key))
        assert seed & 0x80808080 == 0
        if seed in seen:
            break
        seen[seed] = key
    pair = seen[seed], key
    assert pair[0] != pair[1]
    theirs = [client.pseudo_rand_gen(base64.urlsafe_b64encode(k), 2**32, [(1000,)])[0] for k in pair]
    assert np.array_equal(*theirs)
    assert not np.array_equal(*(mask(k, 1000, modulus=2**32) for k in pair))


def test_pairs_agree_on_such_seeds():
    theirs = flower()
    keys = [theirs.client.generate_key_pairs() for _ in range(2)]
    seed = theirs.client.generate_shared_key(keys[0][0], keys[1][1])
    assert len(seed) == 44
    assert folded(seed) & 0x80808080 == 0


def test_the_top_value_is_never_drawn(client):
    """Modulo 4 there is no 3, and modulo 2 nothing is masked at all."""
    theirs = client.pseudo_rand_gen(bytes(range(32)), 4, [(1000,)])[0]
    assert set(theirs.tolist()) == {0, 1, 2}
    assert set(mask(bytes(range(32)), 1000, modulus=4).tolist()) == {0, 1, 2, 3}
    assert not client.pseudo_rand_gen(bytes(range(32)), 2, [(1000,)])[0].any()
    assert set(mask(bytes(range(32)), 1000, modulus=2).tolist()) == {0, 1}


def test_one_message_gets_both_shares_of_a_party(client):
    state = SimpleNamespace(
        nid=1,
        threshold=2,
        rd_seed_share_dict={1: b"seed of 1", 2: b"seed of 2"},
        sk1_share_dict={1: b"key of 1", 2: b"key of 2"},
    )
    given = client._unmask(state, {"active_nids": [1, 2], "dead_nids": [2]})
    assert {b"seed of 2", b"key of 2"} <= set(given["shares"])


def test_their_server_reads_one_input_and_no_client_minds():
    """An attack in full, by the server alone: with both secrets of a party all its masks come off."""
    theirs = flower()
    vectors = {node: np.random.default_rng(node).uniform(-1, 1, 20) for node in range(1, 6)}
    grid = Grid(theirs, {node: theirs.server.ndarrays_to_parameters([vector]) for node, vector in vectors.items()})
    workflow, context = theirs.workflow(5, 3, 16, 23), theirs.context(list(vectors))
    state, sent = theirs.server.WorkflowState(), {}
    honest = grid.step

    def watched(node, stage, asked):
        sent[stage, node] = honest(node, stage, asked)
        return sent[stage, node]

    grid.step = watched
    for stage in ("setup_stage", "share_keys_stage", "collect_masked_vectors_stage"):
        assert getattr(workflow, stage)(grid, context, state)
    victim, nodes = 4, list(vectors)
    seeds, keys = [], []
    for node in nodes:
        given = grid.step(node, "unmask", {"active_nids": nodes, "dead_nids": [victim]})["shares"]
        seeds.append(given[nodes.index(victim)])
        keys.append(given[-1])

    masked = [theirs.server.bytes_to_ndarray(part) for part in sent["collect_masked_vectors", victim]["masked_params"]]
    found = masked[1] - made(theirs, theirs.server.combine_shares(seeds))
    for node in set(nodes) - {victim}:
        key = theirs.client.bytes_to_private_key(theirs.server.combine_shares(keys))
        public = theirs.client.bytes_to_public_key(sent["setup", node]["pk1"])
        found -= (1 if victim > node else -1) * made(theirs, theirs.client.generate_shared_key(key, public))
    real = (found % 2**23) * (2 / 2**16) - 1
    # one step of stochastic rounding, and three float64 roundings of numbers below 2
    assert np.abs(real - vectors[victim]).max() <= 2 / 2**16 + 2**-50


def made(theirs, seed):
    """The mask of a vector of twenty, behind that of its weight."""
    return theirs.client.pseudo_rand_gen(seed, 2**23, [(1,), (20,)])[1]


@pytest.mark.parametrize("adversary", ["semi_honest", "malicious"])
def test_our_clients_give_one_share_of_each_party(adversary):
    """A server that closes the round twice, with the victim's input and without, is answered once."""
    plan = SecAgg.plan(5, 20, 16, adversary=adversary, corrupt=0.0, dropout=0.2)
    keys = plan.keygen(seeded(1))
    clients = [plan.client(party, entropy=seeded(party), keys=held) for party, held in enumerate(keys.clients)]
    for party, session in enumerate(clients):
        session.set_input(np.full(20, party, dtype=np.uint64))
    server, victim = plan.server(entropy=seeded(1), keys=keys.server), 4
    server.start()
    messages = [session.start()[0] for session in clients]
    for name in ("advertise", "share_keys"):
        for party, message in enumerate(messages):
            server.receive(message.payload, party)
        closing = server.close_round()
        messages = [clients[out.dst].receive(out.payload, "server")[0] for out in closing]
        assert len(messages) == 5, name
    twin = plan.server(entropy=seeded(1), keys=keys.server)
    twin.restore(server.snapshot(bytes(32)), bytes(32))
    for party, message in enumerate(messages):
        server.receive(message.payload, party)
        if party != victim:
            twin.receive(message.payload, party)
    told, other = server.close_round(), twin.close_round()

    answers = [clients[out.dst].receive(out.payload, "server") for out in told]
    assert [len(answer) for answer in answers] == [1] * 5
    if adversary == "semi_honest":  # a set of five parties, and one share of each
        assert {len(answer[0].payload) for answer in answers} == {OVERHEAD + 1 + 5 * SHARE_BYTES}
    for out in other:
        assert out.dst != victim
        assert out.payload != told[out.dst].payload
        with pytest.raises(LocalProtocolError if adversary == "semi_honest" else PeerProtocolError):
            clients[out.dst].receive(out.payload, "server")


def round_of(theirs, gone):
    """Whether their round ends well; five nodes, of which three can open a secret."""
    nodes = range(1, 6)
    inputs = {node: theirs.server.ndarrays_to_parameters([np.zeros(4)]) for node in nodes}
    grid, workflow = Grid(theirs, inputs, gone), theirs.workflow(5, 3, 16, 23)
    context, state = theirs.context(list(nodes)), theirs.server.WorkflowState()
    stages = ("setup_stage", "share_keys_stage", "collect_masked_vectors_stage", "unmask_stage")
    return all(getattr(workflow, stage)(grid, context, state) for stage in stages)


@pytest.mark.parametrize("stage", ["setup", "share_keys"])
def test_a_node_that_is_lost_before_it_has_shared_its_keys_ends_their_round(stage):
    installed = flower()
    assert round_of(installed, {"collect_masked_vectors": [2]})
    with pytest.raises(KeyError):
        round_of(installed, {stage: [2]})


@pytest.mark.parametrize("name", ["advertise", "share_keys"])
def test_a_party_that_is_lost_before_it_has_shared_its_keys_is_left_out_of_our_sum(name):
    vectors = np.arange(20, dtype=np.uint64).reshape(5, 4)
    plan = SecAgg.plan(5, 4, 16, adversary="semi_honest", corrupt=0.0, dropout=0.2)
    result = simulate(plan, vectors, dropouts={name: [1]}, entropy=seeded(1))
    assert result.total.tolist() == vectors[[0, 2, 3, 4]].sum(0).tolist()
