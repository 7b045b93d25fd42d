"""Committed results are of the committed specs, and what can be computed again is."""

import dataclasses
import math

import pytest

from paper_repro import results
from paper_repro.results import Ours
from paper_repro.spec import experiments

KNOWN = experiments()
COMMITTED = [one for one in KNOWN.values() if results.load(one) is not None]


def quiet(done, total, text):
    assert 0 < done <= total
    assert text


@pytest.mark.parametrize("experiment", KNOWN.values(), ids=lambda one: one.id)
def test_smoke_run(experiment):
    """Each runs in seconds; one whose numbers repeat gives the committed ones again, as far as a smoke run goes."""
    result = results.execute(experiment, smoke=True, seed=0, progress=quiet)
    assert result.cells
    committed = results.load(experiment)
    if experiment.repeats and committed is not None:
        for name, ours in result.cells.items():
            kept = committed.cells[name]
            assert math.isclose(ours.value, kept.value, rel_tol=1e-6), name
            assert ours.today is None or math.isclose(ours.today, kept.today, rel_tol=1e-6), name


@pytest.mark.parametrize("experiment", COMMITTED, ids=lambda one: one.id)
def test_committed_results_are_full_runs_of_this_spec_and_agree(experiment):
    result = results.load(experiment)
    assert not result.smoke
    assert result.spec == results.digest(experiment)
    assert set(result.cells) == {cell.id for cell in experiment.cells}
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
    assert results.verdict(cell, None) == "not compared"
    assert results.verdict(dataclasses.replace(cell, confidence="recalled"), Ours(1.27)) == "not compared"
    wrong = next(cell for cell in KNOWN["accounting_grid"].cells if cell.agreement.kind == "differs")
    assert results.verdict(wrong, Ours(19.5139)) == "explained"
    assert results.verdict(wrong, Ours(19.0868)) == "DIFFERS"


@pytest.mark.parametrize("returned", [{}, {"nothing": Ours(1.0)}])
def test_a_run_that_leaves_cells_out_is_an_error(monkeypatch, returned):
    experiment = KNOWN["accounting_grid"]
    monkeypatch.setattr(experiment.code, "run", lambda cells, **rest: returned)
    with pytest.raises(ValueError, match="accounting_grid: run"):
        results.execute(experiment, smoke=False, seed=0, progress=quiet)
