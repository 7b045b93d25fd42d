"""A session that is played step by step: every step is there, is timed once for each side, and is the session's."""

import numpy as np
import pytest

from secagg import BFVSum, PlainSum, SecAgg, ThresholdSum
from secagg._played import played
from secagg.onemessage import OneMessageServer, SumReader

LOST = {"corrupt": 0.0, "dropout": 0.2}
FIVE = np.arange(5)
PLANS = {
    "plain": lambda: PlainSum.plan(5, 5, 16),
    "shared key": lambda: BFVSum.plan(5, 5, 16, dropout=0.2),
    "public key": lambda: BFVSum.plan(5, 5, 16, key="public", dropout=0.2),
    "secagg": lambda: SecAgg.plan(5, 5, 16, adversary="malicious", **LOST),
    "threshold": lambda: ThresholdSum.plan(5, 5, 16, threshold=4, **LOST),
}


class Ticks:
    """A clock that goes on by one each time that it is looked at."""

    now = 0

    def __call__(self):
        self.now += 1
        return self.now


@pytest.mark.parametrize("name", PLANS)
def test_every_step_of_every_side_is_timed(name):
    plan, ticks = PLANS[name](), Ticks()
    run = played(plan, FIVE, range(plan.num_parties - plan.min_survivors), ticks)
    opens = {"result": 1} if name in ("plain", "shared key") else {}
    assert run.clients == {"input": 1, **dict.fromkeys(plan.rounds[1:], 1), **opens}
    assert set(run.server) == set(plan.rounds)
    # a message of each party in each round, its end, and the making of the session
    assert sum(run.server.values()) == 1 + sum(
        1 + (plan.min_survivors if place >= plan.rounds.index("masked_input") else plan.num_parties)
        for place in range(len(plan.rounds))
    )
    assert dict(run.opener) == ({"result": 1} if name == "public key" else {})


def test_a_client_is_the_median_of_those_who_took_the_step():
    now = iter([0, 0, *(time for seconds in (1, 50, 3) for time in (0, seconds, 0, 0)), *[0] * 20])
    run = played(PlainSum.plan(3, 5, 16), FIVE, (), lambda: next(now))
    assert run.clients["input"] == 3


def test_what_is_played_is_the_sum(monkeypatch):
    """The total that comes out at the end is that of those who stayed: the steps are those of a real session."""
    totals, result = [], SumReader.result
    monkeypatch.setattr(
        SumReader, "result", lambda self, progress=None: totals.append(result(self, progress).total) or result(self)
    )
    played(PLANS["shared key"](), FIVE, [3], Ticks())
    assert [total.tolist() for total in totals] == [(4 * FIVE).tolist()] * 3


def test_who_is_gone_sends_nothing(monkeypatch):
    senders, receive = [], OneMessageServer.receive
    monkeypatch.setattr(
        OneMessageServer, "receive", lambda self, payload, party: senders.append(party) or receive(self, payload, party)
    )
    played(PLANS["public key"](), FIVE, [1], Ticks())
    assert senders == [0, 2, 3, 4]
