"""TenSEAL's own tables again: sizes of ciphertexts and contexts, and the precision of CKKS."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from secagg import BFVSum, CKKSSum

ENTRIES, BOUND, PARTIES = 1000, 10.0, 3

PLAIN_MODULUS = 786433
"""The tutorial's, for BFV."""

EXPONENTS = (-1, 0, 1, 5, 11, 21, 41, 51)
"""Values of the precision table lie between 2 to the power of one of these and twice that."""

COMMON = EXPONENTS[:5]
"""Those where errors come from the encryption alone, and not from float64."""

UNITS = {"B": 1, "KB": 1024, "MB": 1024**2}

QUICK = ("ciphertext.ckks.2048.20-20.scale18", "ciphertext.bfv.2048.20-20", "precision.4096.40-20-40.scale40")
"""The cells of a short run."""


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; TenSEAL's own randomness cannot be seeded."""
    source, found = np.random.default_rng(seed), {}
    chosen = [cell for cell in cells if cell.id in QUICK or not smoke]
    for done, cell in enumerate(chosen, start=1):
        settings = dict(cell.settings)
        what = settings.pop("what")
        if what == "failures":
            settings["sets"] = [one.settings for one in cells if one.settings.get("scheme") == "ckks"]
        found[cell.id] = _METHODS[what](source, 1 if smoke else 20, **settings)
        progress(done, len(chosen), cell.id)
    return found


def _ciphertext(source: np.random.Generator, turns: int, *, scheme: str, scale: int = 0, **parameters: Any) -> Ours:
    """The median size over the keys; today, a message with as many values."""
    values = [source.uniform(-BOUND, BOUND) for _ in range(ENTRIES)]
    contexts = [_context(scheme, **parameters) for _ in range(turns)]
    sizes = [len(_vector(context, scheme, values, scale).serialize()) for context in contexts]
    exact = _message("bfv", 20) / UNITS["KB"]
    note = f"today by BFVSum, fixed point of 20 bits: {exact:.1f} KB" if scheme == "ckks" else ""
    return Ours(median(sizes) / UNITS["KB"], _message(scheme, 5) / UNITS["KB"], note)


@cache
def _message(scheme: str, bits: int) -> int:
    """Bytes that a party sends for as many values: reals, to 10^-6 in the sum; or integers of so many bits."""
    reals = [BOUND * (2 * place / (ENTRIES - 1) - 1) for place in range(ENTRIES)]
    plan: Any = CKKSSum.plan(PARTIES, ENTRIES, clip=BOUND, error=1e-6)
    if scheme == "bfv":
        plan = BFVSum.plan(PARTIES, ENTRIES, bits)
    client = plan.client(0, keys=plan.keygen().clients[0])
    client.set_input(reals if scheme == "ckks" else [round(real + BOUND) for real in reals])
    return len(client.start()[0].payload)


def _precision(source: np.random.Generator, turns: int, *, scale: int, **parameters: Any) -> Ours:
    """The median of what the tutorial prints for one encryption: the largest p whose 2^-p the error keeps to."""
    printed = []
    for context in (_context("ckks", **parameters) for _ in range(turns)):
        for exponent in COMMON:
            value = source.uniform(2.0**exponent, 2.0 ** (exponent + 1))
            error = abs(_vector(context, "ckks", [value], scale).decrypt()[0] - value)
            printed.append(min(scale - 1, math.floor(-math.log2(error)) if error else scale))
    ordered, cut = sorted(printed), len(printed) // 20
    return Ours(median(printed), note=f"nine of ten encryptions print {ordered[cut]} to {ordered[-1 - cut]}")


def _failures(source: np.random.Generator, turns: int, *, sets: Sequence[dict[str, Any]]) -> Ours:
    """Every set of parameters of the table of ciphertexts at every range of values."""
    refused = len(sets) * len(EXPONENTS)
    for one in sets:
        context = _context("ckks", degree=one["degree"], bits=one["bits"])
        for exponent in EXPONENTS:
            with suppress(ValueError):
                _vector(context, "ckks", [source.uniform(2.0**exponent, 2.0 ** (exponent + 1))], one["scale"])
                refused -= 1
    return Ours(refused)


def _contexts(source: np.random.Generator, turns: int, *, saved: str) -> Ours:
    """How many of the printed sizes of contexts ours are within 3 % of, and how far off the others are."""
    with (Path(__file__).parent / "contexts.csv").open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["saved"] == saved]
    off = [_context_size(row) / (float(row["size"]) * UNITS[row["unit"]]) - 1 for row in rows]
    return Ours(sum(abs(one) <= 0.03 for one in off), note=f"differences of {min(off):+.1%} to {max(off):+.1%}")


def _context_size(row: dict[str, str]) -> int:
    """Bytes of a fresh context with some of its keys."""
    bits = [int(number) for number in row["bits"].split()]
    context = _context(row["scheme"], int(row["degree"]), bits, row["encryption"])
    kinds = {kind: row["saved"] in (f"{kind} key", f"{kind} keys") for kind in ("public", "secret", "galois", "relin")}
    if kinds["galois"]:
        context.generate_galois_keys()
    return len(context.serialize(*(row["saved"] == "all" or kind for kind in kinds.values())))


def _context(scheme: str, degree: int, bits: Sequence[int], encryption: str = "asymmetric") -> Any:
    """A context with fresh keys."""
    try:
        import tenseal
    except ModuleNotFoundError:
        raise ModuleNotFoundError("tenseal_tables needs TenSEAL: pip install tenseal") from None
    settings = {
        "poly_modulus_degree": degree,
        "coeff_mod_bit_sizes": list(bits),
        "encryption_type": getattr(tenseal.ENCRYPTION_TYPE, encryption.upper()),
    }
    if scheme == "bfv":
        return tenseal.context(tenseal.SCHEME_TYPE.BFV, plain_modulus=PLAIN_MODULUS, **settings)
    return tenseal.context(tenseal.SCHEME_TYPE.CKKS, **settings)


def _vector(context: Any, scheme: str, values: Sequence[float], scale: int) -> Any:
    """A ciphertext; BFV takes integers."""
    import tenseal

    if scheme == "bfv":
        return tenseal.bfv_vector(context, [round(value) for value in values])
    return tenseal.ckks_vector(context, list(values), 2.0**scale)


_METHODS: dict[str, Callable[..., Ours]] = {
    "ciphertext": _ciphertext,
    "precision": _precision,
    "failures": _failures,
    "contexts": _contexts,
}
