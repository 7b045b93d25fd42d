"""Protocols with a fault: ours, except for what a test bends in a plan or in its sessions."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from secagg import PlainSum, SecAgg, State
from secagg.errors import DecodeError, LocalProtocolError, PeerProtocolError, TooFewSurvivorsError
from secagg.masking.keys import KEY_BYTES
from secagg.masking.messages import OVERHEAD
from tests.secagg.wires import Stream


def plain(num_parties, dim):
    return PlainSum.plan(num_parties, dim, 16)


def masked(num_parties, dim, **changed):
    terms = {"adversary": "semi_honest", "corrupt": 0.2, "dropout": 0.2, **changed}
    return SecAgg.plan(num_parties, dim, 16, **terms)


class Bent:
    """A plan with other attributes, and sessions seen through something else."""

    def __init__(self, plan, *, client=None, server=None, **attributes):
        self._plan, self._client, self._server = plan, client, server
        self.__dict__.update(attributes)

    def __getattr__(self, name):
        return getattr(self._plan, name)

    def client(self, party, **settings):
        session = self._plan.client(party, **settings)
        return session if self._client is None else self._client(session, party)

    def server(self, **settings):
        session = self._plan.server(**settings)
        return session if self._server is None else self._server(session, "server")


class Session:
    """A session that hands everything on."""

    def __init__(self, inner, who):
        self.inner, self.who = inner, who

    def __getattr__(self, name):
        return getattr(self.inner, name)


class WrongTotal(Session):
    def result(self):
        result = self.inner.result()
        return replace(result, total=result.total + np.uint64(1))


class RealTotal(Session):
    def result(self):
        result = self.inner.result()
        return replace(result, total=result.total.astype(np.float64))


class NamesAll(Session):
    def result(self):
        result = self.inner.result()
        return replace(result, survivors=list(range(len(result.bytes_up))))


class ForgetsTheLast(Session):
    """Drops what the last party sends."""

    def receive(self, payload, sender):
        return [] if sender == 5 else self.inner.receive(payload, sender)


class OpensAnyway(Session):
    def result(self):
        try:
            return self.inner.result()
        except LocalProtocolError:
            return object()


class NobodyOpens(Session):
    def result(self):
        raise LocalProtocolError("no.")


class KeyErrorIfOneIsMissing(Session):
    def close_round(self):
        try:
            return self.inner.close_round()
        except TooFewSurvivorsError as error:
            raise KeyError("party") from error


class StartsTwice(Session):
    sent = None

    def start(self):
        if self.sent is None:
            self.sent = self.inner.start()
        return self.sent


class ValueErrorInOrder(Session):
    def close_round(self):
        raise ValueError("close_round belongs to the server")


class StopsWhenAskedWrongly(Session):
    def close_round(self):
        self.inner.abort("asked wrongly")
        raise LocalProtocolError("close_round belongs to the server.")


class KeepsTheSecondInput(Session):
    """Refuses a second input, and sends it all the same."""

    def set_input(self, vector):
        if self.inner.state is State.READY:
            self.inner._input = self.inner._input * np.uint64(0)
        self.inner.set_input(vector)


class RoundsReals(Session):
    def set_input(self, vector):
        self.inner.set_input(np.asarray(vector, dtype=np.int64))


class ClosesEmptyRounds(Session):
    def close_round(self):
        try:
            return self.inner.close_round()
        except TooFewSurvivorsError:
            return []


class NeverAborts(Session):
    def abort(self, reason):
        pass


class Cuts(Session):
    """Takes a message that is longer than it may be."""

    def receive(self, payload, sender):
        last = b"" if not isinstance(payload, bytes) else payload[:-1]
        try:
            return self.inner.receive(payload, sender)
        except DecodeError:
            return self.inner.receive(last, sender)


class TakesTwice(Session):
    """A second time is no matter."""

    def __init__(self, inner, who):
        super().__init__(inner, who)
        self.taken = []

    def receive(self, payload, sender):
        if (payload, sender) in self.taken:
            return []
        answers = self.inner.receive(payload, sender)
        self.taken.append((payload, sender))
        return answers


class BelievesAnyone(Session):
    """Reads the sender in the message."""

    def receive(self, payload, sender):
        for party in range(6):
            try:
                return self.inner.receive(payload, party)
            except PeerProtocolError:
                continue
        return self.inner.receive(payload, sender)


class IndexErrors(Session):
    def receive(self, payload, sender):
        if isinstance(payload, bytes):
            payload[0]
        return self.inner.receive(payload, sender)


class StopsAtRubbish(Session):
    def receive(self, payload, sender):
        try:
            return self.inner.receive(payload, sender)
        except DecodeError:
            self.inner.abort("rubbish")
            raise


class RubbishIsAdded(Session):
    def receive(self, payload, sender):
        try:
            return self.inner.receive(payload, sender)
        except DecodeError:
            self.inner._total += np.uint32(1)
            raise


class DeafToGuards(Session):
    """Asks its guard, and answers whatever it says."""

    def __init__(self, inner, who):
        super().__init__(inner, who)
        inner._guard = None if inner._guard is None else self

    def claim(self, session, step, digest):
        return True


class CountsWrongly(Session):
    def result(self):
        result = self.inner.result()
        return replace(result, bytes_up=result.bytes_up - 1)


class Scrambled(Session):
    """Hides what parties send under a stream of bytes that is none: the same for all, for a party, or a short one."""

    def __init__(self, inner, who, *, by_party, period):
        super().__init__(inner, who)
        self._by_party, self._period = by_party, period

    def _hidden(self, payload, party):
        name = f"stream {party if self._by_party else 0}".encode()
        key = hashlib.shake_256(name).digest(min(self._period, len(payload)))
        return bytes(a ^ b for a, b in zip(payload, key * (len(payload) // len(key) + 1), strict=False))

    def start(self):
        return [replace(message, payload=self._hidden(message.payload, self.who)) for message in self.inner.start()]

    def receive(self, payload, sender):
        if self.who == "server" and isinstance(payload, bytes) and payload:
            payload = self._hidden(payload, sender)
        return self.inner.receive(payload, sender)


def scrambled(*, by_party, period):
    """``make`` of a sum that is hidden badly."""

    def side(inner, who):
        return Scrambled(inner, who, by_party=by_party, period=period)

    return lambda n, dim: Bent(plain(n, dim), client=side, server=side)


def leaking(encode):
    """``make`` of a masked sum whose parties add their input, written in some way, to the first message."""

    class Leaks(Session):
        def set_input(self, vector):
            self.inner.set_input(vector)
            self.clear = encode(vector)

        def start(self):
            return [replace(message, payload=message.payload + self.clear) for message in self.inner.start()]

    class Ignores(Session):
        def __init__(self, inner, who):
            super().__init__(inner, who)
            self.heard = set()

        def receive(self, payload, sender):
            keys = payload if sender in self.heard else payload[: OVERHEAD + 2 * KEY_BYTES]
            self.heard.add(sender)
            return self.inner.receive(keys, sender)

    return lambda n, dim: Bent(masked(n, dim), client=Leaks, server=Ignores)


class OneTask:
    """A plan whose sessions are all one, whatever keys they are given."""

    def __init__(self, plan):
        self._plan = plan
        self._keys = plan.keygen(Stream(1))

    def __getattr__(self, name):
        return getattr(self._plan, name)

    def client(self, party, *, entropy=None, keys=None, guard=None):
        return self._plan.client(party, entropy=entropy, keys=self._keys.clients[party])

    def server(self, *, entropy=None, keys=None):
        return self._plan.server(entropy=entropy, keys=self._keys.server)


class OneSession(OneTask):
    """A plan whose sessions are all one, with the same masks."""

    def client(self, party, *, entropy=None, keys=None):
        return super().client(party, entropy=Stream(party))


class OwnEntropy(Bent):
    """A plan that draws for itself."""

    def client(self, party, *, entropy=None, keys=None):
        return self._plan.client(party, keys=keys)


class AnyParty(Bent):
    """A plan that takes a party's number modulo all."""

    def client(self, party, **settings):
        return self._plan.client(party % self._plan.num_parties, **settings)
