"""Exact noise: laws that hold to the last bit, drawn at memory speed.

"Exact" means: the stated law for the rational number that each float64 parameter denotes, given ideal random words.
What 64 bits cannot decide is decided by more random bits against exact arithmetic, never by rounding. The first draw
of a new scale builds its table, in 0.1 to 30 milliseconds (the most just below a discrete Gaussian's stddev of 2**14);
the sixteen last ones of each law are kept. A process's first Skellam draw also imports scipy.special, some 0.1 s.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpkit._checks import check_count, check_kind, check_within
from dpkit._gaussian import WIDEST_TABLE, centred_gaussian, gaussian_table
from dpkit._laplace import discrete_laplace_table, rounded_laplace
from dpkit._poisson import poisson_sampler
from dpkit.entropy import Source, resolve
from dpkit.errors import ParameterError

__all__ = [
    "centred_discrete_gaussian",
    "covering_stddev",
    "discrete_gaussian",
    "discrete_laplace",
    "lattice_gaussian",
    "lattice_laplace",
    "lattice_step",
    "root_up",
    "skellam",
    "to_lattice",
]

_CHUNK = 1 << 16  # draws at a time: few calls, and what stays in the cache
_KEPT = 1 << 23  # bytes; the arrays of one chunk together take less
_STEPS_PER_SCALE_BITS = 10  # a lattice step is between 1/2048 and 1/1024 of the noise
_SMOOTHING = 4  # tau of the smoothing lemma: eta(4) < 1e-136
_REACH = 2.0**52  # centres are clamped to this many lattice steps: centre + offset stays exact
_SMALLEST, _LARGEST = 2.0**-500, 2.0**500  # clear of subnormal steps and of overflow
_FINEST, _WIDEST = 2.0**-10, 2.0**40  # standard deviations of the integer law
_UNIT = "change the unit of the value."


def centred_discrete_gaussian(center: ArrayLike, stddev: float, entropy: Source | None = None) -> NDArray[np.int64]:
    r"""Draw integers from the discrete Gaussian around real centres.

    The law is :math:`P[K = k] \propto e^{-(k - c)^2 / 2 s^2}` over all integers k, for the real number c that `center`
    holds and s = `stddev`: the noise does the rounding.

    Guarantee: exact law: ``test_every_tape_of_the_gaussian`` runs the shipped code on every random tape of a small word
    size, ``test_gaussian_law`` tests the full size. A proposal costs the same work whatever it draws; the number of
    proposals depends on the centres' fractions by a factor of at most exp(1/8s²).

    Args:
        center: real centres in lattice units, any shape; converted to float64; clamped to [-2**52, 2**52].
        stddev: s in lattice units, from 2**-10 to 2**40.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Returns:
        int64, the shape of `center`.

    Raises:
        ParameterError: stddev is out of range, or a centre is not finite.

    Example:
        >>> from dpkit.entropy import seeded
        >>> centred_discrete_gaussian([0.25, 1e6], 4.0, entropy=seeded(1)).shape
        (2,)

    References:
        Canonne, Kamath & Steinke 2020, Definition 1 (integer centres).
    """
    stddev = check_within("stddev", stddev, _FINEST, _WIDEST, _UNIT)
    return _around(_check_center(center), 1.0, centred_gaussian(stddev), resolve(entropy)).astype(np.int64)


def discrete_gaussian(size: int | tuple[int, ...], stddev: float, entropy: Source | None = None) -> NDArray[np.int64]:
    r"""Draw integers from the discrete Gaussian around zero.

    Guarantee: exact law :math:`P[K = k] \propto e^{-k^2 / 2 s^2}`; see :func:`centred_discrete_gaussian`.

    Args:
        size: shape of the result: an integer >= 0, or a tuple of them.
        stddev: s, from 2**-10 to 2**40. It is the parameter of the law; the variance is at most its square.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Returns:
        int64, shape `size`.

    Raises:
        ParameterError: stddev is out of range, or size is no shape.

    Example:
        >>> discrete_gaussian(3, 10.0).dtype
        dtype('int64')
    """
    stddev = check_within("stddev", stddev, _FINEST, _WIDEST, _UNIT)
    shape, source = _check_size(size), resolve(entropy)
    if stddev > WIDEST_TABLE:
        return centred_discrete_gaussian(np.zeros(shape), stddev, source)
    return _fill(shape, gaussian_table(stddev), source)


def discrete_laplace(size: int | tuple[int, ...], scale: float, entropy: Source | None = None) -> NDArray[np.int64]:
    r"""Draw integers from the discrete Laplace law around zero, the two-sided geometric.

    Guarantee: exact law :math:`P[K = k] \propto e^{-|k| / s}`, s = `scale`: ``test_every_tape_of_the_discrete_laplace``
    runs the shipped code on every random tape of a small word size, ``test_discrete_laplace_law`` tests the full size.
    Nothing is rejected, and no work depends on what is drawn.

    Args:
        size: shape of the result: an integer >= 0, or a tuple of them.
        scale: s, from 2**-10 to 2**40. The variance is 2q/(1 - q)² with q = exp(-1/s), at most 2s².
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Returns:
        int64, shape `size`.

    Raises:
        ParameterError: scale is out of range, or size is no shape.

    Example:
        >>> discrete_laplace((2, 3), 10.0).shape
        (2, 3)

    References:
        Ghosh, Roughgarden & Sundararajan 2009 (arXiv 0811.2841), Definition 2.1.
    """
    scale = check_within("scale", scale, _FINEST, _WIDEST, _UNIT)
    shape, source = _check_size(size), resolve(entropy)
    return _fill(shape, discrete_laplace_table(scale), source)


def skellam(size: int | tuple[int, ...], variance: float, entropy: Source | None = None) -> NDArray[np.int64]:
    r"""Draw integers from the symmetric Skellam law: the difference of two Poisson numbers of rate `variance` / 2.

    Guarantee: exact law :math:`P[K = k] = e^{-v} I_{|k|}(v)`, v = `variance`: ``test_every_tape_of_the_poisson`` runs
    the shipped code on every random tape of a small word size, ``test_skellam_law`` tests the full size. The number
    of proposals does not depend on what is drawn; the sum of independent draws is Skellam again, of the summed
    variance.

    Args:
        size: shape of the result: an integer >= 0, or a tuple of them.
        variance: v, from 2**-20 to 2**40.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Returns:
        int64, shape `size`.

    Raises:
        ParameterError: variance is out of range, or size is no shape.

    Example:
        >>> skellam(4, 100.0).dtype
        dtype('int64')

    References:
        Skellam 1946; used for privacy by Agarwal, Kairouz & Liu 2021 (arXiv 2110.04995).
    """
    variance = check_within("variance", variance, _FINEST**2, _WIDEST, _UNIT)
    shape, source = _check_size(size), resolve(entropy)
    sampler = poisson_sampler(variance / 2)
    return _fill(shape, sampler, source) - _fill(shape, sampler, source)


def lattice_step(stddev: float) -> float:
    """Return the step of the lattice that noise of this size is drawn on: a power of two, from the parameter alone.

    Args:
        stddev: standard deviation (Laplace: scale) in units of the value, from 2**-500 to 2**500.

    Returns:
        2**floor(log2(stddev / 1024)).

    Raises:
        ParameterError: stddev is out of range.

    Example:
        >>> lattice_step(1.5) * 1024
        1.0
    """
    stddev = check_within("stddev", stddev, _SMALLEST, _LARGEST, _UNIT)
    return math.ldexp(1.0, math.frexp(stddev)[1] - 1 - _STEPS_PER_SCALE_BITS)


def lattice_gaussian(center: ArrayLike, stddev: float, entropy: Source | None = None) -> NDArray[np.float64]:
    r"""Draw Gaussian noise around real centres, on a lattice that depends on `stddev` only.

    The result is g K with the step g of :func:`lattice_step` and K from the discrete Gaussian around the real number
    x/g with parameter stddev/g, which lies in [1024, 2048). The centre is never rounded.

    Guarantee: exact law (``test_gaussian_law``). Every result is a multiple of g, whatever the centre
    (``test_support_is_the_lattice_whatever_the_center``). The density ratio to post-processed real Gaussian noise of
    variance stddev² - 16 g² is within exp(±1e-135) a coordinate, by the smoothing lemma of docs/floating-point.md:
    to account it as a Gaussian, draw with :func:`covering_stddev`, as ``GaussianMechanism`` does.

    Args:
        center: real centres x, any shape; converted to float64; clamped to \|x\| <= 2**52 g.
        stddev: in units of the value, from 2**-500 to 2**500.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Returns:
        float64, the shape of `center`.

    Raises:
        ParameterError: stddev is out of range, or a centre is not finite.

    Example:
        >>> noisy = lattice_gaussian([0.1, 0.2], 1.0)
        >>> bool(((noisy * 1024) % 1 == 0).all())
        True
    """
    step = lattice_step(stddev)
    return _around(_check_center(center), step, centred_gaussian(float(stddev) / step), resolve(entropy))


def lattice_laplace(center: ArrayLike, scale: float, entropy: Source | None = None) -> NDArray[np.float64]:
    r"""Draw Laplace noise around real centres, rounded to a lattice that depends on `scale` only.

    The result is the real number x + scale·Laplace(1), rounded to the nearest multiple of g = ``lattice_step(scale)``:
    exact post-processing of the real Laplace mechanism, which therefore bounds its privacy without any slack.

    Guarantee: exact law (``test_every_tape_of_the_laplace``, ``test_laplace_law``). No work depends on what is drawn.

    Args:
        center: real centres x, any shape; converted to float64; clamped to \|x\| <= 2**52 g.
        scale: in units of the value, from 2**-500 to 2**500.
        entropy: source of randomness; None means ``dpkit.entropy.system()``.

    Returns:
        float64, the shape of `center`.

    Raises:
        ParameterError: scale is out of range, or a centre is not finite.

    Example:
        >>> noisy = lattice_laplace(0.1, 1.0)
        >>> bool((noisy * 1024) % 1 == 0)
        True
    """
    step = lattice_step(check_within("scale", scale, _SMALLEST, _LARGEST, _UNIT))
    return _around(_check_center(center), step, rounded_laplace(float(scale) / step), resolve(entropy))


def covering_stddev(stddev: float) -> float:
    r"""Return the stddev to draw with, so that the lattice noise hides as much as real Gaussian noise of `stddev`.

    With :math:`\tau = 4` the lattice Gaussian of parameter s is real Gaussian noise of variance
    :math:`s^2 - \tau^2 g^2`, post-processed, up to 1e-135; since g <= s/1024 it is enough that
    :math:`s^2 (1 - 2^{-16}) \ge stddev^2`: 7.6e-6 more noise.

    Guarantee: the inequality holds in exact arithmetic (``test_covering_stddev_covers``).

    Args:
        stddev: in units of the value, from 2**-499 to 2**499.

    Returns:
        The smallest float64 s with that property, or the next one.

    Raises:
        ParameterError: stddev is out of range.

    Example:
        >>> round(covering_stddev(1.0), 7)
        1.0000076
    """
    stddev = check_within("stddev", stddev, 2 * _SMALLEST, _LARGEST / 2, _UNIT)
    loss = Fraction(_SMOOTHING, 1 << _STEPS_PER_SCALE_BITS) ** 2
    return root_up(Fraction(stddev) ** 2 / (1 - loss))


def root_up(square: Fraction) -> float:
    """Return a float64 whose square is at least a rational number, and barely so.

    Args:
        square: a number > 0 whose root is a normal float64.

    Returns:
        The root, rounded up.

    Example:
        >>> root_up(Fraction(9, 4))
        1.5
    """
    scale = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    root = math.ldexp(math.sqrt(square / Fraction(4) ** scale), scale)
    while Fraction(root) ** 2 < square:
        root = math.nextafter(root, math.inf)
    return root


class _Offsets(Protocol):
    """The sampler of one scale around real centres."""

    def offsets(self, fractions: NDArray[np.float64], source: Source, /) -> NDArray[np.int64]:
        """One offset from the nearest integer for each fraction in [-1/2, 1/2]."""


class _Values(Protocol):
    """The sampler of one scale around zero."""

    def values(self, count: int, source: Source, /) -> NDArray[np.int64]:
        """Draws, shape (count,)."""


def _around(centers: NDArray[np.float64], step: float, sampler: _Offsets, source: Source) -> NDArray[np.float64]:
    """Draws around each centre, in multiples of the step: the offset of its fraction, added to its nearest integer.

    Centres are clamped to 2**52 steps, where nearest integer + offset is still exact in float64.
    """
    _keep_pages()
    flat = centers.reshape(-1)
    result = np.empty(flat.shape)
    with np.errstate(all="ignore"):  # whatever the caller traps: an underflow would tell of the centres
        for start in range(0, flat.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            scaled, nearest = to_lattice(flat[part], step), result[part]
            np.rint(scaled, out=nearest)
            scaled -= nearest
            nearest += sampler.offsets(scaled, source)
            nearest *= step
    return result.reshape(centers.shape)


def _fill(shape: tuple[int, ...], sampler: _Values, source: Source) -> NDArray[np.int64]:
    """Draws around zero, a cache's worth at a time."""
    _keep_pages()
    result = np.empty(math.prod(shape), dtype=np.int64)
    for start in range(0, result.size, _CHUNK):
        part = result[start : start + _CHUNK]
        part[:] = sampler.values(part.size, source)
    return result.reshape(shape)


@cache
def _keep_pages() -> None:
    """Free one large block, once in a process, for speed alone.

    glibc returns free memory to the system beyond twice the largest mapped block freed so far (mallopt(3),
    M_MMAP_THRESHOLD): in a fresh process those are the arrays of every chunk, and mapping them again takes longer than
    drawing.
    """
    np.empty(_KEPT, dtype=np.uint8)


def to_lattice(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return values in lattice steps as a vector, clamped to 2**52 steps: 1-Lipschitz, so it costs no privacy.

    Args:
        values: float64, any shape.
        step: a power of two, which makes the division exact.

    Returns:
        float64, shape (d,).

    Example:
        >>> to_lattice(np.array([1.0, -0.25]), 0.5)
        array([ 2. , -0.5])
    """
    steps: NDArray[np.float64] = np.clip(values.reshape(-1), -_REACH * step, _REACH * step)
    with np.errstate(under="ignore"):
        steps *= 1.0 / step
    return steps


def _check_center(center: ArrayLike) -> NDArray[np.float64]:
    """Centres as float64, or an error that does not print them."""
    try:
        centers = np.asarray(center)
    except (TypeError, ValueError):
        raise ParameterError("center must be an array, got lists without one shape; pad or split them.") from None
    check_kind("center", centers)
    with np.errstate(all="ignore"):
        centers = centers.astype(np.float64, copy=False)
    if centers.size and not (math.isfinite(centers.min()) and math.isfinite(centers.max())):
        raise ParameterError("center must be finite, got NaN or an infinity; clip the records first.")
    return centers


def _check_size(size: int | tuple[int, ...]) -> tuple[int, ...]:
    """A shape."""
    sizes = size if isinstance(size, tuple) else (size,)
    return tuple(check_count("size", length, "give a shape.", least=0) for length in sizes)
