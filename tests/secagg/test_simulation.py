from __future__ import annotations

import gc
import itertools
import weakref
from dataclasses import replace

import numpy as np
import pytest

from secagg import (
    BFVSum,
    DecodeError,
    FixedPoint,
    LocalProtocolError,
    ParameterError,
    PlainSum,
    SecAgg,
    SecAggPlus,
    TooFewSurvivorsError,
    WeightedMean,
    offset_decode,
    offset_encode,
    simulate,
)
from secagg.adversaries import Letter, Report
from secagg.envelope import Kind
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
    for codec in (WeightedMean(FixedPoint(4, 1.0), 4), 8, "FixedPoint"):
        with pytest.raises(ParameterError, match="must be a FixedPoint or None"):
            simulate(PLANS[0], reals, codec=codec)


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


# Whoever owns the wire


class Wire:
    """An adversary that is one function."""

    def __init__(self, carry):
        self.report, self._carry, self.letters = Report(), carry, []

    def attack(self, scene):
        self.scene = scene
        return self.carry

    def carry(self, letter):
        self.letters.append(letter)
        return self._carry(letter)


EVERY = [
    PlainSum.plan(4, 3, 8),
    SecAgg.plan(5, 3, 8, adversary="malicious", corrupt=0.0, dropout=0.4),
    SecAggPlus.plan(7, 3, 8, adversary="semi_malicious", corrupt=0.0, dropout=0.2),
]
NAMES = ["plain", "malicious", "semi-malicious"]


@pytest.mark.parametrize("plan", EVERY, ids=NAMES)
def test_a_wire_that_carries_everything_changes_nothing(plan):
    gone = {} if isinstance(plan, PlainSum) else {"share_keys": [2]}
    vectors, wire = vectors_of(plan, 1), Wire(lambda letter: [letter])
    alone = simulate(plan, vectors, dropouts=gone, entropy=Stream(1))
    watched = simulate(plan, vectors, dropouts=gone, entropy=Stream(1), adversary=wire)
    assert watched.total.tolist() == alone.total.tolist() == exact_sum(vectors[alone.survivors])
    assert watched.survivors == alone.survivors
    assert (watched.bytes_up == alone.bytes_up).all()
    assert (watched.bytes_down == alone.bytes_down).all()
    assert wire.report.refusals == []
    assert [sum(len(one.payload) for one in wire.letters if one.src == party) for party in range(plan.num_parties)] == (
        alone.bytes_up.tolist()
    )
    assert wire.scene.plan is plan
    assert {letter.round for letter in wire.letters} == set(plan.rounds)


@pytest.mark.parametrize("plan", EVERY[1:], ids=NAMES[1:])
def test_messages_that_never_arrive_are_drop_outs(plan):
    vectors = vectors_of(plan, 1)
    for name in plan.rounds:
        lost = simulate(
            plan,
            vectors,
            entropy=Stream(1),
            adversary=Wire(lambda one, name=name: [] if (one.round, one.src) == (name, 3) else [one]),
        )
        gone = simulate(plan, vectors, entropy=Stream(1), dropouts={name: [3]})
        assert (lost.survivors, lost.total.tolist()) == (gone.survivors, gone.total.tolist())
        assert lost.bytes_up[3] > gone.bytes_up[3], "it did send"
        assert (lost.bytes_down == gone.bytes_down).all()


def test_bytes_down_are_what_arrives():
    plan = EVERY[1]
    wire = Wire(lambda one: [one] if one.dst == "server" else [one, Letter(one.round, "server", one.dst, b"x")])
    noisy = simulate(plan, vectors_of(plan, 1), entropy=Stream(1), adversary=wire)
    alone = simulate(plan, vectors_of(plan, 1), entropy=Stream(1))
    assert (noisy.bytes_down == alone.bytes_down + 4).all()
    kinds = [type(refusal.error) for refusal in wire.report.refusals]
    assert kinds == [DecodeError] * 15 + [LocalProtocolError] * 5, "after its last answer a party is not asked at all"


def test_who_is_gone_hears_nothing_more():
    plan = EVERY[1]

    def carry(letter):
        return [letter, Letter(letter.round, "server", 2, b"are you there?")]

    wire = Wire(carry)
    result = simulate(plan, vectors_of(plan, 1), dropouts={"share_keys": [2]}, entropy=Stream(1), adversary=wire)
    heard = {refusal.round for refusal in wire.report.refusals if refusal.who == 2}
    assert (2 in result.survivors, heard) == (False, {"advertise"})


def test_a_sum_that_does_not_verify_is_opened_by_the_next_or_by_nobody():
    plan = BFVSum.plan(4, 3, 8)
    vectors = vectors_of(plan, 1)

    def without(parties):
        return Wire(lambda one: [] if one.dst in parties else [one])

    assert simulate(plan, vectors, adversary=without([0, 2])).total.tolist() == exact_sum(vectors)
    with pytest.raises(TooFewSurvivorsError, match="nobody is left"):
        simulate(plan, vectors, adversary=without(range(4)))


def test_a_sum_for_an_opener_goes_over_the_wire_too():
    plan = BFVSum.plan(4, 3, 8, key="public")
    vectors, wire = vectors_of(plan, 1), Wire(lambda one: [one])
    assert simulate(plan, vectors, adversary=wire).total.tolist() == exact_sum(vectors)
    assert [(one.src, one.dst) for one in wire.letters] == [
        *((party, "server") for party in range(4)),
        ("server", "opener"),
    ]
    wire = Wire(lambda one: [replace(one, payload=one.payload[:-1])] if one.dst == "opener" else [one])
    with pytest.raises(TooFewSurvivorsError, match="nobody is left"):
        simulate(plan, vectors, adversary=wire)
    assert [refusal.who for refusal in wire.report.refusals] == ["opener"]


def test_a_forged_sum_is_refused_by_all_who_open_it():
    """The server has the keys of its links: what it says is authentic, and the tag finds that it is no sum."""
    plan = BFVSum.plan(4, 3, 8)

    class Shortening:
        report = Report()

        def attack(self, scene):
            keys = scene.keys.server

            def carry(letter):
                if letter.src != "server":
                    return [letter]
                channel = replace(plan.server(keys=keys)._channels[letter.dst], limit=plan.bytes_down)
                body = channel.unwrap(Kind.SUM, letter.payload, peer="server")
                return [Letter(letter.round, "server", letter.dst, channel.wrap(Kind.SUM, b"\7" + body[1:]))]

            return carry

    adversary = Shortening()
    with pytest.raises(DecodeError):
        simulate(plan, vectors_of(plan, 1), adversary=adversary)
    assert [refusal.who for refusal in adversary.report.refusals] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "adversary",
    [
        lambda letter: [letter],
        object(),
        Wire,
        type("NoReport", (), {"attack": lambda self, scene: list, "report": []})(),
        type("NoAttack", (), {"report": Report()})(),
    ],
)
def test_an_adversary_has_an_attack_and_a_report(adversary):
    with pytest.raises(ParameterError, match="adversary must have attack"):
        simulate(PLANS[0], vectors_of(PLANS[0], 1), adversary=adversary)


@pytest.mark.parametrize(
    "letter",
    [
        b"bytes",
        Letter("masked_input", 0, "server", "text"),
        Letter("masked_input", 4, "server", b""),
        Letter("masked_input", "server", -1, b""),
        Letter("masked_input", "opener", "server", b""),
        Letter("masked_input", 1.0, "server", b""),
        Letter("masked_input", "server", True, b""),
        Letter("masked_input", [], "server", b""),
        Letter("masked_input", None, "server", b""),
    ],
)
def test_what_an_adversary_sends_is_a_letter_between_those_who_take_part(letter):
    with pytest.raises(ParameterError, match="must return Letters"):
        simulate(PLANS[0], vectors_of(PLANS[0], 1), adversary=Wire(lambda _: [letter]))


@pytest.mark.parametrize("arrived", [None, Letter("masked_input", 0, "server", b"")])
def test_an_adversary_that_returns_no_list_is_told(arrived):
    with pytest.raises(ParameterError, match="must return Letters"):
        simulate(PLANS[0], vectors_of(PLANS[0], 1), adversary=Wire(lambda _: arrived))


def test_a_letter_names_parties_by_any_integer():
    plan, places = EVERY[1], (2, np.int64(2), np.uint8(2))
    heard = []
    for place in places:
        wire = Wire(lambda one, place=place: [one, replace(one, dst=place, payload=b"x")] if one.dst == 0 else [one])
        simulate(plan, vectors_of(plan, 1), entropy=Stream(1), adversary=wire)
        heard.append([(type(refusal.who), refusal.who, str(refusal.error)) for refusal in wire.report.refusals])
    assert heard[0] == heard[1] == heard[2]
    assert {who for _, who, _ in heard[0]} == {2}


@pytest.mark.parametrize("plan", [EVERY[1], BFVSum.plan(4, 3, 8)], ids=["masked", "encrypted"])
def test_a_report_keeps_no_session_alive(plan, monkeypatch):
    sessions = []
    make = type(plan).client
    monkeypatch.setattr(
        type(plan), "client", lambda *args, **keys: sessions.append(weakref.ref(made := make(*args, **keys))) or made
    )
    wire = Wire(lambda one: [replace(one, payload=one.payload[:-1]), one] if one.dst == "server" else [one])
    simulate(plan, vectors_of(plan, 1), adversary=wire)
    gc.collect()
    assert wire.report.refusals
    assert len(sessions) == plan.num_parties
    assert [made() for made in sessions] == [None] * plan.num_parties
