"""Slow, obvious references for curves and compositions: half-lines, binomials, enumeration; many digits (mpmath)."""

import mpmath as mp

DIGITS = 60


def mixtures(shape, prob, size=1):
    """({centre: weight of P}, {centre: weight of Q})."""
    with mp.workdps(DIGITS):
        q = mp.mpf(prob)
        some = {j: mp.binomial(size, j) * q**j * (1 - q) ** (size - j) for j in range(size + 1)}
        rest = 1 - q
    if shape == "shift":
        return {1: mp.mpf(1)}, {0: mp.mpf(1)}
    if shape in ("remove", "mirror"):
        return some, {0: mp.mpf(1)}
    if shape == "add":
        return {0: mp.mpf(1)}, {-j: w for j, w in some.items()}
    return {0: rest, 1: q}, {0: rest, -1: q}


def _tail(noise, x):
    if noise == "gaussian":
        return mp.erfc(x / mp.sqrt(2)) / 2
    return mp.exp(-x) / 2 if x >= 0 else 1 - mp.exp(x) / 2


def _log_density(noise, x):
    return -x * x / 2 if noise == "gaussian" else -abs(x)


def loss(laws, noise, scale, x):
    """log(P/Q) at x."""
    s = mp.mpf(scale)
    top = max(_log_density(noise, (x - m) / s) for law in laws for m in law)

    def log_mass(law):
        return mp.log(mp.fsum(w * mp.exp(_log_density(noise, (x - m) / s) - top) for m, w in law.items()))

    return log_mass(laws[0]) - log_mass(laws[1])


def beyond(law, noise, scale, c):
    """Mass on x > c."""
    return mp.fsum(w * _tail(noise, (c - m) / mp.mpf(scale)) for m, w in law.items())


def threshold(laws, noise, scale, value):
    """The point where the loss passes a value; None where it stays above, inf where it stays below."""
    centres = [m for law in laws for m in law]
    low, high = mp.mpf(min(centres)), mp.mpf(max(centres))
    step = mp.mpf(scale)
    while noise == "gaussian" and step < 10**9 * mp.mpf(scale) and loss(laws, noise, scale, low) > value:
        low, step = low - step, 2 * step
    step = mp.mpf(scale)
    while noise == "gaussian" and step < 10**9 * mp.mpf(scale) and loss(laws, noise, scale, high) < value:
        high, step = high + step, 2 * step
    if loss(laws, noise, scale, low) > value:
        return None
    if loss(laws, noise, scale, high) <= value:
        return mp.inf
    low, high = _narrowed(lambda x: loss(laws, noise, scale, x) - value, low, high)
    for _ in range(4 * DIGITS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (low, middle) if loss(laws, noise, scale, middle) > value else (middle, high)
    return high


def _narrowed(function, low, high):
    """A much smaller bracket of the point where a function passes 0, if interpolation finds one; else the same."""
    found = mp.findroot(function, (low, high), solver="anderson", verify=False)
    width = (high - low) * mp.mpf(10) ** (8 - mp.mp.dps)
    below, above = max(low, found - width), min(high, found + width)
    return (below, above) if function(below) <= 0 < function(above) else (low, high)


def delta(noise, shape, scale, prob, epsilon, size=1):
    """delta(epsilon) of a pair on the line, by its best half-line; epsilon is any real number."""
    with mp.workdps(DIGITS):
        e = mp.mpf(epsilon)
        if shape == "mirror" and e < 0:
            return 1 - mp.exp(e) + mp.exp(e) * delta(noise, "remove", scale, prob, -e, size)
        laws = mixtures(shape, prob, size)
        c = threshold(laws, noise, scale, e)
        if c is None:
            return 1 - mp.exp(e)
        if c == mp.inf:
            return mp.mpf(0)
        return beyond(laws[0], noise, scale, c) - mp.exp(e) * beyond(laws[1], noise, scale, c)


def atoms_delta(atoms, epsilon, failure=0):
    """F + (1 - F) sum p (1 - e^(epsilon - L))_+ over atoms (p, L)."""
    with mp.workdps(DIGITS):
        f, e = mp.mpf(failure), mp.mpf(epsilon)
        return f + (1 - f) * mp.fsum(p * (1 - mp.exp(e - value)) for p, value in atoms if value > e)


def binomial_delta(p, loss_one, loss_rest, times, epsilon):
    """The T-fold composition of a two-point law: success with probability p has loss_one."""
    with mp.workdps(DIGITS):
        p, one, rest, e = mp.mpf(p), mp.mpf(loss_one), mp.mpf(loss_rest), mp.mpf(epsilon)
        total, term = mp.mpf(0), p**times
        for j in range(times, -1, -1):
            value = j * one + (times - j) * rest
            if value <= e:
                break
            total += term * (1 - mp.exp(e - value))
            if j:
                term *= mp.mpf(j) / (times - j + 1) * (1 - p) / p
        return total


def compose(atoms, times):
    """The T-fold convolution of atoms {integer: p}, by enumeration."""
    with mp.workdps(DIGITS):
        law = {0: mp.mpf(1)}
        for _ in range(times):
            after = {}
            for i, weight in law.items():
                for k, p in atoms.items():
                    after[i + k] = after.get(i + k, mp.mpf(0)) + weight * p
            law = after
        return law
