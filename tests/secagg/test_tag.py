from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import DecodeError
from secagg.he.planner import plain_modulus
from secagg.prg import derive_key, uniform
from secagg.tag import SumTag, dot_mod, scale_mod

T = plain_modulus(10)
SESSION, CONFIG = bytes([1]) * 32, bytes([2]) * 32


def _tag(slots: int = 5, *, key: bytes = bytes(32), session: bytes = SESSION, config: bytes = CONFIG) -> SumTag:
    return SumTag(key, session=session, config=config, modulus=T, num_parties=4, slots=slots)


@given(st.lists(st.tuples(st.integers(0, T - 1), st.integers(0, T - 1)), min_size=1, max_size=30))
def test_dot_mod_equals_big_integers(pairs):
    left, right = (np.array(column, dtype=np.uint64) for column in zip(*pairs, strict=True))
    assert dot_mod(left, right, T) == sum(a * b for a, b in pairs) % T


def test_dot_mod_does_not_overflow_at_the_largest_residues():
    top = np.full(4095, T - 1, dtype=np.uint64)
    assert dot_mod(top, top, T) == 4095 * (T - 1) ** 2 % T


def test_scale_mod_equals_big_integers():
    vector = np.array([0, 1, 2**21, T - 1], dtype=np.uint64)
    for scalar in (0, 1, 2**21 - 1, 2**21, T - 1):
        assert scale_mod(vector, scalar, T).tolist() == [int(v) * scalar % T for v in vector]


def _streams(chunk: int) -> list[list[int]]:
    """Factors and blinds of the tag and of the pad."""
    drawn = []
    for purpose, count, least in (
        (b"tag factors", 5, 1),
        (b"tag blinds", 4, 0),
        (b"pad factors", 5, 0),
        (b"pad blinds", 4, 0),
    ):
        key = derive_key(bytes(32), salt=SESSION, purpose=purpose, parts=(CONFIG,))
        drawn.append([int(v) + least for v in uniform(key, index=chunk, count=count, modulus=T - least)])
    return drawn


def test_seal_equals_its_formula_in_big_integers():
    values, party, chunk = [5, 0, T - 1, 7, 2**40], 2, 3
    alpha, rho, gamma, beta = _streams(chunk)
    padded = [(x + beta[party] * g) % T for x, g in zip(values, gamma, strict=True)]
    tag = (sum(a * m for a, m in zip(alpha, padded, strict=True)) + rho[party]) % T
    assert _tag().seal(np.array(values, dtype=np.uint64), chunk=chunk, party=party).tolist() == [*padded, tag]


ROWS = np.arange(20, dtype=np.uint64).reshape(4, 5) * np.uint64(2**30)


def _summed(parties: list[int], chunk: int = 0) -> np.ndarray:
    """What decryption shows of the sum of the parties' ciphertexts."""
    return sum((_tag().seal(ROWS[p], chunk=chunk, party=p) for p in parties), start=np.zeros(6, dtype=np.uint64)) % T


@pytest.mark.parametrize("survivors", [[0, 1, 2, 3], [1, 3], [2]])
def test_a_sum_opens_for_its_survivors_only(survivors):
    sums = _summed(survivors)
    assert _tag().open(sums, chunk=0, survivors=survivors).tolist() == ROWS[survivors].sum(axis=0).tolist()
    for chunk, claimed in ((1, survivors), (0, [0, 1])):
        with pytest.raises(DecodeError):
            _tag().open(sums, chunk=chunk, survivors=claimed)
    for place in range(6):
        changed = sums.copy()
        changed[place] = (changed[place] + np.uint64(1)) % T
        with pytest.raises(DecodeError):
            _tag().open(changed, chunk=0, survivors=survivors)


@pytest.mark.parametrize("sent", [[0], [0, 0, 1], [0, 1, 2, 2], [0, 1, 3]])
def test_another_combination_does_not_open(sent):
    with pytest.raises(DecodeError):
        _tag().open(_summed(sent), chunk=0, survivors=[0, 1, 2])


def test_a_right_guess_does_not_open():
    # the server adds r (party 1's slots - its guess of them) for an r that spares the tag slot: a change that vanishes
    # if and only if the guess is right, were it not for the pads
    own = _tag().seal(ROWS[1], chunk=0, party=1)
    change = [7 * (int(slot) - int(guess)) % T for slot, guess in zip(own[:5], ROWS[1], strict=True)]
    sums = (_summed([0, 1, 2]) + np.array([*change, 0], dtype=np.uint64)) % T
    with pytest.raises(DecodeError):
        _tag().open(sums, chunk=0, survivors=[0, 1, 2])


def test_sealed_slots_depend_on_key_session_plan_chunk_and_party():
    zero = np.zeros(5, dtype=np.uint64)
    sealed = [
        _tag().seal(zero, chunk=0, party=0),
        _tag().seal(zero, chunk=1, party=0),
        _tag().seal(zero, chunk=0, party=1),
        _tag(key=bytes([1]) * 32).seal(zero, chunk=0, party=0),
        _tag(session=bytes(32)).seal(zero, chunk=0, party=0),
        _tag(config=bytes(32)).seal(zero, chunk=0, party=0),
    ]
    assert len(np.unique(np.array(sealed))) == 36
