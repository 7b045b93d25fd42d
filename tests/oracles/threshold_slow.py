"""A slow, independent threshold sum, message by message, written from docs/threshold.md: nothing of secagg, no numpy.

``python -m tests.oracles.threshold_slow`` writes tests/vectors/threshold_sessions.json anew, from these alone.
"""

import hmac
import json
from bisect import bisect_left
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path

from tests.oracles import masking, threshold_refusals
from tests.oracles.threshold_numbers import (
    BOUND,
    EXACT,
    FIELD,
    SLOW,
    N,
    Q,
    apart,
    dealt,
    gaussian,
    joined,
    public_element,
    sha256,
    side_by_side,
    times,
    u32,
    x25519,
)

TABLE = Path(__file__).parents[1] / "vectors" / "threshold_sessions.json"
SERVER = 2**32 - 1
KINDS = {"shares": 1, "relay": 2, "input": 3, "survivors": 4, "reveal": 5}
HEADER, TAG = 52, 32


class Counted:
    """Bytes that follow from a name: SHA-256 of the name and a counter."""

    def __init__(self, name):
        self.name, self.turn = name.encode(), 0

    def bytes(self, n):
        out = b""
        while len(out) < n:
            out += sha256(self.name, self.turn.to_bytes(8, "little"))
            self.turn += 1
        return out[:n]


# plans


def tail_fits(limit, n, entries):
    """Whether noise of n parties is beyond the limit, in that many entries, with at most 2^-64."""
    if limit >= BOUND * n:
        return True
    exponent = EXACT.divide(Decimal(-25 * (limit + 1) ** 2), Decimal(2048 * n))
    exponent = EXACT.add(exponent, EXACT.divide(Decimal(n), Decimal(2**20)))
    return EXACT.multiply(Decimal(2 * entries * 2**64), EXACT.exp(exponent)) <= 1


@dataclass(frozen=True)
class Plan:
    """The numbers of a plan; `bad` and `dropped` are what the fractions come to."""

    name: str
    num_parties: int
    dim: int
    value_bits: int
    threshold: int
    corrupt: float
    dropout: float
    bad: int
    dropped: int

    @property
    def everybody(self):
        return range(self.num_parties)

    @property
    def min_survivors(self):
        return self.num_parties - self.dropped

    @property
    def packed(self):
        """Coefficients of a secret in one polynomial."""
        return self.threshold - (2 * self.num_parties + self.bad) // 3

    @property
    def polynomials(self):
        return -(-N // self.packed)

    @property
    def sealed_bytes(self):
        return -(-17 * self.polynomials // 8) + 16

    @property
    def width(self):
        return (self.num_parties * (2**self.value_bits - 1)).bit_length()

    def chunks_of(self, fields):
        return -(-self.dim // (fields * N))

    def delta_of(self, fields):
        return Q >> fields * self.width

    def limit_of(self, fields):
        entries, n = self.chunks_of(fields) * N, self.num_parties
        return bisect_left(range(BOUND * n), True, key=lambda limit: tail_fits(limit, n, entries))

    def cut_of(self, fields):
        """The bits that are cut, or None."""
        room = self.delta_of(fields) // 8 - self.limit_of(fields)
        return None if room < 0 else (room // self.num_parties).bit_length()

    def sent_of(self, fields):
        """Half of what is cut, the largest coefficient, and its bits."""
        half = 2 ** self.cut_of(fields) // 2
        largest = (Q - 1 + half) >> self.cut_of(fields)
        return half, largest, largest.bit_length()

    @cached_property
    def fields(self):
        possible = [f for f in range(1, 61) if f * self.width < 60 and self.cut_of(f) is not None]
        return min(possible, key=lambda f: (self.chunks_of(f) * N * self.sent_of(f)[2], f))

    @cached_property
    def chunks(self):
        return self.chunks_of(self.fields)

    @cached_property
    def delta(self):
        return self.delta_of(self.fields)

    @cached_property
    def limit(self):
        return self.limit_of(self.fields)

    @cached_property
    def cut(self):
        return self.cut_of(self.fields)

    @cached_property
    def sent(self):
        return self.sent_of(self.fields)

    @cached_property
    def config(self):
        numbers = (self.num_parties, self.dim, self.value_bits, self.threshold, self.min_survivors)
        numbers += (self.min_survivors - self.bad, self.bad, self.packed, self.width, self.fields, self.cut, self.limit)
        numbers += (N, Q, FIELD, BOUND)
        return sha256(
            b"secagg plan v1", u32(12), b"ThresholdSum", *(number.to_bytes(16, "little") for number in numbers)
        )


# who speaks


class Setting:
    """What a plan's sessions begin with: an identifier, keys, seeds and vectors."""

    def __init__(self, plan, primitives, name=None):
        source = Counted(f"threshold sum: {name or plan.name}")
        self.plan, self.primitives = plan, primitives
        self.session, self.server_secret = source.bytes(32), source.bytes(32)
        self.secrets = [source.bytes(32) for _ in plan.everybody]
        self.seeds = [source.bytes(32) for _ in plan.everybody]
        self.server_public = x25519(self.server_secret, masking.BASE)
        self.roster = [x25519(secret, masking.BASE) for secret in self.secrets]
        about = b"secagg v1 threshold binding"
        self.bound = sha256(about, self.session, plan.config, self.server_public, *self.roster)
        self.vectors = [vector(plan, seed) for seed in self.seeds]
        self.parties = [Party(self, party, seed) for party, seed in enumerate(self.seeds)]

    def pair(self, one, other):
        """The key of two, either of which may be the server."""
        i, j = sorted((one, other))
        public = [self.server_public if side == SERVER else self.roster[side] for side in (i, j)]
        shared = x25519(self.secrets[i], public[1])
        parts = (masking.SUITE, u32(i), public[0], u32(j), public[1])
        return masking.derived(shared, self.session, b"sealed shares", *parts)

    def link(self, party):
        return masking.derived(self.pair(party, SERVER), self.session, b"threshold link", self.bound)

    def sealed(self, sender, receiver, context, data):
        """What one says to another under the key of both."""
        ends = u32(sender), u32(receiver)
        key = masking.derived(self.pair(sender, receiver), self.session, b"sealed share", masking.SUITE, *ends, context)
        known = masking.framed(b"secagg v1", b"sealed share", self.session, *ends, context)
        return self.primitives.seal(key, bytes(12), data, known)

    def wrapped(self, kind, party, body, *, bound=None, version=1, magic=b"SAGT", zero=0, link=None, length=None):
        """A message to or from the server."""
        head = magic + bytes([version, KINDS.get(kind, kind), zero, zero]) + (bound or self.bound) + u32(party)
        head += (len(body) if length is None else length).to_bytes(8, "little")
        return head + body + hmac.digest(self.link(party) if link is None else link, head + body, "sha256")

    def digest(self, survivors):
        """What an answer is bound to: the body of a list of survivors."""
        return sha256(b"secagg v1 threshold survivors", self.bound, survivors)

    def members(self, parties):
        """A set."""
        return side_by_side([int(party in parties) for party in self.plan.everybody], 1)


def vector(plan, seed):
    """A party's entries: bytes that follow from its seed, the last entry as large as entries are."""
    top, size = 2**plan.value_bits, -(-plan.value_bits // 8)
    data = Counted(f"vector of {seed.hex()}").bytes((plan.dim - 1) * size)
    return [int.from_bytes(data[i : i + size], "little") % top for i in range(0, len(data), size)] + [top - 1]


class Party:
    """What a party draws, and what it says; it says the same whoever drops out, but for its answer."""

    def __init__(self, setting, party, seed):
        self.setting, self.plan, self.party, self.seed = setting, setting.plan, party, seed
        self.nonce = self.own(b"nonce")

    def own(self, purpose):
        return masking.derived(self.seed, self.setting.session, b"threshold " + purpose, self.setting.bound)

    @cached_property
    def secret(self):
        return gaussian(self.setting.primitives, self.own(b"secret"), 0)

    @cached_property
    def shares(self):
        """Its secret's, by holder."""
        return dealt(self.setting.primitives, self.plan, self.own(b"shares"), self.secret)

    def box(self, holder, values=None):
        """A share for another party, sealed."""
        return self.box_of(holder, side_by_side(self.shares[holder] if values is None else values))

    def box_of(self, holder, data):
        """Anything in place of a share."""
        return self.setting.sealed(self.party, holder, self.setting.bound + self.nonce, data)

    @cached_property
    def boxes(self):
        """All of them, by holder."""
        return {holder: self.box(holder) for holder in self.plan.everybody if holder != self.party}

    @cached_property
    def masked(self):
        """The coefficients of its input."""
        plan, setting = self.plan, self.setting
        half, _, _ = plan.sent
        out = []
        for chunk in range(plan.chunks):
            noise = gaussian(setting.primitives, self.own(b"noise"), chunk)
            hidden = times(public_element(setting.session, chunk), self.secret)
            packed = self.packed(chunk)
            for h, e, m in zip(hidden, noise, packed, strict=True):
                out.append((h + e + plan.delta * m) % Q + half >> plan.cut)
        return out

    def packed(self, chunk):
        """The coefficients that hold this chunk's entries."""
        plan, out = self.plan, [0] * N
        first = chunk * plan.fields * N
        for at, entry in enumerate(self.setting.vectors[self.party][first : first + plan.fields * N]):
            out[at // plan.fields] += entry << at % plan.fields * plan.width
        return out

    def shares_body(self):
        return self.nonce + b"".join(self.boxes.values())

    @cached_property
    def input_body(self):
        return side_by_side(self.masked, self.plan.sent[2])

    def answer(self, survivors):
        """The sum of the survivors' shares that it holds."""
        held = [self.setting.parties[other].shares[self.party] for other in survivors]
        return [sum(column) % FIELD for column in zip(*held, strict=True)]

    def reveal_body(self, survivors, values=None):
        """The answer, sealed for the server."""
        return self.answer_of(survivors, side_by_side(self.answer(survivors) if values is None else values))

    def answer_of(self, survivors, data):
        """Anything in place of an answer."""
        context = self.setting.bound + self.nonce + self.setting.digest(self.setting.members(survivors))
        return self.setting.sealed(self.party, SERVER, context, data)


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
        for step in (self._share, self._mask, self._reveal):
            if not step():
                break

    def _up(self, name, kind, bodies, required):
        """Whoever is left sends; whether there are enough."""
        self.lost |= set(self.gone.get(name, ()))
        sent = {party: body for party, body in sorted(bodies.items()) if party not in self.lost}
        for party, body in sent.items():
            self.messages.append((name, party, "server", self.setting.wrapped(kind, party, body())))
        self.stops = None if len(sent) >= required else name
        return list(sent)

    def _down(self, name, kind, bodies):
        for party, body in sorted(bodies.items()):
            self.messages.append((name, "server", party, self.setting.wrapped(kind, party, body)))

    def at(self, source, target, name):
        """Where in the session a message is."""
        return next(i for i, message in enumerate(self.messages) if message[:3] == (name, source, target))

    def raw(self, source, target, name):
        """A whole message."""
        return self.messages[self.at(source, target, name)][3]

    def body(self, source, target, name):
        """What it holds."""
        return self.raw(source, target, name)[HEADER:-TAG]

    def _share(self):
        bodies = {party: self.setting.parties[party].shares_body for party in self.plan.everybody}
        self.shared = self._up("share_keys", "shares", bodies, self.plan.min_survivors)
        if self.stops:
            return False
        self._down("share_keys", "relay", {party: self.relay(party, self.shared) for party in self.shared})
        return True

    def relay(self, reader, shared, **others):
        """What these sealed for a reader; `others`: boxes in place of theirs, as ``of_3=...``."""
        out = self.setting.members(shared)
        for party in shared:
            if party != reader:
                dealer = self.setting.parties[party]
                out += others.get(f"of_{party}", dealer.nonce + dealer.boxes[reader])
        return out

    def _mask(self):
        bodies = {party: lambda p=party: self.setting.parties[p].input_body for party in self.shared}
        self.alive = self._up("masked_input", "input", bodies, self.plan.min_survivors)
        if self.stops:
            return False
        self._down("masked_input", "survivors", dict.fromkeys(self.alive, self.setting.members(self.alive)))
        return True

    def _reveal(self):
        bodies = {party: lambda p=party: self.setting.parties[p].reveal_body(self.alive) for party in self.alive}
        self.answered = self._up("reveal", "reveal", bodies, self.plan.threshold)
        if self.stops:
            return False
        self.survivors, self.total = self.alive, self._opened()
        parties = (self.setting.vectors[party] for party in self.alive)
        assert self.total == [sum(column) for column in zip(*parties, strict=True)]
        return True

    def _opened(self):
        """The sum, as the server finds it with the last t answers."""
        plan, secret = self.plan, self._sum_of_secrets()
        half, largest, width = plan.sent
        bound = min(plan.limit, BOUND * len(self.alive)) + len(self.alive) * half
        inputs = [apart(self.body(party, "server", "masked_input"), width, plan.chunks * N) for party in self.alive]
        assert all(max(coefficients) <= largest for coefficients in inputs)
        out = []
        for chunk in range(plan.chunks):
            hidden = times(public_element(self.setting.session, chunk), secret)
            for i, mask in enumerate(hidden):
                sent = sum(coefficients[chunk * N + i] for coefficients in inputs)
                y = ((sent << plan.cut) - mask + plan.delta // 2) % Q
                packed, rest = divmod(y, plan.delta)
                assert abs(rest - plan.delta // 2) <= bound
                out += [packed >> j * plan.width & 2**plan.width - 1 for j in range(plan.fields)]
                assert packed >> plan.fields * plan.width == 0
        assert not any(out[plan.dim :])
        assert max(out) <= len(self.alive) * (2**plan.value_bits - 1)
        return out[: plan.dim]

    def _sum_of_secrets(self):
        some = self.answered[-self.plan.threshold :]
        secret = joined(self.plan, {party + 1: self.setting.parties[party].answer(self.alive) for party in some})
        assert max(map(abs, secret)) <= BOUND * len(self.alive)
        true = [sum(s) for s in zip(*(self.setting.parties[party].secret for party in self.alive), strict=True)]
        assert secret == true
        return secret


# the table

PLANS = (
    Plan("three, all needed", 3, 5, 8, 3, 0.0, 0.0, 0, 0),
    Plan("four", 4, 9000, 16, 3, 0.0, 0.25, 0, 1),
    Plan("five, one corrupt", 5, 20, 32, 4, 0.25, 0.25, 1, 1),
    Plan("six, one corrupt, all needed", 6, 25000, 1, 6, 0.17, 0.0, 1, 0),
    Plan("seven, two may go", 7, 7, 20, 5, 0.0, 0.29, 0, 2),
    Plan("seven, one may go", 7, 4097, 12, 6, 0.0, 0.15, 0, 1),
    Plan("seven, all needed", 7, 3, 9, 7, 0.0, 0.0, 0, 0),
    Plan("ten, one corrupt", 10, 2, 16, 9, 0.1, 0.1, 1, 1),
)
WITH_REFUSALS = {"five, one corrupt", "seven, two may go", "seven, all needed"}


def scripts(plan):
    """Who drops out, and when."""
    n, gone = plan.num_parties, plan.dropped
    spare = n - plan.threshold
    out = [{}, {"share_keys": list(range(gone + 1))}, {"masked_input": [1, *range(n - gone, n)]}]
    out += [{"reveal": list(range(n - spare - 1, n))}]
    if gone:
        out += [{"share_keys": [n - 1]}, {"masked_input": [1]}, {"masked_input": list(range(n - gone, n))}]
    if spare:
        out += [{"reveal": list(range(spare))}, {"reveal": [1]}]
    if gone > 1:
        out += [{"share_keys": [2], "masked_input": [n - 2]}]
    if gone and spare > gone:
        out += [{"masked_input": [0], "reveal": [n - 1]}]
    return [script for i, script in enumerate(out) if script not in out[:i]]


def numbers_of(total):
    """A vector, so that tables stay small: SHA-256 of its entries of 8 bytes, and the last ones."""
    return {
        "sha256": sha256(*(entry.to_bytes(8, "little") for entry in total)).hex(),
        "last": [str(e) for e in total[-3:]],
    }


def _session_row(session):
    return {
        "gone": session.gone,
        "messages": [
            [name, source, target, len(raw), sha256(raw).hex()] for name, source, target, raw in session.messages
        ],
        "stops": session.stops,
        "survivors": session.survivors,
        "total": None if session.total is None else numbers_of(session.total),
    }


def _head(setting):
    plan = setting.plan
    names = ("name", "num_parties", "dim", "value_bits", "threshold", "corrupt", "dropout")
    return {
        **{name: getattr(plan, name) for name in names},
        "config": plan.config.hex(),
        "session": setting.session.hex(),
        "secrets": [secret.hex() for secret in setting.secrets],
        "server_secret": setting.server_secret.hex(),
        "roster": [public.hex() for public in setting.roster],
        "server_public": setting.server_public.hex(),
        "bound": setting.bound.hex(),
        "seeds": [seed.hex() for seed in setting.seeds],
        "vectors": [numbers_of(entries) for entries in setting.vectors],
    }


def rows(primitives=SLOW, plans=PLANS):
    """All of the table."""
    for plan in plans:
        setting = Setting(plan, primitives)
        sessions = [Session(setting, gone) for gone in scripts(plan)]
        foreign = Setting(plan, primitives, f"another of {plan.name}")
        yield {
            **_head(setting),
            "sessions": [_session_row(session) for session in sessions],
            "refusals": threshold_refusals.refusals(sessions, foreign) if plan.name in WITH_REFUSALS else [],
        }


# plans of which only the numbers are told
MORE = (
    (15, 10**6, 16, 11, 0.07, 0.2, 1, 3),
    (100, 10**5, 16, 80, 0.1, 0.2, 10, 20),
    (400, 5000, 8, 300, 0.1, 0.1, 40, 40),
)
MORE += ((3, 12289, 1, 3, 0.0, 0.0, 0, 0), (4, 70000, 24, 3, 0.0, 0.25, 0, 1), (10, 1, 40, 7, 0.0, 0.3, 0, 3))


def _number_row(plan):
    return {
        "numbers": [plan.num_parties, plan.dim, plan.value_bits, plan.threshold, plan.corrupt, plan.dropout],
        "packed": plan.packed,
        "sealed_bytes": plan.sealed_bytes,
        "width": plan.width,
        "fields": plan.fields,
        "chunks": plan.chunks,
        "cut": plan.cut,
        "limit": plan.limit,
        "bits": plan.sent[2],
        "min_survivors": plan.min_survivors,
        "min_honest": plan.min_survivors - plan.bad,
        "config": plan.config.hex(),
    }


def others(primitives=SLOW):
    """What the table has beside sessions."""
    return {
        "numbers": [_number_row(plan) for plan in (*PLANS, *(Plan("", *numbers) for numbers in MORE))],
        "keys": threshold_refusals.keys(Setting(PLANS[2], primitives)),
        "refused": threshold_refusals.plans(),
    }


def text(primitives=SLOW):
    """The table as a file, one row a line."""
    parts = {"plans": list(rows(primitives)), **others(primitives)}
    lines = [f'"{name}":[\n' + ",\n".join(json.dumps(row) for row in part) + "\n]" for name, part in parts.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    TABLE.write_text(text())
