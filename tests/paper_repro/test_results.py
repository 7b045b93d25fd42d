"""Committed results are of the committed specs, and what can be computed again is."""

import dataclasses
import math

import pytest

from paper_repro import plots, results
from paper_repro.compare import Agreement
from paper_repro.results import Ours
from paper_repro.spec import experiments

KNOWN = experiments()
COMMITTED = [one for one in KNOWN.values() if results.load(one) is not None]


def quiet(done, total, text):
    assert 0 < done <= total
    assert text


@pytest.mark.parametrize("experiment", KNOWN.values(), ids=lambda one: one.id)
def test_smoke_run(experiment, tmp_path):
    """Each runs in seconds; one whose numbers repeat gives the committed ones again, as far as a smoke run goes."""
    result = results.execute(experiment, smoke=True, seed=0, progress=quiet)
    assert result.cells
    assert plots.draw(experiment, result, tmp_path / "plot.svg")
    committed = results.load(experiment)
    if experiment.repeats and committed is not None:
        for name, ours in result.cells.items():
            kept = committed.cells[name]
            assert math.isclose(ours.value, kept.value, rel_tol=1e-6), name
            assert ours.today is None or math.isclose(ours.today, kept.today, rel_tol=1e-6), name


@pytest.mark.parametrize("experiment", COMMITTED, ids=lambda one: one.id)
def test_committed_results_are_full_runs_of_this_spec_and_agree(experiment):
    result = results.current(experiment)
    assert result is not None
    assert {"terms", "versions", "python", "machine", "data"} == set(result.provenance)
    for cell in experiment.cells:
        assert results.verdict(cell, result.cells[cell.id]) != "DIFFERS", cell.id


def test_saved_and_loaded_is_the_same(tmp_path, monkeypatch):
    experiment = KNOWN["accounting_grid"]
    result = results.load(experiment)
    results.save(result, tmp_path / "results.json")
    assert (tmp_path / "results.json").read_bytes() == (experiment.folder / "results.json").read_bytes()
    changed = dataclasses.replace(result, cells={**result.cells, "tff.clients": Ours(1 / 3, 0.1, "n")})
    results.save(changed, tmp_path / "results.json")
    monkeypatch.setattr(type(experiment), "folder", property(lambda self: tmp_path))
    assert results.load(experiment) == changed


def test_verdicts():
    cell = KNOWN["accounting_grid"].cells[0]
    assert results.verdict(cell, Ours(1.258)) == "agrees"
    assert results.verdict(cell, Ours(1.27)) == "DIFFERS"
    assert results.verdict(cell, Ours(1.27), smoke=True) == "not compared"
    assert results.verdict(cell, None) == "not run"
    assert results.verdict(dataclasses.replace(cell, confidence="recalled"), Ours(1.27)) == "not compared"
    wrong = next(cell for cell in KNOWN["accounting_grid"].cells if (cell.published or "").startswith("19.08"))
    assert results.verdict(wrong, Ours(19.5139)) == "explained"
    assert results.verdict(wrong, Ours(19.0868)) == "DIFFERS"


def changed(experiment, **fields):
    """The experiment with its first cell changed."""
    return dataclasses.replace(
        experiment, cells=(dataclasses.replace(experiment.cells[0], **fields), *experiment.cells[1:])
    )


def test_a_result_is_of_what_was_run():
    """Another number, setting or cell makes it stale; other words or another tolerance do not."""
    grid = KNOWN["accounting_grid"]
    cell = grid.cells[0]
    assert results.current(grid) == results.load(grid)
    for fields in ({"published": "1.27"}, {"settings": {**cell.settings, "steps": 1}}, {"id": "x"}):
        assert results.current(changed(grid, **fields)) is None
    assert results.current(dataclasses.replace(grid, cells=grid.cells[1:])) is None
    for fields in ({"quantity": "x"}, {"why": "x"}, {"agreement": Agreement("abs", 1.0)}):
        assert results.current(changed(grid, **fields)) == results.load(grid)


@pytest.mark.parametrize("broken", [{"smoke": True}, {"cells": {}}, {"spec": "0" * 16}], ids=["smoke", "cells", "spec"])
def test_what_is_no_full_run_is_not_current(monkeypatch, broken):
    grid = KNOWN["accounting_grid"]
    kept = dataclasses.replace(results.load(grid), **broken)
    monkeypatch.setattr(results, "load", lambda experiment: kept)
    assert results.current(grid) is None


@pytest.mark.parametrize("returned", [{}, {"nothing": Ours(1.0)}])
def test_a_run_that_leaves_cells_out_is_an_error(monkeypatch, returned):
    experiment = KNOWN["accounting_grid"]
    monkeypatch.setattr(experiment.code, "run", lambda cells, **rest: returned)
    with pytest.raises(ValueError, match="accounting_grid: run"):
        results.execute(experiment, smoke=False, seed=0, progress=quiet)
