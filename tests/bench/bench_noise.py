"""Exact noise against numpy's normal and Laplace, which are neither exact nor secure, and beside others' samplers.

Both sides of a row draw in turn, on one thread, with the tables built; a figure is CPU time for each number drawn,
which other work on the machine disturbs least. ``peers_noise`` says how to have OpenDP and diffprivlib measured too.
"""

import math
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from dpkit import samplers
from tests.bench import peers_noise as peers
from tests.bench.timing import interleaved

DRAWS = 5_000_000
FEW = 1_000_000  # where the other side takes some ten nanoseconds more
SCALAR = 2_000  # of those that draw one number after the other,
LOOPS = 200  # and in loops as long as the number is large
REAL = 1.5  # in units of the value: 1536 lattice steps
# Scales of first calls; 2**14, 2**12, 2**10 and 2**25 end the ranges of one table without blocks and cost the most.
FIRST = (
    ("discrete Gaussian, stddev", partial(samplers.discrete_gaussian, 1), (4, 100, 1000, 2**14, 2**40)),
    ("discrete Gaussian on real centres, stddev", partial(samplers.centred_discrete_gaussian, 0.3), (16, 2**12, 10**6)),
    ("lattice Gaussian, stddev", partial(samplers.lattice_gaussian, 0.3), (2,)),
    ("discrete Laplace, scale", partial(samplers.discrete_laplace, 1), (4, 100, 2**10, 10**6, 2**40)),
    ("lattice Laplace, scale", partial(samplers.lattice_laplace, 0.3), (2,)),
    ("Skellam, variance", partial(samplers.skellam, 1), (16, 10**6, 2**25, 2**40)),
)
# A process that has drawn and imported nothing else has an allocator that nothing else has warmed up.
FRESH = f"""
import time
import numpy as np
from dpkit import samplers
from tests.bench.timing import interleaved
ours = lambda: samplers.discrete_gaussian({DRAWS}, 100.0)
peer = lambda: np.random.default_rng(0).standard_normal({DRAWS})
print(*interleaved(ours, peer, clock=time.process_time))
"""


def rows():
    """Ours against numpy, law by law, then against OpenDP."""
    generator = np.random.default_rng(0)
    centers = generator.standard_normal(DRAWS)
    normal = partial(compared, against="numpy Generator.standard_normal", peer=generator.standard_normal)
    laplace = partial(compared, against="numpy Generator.laplace", peer=lambda count: generator.laplace(size=count))
    for stddev in (4, 100, 1000, 10_000):
        yield normal(f"discrete Gaussian, stddev {shown(stddev)}", gaussian(stddev), reach="≥ 1.5 × its rate")
    yield in_fresh_process()
    yield normal("lattice Gaussian on real centres", lattice_gaussian(centers), reach="≥ 1 × its rate")
    yield normal("discrete Gaussian on real centres, stddev 16", centred_gaussian(1e3 * centers), reach="–")
    for scale in (4, 100, 1000, 10**6):
        yield laplace(f"discrete Laplace, scale {shown(scale)}", discrete_laplace(scale), reach="≥ 1.5 × its rate")
    for variance in (16, 10**6, 10**10):
        peer = poisson_difference(generator, variance)
        what = f"Skellam, variance {shown(variance)}"
        yield compared(
            what, skellam(variance), against="numpy Generator.poisson, twice", peer=peer, reach="–", draws=FEW
        )
    yield from against_opendp()


def in_fresh_process():
    """The second row again, alone."""
    command = [sys.executable, "-c", FRESH]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    pair = [float(seconds) / DRAWS for seconds in answer.stdout.split()]
    what = "discrete Gaussian, stddev 100, alone in a process"
    return made(what, "numpy Generator.standard_normal", *pair, "≥ 1.5 × its rate")


def against_opendp():
    """The discrete Gaussian at both ends of the range of scales that has a table."""
    for stddev in (4, 10_000):
        try:
            peer = peers.opendp(stddev)
        except peers.MissingPeerError as missing:
            print(f"not installed: {missing}", file=sys.stderr)
            return
        seconds = seconds_a_draw(gaussian(stddev), peer, SCALAR, DRAWS)
        yield made(f"discrete Gaussian, stddev {shown(stddev)}", peer.name, *seconds, "≥ 1000 × its rate")


def compared(what, ours, *, against, peer, reach, draws=DRAWS):
    """A row of two functions of how many to draw."""
    pair = interleaved(lambda: ours(draws), lambda: peer(draws), clock=time.process_time)
    return made(what, against, pair[0] / draws, pair[1] / draws, reach)


def made(what, against, seconds, peer_seconds, reach):
    """A row of seconds a draw."""
    return {
        "what": what,
        "against": against,
        "ours": nanoseconds(seconds),
        "peer": nanoseconds(peer_seconds),
        "ratio": f"{ratio(seconds, peer_seconds)} × its rate",
        "reach": reach,
    }


def seconds_a_draw(ours, peer, peer_draws, draws):
    """Of ours and of a peer, after a look at the law of both."""
    peers.check_law("ours", ours(draws), peer.variance)
    peers.check_law(peer.name, peer.draw(peer_draws), peer.variance)
    pair = interleaved(lambda: ours(draws), lambda: peer.draw(peer_draws), repeats=3, clock=time.process_time)
    return pair[0] / draws, pair[1] / peer_draws


def gaussian(stddev):
    """Ours as a function of how many to draw, as all below."""
    return lambda count: samplers.discrete_gaussian(count, float(stddev))


def lattice_gaussian(centers):
    return lambda count: samplers.lattice_gaussian(centers[:count], REAL)


def centred_gaussian(centers):
    return lambda count: samplers.centred_discrete_gaussian(centers[:count], 16.0)


def discrete_laplace(scale):
    return lambda count: samplers.discrete_laplace(count, float(scale))


def skellam(variance):
    return lambda count: samplers.skellam(count, float(variance))


def poisson_difference(generator, variance):
    return lambda count: generator.poisson(variance / 2, count) - generator.poisson(variance / 2, count)


def notes():
    """Rates beside every sampler that is installed, and what a first call costs."""
    return f"{rates()}\n\n{first_calls()}"


def others():
    """Law, ours, the peer's maker, and how much the peer draws at a time."""
    zeros = np.zeros(FEW)
    yield "discrete Gaussian, stddev 100", gaussian(100), partial(peers.opendp, 100), SCALAR
    yield "discrete Gaussian, stddev 100", gaussian(100), partial(peers.canonne_kamath_steinke, 100), SCALAR
    yield "discrete Gaussian, stddev 100", gaussian(100), partial(peers.diffprivlib, 100), LOOPS
    yield "discrete Gaussian, stddev 100", gaussian(100), partial(peers.jax_privacy, 100), FEW
    yield "discrete Laplace, scale 100", discrete_laplace(100), partial(peers.opendp_laplace, 100), SCALAR
    yield "Gaussian noise on floats", lattice_gaussian(zeros), partial(peers.opendp_floats, REAL), SCALAR
    yield "Gaussian noise on floats", lattice_gaussian(zeros), partial(peers.opacus_secure_mode, REAL), FEW


def rates():
    """One table of the samplers of others."""
    lines = [
        "Noise beside the samplers of others: CPU time for a number drawn. *Exact*: the law holds in exact arithmetic.",
        "",
        "| law | sampler | exact | random bits | its time | ours | we are |",
        "|---|---|---|---|---|---|---|",
    ]
    missing = []
    for law, ours, maker, count in others():
        try:
            peer = maker()
        except peers.MissingPeerError as error:
            missing.append(str(error))
            continue
        seconds, peer_seconds = seconds_a_draw(ours, peer, count, FEW)
        figures = [nanoseconds(peer_seconds), nanoseconds(seconds), f"{ratio(seconds, peer_seconds)} × as fast"]
        lines.append("| " + " | ".join([law, peer.name, peer.exact, peer.bits, *figures]) + " |")
    if missing:
        lines += ["", f"Not installed in this run: {', '.join(dict.fromkeys(missing))}."]
    return "\n".join(lines)


def first_calls():
    """What the table of a scale costs: one draw of scales never asked about, and of the last of them again."""
    lines = [
        "The first draw of a scale builds its table: CPU time of one call for one number, the median over five scales",
        "just below the one named, each for the first time and once more.",
        "",
        "| law | first | again |",
        "|---|---|---|",
    ]
    for law, draw, scales in FIRST:
        draw(1.1)
        for scale in scales:
            near = [float(scale) * (1.0 - turn * 0.001 / 7.0) for turn in range(1, 6)]
            first = statistics.median([once(draw, other) for other in near])
            again = statistics.median([once(draw, other) for other in near])
            lines.append(f"| {law} {shown(scale)} | {1e3 * first:.2g} ms | {1e3 * again:.2g} ms |")
    return "\n".join(lines)


def once(draw, scale):
    """CPU seconds of one call."""
    start = time.process_time()
    draw(scale)
    return time.process_time() - start


def nanoseconds(seconds):
    return f"{1e9 * seconds:.3g} ns" if seconds < 1e-6 else f"{1e6 * seconds:.3g} µs"


def ratio(seconds, peer_seconds):
    """How many times as fast we are, in three digits."""
    value = peer_seconds / seconds
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def shown(number):
    """A scale as it is read."""
    digits = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
    for base, least in ((10, 4), (2, 10)):
        power = round(math.log(number, base))
        if power >= least and base**power == number:
            return f"{base}{str(power).translate(digits)}"
    return str(number)
