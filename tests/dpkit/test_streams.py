"""Processes, ranks, workers and threads: no two draw from one stream, unless a seed was given to both."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from dpkit.bounded import Bounded
from dpkit.continuous import GaussianMechanism
from dpkit.entropy import seeded, system
from dpkit.samplers import _CHUNK, discrete_gaussian, discrete_laplace
from tests.oracles.floats import Counted

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")

RANK = """
import sys
from dpkit.entropy import seeded, system
from dpkit.samplers import discrete_gaussian
rank = sys.argv[1]
for source in (None, system(), system().child("rank"), seeded(7).child("rank " + rank), seeded(7)):
    print(*discrete_gaussian(4, 2.0**40, source))
"""

FORKS_OF_FORKS = """
import os
from dpkit.entropy import seeded, system
from dpkit.errors import EntropyError
source, marked, children = system(), seeded(1), []
source.bytes(3)
for _ in range(3):
    child = os.fork()
    children = [*children, child] if child else []
try:
    marked.bytes(1)
    verdict = "drew"
except EntropyError:
    verdict = "refused"
os.write(1, f"{source.bytes(16).hex()} {verdict}\\n".encode())
for child in children:
    os.waitpid(child, 0)
os._exit(0)
"""

WORKERS = """
import warnings
warnings.simplefilter("error")
import torch
from dpkit.entropy import seeded, system
from dpkit.errors import EntropyError

class Noise(torch.utils.data.Dataset):
    def __init__(self, source):
        self.source = source
    def __len__(self):
        return 8
    def __getitem__(self, index):
        try:
            return self.source.bytes(16).hex()
        except EntropyError:
            info = torch.utils.data.get_worker_info()
            return "refused " + self.source.child(f"worker {info.id}, record {index}").bytes(16).hex()

for source in (system(), seeded(3)):
    before = source.bytes(16).hex()
    loader = torch.utils.data.DataLoader(Noise(source), batch_size=None, num_workers=2, multiprocessing_context="fork")
    drawn = [piece for _ in range(2) for piece in loader]
    refused = sum(piece.startswith("refused") for piece in drawn)
    print(len(drawn), len({before, *drawn, source.bytes(16).hex()}), refused)
"""


def _run(program, *arguments):
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _lines(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.split("\n")


def test_processes_of_one_program_never_share_a_stream():
    """What ranks do: the same lines, started twice. A seed is shared, but for the label that each rank gives it."""
    started = [_run(RANK, str(rank)) for rank in (0, 1)]
    first, second = (_lines(process) for process in started)
    assert len({*first[:4], *second[:4]}) == 8
    assert first[4] == second[4], "and one seed without a label is one stream: why the recipe has labels"


@FORKS
def test_loader_workers_never_share_a_stream():
    """Two passes by two forked workers: a system source is new in each; a seeded one refuses, its children do not.

    Children with labels of their own are the recipe: eight records give eight streams, the same in both passes.
    """
    pytest.importorskip("torch")
    fresh, marked = _lines(_run(WORKERS))[:2]
    assert fresh.split() == ["16", "18", "0"]
    assert marked.split() == ["16", "10", "16"]


@FORKS
def test_forks_of_forks_never_share_a_stream():
    """Eight processes of one source, made by three forks each: eight streams, and the seed is the first one's only."""
    rows = [line.split() for line in _lines(_run(FORKS_OF_FORKS)) if line]
    assert len({stream for stream, _ in rows}) == len(rows) == 8
    assert sorted(verdict for _, verdict in rows) == ["drew", *["refused"] * 7]


def test_threads_draw_noise_of_their_own():
    """Sixteen releases by four threads from one source: no coordinate twice, as wide as the noise is."""
    mechanism, source, seen, together = GaussianMechanism(1.0), seeded(2), [], threading.Lock()

    def work():
        for _ in range(4):
            drawn = discrete_gaussian(50, 2.0**40, source).tolist()
            with together:
                seen.extend(drawn)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == len(seen) == 800  # two equal ones: 2e-7
    query = Bounded(np.zeros(3), 1.0)
    assert mechanism.release(query).value.tolist() != mechanism.release(query).value.tolist()


@pytest.mark.parametrize("sampler", [discrete_gaussian, discrete_laplace])
def test_a_long_vector_uses_no_word_twice(sampler):
    """Three and a half chunks of noise 2**40 wide, and a second call: 0.03 equal pairs are expected by chance.

    Five of them would come with a probability of 1e-10.
    """
    for source in (system(), seeded(1)):
        draws = np.concatenate([sampler(7 * _CHUNK // 2, 2.0**40, source) for _ in range(2)])
        assert len(np.unique(draws)) >= len(draws) - 4


@pytest.mark.parametrize("stddev", [1.0, 100.0, 2.0**20, 2.0**40])
def test_noise_costs_at_least_the_bits_that_it_has(stddev):
    """Noise that is remembered, or follows from a 32-bit seed, would be cheaper than its own entropy."""
    source = Counted(seeded(5))
    for calls in range(1, 4):
        discrete_gaussian(1000, stddev, source)
        assert 8 * source.given >= calls * 1000 * np.log2(stddev * np.sqrt(2 * np.pi * np.e))
