from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import secagg.plain
from secagg import CapacityError, DecodeError, ParameterError, PlainSum, simulate
from secagg.envelope import Kind
from tests.secagg.wires import Network, exact_sum, vectors_of


@given(st.integers(2, 12), st.integers(1, 40), st.integers(1, 60), st.integers(0, 2**32))
def test_plain_sum_is_exact(parties, dim, bits, seed):
    plan = PlainSum.plan(parties, dim, bits)
    vectors = vectors_of(plan, seed)
    result = simulate(plan, vectors)
    assert result.total.dtype == np.uint64
    assert result.total.tolist() == exact_sum(vectors)
    assert (result.bytes_up == plan.bytes_up).all()
    assert (result.bytes_down == plan.bytes_down).all()


@given(st.integers(2, 12), st.integers(1, 64), st.integers(0, 2**32))
def test_wrapping_sum_is_exact_modulo_the_range(parties, bits, seed):
    plan = PlainSum.plan(parties, 5, bits, wrap=True)
    vectors = vectors_of(plan, seed)
    result = simulate(plan, vectors)
    assert result.total.tolist() == [total % 2**bits for total in exact_sum(vectors)]
    assert (result.bytes_down == plan.bytes_down).all()


@given(st.integers(2, 5000), st.integers(1, 64))
def test_capacity_is_refused_exactly_where_the_sum_could_wrap(parties, bits):
    if parties * (2**bits - 1) < 2**64:
        assert 2 ** PlainSum.plan(parties, 1, bits).modulus_bits > parties * (2**bits - 1)
    else:
        with pytest.raises(CapacityError):
            PlainSum.plan(parties, 1, bits)
    assert PlainSum.plan(parties, 1, bits, wrap=True).modulus_bits == bits


def test_the_server_reads_the_sum_and_says_so():
    plan = PlainSum.plan(3, 4, 8)
    network = Network.started(plan, vectors_of(plan, seed=0))
    network.closed()
    result = network.server.result()
    assert result.total.tolist() == exact_sum(vectors_of(plan, seed=0))
    assert result.survivors == [0, 1, 2]
    assert (result.bytes_up == plan.bytes_up).all()
    assert "no secrecy" in plan.promise


def test_the_result_is_a_copy():
    plan = PlainSum.plan(2, 2, 8)
    network = Network.started(plan, vectors_of(plan, seed=0))
    network.closed()
    network.server.result().total[:] = 0
    assert network.server.result().total.tolist() == exact_sum(vectors_of(plan, seed=0))


def test_impossible_values_on_the_wire_are_refused():
    plan = PlainSum.plan(2, 1, 7)
    network = Network.started(plan, vectors_of(plan, seed=0))
    channel = network.server._channels[0]
    for body in (b"\x80", b"", b"\0\0"):
        with pytest.raises(DecodeError):
            network.server.receive(channel.wrap(Kind.INPUT, body), 0)
    network.server.receive(channel.wrap(Kind.INPUT, b"\x7f"), 0)
    for body in (b"\x03\xff", b"\x07\x01", b"\x01\x01", b"", b"\x03"):  # above 2 * 127; 3 parties; 1 party; too short
        client = plan.client(0)
        client.set_input([1])
        client.start()
        client.receive(channel.wrap(Kind.SUM, body), "server")
        with pytest.raises(DecodeError):
            client.result()


@pytest.mark.parametrize(
    "arguments",
    [(1, 1, 1), (0, 1, 1), (True, 1, 1), (2.0, 1, 1), (2, 0, 1), (2, 1, 0), (2, 1, 65), (2, 1, "8"), (2, None, 8)],
)
def test_impossible_plans_are_refused(arguments):
    with pytest.raises(ParameterError):
        PlainSum.plan(*arguments)


def test_wrap_is_a_bool_and_keys_are_refused():
    with pytest.raises(ParameterError):
        PlainSum.plan(2, 1, 8, wrap=1)
    plan = PlainSum.plan(2, 1, 8)
    with pytest.raises(ParameterError):
        plan.client(0, keys=b"key")
    with pytest.raises(ParameterError):
        plan.server(keys=b"key")
    assert (plan.min_survivors, plan.min_honest, plan.rounds) == (2, 1, ("masked_input",))


def test_messages_of_another_plan_are_refused():
    up = Network.started(PlainSum.plan(2, 3, 8), np.zeros((2, 3), dtype=int)).up[0]
    for other in (PlainSum.plan(3, 3, 8), PlainSum.plan(2, 3, 7), PlainSum.plan(2, 3, 8, wrap=True)):
        server = other.server()
        server.start()
        with pytest.raises(DecodeError):
            server.receive(up, 0)


def test_a_server_digests_its_plan_once(monkeypatch):
    calls = []
    digest = secagg.plain.digest
    monkeypatch.setattr(secagg.plain, "digest", lambda *args: calls.append(args) or digest(*args))
    PlainSum.plan(1000, 1, 8).server()
    assert len(calls) == 1


def test_numpy_integers_plan_the_same_sum():
    plan = PlainSum.plan(np.int64(2), np.uint8(3), np.int32(8))
    assert plan == PlainSum.plan(2, 3, 8)
    assert {type(number) for number in (plan.num_parties, plan.dim, plan.value_bits)} == {int}
    assert simulate(plan, [[1, 2, 3], [4, 5, 6]]).total.tolist() == [5, 7, 9]
