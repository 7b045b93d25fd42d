"""What sampled Gaussians cost: the tight accountant, Rényi and calibration against dp_accounting and Opacus.

No answer is ever asked for twice: each call has a noise multiplier of its own (1 + k 10⁻⁹), so that no cache can hold
it. What a repeated question costs stands in the table of step counts.
"""

import itertools
import math
import statistics
import subprocess
import sys
import time
import warnings

from tests.bench.timing import interleaved, row

STEPS = (10**3, 10**4, 10**5, 10**6)
CURVE = (10, 10**2, 10**3, 10**4, 10**5, 10**6, 10**7)
PROB, DELTA = 0.01, 1e-5
TURN = 10  # questions of ours in one turn; a turn's time is their mean
_FRESH = itertools.count()


def fresh():
    """A noise multiplier that was never asked for: 1, but for less than 10⁻⁶."""
    return 1.0 + 1e-9 * next(_FRESH)


def power(steps):
    return "10" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(len(str(steps)) - 1))


def shown(bound):
    """Six decimals, rounded up."""
    return f"{math.ceil(bound * 1e6) / 1e6:.6f}"


def plan(noise_multiplier, steps):
    from accountants import Gaussian, PoissonSampled

    return PoissonSampled(Gaussian(noise_multiplier), PROB) * steps


def peer_plan(noise_multiplier, steps):
    import dp_accounting

    step = dp_accounting.PoissonSampledDpEvent(PROB, dp_accounting.GaussianDpEvent(noise_multiplier))
    return dp_accounting.SelfComposedDpEvent(step, steps)


def rows():
    warnings.simplefilter("ignore")
    return [
        *(tight(steps) for steps in STEPS),
        *(composable(steps) for steps in STEPS),
        *(transformed(steps) for steps in STEPS),
        *(mixed(*case) for case in MIXED),
        *(profile(steps) for steps in STEPS[:3]),
        *renyi(10**4),
        calibration(10**4),
        *imports(),
    ]


def tight(steps):
    """Both ends certified against one peer's upper bound."""
    from dp_accounting.pld import PLDAccountant as Peer

    from accountants.pld import PLDAccountant

    def ours():
        return PLDAccountant().bounds(plan(fresh(), steps), delta=DELTA, relation="add_remove")

    def peer():
        return Peer().compose(peer_plan(fresh(), steps)).get_epsilon(DELTA)

    seconds, peer_seconds = interleaved(lambda: [ours() for _ in range(TURN)], peer, repeats=3)
    lower, upper = ours()
    gap = (upper - lower) / upper
    what = f"tight epsilon, q = 0.01, sigma = 1, {power(steps)} steps (ours {shown(upper)}, certified to {gap:.0e}"
    what = f"{what}; theirs {shown(peer())})"
    return row(what, "dp_accounting PLD", seconds / TURN, peer_seconds, "≥ 100 × faster, gap ≤ 1e-4")


def step(noise_multiplier):
    from accountants import Gaussian, PoissonSampled

    return PoissonSampled(Gaussian(noise_multiplier), PROB)


def peer_loss(noise_multiplier, steps):
    """Their distribution of one step, composed with itself, at their own discretisation."""
    from dp_accounting.pld import privacy_loss_distribution as peer

    return peer.from_gaussian_mechanism(noise_multiplier, sampling_prob=PROB).self_compose(steps)


def composable(steps):
    """Built from one step, composed with itself, asked once; ours from both sides."""
    from accountants import PrivacyLoss

    def ours():
        return (PrivacyLoss(step(fresh()), "add_remove") * steps).bounds(DELTA)

    def peer():
        return peer_loss(fresh(), steps).get_epsilon_for_delta(DELTA)

    seconds, peer_seconds = interleaved(lambda: [ours() for _ in range(TURN)], peer, repeats=3)
    lower, upper = ours()
    what = f"composable privacy loss, q = 0.01, sigma = 1, {power(steps)} steps (ours {shown(upper)}, certified to"
    what = f"{what} {(upper - lower) / upper:.0e}; theirs {shown(peer())})"
    return row(what, "dp_accounting PLD", seconds / TURN, peer_seconds, "≥ 4 × faster, gap ≤ 2e-3")


def transformed(steps):
    """The same question put to the tilted Fourier engine alone, which is there for what has no contour."""
    from accountants import Relation, fourier
    from accountants.pairs import dominating_pairs

    def ours():
        pairs = dominating_pairs(step(fresh()), Relation.add_remove)
        ends = [fourier.epsilon_bounds(((pair, steps),), math.log(DELTA), 2e-3) for pair in pairs]
        return max(low for low, _ in ends), max(high for _, high in ends)

    def peer():
        return peer_loss(fresh(), steps).get_epsilon_for_delta(DELTA)

    seconds, peer_seconds = interleaved(ours, peer, repeats=5)
    lower, upper = ours()
    what = f"the same by the tilted Fourier engine alone, {power(steps)} steps (ours {shown(upper)}, certified to"
    what = f"{what} {(upper - lower) / upper:.0e})"
    return row(what, "dp_accounting PLD", seconds, peer_seconds, "≥ 4 × faster, gap ≤ 2e-3")


def mixed(name, relation, ours_of, peer_of):
    """What only the tilted Fourier engine answers."""
    from accountants.pld import PLDAccountant

    def ours():
        return PLDAccountant().bounds(ours_of(fresh()), delta=DELTA, relation=relation)

    def peer():
        return peer_of(fresh()).get_epsilon_for_delta(DELTA)

    seconds, peer_seconds = interleaved(ours, peer, repeats=3)
    lower, upper = ours()
    what = f"{name} (ours {shown(upper)}, certified to {(upper - lower) / upper:.0e}; theirs {shown(peer())})"
    return row(what, "dp_accounting PLD", seconds, peer_seconds, "–")


def _laplace(scale):
    from accountants import Laplace

    return Laplace(5.0 * scale) * 1000


def _peer_laplace(scale):
    from dp_accounting.pld import privacy_loss_distribution as peer

    return peer.from_laplace_mechanism(5.0 * scale).self_compose(1000)


def _few(scale):
    return plan(scale, 10)


def _peer_few(scale):
    return peer_loss(scale, 10)


def _together(scale):
    from accountants import Gaussian, Laplace

    return Laplace(5.0 * scale) * 10 + Gaussian(4.0) * 5 + plan(scale, 1000)


def _peer_together(scale):
    from dp_accounting.pld import privacy_loss_distribution as peer

    laplace, gaussian = peer.from_laplace_mechanism(5.0 * scale), peer.from_gaussian_mechanism(4.0)
    return laplace.self_compose(10).compose(gaussian.self_compose(5)).compose(peer_loss(scale, 1000))


MIXED = (
    ("1 000 Laplace releases with scale 5", "add_remove", _laplace, _peer_laplace),
    ("10 sampled steps", "add_remove", _few, _peer_few),
    ("10 Laplace, 5 Gaussian and 1 000 sampled releases", "add_remove", _together, _peer_together),
)


def profile(steps):
    """From a step to the curve of delta at a thousand epsilons, up to the one at 10⁻⁵."""
    import numpy as np

    from accountants import PrivacyLoss

    end = (PrivacyLoss(step(fresh()), "add_remove") * steps).epsilon(DELTA)
    epsilons = np.linspace(0.0, end, 1000)

    def ours():
        return (PrivacyLoss(step(fresh()), "add_remove") * steps).profile(epsilons)

    def peer():
        return peer_loss(fresh(), steps).get_delta_for_epsilon(epsilons)

    seconds, peer_seconds = interleaved(lambda: [ours() for _ in range(TURN)], peer, repeats=3)
    what = f"delta at 1 000 epsilons, q = 0.01, sigma = 1, {power(steps)} steps ({1e3 * seconds / TURN:.1f} ms)"
    return row(what, "dp_accounting PLD", seconds / TURN, peer_seconds, "< 10 ms")


def renyi(steps):
    from dp_accounting.rdp import RdpAccountant
    from opacus.accountants import RDPAccountant as OpacusAccountant

    from accountants import RDPAccountant

    def ours():
        return RDPAccountant().epsilon(plan(fresh(), steps), delta=DELTA, relation="add_remove")

    def google():
        return RdpAccountant().compose(peer_plan(fresh(), steps)).get_epsilon(DELTA)

    def opacus():
        accountant = OpacusAccountant()
        accountant.history = [(fresh(), PROB, steps)]
        return accountant.get_epsilon(DELTA)

    for name, peer in (("dp_accounting RDP", google), ("Opacus RDP", opacus)):
        seconds, peer_seconds = interleaved(ours, peer)
        what = f"RDP epsilon, q = 0.01, sigma = 1, {power(steps)} steps (ours {ours():.4f}, theirs {peer():.4f})"
        yield row(what, name, seconds, peer_seconds, "≥ 5 × faster")


def calibration(steps):
    """Both sides to 10⁻⁴ of the noise multiplier, each finding its own bracket."""
    import dp_accounting
    from dp_accounting.pld import PLDAccountant as Peer

    from accountants import calibrate
    from accountants.pld import PLDAccountant

    def ours():
        shift = fresh()
        return calibrate(
            lambda x: plan(x * shift, steps),
            epsilon=2.0,
            delta=DELTA,
            relation="add_remove",
            accountant=PLDAccountant(),
        )

    def peer():
        return dp_accounting.calibrate_dp_mechanism(Peer, lambda x: peer_plan(x, steps), 2.0, DELTA, tol=1e-4)

    seconds, peer_seconds = interleaved(lambda: [ours() for _ in range(TURN)], peer, repeats=3)
    what = f"noise for (2, 1e-5), q = 0.01, {power(steps)} steps (ours {shown(ours())}, theirs {shown(peer())})"
    return row(what, "dp_accounting PLD calibration", seconds / TURN, peer_seconds, "≥ 50 × faster")


FIRST = (
    "from accountants import Gaussian, PoissonSampled\nfrom accountants.pld import PLDAccountant\n"
    "PLDAccountant().epsilon(PoissonSampled(Gaussian(1.0), 0.01) * 1000, delta=1e-5, relation='add_remove')\n"
)


def imports():
    """Fresh processes: import alone, and import with the first answer."""
    bare = process_seconds("import numpy\n")
    alone = process_seconds("import accountants\n")
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, accountants; print('scipy.stats' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    seen = "scipy.stats loaded" if loaded.stdout.strip() == "True" else "no scipy.stats"
    yield seconds_row(f"import accountants ({seen})", "import numpy", alone, bare, "< 500 ms")
    first = process_seconds(FIRST)
    yield seconds_row("import accountants and the first epsilon of a process", "import numpy", first, bare, "–")


def process_seconds(code):
    """CPU seconds of some code in a process of its own, the least of five."""
    timed = f"import time\nstart = time.process_time()\n{code}print(time.process_time() - start)"
    command = [sys.executable, "-c", timed]
    return min(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(5))


def seconds_row(what, against, seconds, peer_seconds, reach):
    """A row whose ratio says how many times as long we take."""
    return row(what, against, seconds, peer_seconds, reach) | {"ratio": f"{seconds / peer_seconds:.1f} × its time"}


def notes():
    """How the time of one question depends on the number of steps."""
    from accountants.pld import PLDAccountant

    accountant = PLDAccountant()
    lines = [
        "Independence of the number of steps: one `PLDAccountant().bounds` (both ends, both directions) at q = 0.01,",
        "sigma = 1, delta = 1e-5. *First* asks about a noise multiplier that was never asked about, *again* asks the",
        "same a second time; medians of seven. *Gap* is the width of the certified interval, relative.",
        "",
        "| steps | first | again | epsilon | gap |",
        "|---|---|---|---|---|",
    ]
    for steps in CURVE:
        first, again = [], []
        for _ in range(7):
            event = plan(fresh(), steps)
            for times in (first, again):
                start = time.perf_counter()
                lower, upper = accountant.bounds(event, delta=DELTA, relation="add_remove")
                times.append(time.perf_counter() - start)
        gap = f"{(upper - lower) / upper:.0e}"
        milliseconds = [f"{1e3 * statistics.median(times):.2f} ms" for times in (first, again)]
        cells = [power(steps), *milliseconds, shown(upper), gap]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
