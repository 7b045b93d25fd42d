"""Noise added to a vector: real, on the integers, and in shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from accountants._checks import check_count, check_positive
from accountants.events.base import Event, store

__all__ = ["DiscreteGaussian", "DiscreteLaplace", "DistributedDiscreteGaussian", "Gaussian", "Laplace", "Skellam"]

_NOISE_ADVICE = (
    "give the noise as a multiple of the bound of one record's contribution; a release without noise is NonPrivate()."
)
_LATTICE = "give it in lattice units."
_BOUND = "give the clipping bound in lattice units."
_DIM = "count the coordinates of the released vector."


@final
@dataclass(frozen=True, slots=True)
class Gaussian(Event):
    """Gaussian noise on a vector whose l2 norm one record changes by at most the bound.

    Args:
        noise_multiplier: standard deviation / bound, > 0.

    Raises:
        EventError: the noise multiplier is not a finite number > 0.

    Example:
        >>> Gaussian(1.1)
        Gaussian(noise_multiplier=1.1)
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        value = check_positive("noise_multiplier", self.noise_multiplier, _NOISE_ADVICE)
        store(self, noise_multiplier=value)


@final
@dataclass(frozen=True, slots=True)
class Laplace(Event):
    """Laplace noise on a vector whose l1 norm one record changes by at most the bound.

    Args:
        noise_multiplier: scale / bound, > 0.

    Raises:
        EventError: the noise multiplier is not a finite number > 0.

    Example:
        >>> Laplace(2)
        Laplace(noise_multiplier=2.0)
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        value = check_positive("noise_multiplier", self.noise_multiplier, _NOISE_ADVICE)
        store(self, noise_multiplier=value)


@final
@dataclass(frozen=True, slots=True)
class DiscreteGaussian(Event):
    """Discrete Gaussian noise on an INTEGER vector, in lattice units.

    The release is the integer vector plus independent noise with P[k] proportional to exp(-k^2 / 2 stddev^2). Where
    the vector is real, its noise is centred at a real number: record :class:`DistributedDiscreteGaussian` with one
    party, which holds there too.

    Args:
        stddev: the parameter of the noise (a little more than its standard deviation, by less than 1e-7 from 1 on).
        l2_bound: l2 norm of one record's contribution.
        dim: number of coordinates.

    Raises:
        EventError: a parameter is out of its domain.

    Example:
        >>> DiscreteGaussian(stddev=4.0, l2_bound=2.0)
        DiscreteGaussian(stddev=4.0, l2_bound=2.0, dim=1)

    References:
        Canonne, Kamath & Steinke 2020 (arXiv 2004.00010), Definition 1.
    """

    stddev: float
    l2_bound: float
    dim: int = 1

    def __post_init__(self) -> None:
        stddev = check_positive("stddev", self.stddev, _LATTICE)
        bound = check_positive("l2_bound", self.l2_bound, _BOUND)
        store(self, stddev=stddev, l2_bound=bound, dim=check_count("dim", self.dim, 1, _DIM))


@final
@dataclass(frozen=True, slots=True)
class DiscreteLaplace(Event):
    """Discrete Laplace (two-sided geometric) noise on an INTEGER vector, in lattice units.

    The release is the integer vector plus independent noise with P[k] proportional to exp(-abs(k) / scale).

    Args:
        scale: the scale of the noise.
        l1_bound: l1 norm of one record's contribution.

    Raises:
        EventError: a parameter is out of its domain.

    Example:
        >>> DiscreteLaplace(scale=10.0, l1_bound=1)
        DiscreteLaplace(scale=10.0, l1_bound=1.0)

    References:
        Ghosh, Roughgarden & Sundararajan 2009 (arXiv 0811.2841).
    """

    scale: float
    l1_bound: float

    def __post_init__(self) -> None:
        scale = check_positive("scale", self.scale, _LATTICE)
        store(self, scale=scale, l1_bound=check_positive("l1_bound", self.l1_bound, _BOUND))


@final
@dataclass(frozen=True, slots=True)
class Skellam(Event):
    """Skellam noise (the difference of two Poisson counts) on an INTEGER vector, in lattice units.

    Sums of Skellam shares are Skellam: give the variance that any opened sum is guaranteed to contain.

    Args:
        variance: variance of the noise of one coordinate.
        l1_bound: l1 norm of one record's contribution.
        l2_bound: l2 norm of one record's contribution.

    Raises:
        EventError: a parameter is out of its domain.

    Example:
        >>> Skellam(variance=400.0, l1_bound=30.0, l2_bound=10.0).variance
        400.0

    References:
        Agarwal, Kairouz & Liu 2021 (arXiv 2110.04995), Definition 3.
    """

    variance: float
    l1_bound: float
    l2_bound: float

    def __post_init__(self) -> None:
        variance = check_positive("variance", self.variance, _LATTICE)
        one, two = (check_positive(name, getattr(self, name), _BOUND) for name in ("l1_bound", "l2_bound"))
        store(self, variance=variance, l1_bound=one, l2_bound=two)


@final
@dataclass(frozen=True, slots=True)
class DistributedDiscreteGaussian(Event):
    """The sum of independent discrete Gaussians, one drawn by each party, in lattice units.

    Party i releases an integer vector drawn from the discrete Gaussian centred at its own REAL vector; only the sum
    is seen. The noise does the rounding: there is no other. Holds for a fixed, public set of parties; sampling of
    records inside parties that are always present may be added by :class:`PoissonSampled`, sampling of parties may
    not.

    Args:
        local_stddev: parameter sigma of each party's noise, lattice units.
        parties: the number of shares that any sum is guaranteed to contain.
        l2_bound: l2 norm of one record's contribution, lattice units.
        dim: number of coordinates.

    Raises:
        EventError: a parameter is out of its domain.

    Example:
        >>> DistributedDiscreteGaussian(local_stddev=8.0, parties=9, l2_bound=16.0, dim=1000).parties
        9
    """

    local_stddev: float
    parties: int
    l2_bound: float
    dim: int

    def __post_init__(self) -> None:
        stddev = check_positive("local_stddev", self.local_stddev, _LATTICE)
        bound = check_positive("l2_bound", self.l2_bound, _BOUND)
        parties = check_count("parties", self.parties, 1, "count the shares guaranteed in any sum that is opened.")
        dim = check_count("dim", self.dim, 1, _DIM)
        store(self, local_stddev=stddev, parties=parties, l2_bound=bound, dim=dim)
