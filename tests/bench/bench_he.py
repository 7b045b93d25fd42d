"""Sums of 10⁶ values of 15 parties: ours by every protocol, and TenSEAL as its README and NVFlare set it up.

One thread, CPU time. Messages are made in turn by all who send one, and the least of three turns counts; in sums with
rounds, the median of 15 parties. What the server does for one party is the least of 15, in sums with rounds the mean.
Our sums are of 15 vectors, TenSEAL's of three five times; every one is compared with the integers.
"""

import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from unittest.mock import patch

import numpy as np

from tests.bench.rounds import play
from tests.bench.timing import row

PARTIES, DIM, HALF = 15, 1_000_000, 1 << 15
FLOAT32 = 4 * DIM
TURNS = 3
LOST = {"corrupt": 0.1, "dropout": 0.1}
README, NVFLARE = "TenSEAL, README settings", "TenSEAL, NVFlare settings"
SHARED, SHARED_8, THRESHOLD = "BFVSum, shared key", "BFVSum, shared key, 8 bits", "ThresholdSum, t = 11"

WRITERS = (
    ("secagg.he.seal", "_save"),
    ("secagg.he.slots", "_save"),
    ("secagg.masking.secrets", "pack_bits"),
    ("secagg.threshold.masked", "pack_bits"),
)
"""What makes bytes of what is encrypted."""


@dataclass
class Figures:
    """Bytes of an upload, and seconds: a party's encryption without and with what writes it, the server's of one party,
    and of opening the sum."""

    upload: int
    encrypt: float
    serialise: float
    add: float
    open: float

    @property
    def message(self):
        return self.encrypt + self.serialise

    @property
    def share(self):
        return self.upload / FLOAT32


def timed(function, *arguments):
    """What a function returns, and its CPU seconds."""
    start = time.process_time()
    done = function(*arguments)
    return done, time.process_time() - start


@contextmanager
def writing():
    """Seconds in what makes bytes, one entry a call."""
    seconds = []

    def counted(function):
        def wrapped(*arguments):
            done, taken = timed(function, *arguments)
            seconds.append(taken)
            return done

        return wrapped

    patches = [patch(f"{module}.{name}", counted(getattr(import_module(module), name))) for module, name in WRITERS]
    for each in patches:
        each.start()
    try:
        yield seconds
    finally:
        for each in patches:
            each.stop()


def check(total, wanted):
    """The sum of the integers, or that of reals in [-1, 1) on the grid of 2^-15."""
    if total.dtype.kind == "f":
        total = np.rint(total * HALF).astype(np.int64) + PARTIES * HALF
    if not np.array_equal(total, wanted):
        raise RuntimeError("the sum is another one")


class Ours:
    """A plan in which parties send one message."""

    def __init__(self, plan, rows):
        self._plan, self._keys, self._wanted = plan, plan.keygen(), rows.sum(0)
        self._inputs = rows / HALF - 1.0 if hasattr(plan, "clip") else rows

    def message(self, party=0):
        """A party's message, and the seconds to encrypt and to write it."""
        client = self._plan.client(party, keys=self._keys.clients[party])

        def sent():
            client.set_input(self._inputs[party])
            return client.start()

        with writing() as seconds:
            (message,), taken = timed(sent)
        return message.payload, taken - sum(seconds), sum(seconds), client

    def summed(self):
        """Bytes of an upload, and the seconds to add one and to open the sum, which is compared."""
        server, clients, adds = self._plan.server(keys=self._keys.server), [], []
        server.start()
        for party in range(PARTIES):
            payload, *_, client = self.message(party)
            clients.append(client)
            adds.append(timed(server.receive, payload, party)[1])
        opens = []
        for message in server.close_round()[:TURNS]:
            opener = clients[message.dst] if message.dst != "opener" else self._plan.opener(keys=self._keys.opener)
            opener.receive(message.payload, "server")
            result, taken = timed(opener.result)
            check(result.total, self._wanted)
            opens.append(taken)
        return len(payload), min(adds), min(opens)


class TenSEAL:
    """CKKS vectors of 4096 entries under a context; longer ones make TenSEAL print a warning for each."""

    def __init__(self, bits, kind, rows):
        import tenseal as ts

        self._ts = ts
        self._context = ts.context(
            ts.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=bits, encryption_type=getattr(ts.ENCRYPTION_TYPE, kind)
        )
        self._context.global_scale = 2**40
        self._rows = rows[:TURNS]

    def message(self, party=0):
        vector = (self._rows[party] / HALF - 1.0).tolist()
        ciphers, encrypting = timed(
            lambda: [self._ts.ckks_vector(self._context, vector[at : at + 4096]) for at in range(0, DIM, 4096)]
        )
        messages, writing = timed(lambda: [cipher.serialize() for cipher in ciphers])
        return messages, encrypting, writing

    def summed(self):
        adds, sums = [], None
        for party in range(TURNS):
            messages, *_ = self.message(party)
            for _ in range(PARTIES // TURNS):
                sums, taken = timed(self._added, sums, messages)
                adds.append(taken)
        summed = [cipher.serialize() for cipher in sums]
        total, opening = timed(self._opened, summed)
        check(np.array(total), PARTIES // TURNS * self._rows.sum(0))
        return sum(map(len, messages)), min(adds), opening

    def _added(self, sums, messages):
        loaded = [self._ts.ckks_vector_from(self._context, message) for message in messages]
        return loaded if sums is None else [mine + other for mine, other in zip(sums, loaded, strict=True)]

    def _opened(self, messages):
        return [value for message in messages for value in self._ts.ckks_vector_from(self._context, message).decrypt()]


def sent_once(sides):
    """Figures of several; their messages are made in turn, so that all of them meet the same machine."""
    turns = {name: [] for name in sides}
    for _ in range(TURNS + 1):
        for name, side in sides.items():
            turns[name].append(side.message()[1:3])
    found = {}
    for name, side in sides.items():
        size, add, opening = side.summed()
        found[name] = Figures(size, *min(turns[name][1:], key=sum), add, opening)
    return found


def in_rounds(plan, rows):
    """Figures of a plan with rounds; nobody drops out."""
    with writing() as seconds:
        result, total, watch = play(plan, lambda party: rows[party], ())
    check(total, rows.sum(0))
    writes = sum(seconds) / PARTIES
    add = watch.server("masked_input") / PARTIES
    opening = watch.server(plan.rounds[-1])
    return Figures(int(result.bytes_up.max()), watch.client() - writes, writes, add, opening)


@cache
def measured():
    """Figures by what they are of."""
    import secagg

    rows = np.random.default_rng(0).integers(0, 2 * HALF, (PARTIES, DIM))
    size = (PARTIES, DIM, 16)
    sides = {
        SHARED: Ours(secagg.BFVSum.plan(*size), rows),
        SHARED_8: Ours(secagg.BFVSum.plan(PARTIES, DIM, 8), rows % 256),
        "BFVSum, public key": Ours(secagg.BFVSum.plan(*size, key="public"), rows),
        "CKKSSum, error 10⁻⁵": Ours(secagg.CKKSSum.plan(PARTIES, DIM, clip=1.0, error=1e-5), rows),
        README: TenSEAL([60, 40, 40, 60], "ASYMMETRIC", rows),
        NVFLARE: TenSEAL([60, 40, 40], "SYMMETRIC", rows),
    }
    several = {
        THRESHOLD: secagg.ThresholdSum.plan(*size, threshold=11, **LOST),
        "SecAgg, 14 neighbours": secagg.SecAgg.plan(*size, adversary="semi_honest", **LOST),
        "SecAggPlus, 6 neighbours": secagg.SecAggPlus.plan(*size, adversary="semi_honest", **LOST),
    }
    return sent_once(sides) | {name: in_rounds(plan, rows) for name, plan in several.items()}


def rows():
    found = measured()
    shared, readme, nvflare = found[SHARED], found[README], found[NVFLARE]
    what = f"upload of 10⁶ values, {PARTIES} parties"
    return [
        upload(f"{what}, 16 bits: {SHARED}", README, shared, readme, "≤ 1.0 of float32, ≥ 15 times"),
        upload(f"{what}, 16 bits: {SHARED}", NVFLARE, shared, nvflare, ""),
        upload(f"{what}, 8 bits: BFVSum, shared key", README, found[SHARED_8], readme, "≤ 0.65 of float32"),
        upload(f"{what}, 16 bits: {THRESHOLD}", README, found[THRESHOLD], readme, "≤ 1.05 of float32"),
        row(
            "the same: encrypt and serialise, 16 bits: BFVSum, shared key",
            README,
            shared.message,
            readme.message,
            "≥ 10 times",
        ),
        row(
            "the same: encrypt and serialise, 16 bits: BFVSum, shared key", NVFLARE, shared.message, nvflare.message, ""
        ),
    ]


def upload(what, against, ours, peer, reach):
    return {
        "what": what,
        "against": against,
        "ours": f"{ours.share:.3f} of float32",
        "peer": f"{peer.share:.3g} of float32",
        "ratio": f"{peer.upload / ours.upload:.1f} times smaller",
        "reach": reach,
    }


def notes():
    """All of them beside each other."""
    lines = [
        f"Sums of 10⁶ values of {PARTIES} parties, in one run; every sum was compared with the integers. *Encrypt* is",
        "all that a party does but write bytes, with the agreements and shares of sums with rounds; *add*: one party's",
        "message, loaded and added; *open*: by one who opens the sum, and checks it; in sums with rounds, the server.",
        "",
        "| | upload, MB | of float32 | encrypt, ms | serialise, ms | add, ms | open, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, of in measured().items():
        seconds = (of.encrypt, of.serialise, of.add, of.open)
        cells = [f"{of.upload / 1e6:.3g}", f"{of.share:.3g}", *(f"{1e3 * each:.3g}" for each in seconds)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
