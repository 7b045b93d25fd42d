"""Peak memory of one private step, ours against the plain one and Opacus's.

A process of its own makes model and batch and runs a step on two examples; then a fork of it runs the step on the whole
batch and reports how far its resident memory rose. ``python -m tests.bench.bench_memory`` prints the bytes as JSON.
"""

import json
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path

from tests.bench import models
from tests.bench import peers_training as peers
from tests.bench.bench_training import one_thread

CASES = (models.mlp, models.cnn, models.transformer)
SIDES = (peers.ours, peers.plain, peers.hooks, peers.ghost)
# glibc then returns every large block when it is freed, so that resident memory is what is in use; other systems ignore
# it. A fork cannot use an accelerator that its parent has seen.
FRESH = {"MALLOC_MMAP_THRESHOLD_": "131072", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
MIB = 2**20


def rows():
    """Three rows for each model."""
    command = [sys.executable, "-m", "tests.bench.bench_memory"]
    root, environment = Path(__file__).parents[2], {**os.environ, **FRESH}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root, env=environment)
    for what, (ours, *others) in json.loads(answer.stdout):
        for name, peer in others:
            yield {
                "what": f"peak memory of a step, {what}",
                "against": name,
                "ours": f"{ours[1] / MIB:.3g} MiB",
                "peer": f"{peer / MIB:.3g} MiB",
                "ratio": f"{ours[1] / peer:.2f} × its memory",
                "reach": "–",
            }


def measured(make):
    """The name of a case, and of every side the name and the bytes."""
    case = make()
    figures = []
    for maker in SIDES:
        side = maker(case)
        side.step(case.head(2))
        figures.append((side.name, rise(lambda side=side: side.step(case))))
    return case.what, figures


def rise(function):
    """Bytes that a call adds to resident memory at its peak: in a fork, whose peak starts at what is resident now."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        before = peak()
        function()
        os.write(write, str(peak() - before).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return int(text)


def peak():
    """The most bytes that this process had resident so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        print(json.dumps([measured(make) for make in CASES]))
