"""The public samplers: lattice, centres, shapes, refusals, and the attack that they are there to stop."""

from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit.entropy import seeded
from dpkit.errors import EntropyError, ParameterError
from dpkit.samplers import (
    centred_discrete_gaussian,
    covering_stddev,
    discrete_gaussian,
    discrete_laplace,
    lattice_gaussian,
    lattice_laplace,
    lattice_step,
    root_up,
    skellam,
    to_lattice,
)

LATTICE = [lattice_gaussian, lattice_laplace]
CENTERS = st.one_of(st.floats(-1e3, 1e3), st.sampled_from([0.0, 1 / 3, -0.1, 5e-324, 1e300, -1e308, 2.0**60 + 1]))
SCALES = st.one_of(st.floats(1e-3, 1e3), st.sampled_from([2.0**-500, 2.0**500, 1.0, 0.7, 1023.999]))


@pytest.mark.parametrize("sampler", LATTICE)
@given(CENTERS, SCALES, st.integers(0, 2**64))
def test_support_is_the_lattice_whatever_the_center(sampler, center, scale, seed):
    """Mironov 2012: the set of possible outputs must not tell the data."""
    step = lattice_step(scale)
    draws = sampler(np.full(8, center), scale, seeded(seed))
    assert np.isfinite(draws).all()
    assert (np.rint(draws / step) == draws / step).all()
    assert Fraction(1, 2048) < Fraction(step) / Fraction(scale) <= Fraction(1, 1024)


@pytest.mark.parametrize("kind", ["normal", "laplace"])
def test_float_noise_would_fail_the_same_attack(kind):
    """The baseline: numpy's noise around 0 and around 1 lands on different sets of floats."""
    generator = np.random.default_rng(0)
    off_grid = [np.mean((center + getattr(generator, kind)(size=4000)) * 2.0**53 % 1 != 0) for center in (0.0, 1.0)]
    assert off_grid[0] > 0.2
    assert off_grid[1] == 0


@pytest.mark.parametrize("sampler", [*LATTICE, centred_discrete_gaussian])
def test_reproducible_with_a_seed_and_fresh_without(sampler):
    center = np.linspace(-5, 5, 50)
    assert (sampler(center, 2.0, seeded(4)) == sampler(center, 2.0, seeded(4))).all()
    assert (sampler(center, 2.0, seeded(4)) != sampler(center, 2.0, seeded(5))).any()
    assert (sampler(center, 2000.0) != sampler(center, 2000.0)).any()


@pytest.mark.parametrize("sampler", LATTICE)
@pytest.mark.parametrize("power", [-3, 0, 7])
def test_scaling_everything_by_a_power_of_two_scales_the_draw(sampler, power):
    center, factor = np.array([0.3, -7.0, 1e4]), 2.0**power
    scaled = sampler(center * factor, 1.7 * factor, seeded(1))
    assert (scaled == sampler(center, 1.7, seeded(1)) * factor).all()


@given(st.integers(-(2**30), 2**30), st.floats(0.05, 1e4), st.integers(0, 2**64))
def test_integer_shifts_of_the_center_shift_the_draw(shift, stddev, seed):
    center = np.array(
        [0.0, 0.25, -0.499, 0.375]
    )  # a half goes to the even neighbour: shifts change its fraction's sign
    shifted = centred_discrete_gaussian(center + shift, stddev, seeded(seed))
    assert (shifted - shift == centred_discrete_gaussian(center, stddev, seeded(seed))).all()


def test_shapes_and_dtypes():
    assert lattice_gaussian(0.5, 1.0).shape == ()
    assert lattice_laplace(np.zeros((2, 0, 3)), 1.0).shape == (2, 0, 3)
    assert lattice_gaussian(np.zeros((2, 3), dtype=np.float32), 1.0).dtype == np.float64
    assert centred_discrete_gaussian([1, 2], 1.0).dtype == np.int64
    assert discrete_gaussian((2, 3), 4.0).shape == (2, 3)


@pytest.mark.parametrize("sampler", LATTICE)
def test_centers_are_clamped_and_not_refused(sampler):
    draws = sampler([1e308, -1e308], 1.0, seeded(2)) * lattice_step(1.0)
    reach = 2.0**52 * lattice_step(1.0) ** 2
    np.testing.assert_allclose(draws, [reach, -reach], rtol=1e-9)


def test_every_coordinate_is_noised():
    draws = np.stack([lattice_gaussian(np.zeros(20_000), 1.0, seeded(i)) for i in range(6)])
    assert (draws != draws[0]).any(axis=0).all()


@pytest.mark.parametrize("sampler", [*LATTICE, centred_discrete_gaussian])
@pytest.mark.parametrize(
    "scale",
    [0.0, -1.0, float("nan"), float("inf"), 1e-200, 1e200, True, "1", None, 1j, pytest.param(10**400, id="huge")],
)
def test_bad_scales(sampler, scale):
    with pytest.raises(ParameterError, match=r"(stddev|scale) must be"):
        sampler([0.0], scale)


@pytest.mark.parametrize("sampler", [*LATTICE, centred_discrete_gaussian])
def test_bad_centers_are_refused_without_being_printed(sampler):
    for center in ([0.0, float("nan")], [float("inf")], ["31.5"], [1j], [True], [[31.5], [1, 2]]):
        with pytest.raises(ParameterError, match="center must") as caught:
            sampler(center, 1.0)
        assert "31.5" not in str(caught.value)
    with pytest.raises(EntropyError):
        sampler([0.0], 1.0, 42)


@given(st.floats(1e-100, 1e100))
def test_covering_stddev_covers(stddev):
    """drawn^2 - (4 g)^2 >= stddev^2 exactly, at a price below 7.7e-6 (smoothing lemma with tau = 4)."""
    drawn = covering_stddev(stddev)
    assert Fraction(drawn) ** 2 - (4 * Fraction(lattice_step(drawn))) ** 2 >= Fraction(stddev) ** 2
    assert drawn <= stddev * (1 + 7.7e-6)


@pytest.mark.parametrize(("stddev", "center"), [(8.0, 0.0), (8.0, 0.37), (9.5, -0.5)])
def test_smoothing_lemma(stddev, center):
    """N_Z(c, s^2) over the post-processed real Gaussian: in the lemma's interval, tau = 4, 170 digits."""
    with mp.workdps(170):
        tau, s, c = mp.mpf(4), mp.mpf(stddev), mp.mpf(center)
        slope = mp.sqrt(s * s - tau * tau)

        def eta(t):
            return 2 * mp.fsum(mp.exp(-2 * mp.pi**2 * t**2 * m**2) for m in range(1, 4))

        def normaliser(y, width):
            return mp.fsum(mp.exp(-((k - y) ** 2) / (2 * width**2)) for k in range(-300, 301))

        # the mixture over y ~ N(c, s^2 - tau^2) by the trapezoidal rule: with h = 1/2 its aliases are below 1e-200, and
        # the density has fallen below 1e-190 where the grid ends
        grid = [c + mp.mpf(i) / 2 for i in range(-2 * 260, 2 * 260 + 1)]
        density = [mp.exp(-((y - c) ** 2) / (2 * slope**2)) for y in grid]
        phases = [normaliser(c, tau), normaliser(c + mp.mpf(1) / 2, tau)]
        total = mp.fsum(density)
        for k in (0, 5, -11):
            terms = [p * mp.exp(-((k - y) ** 2) / (2 * tau**2)) for p, y in zip(density, grid, strict=True)]
            mixed = (mp.fsum(terms[0::2]) / phases[0] + mp.fsum(terms[1::2]) / phases[1]) / total
            ratio = mp.exp(-((k - c) ** 2) / (2 * s**2)) / normaliser(c, s) / mixed
            low, high = (1 - eta(tau)) / (1 + eta(s)), (1 + eta(tau)) / (1 - eta(s))
            assert low - mp.mpf(10) ** -150 <= ratio <= high + mp.mpf(10) ** -150
        assert eta(tau) < mp.mpf("1.39e-137")


@given(st.fractions(Fraction(1, 10**30), 10**30))
def test_root_up(square):
    root = Fraction(root_up(square))
    assert square <= root**2 <= square * (1 + Fraction(1, 2**50))


def test_root_up_is_exact_where_it_can_be():
    assert root_up(Fraction(2**900)) == 2.0**450
    assert root_up(Fraction(1, 2**900)) == 2.0**-450


def test_to_lattice_clamps_before_it_divides():
    assert to_lattice(np.array([1e308, -3.0]), 2.0**-60).tolist() == [2.0**52, -(2.0**52)]
    assert to_lattice(np.array([[0.75]]), 0.5).tolist() == [1.5]


INTEGER = [discrete_gaussian, discrete_laplace, skellam]


@pytest.mark.parametrize("sampler", INTEGER)
@pytest.mark.parametrize("size", [-1, (2, -1), 2.0, True, None, "3", [2]])
def test_bad_sizes(sampler, size):
    with pytest.raises(ParameterError, match="size must be"):
        sampler(size, 4.0)


@pytest.mark.parametrize("sampler", INTEGER)
def test_sizes(sampler):
    shapes = [sampler(size, 4.0).shape for size in (0, 3, (), (2, 0), np.int64(2))]
    assert shapes == [(0,), (3,), (), (2, 0), (2,)]
    assert sampler(3, 4).dtype == np.int64


@pytest.mark.parametrize("sampler", INTEGER)
@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 2.0**41, 2.0**-21, True, "1", None])
def test_bad_scales_of_integer_laws(sampler, scale):
    with pytest.raises(ParameterError, match=r"(stddev|scale|variance) must be"):
        sampler(3, scale)


@pytest.mark.parametrize("sampler", INTEGER)
@pytest.mark.parametrize("scale", [2.0**-10, 0.3, 5.0, 2.0**14, 2.0**14 + 1, 2.0**40])
def test_integer_laws_at_every_scale(sampler, scale):
    """Reproducible with a seed, fresh without, of the right spread; chunks and shapes do not matter to the stream."""
    draws = sampler((2, 500), scale, seeded(3))
    assert (draws == sampler((2, 500), scale, seeded(3))).all()
    if scale >= 1:
        spread = {discrete_gaussian: scale, discrete_laplace: 2**0.5 * scale, skellam: scale**0.5}[sampler]
        assert 0.8 < draws.std() / spread < 1.25
        assert (draws != sampler((2, 500), scale)).any()
    with pytest.raises(EntropyError):
        sampler(3, scale, 42)


@pytest.mark.parametrize("sampler", [*LATTICE, *INTEGER])
def test_work_does_not_depend_on_what_is_drawn(sampler):
    """As many bytes are read as without looking at any draw: one word a table, and more only for accept steps."""

    class Counting:
        secure = False

        def __init__(self, seed):
            self.source, self.read = seeded(seed), 0

        def bytes(self, n):
            self.read += n
            return self.source.bytes(n)

    sources = [Counting(seed) for seed in range(4)]
    argument = np.zeros(1000) if sampler in LATTICE else 1000
    sizes = [np.abs(sampler(argument, 50.0, source)).sum() for source in sources]
    reads = [source.read for source in sources]
    if sampler is lattice_gaussian:
        assert max(reads) - min(reads) < 1000  # the accept step of 0.5 % of the proposals
    else:
        assert len(set(reads)) == 1
    assert len(set(sizes)) == 4


@pytest.mark.parametrize("scale", [2.0**-10, 0.0625, 1.0, 2.0**30])
def test_what_the_caller_traps_says_nothing_of_the_centers(scale):
    """Underflow happens around some centres and not around others: no trap of numpy's may tell."""
    centers = [0.0, 0.3, -0.5, 5e-324, 1e-310, 1e308]
    with np.errstate(all="raise"):
        for sampler in INTEGER:
            sampler(3, float(np.nextafter(scale, 1.0)))  # a scale of its own, so that its table is built in here
        drawn = centred_discrete_gaussian(centers, scale, seeded(1))
        for sampler in LATTICE:
            assert np.isfinite(sampler(centers, scale * 2.0**450)).all()
    assert (drawn == centred_discrete_gaussian(centers, scale, seeded(1))).all()
