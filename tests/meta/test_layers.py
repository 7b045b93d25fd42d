"""DESIGN's one arrow, enforced: the contracts of pyproject.toml hold, and a broken one would be seen."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINT = """
import sys
sys.path.insert(0, ".")
from importlinter.cli import lint_imports
sys.exit(lint_imports(cache_dir=None))
"""


def _lint(folder):
    return subprocess.run([sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True, check=False)


def test_contracts_hold():
    result = _lint(ROOT)
    assert result.returncode == 0, result.stdout


def test_a_wrong_arrow_is_seen(tmp_path):
    for name in ("accountants", "dpkit", "secagg"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    module = tmp_path / "accountants" / "errors.py"
    module.write_text(module.read_text() + "\nimport dpkit.bounded\n")
    result = _lint(tmp_path)
    assert result.returncode == 1, result.stdout
    assert "accountants imports nothing of ours" in result.stdout
