"""The command line: right answers, machine output, and one clear line with exit code 2 on bad input."""

import json
import subprocess
import sys

import pytest

from accountants import Gaussian, PoissonSampled, epsilon
from dpkit.cli import main

SAMPLED = ["--sampling-prob", "0.01", "--steps", "100", "--delta", "1e-5"]


def _truth(noise_multiplier):
    return epsilon(PoissonSampled(Gaussian(noise_multiplier), 0.01) * 100, delta=1e-5, relation="add_remove")


def test_epsilon_states_its_terms(capsys):
    assert main(["epsilon", "--noise-multiplier", "1.1", *SAMPLED]) == 0
    text = capsys.readouterr().out
    for word in ("delta 1e-05", "upper bound", "add_remove", "unit example", "RDP"):
        assert word in text
    assert _truth(1.1) <= float(text.split()[1]) <= _truth(1.1) * (1 + 1e-5)


def test_epsilon_as_json(capsys):
    assert main(["epsilon", "--noise-multiplier", "1.1", *SAMPLED, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epsilon"] == _truth(1.1)


def test_calibrate_meets_the_budget(capsys):
    assert main(["calibrate", "--epsilon", "0.5", *SAMPLED, "--json"]) == 0
    noise = json.loads(capsys.readouterr().out)["noise_multiplier"]
    assert _truth(noise) <= 0.5 < _truth(noise * 0.999)


def test_plan_sum_shows_protocols_side_by_side(capsys):
    assert main(["plan-sum", "--parties", "10", "--dim", "26010", "--value-bits", "16"]) == 0
    text = capsys.readouterr().out
    assert "PlainSum: up" in text
    assert "BFVSum: up" in text


def test_plan_sum_says_why_a_protocol_is_refused(capsys):
    assert main(["plan-sum", "--parties", "100000", "--dim", "10", "--value-bits", "30"]) == 0
    assert "BFVSum: refused" in capsys.readouterr().out


def test_json_is_json_and_states_its_terms(capsys):
    noise = ["--noise-multiplier", "1e-300", "--sampling-prob", "1", "--steps", "1", "--delta", "1e-5", "--json"]
    assert main(["epsilon", *noise]) == 0
    facts = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert facts["epsilon"] == "inf"
    assert {"delta", "relation", "unit", "accountant", "kind"} <= facts.keys()


def test_what_was_typed_is_what_is_said(capsys):
    terms = ["--sampling-prob", "0.01", "--steps", "100", "--delta", "1.0000004e-5"]
    assert main(["calibrate", "--epsilon", "1.0000004", *terms]) == 0
    text = capsys.readouterr().out
    assert "epsilon <= 1.0000004 " in text
    assert "delta 1.0000004e-05 " in text


BAD = [
    ["demo", "--protocol", "magic"],
    ["demo", "--epsilon", "0"],
    ["demo", "--epsilon", "-1"],
    ["demo", "--parties", "1"],
    ["demo", "--rounds", "many"],
    ["epsilon", "--noise-multiplier", "0", *SAMPLED],
    ["epsilon", "--noise-multiplier", "1", "--sampling-prob", "2", "--steps", "1", "--delta", "1e-5"],
    ["epsilon", "--noise-multiplier", "1", "--sampling-prob", "0.1", "--steps", "0", "--delta", "1e-5"],
    ["epsilon", "--noise-multiplier", "1", "--sampling-prob", "0.1", "--steps", "1", "--delta", "0"],
    ["calibrate", "--epsilon", "0", *SAMPLED],
    ["calibrate", "--epsilon", "nan", *SAMPLED],
    ["epsilon", "--noise-multiplier", "1", "--sampling-prob", "1", "--steps", "1" + 400 * "0", "--delta", "1e-5"],
    ["epsilon", "--noise-multiplier", "1e400", *SAMPLED],
    ["demo", "--report", "/proc/nope"],
    ["demo", "--learning-rate", "1e300"],
    ["plan-sum", "--parties", "10", "--dim", "10", "--value-bits", "16", "--dropout", "nan"],
    ["plan-sum", "--parties", "10", "--dim", "10", "--value-bits", "16", "--dropout", "1"],
    ["plan-sum", "--parties", "1", "--dim", "10", "--value-bits", "16"],
    ["nothing"],
    [],
]


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_input_is_one_line_and_exit_code_2(arguments, capsys):
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    streams = capsys.readouterr()
    assert code == 2
    assert streams.out == ""
    assert len(streams.err.strip().splitlines()) == 1
    assert streams.err.startswith("dpkit")


def test_module_runs():
    command = [sys.executable, "-m", "dpkit", "demo", "--parties", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
