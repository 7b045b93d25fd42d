"""``make bench``: every speed figure as a ratio against a named peer, both sides in one run.

Each ``bench_*.py`` beside this file has a function ``rows()`` that returns dicts with the keys of ``COLUMNS``, and may
have ``notes()``, text that is kept below the table. With ``--write`` they replace those in docs/benchmarks.md, with the
machine.
"""

import importlib
import os
import platform
import sys
from pathlib import Path

COLUMNS = ("what", "against", "ours", "peer", "ratio", "reach")
HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
MARK = "## Figures\n"


def machine():
    """The processor and the libraries, without naming the host."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    versions = {name: importlib.import_module(name).__version__ for name in ("numpy", "scipy", "torch", "tenseal")}
    stack = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{model}, {os.cpu_count()} cores (one thread used), Python {platform.python_version()}, {stack}"


def measured(names):
    """All rows, and all notes."""
    rows, notes = [], []
    for path in sorted(HERE.glob("bench_*.py")):
        if not names or any(name in path.stem for name in names):
            print(f"running {path.stem} ...", file=sys.stderr)
            module = importlib.import_module(f"tests.bench.{path.stem}")
            rows.extend(module.rows())
            if hasattr(module, "notes"):
                notes.append(module.notes())
    return rows, notes


def table(rows):
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    return "\n".join(lines + ["| " + " | ".join(str(row[name]) for name in COLUMNS) + " |" for row in rows])


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    rows, notes = measured(words)
    text = "\n\n".join([f"{MARK}\nMachine: {machine()}.", table(rows), *notes]) + "\n"
    print(text)
    if "--write" in sys.argv:
        PAGE.write_text(PAGE.read_text().split(MARK)[0] + text)


if __name__ == "__main__":
    main()
