"""The site builds without a warning, and every public module stands in its reference."""

import os
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


def test_every_public_module_is_in_the_reference():
    pages = "\n".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    modules = [
        f"{package}.{path.stem}"
        for package in ("accountants", "dpkit", "secagg")
        for path in (ROOT / package).glob("*.py")
        if not path.stem.startswith("_")
    ]
    inner = {"secagg.checks", "secagg.envelope", "secagg.onemessage", "secagg.prg"}  # no public names
    assert [name for name in modules if f"automodule:: {name}\n" not in pages and name not in inner] == []
