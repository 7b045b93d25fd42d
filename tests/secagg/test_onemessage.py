"""Order, duplicates, authenticity and aborts: the same for every one-message protocol."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import (
    BFVSum,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    PeerProtocolError,
    PlainSum,
    State,
    TooFewSurvivorsError,
)
from secagg.envelope import Channel
from secagg.onemessage import OneMessageClient, OneMessageServer, SumReader
from tests.secagg.wires import Network, exact_sum, vectors_of

PLANS = [PlainSum.plan(3, 5, 8), BFVSum.plan(3, 5, 8), BFVSum.plan(5, 5, 8, dropout=0.4)]


@pytest.fixture(params=PLANS, ids=["plain", "bfv", "bfv-dropout"])
def plan(request):
    return request.param


@pytest.fixture
def network(plan):
    return Network.started(plan, vectors_of(plan, seed=1))


def test_every_client_opens_the_same_exact_sum(plan, network):
    down = network.closed()
    assert set(down) == set(range(plan.num_parties))
    for party, payload in down.items():
        client = network.clients[party]
        assert client.state is State.WAITING
        assert client.receive(payload, "server") == []
        assert client.state is State.SUMMED
        result = client.result()
        assert client.state is State.FINISHED
        assert result is client.result()
        assert result.total.dtype == np.uint64
        assert result.total.tolist() == exact_sum(vectors_of(plan, seed=1))
        assert result.survivors == list(range(plan.num_parties))
        assert (result.bytes_up[party], result.bytes_down[party]) == (len(network.up[party]), len(payload))
        assert result.bytes_up.sum() == result.bytes_up[party]


def test_order_of_delivery_does_not_matter(plan, network):
    down = network.closed(list(reversed(range(plan.num_parties))))
    network.clients[0].receive(down[0], "server")
    assert network.clients[0].result().total.tolist() == exact_sum(vectors_of(plan, seed=1))


def test_client_calls_out_of_order_are_refused_and_change_nothing(plan, network):
    down = network.closed()
    vector = vectors_of(plan, seed=1)[0]
    client = plan.client(0, keys=network.keys.clients[0])
    for call in (client.start, client.result, client.close_round, lambda: client.receive(down[0], "server")):
        with pytest.raises(LocalProtocolError):
            call()
        assert client.state is State.NEW
    client.set_input(vector)
    for call in (lambda: client.set_input(vector), client.result, lambda: client.receive(down[0], "server")):
        with pytest.raises(LocalProtocolError):
            call()
        assert client.state is State.READY
    client.start()
    for call in (lambda: client.set_input(vector), client.start, client.result, client.close_round):
        with pytest.raises(LocalProtocolError):
            call()
        assert client.state is State.WAITING


def test_server_calls_out_of_order_are_refused_and_change_nothing(plan, network):
    server = plan.server(keys=network.keys.server)
    for call in (lambda: server.receive(network.up[0], 0), server.close_round, server.result):
        with pytest.raises(LocalProtocolError):
            call()
        assert server.state is State.NEW
    assert server.start() == []
    for call in (server.start, server.result):
        with pytest.raises(LocalProtocolError):
            call()
        assert server.state is State.COLLECTING


def test_closed_rounds_stay_closed(network):
    network.closed()
    with pytest.raises(LocalProtocolError):
        network.server.close_round()
    with pytest.raises(PeerProtocolError) as caught:
        network.server.receive(network.up[0], 0)
    assert caught.value.peer == 0


def test_a_second_message_of_a_party_is_refused_and_not_added(plan, network):
    network.server.receive(network.up[0], 0)
    with pytest.raises(PeerProtocolError) as caught:
        network.server.receive(network.up[0], 0)
    assert caught.value.peer == 0
    down = network.closed(list(range(1, plan.num_parties)))
    network.clients[1].receive(down[1], "server")
    assert network.clients[1].result().total.tolist() == exact_sum(vectors_of(plan, seed=1))


def test_a_party_may_be_named_by_any_integer(plan, network):
    for party in range(plan.num_parties):
        assert network.server.receive(network.up[party], np.int64(party)) == []
    with pytest.raises(PeerProtocolError) as caught:
        network.server.receive(network.up[0], np.uint8(0))
    assert type(caught.value.peer) is int
    down = network.server.close_round()
    network.clients[0].receive(down[0].payload, "server")
    assert network.clients[0].result().survivors == list(range(plan.num_parties))


@pytest.mark.parametrize("sender", [np.int64(-1), 99, True, np.True_, 0.0, "0", None])
def test_an_unknown_sender_is_refused_and_not_added(network, sender):
    with pytest.raises(PeerProtocolError, match="sender must be a party's number"):
        network.server.receive(network.up[0], sender)
    network.server.receive(network.up[0], 0)


def test_a_second_sum_is_refused(network):
    down = network.closed()
    network.clients[0].receive(down[0], "server")
    with pytest.raises(PeerProtocolError):
        network.clients[0].receive(down[0], "server")
    network.clients[0].result()
    with pytest.raises(PeerProtocolError):
        network.clients[0].receive(down[0], "server")
    assert network.clients[0].state is State.FINISHED


@pytest.mark.parametrize("sender", [-1, 5, True, "server", "0", None, 0.0])
def test_unknown_senders_are_refused(network, sender):
    with pytest.raises(PeerProtocolError):
        network.server.receive(network.up[0], sender)


def test_nobody_can_send_for_another_party(network):
    with pytest.raises(DecodeError) as caught:
        network.server.receive(network.up[0], 1)
    assert caught.value.peer == 1


def test_clients_take_messages_of_the_server_only(network):
    down = network.closed()
    with pytest.raises(PeerProtocolError):
        network.clients[0].receive(down[0], 1)
    with pytest.raises(DecodeError):
        network.clients[0].receive(network.up[0], "server")
    with pytest.raises(DecodeError):
        network.clients[0].receive(down[1], "server")
    assert network.clients[0].state is State.WAITING


def test_too_few_inputs_open_nothing_and_leave_the_round_open(plan, network):
    short = plan.min_survivors - 1
    for party in range(short):
        network.server.receive(network.up[party], party)
    with pytest.raises(TooFewSurvivorsError) as caught:
        network.server.close_round()
    assert (caught.value.alive, caught.value.required) == (short, plan.min_survivors)
    assert network.server.state is State.COLLECTING
    assert set(network.closed([short])) == set(range(short + 1))


def test_aborted_sessions_do_nothing_more(plan, network):
    network.closed()
    network.clients[0].abort("the training stopped")
    network.server.abort("the training stopped")
    calls = [
        lambda: network.clients[0].receive(b"", "server"),
        network.clients[0].start,
        network.clients[0].result,
        lambda: network.clients[0].set_input(np.zeros(5, dtype=int)),
        lambda: network.server.receive(network.up[0], 0),
        network.server.start,
        network.server.close_round,
        network.server.result,
    ]
    for call in calls:
        with pytest.raises(LocalProtocolError, match="the training stopped"):
            call()
    assert network.clients[0].state is network.server.state is State.ABORTED


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(4, dtype=int),
        np.zeros((1, 5), dtype=int),
        np.zeros(5),
        np.full(5, np.nan),
        np.zeros(5, dtype=bool),
        np.array([0, 0, 0, 0, 256]),
        np.array([-1, 0, 0, 0, 0]),
        np.array([2**70, 0, 0, 0, 0], dtype=object),
        "vector",
        None,
    ],
    ids=["short", "2-d", "float", "nan", "bool", "large", "negative", "object", "text", "none"],
)
def test_bad_inputs_are_refused_and_leave_the_client_new(vector):
    client = PLANS[0].client(0)
    with pytest.raises(ParameterError):
        client.set_input(vector)
    assert client.state is State.NEW


def test_refusals_do_not_print_the_input():
    with pytest.raises(ParameterError) as caught:
        PLANS[0].client(0).set_input(np.array([0, 0, 0, 0, 987654]))
    assert "987654" not in str(caught.value)


def test_input_is_copied():
    vector = np.arange(5)
    client = PLANS[0].client(0)
    client.set_input(vector)
    vector[:] = 0
    (message,) = client.start()
    untouched = PLANS[0].client(0)
    untouched.set_input(np.arange(5))
    assert untouched.start()[0].payload == message.payload


@pytest.mark.parametrize("party", [-1, 3, True, 0.0, "0"])
def test_unknown_parties_have_no_session(party):
    with pytest.raises(ParameterError):
        PLANS[0].client(party)


@pytest.mark.parametrize("unused", [{"identity": b"key"}, {"guard": object()}])
def test_what_a_protocol_cannot_use_is_refused(plan, network, unused):
    with pytest.raises(ParameterError):
        plan.client(0, keys=network.keys.clients[0], **unused)


@pytest.fixture(scope="module")
def closed():
    network = Network.started(PLANS[1], vectors_of(PLANS[1], seed=2))
    return network, network.closed()


@settings(max_examples=150)
@given(data=st.data())
def test_any_damage_to_a_message_is_refused_and_changes_nothing(closed, data):
    network, down = closed
    up, payload = data.draw(st.sampled_from([(True, network.up[0]), (False, down[0])]))
    damaged = bytearray(payload)
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "drop"]))
    place = data.draw(st.integers(0, len(payload) - 1))
    if kind == "flip":
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del damaged[place:]
    elif kind == "insert":
        damaged.insert(place, data.draw(st.integers(0, 255)))
    else:
        del damaged[place]
    if bytes(damaged) == payload:
        return
    server = PLANS[1].server(keys=network.keys.server)
    server.start()
    target, sender = (server, 0) if up else (network.clients[0], "server")
    before = target.state
    with pytest.raises(DecodeError):
        target.receive(bytes(damaged), sender)
    assert target.state is before


def _with_opener(plan, vectors):
    """A plain sum whose parties read nothing: the server's sum goes to a third."""
    config = plan._config
    third = Channel(bytes(32), config, plan.num_parties, 1, bytes(range(32)), plan.bytes_down)
    channels = [Channel(bytes(32), config, party, 1, config, plan.bytes_up) for party in range(plan.num_parties)]
    work = plan.client(0)._work
    clients = [OneMessageClient(plan, channel, work) for channel in channels]
    server = OneMessageServer(plan, tuple(channels), plan.server()._work, third)
    server.start()
    for party, (client, vector) in enumerate(zip(clients, vectors, strict=True)):
        client.set_input(vector)
        (message,) = client.start()
        server.receive(message.payload, party)
    return clients, server, SumReader(plan, third, work)


def test_a_sum_that_a_third_opens_goes_to_it_alone():
    plan = PlainSum.plan(3, 5, 8)
    vectors = vectors_of(plan, seed=1)
    clients, server, reader = _with_opener(plan, vectors)
    (message,) = server.close_round()
    assert message.dst == "opener"
    for client in clients:
        assert client.state is State.FINISHED
        with pytest.raises(LocalProtocolError, match="opener's"):
            client.receive(message.payload, "server")
        with pytest.raises(LocalProtocolError, match="opener's"):
            client.result()
    with pytest.raises(LocalProtocolError, match="comes after the server's sum"):
        reader.result()
    with pytest.raises(PeerProtocolError):
        reader.receive(message.payload, 0)
    with pytest.raises(DecodeError):
        reader.receive(message.payload[:-1], "server")
    assert reader.receive(message.payload, "server") == []
    with pytest.raises(PeerProtocolError, match="second sum"):
        reader.receive(message.payload, "server")
    assert reader.result().total.tolist() == exact_sum(vectors)
    assert reader.result() is reader.result()
    assert reader.state is State.FINISHED


def test_a_reader_has_one_attempt_even_if_it_is_interrupted():
    plan = PlainSum.plan(3, 5, 8)
    _, server, reader = _with_opener(plan, vectors_of(plan, seed=1))
    reader.receive(server.close_round()[0].payload, "server")

    class Interrupted:
        def open(self, body, survivors, progress):
            raise KeyboardInterrupt

    reader._work = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        reader.result()
    with pytest.raises(LocalProtocolError, match="aborted: the sum did not verify"):
        reader.result()


@pytest.mark.parametrize("plan", PLANS[1:], ids=["bfv", "bfv-dropout"])
def test_whoever_gives_up_on_the_way_has_given_up(plan, network):
    """Where they are told of progress, users cancel."""
    client = plan.client(0, keys=network.keys.clients[0])
    client.set_input(vectors_of(plan, seed=1)[0])
    with pytest.raises(LocalProtocolError, match="aborted: cancelled"):
        client.start(lambda *_: client.abort("cancelled"))
    assert (client.state, client._input) == (State.ABORTED, None)
    reading = network.clients[0]
    reading.receive(network.closed()[0], "server")
    with pytest.raises(LocalProtocolError, match="aborted: cancelled"):
        reading.result(lambda *_: reading.abort("cancelled"))
    assert (reading.state, reading._result, reading._reader._result) == (State.ABORTED, None, None)
    with pytest.raises(LocalProtocolError, match="aborted: cancelled"):
        reading.result()


def test_an_input_is_sent_once_whatever_is_called_on_the_way():
    network = Network.started(PLANS[1], vectors_of(PLANS[1], seed=1))
    client, sent = PLANS[1].client(0, keys=network.keys.clients[0]), []
    client.set_input(vectors_of(PLANS[1], seed=1)[0])
    with pytest.raises(LocalProtocolError, match="called once"):
        client.start(lambda *_: sent.extend(client.start()))
    assert len(sent) == 1
    assert client.state is State.WAITING


def test_a_start_that_was_interrupted_can_be_repeated():
    network = Network.started(PLANS[1], vectors_of(PLANS[1], seed=1))
    client = PLANS[1].client(0, keys=network.keys.clients[0])
    client.set_input(vectors_of(PLANS[1], seed=1)[0])

    def interrupted(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.start(interrupted)
    assert client.state is State.READY
    network.up[0] = client.start()[0].payload
    network.clients[1].receive(network.closed()[1], "server")
    assert network.clients[1].result().total.tolist() == exact_sum(vectors_of(PLANS[1], seed=1))


def test_a_sum_for_many_is_in_memory_once():
    """What is sent to each is made when it is taken, and is the same each time."""
    plan = PlainSum.plan(50, 20_000, 32)
    network = Network.started(plan, np.zeros((50, 20_000), dtype=np.uint64))
    for party, payload in enumerate(network.up):
        network.server.receive(payload, party)
    tracemalloc.start()
    outgoing = network.server.close_round()
    sizes = [len(message.payload) for message in outgoing]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(outgoing) == len(sizes) == 50
    # 50 messages of 160 kB each would be 8 MB; a few copies of one are on the way at a time
    assert peak < 6 * max(sizes)
    assert [message.dst for message in outgoing] == list(range(50))
    assert outgoing[3] == list(outgoing)[3]
    assert list(outgoing[1:3]) == list(outgoing)[1:3]
    assert outgoing[-1].dst == 49
