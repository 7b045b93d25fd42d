"""Weighted means: the exact one of the clamped values within the bound, over every protocol, and no weight in sight."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import (
    BFVSum,
    CapacityError,
    FixedPoint,
    ParameterError,
    PlainSum,
    SecAgg,
    SecAggPlus,
    ThresholdSum,
    WeightedMean,
    simulate,
)
from tests.oracles.masked_sessions import Play
from tests.secagg.wires import Network, Stream

LOST = {"corrupt": 0.0, "dropout": 0.2}
PROTOCOLS = {
    "plain": PlainSum.plan,
    "encrypted": lambda *size: BFVSum.plan(*size, dropout=0.2),
    "encrypted, for an opener": lambda *size: BFVSum.plan(*size, key="public", dropout=0.2),
    "masked": lambda *size: SecAgg.plan(*size, adversary="semi_honest", **LOST),
    "masked, malicious": lambda *size: SecAgg.plan(*size, adversary="malicious", **LOST),
    "graph": lambda *size: SecAggPlus.plan(*size, adversary="semi_honest", **LOST),
    "graph, semi-malicious": lambda *size: SecAggPlus.plan(*size, adversary="semi_malicious", **LOST),
    "threshold": lambda *size: ThresholdSum.plan(*size, threshold=-(-4 * size[0] // 5), **LOST),
}


def mean_of(rows, weights, clip):
    """The exact weighted mean of the clamped values, column by column."""
    clamped = [[max(min(Fraction(float(x)), Fraction(clip)), -Fraction(clip)) for x in row] for row in rows]
    columns = zip(*clamped, strict=True)
    return [
        sum(int(w) * x for w, x in zip(weights, column, strict=True)) / Fraction(sum(map(int, weights)))
        for column in columns
    ]


def errors(decoded, exact):
    return [abs(Fraction(float(got)) - wanted) for got, wanted in zip(decoded, exact, strict=True)]


@given(
    st.integers(2, 32),
    st.data(),
    st.floats(1e-3, 1e3),
    st.sampled_from(["nearest", "stochastic"]),
    st.integers(0, 2**32),
)
def test_a_weighted_mean_is_within_its_bound_in_exact_arithmetic(bits, data, clip, rounding, seed):
    weight_bits = data.draw(st.integers(1, min(32, 60 - bits)))
    codec = WeightedMean(FixedPoint(bits, clip, rounding), weight_bits)
    count = data.draw(st.integers(1, 6))
    top = 2**weight_bits - 1
    weights = data.draw(
        st.lists(st.sampled_from([0, 1, top]) | st.integers(0, top), min_size=count, max_size=count).filter(any)
    )
    value = st.floats(-2e3, 2e3) | st.sampled_from([clip, -clip, 0.0, 1e300])
    rows = data.draw(st.lists(st.lists(value, min_size=2, max_size=2), min_size=count, max_size=count))
    encoded = codec.encode(rows, weights, Stream(seed))
    assert encoded.dtype == np.uint64
    assert encoded.shape == (count, codec.plan_dim(2))
    assert int(encoded.max()) < 2**codec.value_bits
    assert encoded[:, -1].tolist() == weights
    decoded = codec.decode(encoded.sum(axis=0, dtype=np.uint64), count)
    assert max(errors(decoded, mean_of(rows, weights, clip))) <= Fraction(codec.error_bound)


def test_the_bound_is_hardly_more_than_the_rounding():
    for bits in (2, 8, 16, 24):
        codec = WeightedMean(FixedPoint(bits, 1.0), 8)
        half = codec.codec.step / 2
        (error,) = errors(codec.decode(codec.encode([half], 255), 1), [Fraction(half)])
        assert error >= Fraction(codec.error_bound) / (1 + Fraction(2) ** (bits - 49))
        assert WeightedMean(FixedPoint(bits, 1.0, "stochastic"), 8).error_bound >= 2 * half


def test_it_is_the_mean_of_the_integers_exactly():
    # values on the grid have no rounding: powers of two let every float operation be exact
    codec = WeightedMean(FixedPoint(4, 7.0), 3)
    rows, weights = [[1.0, -7.0], [3.0, 7.0], [5.0, 0.0]], [1, 2, 5]
    assert codec.encode(rows, weights).tolist() == [[9, 1, 1], [22, 30, 2], [65, 40, 5]]
    assert codec.decode(codec.encode(rows, weights).sum(axis=0), 3).tolist() == [4.0, 0.875]


@pytest.mark.parametrize("weights", [[4, 4, 4], [0, 3, 0], [1, 2, 3]])
def test_a_weight_is_so_many_parties_of_weight_one(weights):
    codec, rows = WeightedMean(FixedPoint(12, 2.0), 3), np.random.default_rng(1).uniform(-2, 2, (3, 4))
    repeated = np.repeat(rows, weights, axis=0)
    one = codec.encode(rows, weights).sum(axis=0)
    many = codec.encode(repeated, [1] * len(repeated)).sum(axis=0)
    assert one.tolist() == many.tolist()
    plain = FixedPoint(12, 2.0)
    total = plain.decode(plain.encode(repeated).sum(axis=0, dtype=np.uint64), len(repeated))
    assert np.allclose(codec.decode(one, 3), total / sum(weights), rtol=2**-50, atol=0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_opens_the_same_mean_of_the_survivors(protocol):
    codec = WeightedMean(FixedPoint(12, 1.5), 6)
    plan = PROTOCOLS[protocol](7, codec.plan_dim(3), codec.value_bits)
    rows = np.random.default_rng(2).uniform(-2, 2, (7, 3))
    weights = np.array([0, 1, 63, 7, 0, 12, 3])
    encoded = codec.encode(rows, weights)
    for gone in [[], [2]] if plan.min_survivors < 7 else [[]]:
        result = simulate(plan, encoded, dropouts={"masked_input": gone}, entropy=Stream(3))
        left = [party for party in range(7) if party not in gone]
        assert result.survivors == left
        decoded = codec.decode(result.total, len(left))
        assert decoded.tolist() == codec.decode(encoded[left].sum(axis=0), len(left)).tolist()
        assert max(errors(decoded, mean_of(rows[left], weights[left], 1.5))) <= Fraction(codec.error_bound)


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "threshold"])
def test_no_weight_is_on_the_wire(protocol):
    """Sums of 40 bits, so that a weight would stand there in whole bytes: as it does where nothing is hidden."""
    codec = WeightedMean(FixedPoint(5, 1.0), 32)
    weights = [0xC0FFEE01 + party for party in range(5)]
    encoded = codec.encode(np.full((5, 2), 0.5), weights)
    plan = PROTOCOLS[protocol](5, codec.plan_dim(2), codec.value_bits)
    if protocol.startswith(("plain", "encrypted")):
        network = Network.started(plan, encoded)
        said = [*network.up, *network.closed().values()]
    else:
        play = Play.of(plan, 4, vectors=encoded)
        play.finish()
        said = [payload for _, payload in (*play.up, *play.down)]
        assert plan.modulus_bits == 40
    assert len(said) >= 6
    for weight in weights:
        found = any(weight.to_bytes(4, order) in payload for payload in said for order in ("little", "big"))
        assert found is (protocol == "plain")


def test_a_session_that_reads_nothing_else_opens_the_sum_of_the_weights():
    codec = WeightedMean(FixedPoint(8, 1.0), 4)
    plan = SecAgg.plan(3, codec.plan_dim(1), codec.value_bits, adversary="semi_honest", corrupt=0.0, dropout=0.0)
    result = Play.of(plan, 1, vectors=codec.encode([[1.0], [1.0], [-1.0]], [15, 15, 15])).finish()
    assert result.total[-1] == 45
    assert plan.modulus_bits == 14, "room for 3 times 255 times 15"


def test_where_all_weights_are_zero_there_is_no_mean():
    codec = WeightedMean(FixedPoint(8, 1.0), 4)
    encoded = codec.encode(np.ones((3, 2)), [0, 0, 0])
    assert not encoded.any(), "what counts for nothing sends nothing"
    with pytest.raises(ParameterError, match="no mean"):
        codec.decode(encoded.sum(axis=0), 3)


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (987_654, "outside"),
        (16, "outside"),
        (-1, "outside"),
        (np.uint64(2**63), "outside"),
        (1.0, "integer dtype"),
        (True, "integer dtype"),
        ("1", "integer dtype"),
        (None, "integer dtype"),
        ([1], "one entry for each"),
        (np.ma.masked_array(1, True), "masked"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_not_shown(weight, match):
    with pytest.raises(ParameterError, match=match) as caught:
        WeightedMean(FixedPoint(8, 1.0), 4).encode([0.25, 0.5], weight)
    assert "987" not in str(caught.value)
    assert "0.25" not in str(caught.value)


def test_weights_of_a_batch_are_one_for_each_vector():
    codec = WeightedMean(FixedPoint(8, 1.0), 4)
    assert codec.encode(np.zeros((2, 3, 4)), np.ones((2, 3), dtype=int)).shape == (2, 3, 5)
    for rows, weights in ((np.zeros((2, 3)), 1), (np.zeros((2, 3)), [1, 1, 1]), (0.5, 1), (np.zeros(3), [1, 1, 1])):
        with pytest.raises(ParameterError, match="one entry for each vector"):
            codec.encode(rows, weights)
    with pytest.raises(ParameterError, match="finite"):
        codec.encode([np.nan], 0)
    with pytest.raises(ParameterError, match="masked"):
        codec.encode([[np.ma.masked_array([0.5, 0.25], [False, True])]], [[1]])


@pytest.mark.parametrize(
    ("total", "parties", "error"),
    [
        ([15 * 255 * 2 + 1, 30], 2, CapacityError),
        ([29, 30], 2, CapacityError),
        ([31, 31], 2, CapacityError),
        ([1, 0], 2, CapacityError),
        ([30], 2, ParameterError),
        ([], 2, ParameterError),
        ([30, 30], 0, ParameterError),
        ([30, 30], 2**60, CapacityError),
    ],
)
def test_totals_that_cannot_be_are_refused_and_not_shown(total, parties, error):
    codec = WeightedMean(FixedPoint(8, 1.0), 4)
    with pytest.raises(error) as caught:
        codec.decode(np.array(total, dtype=np.uint64), parties)
    assert "7651" not in str(caught.value)
    assert codec.decode(np.array([15 * 255 * 2, 30, 30], dtype=np.uint64), 2).tolist() == [1.0, -1.0]
    for wrong in (np.array([30, 30]), np.ones((1, 2), dtype=np.uint64)):
        with pytest.raises(ParameterError):
            codec.decode(wrong, 2)


def test_decoding_is_right_up_to_the_last_total_that_64_bits_hold():
    codec = WeightedMean(FixedPoint(32, 1.0), 31)
    top = (2**31 - 1) * (2**32 - 1)
    total = np.array([2 * top, 2 * (2**31 - 1), 2 * (2**31 - 1)], dtype=np.uint64)
    decoded = codec.decode(total, 2).tolist()
    assert abs(Fraction(decoded[0]) - 1) <= Fraction(codec.error_bound)
    assert abs(Fraction(decoded[1]) + 1) <= Fraction(codec.error_bound)
    with pytest.raises(CapacityError, match="64"):
        codec.decode(total, 3)


def test_a_sum_that_does_not_fit_is_no_plan():
    codec = WeightedMean(FixedPoint(32, 1.0), 32)
    assert codec.value_bits == 64
    with pytest.raises(CapacityError):
        PlainSum.plan(2, codec.plan_dim(1), codec.value_bits)


@pytest.mark.parametrize("arguments", [(8, 4), (FixedPoint(8, 1.0), 0), (FixedPoint(8, 1.0), 33), (None, 4)])
def test_impossible_codecs_are_refused(arguments):
    with pytest.raises(ParameterError):
        WeightedMean(*arguments)
    for dim in (0, -1, 1.0, True):
        with pytest.raises(ParameterError):
            WeightedMean(FixedPoint(8, 1.0), 4).plan_dim(dim)
    assert WeightedMean(FixedPoint(8, 1.0), np.int64(4)) == WeightedMean(FixedPoint(8, 1.0), 4)
