"""Shared by the tests of secagg: a repeatable source of bytes, and a network in miniature."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

import secagg
from secagg.envelope import Kind


class Stream:
    """Bytes that follow from a seed."""

    secure = False

    def __init__(self, seed: int) -> None:
        self._seed, self._drawn = seed, 0

    def bytes(self, n: int) -> bytes:
        start, self._drawn = self._drawn, self._drawn + n
        return hashlib.shake_256(self._seed.to_bytes(8, "little")).digest(self._drawn)[start:]


def vectors_of(plan: secagg.SumProtocol, seed: int) -> np.ndarray:
    """Uniform vectors, with both ends of the range among them where there is room."""
    top = (1 << plan.value_bits) - 1
    drawn = np.random.default_rng(seed).integers(0, top, (plan.num_parties, plan.dim), dtype=np.uint64, endpoint=True)
    drawn[:, -1] = top
    drawn[0, 0] = 0
    return drawn


def exact_sum(vectors: np.ndarray) -> list[int]:
    """The sum by Python's integers."""
    return [sum(int(value) for value in column) for column in vectors.T]


@dataclass
class Network:
    """A session with its keys, and each party's message."""

    plan: secagg.SumProtocol
    keys: secagg.Keys
    clients: list
    server: object
    up: list[bytes]

    @classmethod
    def started(cls, plan: secagg.SumProtocol, vectors: np.ndarray, keys: secagg.Keys | None = None) -> Network:
        keys = plan.keygen() if keys is None else keys
        clients = [plan.client(party, keys=held) for party, held in enumerate(keys.clients)]
        server = plan.server(keys=keys.server)
        server.start()
        up = []
        for client, vector in zip(clients, vectors, strict=True):
            client.set_input(vector)
            (message,) = client.start()
            up.append(message.payload)
        return cls(plan, keys, clients, server, up)

    def closed(self, parties: list[int] | None = None) -> dict[int, bytes]:
        """The server's messages, after the messages of `parties` (all)."""
        for party in range(self.plan.num_parties) if parties is None else parties:
            self.server.receive(self.up[party], party)
        return {message.dst: message.payload for message in self.server.close_round()}

    def body(self, party: int) -> bytes:
        """What a party's envelope holds."""
        return self.server._channels[party].unwrap(Kind.INPUT, self.up[party], peer=party)

    def open_body(self, body: bytes, party: int = 0) -> secagg.SumResult:
        """What a party makes of a sum's body (roster and ciphertexts) that the server really vouches for."""
        client = self.clients[party]
        client.receive(client._channel.wrap(Kind.SUM, body), "server")
        return client.result()
