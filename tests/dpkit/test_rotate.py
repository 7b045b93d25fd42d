"""The public rotation: orthonormal, invertible, honest about its rounding, and good for small ranges."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import secagg
from accountants import Ledger
from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.discrete import DiscreteGaussianMechanism
from dpkit.entropy import seeded
from dpkit.errors import ParameterError
from dpkit.federated import noise_shares, private_mean, share_step
from dpkit.rotate import Rotation

vectors = st.integers(1, 70).flatmap(
    lambda size: hnp.arrays(np.float64, size, elements=st.floats(-1e6, 1e6, allow_subnormal=False))
)


def _square(vector):
    return sum(Fraction(float(number)) ** 2 for number in vector)


@given(vector=vectors, seed=st.integers(0, 2**64))
def test_rotation_keeps_the_norm(vector, seed):
    rotation = Rotation.draw(vector.size, entropy=seeded(seed))
    before, after = _square(vector), _square(rotation.forward(vector))
    # what underflows is beyond norm_slack, and below the square of a few subnormals
    assert after <= before * (1 + Fraction(rotation.norm_slack)) ** 2 + Fraction(1e-320)
    assert after >= before * (1 - Fraction(rotation.norm_slack)) ** 2 - Fraction(1e-320)


@given(vector=vectors, seed=st.integers(0, 2**64))
def test_inverse_undoes_forward(vector, seed):
    rotation = Rotation.draw(vector.size, entropy=seeded(seed))
    back = rotation.inverse(rotation.forward(vector))
    assert back.shape == vector.shape
    assert np.abs(back - vector).max() <= 2 * rotation.norm_slack * math.hypot(*vector) + 1e-320


@given(seed=st.integers(0, 2**64), size=st.integers(1, 40))
def test_the_matrix_is_orthonormal(seed, size):
    rotation = Rotation.draw(size, entropy=seeded(seed))
    matrix = np.stack([rotation.forward(row) for row in np.eye(size)])
    assert np.abs(matrix @ matrix.T - np.eye(size)).max() < 1e-14
    assert (np.abs(matrix) == 1 / np.sqrt(rotation.padded)).all(), "every coordinate is spread alike"
    padded = np.stack([rotation.inverse(row) for row in np.eye(rotation.padded)])
    assert np.abs(padded - matrix.T).max() < 1e-15


@given(
    vector=vectors,
    seed=st.integers(0, 2**64),
    power=st.integers(-300, 300),
)
def test_powers_of_two_and_signs_go_through(vector, seed, power):
    rotation = Rotation.draw(vector.size, entropy=seeded(seed))
    vector = vector * (np.abs(vector) > 1e-30)  # clear of subnormals, which have fewer bits
    rotated = rotation.forward(vector)
    assert (rotation.forward(np.ldexp(vector, power)) == np.ldexp(rotated, power)).all()
    assert (rotation.forward(-vector) == -rotated).all()


@given(
    data=st.data(),
    size=st.integers(1, 40),
    seed=st.integers(0, 2**64),
    reach=st.sampled_from([1.0, 1e3, 1e6, 1e12]),
    bound=st.floats(0.01, 1.0),
)
def test_one_record_moves_a_rotated_sum_by_at_most_the_bound(data, size, seed, reach, bound):
    entries = hnp.arrays(np.float64, size, elements=st.floats(-reach, reach))
    total, step = data.draw(entries), data.draw(hnp.arrays(np.float64, size, elements=st.floats(-1, 1)))
    other = np.clip(total + FlatClip(bound).clip(step), -reach, reach)
    moved = max(_square(total - other), Fraction(bound) ** 2)  # the addition above was rounded
    rotation = Rotation.draw(size, entropy=seeded(seed))
    first, second = rotation.forward(total), rotation.forward(other)
    difference = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(first, second, strict=True)]
    exact = sum((Fraction(float(a)) - Fraction(float(b))) ** 2 for a, b in zip(total, other, strict=True))
    assert exact <= moved * (1 + Fraction(2) ** -50) ** 2
    limit = rotation.bound(float(np.nextafter(math.sqrt(moved) * (1 + 2**-50), 9e99)), reach=reach)
    assert sum(x * x for x in difference) <= Fraction(limit) ** 2


def test_rounding_of_a_sum_is_not_that_of_a_record():
    """The baseline that must fail: a slack relative to the record, for vectors that are sums of many."""
    rotation = Rotation.draw(32, entropy=seeded(0))
    total = np.sin(np.arange(32.0)) * 1e9
    record = np.zeros(32)
    record[5] = 2.0**-10
    other = total + record
    before = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(other, total, strict=True)]
    moved = [
        Fraction(float(a)) - Fraction(float(b))
        for a, b in zip(rotation.forward(other), rotation.forward(total), strict=True)
    ]
    before, after = (sum(x * x for x in numbers) for numbers in (before, moved))
    assert after > before * (1 + Fraction(rotation.norm_slack)) ** 2
    limit = rotation.bound(math.sqrt(before) * (1 + 2**-50), reach=1e9)
    assert after <= Fraction(limit) ** 2
    assert limit < 1.2 * math.sqrt(before)


def test_the_bound_is_its_formula_rounded_up():
    rotation = Rotation.draw(100)
    exact = Fraction(2.0) + 2 * Fraction(rotation.norm_slack) * 10 * Fraction(8.0)
    assert exact <= Fraction(rotation.bound(2.0, reach=8.0)) <= exact * (1 + Fraction(2) ** -51)


def test_matches_the_matrix():
    rotation = Rotation.draw(8, entropy=seeded(3))
    one = np.array([[1.0, 1.0], [1.0, -1.0]])
    hadamard = np.kron(np.kron(one, one), one) / np.sqrt(8)
    vector = np.arange(8.0)
    assert np.allclose(rotation.forward(vector), hadamard @ (rotation.signs * vector), rtol=1e-14, atol=1e-14)


def test_spreads_a_spike():
    spike = np.zeros(1024)
    spike[17] = 1.0
    assert np.allclose(np.abs(Rotation.draw(1024, entropy=seeded(1)).forward(spike)), 1 / 32, rtol=1e-13)


@given(vector=vectors, seed=st.integers(0, 2**64))
def test_energy_is_spread(vector, seed):
    """A coordinate is a sum of fair signs: Hoeffding, with alpha = 1e-12 over 70 coordinates and any number of runs."""
    rotation = Rotation.draw(vector.size, entropy=seeded(seed))
    reach = math.sqrt(2 * math.log(2 * 128 / 1e-12)) * math.hypot(*vector) / math.sqrt(rotation.padded)
    assert np.abs(rotation.forward(vector)).max() <= reach * (1 + 1e-12) + 1e-300


def test_a_range_too_small_for_a_spike_is_enough_for_its_rotation():
    """What the rotation is for: the same plan clamps the sum without it, and holds it with it."""
    dim, parties, noise = 256, 5, 2.0**-4
    plan = secagg.PlainSum.plan(parties, dim, 12)
    spike = np.zeros(dim)
    spike[3] = 20.0
    updates = [Bounded(spike, 1.0)] * parties
    step = share_step(DiscreteGaussianMechanism(noise), bound=1.0, plan=plan)
    assert 2**11 * step < 20.0, "beyond the range of one coordinate"

    def mean(rotate):
        ledger = Ledger(relation="add_remove")
        release = private_mean(
            updates,
            clip=None,
            mechanism=DiscreteGaussianMechanism(noise),
            plan=plan,
            denominator=parties,
            ledger=ledger,
            rotate=rotate,
            entropy=seeded(4),
        )
        assert len(ledger) == 1
        return release.value

    spread = 12 * noise * math.sqrt(parties / plan.min_honest) / parties
    assert mean(rotate=False)[3] < 20.0 - 100 * spread
    assert np.abs(mean(rotate=True) - spike).max() < spread


def test_the_event_of_a_rotated_mean_is_of_the_longer_bound():
    """The bound that the noise was drawn for includes the rounding of the rotation."""
    plan = secagg.PlainSum.plan(5, 4, 16)
    mechanism = DiscreteGaussianMechanism(4.0)
    for clip, updates in ((FlatClip(1.0), [np.ones(4)] * 5), (None, [Bounded(np.ones(4), 1.0)] * 5)):
        events = [
            private_mean(
                updates,
                clip=clip,
                mechanism=mechanism,
                plan=plan,
                denominator=5,
                ledger=Ledger(relation="add_remove", unit="party"),
                rotate=rotate,
                entropy=seeded(1),
            ).event
            for rotate in (False, True)
        ]
        step = share_step(mechanism, bound=1.0, plan=plan)
        slack = Rotation.draw(4).norm_slack
        assert events[0].l2_bound * step == 1.0
        assert events[1].l2_bound * step >= 1.0 + slack
        if clip is None:  # a sum may be as large as the plan's range, and is rounded as such
            assert events[1].l2_bound * step >= 1.0 + 2 * slack * 2 * 2**15 * step
        assert events[1].local_stddev / events[1].l2_bound == pytest.approx(2.0, rel=1e-12)


def test_sums_beyond_the_range_are_clamped_before_they_are_rotated(monkeypatch):
    """Else their rounding would be of any size, and the bound counts that of the range."""
    rotated, forward = [], Rotation.forward

    def noting(rotation, vector):
        rotated.append(vector)
        return forward(rotation, vector)

    monkeypatch.setattr(Rotation, "forward", noting)
    plan, mechanism = secagg.PlainSum.plan(5, 4, 16), DiscreteGaussianMechanism(4.0)
    updates = [Bounded(np.array([1e30, -1e30, 5.0, 0.0]), 1.0)] * 5
    noise_shares(updates, clip=None, mechanism=mechanism, plan=plan, rotate=True, entropy=seeded(1))
    reach = 2 * 2**15 * share_step(mechanism, bound=1.0, plan=plan)
    assert [vector.tolist() for vector in rotated] == [[reach, -reach, 5.0, 0.0]] * 5


def test_signs_are_fresh():
    assert not np.array_equal(Rotation.draw(256).signs, Rotation.draw(256).signs)


def test_signs_stay_what_they_are():
    signs = np.ones(4)
    rotation = Rotation(3, signs)
    signs[:] = 5.0
    assert rotation.signs.tolist() == [1.0] * 4
    with pytest.raises(ValueError, match="read-only"):
        rotation.signs[0] = 2.0


@pytest.mark.parametrize("dim", [0, -1, True, 2.0, None])
def test_refuses_no_entries(dim):
    with pytest.raises(ParameterError, match="dim must be an integer >= 1"):
        Rotation.draw(dim)


@pytest.mark.parametrize("signs", [np.ones(3), np.ones(8), np.zeros(4), np.full(4, 2.0), np.ones((2, 2)), ["a"] * 4])
def test_refuses_what_are_no_signs(signs):
    with pytest.raises(ParameterError, match="signs must"):
        Rotation(3, signs)


def test_refuses_other_shapes():
    """A number, or a vector of one, would be broadcast over all entries."""
    rotation = Rotation.draw(3)
    for vector in (np.float64(1.0), np.ones(1), np.ones(4), np.ones((3, 1))):
        with pytest.raises(ParameterError, match=r"vector must have shape \(3,\)"):
            rotation.forward(vector)
    for vector in (np.ones(3), np.ones((2, 2)), np.ones(1)):
        with pytest.raises(ParameterError, match=r"rotated must have shape \(4,\)"):
            rotation.inverse(vector)


@pytest.mark.parametrize("change", [{"bound": 0.0}, {"reach": -1.0}, {"reach": float("inf")}, {"bound": None}], ids=str)
def test_bad_bounds(change):
    with pytest.raises(ParameterError, match=f"{next(iter(change))} must be"):
        Rotation.draw(3).bound(**{"bound": 1.0, "reach": 1.0, **change})
