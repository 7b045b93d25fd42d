r"""How far sums of discrete Gaussians on the integers are from a Gaussian, per coordinate and rigorously. Private.

Write :math:`\rho_s(x) = e^{-x^2/2s^2}`, :math:`\varphi_s` for the N(0, s²) density, and :math:`\eta(s) =
2\sum_{m\ge1} e^{-2\pi^2 s^2 m^2}`. By Poisson summation the normaliser of a discrete Gaussian at any real centre is
:math:`s\sqrt{2\pi}(1+\theta)`, :math:`|\theta| \le \eta(s)`.

*Shares.* Let K_i be discrete Gaussian with parameter σ and real centre c_i, i = 1..n, independent, c = Σ c_i. The
terms of P[ΣK = z] run over a coset of the lattice :math:`A_{n-1}`; Poisson summation over its dual gives

.. math:: P[\Sigma K = z] = \varphi_{\sqrt n\sigma}(z-c)\,(1+\theta_z)/\prod_i(1+\theta_i),\qquad
   |\theta_z| \le \eta_A = \sum_{y \in A^*_{n-1}\setminus 0} e^{-2\pi^2\sigma^2|y|^2},\quad |\theta_i| \le \eta(\sigma).

*Smoothing.* Rounding y ~ N(c, s² - τ²) to the discrete Gaussian with parameter τ centred at y has the law :math:`f(z)
= \varphi_s(z-c)/(1+\theta)`, :math:`|\theta| \le \eta(\tau)`; it is a post-processing of a Gaussian of variance s² -
τ².

Dividing the two with s² = nσ²: log(P/f) lies in [-down, up] per coordinate, with

    up   = log(1+η_A) - n log(1-η(σ)) + log(1+η(τ)),
    down = -log(1-η_A) + n log(1+η(σ)) - log(1-η(τ)).

Held by tests/accountants/test_lattice.py, which enumerates the laws for small n.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from accountants._numerics import round_up

__all__ = ["balanced_tau", "log_dual_sum", "log_theta_tail", "share_slack", "smoothing_tau"]

_CELLS = 2048
_WIDE = 100.0
_SLACK = 1e-12  # what smoothing may cost in log-ratio over all coordinates: the unit of account of `smoothing_tau`


_NARROW = 0.15  # η(0.15) > 1.2
_TAUS = 128
_WEIGHT = 1e6  # slack that sampling at rate 10^-3 leaves as large as the divergence counts as much


def smoothing_tau(dim: int) -> float:
    r"""The smallest τ, up to rounding, for which smoothing costs at most 10^-12 over all coordinates, up and down.

    For :math:`x = e^{-2\pi^2\tau^2} \le 10^{-12}/8`: η(τ) <= 2x(1+x), log(1+η) - log(1-η) <= 2η(1+η) <= 5x, hence
    :math:`\tau = \sqrt{\log(5\,\mathrm{dim}/10^{-12})/2\pi^2}`.
    """
    return round_up(math.sqrt((math.log(5.0 / _SLACK) + math.log(dim)) / (2.0 * math.pi**2)), 16)


@lru_cache(maxsize=1024)
def balanced_tau(stddev: float, bound: float, dim: int) -> float:
    r"""The τ at which smoothing ONE lattice Gaussian costs least, as its divergence plus a multiple of its slack.

    The divergence is that of the Gaussian left, :math:`\Delta^2/2(s^2-\tau^2)`. Both grow linearly with the number of
    releases, but sampling at rate q lessens the divergence by q² and the slack not at all: hence the multiple. Every
    τ in (0, s) is sound; this one is of a grid that ends at :func:`smoothing_tau`, beyond which nothing is gained.
    """
    widest = min(smoothing_tau(dim), stddev * (1.0 - 2.0**-20))

    def cost(tau: float) -> float:
        left = max(1.0 - (tau / stddev) * (tau / stddev), math.ulp(0.0))
        return 0.5 * (bound / stddev) * (bound / stddev) / left + _WEIGHT * dim * sum(share_slack(stddev, 1, tau))

    return min((widest * (index + 1) / _TAUS for index in range(_TAUS)), key=cost)


def log_theta_tail(s: float) -> float:
    r"""An upper bound of log η(s): the terms fall at least as fast as a geometric series with ratio e^{-6π²s²}."""
    c = 2.0 * math.pi**2 * s * s
    if c > 1e300:
        return -math.inf
    return math.log(2.0) - c * (1.0 - 1e-14) - math.log1p(-math.exp(-3.0 * c)) + 1e-14


@lru_cache(maxsize=1024)
def log_dual_sum(sigma: float, n: int) -> float:
    r"""An upper bound of log η_A, at most about 10 percent above it where that matters.

    With c = 2π²σ² and m one of the integers, summing :math:`e^{-c|m - t1|^2}` over t in [-1/2, 1/2] and all m gives

    .. math:: \eta_A \le 2\sqrt{cn/\pi}\int_0^{1/2} e^{-cnt^2}\,\bigl[(1+r(t))^n - 1\bigr] dt,\qquad
       r(t) = \sum_{m\ne0} e^{-c(m^2-2mt)}

    (the Gaussian mass beyond 1/2, which would be subtracted, is dropped). r is increasing: on each cell of a grid the
    bracket is taken at the right end and the Gaussian mass in closed form, an upper Riemann sum.
    """
    from scipy.special import log_ndtr

    if n == 1:
        return -math.inf
    if sigma > _WIDE:
        return -1e4  # of the order of -2π²σ² in truth: a bound that vanishes beside that of smoothing
    c = 2.0 * math.pi**2 * sigma * sigma
    t = np.linspace(0.0, 0.5, _CELLS + 1)
    m = np.arange(1.0, 2.0 + math.ceil(math.sqrt(100.0 / c)))[:, None]
    with np.errstate(under="ignore"):
        r = (np.exp(-c * m * (m - 2.0 * t)) + np.exp(-c * m * (m + 2.0 * t))).sum(axis=0)
        y = n * np.log1p(r[1:] * (1.0 + 1e-12))
        log_bracket = np.where(
            y > 1.0, y + np.log1p(-np.exp(-np.maximum(y, 1.0))), np.log(np.expm1(np.minimum(y, 1.0)) + 1e-320)
        )
        tail = log_ndtr(-math.sqrt(2.0 * c * n) * t)
        log_mass = tail[:-1] + np.log1p(-np.exp(np.minimum(tail[1:] - tail[:-1], -1e-300)) + 1e-15)
        terms = log_bracket + log_mass
        top = float(terms.max())
        total = top + math.log(float(np.exp(terms - top).sum()))
    return math.log(2.0) + total + 1e-9


def share_slack(sigma: float, n: int, tau: float) -> tuple[float, float]:
    """(up, down) per coordinate, rounded up; infinite where a normaliser may vanish: always below σ = 0.15."""
    if sigma < _NARROW:
        return math.inf, math.inf
    eta_sum = math.exp(min(log_dual_sum(sigma, n), 1.0))
    eta_local = math.exp(min(log_theta_tail(sigma), 1.0))
    eta_tau = math.exp(min(log_theta_tail(tau), 1.0))
    if max(eta_sum, eta_local, eta_tau) >= 1.0:
        return math.inf, math.inf
    up = math.log1p(eta_sum) - n * math.log1p(-eta_local) + math.log1p(eta_tau)
    down = -math.log1p(-eta_sum) + n * math.log1p(eta_local) - math.log1p(-eta_tau)
    return round_up(up, 64), round_up(down, 64)
