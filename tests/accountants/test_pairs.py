"""The table of relation x sampler, and that its antipodal pair dominates every pair of neighbours."""

import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import Gaussian, Laplace, PoissonSampled, RDPAccountant, Relation, UnsupportedEventError, Within
from accountants._numerics import ratio_up
from accountants.atoms import NOTHING
from accountants.events import (
    ZCDP,
    BoundedRange,
    DiscreteGaussian,
    DiscreteLaplace,
    DominatingPair,
    FixedSizeSampled,
    Group,
    PureDP,
    RandomizedResponse,
    RDPCurve,
    Skellam,
)
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


def _laws_of(pair, x):
    """The densities of a pair of one sampled record, with the shift as the unit."""
    plain, plus, minus = (_density(pair.noise, x, centre, pair.scale) for centre in (0.0, 1.0, -1.0))
    mixed, mirrored = ((1 - pair.sampling_prob) * plain + pair.sampling_prob * moved for moved in (plus, minus))
    return {Shape.REMOVE: (mixed, plain), Shape.ADD: (plain, mixed), Shape.ANTIPODAL: (mixed, mirrored)}[pair.shape]


def test_distance_two_inside_poisson_is_not_sound():
    """Two steps at q=.9, z=1: the pair in use has delta(0) = .77628, the tempting one only .77087."""

    def total_variation(pair):
        x = np.linspace(-9.0, 9.0, 2401)
        p, q = _laws_of(pair, x)
        joint = np.multiply.outer(p, p) - np.multiply.outer(q, q)
        return float(np.maximum(joint, 0.0).sum() * (x[1] - x[0]) ** 2)

    step = PoissonSampled(Gaussian(1.0), 0.9)
    used = max(total_variation(pair) for pair in dominating_pairs(step, Relation.replace_one))
    tempting = total_variation(Pair(Noise.GAUSSIAN, 0.5, Shape.REMOVE, 0.9))
    assert used == pytest.approx(0.776277, abs=2e-5)
    assert tempting == pytest.approx(0.770878, abs=2e-5)
    assert RDPAccountant().delta(step * 2, epsilon=0.0, relation="replace_one") >= 0.776277


GRID = np.linspace(-45.0, 45.0, 45_001)
CELL = GRID[1] - GRID[0]
EPSILONS = (-1.5, -0.2, 0.0, 0.15, 0.8, 2.5)


def _divergence(p, q, epsilon):
    return float(np.maximum(p - math.exp(epsilon) * q, 0.0).sum() * CELL)


def _kinks(epsilon, scale):
    """What the rectangle rule may err by where a density has a kink, or the positive part does."""
    return 2.0 * CELL**2 * (1.0 + math.exp(epsilon)) / scale**2


def _mirrored(p, q, epsilon):
    """The mirrored curve of a removal, by its definition."""
    if epsilon >= 0.0:
        return _divergence(p, q, epsilon)
    return 1.0 - math.exp(epsilon) + math.exp(epsilon) * _divergence(p, q, -epsilon)


@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize(("scale", "prob"), [(1.0, 0.3), (2.0, 0.8)])
def test_group_pair_dominates(noise, scale, prob):
    """Two records with any contributions in [-1, 1], both directions, epsilons of both signs."""
    law = {c: _density(noise, GRID, c, scale) for c in np.linspace(-2.0, 2.0, 17)}

    def group(a, b):
        return (1 - prob) ** 2 * law[0.0] + prob * (1 - prob) * (law[a] + law[b]) + prob**2 * law[a + b]

    worst, none = group(1.0, 1.0), law[0.0]
    for a in np.linspace(-1.0, 1.0, 9):
        for b in np.linspace(a, 1.0, round((1.0 - a) * 4) + 1):
            for epsilon in EPSILONS:
                slack = _kinks(epsilon, scale)
                assert _divergence(group(a, b), none, epsilon) <= _divergence(worst, none, epsilon) + slack
                assert _divergence(none, group(a, b), epsilon) <= _divergence(none, worst, epsilon) + slack


@pytest.mark.parametrize("noise", Noise)
def test_fixed_size_needs_distance_two(noise):
    """Batches of one: D' = {-1, -1}, D = D' and a record of +1. M(D') = N(-1), M(D) = (2/3)N(-1) + (1/3)N(1)."""
    scale, prob = 1.5, 1.0 / 3.0
    law = {c: _density(noise, GRID, c, scale) for c in (-1.0, 0.0, 1.0, 2.0)}
    with_it, without = (1 - prob) * law[-1.0] + prob * law[1.0], law[-1.0]
    (removal, addition) = dominating_pairs(FixedSizeSampled(_event(noise, scale), 3, 1), Relation.add_remove)
    assert (removal.scale, removal.shape, addition.shape) == (scale / 2.0, Shape.REMOVE, Shape.ADD)
    assert removal.sampling_prob == pytest.approx(prob, rel=1e-15)
    for epsilon in (0.0, 0.15, 0.4):
        two = (1 - prob) * law[0.0] + prob * law[2.0]
        assert _divergence(with_it, without, epsilon) == pytest.approx(_divergence(two, law[0.0], epsilon), abs=1e-6)
        one = (1 - prob) * law[0.0] + prob * law[1.0]
        assert _divergence(one, law[0.0], epsilon) < 0.7 * _divergence(with_it, without, epsilon)


def _event(noise, scale):
    return {Noise.GAUSSIAN: Gaussian, Noise.LAPLACE: Laplace}[noise](scale)


@pytest.mark.parametrize("noise", Noise)
@pytest.mark.parametrize(("scale", "population"), [(1.0, 3), (2.5, 4)])
def test_mirror_dominates_replacement(noise, scale, population):
    """Batches of one of any others and a record that is replaced, at epsilons of both signs."""
    (pair,) = dominating_pairs(FixedSizeSampled(_event(noise, scale), population, 1), Relation.replace_one)
    assert (pair.shape, pair.scale) == (Shape.MIRROR, scale / 2.0)
    q = 1.0 / population
    law = {c: _density(noise, GRID, c, scale) for c in (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0)}
    removal = (1 - q) * law[0.0] + q * law[2.0]
    for others in itertools.combinations_with_replacement((-1.0, 0.0, 1.0), population - 1):
        rest = sum(q * law[c] for c in others)
        for a, b in itertools.product((-1.0, -0.5, 0.5, 1.0), repeat=2):
            for epsilon in EPSILONS:
                truth = _divergence(rest + q * law[a], rest + q * law[b], epsilon)
                assert truth <= _mirrored(removal, law[0.0], epsilon) + _kinks(epsilon, scale)


def _composed(pair, times):
    masses, losses = np.exp(pair.log_p), np.array(pair.loss)
    mass, loss = np.ones(1), np.zeros(1)
    for _ in range(times):
        mass, loss = np.multiply.outer(mass, masses).ravel(), np.add.outer(loss, losses).ravel()
    return lambda epsilon: float(mass @ np.maximum(0.0, 1.0 - np.exp(epsilon - loss)))


def test_two_directions_of_a_fixed_size_batch_may_not_be_composed_apart():
    """Three batches of one from {x, 0, 1}, each answered by randomized response: x = 1 against x = 0."""
    base = PureDP(1.0, "replace_one")
    (mirrored,) = dominating_pairs(FixedSizeSampled(base, 3, 1), Relation.replace_one)
    apart = dominating_pairs(FixedSizeSampled(base, 3, 1), Relation.add_remove)
    odds = 1.0 / (1.0 + math.exp(-1.0))
    high = (1.0 + odds) / 3.0  # half of the other two thirds, and the answer about x
    truth = 0.0
    for answers in itertools.product((high, 1.0 - high), repeat=3):
        truth += max(0.0, math.prod(answers) - math.prod(1.0 - p for p in answers))
    assert max(_composed(pair, 3)(0.0) for pair in apart) < 0.97 * truth
    assert truth <= _composed(mirrored, 3)(0.0)


@pytest.mark.parametrize("make", [DiscreteGaussian, DiscreteLaplace])
def test_discrete_noise_is_shifted_by_whole_numbers(make):
    """A bound of 2.5 moves an integer by 2; under replacement by 4, and not by 5."""
    sharp, blunt = make(2.0, 2.0), make(2.0, 2.5)
    for relation in Relation:
        assert dominating_pairs(sharp, relation) == dominating_pairs(blunt, relation)
    assert dominating_pairs(make(2.0, 0.7), Relation.add_remove) == (NOTHING,)
    assert dominating_pairs(PoissonSampled(make(2.0, 0.7), 0.5), Relation.replace_one) == (NOTHING,)
    (one,) = dominating_pairs(sharp, Relation.add_remove)
    (two,) = dominating_pairs(sharp, Relation.replace_one)
    (four,) = dominating_pairs(make(2.0, 4.0), Relation.add_remove)
    assert one != two == four


@pytest.mark.parametrize("make", [DiscreteGaussian, DiscreteLaplace])
def test_shapes_of_sampled_discrete_noise(make):
    core = make(1.5, 2.0)
    for relation in ONE_RECORD:
        removal, addition = dominating_pairs(PoissonSampled(core, 0.2), relation)
        assert removal.loss[0] >= math.log1p(-0.2) * (1 + 1e-12)
        assert addition.loss == pytest.approx(tuple(-x for x in reversed(removal.loss)), rel=1e-12)
    (antipodal,) = dominating_pairs(PoissonSampled(core, 0.2), Relation.replace_one)
    assert antipodal.loss == pytest.approx(tuple(-x for x in reversed(antipodal.loss)), rel=1e-12, abs=1e-300)
    assert len(dominating_pairs(FixedSizeSampled(core, 5, 1), Relation.add_remove)) == 2
    for relation in (Relation.replace_one, Relation.zero_out):
        (mirrored,) = dominating_pairs(FixedSizeSampled(core, 5, 1), relation)
        assert mirrored.loss == pytest.approx(tuple(-x for x in reversed(mirrored.loss)), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("prob", [0.2, 0.9])
@pytest.mark.parametrize("make", [DiscreteGaussian, DiscreteLaplace])
def test_antipodal_atoms_dominate(make, prob):
    """All integer contributions up to the bound, at epsilons of both signs."""
    bound, scale = 3, 1.7
    (pair,) = dominating_pairs(PoissonSampled(make(scale, float(bound)), prob), Relation.replace_one)
    curve = _composed(pair, 1)
    k = np.arange(-200, 201)
    weight = {
        c: np.exp(-((k - c) ** 2) / (2 * scale**2) if make is DiscreteGaussian else -np.abs(k - c) / scale)
        for c in range(-bound, bound + 1)
    }
    law = {c: (1 - prob) * w0 + prob * w for c, w in weight.items() for w0 in [weight[0]]}
    total = weight[0].sum()
    for epsilon in EPSILONS:
        for a, b in itertools.product(law, repeat=2):
            truth = float(np.maximum(law[a] - math.exp(epsilon) * law[b], 0.0).sum() / total)
            assert truth <= curve(epsilon) + 1e-13
        extreme = float(np.maximum(law[bound] - math.exp(epsilon) * law[-bound], 0.0).sum() / total)
        assert extreme == pytest.approx(curve(epsilon), abs=1e-13)


COIN = DominatingPair((math.log(0.7), math.log(0.3)), (math.log(0.4), math.log(0.6)))


def test_a_given_pair_is_looked_at_from_both_sides():
    for relation in Relation:
        forward, back = dominating_pairs(COIN, relation)
        assert np.exp(forward.log_p) == pytest.approx([0.3, 0.7])
        assert forward.loss == pytest.approx((math.log(0.5), math.log(7 / 4)))
        assert np.exp(back.log_p) == pytest.approx([0.4, 0.6])
        assert back.loss == pytest.approx((math.log(4 / 7), math.log(2)))


@pytest.mark.parametrize(
    ("event", "relations", "advice"),
    [
        (RandomizedResponse(1.0, 3), ["replace_one"], "PureDP"),
        (PureDP(1.0, "add_remove"), ["add_remove"], "under the ledger's relation"),
        (PureDP(1.0, "zero_out"), ["zero_out"], "under the ledger's relation"),
        (PoissonSampled(RandomizedResponse(1.0), 0.5), [], "who answered is known"),
        (FixedSizeSampled(RandomizedResponse(1.0), 4, 2), [], "who answered is known"),
        (PoissonSampled(PureDP(1.0, "add_remove"), 0.5), ["add_remove"], "FixedSizeSampled"),
        (PoissonSampled(PureDP(1.0, "replace_one"), 0.5), [], "the guarantee under add_remove"),
        (FixedSizeSampled(PureDP(1.0, "replace_one"), 4, 2), ["add_remove", "replace_one"], "about replace_one"),
        (FixedSizeSampled(PureDP(1.0, "add_remove"), 4, 2), [], "the guarantee under replace_one"),
        (PoissonSampled(COIN, 0.5), ["add_remove"], "ONE record"),
        (FixedSizeSampled(COIN, 4, 2), ["add_remove", "replace_one"], "its replacement"),
        (Group(PoissonSampled(Gaussian(3.0), 0.5), 2), ["add_remove", "zero_out"], "record the Group unsampled"),
        (Group(PoissonSampled(COIN, 0.5), 2), [], "record the Group unsampled"),
        (Skellam(4.0, 1.0, 1.0), [], "RDPAccountant"),
        (ZCDP(0.1, "add_remove"), [], "ZCDPAccountant"),
        (RDPCurve([2.0], [0.1], "add_remove"), [], "RDPAccountant"),
        (BoundedRange(1.0), [], "PureDP"),
        (DiscreteGaussian(2.0, 1.0, dim=2), [], "one coordinate"),
        (DiscreteGaussian(300.0, 1.0), [], "16384 atoms"),
        (DiscreteLaplace(1e5, 2.0**15), [], "a shift below 16384"),
    ],
)
def test_refusals_say_what_would_do(event, relations, advice):
    for relation in Relation:
        if relation in relations:
            assert dominating_pairs(event, relation)
            continue
        with pytest.raises(UnsupportedEventError, match=re.escape(advice)) as caught:
            dominating_pairs(event, relation)
        assert caught.value.event == event


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("core", [Gaussian(3.0), Laplace(3.0), DiscreteLaplace(3.0, 2.0), DiscreteGaussian(3.0, 2.0)])
def test_probability_zero_and_one(core, relation):
    assert dominating_pairs(PoissonSampled(core, 0.0), relation) == (NOTHING,)
    assert dominating_pairs(PoissonSampled(core, 1.0), relation) == dominating_pairs(core, relation)
    assert dominating_pairs(FixedSizeSampled(core, 5, 0), relation) == (NOTHING,)
    if relation is Relation.replace_one and not isinstance(core, DiscreteGaussian):  # its atoms are cut elsewhere
        (whole,) = dominating_pairs(core, relation)
        (batch,) = dominating_pairs(FixedSizeSampled(core, 5, 5), relation)
        assert whole == batch or batch.loss == pytest.approx(whole.loss, rel=1e-14)
    if relation is not Relation.replace_one and isinstance(core, Gaussian | Laplace):
        for prob, expected in ((0.0, NOTHING), (1.0, Pair(_noise(core), 1.5, Shape.SHIFT))):
            assert dominating_pairs(Group(PoissonSampled(core, prob), 2), relation) == (expected,)


def _noise(core):
    return Noise.GAUSSIAN if isinstance(core, Gaussian) else Noise.LAPLACE


def test_group_is_a_binomial_number_of_shifts():
    pairs = dominating_pairs(Group(PoissonSampled(Laplace(3.0), 0.2), 4), Relation.add_remove)
    assert pairs == tuple(Pair(Noise.LAPLACE, 3.0, shape, 0.2, 4) for shape in (Shape.REMOVE, Shape.ADD))


@given(st.integers(1, 10**18), st.integers(1, 10**18))
def test_ratio_is_rounded_up(a, b):
    part, whole = min(a, b), max(a, b)
    value = Fraction(ratio_up(part, whole))
    assert Fraction(part, whole) <= value <= Fraction(part, whole) * (1 + Fraction(1, 2**52))
    assert value <= 1
