"""Rows keep to the participation whatever a loop does with its plan: two rows of a record are never too close."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from accountants.participation import Participation
from dpkit.batches import CyclicBatches, PoissonBatches
from dpkit.bounded import Bounded
from dpkit.correlated import TreeNoise
from dpkit.correlated._schedule import Place, next_place
from dpkit.errors import ParameterError, StateError

KEY, STEPS, EPOCH = bytes(32), 24, 4
QUERY = Bounded(np.zeros(1), 1.0)
ACTIONS = st.lists(st.sampled_from(["release", "release", "leave out", "next", "stop", "go back"]), max_size=24)


def _stream(steps=STEPS):
    return TreeNoise(np.zeros(1), noise_multiplier=1.0, bound=1.0, steps=steps)


class _Loop:
    """A loop over a plan and a stream, and what left it: pairs of a row and the slot whose records are in it."""

    def __init__(self, participation):
        self.stream, self.plan, self.participation = _stream(), self._made(), participation
        self.rows, self.at, self.refused, self.saved = [], 0, 0, None

    def _made(self, at=0):
        plan = CyclicBatches(8, EPOCH, epochs=STEPS // EPOCH)
        for _ in range(at):
            plan.draw()
        return plan

    def do(self, action):
        if action in ("release", "leave out") and self.plan.remaining:
            self.plan.draw()
            self.at += 1
        if action == "release":
            self._release()
        elif action == "next" and self.stream.remaining:
            self.stream.next()
        elif action == "stop":  # the plan of another process stands where this one's stood
            self._restore(self.at)
        elif action == "go back":
            self._restore(max(self.at - 3, 0))

    def _release(self):
        row = STEPS - self.stream.remaining
        try:
            self.stream.release(QUERY, participation=self.participation, sampling=self.plan)
        except StateError:
            self.refused += 1
        else:
            self.rows.append((row, (self.at - 1) % EPOCH))

    def _restore(self, at):
        stream = _stream()
        stream.restore(self.stream.snapshot(KEY), KEY)
        self.stream, self.plan, self.at = stream, self._made(at), at


@given(ACTIONS, st.sampled_from([{"min_separation": EPOCH}, {"min_separation": 2}, {"max_participations": 6}]))
@example(["release", "release", "leave out", "release", "release"], {"min_separation": EPOCH})
@example(["release"] * 5 + ["go back"] + ["release"] * 3, {"min_separation": EPOCH})
@example(["release"] * 20 + ["go back"] + ["release"] * 4, {"max_participations": 6})
def test_rows_of_a_record_keep_to_the_participation(actions, narrower):
    """Whatever is left out, taken, stopped and put back: what was released is a pattern that the event covers."""
    loop = _Loop(Participation(steps=STEPS, **narrower))
    for action in actions:
        if loop.stream.remaining and loop.plan.remaining:
            loop.do(action)
    for slot in range(EPOCH):
        rows = [row for row, its in loop.rows if its == slot]
        assert len(rows) <= loop.participation.count
        assert all(after - before >= loop.participation.min_separation for before, after in pairwise(rows))


@given(st.lists(st.sampled_from(["release", "next", "stop"]), max_size=24))
def test_nothing_is_refused_where_every_draw_is_released(actions):
    loop = _Loop(Participation(steps=STEPS, min_separation=EPOCH))
    for action in actions:
        if loop.stream.remaining and loop.plan.remaining:
            loop.do(action)
    assert loop.refused == 0


def test_a_row_for_each_draw_that_was_left_out_goes_on():
    loop = _Loop(Participation(steps=STEPS, min_separation=EPOCH))
    for action in ("release", "leave out", "leave out"):
        loop.do(action)
    loop.plan.draw()
    for left_out in (2, 1):
        with pytest.raises(StateError, match=f"every draw must be released, got {left_out} left out"):
            loop.stream.release(QUERY, participation=loop.participation, sampling=loop.plan)
        assert loop.plan.open
        loop.stream.next()
    loop.stream.release(QUERY, participation=loop.participation, sampling=loop.plan)


def test_another_plan_or_one_that_went_back_is_refused():
    stream, allowed = _stream(), Participation(steps=STEPS, min_separation=EPOCH)
    plans = [CyclicBatches(8, EPOCH, epochs=6) for _ in range(2)]
    for plan in plans:
        plan.draw()
    stream.release(QUERY, participation=allowed, sampling=plans[0])
    with pytest.raises(StateError, match="sampling must be the plan of the earlier releases"):
        stream.release(QUERY, participation=allowed, sampling=plans[1])
    later = _stream()
    later.restore(stream.snapshot(KEY), KEY)
    with pytest.raises(StateError, match="ahead of the latest release, got a plan that stands 0 draws behind"):
        later.release(QUERY, participation=allowed, sampling=plans[1])
    plans[1].draw()
    later.release(QUERY, participation=allowed, sampling=plans[1])


def test_where_a_record_may_be_in_every_step_draws_may_be_left_out():
    stream, allowed = _stream(), Participation(steps=STEPS)
    for batches in (PoissonBatches(8, 0.5, steps=9), CyclicBatches(8, EPOCH, epochs=6)):
        for _ in range(3):
            batches.draw(), batches.draw()
            stream.release(QUERY, participation=allowed, sampling=batches)
    with pytest.raises(ParameterError, match="participation must allow what the batches do"):
        _stream().release(QUERY, participation=Participation(steps=STEPS, min_separation=2), sampling=_drawn(9))


def _drawn(steps):
    """A plan with an open draw."""
    batches = PoissonBatches(8, 0.5, steps=steps)
    batches.draw()
    return batches


class _Uncounted:
    """A plan that says which steps its records take part in and does not count its draws."""

    participation = Participation(steps=STEPS, min_separation=EPOCH)


def test_a_plan_that_does_not_count_is_held_to_be_one():
    plan, allowed = _Uncounted(), Participation(steps=STEPS, min_separation=EPOCH)
    place = next_place(Place(), allowed, plan, row=0)
    assert (place.plan, place.draws) == (plan, 0)
    assert next_place(place, allowed, plan, row=1).plan is plan
    assert next_place(place, allowed, None, row=1) is place
    with pytest.raises(StateError, match="sampling must be the plan"):
        next_place(place, allowed, _Uncounted(), row=1)
