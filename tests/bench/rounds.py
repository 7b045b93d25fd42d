"""A round of a masked sum, played by its sessions in one process, with the CPU time of each side."""

import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median


@dataclass
class Watch:
    """CPU seconds by whom and what they are spent on."""

    seconds: dict = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def of(self, *key):
        start = time.process_time()
        yield
        self.seconds[key] += time.process_time() - start

    def client(self):
        """The median of the parties that stayed to the end: those with the largest work are not fewer than half."""
        return median(seconds for key, seconds in self.seconds.items() if key[0] == "client")

    def server(self, name):
        return self.seconds["server", name]


def play(plan, inputs, gone=(), codec=None):
    """The parties in `gone` share their keys and are silent then; each answers when it is its turn, so that one masked
    input is there at a time.

    Args:
        plan: a plan.
        inputs: a function of the party's number: its vector.
        gone: parties.
        codec: what encodes the vectors and decodes the sum.

    Returns:
        The server's result, its total decoded if there is a codec, and the watch.
    """
    watch, keys = Watch(), plan.keygen()
    clients, steps = [], {}
    for party, held in enumerate(keys.clients):
        vector, client = inputs(party), plan.client(party, keys=held)
        with watch.of("client", party):
            client.set_input(vector if codec is None else codec.encode(vector))
        clients.append(client)
        steps[party] = client.start
    server = plan.server(keys=keys.server)
    server.start()
    for name in plan.rounds:
        steps = {party: step for party, step in steps.items() if name != "masked_input" or party not in gone}
        for party, step in steps.items():
            with watch.of("client", party):
                messages = step()
            for message in messages:
                with watch.of("server", name):
                    server.receive(message.payload, party)
        with watch.of("server", name):
            closing = server.close_round()
        steps = {
            message.dst: partial(clients[message.dst].receive, message.payload, "server")
            for message in closing
            if message.dst in steps
        }
    result = server.result()
    for party in gone:
        del watch.seconds["client", party]
    if codec is None:
        return result, result.total, watch
    with watch.of("server", plan.rounds[-1]):
        total = codec.decode(result.total, len(result.survivors))
    return result, total, watch
