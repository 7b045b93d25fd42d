"""The site builds without a warning, and every public module stands in its reference."""

import dataclasses
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "-q", "-b", "html", "-d", str(tmp_path / "trees")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    places = [str(ROOT / "docs"), str(tmp_path / "html")]
    result = subprocess.run([*command, *places], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert (tmp_path / "html" / "walk.html").exists()
    assert "abadi2016.epochs100" in (tmp_path / "html" / "reproductions.html").read_text()


def test_every_public_module_is_in_the_reference():
    pages = "\n".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    modules = [
        f"{package}.{path.stem}"
        for package in ("accountants", "dpkit", "secagg")
        for path in (ROOT / package).glob("*.py")
        if not path.stem.startswith("_")
    ]
    inner = {"secagg.checks", "secagg.envelope", "secagg.onemessage", "secagg.prg", "secagg.session"}  # no public names
    assert [name for name in modules if f"automodule:: {name}\n" not in pages and name not in inner] == []


def _guarantee_rows():
    """(module cell, tests named) of each row of the tables on the page of guarantees."""
    page = (ROOT / "docs" / "guarantees.md").read_text()
    cells = [line.split("|") for line in page.splitlines() if line.startswith("| ") and "| claim |" not in line]
    return [(row[2], re.findall(r"`(test_\w+)`", row[3])) for row in cells]


def test_every_guarantee_names_its_module_and_tests_that_exist():
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    rows = _guarantee_rows()
    assert len(rows) > 30
    for modules, names in rows:
        for module in re.findall(r"`([\w.]+)`", modules):
            importlib.import_module(module)
        assert names, modules
        assert [name for name in names if f"def {name}(" not in tests] == []


def test_every_test_that_a_docstring_guarantees_by_is_in_the_table():
    shown = {name for _, names in _guarantee_rows() for name in names}
    sources = [
        path.read_text() for package in ("accountants", "dpkit", "secagg") for path in (ROOT / package).rglob("*.py")
    ]
    sections = [section for source in sources for section in re.findall(r"Guarantee:(.*?)\n\s*\n", source, re.DOTALL)]
    named = {name for section in sections for name in re.findall(r"(test_\w+)``", section)}
    assert len(named) > 20
    assert sorted(named - shown) == []


def test_every_test_named_on_a_page_exists():
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {page.name: re.findall(r"`(test_\w+)`", page.read_text()) for page in (ROOT / "docs").glob("*.md")}
    assert len(named["certificate.md"]) > 15
    assert len(named["floating-point.md"]) > 30
    assert [(page, name) for page, names in named.items() for name in names if f"def {name}(" not in tests] == []


def test_every_event_accountant_and_parameter_is_in_the_name_map():
    page = (ROOT / "docs" / "glossary.md").read_text()
    accountants = importlib.import_module("accountants")
    events = importlib.import_module("accountants.events")
    kinds = [getattr(events, name) for name in events.__all__ if name != "Event"]
    wanted = {name for name in accountants.__all__ if name.endswith("Accountant") and name != "Accountant"}
    wanted |= {"Ledger", "Budget", "Odometer", "Plan", "Statement", "calibrate", "max_times", "relation", "unit"}
    assert len(kinds) > 15
    missing = [name for name in wanted if not re.search(rf"`[^`]*\b{name}\b", page)]
    for kind in kinds:
        called = f"{kind.__name__}({', '.join(field.name for field in dataclasses.fields(kind))})"
        missing += [called] if f"`{called}`" not in page else []
    assert missing == []
