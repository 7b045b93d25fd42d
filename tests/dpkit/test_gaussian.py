"""The discrete Gaussian's proposal and accept step, run on every random tape of a small word size."""

from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpkit._exact import exp_bounds
from dpkit._gaussian import centred_gaussian
from dpkit.samplers import draw_around
from tests.oracles.noise import ExhaustedTapeError, Tape, gaussian_weight, word

CASES = [
    (1.0, 0.0, 0),
    (1.0, 0.25, 0),
    (1.7, -0.5, 0),
    (0.5, 0.3, 0),
    (3.0, 0.3, 1),
    (5.0, -0.4, 2),
]


def _proposals(sampler):
    """All (word, inside, mark) tapes whose word is not the remainder's, as columns."""
    inside = np.arange(1 << sampler.block_bits, dtype=np.uint64)
    words, inside, marks = (
        column.reshape(-1) for column in np.meshgrid(np.arange(256), inside, np.arange(256), indexing="ij")
    )
    words = words.astype("<u1")
    keep = sampler.table.lookup(words) < sampler.table.size
    return words[keep], inside[keep], marks[keep].astype("<u1")


def _undecided(sampler, words, inside, marks, fraction):
    starts = sampler.table.lookup(words) << sampler.block_bits
    offsets = (starts + inside.astype(np.int64)) ^ -(words >> 7).astype(np.int64)
    fractions = np.full(len(words), fraction)
    return sampler.decide(starts, offsets, fractions, marks)[1] & (marks >= sampler.squeeze), offsets


@pytest.mark.parametrize(("stddev", "fraction", "block_bits"), CASES)
def test_every_tape_of_the_gaussian(stddev, fraction, block_bits):
    """Counting tapes brackets each probability; what is open is the remainder and one mark an offset, tested apart."""
    sampler = centred_gaussian(stddev, 8, 8, block_bits)
    words, inside, marks = _proposals(sampler)
    open_, offsets = _undecided(sampler, words, inside, marks, fraction)
    words, inside, marks = words[~open_], inside[~open_], marks[~open_]
    tape = [words.tobytes(), (inside << np.uint64(64 - block_bits)).tobytes() if block_bits else None, marks.tobytes()]
    source = Tape(*[piece for piece in tape if piece is not None])
    drawn, accepted = sampler.trial(np.full(len(words), fraction), source)  # any further request would raise
    tapes = (1 << 16) << block_bits
    with mp.workdps(40):
        width = 1 << block_bits
        ladder = mp.fsum(mp.exp(-mp.mpf(k * width) * (k * width - 1) / (2 * mp.mpf(stddev) ** 2)) for k in range(200))
        shift = mp.exp(mp.mpf(fraction) ** 2 / (2 * mp.mpf(stddev) ** 2))
        residual = mp.mpf(sampler.table.residual) / 128
        for j in range(-12, 13):
            law = gaussian_weight(j, fraction, stddev) * shift / (2 * ladder * width)
            surely = mp.mpf(int((drawn[accepted] == j).sum())) / tapes
            maybe = mp.mpf(int((offsets[open_] == j).sum())) / tapes
            # the remainder proposes j with its share of the index law that the table's integers leave out
            index = (j if j >= 0 else -1 - j) >> block_bits
            chance = mp.exp(-mp.mpf(index * width) * (index * width - 1) / (2 * mp.mpf(stddev) ** 2)) / ladder
            integer = sampler.table.weights[index] if index < sampler.table.size else 0
            rest = (chance * 128 - integer) / 256 / width
            accept = law / (chance / 2 / width)
            assert surely <= law - rest * accept + mp.mpf(10) ** -30
            assert law - rest * accept <= surely + maybe + mp.mpf(10) ** -30
        assert residual < 0.1


@pytest.mark.parametrize(("stddev", "fraction", "block_bits"), CASES)
def test_undecided_marks_are_resolved_by_exact_comparison(stddev, fraction, block_bits):
    sampler = centred_gaussian(stddev, 8, 8, block_bits)
    for start in (0, 1 << block_bits):
        for offset in (start, start + 1, -1 - start, -2 - start):
            exponent = sampler.exponent(start, offset, fraction)
            assert exponent >= 0
            digits = exp_bounds(exponent, 200)[0] >> 200 - 72
            mark, critical = digits >> 64, digits & (2**64 - 1)
            if exponent == 0:
                mark, critical = 255, 2**64 - 1

            def accept(*words, start=start, offset=offset, mark=mark):
                columns = np.array([start]), np.array([offset]), np.array([fraction]), np.array([mark], dtype="<u1")
                return bool(sampler._accept(*columns, Tape(*map(word, words)))[0])

            assert accept(max(critical - 1, 0)) is True
            if exponent:
                assert accept(critical + 1) is False
                with pytest.raises(ExhaustedTapeError):
                    accept(critical)


@given(
    st.floats(2.0**-10, 2.0**40),
    st.integers(0, 2**15),
    st.floats(0, 1, exclude_max=True),
    st.booleans(),
    st.floats(-0.5, 0.5),
    st.integers(0, 2**32 - 1),
    st.integers(-3, 3),
)
def test_float_decisions_agree_with_exact_ones(stddev, index, inside, negative, fraction, mark, near):
    """What float64 decides is right: certain verdicts are compared with the exact number, also next to it."""
    block_bits = max(0, int(np.frexp(stddev)[1]) - 11)
    sampler = centred_gaussian(1024.0)
    sampler = type(sampler)(stddev, block_bits, sampler.table, 32, 0)
    start = index << block_bits
    magnitude = start + int(inside * (1 << block_bits))
    offset = -1 - magnitude if negative else magnitude
    low, high = exp_bounds(sampler.exponent(start, offset, fraction), 96)
    for candidate in (mark, min(max((low >> 64) + near, 0), 2**32 - 1)):
        columns = np.array([start]), np.array([offset]), np.array([fraction]), np.array([candidate], dtype="<u4")
        accepted, undecided = (bool(verdict[0]) for verdict in sampler.decide(*columns))
        if accepted:
            assert (candidate + 1) << 64 <= high
        elif not undecided:
            assert candidate << 64 >= low


@pytest.mark.parametrize("stddev", [0.3, 1.0, 60.0, 1024.0, 1999.0, 5000.0, 3e9])
def test_the_squeeze_accepts_only_what_is_certain(stddev):
    sampler = centred_gaussian(stddev)
    last = (sampler.table.size - 1) << sampler.block_bits
    width = 1 << sampler.block_bits
    for fraction in (0.5, -0.5, 0.0):
        for offset in (last + width - 1, -(last + width)):
            low, _ = exp_bounds(sampler.exponent(last, offset, fraction), 96)
            assert sampler.squeeze << 64 <= low
    assert sampler.squeeze >= 0


def test_the_exponential_is_within_the_stated_error():
    """The margin of 2**-45 allows numpy's exp an error of 2**-50; measured against mpmath."""
    u = np.concatenate([np.linspace(0, 60, 4001), np.logspace(-12, 1, 2001)])
    measured = np.exp(-u)
    with mp.workdps(40):
        worst = max(abs(mp.mpf(float(p)) - mp.exp(-mp.mpf(float(x)))) for x, p in zip(u, measured, strict=True))
    assert worst <= mp.mpf(2) ** -50


def test_exponent_is_the_accept_step_of_the_formula():
    sampler = centred_gaussian(1.5, 8, 8, 1)
    assert sampler.exponent(2, -4, 0.25) == Fraction(16 + 2 - 2, 1) / (2 * Fraction(9, 4))


def test_draws_are_around_the_nearest_integer_of_each_center():
    sampler = centred_gaussian(0.0625)
    centers = np.array([-(2.0**52), 7.0, 2.0**52, 0.0])
    assert (draw_around(centers, sampler, _system()) == centers).all()


def _system():
    from dpkit.entropy import system

    return system()
