"""Whole sessions, byte for byte: what they say, and what they refuse, is what a slow implementation of its own says."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

import secagg.errors
from secagg.errors import LocalProtocolError, TooFewSurvivorsError
from secagg.masking.keys import KeyPair
from secagg.threshold.keys import ThresholdKeys, ThresholdServerKeys
from secagg.threshold.plan import ThresholdSum
from tests.oracles import masking, threshold_numbers, threshold_slow

TABLE = json.loads(threshold_slow.TABLE.read_text())
PLANS = {row["name"]: row for row in TABLE["plans"]}
SESSIONS = [(name, number) for name, row in PLANS.items() for number in range(len(row["sessions"]))]
REFUSED = [
    (name, number) for name, number in SESSIONS if any(one["session"] == number for one in PLANS[name]["refusals"])
]
TAKEN = [
    (name, number)
    for name, row in PLANS.items()
    for number, refusal in enumerate(row["refusals"])
    if refusal["when"] == "close_round"
]
AGAIN = ("five, one corrupt", "seven, all needed")


def key_stream(key, first, count):
    return Cipher(algorithms.AES(key), modes.CTR(first)).encryptor().update(bytes(count))


def seal(key, nonce, plain, known):
    return ChaCha20Poly1305(key).encrypt(nonce, plain, known)


QUICK = threshold_numbers.Primitives(key_stream, seal)


class Given:
    """A source of these bytes, once."""

    def __init__(self, data):
        self._left = data

    def bytes(self, n):
        out, self._left = self._left[:n], self._left[n:]
        assert len(out) == n
        return out


def _gone(value):
    gone = PLANS[value[0]]["sessions"][value[1]]["gone"]
    return f"{value[0]}: " + (", ".join(f"{parties} gone in {name}" for name, parties in gone.items()) or "nobody gone")


def _what(value):
    return f"{value[0]}: {PLANS[value[0]]['refusals'][value[1]]['what']}"


def plan_of(row):
    names = ("num_parties", "dim", "value_bits", "threshold", "corrupt", "dropout")
    return ThresholdSum.plan(**{name: row[name] for name in names})


def raw(*texts):
    return tuple(map(bytes.fromhex, texts))


def keys_of(row, party, roster=None):
    session, secret, server = raw(row["session"], row["secrets"][party], row["server_public"])
    return ThresholdKeys(party, session, secret, raw(*(roster or row["roster"])), server)


def server_keys_of(row, roster=None):
    return ThresholdServerKeys(*raw(row["session"], row["server_secret"]), raw(*(roster or row["roster"])))


def vector_of(row, party):
    """A party's entries: SHA-256 of a name and a counter, as many bytes for each as its bits need."""
    bits, name = row["value_bits"], f"vector of {row['seeds'][party]}".encode()
    size, count = -(-bits // 8), row["dim"] - 1
    blocks = range(-(-size * count // 32))
    data = b"".join(hashlib.sha256(name + turn.to_bytes(8, "little")).digest() for turn in blocks)
    parts = (data[i * size : (i + 1) * size] for i in range(count))
    return np.array([*(int.from_bytes(part, "little") % 2**bits for part in parts), 2**bits - 1], dtype=np.uint64)


def summary(vector):
    digest = hashlib.sha256(np.asarray(vector).astype("<u8").tobytes()).hexdigest()
    return {"sha256": digest, "last": [str(entry) for entry in vector[-3:]]}


class Replay:
    """Our sessions, which say what a transcript says; `heard` are their messages, whole."""

    def __init__(self, name, number):
        self.row = PLANS[name]
        self.messages, self.heard = self.row["sessions"][number]["messages"], []
        plan = plan_of(self.row)
        self.clients = [
            plan.client(party, entropy=Given(bytes.fromhex(seed)), keys=keys_of(self.row, party))
            for party, seed in enumerate(self.row["seeds"])
        ]
        for party, client in enumerate(self.clients):
            client.set_input(vector_of(self.row, party))
        self.server = plan.server(keys=server_keys_of(self.row))
        assert list(self.server.start()) == []
        self.pending = {party: client.start() for party, client in enumerate(self.clients)}
        self.closing = []

    def _next(self):
        """The next message, as ours say it."""
        _, source, target, length, digest = self.messages[len(self.heard)]
        if target == "server":
            assert self.closing == [], "the server said more"
            (message,) = self.pending.pop(source)
        else:
            self.closing = self.closing or list(self.server.close_round())
            message = self.closing.pop(0)
        payload = bytes(message.payload)
        assert (message.dst, len(payload)) == (target, length)
        assert hashlib.sha256(payload).hexdigest() == digest
        return payload

    def says(self, party, payload):
        """A party says something else than it would."""
        self.pending.pop(party)
        assert list(self.server.receive(payload, party)) == []
        self.heard.append(payload)

    def until(self, stop):
        """Play the messages before this one."""
        while len(self.heard) < stop:
            _, source, target, _, _ = self.messages[len(self.heard)]
            payload = self._next()
            if target == "server":
                assert list(self.server.receive(payload, source)) == []
            else:
                self.pending[target] = self.clients[target].receive(payload, source)
            self.heard.append(payload)
        return self

    def finish(self):
        """Play the rest; what comes of it."""
        self.until(len(self.messages))
        assert self.closing == []
        try:
            assert list(self.server.close_round()) == []
        except TooFewSurvivorsError:
            return self.messages[-1][0]
        return self.server.result()

    def of(self, who):
        return self.server if who == "server" else self.clients[who]


PLAYED = {}


def heard(name, number):
    """All messages of a session, whole."""
    if (name, number) not in PLAYED:
        replay = Replay(name, number)
        PLAYED[name, number] = replay.until(len(replay.messages)).heard
    return PLAYED[name, number]


def message_of(row, refusal):
    """What is told in place of a session's own message."""
    session, place = refusal["base"]
    base = out = heard(row["name"], session)[place]
    for start, stop, part in reversed(refusal["edits"]):
        out = out[:start] + (bytes.fromhex(part) if isinstance(part, str) else base[slice(*part)]) + out[stop:]
    return out


@pytest.mark.parametrize("name", AGAIN)
def test_sessions_of_the_table_are_the_oracles(name):
    (plan,) = (plan for plan in threshold_slow.PLANS if plan.name == name)
    (row,) = threshold_slow.rows(QUICK, [plan])
    assert json.loads(json.dumps(row)) == PLANS[name]


def test_the_rest_of_the_table_is_the_oracles():
    assert {"plans": TABLE["plans"], **json.loads(json.dumps(threshold_slow.others(QUICK)))} == TABLE
    assert list(PLANS) == [plan.name for plan in threshold_slow.PLANS]


def test_what_the_oracle_is_given_here_is_what_it_has_itself():
    key, first = bytes(range(32)), (2**96 - 3).to_bytes(16, "big")
    assert QUICK.key_stream(key, first, 100) == threshold_numbers.slow_key_stream(key, first, 100)
    for length in (0, 1, 64, 200):
        args = key, bytes(12), bytes(range(length)), b"known"
        assert QUICK.seal(*args) == masking.seal(*args)


@pytest.mark.slow
def test_the_table_is_the_oracles_with_its_own_ciphers():
    assert threshold_slow.TABLE.read_text() == threshold_slow.text()


@pytest.mark.parametrize("name", PLANS)
def test_plans_keys_and_vectors_have_the_numbers_of_the_table(name):
    row = PLANS[name]
    assert [KeyPair(secret).public.hex() for secret in raw(*row["secrets"])] == row["roster"]
    assert KeyPair(*raw(row["server_secret"])).public.hex() == row["server_public"]
    assert [summary(vector_of(row, party)) for party in range(row["num_parties"])] == row["vectors"]


@pytest.mark.parametrize("case", SESSIONS, ids=_gone)
def test_sessions_say_what_the_table_says(case):
    session = PLANS[case[0]]["sessions"][case[1]]
    end = Replay(*case).finish()
    if session["stops"]:
        assert end == session["stops"]
    else:
        assert end.survivors == session["survivors"]
        assert summary(end.total) == session["total"]


def _refused(row, refusal, session):
    with pytest.raises(getattr(secagg.errors, refusal["error"])) as raised:
        session.receive(message_of(row, refusal), refusal["source"])
        pytest.fail(f"{row['name']}: {refusal['what']}: taken")
    assert raised.type.__name__ == refusal["error"], refusal["what"]
    assert getattr(raised.value, "peer", None) == refusal["peer"], refusal["what"]


@pytest.mark.parametrize("case", REFUSED, ids=_gone)
def test_refused_messages_change_nothing(case):
    row = PLANS[case[0]]
    refusals = [one for one in row["refusals"] if one["session"] == case[1] and one["when"] == "receive"]
    replay = Replay(*case)
    for at in range(len(replay.messages) + 1):
        if at == len(replay.messages):
            replay.until(at)
            replay.server.close_round()
        replay.until(at)
        for refusal in refusals:
            if refusal["after"] == at:
                _refused(row, refusal, replay.of(refusal["to"]))
    assert summary(replay.server.result().total) == row["sessions"][case[1]]["total"]


@pytest.mark.parametrize("case", TAKEN, ids=_what)
def test_what_was_taken_is_found_in_the_end(case):
    row = PLANS[case[0]]
    refusal = row["refusals"][case[1]]
    replay = Replay(case[0], refusal["session"])
    replay.until(refusal["after"])
    replay.says(refusal["source"], message_of(row, refusal))
    if refusal["error"] is None:
        assert summary(replay.finish().total) == row["sessions"][refusal["session"]]["total"]
        return
    with pytest.raises(getattr(secagg.errors, refusal["error"])) as raised:
        replay.finish()
    assert raised.type.__name__ == refusal["error"]
    with pytest.raises(LocalProtocolError, match="aborted"):
        replay.server.result()


@pytest.mark.parametrize("row", TABLE["keys"], ids=lambda row: f"{row['what']}, {row['who']}")
def test_no_session_begins_with_such_keys(row):
    plan = PLANS[row["plan"]]
    with pytest.raises(getattr(secagg.errors, row["error"])):
        if row["who"] == "server":
            plan_of(plan).server(keys=server_keys_of(plan, row["roster"])).start()
        else:
            client = plan_of(plan).client(row["who"], keys=keys_of(plan, row["who"], row["roster"]))
            client.set_input(vector_of(plan, row["who"]))
            client.start()


@pytest.mark.parametrize("row", TABLE["numbers"], ids=lambda row: str(row["numbers"]))
def test_plans_have_the_numbers_of_the_table(row):
    *three, threshold, corrupt, dropout = row["numbers"]
    plan = ThresholdSum.plan(*three, threshold=threshold, corrupt=corrupt, dropout=dropout)
    packing = plan._layout.packing
    for name in ("width", "fields", "cut", "limit"):
        assert getattr(packing, name) == row[name]
    for name in ("packed", "chunks", "min_survivors", "min_honest"):
        assert getattr(plan, name) == row[name]
    assert bytes(plan._config).hex() == row["config"]
    n, z, names = plan.num_parties, row["sealed_bytes"], -(-plan.num_parties // 8)
    assert plan.bytes_up == 84 * 3 + 32 + n * z + row["chunks"] * 512 * row["bits"]
    assert plan.bytes_down == 84 * 2 + 2 * names + (z + 32) * (n - 1)


@pytest.mark.parametrize("row", TABLE["refused"], ids=str)
def test_plans_that_cannot_be_kept_are_refused(row):
    *three, threshold, corrupt, dropout, error = row
    with pytest.raises(getattr(secagg.errors, error)) as raised:
        ThresholdSum.plan(*three, threshold=threshold, corrupt=corrupt, dropout=dropout)
    assert raised.type.__name__ == error
