"""Threads that record in one ledger: nothing is lost, and nothing is promised twice."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

import accountants.budget
import accountants.odometer
from accountants import Budget, BudgetExceededError, Gaussian, Ledger, Odometer, Plan

EVENT = Gaussian(20.0)
RELATION = "add_remove"


def _together(action):
    """Run an action in two threads; those that were refused."""
    refused = []

    def run():
        try:
            action()
        except BudgetExceededError as error:
            refused.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return refused


def _meeting(function):
    """The function, which then waits a little for another thread to come as far; one at a time, none ever comes."""
    barrier = threading.Barrier(2)

    def met(*given):
        answer = function(*given)
        with suppress(threading.BrokenBarrierError):
            barrier.wait(0.1)
        return answer

    return met


class _Note(str):
    """A remark whose comparison takes its time."""

    __slots__ = ("compared",)

    def __eq__(self, other):
        return self.compared(other)

    __hash__ = str.__hash__


def test_no_row_is_lost_between_threads():
    note = _Note("")
    note.compared = _meeting(lambda other: other == "")
    ledger = Ledger(relation=RELATION)
    ledger.record(EVENT)
    assert not _together(lambda: ledger.record(EVENT, note=note))
    assert [entry.times for entry in ledger.entries] == [3]
    assert len(ledger) == 3


def test_a_budget_is_not_promised_to_two_threads(monkeypatch):
    budget = Budget(epsilon=1.0, delta=1e-6, relation=RELATION, method="gdp")
    budget.record(EVENT, times=budget.remaining(EVENT) - 1)
    monkeypatch.setattr(accountants.budget.Sums, "room", _meeting(accountants.budget.Sums.room))
    refused = _together(lambda: budget.record(EVENT))
    assert len(refused) == 1
    assert Budget.from_json(budget.to_json()) == budget


def test_an_odometer_counts_every_thread(monkeypatch):
    odometer, alone = (Odometer(delta=1e-6, relation=RELATION) for _ in range(2))
    alone.record(EVENT, times=2)
    monkeypatch.setattr(accountants.odometer, "_plus", _meeting(accountants.odometer._plus))
    assert not _together(lambda: odometer.record(EVENT))
    assert odometer.epsilon() == alone.epsilon()


@pytest.mark.parametrize("take", [Plan.step, lambda plan: plan.record(EVENT)])
def test_a_planned_release_is_made_once(monkeypatch, take):
    plan = Plan(EVENT, relation=RELATION)
    monkeypatch.setattr(Plan, "_refuse_beyond", _meeting(Plan._refuse_beyond))
    assert len(_together(lambda: take(plan))) == 1
    assert plan.remaining() == 0


@pytest.mark.parametrize("travel", [copy.copy, copy.deepcopy, lambda book: pickle.loads(pickle.dumps(book))])  # noqa: S301
@pytest.mark.parametrize("make", [Ledger, lambda **how: Budget(epsilon=1.0, delta=1e-6, **how)])
def test_ledgers_still_travel(make, travel):
    book = make(relation=RELATION)
    book.record(EVENT)
    assert travel(book) == book


FORK = """
import os, threading
from accountants._exclusive import exclusive
held, done = threading.Event(), threading.Event()

def hold():
    with exclusive():
        held.set()
        done.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    os._exit(0 if exclusive().acquire(timeout=0.5) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
done.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_child_does_not_wait_for_a_thread_of_its_parent():
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "0\n", run.stderr
