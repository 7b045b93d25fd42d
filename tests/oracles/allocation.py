"""One-of-t allocation of Gaussian noise: moments by their definition, divergences for a few steps by quadrature."""

import math

import mpmath as mp
import numpy as np


def positive_moment(scale, steps, order):
    """E_Q[S^order], a sum over how often each step is among the factors: multinomial times e^{sum k(k-1)/2z^2}."""
    z = mp.mpf(scale)
    total = mp.mpf(0)
    for counts in _partitions(order, steps):
        ways = mp.factorial(order) * mp.factorial(steps) / mp.factorial(steps - len(counts))
        for k in counts:
            ways /= mp.factorial(k)
        for k in set(counts):
            ways /= mp.factorial(counts.count(k))
        total += ways * mp.exp(mp.fsum(k * (k - 1) for k in counts) / (2 * z * z))
    return total / mp.mpf(steps) ** order


def _partitions(total, most, largest=None):
    """Partitions of a number into at most ``most`` parts."""
    if total == 0:
        yield ()
    elif most:
        for first in range(min(total, largest or total), 0, -1):
            for rest in _partitions(total - first, most - 1, first):
                yield (first, *rest)


def divergence(scale, steps, order, first, second, *, step=0.1, reach=9.0):
    """The Rényi divergence of two laws of the epoch, each given by the centre of the step that a record is in.

    The trapezoid rule in all dimensions: densities are analytic, so its error is far below 1e-12 where the integrand,
    which lies up to order * |centre| / scale away, is within reach.
    """
    wide = reach + order * 2.0 / scale
    x = np.arange(-wide, wide, step)
    base = -0.5 * x * x - 0.5 * math.log(2.0 * math.pi)
    grids = np.meshgrid(*(x for _ in range(steps)), indexing="ij", sparse=True)
    flat = sum(np.meshgrid(*(base for _ in range(steps)), indexing="ij", sparse=True))
    laws = [_ratio(grids, centre / scale) for centre in (first, second)]
    log = flat + order * laws[0] + (1.0 - order) * laws[1]
    top = log.max()
    return (top + math.log(np.exp(log - top).sum()) + steps * math.log(step)) / (order - 1.0)


def _ratio(grids, centre):
    """log of the mean likelihood ratio of a centre at one of the steps against none."""
    if centre == 0.0:
        return 0.0
    terms = [centre * x - 0.5 * centre * centre for x in grids]
    total = terms[0]
    for term in terms[1:]:
        total = np.logaddexp(total, term)
    return total - math.log(len(terms))
