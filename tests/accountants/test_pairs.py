"""The table of relation x sampler, and that its antipodal pair dominates every pair of neighbours."""

import math

import numpy as np
import pytest

from accountants import Gaussian, Laplace, PoissonSampled, RDPAccountant, Relation, UnsupportedEventError, Within
from accountants.pairs import Noise, Pair, Shape, dominating_pairs

ONE_RECORD = [Relation.add_remove, Relation.zero_out]


@pytest.mark.parametrize(("kind", "noise"), [(Gaussian, Noise.GAUSSIAN), (Laplace, Noise.LAPLACE)])
def test_the_table(kind, noise):
    sampled = PoissonSampled(kind(3.0), 0.2)
    for relation in ONE_RECORD:
        assert dominating_pairs(kind(3.0), relation) == (Pair(noise, 3.0, Shape.SHIFT),)
        both = (Pair(noise, 3.0, Shape.REMOVE, 0.2), Pair(noise, 3.0, Shape.ADD, 0.2))
        assert dominating_pairs(sampled, relation) == both
    assert dominating_pairs(kind(3.0), Relation.replace_one) == (Pair(noise, 1.5, Shape.SHIFT),)
    assert dominating_pairs(sampled, Relation.replace_one) == (Pair(noise, 3.0, Shape.ANTIPODAL, 0.2),)


@pytest.mark.parametrize("relation", Relation)
def test_replace_one_is_not_halved(relation):
    """dp_accounting's RDP accountant keeps sensitivity C under replacement: 2.1657 where 4.3772 is true."""
    value = RDPAccountant().epsilon(Gaussian(2.0), delta=1e-5, relation=relation)
    truth = 4.377178 if relation is Relation.replace_one else 1.993091
    assert truth <= value <= 1.12 * truth


@pytest.mark.parametrize(
    "event", [PoissonSampled(Within(Gaussian(1.0), 0.0, 0.0), 0.5), Within(Gaussian(1.0), 0.0, 0.0)]
)
def test_what_has_no_pair_is_refused(event):
    with pytest.raises(UnsupportedEventError) as caught:
        dominating_pairs(event, Relation.add_remove)
    assert caught.value.event == event


def _density(noise, x, centre, scale):
    if noise is Noise.GAUSSIAN:
        return np.exp(-((x - centre) ** 2) / (2 * scale**2)) / (scale * math.sqrt(2 * math.pi))
    return np.exp(-np.abs(x - centre) / scale) / (2 * scale)


@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize(("scale", "prob"), [(0.6, 0.3), (1.0, 0.9), (2.5, 0.05)])
def test_antipodal_pair_dominates(noise, scale, prob):
    """Hockey-stick divergences of all contributions a, b in [-1, 1], at epsilons of both signs, on one grid."""
    x = np.linspace(-40.0, 40.0, 20_001)
    step = x[1] - x[0]
    base = (1 - prob) * _density(noise, x, 0.0, scale)
    law = {c: base + prob * _density(noise, x, c, scale) for c in np.linspace(-1.0, 1.0, 9)}
    for epsilon in (-1.0, -0.2, 0.0, 0.1, 0.7, 2.0):
        divergence = {
            (a, b): float(np.maximum(p - math.exp(epsilon) * q, 0.0).sum() * step)
            for a, p in law.items()
            for b, q in law.items()
        }
        assert (
            max(divergence.values()) <= divergence[1.0, -1.0] + step**2 * (1.0 + math.exp(epsilon)) / scale**2
        )  # kinks of the density


@pytest.mark.parametrize(("a", "b"), [((0.5, 0.5), (-1.0, 0.0)), ((0.5, 0.5), (-0.5, -0.5)), ((1.0, 0.0), (0.0, -1.0))])
def test_antipodal_pair_dominates_laplace_vectors(a, b):
    """The same for two coordinates and contributions with l1 norm 1 (the midpoint rule errs by less than 1e-4 here)."""
    scale, prob = 1.0, 0.4
    x = (np.arange(800) + 0.5) / 800 * 40.0 - 20.0
    cell = (x[1] - x[0]) ** 2

    def law(centre):
        parts = [_density(Noise.LAPLACE, x, c, scale) for c in centre]
        return np.multiply.outer(*parts)

    base = (1 - prob) * law((0.0, 0.0))
    p, q = base + prob * law(a), base + prob * law(b)
    line = np.linspace(-40.0, 40.0, 200_001)
    one_p, one_q = (
        (1 - prob) * _density(Noise.LAPLACE, line, 0.0, scale) + prob * _density(Noise.LAPLACE, line, c, scale)
        for c in (1.0, -1.0)
    )
    for epsilon in (-0.3, 0.0, 0.2, 0.6):
        plane = float(np.maximum(p - math.exp(epsilon) * q, 0.0).sum() * cell)
        bound = float(np.maximum(one_p - math.exp(epsilon) * one_q, 0.0).sum() * (line[1] - line[0]))
        assert plane <= bound + 2e-4


def test_distance_two_inside_poisson_is_not_sound():
    """Two steps at q=.9, z=1: the antipodal pair has delta(0) = .77628, the tempting pair only .77087."""

    def total_variation(p_of, q_of):
        x = np.linspace(-9.0, 9.0, 2401)
        p, q = p_of(x), q_of(x)
        joint = np.multiply.outer(p, p) - np.multiply.outer(q, q)
        return float(np.maximum(joint, 0.0).sum() * (x[1] - x[0]) ** 2)

    def normal(x, centre):
        return _density(Noise.GAUSSIAN, x, centre, 1.0)

    antipodal = total_variation(
        lambda x: 0.1 * normal(x, 0) + 0.9 * normal(x, 1), lambda x: 0.1 * normal(x, 0) + 0.9 * normal(x, -1)
    )
    tempting = total_variation(lambda x: 0.1 * normal(x, 0) + 0.9 * normal(x, 2), lambda x: normal(x, 0))
    assert antipodal == pytest.approx(0.776277, abs=2e-5)
    assert tempting == pytest.approx(0.770878, abs=2e-5)
    event = PoissonSampled(Gaussian(1.0), 0.9) * 2
    assert RDPAccountant().delta(event, epsilon=0.0, relation="replace_one") >= 0.776277
