"""The best of K runs of a mechanism with finitely many outcomes, from the definition; and published bounds of it."""

import math
from itertools import pairwise

import mpmath as mp

POISSON = math.inf


def generating(mean, shape):
    """f(x) = E[x^K] and its derivative, as mpmath functions; ``shape`` is inf for Poisson."""
    mean = mp.mpf(mean)
    if shape == POISSON:
        return lambda x: mp.exp(mean * (x - 1)), lambda x: mean * mp.exp(mean * (x - 1))
    g, eta = gamma(mean, shape), mp.mpf(shape)
    slope = mean * g ** (eta + 1)
    if shape == 0.0:
        return lambda x: mp.log(1 - (1 - g) * x) / mp.log(g), lambda x: slope / (1 - (1 - g) * x)
    whole = g**-eta - 1
    return lambda x: ((1 - (1 - g) * x) ** -eta - 1) / whole, lambda x: slope * (1 - (1 - g) * x) ** (-eta - 1)


def mean_runs(log_inverse_gamma, shape):
    """E[K] of the truncated negative binomial (Papernot & Steinke 2022, Definition 1)."""
    x, eta = mp.mpf(log_inverse_gamma), mp.mpf(shape)
    if eta == 0:
        return mp.expm1(x) / x
    return eta * mp.expm1(x) / -mp.expm1(-eta * x)


def gamma(mean, shape):
    """The gamma of a mean > 1."""
    low, high = mp.mpf("1e-40"), mp.mpf(1)
    while mean_runs(high, shape) < mean:
        high *= 2
    for _ in range(110):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_runs(middle, shape) < mean else (low, middle)
    return mp.exp(-high)


def masses(mean, shape, most):
    """P[K = k] for k = 0..most, by the recurrence of the law."""
    if shape == POISSON:
        found = [mp.exp(-mp.mpf(mean))]
        for k in range(1, most + 1):
            found.append(found[-1] * mean / k)
        return found
    g, eta = gamma(mp.mpf(mean), shape), mp.mpf(shape)
    found = [mp.mpf(0), mp.mpf(1)]
    for k in range(1, most):
        found.append(found[-1] * (1 - g) * (k + eta) / (k + 1))
    total = -mp.log(g) / (1 - g) if shape == 0.0 else (g**-eta - 1) / (eta * (1 - g))
    return [mass / total for mass in found]


def best_of(law, mean, shape):
    """Of a law whose outcomes are listed from the worst to the best: no run at all, then the best run's outcomes."""
    f, _ = generating(mean, shape)
    below = [mp.mpf(0)]
    for mass in law:
        below.append(below[-1] + mass)
    total = below[-1]
    values = [f(x / total) for x in below]
    return [values[0], *(after - before for before, after in pairwise(values))]


def renyi(p, q, order):
    """The divergence of order > 1."""
    order = mp.mpf(order)
    return mp.log(mp.fsum(a**order * b ** (1 - order) for a, b in zip(p, q, strict=True) if a)) / (order - 1)


def hockey_stick(p, q, epsilon):
    return mp.fsum(max(mp.mpf(0), a - mp.exp(epsilon) * b) for a, b in zip(p, q, strict=True))


def published(orders, divergences, mean, shape):
    """Theorem 2 of the paper at listed orders: with the best of these as the second order, and not falling."""
    g = gamma(mp.mpf(mean), shape)
    second = min((1 - 1 / mp.mpf(a)) * r - mp.log(g) / a for a, r in zip(orders, divergences, strict=True))
    found = [
        r + mp.log(mean) / (mp.mpf(a) - 1) + (1 + mp.mpf(shape)) * second
        for a, r in zip(orders, divergences, strict=True)
    ]
    return [min(found[k:]) for k in range(len(found))]
