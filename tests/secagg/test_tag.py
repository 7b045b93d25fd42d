from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.he.planner import plain_modulus
from secagg.prg import derive_key, uniform
from secagg.tag import SumTag, dot_mod

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


def test_tag_equals_its_formula_in_big_integers():
    values, party, chunk = [5, 0, T - 1, 7, 2**40], 2, 3
    factors = uniform(
        derive_key(bytes(32), salt=SESSION, purpose=b"tag factors", parts=(CONFIG,)), index=3, count=5, modulus=T
    )
    blinds = uniform(
        derive_key(bytes(32), salt=SESSION, purpose=b"tag blinds", parts=(CONFIG,)), index=3, count=4, modulus=T
    )
    expected = (sum(int(a) * x for a, x in zip(factors, values, strict=True)) + int(blinds[party])) % T
    assert _tag().of(np.array(values, dtype=np.uint64), chunk=chunk, party=party) == expected


def _summed(parties: list[int], chunk: int = 0) -> tuple[np.ndarray, int]:
    """Sum of the parties' values and of their tags."""
    rows = {p: np.arange(5, dtype=np.uint64) * np.uint64(11) + np.uint64(p) for p in range(4)}
    tags = sum(_tag().of(rows[p], chunk=chunk, party=p) for p in parties)
    return sum((rows[p] for p in parties), start=np.zeros(5, dtype=np.uint64)), tags % T


@pytest.mark.parametrize("survivors", [[0, 1, 2, 3], [1, 3], [2]])
def test_tag_of_a_sum_matches_its_survivors_only(survivors):
    total, tag = _summed(survivors)
    assert _tag().matches(total, tag, chunk=0, survivors=survivors)
    assert not _tag().matches(total, (tag + 1) % T, chunk=0, survivors=survivors)
    assert not _tag().matches(total, tag, chunk=1, survivors=survivors)
    assert not _tag().matches(total, tag, chunk=0, survivors=[0, 1])
    total[4] += np.uint64(1)
    assert not _tag().matches(total, tag, chunk=0, survivors=survivors)


@pytest.mark.parametrize("sent", [[0], [0, 0, 1], [0, 1, 2, 2], [0, 1, 3]])
def test_tag_of_another_combination_does_not_match(sent):
    total, tag = _summed(sent)
    assert not _tag().matches(total, tag, chunk=0, survivors=[0, 1, 2])


def test_tags_depend_on_key_session_plan_chunk_and_party():
    zero = np.zeros(5, dtype=np.uint64)
    tags = [
        _tag().of(zero, chunk=0, party=0),
        _tag().of(zero, chunk=1, party=0),
        _tag().of(zero, chunk=0, party=1),
        _tag(key=bytes([1]) * 32).of(zero, chunk=0, party=0),
        _tag(session=bytes(32)).of(zero, chunk=0, party=0),
        _tag(config=bytes(32)).of(zero, chunk=0, party=0),
    ]
    assert len(set(tags)) == 6
    assert 0 not in tags
