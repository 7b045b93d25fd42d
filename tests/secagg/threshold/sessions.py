"""One threshold sum, step by step, for tests that disturb it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from secagg._rehearsal import Source
from secagg.threshold.messages import OVERHEAD, Kind, wrap
from secagg.threshold.plan import ThresholdSum

PLAN = ThresholdSum.plan(6, 3, 8, threshold=5, corrupt=0.2, dropout=0.2)
VECTORS = np.array([[party, 255, 17 * party] for party in range(6)], dtype=np.uint64)
#: two coefficients of a secret share a polynomial; seven of eight answer
PACKED = ThresholdSum.plan(8, 3, 8, threshold=7, corrupt=0.125, dropout=0.125)
EIGHT = np.array([[party, 255, 17 * party] for party in range(8)], dtype=np.uint64)
HEADER = OVERHEAD - 32


def body_of(payload):
    return payload[HEADER:-32]


class Play:
    """All sessions of a plan; `sent` holds each party's latest message, `told` what the server told it last."""

    def __init__(self, plan=PLAN, vectors=VECTORS, seed=0, keys=None):
        self.plan, self.vectors = plan, vectors
        self.keys = plan.keygen(Source(seed, "keys")) if keys is None else keys
        self.clients = [
            plan.client(party, entropy=Source(seed, f"party {party}"), keys=held)
            for party, held in enumerate(self.keys.clients)
        ]
        self.server = plan.server(keys=self.keys.server)
        self.told = {}
        self.sent = {}

    def start(self):
        for client, vector in zip(self.clients, self.vectors, strict=True):
            client.set_input(vector)
        self.server.start()
        self.sent = {party: client.start()[0].payload for party, client in enumerate(self.clients)}
        return self

    def close(self, gone=(), replaced=None):
        """Deliver what was sent, and close the round; what the server says is not delivered."""
        for party in sorted(set(self.sent) - set(gone)):
            self.server.receive((replaced or {}).get(party, self.sent[party]), party)
        self.told = {message.dst: message.payload for message in self.server.close_round()}
        return self

    def answer(self):
        """Deliver what the server said."""
        self.sent = {party: self.clients[party].receive(told, "server")[0].payload for party, told in self.told.items()}
        return self

    def to_inputs(self, **gone):
        """Everybody has masked its input."""
        return self.start().close(**gone).answer()

    def to_survivors(self, **gone):
        """Everybody has been told who survived, and has not heard it yet."""
        return self.to_inputs().close(**gone)

    def sealed(self, kind, party, body):
        """A message that the server, or the party, authenticates."""
        return wrap(kind, self.server._bound, party, body, key=self.server._links[party])

    def survivors(self, party, members):
        """What the server tells a party if these survive."""
        return self.sealed(Kind.SURVIVORS, party, self.server._set(sorted(members)))


def frozen(session):
    """Everything that a session is."""
    parts = {name: value for name, value in vars(session).items() if name not in ("_pairs", "_layout", "_turn")}
    return pickle.dumps((parts, sorted(session._pairs)))


def refuses(session, payload, sender, error, match=None):
    """The session says nothing, and is as it was."""
    before = frozen(session)
    with pytest.raises(error, match=match) as caught:
        session.receive(payload, sender)
    assert frozen(session) == before
    return caught.value
