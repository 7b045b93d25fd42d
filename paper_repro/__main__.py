"""``python -m paper_repro list | run ID | check``: each published number, ours, and whether they agree.

A number agrees if rounding ours to the published digits gives the published number.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def claims() -> dict[str, dict[str, Any]]:
    """Every published number by its id, with the module that computes it."""
    found = {}
    for path in sorted(HERE.glob("*/claims.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        for claim in table["claim"]:
            found[claim["id"]] = claim | {"source": table["source"], "module": f"paper_repro.{path.parent.name}.run"}
    return found


def run(claim: dict[str, Any]) -> tuple[bool, str]:
    """Compute one claim; whether it agrees, and a line that says so."""
    theirs, best = importlib.import_module(claim["module"]).compute(**claim["settings"])
    published = Decimal(claim["published"])
    agrees = Decimal(theirs).quantize(published) == published
    verdict = "agrees" if agrees else "DIFFERS"
    return (
        agrees,
        f"{claim['id']:<32} published {published}  ours, their way {theirs:.4f}  {verdict}  best bound {best:.4f}",
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 if all agrees, 1 if something differs, 2 on bad input."""
    parser = argparse.ArgumentParser(prog="paper_repro", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", choices=["list", "run", "check"])
    parser.add_argument("id", nargs="?")
    options = parser.parse_args(arguments)
    known = claims()
    if options.command == "list":
        print("\n".join(f"{name:<32} {claim['source']}" for name, claim in known.items()))
        return 0
    if options.command == "run" and options.id not in known:
        print(f"paper_repro: unknown id {options.id!r}; see: python -m paper_repro list", file=sys.stderr)
        return 2
    chosen = [known[options.id]] if options.command == "run" else list(known.values())
    results = [run(claim) for claim in chosen]
    print("\n".join(line for _, line in results))
    return 0 if all(agrees for agrees, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
