"""Whole sessions, byte for byte: what they say, and what they refuse, is what a slow implementation of its own says."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

import secagg.errors
from secagg.errors import DecodeError, LocalProtocolError, RollbackRiskError, TooFewSurvivorsError
from secagg.masking.keys import Identity
from secagg.masking.plans import SecAgg, SecAggPlus
from secagg.masking.task import PartyKeys, Registry, Task
from tests.oracles import ed25519, masked_slow

TABLE = json.loads(masked_slow.TABLE.read_text())
PLANS = {row["name"]: row for row in TABLE}
SESSIONS = [(name, number) for name, row in PLANS.items() for number in range(len(row["sessions"]))]
GUARDS = [(name, number) for name, row in PLANS.items() for number in range(len(row["guards"]))]


def _leads_elsewhere(refusal):
    """Whether something that is no message of the session is taken before."""
    return len(refusal["messages"]) > 1 or refusal["when"] == "close_round"


ELSEWHERE = [
    (name, number)
    for name, row in PLANS.items()
    for number, refusal in enumerate(row["refusals"])
    if _leads_elsewhere(refusal)
]
PLAYED = [
    (name, number)
    for name, number in SESSIONS
    if any(one["session"] == number and not _leads_elsewhere(one) for one in PLANS[name]["refusals"])
]


def _what(part):
    return lambda value: PLANS[value[0]]["name"] + ": " + PLANS[value[0]][part][value[1]]["what"]


def _gone(value):
    gone = PLANS[value[0]]["sessions"][value[1]]["gone"]
    return f"{value[0]}: " + (", ".join(f"{parties} gone in {name}" for name, parties in gone.items()) or "nobody gone")


class Given:
    """A source of these bytes, once."""

    def __init__(self, data):
        self._left = data

    def bytes(self, n):
        out, self._left = self._left[:n], self._left[n:]
        return out


class Register:
    """A guard that knows what was sent in one task."""

    def __init__(self, task, claimed):
        self._task, self._claimed = task, claimed

    def claim(self, session, step, digest):
        assert session == self._task
        return self._claimed[step] == digest.hex()


def plan_of(row):
    kind = {"SecAgg": SecAgg, "SecAggPlus": SecAggPlus}[row["protocol"]]
    names = ("num_parties", "dim", "value_bits", "adversary", "corrupt", "dropout", "wrap")
    return kind.plan(**{name: row[name] for name in names})


def signers_of(row):
    """An identity for each party, and one for the server, which signs nothing."""
    own = [Identity(bytes.fromhex(seed)) for seed in row["identities"]]
    publics = {party: identity.public for party, identity in enumerate(own)}
    if not own:
        return [None] * row["num_parties"], None
    return [Registry(identity, publics) for identity in own], Registry(own[0], publics)


def client_of(row, party, *, seed=None, vector=None, guard=None):
    """A party's session with its input."""
    signer = signers_of(row)[0][party]
    seed = row["seeds"][party] if seed is None else seed
    client = plan_of(row).client(
        party, entropy=Given(bytes.fromhex(seed)), identity=signer, keys=task_of(row), guard=guard
    )
    vector = row["vectors"][party] if vector is None else vector
    client.set_input(np.array([int(entry) for entry in vector], dtype=np.uint64))
    return client


def task_of(row):
    return Task(bytes.fromhex(row["model"]), row["round"], bytes.fromhex(row["nonce"]))


def messages_of(row, number):
    """A session's messages, with those that it begins with as the first does."""
    session = row["sessions"][number]
    same = row["sessions"][0]["messages"][: session["as_first"]]
    return [(name, source, target, bytes.fromhex(raw)) for name, source, target, raw in same + session["messages"]]


class Replay:
    """Our sessions, which say what a transcript says."""

    def __init__(self, row, number):
        self.row, self.messages, self.at = row, messages_of(row, number), 0
        self.clients = [client_of(row, party) for party in range(row["num_parties"])]
        held = PartyKeys(task_of(row), signers_of(row)[1])
        self.server = plan_of(row).server(entropy=Given(bytes.fromhex(row["graph"])), keys=held)
        assert self.server.start() == []
        self.pending = {party: client.start() for party, client in enumerate(self.clients)}
        self.closing = []

    def until(self, stop):
        """Play the messages before this one."""
        while self.at < stop:
            _, source, target, raw = self.messages[self.at]
            if target == "server":
                assert self.closing == [], "the server said more"
                (message,) = self.pending.pop(source)
                assert (message.dst, message.payload) == ("server", raw)
                assert self.server.receive(raw, source) == []
            else:
                self.closing = self.closing or self.server.close_round()
                message = self.closing.pop(0)
                assert (message.dst, message.payload) == (target, raw)
                self.pending[target] = self.clients[target].receive(raw, source)
            self.at += 1

    def finish(self):
        """Play the rest; what comes of it."""
        self.until(len(self.messages))
        assert self.closing == []
        try:
            assert self.server.close_round() == []
        except TooFewSurvivorsError:
            return self.messages[-1][0]
        return self.server.result()

    def of(self, who):
        return self.server if who == "server" else self.clients[who]


def test_the_table_is_the_oracles():
    assert masked_slow.TABLE.read_text() == masked_slow.text()


def test_the_oracles_signatures_are_those_of_the_standard():
    # RFC 8032, section 7.1, test 3
    seed = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    assert ed25519.public(seed).hex() == "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    assert ed25519.sign(seed, b"\xaf\x82").hex() == (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )


@pytest.mark.parametrize("name", PLANS)
def test_plans_and_tasks_have_the_numbers_of_the_table(name):
    row, plan = PLANS[name], plan_of(PLANS[name])
    for number in ("modulus_bits", "neighbours", "threshold", "min_survivors", "min_honest"):
        assert getattr(plan, number) == row[number]
    assert plan._layout.quorum == row["quorum"]
    assert plan._layout.config.hex() == row["config"]
    assert task_of(row).identifier(plan._layout.config).hex() == row["task"]
    assert plan.neighbours < plan.num_parties - 1 or row["protocol"] == "SecAgg", "SecAggPlus has a graph"
    if row["protocol"] == "SecAggPlus":
        graph = plan.server(entropy=Given(bytes.fromhex(row["graph"])), keys=task_of(row))._graph
        assert graph.order.tolist() == row["ring"]


@pytest.mark.parametrize("case", SESSIONS, ids=_gone)
def test_sessions_say_what_the_table_says(case):
    row = PLANS[case[0]]
    session, end = row["sessions"][case[1]], Replay(row, case[1]).finish()
    if session["stops"]:
        assert end == session["stops"]
    else:
        assert end.survivors == session["survivors"]
        assert [str(entry) for entry in end.total] == session["total"]


def _refused(row, refusal, session):
    """The last message of a row is refused, as the row says."""
    with pytest.raises(getattr(secagg.errors, refusal["error"])) as raised:
        session.receive(bytes.fromhex(refusal["messages"][-1]), refusal["source"])
        pytest.fail(f"{row['name']}: {refusal['what']}: taken")
    assert raised.type.__name__ == refusal["error"], refusal["what"]


@pytest.mark.parametrize("case", PLAYED, ids=_gone)
def test_refused_messages_change_nothing(case):
    row = PLANS[case[0]]
    refusals = [one for one in row["refusals"] if one["session"] == case[1] and not _leads_elsewhere(one)]
    replay = Replay(row, case[1])
    for at in range(len(replay.messages) + 1):
        replay.until(at)
        for refusal in refusals:
            if refusal["after"] == at:
                _refused(row, refusal, replay.of(refusal["to"]))
    replay.finish()
    assert max(one["after"] for one in refusals) <= at, "all were tried"


@pytest.mark.parametrize("case", ELSEWHERE, ids=_what("refusals"))
def test_what_was_taken_is_refused_in_the_end(case):
    row = PLANS[case[0]]
    refusal = row["refusals"][case[1]]
    replay = Replay(row, refusal["session"])
    replay.until(refusal["after"])
    session = replay.of(refusal["to"])
    for message in refusal["messages"][:-1]:
        session.receive(bytes.fromhex(message), refusal["source"])
    if refusal["when"] == "receive":
        _refused(row, refusal, session)
        return
    session.receive(bytes.fromhex(refusal["messages"][-1]), refusal["source"])
    for _, source, _, raw in replay.messages[replay.at + 1 :]:
        session.receive(raw, source)
    with pytest.raises(DecodeError):
        session.close_round()
    with pytest.raises(LocalProtocolError, match="aborted"):
        session.result()


@pytest.mark.parametrize("case", GUARDS, ids=_what("guards"))
def test_a_party_that_begins_again_says_the_same_or_nothing(case):
    row = PLANS[case[0]]
    guard = row["guards"][case[1]]
    register = Register(bytes.fromhex(row["task"]), guard["claimed"])
    client = client_of(row, guard["party"], seed=guard["seed"], vector=guard["vector"], guard=register)
    steps = [client.start, *(lambda raw=raw: client.receive(bytes.fromhex(raw), "server") for raw in guard["heard"])]
    said = []
    for step in steps[: guard["stops"]]:
        said += [hashlib.sha256(message.payload).hexdigest() for message in step()]
    assert said == list(guard["claimed"].values())[: len(said)]
    if guard["stops"] is None:
        assert len(said) == len(guard["claimed"])
        return
    with pytest.raises(RollbackRiskError):
        steps[guard["stops"]]()
