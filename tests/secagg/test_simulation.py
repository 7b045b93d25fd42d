from __future__ import annotations

import itertools

import numpy as np
import pytest

from secagg import (
    BFVSum,
    FixedPoint,
    ParameterError,
    PlainSum,
    TooFewSurvivorsError,
    offset_decode,
    offset_encode,
    simulate,
)
from tests.secagg.wires import Stream, exact_sum, vectors_of

PLANS = [PlainSum.plan(4, 3, 8), BFVSum.plan(4, 3, 8)]


def test_every_drop_out_pattern_is_exact_or_refused():
    plan = BFVSum.plan(5, 3, 8, dropout=0.4)
    vectors = vectors_of(plan, seed=0)
    for gone in itertools.chain.from_iterable(itertools.combinations(range(5), k) for k in range(6)):
        left = [party for party in range(5) if party not in gone]
        if len(left) >= 3:
            result = simulate(plan, vectors, dropouts={"masked_input": gone})
            assert result.survivors == left
            assert result.total.tolist() == exact_sum(vectors[left])
            assert (result.bytes_up[list(gone)] == 0).all()
            assert (result.bytes_down[list(gone)] == 0).all()
            assert (result.bytes_up[left] > 0).all()
            assert (result.bytes_down[left] > 0).all()
        else:
            with pytest.raises(TooFewSurvivorsError) as caught:
                simulate(plan, vectors, dropouts={"masked_input": gone})
            assert (caught.value.alive, caught.value.required) == (len(left), 3)


def test_plain_plans_need_everybody():
    with pytest.raises(TooFewSurvivorsError):
        simulate(PLANS[0], vectors_of(PLANS[0], seed=0), dropouts={"masked_input": [1]})


@pytest.mark.parametrize("plan", PLANS, ids=["plain", "bfv"])
def test_result_says_what_it_took(plan):
    result = simulate(plan, vectors_of(plan, seed=0), entropy=Stream(0))
    assert result.bytes_up.dtype == result.bytes_down.dtype == np.int64
    assert result.bytes_up.shape == result.bytes_down.shape == (4,)
    assert (result.bytes_up <= plan.bytes_up).all()
    assert (result.bytes_down <= plan.bytes_down).all()
    assert result.seconds > 0.0
    assert result.survivors == [0, 1, 2, 3]


@pytest.mark.parametrize("plan", PLANS, ids=["plain", "bfv"])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_with_a_codec_reals_go_in_and_come_out(plan, rounding):
    codec = FixedPoint(8, 2.0, rounding)
    reals = np.random.default_rng(0).uniform(-2, 2, (4, 3))
    result = simulate(plan, reals, codec=codec, entropy=Stream(3))
    assert result.total.dtype == np.float64
    # the float sum of four doubles adds at most 3 roundings of 8 * 2^-53
    assert (np.abs(result.total - reals.sum(axis=0)) <= 4 * codec.error_bound + 24 * 2.0**-53).all()


def test_with_a_codec_the_survivors_are_counted():
    plan = BFVSum.plan(4, 2, 8, dropout=0.25)
    codec = FixedPoint(8, 1.0)
    result = simulate(plan, np.full((4, 2), 1.0), codec=codec, dropouts={"masked_input": [0]})
    assert result.total.tolist() == [3.0, 3.0]


def test_signed_sums_through_the_offset():
    signed = np.array([[-128, 127, -1], [-128, 127, 1], [-128, 127, 0], [-128, 127, 5]])
    for plan in PLANS:
        result = simulate(plan, offset_encode(signed, 8))
        assert offset_decode(result.total, 4, 8).tolist() == [-512, 508, 5]


@pytest.mark.parametrize(
    "vectors",
    [
        np.zeros((4, 3)),
        np.zeros((3, 3), dtype=int),
        np.zeros((4, 4), dtype=int),
        np.zeros(12, dtype=int),
        np.full((4, 3), np.nan),
        np.full((4, 3), 256),
        np.full((4, 3), -1),
        np.zeros((4, 3), dtype=bool),
        [["a"] * 3] * 4,
        None,
        np.zeros((4, 3), dtype="m8[s]"),
        np.ma.zeros((4, 3), dtype=int),
        [np.ma.zeros(3, dtype=int)] * 4,
    ],
    ids=[
        *("float", "parties", "dim", "1-d", "nan", "large", "negative", "bool", "text", "none", "seconds", "masked"),
        "masked rows",
    ],
)
@pytest.mark.parametrize("plan", PLANS, ids=["plain", "bfv"])
def test_bad_vectors_are_refused(plan, vectors):
    with pytest.raises(ParameterError):
        simulate(plan, vectors)


def test_one_bad_entry_of_the_last_party_is_found():
    vectors = np.zeros((4, 3), dtype=int)
    vectors[3, 2] = 256
    with pytest.raises(ParameterError):
        simulate(PLANS[0], vectors)


def test_a_codec_must_be_the_plans():
    reals = np.zeros((4, 3))
    with pytest.raises(ParameterError):
        simulate(PLANS[0], reals, codec=FixedPoint(9, 1.0))
    with pytest.raises(ParameterError):
        simulate(PlainSum.plan(4, 3, 8, wrap=True), reals, codec=FixedPoint(8, 1.0))
    with pytest.raises(ParameterError):
        simulate(PLANS[0], np.full((4, 3), np.inf), codec=FixedPoint(8, 1.0))


@pytest.mark.parametrize(
    "dropouts",
    [
        {"unmask": [0]},
        {"masked_input": [4]},
        {"masked_input": [-1]},
        {"masked_input": [True]},
        {"": []},
        {"masked_input": 3},
        {"masked_input": None},
        {"masked_input": "1"},
        {"masked_input": np.array(3)},
        ["masked_input"],
        [],
        3,
    ],
)
def test_drop_outs_must_be_the_plans(dropouts):
    with pytest.raises(ParameterError):
        simulate(PLANS[0], np.zeros((4, 3), dtype=int), dropouts=dropouts)
