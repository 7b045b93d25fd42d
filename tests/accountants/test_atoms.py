"""Discrete pairs in canonical form, against enumeration with 34 digits: masses, losses, and the curve on both sides."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants.atoms import (
    NOTHING,
    Laws,
    add_atoms,
    antipodal_atoms,
    discrete_gaussian,
    discrete_laplace,
    given_laws,
    mirror_atoms,
    mixture_loss,
    remove_atoms,
    response_laws,
)
from tests.oracles.accounting import (
    DIGITS,
    discrete_gaussian_pmf,
    discrete_laplace_pmf,
    hockey_stick,
    sampled_atoms,
)

EPS = 2.0**-52
BUILD = {"remove": remove_atoms, "add": add_atoms, "mirror": mirror_atoms}
EPSILONS = (-2.0, -0.3, -1e-3, 0.0, 1e-4, 0.2, 0.9, 3.0)


def _curve(atoms, epsilon):
    """The hockey-stick divergence by the docstring's formula."""
    kept = [mp.exp(p) * max(0, 1 - mp.exp(mp.mpf(epsilon) - x)) for p, x in zip(atoms.log_p, atoms.loss, strict=True)]
    return atoms.failure + (1 - mp.mpf(atoms.failure)) * mp.fsum(kept)


def _laplace(scale, shift, low=0):
    p, q = (discrete_laplace_pmf(scale, centre, low, shift) for centre in (shift, 0))
    return [(p[k], q[k]) for k in p]


def _gauss(stddev, shift):
    p, q = discrete_gaussian_pmf(stddev, shift), discrete_gaussian_pmf(stddev, 0)
    return [(p.get(k, mp.mpf(0)), q.get(k, mp.mpf(0))) for k in sorted({*p, *q})]


CASES = {
    "laplace": (lambda: discrete_laplace(2.5, 3), lambda: _laplace(2.5, 3)),
    "steep laplace": (lambda: discrete_laplace(0.2, 2), lambda: _laplace(0.2, 2)),
    "flat laplace": (lambda: discrete_laplace(1e5, 5), lambda: _laplace(1e5, 5)),
    "gauss": (lambda: discrete_gaussian(1.7, 2), lambda: _gauss(1.7, 2)),
    "response": (lambda: response_laws(1.3, 4), lambda: _response(1.3, 4)),
    "tiny response": (lambda: response_laws(1e-8), lambda: _response(1e-8, 2)),
}


def _response(epsilon, categories):
    total = mp.exp(mp.mpf(epsilon)) + categories - 1
    truth, other = mp.exp(mp.mpf(epsilon)) / total, 1 / total
    return [(truth, other), (other, truth), ((categories - 2) * other, (categories - 2) * other)]


@pytest.mark.parametrize("prob", [1.0, 0.7, 0.02, 1e-7])
@pytest.mark.parametrize("shape", BUILD)
@pytest.mark.parametrize("name", CASES)
def test_atoms_are_the_enumerated_pair(name, shape, prob):
    with mp.workdps(DIGITS):
        laws, exact = (make() for make in CASES[name])
        atoms = BUILD[shape](laws, prob)
        truth = sampled_atoms(shape, exact, prob)
        for epsilon in EPSILONS:  # the last term: where the oracle cuts its tails
            value, wanted = _curve(atoms, epsilon), hockey_stick(truth, epsilon)
            # the masses are right to a few hundred EPS; so are the losses, each of which moves the curve by its mass
            assert abs(value - wanted) <= 600 * EPS * wanted + 1e-33


@pytest.mark.parametrize("prob", [0.7, 0.02, 1e-9])
@pytest.mark.parametrize("name", ["laplace", "flat laplace", "gauss"])
def test_antipodal_atoms_are_the_enumerated_pair(name, prob):
    with mp.workdps(DIGITS):
        if name == "gauss":
            laws, three = discrete_gaussian(1.7, 2), [discrete_gaussian_pmf(1.7, c) for c in (0, 2, -2)]
        else:
            scale, shift = (2.5, 3) if name == "laplace" else (1e5, 4)
            laws = discrete_laplace(scale, shift, both_sides=True)
            three = [discrete_laplace_pmf(scale, c, -shift, shift) for c in (0, shift, -shift)]
        q = mp.mpf(prob)
        keys = sorted({k for law in three for k in law})
        rows = [[law.get(k, mp.mpf(0)) for law in three] for k in keys]
        truth = [((1 - q) * m + q * a, (1 - q) * m + q * b) for m, a, b in rows]
        atoms = antipodal_atoms(laws, prob)
        for epsilon in EPSILONS:
            wanted = hockey_stick(truth, epsilon)
            assert abs(_curve(atoms, epsilon) - wanted) <= 600 * EPS * wanted + 1e-33  # the oracle's tails


@given(q=st.floats(1e-12, 1.0), scale=st.floats(0.05, 1e6), shift=st.integers(1, 30), shape=st.sampled_from([*BUILD]))
def test_canonical_form(q, scale, shift, shape):
    atoms = BUILD[shape](discrete_laplace(scale, shift), q)
    p, loss = np.exp(atoms.log_p), np.array(atoms.loss)
    assert math.fsum(p) == pytest.approx(1.0, abs=8 * EPS)
    assert np.all(np.diff(loss) > 0.0)
    assert np.all(np.isfinite(loss))
    assert math.fsum(np.exp(np.array(atoms.log_p) - loss)) == pytest.approx(1.0 - atoms.deficit, abs=3e-13)
    assert atoms.failure == 0.0


@given(q=st.floats(1e-9, 1.0), pmf=st.lists(st.floats(0.0, 1.0), min_size=6, max_size=12))
def test_mirrored_pair_is_a_pair_whatever_it_is_made_of(q, pmf):
    """Also of laws that are no mirror images: two laws of total mass 1, with a convex curve below both branches."""
    half = len(pmf) // 2
    p, r = np.array(pmf[:half]), np.array(pmf[half : 2 * half])
    if p.sum() < 1e-3 or r.sum() < 1e-3:
        return
    with np.errstate(divide="ignore"):
        laws = given_laws(tuple(np.log(p / p.sum())), tuple(np.log(r / r.sum())))
    atoms = mirror_atoms(laws, q)
    mass = np.exp(atoms.log_p)
    assert math.fsum(mass) == pytest.approx(1.0, abs=1e-14)
    assert math.fsum(np.exp(np.array(atoms.log_p) - atoms.loss)) == pytest.approx(1.0, abs=1e-12)
    removal = remove_atoms(laws, q)
    for epsilon in (0.0, 0.1, 1.0):
        forward, back = float(_curve(atoms, epsilon)), float(_curve(atoms, -epsilon))
        assert forward <= float(_curve(removal, epsilon)) + 1e-12
        assert back == pytest.approx(1.0 - math.exp(-epsilon) + math.exp(-epsilon) * forward, abs=1e-12)


def test_mirrored_curve_of_unlike_laws_is_the_hull():
    """P = (.8, .2), Q = (.7, .3): P(L>0) + Q(L>0) = 1.5, so a third of each is kept and the rest says nothing."""
    atoms = mirror_atoms(given_laws((math.log(0.8), math.log(0.2)), (math.log(0.7), math.log(0.3))), 1.0)
    gain = math.log(0.8 / 0.7)
    assert atoms.loss == pytest.approx((-gain, gain), rel=1e-14)
    assert np.exp(atoms.log_p) == pytest.approx([0.7 / 1.5, 0.8 / 1.5], rel=1e-14)


def test_mass_without_a_partner():
    """P = (.5, .4, 0) and .1 missing; Q = (.3, 0, .7)."""
    laws = given_laws((math.log(0.5), math.log(0.4), -math.inf), (math.log(0.3), -math.inf, math.log(0.7)))
    whole, back = remove_atoms(laws, 1.0), add_atoms(laws, 1.0)
    assert (whole.failure, back.failure) == pytest.approx((0.5, 0.7), rel=1e-13)
    assert min(whole.failure - 0.5, back.failure - 0.7) > 0.0, "rounded up"
    assert (whole.deficit, back.deficit) == pytest.approx((0.4, -2 / 3), rel=1e-13)
    half = remove_atoms(laws, 0.5)
    assert half.failure == pytest.approx(0.25, rel=1e-13)
    assert half.loss == pytest.approx((math.log(0.5), math.log(0.4 / 0.3)), rel=1e-13)
    added = add_atoms(laws, 0.5)
    assert (added.failure, added.deficit) == pytest.approx((0.0, 0.25), rel=1e-13)
    assert added.loss == pytest.approx((-math.log(0.4 / 0.3), -math.log(0.5)), rel=1e-13)
    assert mirror_atoms(laws, 0.5).failure == pytest.approx(0.25, rel=1e-13)


def test_laws_without_common_support():
    laws = given_laws((0.0, -math.inf), (-math.inf, 0.0))
    assert remove_atoms(laws, 1.0).failure == 1.0
    assert add_atoms(laws, 1.0).failure == 1.0
    assert remove_atoms(laws, 0.25).failure == pytest.approx(0.25, rel=1e-13)


def test_surplus_is_normalised_and_rounding_is_no_missing_mass():
    laws = given_laws((math.log(0.5),) * 2, (math.log(0.5 + 4e-10),) * 2)
    atoms = remove_atoms(laws, 1.0)
    assert atoms.failure == 0.0
    assert atoms.loss == pytest.approx((0.0,), abs=1e-15)
    third = math.log(1.0 / 3.0)
    assert remove_atoms(given_laws((third,) * 3, (third,) * 3), 1.0).failure == 0.0
    missing = remove_atoms(given_laws((math.log(0.5), math.log(0.5 - 1e-12)), (math.log(0.5),) * 2), 1.0)
    assert missing.failure == pytest.approx(1e-12, rel=1e-3)


def test_what_is_cut_off_counts_as_lost():
    atoms = remove_atoms(discrete_gaussian(2.0, 3), 0.5)
    with mp.workdps(DIGITS):
        tail = 4 * mp.exp(-(mp.mpf(39) ** 2) / 2)  # both laws, both sides, by their first term and a half
        assert 0 < tail < atoms.failure <= 1e-322


@pytest.mark.parametrize("q", [1e-280, 1e-9, 0.3, 1.0 - 2.0**-53, 1.0])
def test_mixture_loss_keeps_its_digits(q):
    u = np.array([-800.0, -30.0, -1.0, -1e-7, 0.0, 1e-5, 0.4, 3.0, 40.0, 900.0])
    value, w = mixture_loss(q, u)
    with mp.workdps(400):
        for x, got, excess in zip(u.tolist(), value.tolist(), w.tolist(), strict=True):
            truth = mp.log(1 - mp.mpf(q) + mp.mpf(q) * mp.exp(mp.mpf(x)))
            assert abs(got - truth) <= 8 * EPS * abs(truth) * (1 + abs(x))
            if x < 700.0:
                assert abs(excess - mp.mpf(q) * mp.expm1(mp.mpf(x))) <= 4 * EPS * abs(excess)


def test_nothing_is_two_equal_laws():
    assert remove_atoms(Laws(np.zeros(1), np.zeros(1), np.zeros(1)), 1.0) == NOTHING
    assert remove_atoms(response_laws(0.0), 0.3) == NOTHING


@pytest.mark.parametrize("prob", [1.0, 0.999, 0.3, 1e-4, 1e-12, 1e-200])
@pytest.mark.parametrize("shape", BUILD)
@pytest.mark.parametrize("name", CASES)
def test_every_atom_keeps_its_digits(name, shape, prob):
    """Sorted by loss, each atom's mass and loss against the enumerated one's, within what AtomPair states."""
    with mp.workdps(500):
        laws, exact = (make() for make in CASES[name])
        atoms = BUILD[shape](laws, prob)
        losses, masses = np.array(atoms.loss), np.array(atoms.log_p)
        found = {}
        for p, q in sampled_atoms(shape, exact, prob):
            if p > mp.mpf(10) ** -34:  # the oracle's tails are cut
                loss, size = mp.log(p / q), 1 + abs(mp.log(p)) + abs(mp.log(p / q))
                at = int(np.argmin(np.abs(losses - float(loss))))
                if abs(loss) > mp.mpf(10) ** -300:
                    assert abs(losses[at] - loss) <= 8 * EPS * size * abs(loss)
                else:
                    assert losses[at] == 0.0
                found[at] = found.get(at, mp.mpf(0)) + p
        alone = np.diff(losses, prepend=-math.inf, append=math.inf) > 1e-9 * np.abs(np.append(losses, 1.0))
        for at, mass in found.items():  # losses that floats cannot tell apart may share their mass in another way
            if alone[at] and alone[at + 1] and (losses[at] != 0.0 or shape != "mirror"):
                assert abs(masses[at] - mp.log(mass)) <= 8 * EPS * (4 + abs(mp.log(mass)))
            elif losses[at] == 0.0:  # what is left over of a mirrored pair
                assert abs(mp.exp(masses[at]) - mass) <= 16 * EPS
