"""Hockey-stick divergences of composed discrete pairs: every outcome, one by one, with many digits."""

from itertools import product

import mpmath as mp


def hockey_stick(pairs, epsilon, *, digits=40):
    """sup over S of M(S) - e^epsilon M'(S), for the product of (P, Q) pairs of log-masses, at any real epsilon."""
    with mp.workdps(digits):
        factor, total = mp.exp(mp.mpf(epsilon)), mp.mpf(0)
        for outcome in product(*(range(len(p)) for p, _ in pairs)):
            one = mp.exp(mp.fsum(mp.mpf(p[i]) for (p, _), i in zip(pairs, outcome, strict=True)))
            other = mp.exp(mp.fsum(mp.mpf(q[i]) for (_, q), i in zip(pairs, outcome, strict=True)))
            total += max(mp.mpf(0), one - factor * other)
        return total


def either_order(pairs, epsilon):
    """The larger of both orders of the two data sets."""
    return max(hockey_stick(pairs, epsilon), hockey_stick([(q, p) for p, q in pairs], epsilon))
