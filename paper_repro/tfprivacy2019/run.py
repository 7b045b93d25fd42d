"""Their accountant: Mironov's conversion over a fixed list of orders. Ours, beside it: the best real order."""

from __future__ import annotations

import math

from accountants import Gaussian, PoissonSampled, RDPAccountant, Repeated, epsilon

EXAMPLES, BATCH, DELTA = 60_000, 256, 1e-5
ORDERS = [*(1 + tenth / 10 for tenth in range(1, 100)), *range(12, 64)]


def compute(*, noise_multiplier: float, epochs: int) -> tuple[float, float]:
    """The published quantity, computed their way; and today's bound for the same releases."""
    steps = math.ceil(epochs * EXAMPLES / BATCH)
    event = Repeated(PoissonSampled(Gaussian(noise_multiplier), BATCH / EXAMPLES), steps)
    theirs = RDPAccountant(orders=ORDERS, conversion="mironov2017")
    return theirs.epsilon(event, delta=DELTA, relation="add_remove"), epsilon(event, delta=DELTA, relation="add_remove")
