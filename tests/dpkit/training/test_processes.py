import functools
import inspect
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import nn

from accountants import Ledger
from dpkit.batches import PoissonBatches
from dpkit.clip import FlatClip
from dpkit.entropy import seeded
from dpkit.errors import ParameterError, StateError
from dpkit.samplers import lattice_step
from dpkit.training import Privatizer, processes
from dpkit.training.processes import choose_processes
from tests.oracles.processes import SCENARIOS, build, private_of
from tests.oracles.worlds import Threads, World

ALPHA = 1e-9
ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "several-processes.md"
UNWRITTEN = [None] * 4  # the gradients of the four parameters, before a release


@functools.cache
def alone(name):
    """What one process answers that has all rows."""
    return SCENARIOS[name](World(0, 1, None, Path()))


def in_threads(threads, act):
    """The answers of threads that stand for processes; what one of them raises is raised here."""
    answers, errors = [None] * threads.size, []

    def one(rank):
        try:
            answers[rank] = threads.run(rank, lambda: act(rank))
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    running = [threading.Thread(target=one, args=(rank,), daemon=True) for rank in range(threads.size)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    if errors:
        raise min(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError))
    return answers


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a scenario in three threads."""

    def answers(name):
        threads = Threads(3)
        monkeypatch.setattr(processes, "dist", threads)
        group, wait = threads.ProcessGroup(), lambda: threads.exchanged("barrier", None)
        found = in_threads(threads, lambda rank: SCENARIOS[name](World(rank, 3, group, tmp_path, wait)))
        monkeypatch.undo()
        return found

    return answers


def test_exact_sums_are_released_as_one_process_does(run):
    first, *others = run("dyadic")
    assert first == alone("dyadic")
    assert first["before"] == UNWRITTEN
    assert all(answer == first for answer in others)
    assert run("grouped") == [alone("grouped")] * (len(others) + 1)


def test_sums_that_round_are_released_within_their_rounding(run):
    answers, expected = run("rounded"), alone("rounded")
    assert all(answer == answers[0] for answer in answers)
    # 13 contributions below 1: their 12 additions, in two orders, are off by 2**-24 of at most 13 each. A contribution
    # is (1, -2) times dot products of 5 numbers whose sizes add up to less than 17, over a norm of at least 2: kernels
    # that round them otherwise move it by less than 2**-17. Then the noise's lattice, and two roundings of the result.
    room = 2 * 12 * 13 * 2.0**-24 + 13 * 2.0**-17 + lattice_step(2.0**-12) + 2 * 13 * 2.0**-24
    for found, wanted in zip(answers[0], expected, strict=True):
        assert found == pytest.approx(wanted, rel=0, abs=room)


def test_every_row_of_a_draw_is_one_process_part(run):
    answers = run("training")
    plan = PoissonBatches(13, 0.5, steps=5, entropy=seeded(3))
    for rows, *parts in zip(plan, *(answer["drawn"] for answer in answers), strict=True):
        assert sorted(itertools.chain(*parts)) == rows.tolist()
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert all(answer["weights"] == answers[0]["weights"] for answer in answers)
    assert [answer["remaining"] for answer in answers] == [0] + [5] * (len(answers) - 1)
    assert all(answer["ledger"] == answers[0]["ledger"] for answer in answers)
    assert Ledger.from_json(answers[0]["ledger"]).entries[0].times == 5


def test_noise_is_added_once_whatever_the_number_of_processes(run):
    answers = run("noise")
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["stddev"] == 1.2 * 2.5 / 16
    assert answers[0]["secure"] is True
    total = float((torch.tensor(answers[0]["gradient"], dtype=torch.float64) / answers[0]["stddev"]).square().sum())
    assert min(stats.chi2.sf(total, 6000), stats.chi2.cdf(total, 6000)) > ALPHA


def test_a_process_without_rows_takes_part(run):
    answers = run("empty")
    assert all(answer == alone("empty") for answer in answers)
    assert len(answers[0]["events"]) == 3


def test_a_budget_that_refuses_stops_all_processes_and_nothing_is_written(run):
    first, *others = run("budget")
    assert first[2][0] == first[4][0] == "BudgetExceededError"
    for answer in others:
        assert (
            answer[2]
            == answer[4]
            == ["StateError", f"{answer[2][1].partition('raised')[0]}raised {': '.join(first[2])}"]
        )
    for answer in (first, *others):
        assert answer[:2] == [None, None]
        assert answer[3] == UNWRITTEN
        assert answer[5][0] == "StateError"
        assert "was not released" in answer[5][1]
        assert answer[6] == 2


def test_an_account_that_refuses_elsewhere_stops_all_processes(run):
    *others, last = run("account_elsewhere")
    assert last["error"] == ["RuntimeError", "row 17 is Ada's"]
    for answer in others:
        assert answer["error"][0] == "StateError"
        assert answer["error"][1].endswith(f"process {len(others)} of the group raised RuntimeError")  # and no data
        assert len(answer["events"]) == 2
    for answer in (*others, last):
        assert answer["kept"] == UNWRITTEN
        assert answer["next"] == others[0]["next"]
    # what was summed before the refusal is not in what is released after it
    assert others[0]["next"] == alone("empty")["seen"][1]


def test_a_unit_in_two_processes_is_refused_before_the_record(run):
    for answer in run("units"):
        shared, some, apart = answer
        assert shared[0][0] == some[0][0] == "ParameterError"
        assert "two backward calls" in shared[0][1]
        assert "in all processes or in none" in some[0][1]
        assert shared[1:] == some[1:] == [UNWRITTEN, 0]
        assert apart[0] is None
        assert apart[2] == 1


def test_what_must_be_the_same_everywhere_is(run):
    names = {
        "frozen": "trainable parameters",
        "shape": "trainable parameters",
        "clip": "clip",
        "groups": "clip",
        "size": "expected_batch_size",
        "noise": "noise_stddev",
        "step": "step",
    }
    for answer in run("differences"):
        assert answer.keys() == names.keys()
        for case, name in names.items():
            (kind, message), written, events = answer[case]
            assert kind == "StateError"
            assert message.startswith(f"{name} must be the same in all processes")
            assert (written, events) == (UNWRITTEN, 0)


def test_an_adaptive_bound_moves_alike(run):
    answers = run("adaptive")
    assert all(answer == alone("adaptive") for answer in answers)
    assert len({step[0] for step in answers[0]}) == 3


def test_the_stream_of_the_first_process_is_used(run):
    answers = run("stream")
    assert all(answer["seen"] == alone("stream")["seen"] for answer in answers)
    assert [answer["remaining"] for answer in answers] == [1] + [4] * (len(answers) - 1)
    assert all(answer["ledger"] == alone("stream")["ledger"] for answer in answers)
    assert len(Ledger.from_json(answers[0]["ledger"])) == 1


def test_the_first_process_saves_and_all_go_on(run):
    answers = run("checkpoint")
    assert answers[0]["refusal"] is None
    assert all("only the first process" in answer["refusal"][1] for answer in answers[1:])
    assert sorted(itertools.chain(*(answer["rows"] for answer in answers))) == sorted([*range(13)] * 4)
    assert [answer["times"] for answer in answers] == [4] * len(answers)


def test_what_keeps_one_process_from_a_release_is_told_to_all(run):
    *others, last = run("kept_away")
    closed, elsewhere, later, schedule = last["seen"]
    assert closed[1].startswith("the Privatizer is closed")
    assert "was not released" in elsewhere[1]
    assert schedule[0] == "ParameterError"
    for answer in others:
        for told, own in zip(answer["seen"], last["seen"], strict=True):
            assert told == (own and ["StateError", f"{told[1].partition('raised')[0]}raised {': '.join(own)}"])
    assert later is None
    assert {answer["events"] for answer in (*others, last)} == {1}


def test_another_place_is_an_error_everywhere(monkeypatch):
    threads = Threads(2)
    monkeypatch.setattr(processes, "dist", threads)

    def act(rank):
        group = choose_processes(threads.ProcessGroup())
        with pytest.raises(StateError, match="same calls in the same order, got some in a and some in b"):
            group.gathered("ab"[rank], lambda: None)
        return group.gathered("c", lambda: rank)

    assert in_threads(threads, act) == [[0, 1], [0, 1]]


def test_an_interrupt_is_everyones(monkeypatch):
    threads = Threads(2)
    monkeypatch.setattr(processes, "dist", threads)

    def act(rank):
        group = choose_processes(threads.ProcessGroup())

        def interrupted():
            raise KeyboardInterrupt("data")

        with pytest.raises(StateError if rank else KeyboardInterrupt) as caught:
            group.performed("noise", interrupted)
        return str(caught.value).partition("because ")[2]

    assert in_threads(threads, act) == ["", "process 0 of the group raised KeyboardInterrupt"]


def test_what_was_summed_before_noise_failed_is_not_summed_again(run):
    first, *others = run("noise_fails")
    assert first[0] == ["OSError", "no randomness"]
    assert all(answer[0][0] == "StateError" for answer in others)
    for answer in (first, *others):
        assert answer[1] == UNWRITTEN
        assert answer[3] == alone("noise_fails")[3]
    assert first[2:5:2] == [1, 2]


def test_a_step_whose_row_of_noise_failed_is_lost_and_training_goes_on(run):
    for rank, answer in enumerate(run("stream_fails")):
        assert answer[::2] == [None, None]
        assert answer[1][0] == ("StateError" if rank else "OSError")
        assert answer[3] is None


def test_an_interrupted_sum_is_spent_everywhere(run):
    for rank, answer in enumerate(run("interrupted")):
        assert answer[0][0] == ("StateError" if rank else "KeyboardInterrupt")
        assert rank == 0 or "Ada" not in answer[0][1]
        assert answer[1] == UNWRITTEN
        assert answer[2] == answer[3]


def test_tensors_travel_in_the_order_of_their_indices(run):
    answers, expected = run("layouts"), alone("layouts")
    assert all(answer == expected for answer in answers)
    assert expected[0][0] == ["torch.bfloat16"] * 2


def test_none_and_strangers_are_refused(monkeypatch):
    with pytest.raises(ParameterError, match="process_group must be None or a group"):
        choose_processes("world")
    private = private_of(World(0, 1, None, Path()), build())
    monkeypatch.setattr(processes, "dist", Threads(2))
    with pytest.raises(ParameterError, match=r"process_group must be given where .* has 2 processes"):
        choose_processes(None)
    # None was given before init_process_group, as group.WORLD is then
    with pytest.raises(StateError, match="which is None before init_process_group"):
        private.release()
    monkeypatch.setattr(processes, "dist", Threads(1))
    private.release()


def test_one_exchange_of_tensors_for_each_dtype(monkeypatch):
    threads = Threads(2)
    monkeypatch.setattr(processes, "dist", threads)
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(5)))

    def act(rank):
        own = nn.Sequential(*(nn.Linear(2, 2) for _ in model))
        with Privatizer(
            own,
            clip=FlatClip(1.0),
            noise_multiplier=1.0,
            expected_batch_size=1,
            process_group=threads.ProcessGroup(),
        ) as private:
            private.release()

    in_threads(threads, act)
    kinds = [call.split()[0] for call in threads.calls]
    assert kinds == ["all_gather_object", "all_reduce", "all_gather_object", "all_gather_object", "broadcast"]


SHARED = [
    value for value in list(globals().values()) if inspect.isfunction(value) and value.__name__.startswith("test_")
]
SHARED = [test for test in SHARED if list(inspect.signature(test).parameters) == ["run"]]


def _by_gloo(folder, *sizes):
    """Run the program; a hang is ended with all its processes."""
    command = [sys.executable, "-W", "error", "-m", "tests.oracles.worlds", str(folder), *map(str, sizes)]
    program = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = program.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        raise
    assert program.returncode == 0, output[-3000:]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_two_and_four_processes_of_gloo(tmp_path):
    script = re.search(r"^```\{code-block\} python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "script.py").write_text(script)
    _by_gloo(tmp_path, 2, 4)
    for size in (2, 4):
        answers = [json.loads((tmp_path / f"{size}-{rank}.json").read_text()) for rank in range(size)]
        for rank, name in ((rank, name) for rank in range(size) for name in SCENARIOS):
            assert "failed" not in answers[rank][name], answers[rank][name]
        for test in SHARED:
            test(lambda name, answers=answers: [answer[name] for answer in answers])
        assert all(answer["data_parallel"]["seen"] == answers[0]["data_parallel"]["seen"] for answer in answers)
        assert answers[0]["data_parallel"]["seen"][0] == alone("dyadic")["after"]
        assert "process_group must be given" in answers[0]["data_parallel"]["forgotten"][1]
        for rank, answer in enumerate(answers):
            assert answer["by_itself"] == alone("dyadic")
            if rank % 2:
                assert answer["subgroup"] == alone("dyadic")
            else:
                assert "that this process is in" in answer["subgroup"][1]
    assert (tmp_path / "script-0.txt").read_text() != ""
    assert (tmp_path / "script-1.txt").read_text() == ""
