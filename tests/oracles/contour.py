"""delta of composed sampled Gaussians by the inverse transform, with 25 digits; plain sums, no certificate.

    delta(eps) = (1/2 pi) int e^{K(t+is) - (t+is) eps} / ((t+is)(1+t+is)) ds,   K(z) = times log E_P[e^{z loss}]

for any t > 0, by the trapezoid rule in s and in x. Both converge geometrically; halving ``step`` or ``fine`` shows it.
"""

import mpmath as mp

from tests.oracles.turns import turning

DIGITS = 25
NEGLIGIBLE = mp.mpf(10) ** -18  # of the integrand at s = 0: where the sum over s ends
REACH = 13  # standard deviations of noise beyond the outermost mode of the tilted law


def _tilted(shape, scale, prob, t, fine):
    """(log E_P[e^{t loss}], weights, losses) of a pair in units of the shift, on points x = j fine."""
    low = -1 - REACH * scale - (1 + t if shape != "remove" else 0)
    high = 1 + REACH * scale + (1 + 2 * t if shape != "add" else 0)
    points = [low + fine * j for j in range(int((high - low) / fine) + 1)]
    plus = [mp.log1p(prob * mp.expm1((2 * x - 1) / (2 * scale**2))) for x in points]
    minus = [mp.log1p(prob * mp.expm1((-2 * x - 1) / (2 * scale**2))) for x in points]
    base = [-x * x / (2 * scale**2) for x in points]
    if shape == "remove":
        losses, logs = plus, [b + p for b, p in zip(base, plus, strict=True)]
    elif shape == "add":
        losses, logs = [-p for p in plus], base
    else:
        losses = [p - m for p, m in zip(plus, minus, strict=True)]
        logs = [b + p for b, p in zip(base, plus, strict=True)]
    unit = fine / (scale * mp.sqrt(2 * mp.pi))
    weights = [unit * mp.exp(log + t * loss) for log, loss in zip(logs, losses, strict=True)]
    total = mp.fsum(weights)
    return mp.log(total), [weight / total for weight in weights], losses


def log_delta(shape, scale, prob, times, epsilon, *, t, step, fine):
    """log delta at epsilon of ``times`` pairs of one shape: remove, add, or antipodal.

    Args:
        shape: which pair, in units of the shift.
        scale: noise multiplier.
        prob: sampling probability.
        times: number of releases.
        epsilon: where.
        t: real part of the contour, near the saddle.
        step: of the trapezoid rule in s; the nearest aliases are 2 pi / step away in epsilon.
        fine: of the trapezoid rule in x.
    """
    with mp.workdps(DIGITS):
        scale, prob, epsilon, t, step, fine = map(mp.mpf, (scale, prob, epsilon, t, step, fine))
        value, weights, losses = _tilted(shape, scale, prob, t, fine)
        mean = mp.fsum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        total = mp.mpf(0)
        for k, transform in enumerate(turning(weights, [step * (loss - mean) for loss in losses], DIGITS)):
            z = mp.mpc(t, k * step)
            term = mp.exp(times * mp.log(transform) + mp.mpc(0, k * step * (times * mean - epsilon)))
            term *= t * (1 + t) / (z * (1 + z))
            total += term.real / (2 if k == 0 else 1)
            if abs(term) < NEGLIGIBLE:
                break
        return times * value - t * epsilon - mp.log(t) - mp.log1p(t) + mp.log(total * step / mp.pi)
