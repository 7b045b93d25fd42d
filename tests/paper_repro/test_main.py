"""The program, as a user calls it."""

import dataclasses
import json

import pytest

from paper_repro import __main__ as program
from paper_repro import results
from paper_repro.results import Ours
from paper_repro.spec import experiments


def test_list(capsys):
    assert program.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(experiments())


def test_check_of_the_committed_results(capsys):
    assert program.main(["check"]) == 0
    assert "DIFFERS" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cells": {"tff.clients": Ours(99.0)}}, "DIFFERS"),
        ({"spec": "0" * 16}, "of other cells"),
        ({"smoke": True}, "of a smoke run"),
        (None, "no results"),
    ],
)
def test_check_fails_on_what_is_wrong(monkeypatch, capsys, change, said):
    grid = experiments()["accounting_grid"]
    kept = results.load(grid)
    if change is not None and "cells" in change:
        change = {"cells": {**kept.cells, **change["cells"]}}
    changed = None if change is None else dataclasses.replace(kept, **change)
    monkeypatch.setattr(program, "experiments", lambda: {"accounting_grid": grid})
    monkeypatch.setattr(results, "load", lambda experiment: changed)
    assert program.main(["check"]) == 1
    assert said in capsys.readouterr().out


def test_run_keeps_results_and_plot(tmp_path, monkeypatch, capsys):
    grid = experiments()["accounting_grid"]
    found = results.load(grid).cells
    monkeypatch.setattr(grid.code, "run", lambda cells, **rest: dict(found))
    assert program.main(["run", "accounting_grid", "--out", str(tmp_path), "--seed", "3"]) == 0
    kept = json.loads((tmp_path / "accounting_grid" / "results.json").read_text())
    assert kept["seed"] == 3
    assert (tmp_path / "accounting_grid" / "plot.svg").is_file()
    assert "published 1.26" in capsys.readouterr().out
    monkeypatch.setattr(grid.code, "run", lambda cells, **rest: {**found, "tff.clients": Ours(99.0)})
    assert program.main(["run", "accounting_grid", "--out", str(tmp_path)]) == 1


def test_a_smoke_run_leaves_the_folder_alone(monkeypatch, capsys):
    grid = experiments()["accounting_grid"]
    before = (grid.folder / "results.json").read_bytes()
    monkeypatch.setattr(grid.code, "run", lambda cells, **rest: {"tff.clients": Ours(99.0)})
    assert program.main(["run", "accounting_grid", "--smoke"]) == 0
    assert (grid.folder / "results.json").read_bytes() == before
    assert "not compared" in capsys.readouterr().out


def test_report(tmp_path, capsys):
    assert program.main(["report", "--out", str(tmp_path)]) == 0
    assert "accounting_grid" in (tmp_path / "report.md").read_text()
    assert "<table>" in (tmp_path / "report.html").read_text()


def test_what_is_not_installed_is_one_line_and_keeps_nothing_else_from_its_run(monkeypatch, capsys, tmp_path):
    known = experiments()
    grid, gboard = known["accounting_grid"], known["gboard_production"]

    def missing(cells, **rest):
        raise ModuleNotFoundError("no digits here")

    found = results.load(gboard).cells
    monkeypatch.setattr(program, "experiments", lambda: {"accounting_grid": grid, "gboard_production": gboard})
    monkeypatch.setattr(grid.code, "run", missing)
    monkeypatch.setattr(gboard.code, "run", lambda cells, **rest: dict(found))
    monkeypatch.setattr(program.plots, "draw", lambda *rest: False)
    assert program.main(["run", "all", "--out", str(tmp_path)]) == 2
    assert {path.parent.name for path in tmp_path.glob("*/results.json")} == {"gboard_production"}
    assert capsys.readouterr().err.splitlines() == [
        "paper_repro: accounting_grid: no digits here",
        "no picture: matplotlib is not installed",
    ]


def test_a_folder_that_cannot_be_is_told_before_anything_runs(monkeypatch, capsys, tmp_path):
    grid = experiments()["accounting_grid"]
    monkeypatch.setattr(grid.code, "run", lambda cells, **rest: pytest.fail("it ran"))
    (tmp_path / "file").write_text("")
    assert program.main(["run", "accounting_grid", "--out", str(tmp_path / "file")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", "9223372036854775808"])
def test_a_seed_is_a_whole_number(capsys, seed):
    with pytest.raises(SystemExit) as stopped:
        program.main(["run", "accounting_grid", "--seed", seed])
    assert stopped.value.code == 2
    assert "no whole number from 0 to" in capsys.readouterr().err


def test_unknown_id_is_one_line(capsys):
    assert program.main(["run", "nothing"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
