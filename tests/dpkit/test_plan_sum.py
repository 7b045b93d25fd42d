"""``dpkit plan-sum``: every protocol beside the others, the same facts for machines, and why there is no plan."""

import json

import pytest

from dpkit import _plan_sum
from dpkit.cli import main
from secagg import BackendError, BFVSum, CKKSSum, PlainSum, SecAgg, SecAggPlus, ThresholdSum
from secagg.costs import Cost

LOST = {"corrupt": 0.1, "dropout": 0.2}
SIZE = (20, 5000, 16)
REALS = ["--clip", "1", "--error", "1e-3"]
PLANS = {
    "PlainSum": lambda: PlainSum.plan(*SIZE),
    "SecAgg, semi-honest": lambda: SecAgg.plan(*SIZE, adversary="semi_honest", **LOST),
    "SecAgg, malicious": lambda: SecAgg.plan(*SIZE, adversary="malicious", **LOST),
    "SecAggPlus, semi-honest": lambda: SecAggPlus.plan(*SIZE, adversary="semi_honest", **LOST),
    "SecAggPlus, semi-malicious": lambda: SecAggPlus.plan(*SIZE, adversary="semi_malicious", connected=True, **LOST),
    "BFVSum, shared key": lambda: BFVSum.plan(*SIZE, dropout=0.2),
    "BFVSum, public key": lambda: BFVSum.plan(*SIZE, key="public", dropout=0.2),
    "ThresholdSum, least t": lambda: ThresholdSum.plan(*SIZE, threshold=15, **LOST),
    "ThresholdSum, largest t": lambda: ThresholdSum.plan(*SIZE, threshold=16, **LOST),
    "CKKSSum": lambda: CKKSSum.plan(20, 5000, clip=1.0, error=1e-3, dropout=0.2),
}


def _run(capsys, *words, parties=20, dim=5000, bits=16, corrupt=0.1, dropout=0.2):
    size = ["--parties", str(parties), "--dim", str(dim), "--value-bits", str(bits)]
    assert main(["plan-sum", *size, "--corrupt", str(corrupt), "--dropout", str(dropout), *words]) == 0
    return capsys.readouterr()


def test_every_protocol_is_there_with_its_plan(capsys):
    facts = json.loads(_run(capsys, *REALS, "--no-calibrate", "--json").out)
    assert list(facts) == list(PLANS)
    for name, build in PLANS.items():
        plan = build()
        wanted = {name: getattr(plan, name) for name in ("bytes_up", "bytes_down", "min_honest", "promise")}
        opens = {"threshold": plan.threshold} if hasattr(plan, "threshold") else {}
        assert facts[name] == {**wanted, **opens, "rounds": len(plan.rounds)}


def test_the_table_fits_a_terminal_and_promises_follow(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = _run(capsys, *REALS, "--no-calibrate").out
    assert max(map(len, text.splitlines())) <= 80
    table = {line[:26].rstrip(): line[26:].split() for line in text.split("\n\n")[1].splitlines()}
    assert table.pop("") == ["up", "down", "client", "server", "rounds", "honest"]
    assert list(table) == list(PLANS)
    assert table["SecAgg, malicious"][4:] == ["-", "-", "5", "14"]
    for name, build in PLANS.items():
        paragraph = text.split(f"\n\n{name}\n")[1].split("\n\n")[0]
        assert " ".join(paragraph.split()) == build().promise


def test_seconds_stand_in_text_and_json(capsys, monkeypatch):
    monkeypatch.setattr(_plan_sum, "estimate", lambda plan, clock: Cost(0.0123, 4.56))
    facts = json.loads(_run(capsys, "--json").out)
    assert facts["ThresholdSum, least t"]["client_seconds"] == 0.0123
    assert facts["ThresholdSum, least t"]["server_seconds"] == 4.56
    line = next(line for line in _run(capsys).out.splitlines() if line.startswith("ThresholdSum, least t  "))
    assert line.split()[7:12] == ["12", "ms", "4.6", "s", "3"]


def test_the_opener_has_seconds_of_its_own(capsys, monkeypatch):
    opened = ("PublicBFVSum",)
    monkeypatch.setattr(
        _plan_sum, "estimate", lambda plan, clock: Cost(1, 1, 0.25 if type(plan).__name__ in opened else 0.0)
    )
    text = " ".join(_run(capsys).out.split())
    assert "BFVSum, public key: who opens the sum takes 250 ms." in text
    assert text.count("who opens the sum takes") == 1


@pytest.mark.parametrize("bits", [1, 16])
def test_seconds_are_estimated_here(capsys, bits):
    facts = json.loads(_run(capsys, "--json", parties=5, dim=100, bits=bits, corrupt=0.2).out)
    timed = [row for row in facts.values() if "promise" in row]
    assert len(timed) >= 6
    assert all(0 < row["client_seconds"] < 5 and 0 < row["server_seconds"] < 5 for row in timed)


def test_without_tenseal_there_are_bytes_and_a_note(capsys, monkeypatch):
    def missing(plan, clock):
        if isinstance(plan, BFVSum):
            raise BackendError("it is not installed.")
        return Cost(1.0, 1.0)

    monkeypatch.setattr(_plan_sum, "estimate", missing)
    text = " ".join(_run(capsys).out.split())
    assert "BFVSum, shared key is not timed: it is not installed." in text
    facts = json.loads(_run(capsys, "--json").out)
    assert facts["BFVSum, shared key"]["bytes_up"] > 0
    assert "client_seconds" not in facts["BFVSum, shared key"]


def test_patience_is_told(capsys, monkeypatch):
    monkeypatch.setattr(_plan_sum, "_PATIENCE", -1.0)
    monkeypatch.setattr(_plan_sum, "estimate", lambda plan, clock: Cost(1.0, 1.0))
    assert "small sums of ThresholdSum, least t are timed" in _run(capsys).err
    assert _run(capsys, "--no-calibrate").err == ""


def test_reals_are_planned_from_clip_and_error(capsys):
    text = _run(capsys, "--clip", "1", "--no-calibrate").out
    assert "left out: a sum of reals is planned from --clip and --error" in text
    assert "refused: error must be at least" in _run(capsys, "--clip", "1", "--error", "1e-30", "--no-calibrate").out


def test_a_refusal_is_one_line_with_its_reason(capsys):
    text = _run(capsys, "--no-calibrate", parties=100_000, dim=10, bits=30).out
    (line,) = [line for line in text.splitlines() if line.startswith("ThresholdSum, least t")]
    assert line == "ThresholdSum, least t       refused: num_parties must be in [3, 400], got 100000."


@pytest.mark.parametrize(("parties", "corrupt"), [(3, 0.0), (10, 0.1), (15, 0.29), (100, 0.29), (400, 0.005)])
def test_the_threshold_is_the_smallest_that_is_accepted(capsys, monkeypatch, parties, corrupt):
    planned = []
    monkeypatch.setattr(_plan_sum, "_plans", _spied(_plan_sum._plans, planned))
    _run(capsys, "--no-calibrate", parties=parties, corrupt=corrupt, dropout=0.0)
    (plan,) = planned
    accepted = []
    for threshold in range(2, plan.threshold + 1):
        try:
            ThresholdSum.plan(parties, 5000, 16, threshold=threshold, corrupt=corrupt, dropout=0.0)
            accepted.append(threshold)
        except ValueError:
            continue
    assert accepted == [plan.threshold]


def _spied(plans, planned):
    """The plans, with the threshold sum written down."""

    def spied(options):
        found = plans(options)
        build = found["ThresholdSum, least t"]
        found["ThresholdSum, least t"] = lambda: planned.append(build()) or planned[-1]
        return found

    return spied


@pytest.mark.parametrize("words", [["--dropout", "1"], ["--dropout", "-0.1"], ["--parties", "0"], ["--dim", "0"]])
def test_what_no_protocol_can_do_is_one_line_and_code_two(capsys, words):
    assert main(["plan-sum", "--parties", "10", "--dim", "10", "--value-bits", "8", "--no-calibrate", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
