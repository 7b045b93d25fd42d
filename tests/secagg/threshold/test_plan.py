"""The plan: exact sums whoever drops out when, the kit of third parties, and what cannot be promised is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import secagg
from secagg._rehearsal import Source
from secagg.api import ClientSession, Keys, ServerSession, SumProtocol
from secagg.errors import CapacityError, DecodeError, ParameterError, TooFewSurvivorsError
from secagg.masking.keys import KeyPair
from secagg.testing import check_all
from secagg.threshold.keys import ThresholdKeys, ThresholdServerKeys
from secagg.threshold.plan import ThresholdSum
from tests.secagg.threshold.sessions import EIGHT, PACKED, PLAN, VECTORS, Play, refuses


@pytest.mark.parametrize(
    ("n", "value_bits", "terms"),
    [
        (3, 32, {"threshold": 3, "corrupt": 0.0, "dropout": 0.0}),
        (6, 16, {"threshold": 5, "corrupt": 0.2, "dropout": 0.2}),
        (7, 1, {"threshold": 5, "corrupt": 0.0, "dropout": 0.3}),
        (8, 16, {"threshold": 7, "corrupt": 0.125, "dropout": 0.125}),
        (7, 8, {"threshold": 7, "corrupt": 0.0, "dropout": 0.0}),
    ],
)
def test_the_conformance_kit_passes(n, value_bits, terms):
    check_all(lambda parties, dim: ThresholdSum.plan(parties, dim, value_bits, **terms), num_parties=n, dim=130)


@pytest.mark.parametrize(("plan", "vectors"), [(PLAN, VECTORS), (PACKED, EIGHT)], ids=["plain", "packed"])
def test_the_sum_is_exact_whoever_drops_out(plan, vectors):
    """Nobody, every one of them in every round, and two in any rounds, one more than planned."""
    for gone in ((), *((party,) for party in range(len(vectors))), (0, 5), (2, 3)):
        for rounds in itertools.product(plan.rounds, repeat=len(gone)):
            dropouts = {name: [p for p, r in zip(gone, rounds, strict=True) if r == name] for name in plan.rounds}
            silent = {p for name in plan.rounds[:2] for p in dropouts[name]}
            there = [p for p in range(len(vectors)) if p not in silent]
            if len(gone) <= 1:
                result = secagg.simulate(plan, vectors, dropouts=dropouts)
                assert result.survivors == there
                assert result.total.tolist() == vectors[there].sum(axis=0).tolist()
            else:
                with pytest.raises(TooFewSurvivorsError):
                    secagg.simulate(plan, vectors, dropouts=dropouts)


def test_a_threshold_below_what_is_left_opens_without_more_than_planned():
    """Two of nine are gone in the last round, one may be; one coefficient to a polynomial leaves room for that."""
    vectors = np.arange(27, dtype=np.uint64).reshape(9, 3)
    for threshold, opens in ((7, True), (8, False)):
        plan = ThresholdSum.plan(9, 3, 8, threshold=threshold, corrupt=0.0, dropout=0.12)
        if opens:
            result = secagg.simulate(plan, vectors, dropouts={"reveal": [1, 8]})
            assert result.total.tolist() == vectors.sum(axis=0).tolist()
        else:
            with pytest.raises(TooFewSurvivorsError, match="reveal"):
                secagg.simulate(plan, vectors, dropouts={"reveal": [1, 8]})


@given(
    n=st.integers(3, 12),
    dim=st.integers(1, 300),
    bits=st.integers(1, 40),
    corrupt=st.integers(0, 3),
    seed=st.integers(0),
)
def test_totals_are_those_of_plain_sums(n, dim, bits, corrupt, seed):
    least = (2 * n + corrupt) // 3 + 1
    share = (corrupt + 0.5) / n if corrupt else 0.0
    if n - corrupt < 2 or least > n:
        return
    plan = ThresholdSum.plan(n, dim, bits, threshold=least + seed % (n - least + 1), corrupt=share, dropout=0.0)
    vectors = np.random.default_rng(seed).integers(0, 1 << bits, (n, dim), dtype=np.uint64)
    result = secagg.simulate(plan, vectors, entropy=Source(seed, "all"))
    assert result.total.tolist() == secagg.simulate(secagg.PlainSum.plan(n, dim, bits), vectors).total.tolist()
    assert (result.bytes_up == plan.bytes_up).all()
    assert (result.bytes_down == plan.bytes_down).all()


def test_a_plan_has_every_member_of_a_sum_protocol():
    for name in (name for name in vars(SumProtocol) if not name.startswith("_")):
        assert hasattr(PLAN, name), name
    keys = PLAN.keygen()
    for session, role in (
        (PLAN.client(0, keys=keys.clients[0]), ClientSession),
        (PLAN.server(keys=keys.server), ServerSession),
    ):
        assert [name for name in vars(role) if not name.startswith("_") and not hasattr(session, name)] == []


def test_parties_that_make_their_own_keys_have_the_same_sum():
    secrets, own, session = [bytes([k]) * 32 for k in range(1, 7)], bytes([9]) * 32, bytes(range(32))
    roster, server = tuple(KeyPair(secret).public for secret in secrets), KeyPair(own).public
    clients = tuple(ThresholdKeys(party, session, secret, roster, server) for party, secret in enumerate(secrets))
    play = Play(keys=Keys(clients, ThresholdServerKeys(session, own, roster))).to_survivors().answer().close()
    assert play.server.result().total.tolist() == VECTORS.sum(axis=0).tolist()


def test_a_party_with_another_roster_is_not_understood():
    """A server that put its own key into one party's roster is found out by the first message."""
    keys = PLAN.keygen(Source(0, "keys"))
    forged = (*keys.clients[1].roster[:5], KeyPair(bytes(32)).public)
    clients = [*keys.clients]
    clients[1] = replace(keys.clients[1], roster=forged)
    play = Play(keys=replace(keys, clients=tuple(clients))).start()
    refuses(play.server, play.sent[1], 1, DecodeError)
    play.close(gone=[1])
    with pytest.raises(DecodeError):
        play.clients[1].receive(play.told[0], "server")


def test_a_plan_says_what_holds():
    plan = ThresholdSum.plan(15, 10**6, 16, threshold=12, corrupt=0.1, dropout=0.2)
    assert (plan.min_survivors, plan.min_honest, plan.modulus_bits, plan.wrap) == (12, 11, 60, False)
    assert plan.rounds == ("share_keys", "masked_input", "reveal")
    assert plan.packed == plan.thresholds.packed == 2
    for words in (
        "up to 1 of 15 parties",
        "11 honest",
        "takes 12 answers",
        "what 10 parties hold",
        "nobody has audited",
        "no snapshots",
        "stddev 3.2",
    ):
        assert words in plan.promise
    assert hash(plan) == hash(replace(plan))


@pytest.mark.parametrize(("n", "most"), [(15, 0.74), (64, 0.85), (128, 0.90)])
def test_messages_are_no_longer_than_floats(n, most):
    plan = ThresholdSum.plan(n, 10**6, 16, threshold=n - n // 10, corrupt=0.1, dropout=0.1)
    assert plan.bytes_up <= most * 4e6
    assert plan.bytes_down <= 0.015 * 4e6


def test_a_larger_threshold_makes_shorter_messages():
    for n in range(10, 129):
        least, most = (2 * n + n // 10) // 3 + 1, n - n // 10
        plans = [ThresholdSum.plan(n, 10**6, 16, threshold=t, corrupt=0.1, dropout=0.1) for t in range(least, most + 1)]
        assert [plan.packed for plan in plans] == list(range(1, most - least + 2))
        sizes = [plan.bytes_up for plan in plans]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[-1] <= 0.90 * 4e6
        assert {plan.thresholds.silent for plan in plans} == {least - 1}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"num_parties": 2}, ParameterError),
        ({"num_parties": 401}, ParameterError),
        ({"threshold": 10}, ParameterError),
        ({"threshold": 13}, ParameterError),
        ({"corrupt": 0.01}, ParameterError),
        ({"dropout": 0.4}, ParameterError),
        ({"dim": 0}, ParameterError),
        ({"dim": 2.0}, ParameterError),
        ({"value_bits": 65}, ParameterError),
        ({"value_bits": 48}, CapacityError),
    ],
)
def test_what_cannot_be_promised_is_refused(wrong, error):
    terms = {"num_parties": 15, "dim": 4, "value_bits": 8, "threshold": 12, "corrupt": 0.1, "dropout": 0.2, **wrong}
    with pytest.raises(error):
        ThresholdSum.plan(**terms)


def test_one_party_more_than_the_noise_leaves_room_for_is_refused():
    """47 bits of 16 parties fit beside their noise, and not of 17: a field has a bit more."""
    largest = [n for n in range(3, 40) if _fits(n, 47)]
    assert largest == list(range(3, largest[-1] + 1))
    with pytest.raises(CapacityError, match="use fewer value_bits or fewer parties"):
        ThresholdSum.plan(largest[-1] + 1, 4, 47, threshold=largest[-1] + 1, corrupt=0.0, dropout=0.0)


def _fits(n, bits):
    try:
        ThresholdSum.plan(n, 4, bits, threshold=n, corrupt=0.0, dropout=0.0)
    except CapacityError:
        return False
    return True


def test_sessions_need_the_keys_of_this_many_parties():
    keys, others = PLAN.keygen(), ThresholdSum.plan(7, 3, 8, threshold=5, corrupt=0.0, dropout=0.0).keygen()
    for wrong in (None, keys, keys.server, keys.clients[1], others.clients[0]):
        with pytest.raises(ParameterError, match="keys must be the ThresholdKeys"):
            PLAN.client(0, keys=wrong)
    for wrong in (None, keys, keys.clients[0], others.server):
        with pytest.raises(ParameterError, match="keys must be the ThresholdServerKeys"):
            PLAN.server(keys=wrong)
    for unused in ({"identity": object()}, {"guard": object()}):
        with pytest.raises(ParameterError, match="must be None"):
            PLAN.client(0, keys=keys.clients[0], **unused)
    low = replace(keys.clients[0], server=bytes(32))
    with pytest.raises(ParameterError, match="low order"):
        PLAN.client(0, keys=low)


def test_the_digest_differs_by_every_number_of_a_plan():
    digests = [PACKED._config]
    for part in ("thresholds", "packing"):
        numbers = getattr(PACKED, part)
        for name in set(numbers.__slots__) - {"num_parties", "dim", "value_bits"}:
            other = replace(PACKED)
            object.__setattr__(other, part, replace(numbers, **{name: getattr(numbers, name) + 1}))
            digests.append(other._config)
    assert len(digests) == 10
    assert len(set(digests)) == 10


def test_a_plan_of_other_terms_is_another_session():
    """Whoever plans otherwise is not understood, whatever the difference is."""
    plans = [PLAN, replace(PLAN, corrupt=0.0), replace(PLAN, dim=4), replace(PLAN, value_bits=9)]
    more = ThresholdSum.plan(9, 3, 8, threshold=7, corrupt=0.0, dropout=0.2)
    plans += [more, replace(more, threshold=8), replace(more, dropout=0.0, threshold=9), replace(more, dropout=0.25)]
    assert len({plan._config for plan in plans}) == len(plans)
