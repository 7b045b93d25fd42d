"""A whole round of a masked sum against Flower's SecAgg+: a client, the server, and the bytes between them.

Both sides take real numbers, round them at random to the same 2^16 steps, share keys, mask modulo 2^23, lose one party
in ten before its masked input, and open the mean. Time is CPU time of one process. Ours is played in full, and its sum
is checked. Of Flower the functions that peers_rounds.py names are called: one client in full; of the server's loops
over parties one in ten, nine that stayed and one that did not, each with all its neighbours and shares, times ten.
"""

import sys
import time
from types import SimpleNamespace

import numpy as np

from secagg.codec import FixedPoint
from secagg.masking.plans import SecAgg, SecAggPlus
from tests.bench import peers_rounds as peers
from tests.bench.peers_masking import MissingPeerError
from tests.bench.rounds import play
from tests.bench.timing import row

PARTIES, DIM, BITS, CLIP = 100, 1_000_000, 16, 1.0
SAMPLE = 10


def rows():
    try:
        flower = peers.FlowerRounds()
    except MissingPeerError as missing:
        print(f"not installed: {missing}", file=sys.stderr)
        return []
    given = {"adversary": "semi_honest", "corrupt": 0.05, "dropout": 0.1}
    plans = [kind.plan(PARTIES, DIM, BITS, **given) for kind in (SecAgg, SecAggPlus)]
    return [line for plan in plans for line in compared(plan, flower)]


def compared(plan, flower):
    """Four rows of one plan; both sides have its graph's degree, its threshold and its modulus."""
    client, adding, opening, up = ours(plan)
    theirs = Theirs(flower, plan)
    what = f"{type(plan).__name__}, n = {PARTIES}, 10⁶ entries, {plan.neighbours} neighbours, t = {plan.threshold}"
    seconds, sent = theirs.client()
    yield row(f"{what}: a client's round", flower.name, client, seconds, "")
    seconds = theirs.adding(sent)
    yield row("the same: the server adds 90 masked inputs", flower.name, adding, seconds, "")
    yield row("the same: the server takes the masks off, 10 of 100 gone", flower.name, opening, theirs.opening(), "")
    yield {
        "what": "the same: bytes that a client sends",
        "against": flower.name,
        "ours": f"{up / 1e6:.2f} MB",
        "peer": f"{theirs.up / 1e6:.2f} MB",
        "ratio": f"{theirs.up / up:.2f} times smaller",
        "reach": "",
    }


def ours(plan):
    """Seconds of a client, seconds of the server to add and to open, and bytes that a party sends."""
    vectors = np.random.default_rng(0).uniform(-CLIP, CLIP, (SAMPLE, DIM))
    codec = FixedPoint(BITS, CLIP, rounding="stochastic")
    result, total, watch = play(plan, lambda party: vectors[party % SAMPLE], range(SAMPLE), codec)
    stayed = PARTIES // SAMPLE - 1
    if len(result.survivors) != PARTIES - SAMPLE or not np.allclose(
        total, stayed * vectors.sum(0), rtol=0, atol=stayed * SAMPLE * codec.error_bound
    ):
        raise RuntimeError("the sum is another one")
    return watch.client(), watch.server("masked_input"), watch.server("unmask"), int(result.bytes_up.max())


class Theirs:
    """Flower's round with the numbers of one of our plans."""

    def __init__(self, flower, plan):
        self._flower, self._plan = flower, plan
        self._nodes = list(range(1, plan.neighbours + 2))
        vector = np.random.default_rng(0).uniform(-CLIP, CLIP, DIM)
        inputs = {node: flower.server.ndarrays_to_parameters([vector]) for node in self._nodes[:1]}
        self._grid = peers.Grid(flower, inputs)
        self._grid.states.update({node: flower.client.SecAggPlusState() for node in self._nodes[1:]})
        self._asked = {
            "sample_num": PARTIES,
            "share_num": len(self._nodes),
            "threshold": plan.threshold,
            "clipping_range": CLIP,
            "target_range": 1 << BITS,
            "mod_range": 1 << plan.modulus_bits,
            "max_weight": 1.0,
        }
        self.up = 0

    def client(self):
        """CPU seconds of node 1 in all four stages, and its masked vector."""
        keys = {}
        for node, state in self._grid.states.items():
            state.nid = node
            answer = self._timed(node, "setup", self._asked)[1]
            keys[str(node)] = [answer["pk1"], answer["pk2"]]
        self._keys = {int(node): pair for node, pair in keys.items()}
        self.up = 0
        total = self._timed(1, "setup", self._asked)[0]
        own = self._grid.states[1]
        keys["1"] = [own.pk1, own.pk2]
        seconds, answer = self._timed(1, "share_keys", keys)
        asked = {"srcs": self._nodes[1:], "ctxts": [self._sealed(node) for node in self._nodes[1:]]}
        masking, masked = self._timed(1, "collect_masked_vectors", asked)
        stayed = len(self._nodes) - len(self._nodes) // SAMPLE
        lists = {"active_nids": self._nodes[:stayed], "dead_nids": self._nodes[stayed:]}
        return total + seconds + masking + self._timed(1, "unmask", lists)[0], masked

    def _timed(self, node, stage, asked):
        start = time.process_time()
        answer = self._grid.step(node, stage, dict(asked))
        seconds = time.process_time() - start
        self.up += peers.size(answer)
        return seconds, answer

    def _sealed(self, node):
        """What another node would have sent to node 1, with shares of the right length."""
        client, own = self._flower.client, self._grid.states[1]
        plain = client.share_keys_plaintext_concat(node, 1, own.rd_seed_share_dict[1], own.sk1_share_dict[1])
        return client.encrypt(own.ss2_dict[node], plain)

    def _state(self):
        """The server's state before it asks for masked inputs, with one in ten of its nodes; node 2 is gone."""
        state = self._flower.server.WorkflowState()
        self._owners = list(range(2, SAMPLE + 2))
        state.sampled_node_ids = set(self._owners)
        state.active_node_ids = set(self._owners) - {2}
        state.nid_to_neighbours = {node: set(self._nodes) for node in self._owners}
        state.nid_to_publickeys = self._keys
        state.threshold, state.mod_range = 0, 1 << self._plan.modulus_bits
        state.clipping_range, state.quantization_range = CLIP, 1 << BITS
        state.forward_srcs = state.forward_ciphertexts = {node: [] for node in self._owners}
        state.nid_to_fitins = {node: peers.Record() for node in self._owners}
        state.nid_to_proxies = dict.fromkeys(self._owners)
        return state

    def _stage(self, name, state, replies):
        """CPU seconds of a stage of the server, for all nodes."""
        workflow = self._flower.workflow(len(self._nodes), self._plan.threshold, BITS, self._plan.modulus_bits, CLIP)
        grid, context = SimpleNamespace(send_and_receive=lambda *words, **named: replies), self._flower.context([])
        start = time.process_time()
        if not getattr(workflow, name)(grid, context, state):
            raise RuntimeError("Flower's server gave up")
        return SAMPLE * (time.process_time() - start)

    def adding(self, masked):
        state = self._state()
        parts = masked["masked_params"]
        replies = [
            peers.reply(node, {"masked_params": [bytes(bytearray(part)) for part in parts]})  # memory of its own each
            for node in state.active_node_ids
        ]
        return self._stage("collect_masked_vectors_stage", state, replies)

    def opening(self):
        state, client = self._state(), self._flower.client
        state.threshold = self._plan.threshold
        state.aggregate_ndarrays = [np.array([1 << BITS]), np.zeros(DIM, dtype=np.int64)]
        state.legacy_results = [(None, SimpleNamespace(parameters=None))]
        holders = len(self._nodes) - len(self._nodes) // SAMPLE
        gone = client.create_shares(self._grid.states[2].sk1, state.threshold, len(self._nodes))
        stayed = client.create_shares(bytes(32), state.threshold, len(self._nodes))
        shares = {node: gone if node == 2 else stayed for node in self._owners}
        replies = [
            peers.reply(at + 2, {"nids": self._owners, "shares": [shares[node][at] for node in self._owners]})
            for at in range(holders)
        ]
        return self._stage("unmask_stage", state, replies)
