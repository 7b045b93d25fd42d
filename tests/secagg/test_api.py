"""Every protocol offers what SumProtocol promises, and says it in its plan."""

import inspect

import pytest

import secagg
from secagg.api import ClientSession, ServerSession, State, SumProtocol
from tests.secagg.wires import Network, vectors_of

PLANS = [
    secagg.PlainSum.plan(4, 5, 8),
    secagg.PlainSum.plan(4, 5, 8, wrap=True),
    secagg.BFVSum.plan(5, 5, 8, dropout=0.2),
]
NAMES = [name for name in vars(SumProtocol) if not name.startswith("_")]


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_plan_has_every_member_with_its_parameters(plan):
    for name in NAMES:
        assert hasattr(plan, name), name
        promised = inspect.getattr_static(SumProtocol, name)
        if not isinstance(promised, property):
            wanted = list(inspect.signature(promised).parameters)[1:]
            assert list(inspect.signature(getattr(plan, name)).parameters) == wanted


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_plan_is_frozen_hashable_and_consistent(plan):
    with pytest.raises(AttributeError):
        plan.num_parties = 3
    assert len({plan, plan}) == 1
    assert 1 <= plan.min_honest == plan.min_survivors - 1 < plan.num_parties
    assert plan.rounds == ("masked_input",)
    assert plan.promise.startswith(type(plan).__name__)


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_sessions_walk_through_their_states(plan):
    network = Network.started(plan, vectors_of(plan, 1))
    client, server = network.clients[0], network.server
    for session, role in ((client, ClientSession), (server, ServerSession)):
        assert [name for name in vars(role) if not name.startswith("_") and not hasattr(session, name)] == []
    assert (client.state, server.state) == (State.WAITING, State.COLLECTING)
    for party, payload in enumerate(network.up):
        server.receive(payload, party)
    messages = {message.dst: message.payload for message in server.close_round()}
    assert server.state is State.SUMMED
    client.receive(messages[0], "server")
    assert client.state is State.SUMMED
    client.result()
    assert client.state is State.FINISHED
    client.abort("done")
    assert client.state is State.ABORTED
