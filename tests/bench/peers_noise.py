"""The samplers of others, by the law that they draw, for bench_noise.

OpenDP and IBM's diffprivlib are no part of the project's environment; where they are missing, the benchmark says so
and leaves their rows out. To have them measured, keep them in a folder of their own, at the project's own versions of
numpy and scipy, and without the package ``tests`` that diffprivlib brings, which hides ours::

    .venv/bin/pip install --target build/peers -c constraints.txt opendp diffprivlib 'scikit-learn<1.8'
    rm -r build/peers/tests
    PYTHONPATH=build/peers make bench ARGS=noise

IBM's sampler in rational numbers is a file on no index; the oracle of our tests stands for its algorithm.
"""

import importlib.metadata
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tests.oracles.noise import ScalarOracle


@dataclass(frozen=True)
class Peer:
    """A sampler of one law around zero: `draw(count)` is what is timed, the strings are what the table says of it."""

    name: str
    exact: str
    bits: str
    variance: float
    draw: Callable


class MissingPeerError(Exception):
    """A library that is not installed here."""


def opendp(stddev):
    """OpenDP's Gaussian measurement on vectors of integers, which draws the discrete Gaussian."""
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    measurement = dp.m.make_gaussian(*space, scale=float(stddev))
    return _opendp_peer("integers", stddev**2, lambda count: measurement([0] * count))


def opendp_floats(stddev):
    """OpenDP's Gaussian measurement on vectors of float64, with the lattice that it takes by itself."""
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(T=float, nan=False)), dp.l2_distance(T=float)
    measurement = dp.m.make_gaussian(*space, scale=float(stddev))
    return _opendp_peer("float64", stddev**2, lambda count: measurement([0.0] * count))


def opendp_laplace(scale):
    """OpenDP's Laplace measurement on vectors of integers, which draws the discrete Laplace law."""
    dp = _opendp()
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int)
    measurement = dp.m.make_laplace(*space, scale=float(scale))
    return _opendp_peer("integers", laplace_variance(scale), lambda count: measurement([0] * count))


def _opendp():
    try:
        import opendp.prelude as dp
    except ImportError:
        raise MissingPeerError("OpenDP") from None
    dp.enable_features("contrib")
    return dp


def _opendp_peer(kind, variance, draw):
    name = f"OpenDP {importlib.metadata.version('opendp')}, {kind}"
    return Peer(name, "yes", "cryptographic", variance, draw)


def diffprivlib(stddev):
    """IBM's diffprivlib: Canonne, Kamath & Steinke's algorithm with float probabilities, one draw a call."""
    try:
        from diffprivlib.mechanisms import GaussianDiscrete
    except ImportError:
        raise MissingPeerError("diffprivlib") from None
    mechanism = GaussianDiscrete(epsilon=1.0, delta=1e-5)
    mechanism._scale = float(stddev)  # it takes epsilon and delta only; the stddev must be ours
    name = f"IBM diffprivlib {importlib.metadata.version('diffprivlib')}"
    return Peer(name, "no", "cryptographic", stddev**2, lambda count: [mechanism.randomise(0) for _ in range(count)])


def canonne_kamath_steinke(stddev):
    """Algorithms 1 to 3 of Canonne, Kamath & Steinke 2020 in Python's fractions, one draw a call."""
    oracle, variance = ScalarOracle(1), Fraction(stddev) ** 2
    name = "Canonne, Kamath & Steinke in Python fractions"
    return Peer(
        name, "yes", "Python's random", stddev**2, lambda count: [oracle.gaussian(variance) for _ in range(count)]
    )


def jax_privacy(stddev):
    """jax-privacy's recipe, written anew for numpy, which it uses as well."""
    generator = np.random.default_rng(1)
    name = "jax-privacy's recipe in numpy"
    return Peer(name, "no", "PCG64", stddev**2, lambda count: geometric_recipe(generator, stddev, count))


def geometric_recipe(generator, stddev, count):
    """Differences of two geometric numbers of scale 1.3 stddev, each accepted with a chance in float64.

    The factor 1.3 and five proposals for three draws are jax-privacy's choice.
    """
    scale = 1.3 * stddev
    chance, parts, missing = -math.expm1(-1.0 / scale), [], count
    while missing:
        tries = 5 * missing // 3 + 2 * math.isqrt(missing) + 4
        proposals = generator.geometric(chance, tries) - generator.geometric(chance, tries)
        exponents = (np.abs(proposals) - stddev**2 / scale) ** 2 / (2.0 * stddev**2)
        parts.append(proposals[generator.random(tries) < np.exp(-exponents)][:missing])
        missing -= parts[-1].size
    return np.concatenate(parts)


def opacus_secure_mode(stddev):
    """Opacus's own function for secure mode: half the sum of four float32 normals of torch.

    The generator is torch's default: the cryptographic one that secure mode asks for does not exist for this torch.
    """
    import torch
    from opacus.optimizers.optimizer import _generate_noise

    torch.set_num_threads(1)
    name = f"Opacus {importlib.metadata.version('opacus')} in secure mode, float32"
    return Peer(
        name,
        "no",
        "Mersenne twister",
        stddev**2,
        lambda count: _generate_noise(stddev, torch.zeros(count), None, secure_mode=True).numpy(),
    )


def laplace_variance(scale):
    """2q/(1 - q)**2 for q = exp(-1/scale)."""
    return 2.0 * math.exp(-1.0 / scale) / math.expm1(-1.0 / scale) ** 2


def check_law(name, draws, variance):
    """Refuse a comparison of laws that are not alike: the mean square is off by more than ten standard errors."""
    squares = np.square(np.asarray(draws, dtype=np.float64))
    error = 10.0 * float(squares.std()) / math.sqrt(squares.size)
    if abs(float(squares.mean()) - variance) > error:
        raise RuntimeError(f"{name} has the mean square {squares.mean():.6g}, not {variance:.6g}")
