"""Plans of masked sums: what they promise and cost, what all sides must agree on, and sessions made of them."""

from __future__ import annotations

import numpy as np
import pytest

from secagg.errors import CapacityError, LocalProtocolError, ParameterError
from secagg.masking.parameters import complete_graph, harary_graph
from secagg.masking.plans import SecAgg, SecAggPlus
from secagg.masking.task import PartyKeys, Registry, Task
from tests.oracles.masked_sessions import Play, remembered
from tests.secagg.wires import Stream

SEMI_HONEST = {"adversary": "semi_honest", "corrupt": 0.0, "dropout": 0.4}
MALICIOUS = SEMI_HONEST | {"adversary": "malicious"}
PLANS = {
    "semi-honest": SecAgg.plan(5, 3, 8, **SEMI_HONEST),
    "wrap": SecAgg.plan(5, 3, 64, **SEMI_HONEST, wrap=True),
    "malicious": SecAgg.plan(5, 3, 8, **MALICIOUS),
    "graph": SecAggPlus.plan(7, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.3),
    "semi-malicious": SecAggPlus.plan(7, 3, 8, adversary="semi_malicious", corrupt=0.0, dropout=0.2),
    "small": SecAggPlus.plan(4, 3, 8, adversary="semi_malicious", corrupt=0.0, dropout=0.25),
}


@pytest.fixture(params=PLANS)
def plan(request):
    return PLANS[request.param]


def test_the_numbers_are_those_of_the_thresholds():
    for n, corrupt, dropout in ((5, 0.0, 0.4), (20, 0.1, 0.2), (100, 0.05, 0.05)):
        for adversary in ("semi_honest", "malicious", "semi_malicious"):
            plans = [(SecAgg, complete_graph)] if adversary != "semi_malicious" else []
            plans += [(SecAggPlus, harary_graph)] if adversary != "malicious" else []
            for kind, thresholds in plans:
                plan = kind.plan(n, 4, 6, adversary=adversary, corrupt=corrupt, dropout=dropout)
                expected = thresholds(n, adversary=adversary, corrupt=corrupt, dropout=dropout)
                assert plan.thresholds == expected
                assert (plan.threshold, plan.neighbours) == (expected.threshold, expected.neighbours)
                assert (plan.min_survivors, plan.min_honest) == (expected.min_survivors, expected.min_honest)
                assert plan.modulus_bits == (n * 63).bit_length()


def test_two_lists_of_survivors_never_both_have_a_quorum():
    for n in range(3, 40):
        for bad in range(n // 3):
            for adversary, kind in (("malicious", SecAgg), ("semi_malicious", SecAggPlus)):
                try:
                    plan = kind.plan(n, 1, 8, adversary=adversary, corrupt=(bad + 0.5) / n if bad else 0.0, dropout=0.1)
                except ParameterError:
                    continue
                quorum, honest = plan._layout.quorum, n - plan.thresholds.corrupt
                most = max(
                    min(one + plan.thresholds.corrupt, honest - one + plan.thresholds.corrupt)
                    for one in range(honest + 1)
                )
                assert most < quorum, "corrupt parties sign both"
                assert quorum <= plan.min_survivors, "those who are left can reach it"


def test_rounds_and_who_signs(plan):
    layout = plan._layout
    assert plan.rounds == ("advertise", "share_keys", "masked_input") + (
        ("unmask",) if plan.adversary == "semi_honest" else ("consistency", "unmask")
    )
    assert (layout.quorum > 0) == (plan.adversary != "semi_honest")
    assert layout.signed == (plan.adversary == "malicious")
    assert layout.is_complete == (plan.neighbours == plan.num_parties - 1)
    assert layout.own_share == layout.is_complete


def test_the_promise_says_against_whom(plan):
    assert plan.adversary.replace("_", "-") in plan.promise
    assert str(plan.min_honest) in plan.promise
    assert "\n" not in plan.promise


def test_bytes_are_what_is_sent(plan):
    play = Play.of(plan, seed=2)
    result = play.finish()
    up, down = (
        [sum(len(payload) for party, payload in side if party == number) for number in range(plan.num_parties)]
        for side in (play.up, play.down)
    )
    # nobody holds a share of its own secrets on a smaller graph; a set of k parties may take a byte less than of k + 1
    assert set(up) == {plan.bytes_up}
    assert set(down) <= {plan.bytes_down, plan.bytes_down - 1}
    assert result.bytes_up.tolist() == up
    assert result.bytes_down.tolist() == down
    assert result.seconds == 0.0


def test_bytes_are_never_more_if_some_drop_out(plan):
    for name in plan.rounds:
        play = Play.of(plan, seed=3)
        assert play.played_out({name: [1]}) >= {0, *range(2, plan.num_parties)}
        for side, most in ((play.up, plan.bytes_up), (play.down, plan.bytes_down)):
            spent = [sum(len(payload) for party, payload in side if party == n) for n in range(plan.num_parties)]
            assert max(spent) <= most


def test_everything_follows_from_the_seed(plan):
    first, again, other = (Play.of(plan, seed) for seed in (4, 4, 5))
    for play in (first, again, other):
        play.finish()
    assert first.up == again.up
    assert first.down == again.down
    assert not {payload for _, payload in first.up} & {payload for _, payload in other.up}


def test_plans_that_differ_have_tasks_that_differ():
    base = {"num_parties": 20, "dim": 4, "value_bits": 8, "corrupt": 0.1, "dropout": 0.2, "wrap": False}
    changes = [{"num_parties": 21}, {"dim": 5}, {"value_bits": 9}, {"wrap": True}, {"dropout": 0.1}, {"corrupt": 0.2}]
    plans = [SecAgg.plan(**base | change, adversary="malicious") for change in ({}, *changes)]
    plans += [kind.plan(**base, adversary="semi_honest") for kind in (SecAgg, SecAggPlus)]
    plans += [SecAggPlus.plan(**base, adversary="semi_malicious")]
    assert len({plan._config for plan in plans}) == len(plans)


def test_numbers_of_other_integer_types_are_the_same_plan():
    plan = SecAgg.plan(np.int64(5), np.int32(3), np.uint8(8), **SEMI_HONEST)
    assert plan._config == PLANS["semi-honest"]._config
    assert Play.of(plan).finish().survivors == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"num_parties": 2}, ParameterError),
        ({"dim": 0}, ParameterError),
        ({"dim": 2.5}, ParameterError),
        ({"value_bits": 0}, ParameterError),
        ({"value_bits": 64}, CapacityError),
        ({"adversary": "semi_malicious"}, ParameterError),
        ({"adversary": "honest"}, ParameterError),
        ({"corrupt": -0.1}, ParameterError),
        ({"dropout": 1.0}, ParameterError),
        ({"dropout": 0.8}, ParameterError),
        ({"corrupt": 0.1}, ParameterError),
        ({"wrap": 1}, ParameterError),
    ],
)
def test_what_cannot_be_kept_is_refused(change, error):
    arguments = {"num_parties": 5, "dim": 3, "value_bits": 8} | SEMI_HONEST | change
    with pytest.raises(error):
        SecAgg.plan(**arguments)


def test_smaller_graphs_do_not_offer_lying_servers():
    with pytest.raises(ParameterError, match="adversary"):
        SecAggPlus.plan(7, 3, 8, adversary="malicious", corrupt=0.0, dropout=0.2)


def test_more_corrupt_parties_than_lists_can_bear_are_refused():
    with pytest.raises(ParameterError, match="corrupt"):
        SecAgg.plan(5, 3, 8, adversary="malicious", corrupt=0.2, dropout=0.4)


def test_keys_are_a_task_of_its_own_and_identities_where_they_sign(plan):
    keys, again = plan.keygen(Stream(1)), plan.keygen(Stream(2))
    assert keys.server.task.nonce != again.server.task.nonce
    assert {held.task for held in keys.clients} == {keys.server.task}
    assert len(keys.clients) == plan.num_parties
    if plan.adversary == "malicious":
        with pytest.raises(LocalProtocolError, match="verifying only"):
            keys.server.identity.sign(b"m")
        assert keys.server.identity.verify(1, b"m", keys.clients[1].identity.sign(b"m"))
    else:
        assert keys.server.identity is None
    for party, held in enumerate(keys.clients):
        assert (held.identity is not None) == (plan.adversary == "malicious")
        if held.identity is not None:
            assert held.identity.verify(party, b"m", held.identity.sign(b"m"))
            assert not held.identity.verify((party + 1) % plan.num_parties, b"m", held.identity.sign(b"m"))


def test_sessions_are_made_of_a_task_that_the_caller_made():
    plan, task = PLANS["semi-honest"], Task(bytes([1]) * 32, 3, bytes([2]) * 32)
    client = plan.client(0, keys=task)
    client.set_input([1, 2, 3])
    assert plan.server(keys=task).state == "new"
    other = plan.client(0, keys=PartyKeys(Task(bytes([3]) * 32, 3, bytes([2]) * 32)))
    assert client._task != other._task


def test_each_session_draws_a_seed_of_its_own():
    plan = PLANS["semi-honest"]
    task = plan.keygen().server
    one, two = (remembered(plan.client(0, keys=task)) for _ in range(2))
    assert one != two


@pytest.mark.parametrize("party", [-1, 5, 1.0, True, "0", None])
def test_a_party_that_is_none_gets_no_session(party):
    with pytest.raises(ParameterError, match="party"):
        PLANS["semi-honest"].client(party, keys=PLANS["semi-honest"].keygen().server)


@pytest.mark.parametrize("keys", [None, b"key", 3, object()])
def test_sessions_need_a_task(keys):
    for make in (lambda: PLANS["graph"].client(0, keys=keys), lambda: PLANS["graph"].server(keys=keys)):
        with pytest.raises(ParameterError, match="keys must be a Task"):
            make()


def test_identities_are_needed_where_the_server_may_lie_and_nowhere_else():
    malicious, honest = PLANS["malicious"], PLANS["semi-honest"]
    signer = malicious.keygen().clients[0].identity
    assert isinstance(signer, Registry)
    task = malicious.keygen().server.task
    assert malicious.client(0, keys=task, identity=signer).state == "new"
    for identity in (None, object(), b"key"):
        with pytest.raises(ParameterError, match="identity must have sign and verify"):
            malicious.client(0, keys=task, identity=identity)
    with pytest.raises(ParameterError, match="identity must be None"):
        honest.client(0, keys=task, identity=signer)


def test_a_guard_is_asked_or_is_none():
    with pytest.raises(ParameterError, match="guard must have claim"):
        PLANS["graph"].client(0, keys=PLANS["graph"].keygen().server, guard=object())


@pytest.mark.parametrize("entropy", [3, object()])
def test_entropy_must_give_bytes(entropy):
    plan = PLANS["graph"]
    for make in (plan.keygen, lambda entropy: plan.client(0, keys=plan.keygen().server, entropy=entropy)):
        with pytest.raises(ParameterError, match="entropy"):
            make(entropy)
