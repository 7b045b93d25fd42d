"""Checks of rows that ask for a trade-off curve: false negatives or true positives at a false positive rate."""

import mpmath as mp

from accountants import Gaussian, PureDP
from accountants.tradeoff import tradeoff
from tests.conformance.vector_checks import ADD_REMOVE, approx, check
from tests.conformance.vector_events import sampled
from tests.oracles import contour

_APART = 1e-4  # of the epsilons between which false positives are taken


@check("mu-GDP", "beta")
def _(row):
    beta = tradeoff(Gaussian(1.0 / row.params["mu"]), ADD_REMOVE).beta(row.at["alpha"])
    assert beta == approx(row)


@check("poisson-subsampled gaussian", "beta")
def _(row):
    """A peer's discretised curve, which may lie above the truth, hence above ours, by its stated error."""
    beta = tradeoff(sampled(row), ADD_REMOVE).beta(row.at["alpha"])
    assert beta == approx(row)


@check("gaussian", "TPR")
def _(row):
    assert tradeoff(Gaussian(1.0 / row.params["mu"]), ADD_REMOVE).tpr(row.at["FPR"]) == approx(row)


@check("(1,0)-DP + (2,0)-DP composed", "TPR")
def _(row):
    one, other = (PureDP(epsilon, ADD_REMOVE) for epsilon in row.params["eps"])
    assert tradeoff(one + other, ADD_REMOVE).tpr(row.at["FPR"]) == approx(row)


def reached(row, epsilon, **how):
    """(false positive rate, false negative rate) that some test reaches who looks for losses above about epsilon.

    Delta is convex in x = e^epsilon, with slope -Q(loss > epsilon). With steepness b before and a after a point, some
    mixture of thresholds beyond has the false positive rate a. Its false negatives are at least those of the tangent,
    1 - delta - x a, and more by at most (b - a) times the step in x.
    """
    p = row.params
    points = [epsilon + k * _APART for k in (-1, 0, 1)]
    with mp.workdps(contour.DIGITS):
        x = [mp.exp(point) for point in points]
        logs = [contour.log_delta("remove", p["noise_multiplier"], p["q"], p["T"], point, **how) for point in points]
        delta = [mp.exp(log) for log in logs]
        before, after = ((delta[k] - delta[k + 1]) / (x[k + 1] - x[k]) for k in (0, 1))
        return float(after), float(1 - delta[1] - x[1] * after + (before - after) * (x[2] - x[1]))
