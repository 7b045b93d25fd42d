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


GENERATORS = re.compile(
    r"((random|secrets)\b|numpy\.random|torch\.(rand|normal|manual_seed|seed|initial_seed|random|bernoulli|multinomial|poisson)"
    r"|torch\.(default_generator|Generator|cuda\.(manual_)?seed|nn\.init)|os\.(urandom|getrandom)|uuid\.uuid[14])"
)
LAWS = ("normal", "uniform", "random", "exponential", "cauchy", "geometric", "log_normal", "bernoulli")
METHODS = {"rvs", *(f"{law}_" for law in LAWS)}
#: The only such names in the packages: the two sources themselves, the demo's public digits and first weights, and a
#: device's generator where it is asked for, which is recorded as not secure.
DRAWN = {
    "dpkit/entropy.py": {"os.urandom"},
    "secagg/prg.py": {"os.urandom"},
    "dpkit/demo/data.py": {"numpy.random.default_rng"},
    "dpkit/training/noise.py": {"torch.Generator", "torch.randn"},
    "dpkit/demo/model.py": {"torch.random.fork_rng", "torch.random.manual_seed"},
}


def _random_names(source):
    """Everything in a module's code that draws random numbers by itself: generators of others, by full name."""
    tree, known, found = ast.parse(source), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known.update({name.asname or name.name.split(".")[0]: name.asname and name.name for name in node.names})
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            known.update({name.asname or name.name: f"{node.module}.{name.name}" for name in node.names})
            found |= {f"{node.module}.{name.name}" for name in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found.add(_dotted(node, known))
    whole = {name for name in found if not any(other.startswith(f"{name}.") for other in found)}
    return {name for name in whole if GENERATORS.match(name) or name.split(".")[-1] in METHODS}


def _dotted(node, known):
    """The full name of a chain of attributes; what it hangs on, if that is no name, is left out."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        names.append(known.get(node.id) or node.id)
    return ".".join(reversed(names))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_generator_but_entropy(path):
    """No module draws from numpy's, torch's or Python's generators, global or not: all randomness is ``entropy``'s."""
    whole = {name for name in _random_names(path.read_text()) if not DRAWN.get(_name(path), set()) & {name}}
    assert whole == set()


def test_what_is_allowed_to_draw_does():
    assert {path: _random_names((ROOT / path).read_text()) for path in DRAWN} == DRAWN


@pytest.mark.parametrize(
    "source",
    [
        "import random",
        "from random import gauss",
        "import numpy as np\nnp.random.normal()",
        "import numpy\nnumpy.random.default_rng(0)",
        "from numpy import random as r\nr.laplace()",
        "from numpy.random import default_rng",
        "import numpy.random as nr",
        "import torch\ntorch.randn(3)",
        "import torch as t\nt.manual_seed(0)",
        "from torch import normal",
        "import torch\ntorch.empty(3).normal_()",
        "import torch\ntorch.Generator()",
        "import torch\ntorch.nn.init.zeros_(w)",
        "from torch.nn import init",
        "from scipy.stats import norm\nnorm.rvs(3)",
        "import os\nos.urandom(3)",
        "import secrets",
        "def f():\n    from os import urandom",
    ],
)
def test_a_generator_would_be_seen(source):
    assert _random_names(source)
