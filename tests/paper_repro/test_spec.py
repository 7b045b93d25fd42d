"""Every experiment says what was published, where, and how closely we must agree."""

import ast
import json

import pytest

from paper_repro import spec
from paper_repro.spec import HERE, SpecError, experiments

KNOWN = experiments()


def test_there_are_experiments():
    assert "accounting_grid" in KNOWN


@pytest.mark.parametrize("experiment", KNOWN.values(), ids=lambda one: one.id)
def test_folder_is_complete(experiment):
    names = {path.name for path in experiment.folder.iterdir()}
    assert {"spec.toml", "run.py", "README.md", "__init__.py"} <= names
    assert experiment.optional or {"results.json", "plot.svg"} <= names
    assert len((experiment.folder / "run.py").read_text().splitlines()) < 150
    readme = (experiment.folder / "README.md").read_text()
    assert f"python -m paper_repro run {experiment.id}" in readme
    assert "**Deviations**" in readme
    for cell in experiment.cells:
        assert cell.published is None or float(cell.published) == float(cell.published)


@pytest.mark.parametrize("experiment", KNOWN.values(), ids=lambda one: one.id)
def test_only_the_public_api_is_used(experiment):
    trees = [ast.parse(path.read_text()) for path in experiment.folder.glob("*.py")]
    for node in (node for tree in trees for node in ast.walk(tree)):
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        module = (node.module or "") if isinstance(node, ast.ImportFrom) else ""
        assert not any(part.startswith("_") and part != "__future__" for part in module.split("."))
        assert not any(part.startswith("_") for name in names for part in name.split("."))
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr.startswith("__")


@pytest.mark.parametrize("experiment", KNOWN.values(), ids=lambda one: one.id)
def test_numbers_that_nobody_read_are_not_shown(experiment):
    for cell in experiment.cells:
        if cell.confidence == "recalled":
            assert cell.shown == "not verified"
            assert not cell.compared


GOOD = """
title = "t"
paper = "p"
link = "l"
seconds = 1
[terms]
relation = "add_remove"
sampling = "none"
accountant = "x"
[[cell]]
id = "a"
quantity = "q"
published = "1.0"
source = "s"
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('source = "s"', "", "needs its source"),
        ('quantity = "q"', "", "quantity"),
        ('source = "s"', 'source = "s"\nagree = "abs 1"', "needs a reason"),
        ('source = "s"', 'source = "s"\nagree = "close"', "write digits"),
        ('source = "s"', 'source = "s"\nconfidence = "sure"', "confidence"),
        ('title = "t"', "", "title"),
        ('sampling = "none"', "", "terms need relation, sampling"),
        ('source = "s"', 'source = "s"\n[[cell]]\nid = "a"\nquantity = "q"', "two cells"),
    ],
)
def test_a_spec_that_says_too_little_is_refused(tmp_path, monkeypatch, old, new, said):
    monkeypatch.setattr(spec, "HERE", tmp_path)
    (tmp_path / "one").mkdir()
    path = tmp_path / "one" / "spec.toml"
    path.write_text(GOOD)
    assert experiments()["one"].cells[0].published == "1.0"
    assert GOOD.count(old) == 1
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(SpecError, match=said):
        experiments()


def test_terms_say_what_numbers_rest_on_or_that_nothing_is_private(tmp_path, monkeypatch):
    monkeypatch.setattr(spec, "HERE", tmp_path)
    (tmp_path / "one").mkdir()
    path = tmp_path / "one" / "spec.toml"
    path.write_text(GOOD)
    assert experiments()["one"].about == "p (l). Relation: add_remove. Sampling: none. Accountant: x."
    path.write_text(GOOD.replace('relation = "add_remove"\nsampling = "none"\naccountant = "x"', 'privacy = "none"'))
    assert experiments()["one"].terms == {"privacy": "none"}


def test_specs_and_results_name_no_machine():
    for path in (*HERE.glob("*/spec.toml"), *HERE.glob("*/results.json"), *HERE.glob("*/README.md")):
        text = path.read_text()
        assert str(HERE.parent) not in text
        assert "/home/" not in text
        if path.suffix == ".json":
            assert set(json.loads(text)) == {"experiment", "spec", "smoke", "seed", "seconds", "provenance", "cells"}
