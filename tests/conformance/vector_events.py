"""What the rows of the accounting table are about: each mechanism as an event, and the orders that peers search."""

import math

import numpy as np

from accountants import Gaussian, Laplace, PoissonSampled
from accountants.events import DiscreteGaussian, RandomizedResponse

#: the lists of orders that peers search by default
GOOGLE_ORDERS = (*(1 + x / 10 for x in range(1, 100)), *range(11, 64), 128, 256, 512, 1024)
OPACUS_ORDERS = (*(1 + x / 10 for x in range(1, 100)), *range(12, 64))
TENSORFLOW_ORDERS = (1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0, 3.5, 4.0, 4.5, *range(5, 64), 128, 256, 512)
ABADI_ORDERS = tuple(range(2, 65))


def sampled(row):
    """Poisson-sampled Gaussian steps, one kind or a list of kinds."""
    p = row.params
    if "each" in p:
        scales, probs = _linspace(p["noise_multiplier"]), _linspace(p["q"])
        return _sum(PoissonSampled(Gaussian(z), q) * p["each"] for z, q in zip(scales, probs, strict=True))
    if "epochs" in p and "n" in p:
        return PoissonSampled(Gaussian(p["noise_multiplier"]), p["batch"] / p["n"]) * math.ceil(
            p["epochs"] * p["n"] / p["batch"]
        )
    return PoissonSampled(Gaussian(p["noise_multiplier"]), p["q"]) * int(p.get("T", 1))


def _linspace(text):
    low, high, count = text.removeprefix("linspace(").removesuffix(")").split(",")
    return [float(value) for value in np.linspace(float(low), float(high), int(count))]


def _sum(events):
    first, *rest = events
    for event in rest:
        first = first + event
    return first


def laplace(row):
    p = row.params
    scale = 1.0 / p["mu"] if "mu" in p else p["b"] / p.get("sens", 1)
    return Laplace(scale) * int(p.get("T", 1))


def sampled_laplace(row):
    return PoissonSampled(Laplace(row.params["b"]), row.params["q"]) * int(row.params.get("T", 1))


def discrete_gaussian(row):
    p = row.params
    return DiscreteGaussian(p["sigma"], p.get("sensitivity", p.get("sens"))) * int(p["T"])


def responses(row):
    """k-ary randomized response that answers uniformly with probability p."""
    p, k = row.params["p"], row.params["k"]
    return RandomizedResponse(math.log((1 - p + p / k) / (p / k)), k)
