"""Every planted one-line privacy bug must be killed by the test that is named for it.

A row of a ``*.toml`` beside this file says which text of which file becomes what, and which test must then fail. The
packages and the tests are copied, the copy is patched, and the named test runs there in a process of its own.
"""

import compileall
import contextlib
import py_compile
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.mutants.forks import STRANGER, TIMEOUT, Forks, Run

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    row for path in sorted(Path(__file__).parent.glob("*.toml")) for row in tomllib.loads(path.read_text())["mutant"]
]
VICTIM, KILLER = "accountants/errors.py", "tests/accountants/test_rdp.py::test_count_is_not_dropped"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    skip = shutil.ignore_patterns("__pycache__", ".hypothesis", "_build")
    for name in ("accountants", "dpkit", "secagg", "paper_repro", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", folder)
    # Compiled once, and by content: a file patched in the same second to the same length is still compiled anew.
    compileall.compile_dir(folder, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    return folder


@pytest.fixture(scope="module")
def forks(copy):
    with contextlib.closing(Forks(copy)) as forks:
        yield forks


@contextlib.contextmanager
def _patched(path, source):
    """The file holds another source for as long as this lasts."""
    before = path.read_text()
    path.write_text(source)
    try:
        yield
    finally:
        path.write_text(before)


def test_rows_are_distinct():
    names = [row["name"] for row in ROWS]
    assert len(names) == len(set(names))
    assert len(names) >= 30


def test_killers_pass_without_a_mutant(forks):
    run = forks.run(*sorted({row["killer"] for row in ROWS}), timeout=230)
    assert run.status == 0, run.output[-3000:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_mutant_is_killed(copy, forks, row):
    path = copy / row["file"]
    source = path.read_text()
    assert source.count(row["old"]) == 1, f"{row['file']} must hold the text once: {row['old']}"
    with _patched(path, source.replace(row["old"], row["new"])):
        run = forks.run(row["killer"], timeout=230)
    assert run.killed, f"survived (exit {run.status}):\n{run.output[-2000:]}"


def test_a_mutant_that_cannot_be_imported_is_not_killed(copy, forks):
    with _patched(copy / VICTIM, "raise ValueError('1 failed')\n"):
        run = forks.run(KILLER, timeout=60)
    assert "1 failed" in run.output
    assert not run.killed


def test_a_killer_that_is_not_there_kills_nothing(forks):
    run = forks.run(f"{KILLER}_at_all", timeout=60)
    assert run.status == 4
    assert not run.killed


def test_an_error_in_a_fixture_is_not_a_failure(copy, forks):
    path = copy / "tests" / "test_made_here.py"
    path.write_text("import pytest\n@pytest.fixture\ndef broken():\n    raise ValueError\ndef test(broken): pass\n")
    run = forks.run("tests/test_made_here.py::test", timeout=60)
    assert run.status == 1
    assert not run.killed


def test_every_run_sees_its_files_and_none_that_ran_before(copy, forks):
    path = copy / "tests" / "test_made_here.py"
    for source in ("def test(): assert 1 > 1\n", "def test(): assert 1 < 1\n", "def test(): assert 1 < 2\n"):
        path.write_text(f"import secagg\n{source}")
        run = forks.run("tests/test_made_here.py::test", timeout=60)
        assert run.killed == ("2" not in source)
    path.write_text(
        "import secagg, sys\nassert not hasattr(sys, 'seen')\nsys.seen = 1\n"
        f"def test(): assert secagg.__file__ == {str(copy / 'secagg' / '__init__.py')!r}\n"
    )
    assert [forks.run("tests/test_made_here.py::test", timeout=60).status for _ in range(2)] == [0, 0]


def test_a_module_from_elsewhere_is_found_out(copy, forks):
    path = copy / "tests" / "test_made_here.py"
    path.write_text(
        f"import sys\nfor name in [n for n in sys.modules if n.startswith('secagg')]: del sys.modules[name]\n"
        f"sys.path.insert(0, {str(ROOT)!r})\nimport secagg\ndef test(): assert False\n"
    )
    run = forks.run("tests/test_made_here.py::test", timeout=60)
    assert run.status == STRANGER
    assert not run.killed


def test_a_run_that_hangs_is_ended(copy, forks):
    path = copy / "tests" / "test_made_here.py"
    path.write_text("import time\ndef test(): time.sleep(200)\n")
    run = forks.run("tests/test_made_here.py::test", timeout=2)
    assert run == Run(TIMEOUT, "")
    assert forks.run(KILLER, timeout=60).status == 0


def test_the_answer_to_a_request_that_nobody_waited_for_is_not_taken_for_the_next(copy, forks):
    path = copy / "tests" / "test_made_here.py"
    path.write_text("def test(): assert False\n")
    forks.ask(0, "tests/test_made_here.py::test", timeout=60)
    assert forks.run(KILLER, timeout=60).status == 0
