"""Estimates of seconds, held by a clock that moves only when sessions do work, and by the work that they then do."""

import sys
from importlib import import_module

import numpy as np
import pytest

from secagg import BFVSum, CKKSSum, ParameterError, PlainSum, SecAgg, SecAggPlus, ThresholdSum
from secagg._growth import KINDS
from secagg._played import played
from secagg.costs import Cost, estimate

LOST = {"corrupt": 0.1, "dropout": 0.1}
PLANS = {
    "plain": lambda: PlainSum.plan(20, 1_000_000, 16),
    "secagg": lambda: SecAgg.plan(30, 300_000, 16, adversary="semi_honest", corrupt=0.1, dropout=0.3),
    "secagg, signed": lambda: SecAgg.plan(30, 2_000, 16, adversary="malicious", **LOST),
    "secagg+": lambda: SecAggPlus.plan(80, 10_000, 16, adversary="semi_honest", **LOST),
    "secagg+, signed": lambda: SecAggPlus.plan(50, 10_000, 16, adversary="semi_malicious", **LOST),
    "threshold": lambda: ThresholdSum.plan(30, 100_000, 16, threshold=22, **LOST),
    "shared key": lambda: BFVSum.plan(12, 100_000, 16, dropout=0.1),
    "public key": lambda: BFVSum.plan(12, 100_000, 16, key="public", dropout=0.1),
    "reals": lambda: CKKSSum.plan(7, 50_000, clip=1.0, error=1e-3),
}


class Work:
    """A clock of work: what these functions are given to do, in nanoseconds or so; nothing else takes any time."""

    WEIGHTS = (
        ("secagg.plain", "_parse", lambda body, **_: len(body)),
        ("secagg.masking.secrets", "add_mask", lambda total, *_, **__: total.size),
        ("secagg.masking.opening", "add_mask", lambda total, *_, **__: total.size),
        ("secagg.masking.secrets", "agree", lambda *_, **__: 40_000),
        ("secagg.masking.opening", "agree", lambda *_, **__: 40_000),
        ("secagg.masking.secrets", "split", lambda _, points, threshold, __: len(points) * threshold),
        ("secagg.masking.opening", "join", lambda *_: 300_000),
        ("secagg.masking.secrets", "pack_bits", lambda values, _: 2 * values.size),
        ("secagg.masking.server", "unpack_bits", lambda _, dim, __: 2 * dim),
        ("secagg.masking.task", "verify", lambda *_, **__: 60_000),
        ("secagg.threshold.keys", "agree", lambda *_, **__: 40_000),
        ("secagg.threshold.client", "seal_share", lambda *_, **__: 10_000),
        ("secagg.threshold.client", "open_share", lambda *_, **__: 10_000),
        ("secagg.threshold.client", "share", lambda *_, threshold, num_holders, **__: 400 * threshold * num_holders),
        ("secagg.threshold.client", "mask_input", lambda _, packing, **__: 400_000 * packing.chunks),
        ("secagg.threshold.server", "open_share", lambda *_, **__: 10_000),
        ("secagg.threshold.server", "add_input", lambda _, __, packing: 40_000 * packing.chunks),
        ("secagg.threshold.server", "open_total", lambda _, packing, **__: 400_000 * packing.chunks),
        ("secagg.he.seal", "_load", lambda *_: 100_000),
        ("secagg.he.seal", "_save", lambda *_: 100_000),
        ("secagg.he.slots", "_load", lambda *_: 100_000),
        ("secagg.he.slots", "_save", lambda *_: 100_000),
    )

    def __init__(self, monkeypatch):
        self.done = 0
        for module, name, weight in self.WEIGHTS:
            monkeypatch.setattr(import_module(module), name, self._counted(getattr(sys.modules[module], name), weight))

    def _counted(self, function, weight):
        def counted(*arguments, **named):
            self.done += weight(*arguments, **named)
            return function(*arguments, **named)

        return counted

    def __call__(self):
        return self.done


@pytest.fixture
def work(monkeypatch):
    monkeypatch.setattr(import_module("secagg.costs"), "_REPEATS", 1)  # this clock has no noise
    return Work(monkeypatch)


def _really(plan, clock):
    """Client, server and opener in the plan's own session."""
    kind = next(kind for known, kind in KINDS.items() if isinstance(plan, known))
    run = played(plan, kind.vector(plan), range(plan.num_parties - plan.min_survivors), clock)
    return [sum(side.values()) for side in (run.clients, run.server, run.opener)]


@pytest.mark.parametrize("name", PLANS)
def test_counted_work_is_foretold(name, work):
    plan = PLANS[name]()
    cost = estimate(plan, clock=work)
    wanted = _really(plan, work)
    foretold = [cost.client_seconds, cost.server_seconds, cost.opener_seconds]
    assert wanted[1] > 0
    for told, really in zip(foretold, wanted, strict=True):
        assert really / 1.5 <= told <= 1.5 * really or told == really == 0


SMALL = {
    "secagg": lambda: SecAgg.plan(10, 1000, 16, adversary="malicious", **LOST),
    "threshold": lambda: ThresholdSum.plan(10, 1000, 16, threshold=8, **LOST),
    "shared key": lambda: BFVSum.plan(5, 1000, 16, dropout=0.2),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_small_plan_is_played_itself(name, work):
    cost = estimate(SMALL[name](), clock=work)
    assert [cost.client_seconds, cost.server_seconds] == pytest.approx(_really(SMALL[name](), work)[:2], rel=1e-9)


def test_sharing_among_very_many_is_not_overlooked(monkeypatch):
    """1 000 holders: what grows with their square is timed by itself, at a quarter of that."""
    plan = SecAgg.plan(1000, 100, 16, adversary="semi_honest", **LOST)

    class Shares(Work):
        WEIGHTS = (
            ("secagg.masking.shamir", "split", lambda _, points, threshold, __: len(points) * threshold),
            ("secagg.masking.shamir", "join", lambda shares, points, _: len(points) ** 2),
        )

    cost = estimate(plan, clock=Shares(monkeypatch))
    assert cost == Cost(pytest.approx(1000 * 900), pytest.approx(1000**2))


def test_a_step_below_the_clock_takes_nothing():
    assert estimate(PLANS["shared key"](), clock=lambda: 0.0) == Cost(0.0, 0.0)


def test_more_work_takes_longer_on_any_clock(work):
    small, large = (
        estimate(SecAgg.plan(40, dim, 16, adversary="semi_honest", **LOST), clock=work) for dim in (10**5, 10**6)
    )
    assert 4 < large.server_seconds / small.server_seconds < 10.5
    assert large.client_seconds > small.client_seconds


def test_no_step_is_foretold_to_take_less_than_nothing():
    """Noise can make a step look as if it took less time the more there is to do; then it takes as long as ever."""
    terms, plans = (lambda size: (1.0, size)), [1.0, 2.0]
    assert import_module("secagg.costs")._foretold(terms, plans, [2.0, 1.0], 100.0) == pytest.approx(1.2)
    assert import_module("secagg.costs")._foretold(terms, plans, [1.0, 2.0], 100.0) == pytest.approx(100.0)


def test_a_plan_of_somebody_else_is_refused():
    class Other:
        num_parties, dim, min_survivors = 3, 3, 3

    with pytest.raises(ParameterError, match="Other"):
        estimate(Other())


def test_an_estimate_plays_small_sums_only(monkeypatch):
    """Whatever the plan's size, no session has more than 24 parties or 400 000 entries."""
    seen = []
    module = import_module("secagg.costs")
    monkeypatch.setattr(
        module, "played", lambda plan, *rest: seen.append((plan.num_parties, plan.dim)) or played(plan, *rest)
    )
    estimate(SecAggPlus.plan(100_000, 10**9, 16, adversary="semi_honest", **LOST))
    estimate(PlainSum.plan(10**6, 10**9, 8))
    assert np.array(seen).max(axis=0).tolist() == [24, 400_000]
