"""The catalogue of properties is complete, and every row names tests that exist or says that there is nothing yet."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "properties.md"
MISSING = "not in this release"


def _rows():
    """(id, what holds it) of every row with an id."""
    cells = [line.split("|") for line in PAGE.read_text().splitlines() if re.match(r"\| [A-Z]\d+ \|", line)]
    return [(row[1].strip(), row[3].strip()) for row in cells]


def test_the_catalogue_is_complete():
    wanted = [
        f"{kind}{i}"
        for kind, count in (("M", 30), ("T", 23), ("S", 31), ("H", 15), ("B", 24))
        for i in range(1, count + 1)
    ]
    assert [name for name, _ in _rows()] == wanted


def test_the_catalogue_names_tests_that_exist():
    """Read off the definitions: a name in a comment is none."""
    text = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"^def (test_\w+)\(", text, re.MULTILINE))
    for name, held in _rows():
        named = re.findall(r"`(test_\w+)`", held)
        assert [test for test in named if test not in known] == [], name
        assert bool(named) is (held != MISSING), name


def test_only_what_draws_nothing_yet_is_left_out():
    assert [name for name, held in _rows() if held == MISSING] == ["M23", "M24", "M30", "B3", "B4", "B18"]
