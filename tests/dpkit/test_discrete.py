"""Discrete Gaussian mechanisms: the event is made of the numbers that drew the noise, and costs what it says."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import PrivacyLoss, RDPAccountant, Relation, epsilon
from accountants.events import DiscreteGaussian, DistributedDiscreteGaussian
from dpkit.bounded import Bounded
from dpkit.discrete import DiscreteGaussianMechanism
from dpkit.entropy import seeded
from dpkit.errors import BoundError, ParameterError, UnboundedError
from dpkit.samplers import centred_discrete_gaussian
from tests.oracles.discrete import hockey_stick, integer_vectors, joint

NOISE = st.floats(0.05, 100)
BOUNDS = st.floats(0.1, 1e3)
STEPS = st.integers(-12, -3).map(lambda e: 2.0**e)


@given(NOISE, BOUNDS, STEPS, st.integers(1, 1000), st.integers(0, 1000), st.integers(0, 2**64))
def test_event_is_made_of_the_numbers_that_drew(noise_multiplier, bound, step, min_honest, others, seed):
    query = Bounded(np.array([0.3, -2.0, 5.0]) * bound, bound)
    share = DiscreteGaussianMechanism(noise_multiplier).share(min_honest + others, min_honest).with_step(step)
    event = share.event(query)
    assert event == DistributedDiscreteGaussian(share.local_stddev(query), min_honest, bound / step, 3)
    # together the guaranteed shares have at least the variance that was asked for, and barely more
    together = Fraction(event.local_stddev) ** 2 * event.parties
    asked = (Fraction(noise_multiplier) * Fraction(bound) / Fraction(step)) ** 2
    assert asked <= together <= asked * (1 + Fraction(1, 2**49))
    assert Fraction(event.l2_bound) * Fraction(step) == Fraction(bound)
    drawn = share.draw(query, seeded(seed))
    assert drawn.dtype == np.int64
    assert (drawn == centred_discrete_gaussian(query.value / step, event.local_stddev, seeded(seed))).all()


@given(NOISE, BOUNDS, STEPS, st.integers(0, 2**64))
def test_a_release_is_one_share_of_one_party(noise_multiplier, bound, step, seed):
    query = Bounded({"a": np.array([0.3 * bound]), "b": np.zeros((1, 2))}, bound)
    mechanism = DiscreteGaussianMechanism(noise_multiplier, step=step)
    release = mechanism.release(query, entropy=seeded(seed))
    share = mechanism.share(1, 1)
    assert release.event == share.event(query) == mechanism.event(query)
    assert release.event.parties == 1
    assert release.event.dim == 3
    flat = np.concatenate([release.value["a"], release.value["b"].reshape(-1)])
    assert (flat == share.draw(query, seeded(seed)) * step).all()
    assert (flat / step == np.rint(flat / step)).all()


def test_min_honest_makes_shares_larger_not_smaller():
    query = Bounded(np.zeros(1), 1.0)
    mechanism = DiscreteGaussianMechanism(8.0, step=1.0)
    assert mechanism.share(100, 4).local_stddev(query) == 4.0
    assert mechanism.share(100, 64).local_stddev(query) == 1.0
    assert mechanism.share(100, 1).local_stddev(query) == 8.0


def test_noise_scales_with_the_bound():
    share = DiscreteGaussianMechanism(8.0, step=1.0).share(9, 4)
    assert [share.local_stddev(Bounded(np.zeros(1), bound)) for bound in (0.5, 1.0, 16.0)] == [2.0, 4.0, 64.0]


def test_with_step_changes_the_lattice_only():
    share = DiscreteGaussianMechanism(4.0).share(3, 2)
    moved = share.with_step(0.5)
    assert (moved.noise_multiplier, moved.parties, moved.min_honest, moved.step) == (4.0, 3, 2, 0.5)
    assert share.step is None
    assert DiscreteGaussianMechanism(4.0, step=2.0).share(3, 2).step == 2.0


def test_a_step_is_needed_before_anything_is_recorded():
    query = Bounded(np.zeros(1), 1.0)
    share = DiscreteGaussianMechanism(4.0).share(3, 2)
    for call in (share.draw, share.event, share.local_stddev, DiscreteGaussianMechanism(4.0).release):
        with pytest.raises(ParameterError, match="step must be given"):
            call(query)


@pytest.mark.parametrize(
    "step", [0.0, -1.0, 0.3, 3.0, float("nan"), float("inf"), True, "1", 5e-324, pytest.param(10**400, id="huge")]
)
def test_bad_steps(step):
    with pytest.raises(ParameterError, match="step must be"):
        DiscreteGaussianMechanism(1.0, step=step)
    with pytest.raises(ParameterError, match="step must be"):
        DiscreteGaussianMechanism(1.0).share(2, 1).with_step(step)


@pytest.mark.parametrize(
    ("parties", "min_honest"), [(0, 0), (2, 3), (2, 0), (2.0, 1), (True, True), (2, None), (-1, -1), (1, 10**30)]
)
def test_bad_counts(parties, min_honest):
    with pytest.raises(ParameterError, match=r"(parties|min_honest) must be"):
        DiscreteGaussianMechanism(1.0).share(parties, min_honest)


def test_a_bound_of_subnormally_few_steps_is_recorded_rounded_up():
    bound = 2.0**-530 * (1 + 2.0**-52)
    event = DiscreteGaussianMechanism(2.0**1023, step=2.0**500).event(Bounded(np.zeros(1), bound))
    assert Fraction(event.l2_bound) >= Fraction(bound) / 2**500


def test_noise_out_of_range_is_refused():
    query = Bounded(np.zeros(1), 1.0)
    for step in (2.0**20, 2.0**-60):
        with pytest.raises(ParameterError, match="lattice steps a share"):
            DiscreteGaussianMechanism(1.0, step=step).share(1, 1).draw(query)


def test_shares_refuse_what_mechanisms_refuse():
    share = DiscreteGaussianMechanism(4.0, step=1.0).share(3, 2)
    with pytest.raises(UnboundedError):
        share.draw(np.zeros(2))
    with pytest.raises(BoundError):
        share.draw(Bounded(np.zeros(2), 1.0, "linf"))
    with pytest.raises(ParameterError, match="finite"):
        share.draw(Bounded(np.array([np.nan]), 1.0))


@given(NOISE, st.integers(1, 9), st.integers(-8, 0).map(lambda e: 2.0**e), st.integers(1, 4))
def test_integer_queries_have_integer_centres_and_say_so(noise_multiplier, bound, step, dim):
    mechanism = DiscreteGaussianMechanism(noise_multiplier, step=step)
    query = Bounded(np.arange(dim, dtype=np.uint8), bound)
    event = mechanism.event(query)
    stddev = mechanism.noise(query).law.stddev
    assert event == DiscreteGaussian(stddev, bound / step, dim)
    assert Fraction(stddev) >= Fraction(noise_multiplier) * bound / Fraction(step) > Fraction(stddev) * (1 - 2.0**-50)
    assert mechanism.release(query, entropy=seeded(1)).event == event
    # the same numbers, but typed as floats: some neighbour may lie between the lattice points
    assert isinstance(mechanism.event(Bounded(np.arange(dim, dtype=np.float32), bound)), DistributedDiscreteGaussian)
    assert isinstance(mechanism.share(3, 2).event(query), DistributedDiscreteGaussian)


EPSILONS = (0.0, 0.3, 1.0, 2.5)


def _rows(mechanism, values, bound, dim):
    """The joint pmf of a release around each integer vector, on one window of outputs."""
    reach = 12 * math.ceil(mechanism.noise_multiplier * bound) + 8
    outputs = np.arange(-reach, reach + 1)[:, np.newaxis] * mechanism.step
    for value in values:
        query = Bounded(np.array(value, dtype=np.int64), float(bound))
        yield joint(mechanism.pmf(np.repeat(outputs, dim, axis=1), query).T)


@pytest.mark.parametrize("noise_multiplier", [0.4, 0.8, 2.0])
@pytest.mark.parametrize("bound", [1, 2])
def test_exact_hockey_stick_on_the_line(noise_multiplier, bound):
    """The certified delta of the event, from both sides, holds for the worst integer neighbour, in both directions."""
    mechanism = DiscreteGaussianMechanism(noise_multiplier, step=1.0)
    event = mechanism.event(Bounded(np.zeros(1, dtype=int), float(bound)))
    here, *others = _rows(mechanism, [(0,), *((shift,) for shift in range(-bound, bound + 1) if shift)], bound, 1)
    loss = PrivacyLoss(event, Relation.add_remove, tolerance=1e-6)
    for eps in EPSILONS:
        truth = max(max(hockey_stick(here, other, eps), hockey_stick(other, here, eps)) for other in others)
        low, high = loss.delta_bounds(eps)
        assert low - 1e-13 <= truth <= high + 1e-13
        assert high - low <= 1e-4 * high + 1e-13


@pytest.mark.parametrize(("noise_multiplier", "bound"), [(0.7, 1), (0.6, 2.3), (1.5, 3)])
def test_exact_hockey_stick_in_the_plane(noise_multiplier, bound):
    """Every integer neighbour within the l2 bound, enumerated in two dimensions, against the event's bounds."""
    mechanism = DiscreteGaussianMechanism(noise_multiplier, step=1.0)
    event = mechanism.event(Bounded(np.zeros(2, dtype=int), bound))
    shifts = list(integer_vectors(2, "l2", bound))
    assert max(math.hypot(*shift) for shift in shifts) <= event.l2_bound <= bound
    here, *others = _rows(mechanism, [(0, 0), *shifts], bound, 2)
    for eps in EPSILONS:
        claimed = RDPAccountant().delta(event, epsilon=eps, relation="add_remove")
        for other in others:
            assert hockey_stick(here, other, eps) <= claimed
            assert hockey_stick(other, here, eps) <= claimed


@pytest.mark.parametrize("centers", [(0.0, 1.0), (0.5, -0.5), (0.31, 1.31), (-0.25, 0.5)])
@pytest.mark.parametrize("step", [1.0, 2.0**-6])
def test_exact_hockey_stick_around_real_centres(centers, step):
    """Real neighbours, one apart or less, against the event of real centres: from two steps of noise on."""
    mechanism = DiscreteGaussianMechanism(2.0, step=step)
    event = mechanism.event(Bounded(np.zeros(1), 1.0))
    outputs = np.arange(-90.0, 90.0, step)
    p, q = (mechanism.pmf(outputs, Bounded(np.array(center), 1.0)) for center in centers)
    loss = PrivacyLoss(event, Relation.add_remove, tolerance=1e-6)
    for eps in EPSILONS:
        claimed = loss.delta(eps)
        assert max(hockey_stick(p, q, eps), hockey_stick(q, p, eps)) <= claimed
        if abs(centers[0] - centers[1]) == 1.0 and step < 1.0:  # tau^2 < 2 of the variance 128^2 pays for real centres
            assert claimed < 1.01 * hockey_stick(p, q, eps)


# discrete Gaussian, one integer step of sensitivity: sigma^2 -> delta(0.5), delta(1) as two implementations have it
PUBLISHED = {
    0.25: (0.7173426459757592, 0.6032048691666064),
    1.0: (0.203982813763439, 0.1413513394056219),
    4.0: (0.05400722369415442, 0.007248776845952578),
    10.0: (0.009963280630586502, 1.15132525363862e-4),
    100.0: (6.934370347517868e-9, 1.279240856716094e-25),
}


@pytest.mark.parametrize("square", PUBLISHED)
def test_published_deltas(square):
    mechanism = DiscreteGaussianMechanism(math.sqrt(square), step=1.0)
    outputs = np.arange(-600, 601)
    p, q = (mechanism.pmf(outputs, Bounded(np.array(center), 1.0)) for center in (1, 0))
    for eps, delta in zip((0.5, 1.0), PUBLISHED[square], strict=True):
        assert hockey_stick(p, q, eps) == pytest.approx(delta, rel=1e-9)


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("dtype", [int, float])
@pytest.mark.parametrize("delta", [1e-3, 1e-9])
def test_for_epsilon_meets_the_target_and_barely_so(relation, dtype, delta):
    query, step = Bounded(np.zeros(3, dtype=dtype), 1.5), 2.0**-6
    for target in (0.2, 3.0):
        mechanism = DiscreteGaussianMechanism.for_epsilon(target, delta, relation, query=query, step=step)
        assert epsilon(mechanism.event(query), delta=delta, relation=relation) <= target
        less = DiscreteGaussianMechanism(mechanism.noise_multiplier * (1 - 2e-6), step)
        assert epsilon(less.event(query), delta=delta, relation=relation) > target


def test_for_epsilon_reads_public_facts_only():
    args = {"step": 2.0**-6}
    one = DiscreteGaussianMechanism.for_epsilon(1.0, 1e-6, "add_remove", query=Bounded(np.zeros(3), 1.0), **args)
    other = DiscreteGaussianMechanism.for_epsilon(1.0, 1e-6, "add_remove", query=Bounded(np.full(3, 1e9), 1.0), **args)
    assert one == other
    with pytest.raises(UnboundedError):
        DiscreteGaussianMechanism.for_epsilon(1.0, 1e-6, "add_remove", query=np.zeros(3), **args)
    with pytest.raises(ParameterError, match="step must be"):
        DiscreteGaussianMechanism.for_epsilon(1.0, 1e-6, "add_remove", query=Bounded(np.zeros(3), 1.0), step=0.3)
