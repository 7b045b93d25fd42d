"""The look of the house: public names, file length, mirrors, docstrings, and words that must not appear."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("accountants", "dpkit", "secagg")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SNAPSHOT = ROOT / "tests" / "meta" / "public_names.txt"


def _name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_files_are_short(path):
    assert path.read_text().count("\n") <= 400


def test_public_names_are_the_snapshot():
    names = [f"{package}.{name}" for package in PACKAGES for name in sorted(importlib.import_module(package).__all__)]
    assert names == SNAPSHOT.read_text().split(), (
        "a public name came or went: change the snapshot and add a news fragment"
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_explicit_and_true(package):
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__) <= 50
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("path", [path for path in MODULES if not path.stem.startswith("__")], ids=_name)
def test_every_module_has_a_mirror(path):
    wanted = f"test_{path.stem.lstrip('_')}.py"
    assert list((ROOT / "tests").rglob(wanted)), f"no tests/**/{wanted}"


def _public_definitions(path):
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return tree, [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_public_definitions_are_documented(path):
    tree, definitions = _public_definitions(path)
    assert ast.get_docstring(tree), "the module says what it holds"
    assert [node.name for node in definitions if not ast.get_docstring(node)] == []


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_library_code_keeps_the_rules(path):
    source = path.read_text()
    tree = ast.parse(source)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    bare = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert not bare
    assert not re.search(r"\bTODO\b|\bFIXME\b|np\.random\.(?!default_rng)|random\.seed\(", source)
    if "default_rng" in source:
        assert path == ROOT / "dpkit" / "demo" / "data.py", "only the synthetic digits may come from numpy's generator"


TEST_NAME = re.compile(r"``(test_\w+)``")


def test_every_named_guarantee_test_exists():
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = {(name, _name(path)) for path in MODULES for name in TEST_NAME.findall(path.read_text())}
    assert named, "guarantees name their tests"
    assert sorted((name, path) for name, path in named if f"def {name}(" not in tests) == []
