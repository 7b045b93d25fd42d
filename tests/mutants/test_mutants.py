"""Every planted one-line privacy bug must be killed by the test that is named for it.

A row of a ``*.toml`` beside this file says which text of which file becomes what, and which test must then fail. The
packages and the tests are copied, the copy is patched, and the named test runs there in a process of its own.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    row for path in sorted(Path(__file__).parent.glob("*.toml")) for row in tomllib.loads(path.read_text())["mutant"]
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    skip = shutil.ignore_patterns("__pycache__", ".hypothesis", "_build")
    for name in ("accountants", "dpkit", "secagg", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _run(folder, *killers):
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "CI": "true"}
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", *options, *killers]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=230, check=False
    )


def test_rows_are_distinct():
    names = [row["name"] for row in ROWS]
    assert len(names) == len(set(names))
    assert len(names) >= 30


def test_killers_pass_without_a_mutant(copy):
    result = _run(copy, *sorted({row["killer"] for row in ROWS}))
    assert result.returncode == 0, result.stdout[-3000:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_mutant_is_killed(copy, row):
    path = copy / row["file"]
    source = path.read_text()
    assert source.count(row["old"]) == 1, f"{row['file']} must hold the text once: {row['old']}"
    path.write_text(source.replace(row["old"], row["new"]))
    try:
        result = _run(copy, row["killer"])
    finally:
        path.write_text(source)
    assert result.returncode == 1, f"survived (exit {result.returncode}):\n{result.stdout[-2000:]}"
    assert "failed" in result.stdout
