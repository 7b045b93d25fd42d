"""What all sessions have in common, on the smallest ones there are."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import numpy as np
import pytest

from secagg import BFVSum, PlainSum, SecAgg, SecAggPlus, ThresholdSum
from secagg.api import State
from secagg.errors import LocalProtocolError, ParameterError, PeerProtocolError
from secagg.masking.client import MaskingClient
from secagg.masking.server import MaskingServer
from secagg.onemessage import OneMessageServer
from secagg.session import PartySession, SummingSession, check_server, in_turn, one_at_a_time
from secagg.threshold.client import ThresholdClient
from secagg.threshold.server import ThresholdServer


class Party(PartySession):
    """A party that takes vectors of three entries."""

    def _checked(self, vector):
        if len(vector) != 3:
            raise ParameterError("vector must have 3 entries.")
        return np.array(vector)

    def _forget(self):
        self._input = None


def test_an_input_is_given_once_and_copied():
    party, vector = Party(), np.arange(3)
    assert party.state is State.NEW
    party.set_input(vector)
    vector[:] = 7
    assert party.state is State.READY
    assert party._input.tolist() == [0, 1, 2]
    with pytest.raises(LocalProtocolError, match="called once, before start; this session is 'ready'"):
        party.set_input(np.zeros(3))
    assert party._input.tolist() == [0, 1, 2]


def test_an_input_that_does_not_fit_leaves_the_session_new():
    party = Party()
    with pytest.raises(ParameterError):
        party.set_input([1])
    assert party.state is State.NEW
    party.set_input([1, 2, 3])


def test_after_an_abort_nothing_is_left_and_nothing_happens():
    party = Party()
    party.set_input([1, 2, 3])
    party.abort("the user left")
    assert party.state is State.ABORTED
    assert party._input is None
    with pytest.raises(LocalProtocolError, match="this session was aborted: the user left"):
        party.set_input([1, 2, 3])


def test_only_the_server_closes_a_round():
    with pytest.raises(LocalProtocolError, match="belongs to the server"):
        Party().close_round()


@pytest.mark.parametrize("sender", [0, "opener", b"server", None, np.str_("client")])
def test_parties_hear_from_the_server_alone(sender):
    check_server("server")
    with pytest.raises(PeerProtocolError, match="sender must be 'server'"):
        check_server(sender)


@pytest.mark.parametrize("sender", [-1, 3, "server", 1.0, True, None])
def test_the_server_hears_from_numbered_parties(sender):
    server = SummingSession(3)
    assert [server._party(party) for party in (0, np.int64(1), np.uint8(2))] == [0, 1, 2]
    with pytest.raises(PeerProtocolError, match="sender must be a party's number, 0 to 2"):
        server._party(sender)


LOST = {"corrupt": 0.0, "dropout": 0.2}
PLANS = {
    "plain": PlainSum.plan(5, 2, 8),
    "encrypted": BFVSum.plan(5, 2, 8),
    "opened": BFVSum.plan(5, 2, 8, key="public"),
    "masked": SecAgg.plan(5, 2, 8, adversary="malicious", **LOST),
    "graph": SecAggPlus.plan(5, 2, 8, adversary="semi_honest", **LOST),
    "threshold": ThresholdSum.plan(5, 2, 8, threshold=4, **LOST),
}


@pytest.mark.parametrize("name", PLANS)
def test_parties_and_openers_are_not_copied(name):
    """A copy of a party would be asked for one secret of another, and the party for the other."""
    plan = PLANS[name]
    keys = plan.keygen()
    sessions = [plan.client(1, keys=keys.clients[1])]
    sessions += [] if keys.opener is None else [plan.opener(keys=keys.opener)]
    for session in sessions:
        for way in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(LocalProtocolError, match="not pickled or copied"):
                way(session)


class Busy(Party):
    """A party at work."""

    @one_at_a_time
    def receive(self, meanwhile):
        return meanwhile()


class Adding(SummingSession):
    """A server that adds in two steps."""

    total = 0

    @in_turn
    def receive(self, number, meanwhile=lambda: None):
        before = self.total
        meanwhile()
        self.total = before + number


def in_a_thread(function, *args):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).exception()


def test_of_two_calls_at_once_one_is_answered():
    """From another thread, and from a callback."""
    party = Busy()
    for call in (in_a_thread, lambda function, *args: error_of(lambda: function(*args))):
        refused = party.receive(lambda call=call: call(party.receive, list))
        assert isinstance(refused, LocalProtocolError)
        assert "one call at a time" in str(refused)
    with pytest.raises(KeyboardInterrupt):
        party.receive(interrupted)
    assert party.receive(lambda: "again") == "again"
    for session in (MaskingClient, ThresholdClient):
        assert all(hasattr(getattr(session, step), "__wrapped__") for step in ("start", "receive"))


def error_of(function):
    try:
        return function()
    except LocalProtocolError as error:
        return error


def interrupted():
    raise KeyboardInterrupt


def test_of_two_inputs_at_once_none_is_lost():
    server, threads = Adding(3), []

    def meanwhile():
        threads.append(Thread(target=server.receive, args=(10,)))
        threads[0].start()
        threads[0].join(0.05)

    server.receive(1, meanwhile)
    threads[0].join()
    assert server.total == 11
    for session in (OneMessageServer, MaskingServer, ThresholdServer):
        assert all(hasattr(getattr(session, step), "__wrapped__") for step in ("receive", "close_round"))
