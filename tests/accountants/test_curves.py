"""Rényi curves of events without a pair, and of all events against enumeration, quadrature and published values."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import Curve, Gaussian, Laplace, PoissonSampled, Relation, UnsupportedEventError, rdp_curve
from accountants.curves import pair_curve
from accountants.events import (
    ZCDP,
    BoundedRange,
    DiscreteGaussian,
    DiscreteLaplace,
    DominatingPair,
    FixedSizeSampled,
    PureDP,
    RandomizedResponse,
    RDPCurve,
    Skellam,
)
from tests.oracles.accounting import (
    atom_log_moment,
    discrete_gaussian_pmf,
    discrete_laplace_pmf,
    sampled_atoms,
    skellam_pmf,
)

ADD, ONE, ZERO = Relation.add_remove, Relation.replace_one, Relation.zero_out


def _at(event, order, relation=ADD):
    return rdp_curve(event, relation).rdp(order)


@pytest.mark.parametrize("order", [1.0 + 1e-6, 1.01, 1.5, 2.0, 7.5, 100.0, 5000.0])
@pytest.mark.parametrize(
    ("scale", "shift"), [(0.1, 1), (0.5, 3), (1.0, 1), (3.0, 4), (100.0, 3), (100.0, 400), (1e6, 2), (1e3, 2000)]
)
def test_discrete_laplace_is_the_sum(scale, shift, order):
    with mp.workdps(50):
        p, q = (discrete_laplace_pmf(scale, centre, 0, shift) for centre in (shift, 0))
        truth = atom_log_moment([(p[k], q[k]) for k in p], order) / (mp.mpf(order) - 1)
        value = _at(DiscreteLaplace(scale, float(shift)), order)
        # 32 EPS (1 + z s) / z where the steps are so wide that the sum is not formed without cancellation
        assert 0 <= value - truth <= 1e-12 * truth + 64 * 2.0**-52 * (1 / (order - 1) + shift / scale)
        if shift < 500:
            assert value <= pair_curve(DiscreteLaplace(scale, float(shift)), ADD).rdp(order) * (1 + 1e-9)


@pytest.mark.parametrize("order", [1.3, 2.0, 3.5, 12.0])
@pytest.mark.parametrize(("stddev", "bound"), [(0.6, 1.0), (2.0, 3.0)])
def test_discrete_gaussian_on_the_line(stddev, bound, order):
    """Exact at integer orders; between them the curve of the real line lies above."""
    with mp.workdps(30):
        p, q = (discrete_gaussian_pmf(stddev, centre) for centre in (bound, 0))
        pairs = [(p[k], q[k]) for k in p if k in q]
        truth = float(atom_log_moment(pairs, order) / (mp.mpf(order) - 1))
    value = _at(DiscreteGaussian(stddev, bound), order)
    if stddev > 1.0:  # the oracle's 13 deviations hold the moment
        assert truth * (1 - 1e-12) <= value
    if order == round(order) and order * bound < 12 * stddev:
        assert value == pytest.approx(truth, rel=1e-12)
    assert _at(DiscreteGaussian(stddev, bound + 0.5), order) == value
    assert _at(DiscreteGaussian(stddev, bound, dim=2), order, ONE) == pytest.approx(4.0 * value, rel=1e-14)
    assert _at(DiscreteGaussian(stddev, 0.9, dim=2), order) == 0.0


@pytest.mark.parametrize(
    ("variance", "bound", "order"), [(0.3, 1, 2), (1.0, 1, 5), (3.0, 2, 3), (10.0, 5, 4), (40.0, 1, 16), (40.0, 5, 8)]
)
def test_skellam_is_above_the_sum_and_near_it(variance, bound, order):
    with mp.workdps(30):
        noise = skellam_pmf(variance, order * bound + 30)
        pairs = [(noise[abs(k - bound)], noise[abs(k)]) for k in range(-order * bound - 25, order * bound + 25)]
        truth = float(atom_log_moment(pairs, order) / (order - 1))
    value = _at(Skellam(variance, float(bound), float(bound)), float(order))
    assert truth <= value
    if variance >= 10.0:
        assert value <= 1.5 * truth
    assert _at(Skellam(variance, 2.0 * bound, 2.0 * bound), float(order)) == pytest.approx(
        _at(Skellam(variance, float(bound), float(bound)), float(order), ONE), rel=1e-13
    )


def test_skellam_formula_word_by_word():
    mu, one, two, order = 40.0, 6.0, 3.0, 5.0
    first = ((2 * order - 1) * two**2 + 6 * one) / (4 * mu**2)
    expected = order * two**2 / (2 * mu) + min(first, 3 * one / (2 * mu))
    assert _at(Skellam(mu, one, two), order) == pytest.approx(expected, rel=1e-13)
    assert _at(Skellam(0.4, one, two), order) == pytest.approx(order * two**2 / 0.8 + 3 * one / 0.8, rel=1e-13), (
        "the other branch"
    )


def test_between_integers_the_chord_and_below_two_the_value_at_two():
    curve = rdp_curve(Skellam(40.0, 6.0, 3.0), ADD)
    at = {k: (k - 1) * curve.rdp(float(k)) for k in (2, 3, 4)}
    assert curve.rdp(2.25) == pytest.approx((0.75 * at[2] + 0.25 * at[3]) / 1.25, rel=1e-13)
    assert curve.rdp(3.5) == pytest.approx((at[3] + at[4]) / 2 / 2.5, rel=1e-13)
    assert curve.rdp(1.2) == pytest.approx(at[2], rel=1e-13)


RANGES = [
    (e, order)
    for e in (1e-9, 1e-4, 0.1, 1.0, 5.0, 40.0, 800.0)
    for order in (1 + 1e-9, 1.001, 1.5, 2.0, 10.0, 1e3, 1e8)
]


@pytest.mark.parametrize(("epsilon", "order"), RANGES)
def test_bounded_range_is_the_largest_two_point_law(epsilon, order):
    value = _at(BoundedRange(epsilon), order)
    assert value <= min(epsilon, order * epsilon**2 / 8.0) * (1 + 1e-14)
    with mp.workdps(60):
        e, a = mp.mpf(epsilon), mp.mpf(order)

        def divergence(t):
            share = (mp.exp(-t) - mp.exp(-e)) / (1 - mp.exp(-e))
            return mp.log(share * mp.exp(a * t) + (1 - share) * mp.exp(a * (t - e))) / (a - 1)

        best = e + mp.log((a - 1) * (1 - mp.exp(-a * e)) / (a * (1 - mp.exp(-(a - 1) * e))))
        assert all(divergence(e * i / 40) <= value for i in range(41))
        assert divergence(best) <= value <= divergence(best) * (1 + mp.mpf("2e-4"))
        if epsilon >= 0.1:
            assert value <= divergence(best) + 128 * 2.0**-52 * (1 + e)


def test_bounded_range_published_value():
    """dp_accounting's test: the limit at order 1 of an exponential mechanism with epsilon 1."""
    assert _at(BoundedRange(1.0), 1.0 + 1e-8) == pytest.approx(0.123301561, abs=1e-8)
    assert _at(BoundedRange(0.0), 2.0) == 0.0
    assert rdp_curve(BoundedRange(0.7), ONE).pure_epsilon == 0.7


@pytest.mark.parametrize(
    ("order", "value"), [(1.5, 2.6946320226546314), (5.0, 3.11316970070507), (50.0, 3.1854244842182466)]
)
def test_randomized_response_published_values(order, value):
    """dp_accounting's tests: ten categories, a uniform answer with probability .3."""
    event = RandomizedResponse(math.log((0.7 + 0.03) / 0.03), 10)
    assert _at(event, order, ONE) == pytest.approx(value, rel=1e-9)
    assert rdp_curve(event, ONE).pure_epsilon == pytest.approx(event.epsilon, rel=1e-14)


@given(epsilon=st.floats(1e-9, 50.0), order=st.floats(1.0001, 1e4))
def test_pure_is_the_two_point_law_and_never_above_epsilon(epsilon, order):
    value = _at(PureDP(epsilon, "zero_out"), order, ZERO)
    with mp.workdps(60):
        odds, a = mp.exp(mp.mpf(epsilon)), mp.mpf(order)
        p, q = odds / (1 + odds), 1 / (1 + odds)
        truth = atom_log_moment([(p, q), (q, p)], a) / (a - 1)
        assert truth <= value <= truth * (1 + mp.mpf("1e-10"))
    assert value <= epsilon * (1 + 1e-13)


def test_stated_curves():
    assert _at(ZCDP(0.25, "replace_one"), 6.0, ONE) == pytest.approx(1.5, rel=1e-14)
    assert _at(ZCDP(0.0, "replace_one"), 6.0, ONE) == 0.0
    curve = rdp_curve(RDPCurve([2, 4, 8, 9], [0.1, 0.3, 0.35, math.inf], "add_remove"), ADD)
    assert [curve.rdp(order) for order in (1.1, 2.0, 4.0, 8.0)] == [0.1, 0.1, 0.3, 0.35]
    assert curve.rdp(3.0) == pytest.approx((0.5 * 0.1 + 0.5 * 0.9) / 2.0, rel=1e-13)
    assert curve.rdp(7.0) == pytest.approx((0.25 * 0.9 + 0.75 * 2.45) / 6.0, rel=1e-13)
    assert [curve.rdp(order) for order in (8.5, 9.0, 9.1)] == [math.inf] * 3
    assert _at(RDPCurve([2, 3], [1.0, 1.0], "add_remove"), 2.5) == 1.0, "the next order's value bounds it too"


@pytest.mark.parametrize(
    "event", [ZCDP(0.1, "add_remove"), RDPCurve([2.0], [0.1], "add_remove"), PureDP(1.0, "add_remove")]
)
def test_stated_curves_hold_for_their_relation_only(event):
    assert _at(event, 2.0) > 0.0
    for relation in (ONE, ZERO):
        with pytest.raises(UnsupportedEventError, match="relation must be add_remove"):
            rdp_curve(event, relation)


def _skellam_by_sampling(variance, bound, prob, order, shape):
    noise = skellam_pmf(variance, order * bound + 40)
    reach = order * bound + 35
    pairs = [(noise[abs(k - bound)], noise[abs(k)]) for k in range(-reach, reach + 1)]
    return float(atom_log_moment(sampled_atoms(shape, pairs, prob), order) / (order - 1))


@pytest.mark.parametrize("shape", ["remove", "add"])
@pytest.mark.parametrize(("prob", "order"), [(0.01, 2), (0.2, 3), (0.5, 8), (0.9, 4)])
def test_sampled_skellam_is_above_both_directions(prob, order, shape):
    variance, bound = 9.0, 2
    with mp.workdps(30):
        truth = _skellam_by_sampling(variance, bound, prob, order, shape)
    for relation in (ADD, ZERO):
        value = _at(PoissonSampled(Skellam(variance, 2.0, 2.0), prob), float(order), relation)
        assert truth <= value <= _at(Skellam(variance, 2.0, 2.0), float(order)) * (1 + 1e-12)
        if shape == "remove" and order < 8:  # where the unsampled formula is near the truth itself
            assert value <= 1.3 * truth


@pytest.mark.parametrize(("prob", "order"), [(1e-5, 2), (0.01, 2), (0.2, 3), (0.5, 8), (0.9, 30)])
def test_sampled_discrete_gaussian_in_more_dimensions_is_that_of_the_line(prob, order):
    """At integer orders both are the binomial sum of e^{k(k-1)/2s^2}; the line's is summed over its atoms."""
    line = _at(PoissonSampled(DiscreteGaussian(4.0, 1.0), prob), float(order))
    many = _at(PoissonSampled(DiscreteGaussian(4.0, 1.0, dim=7), prob), float(order))
    assert many == pytest.approx(line, rel=1e-9)
    assert many == pytest.approx(_at(PoissonSampled(Gaussian(4.0), prob), float(order)), rel=1e-9)


@pytest.mark.parametrize("order", [2, 3, 7, 25])
@pytest.mark.parametrize("batch", [1, 10, 60, 100])
def test_fixed_size_batches_in_more_dimensions(batch, order):
    """By removal as on the line; replaced by the theorem of Wang et al., above the line's one curve."""
    line, many = (FixedSizeSampled(DiscreteGaussian(5.0, 1.0, dim=d), 100, batch) for d in (1, 3))
    assert _at(many, float(order)) == pytest.approx(_at(line, float(order)), rel=1e-9)
    whole = _at(DiscreteGaussian(5.0, 1.0, dim=3), float(order), ONE)
    for relation in (ONE, ZERO):
        assert _at(line, float(order), ONE) * (1 - 1e-9) <= _at(many, float(order), relation) <= whole * (1 + 1e-12)
    assert _at(many, 1e9) <= _at(DiscreteGaussian(5.0, 1.0, dim=3), 1e9, ONE) * (1 + 1e-12)


def test_theorem_of_fixed_size_word_by_word():
    """Order 3 by hand: q^2 3 min(4(e^{e2}-1), 2e^{e2}) + 2 q^3 e^{2 e3}, for both branches of the minimum."""
    for stddev in (4.0, 1.0):
        unit = (2.0 / stddev) ** 2
        two, three, q = 2 * unit / 2, 3 * unit / 2, 0.1
        first = 3 * q**2 * min(4 * math.expm1(two), 2 * math.exp(two))
        expected = math.log1p(first + 2 * q**3 * math.exp(2 * three)) / 2
        event = FixedSizeSampled(DiscreteGaussian(stddev, 1.0, dim=2), 10, 1)
        assert _at(event, 3.0, ONE) == pytest.approx(min(expected, three), rel=1e-12)


def test_sampled_lattice_noise_under_replacement_is_refused():
    for core in (Skellam(40.0, 2.0, 2.0), DiscreteGaussian(4.0, 1.0, dim=2)):
        with pytest.raises(UnsupportedEventError, match="use FixedSizeSampled, or record it unsampled"):
            rdp_curve(PoissonSampled(core, 0.1), ONE)
        assert _at(PoissonSampled(core, 1.0), 3.0, ONE) == _at(core, 3.0, ONE)
        assert _at(PoissonSampled(core, 0.0), 3.0) == _at(FixedSizeSampled(core, 9, 0), 3.0, ONE) == 0.0
        assert _at(FixedSizeSampled(core, 9, 9), 3.0) == pytest.approx(_at(core, 3.0, ONE), rel=1e-12)


CORES = [
    Gaussian(1.3),
    Laplace(0.8),
    DiscreteGaussian(2.0, 3.0),
    DiscreteGaussian(2.0, 3.0, dim=4),
    DiscreteLaplace(1.5, 2.0),
    Skellam(9.0, 2.0, 2.0),
]
SAMPLERS = {
    "none": lambda core: core,
    "poisson": lambda core: PoissonSampled(core, 0.15),
    "fixed": lambda core: FixedSizeSampled(core, 20, 3),
}


def _curve(core, sampler, relation):
    try:
        return rdp_curve(SAMPLERS[sampler](core), relation)
    except UnsupportedEventError:
        return None


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("core", CORES, ids=repr)
@given(low=st.floats(1.01, 20.0), step=st.floats(0.01, 10.0))
def test_curves_grow_and_are_convex(core, sampler, relation, low, step):
    """RDP does not fall in the order; (order - 1) RDP is convex, but where the unsampled curve stands in below 2."""
    curve = _curve(core, sampler, relation)
    if curve is None:
        return
    orders = (low, low + step, low + 2.0 * step)
    values = [curve.rdp(order) for order in orders]
    assert values[0] * (1 - 1e-11) <= values[1]
    assert values[1] * (1 - 1e-11) <= values[2]
    k = [(order - 1.0) * value for order, value in zip(orders, values, strict=True)]
    if low >= 2.0 and values[2] < curve.pure_epsilon * (
        1 - 1e-9
    ):  # the cap at the pure epsilon is a straight line from 1 on
        assert k[1] <= (k[0] + k[2]) / 2.0 * (1 + 1e-10) + 1e-15


@pytest.mark.parametrize("core", CORES, ids=repr)
def test_replacing_costs_no_less_and_sampling_no_more(core):
    for order in (1.2, 2.0, 5.5, 40.0):
        plain = {relation: _at(core, order, relation) for relation in Relation}
        for sampler in SAMPLERS:
            curves = {relation: _curve(core, sampler, relation) for relation in Relation}
            least = curves[ADD].rdp(order)
            for relation, curve in curves.items():
                if curve is None:
                    continue
                assert curve.rdp(order) >= least * (1 - 1e-11)
                whole = plain[ONE if sampler == "fixed" else relation]
                assert curve.rdp(order) <= whole * (1 + 1e-11)


def test_failure_of_a_pair_is_the_larger_of_its_directions():
    laws = DominatingPair((math.log(0.9), math.log(0.1), -math.inf), (math.log(0.7), -math.inf, math.log(0.3)))
    curve = rdp_curve(laws, ADD)
    assert curve.failure == pytest.approx(0.3, rel=1e-12)
    assert rdp_curve(Gaussian(1.0), ADD).failure == 0.0


def test_an_event_of_ones_own_has_its_own_curve():
    assert Curve(lambda order: order).failure == 0.0
    orders = np.linspace(1.5, 9.0, 4)
    assert [rdp_curve(Gaussian(1.0), ADD).rdp(order) for order in orders] == pytest.approx(orders / 2.0, rel=1e-14)
