"""What an adversary is shown: a plan, earlier sessions of the same parties, and a report that begins empty."""

from __future__ import annotations

import pytest

from secagg import BFVSum, PeerProtocolError, SecAgg, SecAggPlus
from secagg._scene import Refusal, Report, Scene
from tests.secagg.wires import Stream

PLAN = SecAgg.plan(5, 3, 8, adversary="malicious", corrupt=0.0, dropout=0.4)


def scene_of(plan, seed=1):
    source = Stream(seed)
    return Scene(plan, plan.keygen(source), source)


def test_an_earlier_session_is_whole_and_of_the_same_parties():
    scene = scene_of(PLAN)
    task = scene.keys.server.task.identifier(PLAN._config)
    for same in (True, False):
        letters = scene.earlier(same_task=same)
        assert [name for name in PLAN.rounds if any(one.round == name for one in letters)] == list(PLAN.rounds)
        assert len(letters) == 5 * 5 + 5 * 4
        assert {letter.payload[8:40] == task for letter in letters} == {same}
        assert letters != scene.earlier(same_task=same), "each is another session"
    assert scene.keys.server.task.identifier(PLAN._config) == task


def test_another_task_has_the_same_identities_model_and_round():
    scene = scene_of(PLAN)
    other = scene._other_task()
    for old, new in zip((*scene.keys.clients, scene.keys.server), (*other.clients, other.server), strict=True):
        assert old.identity is new.identity
        assert (old.task.model, old.task.round) == (new.task.model, new.task.round)
        assert old.task.nonce != new.task.nonce


def test_keys_for_one_session_are_made_anew():
    scene = scene_of(BFVSum.plan(4, 3, 8))
    assert scene._other_task().server.session != scene.keys.server.session
    assert len(scene.earlier(same_task=False)) == 8


@pytest.mark.parametrize("plan", [PLAN, SecAggPlus.plan(7, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.3)])
def test_earlier_sessions_follow_from_the_entropy(plan):
    assert scene_of(plan).earlier(same_task=True) == scene_of(plan).earlier(same_task=True)
    assert scene_of(plan, 2).earlier(same_task=True) != scene_of(plan).earlier(same_task=True)


def test_a_report_is_cleared():
    report = Report([Refusal("unmask", "server", 1, PeerProtocolError("no"))], {1: None})
    report.clear()
    assert (report.refusals, report.opened) == ([], {})


def test_a_scene_does_not_print_keys():
    assert "Registry" not in repr(scene_of(PLAN))
