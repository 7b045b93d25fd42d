"""How the cost of a masked sum grows: the tables of docs/masked-costs.md, ``python -m tests.bench.masked_scaling``.

With ``--write`` they replace those of the page. Times are CPU time of one thread; every sum is checked.
"""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np

from secagg.masking.plans import SecAgg, SecAggPlus
from tests.bench.__main__ import machine
from tests.bench.rounds import play

PAGE = Path(__file__).parents[2] / "docs" / "masked-costs.md"
MARK = "## Measured\n"
BITS = 16

SIMULATED = """
import json, resource, time
import numpy as np
from secagg.masking.plans import SecAggPlus
from secagg.simulation import simulate
plan = SecAggPlus.plan(1000, 100_000, 16, adversary="semi_honest", corrupt=0.05, dropout=0.1)
vectors = np.random.default_rng(0).integers(0, 2**16, (1000, 100_000), dtype=np.uint16)
wall, cpu = time.perf_counter(), time.process_time()
result = simulate(plan, vectors, dropouts={"masked_input": range(100)})
seconds = time.perf_counter() - wall, time.process_time() - cpu
assert (result.total == vectors[100:].sum(0, dtype=np.uint64)).all()
print(json.dumps([*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
"""


def seconds(kind, num_parties, dim, lost, dropout, repeats):
    """The plan of a round that was played, and CPU time: of a client, to add, and to open; the least of the turns."""
    plan = kind.plan(num_parties, dim, BITS, adversary="semi_honest", corrupt=0.05, dropout=dropout)
    vector = np.arange(dim, dtype=np.uint64) & np.uint64(2**BITS - 1)
    turns = []
    for _ in range(repeats):
        _, total, watch = play(plan, lambda party: vector, range(lost))
        if not np.array_equal(total, (num_parties - lost) * vector):
            raise RuntimeError("the sum is another one")
        turns.append((watch.client(), watch.server("masked_input"), watch.server("unmask")))
    return plan, *(min(turn) for turn in zip(*turns, strict=True))


@cache
def of_one_entry(kind, num_parties, lost, dropout):
    """CPU time to open a sum of single entries: what does not depend on how many there are."""
    return seconds(kind, num_parties, 1, lost, dropout, 1 if num_parties > 500 else 4)[-1]


def measured(kind, num_parties, dim, lost, dropout=0.1):
    """Cells of a row; `lost` parties are gone before their masked inputs."""
    plan, client, adding, opening = seconds(kind, num_parties, dim, lost, dropout, 1 if num_parties > 500 else 3)
    joining = of_one_entry(kind, num_parties, lost, dropout)
    stayed = num_parties - lost
    masks = stayed + round(lost * plan.neighbours * stayed / (num_parties - 1))
    return [
        num_parties,
        dim,
        f"{lost / num_parties:.0%}",
        plan.neighbours,
        f"{1e3 * client:.3g}",
        f"{adding:.3g}",
        f"{1e9 * adding / stayed / dim:.2f}",
        masks,
        f"{opening:.3g}",
        f"{joining:.3g}",
        f"{1e9 * (opening - joining) / masks / dim:.2f}",
    ]


HEAD = (
    "n",
    "d",
    "gone",
    "neighbours",
    "client, ms",
    "adding, s",
    "ns an entry",
    "masks",
    "opening, s",
    "joining, s",
    "ns an entry of a mask",
)


def table(rows):
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (HEAD, *rows)]
    return "\n".join([lines[0], "|---" * len(HEAD) + "|", *lines[1:]])


def text():
    parties = [measured(SecAggPlus, n, 100_000, n // 10) for n in (125, 250, 500, 1000)]
    dims = [measured(SecAggPlus, 250, d, 25) for d in (25_000, 50_000, 100_000, 200_000, 400_000)]
    rates = [measured(SecAggPlus, 250, 100_000, lost, dropout=0.3) for lost in (0, 12, 25, 50, 75)]
    complete = [measured(SecAgg, n, 100_000, n // 10) for n in (50, 100, 200)]
    done = subprocess.run(
        [sys.executable, "-c", SIMULATED], cwd=PAGE.parents[1], capture_output=True, text=True, check=True
    )
    wall, cpu, peak = json.loads(done.stdout)
    return "\n\n".join(
        [
            MARK.rstrip(),
            f"Machine: {machine()}.",
            "`SecAggPlus`, parties doubled (one in ten gone):",
            table(parties),
            "`SecAggPlus`, entries doubled:",
            table(dims),
            "`SecAggPlus`, one plan for 30 % gone, and how many are:",
            table(rates),
            "`SecAgg`, parties doubled:",
            table(complete),
            f"`simulate` of 1 000 parties with 10⁵ entries each by `SecAggPlus`, 100 of them gone: {wall:.0f} s on the "
            f"wall, {cpu:.0f} s of CPU time on one thread, clients and server together; {peak:.2f} GiB at the peak.",
        ]
    )


def main():
    found = text() + "\n"
    print(found)
    if "--write" in sys.argv:
        PAGE.write_text(PAGE.read_text().split(MARK)[0] + found)


if __name__ == "__main__":
    main()
