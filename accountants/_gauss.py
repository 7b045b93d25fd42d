r"""The curve of N(μ, 1) against N(0, 1), to the last digits at every delta. Private.

With a = ε/μ - μ/2, b = ε/μ + μ/2, the Mills ratio :math:`R(x) = \int_0^\infty e^{-xt - t^2/2} dt` and the density φ

.. math:: \delta(\epsilon) = \varphi(a)\,(R(a) - R(b)), \qquad 1 - \delta(\epsilon) = \varphi(a)\,(R(-a) + R(b))

(Balle & Wang 2018, Theorem 8, with :math:`e^\epsilon \varphi(b) = \varphi(a)`). The second serves for a < 0, μ > 1/2.
The difference D = R(a) - R(b) is formed in three ways that do not cancel:

* a >= 3: with :math:`M_k = \int t^k e^{-xt-t^2/2} dt`, the ratios :math:`r_k = M_k/M_{k-1} = k/(x + r_{k+1})` and
  their differences :math:`d_k = r_k(a) - r_k(b) = k(\mu - d_{k+1}) / ((a + r_{k+1}(a))(b + r_{k+1}(b)))` are run
  downwards together to R = r_0 = 1/(x + r_1). All terms are positive and 0 <= d < μ/2. A level passes on at most the
  share :math:`r_k^2/k \le e^{-2\,\mathrm{asinh}(x/2\sqrt k)}` of the error of the next: 520/x² + 16 levels pass on
  less than e^-45.
* μ <= 1/2: the Taylor series :math:`2\sum_{k\ odd} M_k(\epsilon/\mu)\,(\mu/2)^k/k!`, of positive terms that fall at
  least by (μ/2)²/(k+2). The M_k come from :math:`M_{k+1} = k M_{k-1} - x M_k`; their errors are run along.
* otherwise by subtraction, which loses at most a factor 16.

*Rounding.* The computed a is off by at most 2 EPS b', b' = ε/μ + μ/2, and μ itself may be off by 4 EPS. They move log δ
by no more than the slopes :math:`|\partial_a \log\delta| = \mu R(b)/D \le b + 1.26` and :math:`\mu\,|\partial_\mu
\log\delta| = \mu/D \le (b + 1.26)^2` say; erfcx is taken to err by 8 EPS. Held by tests/accountants/test_gauss.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from accountants._invert import Bounds
from accountants._logs import widened
from accountants._numerics import EPS

__all__ = ["gauss_log_delta", "mills", "separation"]

_LOG_ROOT = 0.5 * math.log(2.0 * math.pi)
_ROOT = math.sqrt(0.5 * math.pi)
_FAR, _NEAR = 3.0, 0.5
_STEEP = 2e6  # of b': beyond, the slopes change within the rounding of a
_HUGE = 1e150  # squares overflow
_NEGLIGIBLE = 1e-300


def mills(x: float) -> float:
    """R(x) for x >= 0, to 12 EPS."""
    from scipy.special import erfcx

    return _ROOT * float(erfcx(x * math.sqrt(0.5)))


def separation(scales: Sequence[tuple[float, int]]) -> float:
    """The μ of unsampled Gaussians, given as (scale, times) rows, to 4 EPS: μ² = Σ times/scale², at any scale."""
    least = min(scale for scale, _ in scales)
    return math.sqrt(math.fsum(times * (least / scale) ** 2 for scale, times in scales)) / least


def gauss_log_delta(mu: float, epsilon: float) -> Bounds:
    """Bounds of log δ(ε) for every separation within 4 EPS of ``mu`` > 0; ε >= 0."""
    a, spread = epsilon / mu - 0.5 * mu, epsilon / mu + 0.5 * mu
    if a + 16.0 * EPS * spread < -40.0:
        return -_NEGLIGIBLE, 0.0
    if spread > _HUGE:
        return -math.inf, -1e299 if a > 0.5 * spread else 0.0
    if a < 0.0 and mu > _NEAR:
        return _mostly_distinct(mu, a, spread)
    difference, ratio, error = _mills_difference(mu, a)
    value = math.log(difference) - _LOG_ROOT - 0.5 * a * a if math.isfinite(a) and difference > 0.0 else -math.inf
    slope_a, slope_mu = spread + 2.0, (spread + 2.0) ** 2
    if spread < _STEEP:
        slope_a, slope_mu = mu * ratio / difference, mu / difference
    return widened(value, error + EPS * (4.0 * spread * slope_a + 8.0 * slope_mu + 2.0 * abs(value) + 8.0))


def _mostly_distinct(mu: float, a: float, spread: float) -> Bounds:
    """Log δ through 1 - δ, where a < 0."""
    if spread >= _STEEP:
        return -math.inf, 0.0
    total = mills(-a) + mills(spread)
    rest = math.exp(-0.5 * a * a) / math.sqrt(2.0 * math.pi) * total
    error = EPS * (4.0 * spread * mu * mills(spread) / total + 8.0 * mu / total + a * a + 32.0)
    low, high = rest * (1.0 - error) - _NEGLIGIBLE, rest * (1.0 + error) + _NEGLIGIBLE
    slack = 1.0 + 4.0 * EPS
    return math.log1p(-high) * slack if high < 1.0 else -math.inf, min(math.log1p(-low) / slack, 0.0)


def _mills_difference(mu: float, a: float) -> tuple[float, float, float]:
    """(R(a) - R(a+μ), a number from R(a+μ) to R(a+μ/2), relative error of the first), for a >= 0 or μ <= 1/2."""
    if a >= _FAR:
        return _by_fractions(mu, a)
    if mu <= _NEAR:
        return _by_series(0.5 * mu, a + 0.5 * mu)
    near, far = mills(a), mills(a + mu)
    return near - far, far, 12.0 * EPS * (near + far) / (near - far)


def _by_fractions(mu: float, a: float) -> tuple[float, float, float]:
    """D by continued fractions; a level rounds by 6 EPS and passes on less than it was given, in all by 64 EPS."""
    b = a + mu
    levels = 16 + math.ceil(520.0 / (a * a))
    near = 2.0 * levels / (a + math.hypot(a, 2.0 * math.sqrt(levels)))
    far = 2.0 * levels / (b + math.hypot(b, 2.0 * math.sqrt(levels)))
    difference = 0.0
    for k in range(levels - 1, -1, -1):
        below, above, count = a + near, b + far, max(k, 1)
        difference = count * ((mu - difference) / below) / above
        near, far = count / below, count / above
    return difference, far, 64.0 * EPS


def _by_series(h: float, x: float) -> tuple[float, float, float]:
    """D by Taylor's series about the middle; h <= 1/4 and x < 3.5, so nine terms leave less than 1e-19."""
    moment, following = mills(x), 1.0 - x * mills(x)
    error, error_following = 12.0 * EPS * moment, EPS * (14.0 * x * moment + 1.0)
    total, doubt, weight, far = 0.0, 0.0, 2.0 * h, moment
    for k in range(1, 18):
        if k % 2:
            total += weight * following
            doubt += weight * error_following
            weight *= h * h / ((k + 1.0) * (k + 2.0))
        moment, following = following, k * moment - x * following
        rounding = 2.0 * EPS * (x * moment + abs(following))
        error, error_following = error_following, k * error + x * error_following + rounding
    return total, far, doubt / total + 8.0 * EPS
