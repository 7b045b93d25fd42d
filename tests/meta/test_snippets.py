"""Every example runs: docstrings of all modules, the README, and each page of the docs."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("accountants", "dpkit", "secagg")
    for path in (ROOT / package).rglob("*.py")
    if path.stem != "__main__"
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]
FENCE = re.compile(r"^```(\{?[\w-]+\}?)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_snippets_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for kind, code in FENCE.findall(page.read_text()):
        if kind == "python":
            assert ">>>" not in code, "sessions are marked pycon"
            exec(compile(code, str(page), "exec"), names)  # noqa: S102 - this project's own page
        elif kind in ("pycon", "{doctest}"):
            examples = doctest.DocTestParser().get_doctest(code, names, page.name, str(page), 0)
            assert doctest.DocTestRunner(optionflags=FLAGS).run(examples, clear_globs=False).failed == 0
            names.update(examples.globs)


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_run_and_assert(path):
    source = path.read_text()
    assert source.count("\n") < 80
    assert "\nassert " in source
    exec(compile(source, str(path), "exec"), {"__name__": "__main__"})  # noqa: S102 - this project's own example


def test_readme_snippet_is_a_short_doctest():
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert result.failed == 0
    assert 8 <= result.attempted <= 12
