"""A slow, independent masked sum, message by message: Python's integers, hashlib and hmac, and nothing of secagg.

``python -m tests.oracles.masked_slow`` writes tests/vectors/masked_sessions.json anew, from these functions alone.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.oracles import ed25519, masked_refusals, masking

TABLE = Path(__file__).parents[1] / "vectors" / "masked_sessions.json"
ADVERSARIES = ("semi_honest", "malicious", "semi_malicious")
KINDS = {"advertise": 1, "roster": 2, "shares": 3, "relay": 4, "input": 5, "survivors": 6, "signature": 7, "proof": 8}
KINDS["unmask"] = 9

# the same again and again, in sessions that begin alike
x25519, signing_key, signed = cache(masking.x25519), cache(ed25519.public), cache(ed25519.sign)
mask_entries, sealed_share = cache(masking.mask_entries), cache(masking.sealed_share)


@cache
def split(secrets, points, threshold, randomness):
    return masking.shares(list(secrets), list(points), threshold, randomness)


def small(number, length=4):
    return number.to_bytes(length, "little")


def digest(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def bits(flags):
    """A set, the first in the lowest bit."""
    return small(sum(1 << i for i, flag in enumerate(flags) if flag), -(-len(flags) // 8))


class Counted:
    """Bytes that follow from a name: SHA-256 of the name and a counter."""

    def __init__(self, name):
        self.name, self.turn = name.encode(), 0

    def bytes(self, n):
        out = b""
        while len(out) < n:
            out += digest(self.name, small(self.turn, 8))
            self.turn += 1
        return out[:n]


@dataclass(frozen=True)
class Plan:
    """The numbers of a plan; degrees and thresholds are looked up, not computed."""

    name: str
    protocol: str
    adversary: str
    num_parties: int
    value_bits: int
    wrap: bool
    corrupt: float
    dropout: float
    bad: int
    dropped: int
    neighbours: int
    threshold: int
    min_honest: int
    dim: int = 5

    @property
    def everybody(self):
        return range(self.num_parties)

    @property
    def is_complete(self):
        return self.neighbours == self.num_parties - 1

    @property
    def signed(self):
        return self.adversary == "malicious"

    @property
    def has_directory(self):
        return self.adversary == "semi_malicious"

    @property
    def min_survivors(self):
        return self.num_parties - self.dropped

    @property
    def quorum(self):
        return 0 if self.adversary == "semi_honest" else (self.num_parties + self.bad) // 2 + 1

    @property
    def modulus_bits(self):
        return self.value_bits if self.wrap else (self.num_parties * (2**self.value_bits - 1)).bit_length()

    @property
    def modulus(self):
        return 2**self.modulus_bits

    @property
    def config(self):
        name = self.protocol.encode()
        numbers = (self.num_parties, self.dim, self.value_bits, int(self.wrap), ADVERSARIES.index(self.adversary))
        numbers += (self.neighbours, self.threshold, self.min_survivors, self.min_honest, self.bad)
        return digest(b"secagg plan v1", small(len(name)), name, *(small(number, 16) for number in numbers))


PLANS = {
    plan.name: plan
    for plan in (
        Plan("semi-honest", "SecAgg", "semi_honest", 3, 7, False, 0.0, 0.34, 0, 1, 2, 2, 2),
        Plan("semi-honest, wrapping", "SecAgg", "semi_honest", 3, 64, True, 0.0, 0.34, 0, 1, 2, 2, 2),
        Plan("malicious", "SecAgg", "malicious", 4, 7, False, 0.25, 0.25, 1, 1, 3, 3, 2),
        Plan("malicious, wrapping", "SecAgg", "malicious", 4, 16, True, 0.25, 0.25, 1, 1, 3, 3, 2),
        Plan("graph", "SecAggPlus", "semi_honest", 6, 31, False, 0.0, 0.17, 0, 1, 4, 2, 5),
        Plan("graph, wrapping", "SecAggPlus", "semi_honest", 6, 13, True, 0.0, 0.17, 0, 1, 4, 2, 5),
        Plan("semi-malicious", "SecAggPlus", "semi_malicious", 6, 7, False, 0.17, 0.17, 1, 1, 4, 3, 3),
        Plan("semi-malicious, wrapping", "SecAggPlus", "semi_malicious", 6, 5, True, 0.17, 0.17, 1, 1, 4, 3, 3),
    )
}


class Setting:
    """What a plan's sessions begin with: a task, keys, seeds, vectors, and a ring."""

    def __init__(self, plan):
        source = Counted(f"masked sum: {plan.name}")
        self.plan, self.round = plan, 3
        self.model, self.nonce, self.graph = source.bytes(32), source.bytes(32), source.bytes(32)
        self.identities = [source.bytes(32) for _ in plan.everybody] if plan.signed else []
        self.seeds = [source.bytes(32) for _ in plan.everybody]
        top = 2**plan.value_bits
        self.vectors = [
            [*(int.from_bytes(source.bytes(8), "little") % top for _ in range(plan.dim - 1)), top - 1]
            for _ in plan.everybody
        ]
        self.task = self.task_about(self.model)
        words = masking.uniform(self.graph, plan.num_parties, 2**62)
        self.ring = sorted(plan.everybody, key=lambda party: words[party])
        assert len(set(words)) == plan.num_parties
        self.parties = [Party(self, party, seed) for party, seed in enumerate(self.seeds)]

    def task_about(self, model):
        """The task's identifier."""
        return digest(b"secagg task v1", self.plan.config, model, small(self.round, 8), self.nonce)

    def near(self, party):
        """A party and its neighbours: the nearest on the ring, or everybody."""
        if self.plan.is_complete:
            return set(self.plan.everybody)
        half, place = self.plan.neighbours // 2, self.ring.index(party)
        return {self.ring[(place + step) % self.plan.num_parties] for step in range(-half, half + 1)}

    def wrapped(self, kind, party, body, *, task=None, version=1):
        """A message."""
        head = b"SAGM" + bytes([version, KINDS[kind], 0, 0]) + (task or self.task) + small(party) + small(len(body), 8)
        return head + body + digest(head, body)

    def consistent(self, session, shared, alive):
        """What is signed about the list of survivors."""
        sets = [shared if self.plan.is_complete else [], alive]
        return b"secagg v1 consistency" + session + b"".join(small(len(s)) + b"".join(map(small, s)) for s in sets)


class Party:
    """A party's secrets, and what it says."""

    def __init__(self, setting, party, seed):
        self.setting, self.plan, self.party = setting, setting.plan, party
        names = (b"channel", b"mask", b"self", b"sharing", b"signing")
        keys = {name: masking.derived(seed, setting.task, name) for name in names}
        self.channel, self.mask, self.own, self.sharing, self.signing = (keys[name] for name in names)
        self.public = x25519(self.channel, masking.BASE) + x25519(self.mask, masking.BASE)

    def sign(self, message):
        """With the identity, or with a key of the session where there is none."""
        seed = self.setting.identities[self.party] if self.plan.signed else self.signing
        return signed(seed, message)

    def advertised(self, *, task=None, public=None):
        """Public keys, and what signs them or the list."""
        public = self.public if public is None else public
        if self.plan.signed:
            about = b"secagg v1 advertise" + (task or self.setting.task) + small(self.party) + public
            return public + self.sign(about)
        return public + (signing_key(self.signing) if self.plan.has_directory else b"")

    def pairs(self, roster):
        """Shares of mask key and self-mask seed for those in the roster, by party."""
        holders = [party for party in sorted(roster) if party != self.party or self.plan.is_complete]
        points = tuple(party + 1 for party in holders)
        both = split((self.mask, self.own), points, self.plan.threshold, self.sharing)
        return {party: b"".join(small(limb) for s in both for limb in s[i]) for i, party in enumerate(holders)}

    def agreed(self, purpose, party, public, session):
        """The key of a purpose with another party."""
        private, at = (self.channel, 0) if purpose == b"sealed shares" else (self.mask, 32)
        sides = sorted([(self.party, self.public[at : at + 32]), (party, public[at : at + 32])])
        bound = [part for who, key in sides for part in (small(who), key)]
        secret = x25519(private, public[at : at + 32])
        return masking.derived(secret, session, purpose, masking.SUITE, *bound)

    def sealed(self, roster, session):
        """Sealed pairs for the others, by party."""
        pairs, config = self.pairs(roster), self.plan.config
        return {
            party: sealed_share(
                self.agreed(b"sealed shares", party, roster[party], session),
                session,
                pairs[party],
                self.party,
                party,
                config,
            )
            for party in sorted(roster)
            if party != self.party
        }

    def masked(self, vector, others, session):
        """Commitment and masked vector."""
        modulus, dim = self.plan.modulus, self.plan.dim
        masks = [(1, masking.self_mask_key(self.own, session, self.party))]
        masks += [
            (1 if self.party > party else -1, self.agreed(b"pairwise mask", party, public, session))
            for party, public in others.items()
        ]
        total = list(vector)
        for sign, key in masks:
            entries = mask_entries(key, modulus, count=dim)
            total = [(entry + sign * mask) % modulus for entry, mask in zip(total, entries, strict=True)]
        width = self.plan.modulus_bits
        packed = small(sum(entry << i * width for i, entry in enumerate(total)), -(-dim * width // 8))
        return masking.commitment(session, self.party, self.own) + packed


class Session:
    """One sum: all messages in order, and what comes of it.

    Args:
        setting: what it begins with.
        gone: by the name of a round, who sends nothing from then on.
    """

    def __init__(self, setting, gone):
        self.setting, self.plan, self.gone = setting, setting.plan, gone
        self.lost, self.messages = set(), []
        self.survivors = self.total = self.stops = None
        steps = [self._advertise, self._share, self._mask, *([self._sign] if self.plan.quorum else []), self._unmask]
        for step in steps:
            if not step():
                break

    # -- who speaks

    def _up(self, name, kind, bodies, required):
        """Whoever is left sends; whether there are enough."""
        self.lost |= set(self.gone.get(name, ()))
        self.sent = {party: body for party, body in sorted(bodies.items()) if party not in self.lost}
        for party, body in self.sent.items():
            self.messages.append((name, party, "server", self.setting.wrapped(kind, party, body)))
        self.stops = None if len(self.sent) >= required else name
        return self.stops is None

    def _down(self, name, kind, bodies):
        for party, body in sorted(bodies.items()):
            self.messages.append((name, "server", party, self.setting.wrapped(kind, party, body)))

    def at(self, source, target, name):
        """Where in the session a message is."""
        return next(i for i, message in enumerate(self.messages) if message[:3] == (name, source, target))

    def body(self, source, target, name):
        """What it holds."""
        return self.messages[self.at(source, target, name)][3][52:-32]

    # -- rounds

    def entries(self, party):
        """The keys in a party's roster, with what signs them."""
        size = 128 if self.plan.signed else 64
        return {other: self.keys[other][:size] for other in sorted(self.setting.near(party) & self.keys.keys())}

    def directory(self):
        """The keys that the list is signed with."""
        return {party: keys[64:] for party, keys in sorted(self.keys.items())} if self.plan.has_directory else {}

    def written(self, entries, directory):
        """A roster; both as dicts or, to break the order, as lists of pairs."""
        entries, directory = (list(d.items()) if isinstance(d, dict) else d for d in (entries, directory))
        return small(len(entries)) + b"".join(small(party) + keys for party, keys in entries + directory)

    def session_of(self, roster):
        """The session's identifier."""
        if not self.plan.is_complete:
            return self.setting.task
        entries = b"".join(small(party) + keys[:64] for party, keys in sorted(roster.items()))
        return digest(b"secagg session v1", self.setting.task, small(len(roster)), entries)

    def _advertise(self):
        bodies = {party: self.setting.parties[party].advertised() for party in self.plan.everybody}
        if not self._up("advertise", "advertise", bodies, self.plan.min_survivors):
            return False
        self.keys = self.sent
        self.rosters = {party: self.entries(party) for party in self.keys}
        self.session = self.session_of(self.keys)
        self._check(self.rosters)
        rosters = {party: self.written(roster, self.directory()) for party, roster in self.rosters.items()}
        self._down("advertise", "roster", rosters)
        return True

    def _check(self, around):
        """Nobody has too few around it: of the plans here, none can come to that."""
        own = 0 if self.plan.is_complete else 1
        assert all(len(near) - own >= self.plan.threshold for near in around.values())

    def _share(self):
        sealed = {
            party: self.setting.parties[party].sealed(roster, self.session) for party, roster in self.rosters.items()
        }
        bodies = {party: b"".join(boxes.values()) for party, boxes in sealed.items()}
        if not self._up("share_keys", "shares", bodies, self.plan.min_survivors):
            return False
        self.sealed = {party: sealed[party] for party in self.sent}
        self.shared = {party: [other for other in self.rosters[party] if other in self.sent] for party in self.sent}
        self._check(self.shared)
        self._down("share_keys", "relay", {party: self.relayed(party, near) for party, near in self.shared.items()})
        return True

    def relayed(self, party, senders):
        """The shares that some neighbours sealed for a party."""
        others = [other for other in self.rosters[party] if other != party]
        boxes = [self.sealed[other][party] for other in others if other in senders]
        return bits([other in senders for other in others]) + b"".join(boxes)

    def _mask(self):
        bodies = {}
        for party, near in self.shared.items():
            others = {other: self.keys[other] for other in near if other != party}
            vector = self.setting.vectors[party]
            bodies[party] = self.setting.parties[party].masked(vector, others, self.session)
        if not self._up("masked_input", "input", bodies, self.plan.min_survivors):
            return False
        self.inputs = self.sent
        self.alive = sorted(self.inputs)
        self._down("masked_input", "survivors", {party: self.listed(party, self.alive) for party in self.alive})
        return True

    def listed(self, party, alive):
        """A list of survivors."""
        return bits([other in alive for other in (self.keys if self.plan.quorum else self.shared[party])])

    def signature(self, party, alive):
        """A party's signature over a list."""
        told = self.setting.consistent(self.session, self.shared[party], sorted(alive))
        return self.setting.parties[party].sign(told)

    def _sign(self):
        bodies = {party: self.signature(party, self.alive) for party in self.alive}
        if not self._up("consistency", "signature", bodies, self.plan.quorum):
            return False
        self._down("consistency", "proof", dict.fromkeys(self.sent, self.proven(self.alive, self.sent)))
        return True

    def proven(self, alive, signatures):
        """Signatures of some survivors."""
        return bits([party in signatures for party in alive]) + b"".join(
            signatures[party] for party in sorted(signatures)
        )

    def given(self, party, alive):
        """A party's shares of the others' secrets, one of each."""
        found = {}
        for other in self.shared[party]:
            if other == party and not self.plan.is_complete:
                continue
            pair = self.setting.parties[other].pairs(self.rosters[other])[party]
            found[other] = pair[36:] if other in alive else pair[:36]
        return found

    def unmasking(self, party, given):
        """The message with these shares."""
        return bits([other in given for other in self.shared[party]]) + b"".join(given.values())

    def _unmask(self):
        talking = self.sent if self.plan.quorum else self.alive
        self.shares = {party: self.given(party, self.alive) for party in talking}
        bodies = {party: self.unmasking(party, given) for party, given in self.shares.items()}
        self._up("unmask", "unmask", bodies, 0)
        self._open()
        return self.stops is None

    # -- the sum

    def _open(self):
        """Join what was given, as the server would, and take the masks off."""
        needed = sorted({*self.alive, *(other for party in self.alive for other in self.shared[party])})
        total = [0] * self.plan.dim
        for party in self.alive:
            total = self._plus(total, 1, self._unpacked(self.inputs[party][32:]))
        for party in needed:
            holders = [other for other in self.sent if party in self.shares[other]]
            if len(holders) < self.plan.threshold:
                self.stops = "unmask"
                return
            for sign, key in self._masks(party, self._joined(party, holders)):
                total = self._plus(total, -sign, mask_entries(key, self.plan.modulus, count=self.plan.dim))
        expected = [sum(column) for column in zip(*(self.setting.vectors[party] for party in self.alive), strict=True)]
        assert total == [entry % self.plan.modulus for entry in expected]
        assert self.plan.wrap or max(expected) < self.plan.modulus
        self.survivors, self.total = self.alive, total

    def _plus(self, total, sign, entries):
        return [(a + sign * b) % self.plan.modulus for a, b in zip(total, entries, strict=True)]

    def _unpacked(self, packed):
        number, width = int.from_bytes(packed, "little"), self.plan.modulus_bits
        return [number >> i * width & (self.plan.modulus - 1) for i in range(self.plan.dim)]

    def _joined(self, party, holders):
        """The secret that the last so many of the shares give."""
        some = holders[-self.plan.threshold :]
        rows = [self.shares[other][party] for other in some]
        points = [other + 1 for other in some]
        limbs = [
            masking.at_zero(
                [int.from_bytes(row[4 * i : 4 * i + 4], "little") for row in rows], points, masking.MERSENNE
            )
            for i in range(9)
        ]
        return small(sum(limb << 30 * i for i, limb in enumerate(limbs)), 32)

    def _masks(self, party, secret):
        """The masks in the sum that a secret opens, with their signs."""
        owner = self.setting.parties[party]
        if party in self.alive:
            assert secret == owner.own
            return [(1, masking.self_mask_key(secret, self.session, party))]
        assert secret == owner.mask
        return [
            (1 if other > party else -1, owner.agreed(b"pairwise mask", other, self.keys[other], self.session))
            for other in self.alive
            if party in self.shared[other]
        ]


def scripts(plan):
    """Who drops out, and when."""
    if plan.wrap:
        return [{"masked_input": [1]}]
    rounds = ["advertise", "share_keys", "masked_input", *(["consistency"] if plan.quorum else []), "unmask"]
    last = plan.num_parties - 1
    one_each = [{name: [(2 * i + 1) % plan.num_parties]} for i, name in enumerate(rounds)]
    return [{}, *one_each, {"masked_input": [0], "unmask": [last]}, {"share_keys": [0], "masked_input": [last]}]


def _common(one, two):
    return next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))


def _session_row(session, first):
    same = 0 if session is first else _common(session.messages, first.messages)
    return {
        "gone": session.gone,
        "as_first": same,
        "messages": [[name, source, target, raw.hex()] for name, source, target, raw in session.messages[same:]],
        "stops": session.stops,
        "survivors": session.survivors,
        "total": None if session.total is None else [str(entry) for entry in session.total],
    }


def _head(setting):
    plan = setting.plan
    names = ("name", "protocol", "adversary", "num_parties", "dim", "value_bits", "wrap", "corrupt", "dropout")
    numbers = ("modulus_bits", "neighbours", "threshold", "min_survivors", "min_honest")
    return {name: getattr(plan, name) for name in names + numbers} | {
        "quorum": plan.quorum,
        "config": plan.config.hex(),
        "model": setting.model.hex(),
        "round": setting.round,
        "nonce": setting.nonce.hex(),
        "task": setting.task.hex(),
        "graph": setting.graph.hex(),
        "ring": setting.ring,
        "identities": [seed.hex() for seed in setting.identities],
        "seeds": [seed.hex() for seed in setting.seeds],
        "vectors": [[str(entry) for entry in vector] for vector in setting.vectors],
    }


def row(plan):
    """A plan, its sessions, and what must be refused in them."""
    setting = Setting(plan)
    sessions = [Session(setting, gone) for gone in scripts(plan)]
    refused = [] if plan.wrap else list(masked_refusals.refusals(sessions))
    guarded = [] if plan.wrap else list(masked_refusals.guarded(sessions))
    rows = [_session_row(session, sessions[0]) for session in sessions]
    return _head(setting) | {"sessions": rows, "refusals": refused, "guards": guarded}


def _lines(value, depth):
    """JSON with the outer levels on lines of their own."""
    if depth == 0 or not isinstance(value, (dict, list)) or not value:
        return json.dumps(value)
    if isinstance(value, dict):
        return (
            "{\n" + ",\n".join(f"{json.dumps(name)}: {_lines(item, depth - 1)}" for name, item in value.items()) + "\n}"
        )
    return "[\n" + ",\n".join(_lines(item, depth - 1) for item in value) + "\n]"


def text():
    """The table as a file."""
    return "[\n" + ",\n".join(_lines(row(plan), 5) for plan in PLANS.values()) + "\n]\n"


if __name__ == "__main__":
    TABLE.write_text(text())
