"""Slow, obvious references for the accountants: quadrature and enumeration with many digits (mpmath)."""

import mpmath as mp

DIGITS = 34


def _panels(low, high, width):
    count = int(mp.ceil((high - low) / width))
    return [low + (high - low) * i / count for i in range(count + 1)]


def _integral(function, points):
    """By Gauss-Legendre quadrature of each panel, on which the function is analytic."""
    return mp.quad(function, points, method="gauss-legendre", maxdegree=6)


def _gaussian(s):
    """The density of N(0, s^2) as a function."""
    unit, rate = 1 / (s * mp.sqrt(2 * mp.pi)), 1 / (2 * s * s)
    return lambda x: unit * mp.exp(-x * x * rate)


def gauss_log_moment(shape, scale, prob, order):
    """log E_Q[(P/Q)^order] of a sampled Gaussian pair, by quadrature of the definition."""
    with mp.workdps(DIGITS):
        s, q, a = mp.mpf(scale), mp.mpf(prob), mp.mpf(order)
        centred = _gaussian(s)

        def density(x, centre):
            return centred(x - centre)

        def mixed(x, centre):
            return (1 - q) * density(x, 0) + q * density(x, centre)

        laws = {
            "remove": (lambda x: mixed(x, 1), lambda x: density(x, 0)),
            "add": (lambda x: density(x, 0), lambda x: mixed(x, 1)),
            "antipodal": (lambda x: mixed(x, 1), lambda x: mixed(x, -1)),
        }
        p, base = laws[shape]
        reach = {"remove": a, "add": mp.mpf(1), "antipodal": 2 * a - 1}[shape]
        low = -14 * s - (a if shape == "add" else 1)
        points = _panels(low, reach + 14 * s + 1, 3 * s)
        return mp.log(_integral(lambda x: p(x) ** a * base(x) ** (1 - a), points))


def laplace_log_moment(shape, scale, prob, order):
    """The same for a Laplace pair; beyond the centres the integrand is an exact exponential."""
    with mp.workdps(DIGITS):
        s, q, a = 1 / mp.mpf(scale), mp.mpf(prob), mp.mpf(order)

        def density(x, centre):
            return s / 2 * mp.exp(-s * abs(x - centre))

        def mixed(x, centre):
            return (1 - q) * density(x, 0) + q * density(x, centre)

        laws = {
            "shift": (lambda x: density(x, 1), lambda x: density(x, 0)),
            "remove": (lambda x: mixed(x, 1), lambda x: density(x, 0)),
            "add": (lambda x: density(x, 0), lambda x: mixed(x, 1)),
            "antipodal": (lambda x: mixed(x, 1), lambda x: mixed(x, -1)),
        }
        p, base = laws[shape]

        def integrand(x):
            return p(x) ** a * base(x) ** (1 - a)

        inner = _integral(integrand, _panels(mp.mpf(-1), mp.mpf(1), mp.mpf("0.25")))
        return mp.log(inner + (integrand(mp.mpf(1)) + integrand(mp.mpf(-1))) / s)


def mirror_log_moment(noise, scale, prob, order):
    """log moment of the mirrored pair: the removal's losses L > 0, their mirror images, and an atom at 0."""
    with mp.workdps(DIGITS):
        s, q, a = mp.mpf(scale), mp.mpf(prob), mp.mpf(order)
        half = mp.mpf(1) / 2
        density = _gaussian(s) if noise == "gaussian" else lambda x: mp.exp(-abs(x) / s) / (2 * s)

        def integrand(x):
            base = density(x)
            ratio = (1 - q) + q * density(x - 1) / base  # P/Q > 1 for x > 1/2
            return base * (ratio**a + ratio ** (1 - a) - 1 - ratio)

        end = max(a, mp.mpf(2)) + 14 * s + 1 if noise == "gaussian" else mp.mpf(1)
        inner = _integral(integrand, _panels(half, end, 2 * s if noise == "gaussian" else mp.mpf("0.25")))
        return mp.log1p(inner + (integrand(mp.mpf(1)) * s if noise == "laplace" else 0))


def group_log_moment(noise, shape, scale, prob, size, order):
    """The moment of a binomial mixture of shifts against none (remove), or reversed (add)."""
    with mp.workdps(DIGITS):
        s, q, a = mp.mpf(scale), mp.mpf(prob), mp.mpf(order)
        weights = [mp.binomial(size, j) * q**j * (1 - q) ** (size - j) for j in range(size + 1)]
        density = _gaussian(s) if noise == "gaussian" else lambda x: mp.exp(-abs(x) / s) / (2 * s)

        def integrand(x):
            without, mixed = density(x), mp.fsum(w * density(x - j) for j, w in enumerate(weights))
            p, base = (mixed, without) if shape == "remove" else (without, mixed)
            return p**a * base ** (1 - a)

        if noise == "laplace":
            inner = _integral(integrand, _panels(mp.mpf(0), mp.mpf(size), mp.mpf("0.25")))
            return mp.log(inner + (integrand(mp.mpf(0)) + integrand(mp.mpf(size))) * s)
        low, high = (-14 * s - 1, a * size + 14 * s) if shape == "remove" else (-14 * s - (a - 1) * size, 14 * s + 1)
        return mp.log(_integral(integrand, _panels(low, high, 3 * s)))


def atom_log_moment(atoms, order):
    """log of sum p^order q^(1-order) over explicit atoms (p, q), at the caller's precision."""
    a = mp.mpf(order)
    return mp.log(mp.fsum(p**a * q ** (1 - a) for p, q in atoms))


def discrete_laplace_pmf(scale, centre, low, high):
    """Masses of the discrete Laplace law on low..high; the ends stand for all integers beyond."""
    r = mp.exp(-1 / mp.mpf(scale))
    law = {k: (1 - r) / (1 + r) * r ** abs(k - centre) for k in range(low, high + 1)}
    law[low] = r ** (centre - low) / (1 + r) if low <= centre else None
    law[high] = r ** (high - centre) / (1 + r) if high >= centre else None
    return law


def gaussian_delta(distance_over_stddev, epsilon):
    """delta(epsilon) of N(mu, 1) against N(0, 1): the closed form of Balle & Wang 2018."""
    with mp.workdps(DIGITS):
        mu, e = mp.mpf(distance_over_stddev), mp.mpf(epsilon)
        return mp.ncdf(mu / 2 - e / mu) - mp.exp(e) * mp.ncdf(-mu / 2 - e / mu)


def normaliser(stddev, centre):
    """Sum over the integers of exp(-(k - centre)^2 / 2 stddev^2)."""
    s = mp.mpf(stddev)
    middle, reach = int(mp.nint(centre)), int(mp.ceil(14 * s)) + 2
    return mp.fsum(mp.exp(-((k - centre) ** 2) / (2 * s * s)) for k in range(middle - reach, middle + reach + 1))


def discrete_gaussian_pmf(stddev, centre):
    """{integer: probability}, cut where it is below e^-80."""
    s = mp.mpf(stddev)
    middle, reach = int(mp.nint(centre)), int(mp.ceil(13 * s)) + 2
    weights = {k: mp.exp(-((k - centre) ** 2) / (2 * s * s)) for k in range(middle - reach, middle + reach + 1)}
    total = normaliser(stddev, centre)
    return {k: weight / total for k, weight in weights.items()}


def sum_pmf(stddev, centres):
    """The law of a sum of independent discrete Gaussians with real centres, by convolution."""
    law = {0: mp.mpf(1)}
    for centre in centres:
        part = discrete_gaussian_pmf(stddev, centre)
        after = {}
        for k, weight in law.items():
            for j, factor in part.items():
                after[k + j] = after.get(k + j, mp.mpf(0)) + weight * factor
        law = after
    return law


def normal_density(x, variance):
    """Density of N(0, variance)."""
    return mp.exp(-(x**2) / (2 * variance)) / mp.sqrt(2 * mp.pi * variance)


def smoothed_mass(k, centre, variance, tau):
    """P[K = k] where y ~ N(centre, variance - tau^2) and K is discrete Gaussian with parameter tau centred at y."""
    spread = variance - tau * tau

    def integrand(y):
        return normal_density(y - centre, spread) * mp.exp(-((k - y) ** 2) / (2 * tau * tau)) / normaliser(tau, y)

    middle = (k * spread + centre * tau * tau) / variance
    step = (
        tau * mp.sqrt(spread / variance) / 6
    )  # the trapezoid rule: the nearest zeros of the normaliser are at +-i pi tau^2
    return step * mp.fsum(integrand(middle + step * j) for j in range(-72, 73))


def sampled_atoms(shape, pairs, prob):
    """The atoms (p, q) of a sampled pair from those of the base: by removal, by addition, or mirrored."""
    q = mp.mpf(prob)
    mixed = [((1 - q) * without + q * with_it, without) for with_it, without in pairs]
    if shape == "remove":
        return mixed
    if shape == "add":
        return [(without, mix) for mix, without in mixed]
    gains = [(mix, without) for mix, without in mixed if mix > without]
    left = 1 - mp.fsum(mix + without for mix, without in gains)
    return gains + [(without, mix) for mix, without in gains] + [(left, left)]


def hockey_stick(atoms, epsilon):
    """sup over sets of P(S) - e^epsilon Q(S)."""
    scale = mp.exp(mp.mpf(epsilon))
    return mp.fsum(max(p - scale * q, mp.mpf(0)) for p, q in atoms)


def skellam_pmf(variance, reach):
    """[P[|k|]] of one sign for k = 0..reach: e^-mu I_k(mu)."""
    mu = mp.mpf(variance)
    return [mp.exp(-mu) * mp.besseli(k, mu) for k in range(reach + 1)]
