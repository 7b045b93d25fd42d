r"""Composed Poisson-sampled Gaussians with many digits: transforms, tilted masses, delta by the inverse transform.

A law is (scale, prob, add), as in the library. With L(x) = log(1 - q + q e^{(2x-1)/2 scale^2}), the loss is L under
(1-q)N(0) + qN(1), or -L under N(0) (adding). Sums over x = j eta are as good as integrals here: the step is taken from
the width of the strip where the integrand is analytic, for the digits that are asked.
"""

from functools import lru_cache
from itertools import repeat

import mpmath as mp

from tests.oracles.turns import turning

DIGITS = 40


def loss(law, x):
    """The loss at x."""
    s, q = mp.mpf(law[0]), mp.mpf(law[1])
    value = mp.log1p(q * mp.expm1((2 * x - 1) / (2 * s * s)))
    return -value if law[2] else value


def log_density(law, x):
    """log of P's density at x."""
    s = mp.mpf(law[0])
    base = -x * x / (2 * s * s) - mp.log(s * mp.sqrt(2 * mp.pi))
    return base if law[2] else base + loss(law, x)


def _step(law, order, fastest, digits):
    """eta with e^-(digits log 10) of quadrature error up to s = ``fastest``."""
    s, asked = float(law[0]), 2.4 * digits
    best = None
    for k in range(1, 40):
        angle = k * 0.024 * mp.pi  # a / scale^2
        if not law[2] or order * angle * angle < 16 * asked:
            cost = 0.5 * (angle * s) ** 2 - (order * mp.log(mp.cos(angle / 2)) if law[2] else 0)
            density = fastest / s**2 + (asked + cost) / (angle * s * s)
            best = density if best is None else min(best, density)
    return 2 * mp.pi / best


class Tilt:
    """A law at tilt t: w = P e^{t loss} / I(t) on a grid."""

    def __init__(self, law, order, fastest=0.0, digits=DIGITS):
        self.digits = digits
        with mp.workdps(digits + 10):
            t, s = mp.mpf(order), mp.mpf(law[0])
            reach = mp.sqrt(4.7 * digits) * s + 1
            low, high = (-t - reach, reach) if law[2] else (-reach, 1 + t + reach)
            eta = _step(law, order, fastest, digits)
            points = [j * eta for j in range(int(mp.floor(low / eta)), int(mp.ceil(high / eta)) + 1)]
            losses = [loss(law, x) for x in points]
            power = t if law[2] else t + 1  # P itself is e^loss times the centred Gaussian, or that Gaussian
            weights = [mp.exp(power * y - x * x / (2 * s * s)) for x, y in zip(points, losses, strict=True)]
            total = mp.fsum(weights)
            self.log_moment = mp.log(eta * total / (s * mp.sqrt(2 * mp.pi)))
            # no digit that is asked depends on the points between and beyond the modes
            kept = [k for k, w in enumerate(weights) if w > total * mp.mpf(10) ** -(digits + 10)]
            losses = [losses[k] for k in kept]
            self.weight = [weights[k] / total for k in kept]
            self.mean = mp.fdot(self.weight, losses)
            self.centred = [y - self.mean for y in losses]
            self.variance = mp.fsum(w * y * y for w, y in zip(self.weight, self.centred, strict=True))

    def at(self, s):
        """I(t+is) e^{-is mean} / I(t)."""
        with mp.workdps(self.digits + 10):
            return mp.fsum(w * mp.expj(s * y) for w, y in zip(self.weight, self.centred, strict=True))

    def along(self, step):
        """The same at 0, step, 2 step, ... without end."""
        with mp.workdps(self.digits + 10):
            angles = [step * y for y in self.centred]
        return turning(self.weight, angles, self.digits + 10)


def log_moment(law, order, digits=DIGITS):
    """log I(t)."""
    return Tilt(law, order, digits=digits).log_moment


@lru_cache(maxsize=256)  # tests of one contour and of many ask for the same
def log_delta(parts, variance, epsilon, order, digits=25):
    """log delta(epsilon) of ``parts`` ((law, times), ...) and unsampled Gaussians, at a tilt near the saddle.

    The step in s puts the images of the curve below 10^-digits of it; the sum ends where its terms do.
    """
    with mp.workdps(digits + 10):
        t, mu2, e = mp.mpf(order), mp.mpf(variance), mp.mpf(epsilon)
        extra = 10 + max([len(str(times)) for _, times in parts], default=0)
        tilts = [
            (Tilt(law, order, 40.0 * float(law[0]) if times < 1000 else 1.0, digits + extra), times)
            for law, times in parts
        ]
        value = mu2 * t * (1 + t) / 2 + mp.fsum(times * tilt.log_moment for tilt, times in tilts)
        centre = mu2 * (t + mp.mpf(1) / 2) + mp.fsum(times * tilt.mean for tilt, times in tilts)
        spread = mp.sqrt(mu2 + mp.fsum(times * tilt.variance for tilt, times in tilts))
        left = (2.4 * digits - min(mp.mpf(0), value - t * e)) / t
        right = 2 * spread * mp.sqrt(5 * digits) + 4 * abs(centre - e) + 8 / t
        step = 2 * mp.pi / max(left, right)
        rest = zip(*[tilt.along(step) for tilt, _ in tilts], strict=True) if tilts else repeat(())
        total = mp.mpf(0)
        for k, factors in zip(range(20000), rest, strict=False):
            s = k * step
            z = mp.mpc(t, s)
            power = mp.fprod(f**n for f, (_, n) in zip(factors, tilts, strict=True)) if tilts else mp.mpf(1)
            term = power * mp.exp(-mu2 * s * s / 2) * mp.expj(s * (centre - e)) / (z * (1 + z))
            total += term.real * (mp.mpf(1) / 2 if k == 0 else 1)
            if abs(term) * (k + 1) < mp.mpf(10) ** -(digits + 2) * abs(total):
                break
        else:
            raise ValueError("the integrand decays too slowly for this oracle")
        if total < mp.mpf(10) ** -12 / (t * (1 + t)):
            raise ValueError("the tilt is far from the saddle: few digits would be left")
        return value - t * e + mp.log(total * step / mp.pi)
