"""Masked sums played by one driver, what must come of a script of drop-outs, and the messages of a server that lies."""

import contextlib
import hashlib
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum

import numpy as np

from secagg.errors import SecAggError, TooFewSurvivorsError
from secagg.masking.keys import KEY_BYTES, Purpose, agree, seal_share
from secagg.masking.layout import SHARE_BYTES, advertised, consistent
from secagg.masking.messages import OVERHEAD, Kind, wrap
from secagg.masking.packing import pack_set
from secagg.masking.secrets import PartySecrets
from secagg.masking.task import roster_digest
from tests.secagg.wires import Stream, exact_sum, vectors_of

HEADER = OVERHEAD - 32


def body_of(payload):
    """What a message holds."""
    return payload[HEADER:-32]


def resealed(payload, body):
    """The message with another body and a header and digest that fit it: an attacker's, not an accident."""
    head = payload[: HEADER - 8] + len(body).to_bytes(8, "little")
    return head + body + hashlib.sha256(head + body).digest()


def frozen(value):
    """Everything inside an object, to be compared with what it was before; keys that were agreed on follow from it."""
    if value is None or isinstance(value, (str, bytes, int, float, Enum)):
        return value
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, dict):
        return tuple((key, frozen(item)) for key, item in sorted(value.items()) if key not in ("_channels", "_turn"))
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    if isinstance(value, (set, frozenset)):
        return frozenset(frozen(item) for item in value)
    if isinstance(getattr(value, "public", None), bytes) and hasattr(value, "_private"):
        return (type(value).__name__, value.public)
    if is_dataclass(value):
        return (type(value).__name__, *(frozen(getattr(value, part.name)) for part in fields(value)))
    if hasattr(value, "__dict__") and type(value).__module__.startswith("secagg."):
        return (type(value).__name__, frozen(vars(value)))
    return id(value)


def fork(value):
    """A session, or a whole play, that goes its own way from here on."""
    if isinstance(value, Play):
        return Play(
            value.plan,
            value.keys,
            [fork(client) for client in value.clients],
            fork(value.server),
            value.vectors,
            *(one.copy() for one in (value.pending, value.up, value.down)),
        )
    copy = object.__new__(type(value))
    for name, held in vars(value).items():
        if isinstance(held, PartySecrets):
            setattr(copy, name, fork(held))
        else:
            setattr(copy, name, held.copy() if isinstance(held, (dict, list, set, np.ndarray)) else held)
    return copy


def remembered(value):
    """All bytes that an object and what it holds still know, private keys included."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return b"|".join(remembered(item) for pair in value.items() for item in pair)
    if isinstance(value, (list, tuple, set, frozenset)):
        return b"|".join(remembered(item) for item in value)
    private = getattr(value, "_private", None)
    if private is not None:
        return private.private_bytes_raw()
    if is_dataclass(value):
        return b"|".join(remembered(getattr(value, part.name)) for part in fields(value))
    if hasattr(value, "__dict__") and type(value).__module__.startswith("secagg."):
        return remembered(vars(value))
    return b""


def secrets_of(client):
    """The private bytes of a session that has not ended: mask key, self-mask seed, and whatever they follow from."""
    held = client._secrets
    return (*held._shared, held._channel._private.private_bytes_raw(), held._sharing, held.seed)


@dataclass
class Play:
    """All parties and the server of one sum, round by round."""

    plan: object
    keys: object
    clients: list
    server: object
    vectors: np.ndarray
    pending: dict = field(default_factory=dict)
    up: list = field(default_factory=list)
    down: list = field(default_factory=list)

    @classmethod
    def of(cls, plan, seed=1, *, vectors=None):
        """Sessions that have not begun; everything follows from the seed."""
        source = Stream(seed)
        keys = plan.keygen(source)
        clients = [plan.client(party, entropy=source, keys=held) for party, held in enumerate(keys.clients)]
        vectors = vectors_of(plan, seed) if vectors is None else vectors
        for client, vector in zip(clients, vectors, strict=True):
            client.set_input(vector)
        play = cls(plan, keys, clients, plan.server(entropy=source, keys=keys.server), vectors)
        play.server.start()
        play.pending = {party: client.start()[0].payload for party, client in enumerate(clients)}
        return play

    def send(self, parties):
        """These parties' messages reach the server."""
        for party in parties:
            assert self.server.receive(self.pending[party], party) == []
            self.up.append((party, self.pending[party]))

    def close(self):
        """The server's messages at the end of the round."""
        messages = {message.dst: message.payload for message in self.server.close_round()}
        self.down.extend(messages.items())
        self.pending = {}
        return messages

    def hear(self, messages, deaf=()):
        """The parties' answers, to be sent in the next round; where too few are left, a party says nothing."""
        for party, payload in messages.items():
            if party not in deaf:
                with contextlib.suppress(TooFewSurvivorsError):
                    (answer,) = self.clients[party].receive(payload, "server")
                    assert answer.dst == "server"
                    self.pending[party] = answer.payload

    def round(self, gone=()):
        """A round without some parties, which never come back."""
        self.send([party for party in sorted(self.pending) if party not in gone])
        self.hear(self.close())

    def until(self, name):
        """Play until the messages of a round are ready to be sent."""
        while self.server.state == "collecting" and self.current != name:
            self.round()
        return self

    @property
    def current(self):
        """The round whose messages are awaited."""
        return self.plan.rounds[self.server._round]

    def finish(self):
        """The rest of the rounds, and the result."""
        while self.server.state == "collecting":
            self.round()
        return self.server.result()

    def played_out(self, gone):
        """What comes of drop-outs from here on: the survivors, or the round that could not be closed."""
        lost = set()
        while self.server.state == "collecting":
            lost |= set(gone.get(self.current, ()))
            self.send([party for party in sorted(self.pending) if party not in lost])
            before = frozen(self.server)
            try:
                messages = self.close()
            except TooFewSurvivorsError as error:
                assert error.alive < error.required
                assert frozen(self.server) == before, "as it was"
                return self.current
            self.hear(messages, lost)
        result = self.server.result()
        assert result.total.dtype == np.uint64
        assert result.total.tolist() == self.expected(result.survivors)
        return set(result.survivors)

    def expected(self, survivors):
        """The exact sum of some parties' vectors, modulo 2^modulus_bits."""
        return [value % (1 << self.plan.modulus_bits) for value in exact_sum(self.vectors[sorted(survivors)])]


def outcome(plan, around, gone):
    """What must come of drop-outs: the survivors, or the name of the round that cannot be closed.

    Sets alone: a secret survives if enough of those who got a share of it say so at the end, and a sum does if every
    secret that it needs survives. Parties that hear of too few others around them say nothing more.

    Args:
        plan: its public numbers are used.
        around: the neighbours of each party.
        gone: by the name of a round, who does not send in it any more.
    """
    limits = plan.thresholds
    everybody = set(range(plan.num_parties))
    near = {party: set(around(party)) for party in everybody}

    def talkative(parties):
        own = 1 if limits.own_share else 0
        return {party for party in parties if len(near[party] & parties) + own >= limits.threshold}

    left = set(everybody)
    advertised_, shared_, summed = (set(),) * 3
    for name in plan.rounds:
        left -= set(gone.get(name, ()))
        if name == "unmask":
            break
        needed = (plan.num_parties + limits.corrupt) // 2 + 1 if name == "consistency" else limits.min_survivors
        if len(left) < needed:
            return name
        if name == "advertise":
            advertised_ = set(left)
        elif name == "share_keys":  # who says nothing more has shared with nobody, and may silence others
            while left != talkative(left):
                left = talkative(left)
            shared_ = set(left)
        elif name == "masked_input":
            summed = set(left)
        if name != "consistency":
            left = talkative(left)
    assert summed <= shared_ <= advertised_
    for party in everybody:
        if party in summed:
            holders = (near[party] & left) | ({party} & left if limits.own_share else set())
        elif party in shared_ and near[party] & summed:
            holders = near[party] & left
        else:
            continue
        if len(holders) < limits.threshold:
            return "unmask"
    return summed


@dataclass
class Liar:
    """A server, and all parties but one, that say to that one whatever they like: they know all keys but its own.

    Shares that it is given are made up, so that each can be told by its bytes.

    Args:
        plan: the plan.
        victim: who is lied to.
        seed: of the victim's and everybody's keys.
    """

    plan: object
    victim: int = 0
    seed: int = 5

    def __post_init__(self):
        self.layout = self.plan._layout
        source = Stream(self.seed)
        self.keys = self.plan.keygen(source)
        self.task = self.keys.server.task.identifier(self.layout.config)
        self.client = self.plan.client(self.victim, entropy=source, keys=self.keys.clients[self.victim])
        self.peers = {
            party: self.plan.client(party, entropy=source, keys=self.keys.clients[party])
            for party in range(self.plan.num_parties)
            if party != self.victim
        }
        self.client.set_input(vectors_of(self.plan, self.seed)[self.victim])
        (message,) = self.client.start()
        self.advertised = {self.victim: body_of(message.payload)}
        for party, peer in self.peers.items():
            peer.set_input(vectors_of(self.plan, self.seed)[party])
            self.advertised[party] = body_of(peer.start()[0].payload)
        graph = self.plan.server(entropy=source, keys=self.keys.server)
        self.near = sorted((self.victim, *graph._graph.neighbours(self.victim)))
        self.said = [message.payload]

    def tell(self, payload):
        """Say something, and remember what the victim answers."""
        (answer,) = self.client.receive(payload, "server")
        self.said.append(answer.payload)
        return answer.payload

    def message(self, kind, body):
        """A message to the victim."""
        return wrap(kind, self.task, self.victim, body)

    def entries(self, parties=None):
        """Keys of the roster, as advertised."""
        size = self.layout.entry_bytes
        return {party: self.advertised[party][:size] for party in (self.near if parties is None else parties)}

    def directory(self, parties=None):
        """Keys that the list is signed with, as advertised."""
        if not self.layout.has_directory:
            return {}
        everybody = range(self.plan.num_parties) if parties is None else parties
        return {party: self.advertised[party][self.layout.entry_bytes :] for party in everybody}

    def roster(self, entries=None, directory=None):
        """A roster message."""
        entries = self.entries() if entries is None else entries
        directory = self.directory() if directory is None else directory
        return self.message(Kind.ROSTER, self.layout.write_roster(sorted(entries.items()), sorted(directory.items())))

    def session(self, parties):
        """The session's identifier after a roster of these parties, as advertised."""
        if not self.layout.is_complete:
            return self.task
        return roster_digest(self.task, sorted(parties), [self.advertised[party][:64] for party in sorted(parties)])

    def share(self, party, *, of_seed):
        """The share of one of a peer's secrets that the victim is given: bytes that are nothing else's."""
        return (f"{'seed' if of_seed else 'mask'} {party} ".encode() * SHARE_BYTES)[:SHARE_BYTES]

    def relay(self, roster, senders, *, broken=()):
        """The shares of some parties of the roster, which the victim heard before."""
        session, sealed = self.session(roster), []
        for party in sorted(senders):
            own, public = self.peers[party]._secrets._channel, self.advertised[self.victim][:KEY_BYTES]
            key = agree(own, public, session=session, mine=party, theirs=self.victim, purpose=Purpose.SHARES)
            pair = self.share(party, of_seed=False) + self.share(party, of_seed=True)
            box = seal_share(key, pair, sender=party, receiver=self.victim, config=self.layout.config)
            sealed.append(bytes(len(box)) if party in broken else box)
        others = [party for party in sorted(roster) if party != self.victim]
        return self.message(Kind.RELAY, pack_set([party in senders for party in others]) + b"".join(sealed))

    def survivors(self, listed, alive):
        """Who of those that the list is about is in the sum."""
        return self.message(Kind.SURVIVORS, pack_set([party in alive for party in sorted(listed)]))

    def signature(self, party, session, shared, alive):
        """What a party signs about the list."""
        told = consistent(session, sorted(shared) if self.layout.is_complete else [], sorted(alive))
        if self.layout.has_directory:
            return self.peers[party]._secrets.signing.sign(told)
        return self.keys.clients[party].identity.sign(told)

    def proof(self, alive, signatures):
        """Signatures of some of the survivors."""
        some = pack_set([party in signatures for party in sorted(alive)])
        return self.message(Kind.PROOF, some + b"".join(signatures[party] for party in sorted(signatures)))

    def signed_advertisement(self, party, task):
        """A party's keys, signed for a task."""
        keys = self.advertised[party][:64]
        return keys + self.keys.clients[party].identity.sign(advertised(task, party, keys))


def told(play, lists):
    """What parties answer that are told, each by itself, who survives; those that refuse are not in it."""
    found = {}
    for party, alive in lists.items():
        listed = sorted(play.server._keys) if play.plan._layout.quorum else sorted(play.server._shared[party])
        payload = wrap(Kind.SURVIVORS, play.server._task, party, pack_set([other in alive for other in listed]))
        with contextlib.suppress(SecAggError):
            found[party] = play.clients[party].receive(payload, "server")[0].payload
    return found


def proven(play, lists, signatures):
    """What parties answer that are shown all signatures over the list that they were told."""
    found = {}
    for party, alive in lists.items():
        shown = {other: body_of(signed) for other, signed in signatures.items() if lists[other] == alive}
        body = pack_set([other in shown for other in sorted(alive)])
        body += b"".join(shown[other] for other in sorted(shown))
        with contextlib.suppress(SecAggError):
            payload = wrap(Kind.PROOF, play.server._task, party, body)
            found[party] = play.clients[party].receive(payload, "server")[0].payload
    return found


def opened_by(answers, shared, victim):
    """The shares of a victim's secret that some unmasking messages hold, by the number of who gave them."""
    found = {}
    for party, payload in answers.items():
        body, members = body_of(payload), sorted(shared[party])
        size = -(-len(members) // 8)
        given = [member for i, member in enumerate(members) if body[i // 8] >> i % 8 & 1]
        if victim in given:
            start = size + given.index(victim) * SHARE_BYTES
            found[party] = np.frombuffer(body[start : start + SHARE_BYTES], dtype="<u4").astype(np.uint32)
    return found
