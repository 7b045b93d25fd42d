"""The command line: right answers, machine output, and one clear line with exit code 2 on bad input."""

import json
import subprocess
import sys

import pytest

from accountants import Gaussian, PLDAccountant, PoissonSampled, RDPAccountant
from dpkit.cli import main

ONE = ["--sampling-prob", "0.01", "--delta", "1e-5"]
SAMPLED = [*ONE, "--steps", "100"]
ACCOUNTANTS = {"pld": PLDAccountant(), "rdp": RDPAccountant()}


def _truth(noise_multiplier, steps=100, accountant="pld", relation="add_remove"):
    event = PoissonSampled(Gaussian(noise_multiplier), 0.01) * steps
    return ACCOUNTANTS[accountant].epsilon(event, delta=1e-5, relation=relation)


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
@pytest.mark.parametrize("relation", ["add_remove", "replace_one", "zero_out"])
def test_epsilon_states_its_terms(capsys, accountant, relation):
    terms = ["--accountant", accountant, "--relation", relation]
    assert main(["epsilon", "--noise-multiplier", "1.1", *SAMPLED, *terms]) == 0
    text = capsys.readouterr().out
    for word in ("delta 1e-05", "upper bound", relation, "unit example", f"{accountant.upper()} accountant"):
        assert word in text
    truth = _truth(1.1, accountant=accountant, relation=relation)
    assert truth <= float(text.split()[1]) <= truth * (1 + 1e-5)


def test_the_tight_accountant_shows_both_certified_ends(capsys):
    # next to no noise: no lattice is laid, and the interval is wide enough to see which end is which
    few = ["--noise-multiplier", "1e-6", "--sampling-prob", "0.1", "--steps", "2", "--delta", "1e-5"]
    assert main(["epsilon", *few]) == 0
    text = capsys.readouterr().out
    lower, upper = map(float, text.split("certified in [")[1].split("]")[0].split(", "))
    ends = PLDAccountant().bounds(PoissonSampled(Gaussian(1e-6), 0.1) * 2, delta=1e-5, relation="add_remove")
    assert ends[0] * (1 - 1e-5) <= lower <= ends[0] < ends[1] <= upper <= ends[1] * (1 + 1e-5)
    assert lower < upper == float(text.split()[1])
    assert "from below by witness: " in text
    assert "from above by Rényi accountant" in text


def test_epsilon_as_json(capsys):
    assert main(["epsilon", "--noise-multiplier", "1.1", *SAMPLED, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    event = PoissonSampled(Gaussian(1.1), 0.01) * 100
    ends = PLDAccountant().bounds(event, delta=1e-5, relation="add_remove")
    assert (facts["lower"], facts["epsilon"]) == ends
    assert facts["accountant"] == "PLD"
    assert (facts["lower_from"], facts["upper_from"]) == ("contour", "contour")
    assert main(["epsilon", "--noise-multiplier", "1.1", *SAMPLED, "--json", "--accountant", "rdp"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["epsilon"] == _truth(1.1, accountant="rdp")
    assert "lower" not in facts


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_calibrate_meets_the_budget(capsys, accountant):
    assert main(["calibrate", "--epsilon", "0.5", *SAMPLED, "--json", "--accountant", accountant]) == 0
    noise = json.loads(capsys.readouterr().out)["noise_multiplier"]
    assert _truth(noise, accountant=accountant) <= 0.5 < _truth(noise * 0.999, accountant=accountant)


@pytest.mark.parametrize("accountant", ACCOUNTANTS)
def test_steps_are_the_most_within_the_budget(capsys, accountant):
    budget = ["--noise-multiplier", "1.1", "--epsilon", "1.5", *ONE, "--accountant", accountant]
    assert main(["steps", *budget, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["accountant"] == accountant.upper()
    assert _truth(1.1, facts["steps"], accountant) <= 1.5 < _truth(1.1, facts["steps"] + 1, accountant)
    assert main(["steps", *budget]) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        f"{facts['steps']} steps keep epsilon <= 1.5 at delta 1e-05 (upper bound; relation add_remove;"
    )


def test_no_step_at_all_is_an_answer(capsys):
    assert main(["steps", "--noise-multiplier", "0.1", "--epsilon", "0.01", *ONE]) == 0
    assert capsys.readouterr().out.startswith("0 steps keep epsilon <= 0.01 ")


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


OUT_OF_REACH = {
    "no noise multiplier keeps for steps 100": ["--epsilon", "1e-16", *SAMPLED, "--delta", "1e-20"],
    "kept without any noise": ["--epsilon", "3", "--sampling-prob", "1e-9", "--delta", "1e-5", "--steps", "1"],
}


@pytest.mark.parametrize("text", OUT_OF_REACH)
def test_a_target_out_of_reach_is_said_in_the_options_own_terms(text, capsys):
    assert main(["calibrate", *OUT_OF_REACH[text]]) == 2
    said = capsys.readouterr().err
    assert said.startswith("dpkit calibrate: --epsilon must be within reach, got ")
    assert text in said
    assert "bracket" not in said
    advice = said.partition("; ")[2]
    assert advice.startswith("raise --epsilon") if "no noise" in text else advice.startswith("lower --epsilon")


def test_a_bad_option_is_not_taken_for_too_little_noise(capsys):
    wrong = ["--sampling-prob", "2", "--steps", "1", "--delta", "1e-5"]
    assert main(["calibrate", "--epsilon", "1", *wrong]) == 2
    assert capsys.readouterr().err.startswith("dpkit calibrate: sampling_prob must be in [0, 1], got 2.0; ")


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
    ["calibrate", "--epsilon", "1", *SAMPLED, "--accountant", "guess"],
    ["calibrate", "--epsilon", "1", *SAMPLED, "--relation", "other"],
    ["steps", "--noise-multiplier", "1", "--epsilon", "0", *ONE],
    ["steps", "--noise-multiplier", "1", "--epsilon", "1", "--sampling-prob", "0", "--delta", "1e-5"],
    ["steps", "--noise-multiplier", "1", "--epsilon", "1", *SAMPLED],
    ["steps", "--noise-multiplier", "-1", "--epsilon", "1", *ONE],
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
