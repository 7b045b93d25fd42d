"""Trade-off curves in exact arithmetic: Neyman-Pearson tests of discrete laws, and closed forms with many digits."""

from fractions import Fraction
from itertools import product
from math import prod

import mpmath as mp


def composed(law, times):
    """The law of ``times`` independent outcomes, one mass for each sequence."""
    return [prod(masses, start=Fraction(1)) for masses in product(law, repeat=times)]


def neyman_pearson(with_record, without, alpha):
    """The least false negative rate at a false positive rate: what is likelier with the record counts as with."""
    pairs = list(zip(with_record, without, strict=True))
    left, missed = Fraction(alpha), sum(with_record)
    missed -= sum(p for p, q in pairs if q == 0)
    for p, q in sorted((pair for pair in pairs if pair[1]), key=lambda pair: pair[0] / pair[1], reverse=True):
        share = min(Fraction(1), left / q)
        missed -= share * p
        left -= share * q
        if left == 0:
            break
    return missed


def hull(with_record, without, alpha):
    """The largest convex curve below both orders' curves: tangents of slope -x and -1/x at every likelihood ratio."""
    pairs = list(zip(with_record, without, strict=True))
    ratios = {Fraction(1)} | {max(p / q, q / p) for p, q in pairs if p and q}

    def delta(x):
        return max(sum(max(p - x * q, 0) for p, q in pairs), sum(max(q - x * p, 0) for p, q in pairs))

    last = max(ratios)
    lines = [(x, delta(x)) for x in ratios] + [(last * 10**60, delta(last))]
    return max(Fraction(0), *(max(1 - d - x * alpha, (1 - d - alpha) / x) for x, d in lines))


def stated(epsilon, delta, alpha):
    """The curve of an (epsilon, delta) guarantee."""
    with mp.workdps(40):
        factor, kept = mp.exp(mp.mpf(epsilon)), 1 - mp.mpf(delta)
        return max(mp.mpf(0), kept - factor * mp.mpf(alpha), (kept - mp.mpf(alpha)) / factor)


def gaussian(mu, alpha):
    """The curve of N(mu, 1) against N(0, 1); alpha in (0, 1), mu a fraction or a float."""
    mu = Fraction(mu)
    with mp.workdps(50):
        return mp.ncdf(mp.sqrt(2) * mp.erfinv(1 - 2 * mp.mpf(alpha)) - mp.mpf(mu.numerator) / mu.denominator)
