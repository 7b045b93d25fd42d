"""The laws that the samplers draw from, enumerated, against the events that they are recorded as.

That the samplers have these laws exactly is shown elsewhere, tape by tape. Here the hockey-stick divergence of the law
around one data set and around its neighbour is summed with 40 digits, and compared with what the accountants say of the
event: in both directions, for groups of records, and after post-processing.
"""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import (
    DiscreteGaussian,
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    Gaussian,
    Group,
    Laplace,
    PLDAccountant,
    Relation,
    Skellam,
)
from dpkit.samplers import covering_stddev, lattice_step
from tests.oracles.accounting import discrete_gaussian_pmf, gaussian_delta, hockey_stick, skellam_pmf, sum_pmf
from tests.oracles.noise import laplace_cdf

EPSILONS = (0.0, 0.1, 0.5, 1.0, 2.5)
CUT = mp.mpf("1e-30")  # more than what is left out of the enumerations


def _gaussian(center, stddev):
    return discrete_gaussian_pmf(stddev, mp.mpf(center))


def _laplace(center, scale):
    r = mp.exp(-1 / mp.mpf(scale))
    reach = int(90 * scale) + 2
    return {center + k: (1 - r) / (1 + r) * r ** abs(k) for k in range(-reach, reach + 1)}


def _skellam(center, variance):
    masses = skellam_pmf(variance, int(20 * math.sqrt(variance)) + 40)
    return {center + sign * k: masses[k] for k in range(len(masses)) for sign in ((1, -1) if k else (1,))}


def _pairs(one, other):
    return [(one.get(k, mp.mpf(0)), other.get(k, mp.mpf(0))) for k in {*one, *other}]


#: name -> (law around an integer, noise, event of a shift, whether the event is the law's own and hence tight)
LAWS = {
    "discrete gaussian, little": (_gaussian, 0.7, lambda s, d: DiscreteGaussian(s, d), True),
    "discrete gaussian": (_gaussian, 2.0, lambda s, d: DiscreteGaussian(s, d), True),
    "discrete gaussian, shared out by two": (
        lambda c, s: sum_pmf(s, [mp.mpf(c), mp.mpf(0)]),
        1.5,
        lambda s, d: DistributedDiscreteGaussian(s, 2, d, 1),
        False,
    ),
    "discrete laplace": (_laplace, 2.0, lambda s, d: DiscreteLaplace(s, d), True),
    "discrete laplace, little": (_laplace, 0.4, lambda s, d: DiscreteLaplace(s, d), True),
    "skellam": (_skellam, 9.0, lambda v, d: Skellam(v, d, d), False),
}
EACH = pytest.mark.parametrize(("law", "noise", "event", "tight"), LAWS.values(), ids=LAWS)


def _claimed(event, epsilon):
    return PLDAccountant().delta(event, epsilon=epsilon, relation=Relation.add_remove)


@EACH
@pytest.mark.parametrize("shift", [1, 3])
def test_enumerated_laws_cost_no_more_than_their_event(law, noise, event, tight, shift):
    """In both directions, and no less where the event is the law's own: to twelve digits."""
    with mp.workdps(40):
        with_it, without = law(shift, noise), law(0, noise)
        for epsilon in EPSILONS:
            truth = max(hockey_stick(_pairs(*pair), epsilon) for pair in ((with_it, without), (without, with_it)))
            claimed = _claimed(event(noise, float(shift)), epsilon)
            assert truth <= claimed + CUT
            if tight:
                assert claimed <= truth * (1 + mp.mpf("1e-12")) + mp.mpf("1e-13")


@EACH
@pytest.mark.parametrize("shift", [1, 3])
def test_both_directions_of_symmetric_noise_cost_the_same(law, noise, event, tight, shift):
    with mp.workdps(40):
        with_it, without = law(shift, noise), law(0, noise)
        for epsilon in EPSILONS:
            there = hockey_stick(_pairs(with_it, without), epsilon)
            back = hockey_stick(_pairs(without, with_it), epsilon)
            assert abs(there - back) <= CUT


@EACH
def test_groups_cost_no_more_than_their_event(law, noise, event, tight):
    """k records move the centre by k: never above Group(event, k), nor above the bound that any mechanism has."""
    with mp.workdps(40):
        base, one = law(0, noise), law(1, noise)
        for size in (2, 3, 5):
            moved = law(size, noise)
            for epsilon in (0.5, 1.0):
                truth = hockey_stick(_pairs(moved, base), size * epsilon)
                assert truth <= _claimed(Group(event(noise, 1.0), size), size * epsilon) + CUT
                each = hockey_stick(_pairs(one, base), epsilon)
                growth = mp.expm1(size * mp.mpf(epsilon)) / mp.expm1(mp.mpf(epsilon))
                assert truth <= each * growth + CUT


def test_a_bound_in_two_dimensions_is_the_worst_shift_of_its_length():
    """A shift of (2, 1) has the length of the l2 bound; the event is of the bound, whatever the shift."""
    with mp.workdps(40):
        rows = [(_gaussian(2, 2.0), _gaussian(0, 2.0)), (_gaussian(1, 2.0), _gaussian(0, 2.0))]
        first, second = (_pairs(*row) for row in rows)
        first, second = ([pair for pair in pairs if max(pair) > CUT**2] for pairs in (first, second))
        joint = [(p * a, q * b) for p, q in first for a, b in second]
        for epsilon in (0.5, 2.0):
            assert hockey_stick(joint, epsilon) <= _claimed(DiscreteGaussian(2.0, math.sqrt(5.0), 2), epsilon) + CUT


@pytest.mark.parametrize(("shift", "center"), [(1, 0.0), (1, 0.5), (2, 0.3), (0.5, 0.25), (1.5, -0.5)])
def test_real_centers_cost_no_more_than_their_event(shift, center):
    """The one-party mechanism, whose centres are real: the event of integer centres would not hold (soundness note)."""
    with mp.workdps(40):
        with_it, without = _gaussian(mp.mpf(center) + mp.mpf(shift), 1.6), _gaussian(center, 1.6)
        for epsilon in EPSILONS:
            truth = max(hockey_stick(_pairs(*pair), epsilon) for pair in ((with_it, without), (without, with_it)))
            assert truth <= _claimed(DistributedDiscreteGaussian(1.6, 1, float(shift), 1), epsilon) + CUT


def test_the_event_of_integer_centers_would_not_hold_for_real_ones():
    """The baseline that must fail: a half more at little noise costs more than DiscreteGaussian says of it."""
    with mp.workdps(40):
        with_it, without = _gaussian(mp.mpf("0.5"), 0.4), _gaussian(0, 0.4)
        over = [
            epsilon
            for epsilon in (0.5, 1.0, 1.5)
            if hockey_stick(_pairs(with_it, without), epsilon) > _claimed(DiscreteGaussian(0.4, 0.5), epsilon)
        ]
        assert over


@EACH
@given(data=st.data())
def test_post_processing_costs_no_more(law, noise, event, tight, data):
    """Any function of a release has at most the release's divergence: a random map to four values, exactly summed."""
    with mp.workdps(40):
        pairs = _pairs(law(1, noise), law(0, noise))
        names = data.draw(st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs)))
        merged = [[mp.mpf(0), mp.mpf(0)] for _ in range(4)]
        for name, pair in zip(names, pairs, strict=True):
            merged[name] = [merged[name][side] + pair[side] for side in (0, 1)]
        for epsilon in (0.0, 0.5):
            assert hockey_stick(merged, epsilon) <= hockey_stick(pairs, epsilon) + CUT**2


def _float_stick(p, q, epsilon):
    """The hockey-stick of masses in float64, which are right to 1e-13 of themselves each."""
    return math.fsum(np.maximum(p - math.exp(epsilon) * q, 0.0))


@pytest.mark.parametrize("noise_multiplier", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("center", [0.0, 1 / 3, 0.49999])
def test_lattice_gaussian_costs_its_multiplier_and_hardly_less(noise_multiplier, center):
    """The law that GaussianMechanism draws around 0 and around the bound, at the full lattice: Gaussian(z) as typed.

    It costs less by the 7.6e-6 that the noise is larger by, and by no more than twice that of the curve's slope.
    """
    drawn = covering_stddev(noise_multiplier)
    step = lattice_step(drawn)
    s = drawn / step
    cells = np.arange(int(-13 * s), int(1 / step + 13 * s))
    weights = [np.exp(-((cells - at) ** 2) / (2 * s * s)) for at in (center, center + 1 / step)]
    one, other = (weight / math.fsum(weight) for weight in weights)
    for epsilon in (0.0, 0.5, 2.0):
        truth = max(_float_stick(one, other, epsilon), _float_stick(other, one, epsilon))
        claimed = _claimed(Gaussian(noise_multiplier), epsilon)
        less = float(gaussian_delta(1 / (noise_multiplier * (1 + 1.6e-5)), epsilon))
        assert less <= truth <= claimed


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("center", [0.0, 1 / 3])
def test_lattice_laplace_costs_its_multiplier_and_hardly_less(scale, center):
    """Rounding the release to the lattice can only cost less; and it is felt in three cells at most.

    A cell of mass 1/2b at most and losses within 1/b of each other changes the divergence by no more than their
    product. Only the cells of the two centres and of the threshold hold different losses.
    """
    step = lattice_step(scale)
    b, reach = scale / step, int(30 * scale / step)
    centers = (center, center + 1 / step)
    one, other = (np.diff(laplace_cdf(at, b, -reach, reach + int(1 / step)), prepend=0.0) for at in centers)
    for epsilon in (0.0, 0.2, 1.5):
        truth = max(_float_stick(one, other, epsilon), _float_stick(other, one, epsilon))
        claimed = _claimed(Laplace(scale), epsilon)
        assert claimed - 1.5 / b**2 <= truth <= claimed + 1e-12
