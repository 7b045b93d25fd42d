"""The table states what every printed epsilon must, and the folder holds what it says."""

import json
import sys

import pytest

from accountants import Ledger
from dpkit.demo.data import synthetic_digits
from dpkit.demo.report import table, write_report
from dpkit.demo.run import Settings, run


@pytest.fixture(scope="module")
def outcome():
    settings = Settings(parties=3, rounds=2, protocol="plain", sampling_prob=0.3, epsilon=20.0)
    return run(settings, digits=synthetic_digits(train=60, test=30))


def test_table_states_everything(outcome):
    text = table(outcome)
    for word in (
        "rounds",
        "test accuracy",
        "epsilon",
        "delta 1e-05",
        "add_remove",
        "unit: example",
        "sent per party",
        "seconds",
    ):
        assert word in text
    assert outcome.statement.accountant in text
    assert "synthetic digits" in text


def test_report_folder(outcome, tmp_path):
    files = write_report(outcome, tmp_path / "deep" / "folder")
    assert files == ["report.json", "ledger.json", "statement.md", "training.png"]
    folder = tmp_path / "deep" / "folder"
    facts = json.loads((folder / "report.json").read_text())
    assert facts["rounds"] == 2
    assert facts["epsilon"] == Ledger.from_json((folder / "ledger.json").read_text()).epsilon(delta=1e-5)
    assert (folder / "training.png").read_bytes().startswith(b"\x89PNG")
    assert "upper bound" in (folder / "statement.md").read_text()


def test_without_matplotlib_there_is_no_plot(outcome, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "training.png" not in write_report(outcome, tmp_path)
