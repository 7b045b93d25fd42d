"""The private step against the plain one and against Opacus's fastest mode, and what its noise costs.

A step is forward pass and (clipped) gradients, without noise; ``peers_training`` says what each side is. Every mode of
Opacus runs once, and those that are near its fastest take turns with ours and the plain step: CPU time on one thread,
the least of the turns.
"""

import contextlib
import sys
import time
import warnings
from functools import partial

import torch
from torch import nn

from dpkit.clip import FlatClip
from dpkit.training import Privatizer
from tests.bench import models, timing
from tests.bench import peers_training as peers

# What we are to be faster by than Opacus's fastest mode, where that is a figure to reach.
FASTER = {models.mlp: "≥ 1.4 × faster", models.cnn: "> 1 × faster"}
COORDINATES = 10**6


def rows():
    """Two rows for each model, and the noise apart."""
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus's hooks warn that inputs have no gradients
        for make in models.CASES:
            yield from of_model(make(), FASTER.get(make, "–"))
        yield from of_noise()


def of_model(case, faster):
    """Ours against the plain step and against Opacus's fastest mode, in one run."""
    sides = [peers.ours(case), peers.plain(case), *fast(case)]
    steps = [partial(side.step, case) for side in sides]
    ours, plain, *others = timing.in_turn(steps, case.repeats, time.process_time)
    peer, name = min(zip(others, [side.name for side in sides[2:]], strict=True))
    what = f"private step, {case.what}"
    reach = "–" if case.reach is None else f"≤ {case.reach} × plain"
    yield {**timing.row(what, sides[1].name, ours, plain, reach), "ratio": f"{ours / plain:.2f} × plain"}
    yield timing.row(what, name, ours, peer, faster)


def fast(case):
    """Opacus's modes that took at most a quarter longer than its fastest, of those whose clipped sum is ours."""
    sums = peers.ours(case).step(case)
    found = []
    for mode in peers.MODES:
        side = mode(case)
        side.step(case.head(2))
        start = time.process_time()
        others = side.step(case)
        seconds = time.process_time() - start
        if peers.alike(sums, others):
            found.append((seconds, side))
        else:
            print(f"left out, its sum is another one: {side.name}, {case.what}", file=sys.stderr)
    least = min(seconds for seconds, _ in found)
    return [side for seconds, side in found if seconds <= 1.25 * least]


def of_noise():
    """What a release costs when the sum is ready: event, noise, quotient and ``p.grad``."""
    model = nn.Linear(COORDINATES // 1000, 1000, bias=False)
    with Privatizer(model, clip=FlatClip(1.0), noise_multiplier=1.0, expected_batch_size=256) as private:
        draws = [lambda: torch.randn(COORDINATES), lambda: peers.secure_mode_noise(COORDINATES)]
        ours, normal, four = timing.in_turn([private.release, *draws], clock=time.process_time)
    what = "release of 10⁶ coordinates: exact, cryptographic noise"
    for name, seconds in (("torch.randn", normal), (f"{peers.OPACUS}, secure mode's noise", four)):
        yield {**timing.row(what, name, ours, seconds, "–"), "ratio": f"{ours / seconds:.2f} × its time"}


@contextlib.contextmanager
def one_thread():
    """Torch on one thread inside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
