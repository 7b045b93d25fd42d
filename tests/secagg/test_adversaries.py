"""Every adversary on every protocol: the exact sum or a typed error, and inputs read only where nobody promises not."""

from __future__ import annotations

import contextlib
from itertools import chain, combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import (
    BFVSum,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    PeerProtocolError,
    PlainSum,
    SecAgg,
    SecAggPlus,
    ThresholdSum,
    TooFewSurvivorsError,
    simulate,
)
from secagg.adversaries import EquivocatingServer, GreedyUnmask, Replay, Sybil, Tampering
from tests.secagg.wires import Stream, exact_sum, vectors_of

MASKED = {
    "semi-honest": SecAgg.plan(5, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.6),
    "malicious": SecAgg.plan(5, 3, 8, adversary="malicious", corrupt=0.0, dropout=0.4),
    "graph": SecAggPlus.plan(7, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=0.3),
    "semi-malicious": SecAggPlus.plan(7, 3, 8, adversary="semi_malicious", corrupt=0.0, dropout=0.2),
}
PLANS = {
    "plain": PlainSum.plan(4, 3, 8),
    "bfv": BFVSum.plan(4, 3, 8, dropout=0.25),
    "public": BFVSum.plan(4, 3, 8, key="public", dropout=0.25),
    "threshold": ThresholdSum.plan(6, 3, 8, threshold=5, corrupt=0.0, dropout=0.2),
    **MASKED,
}
KINDS = ["forged", "copied", "aliased", "replayed"]
ATTACKS = {
    "tampering": lambda plan: Tampering(plan.rounds[-1], parties=[1]),
    "replay": lambda plan: Replay(),
    "earlier": lambda plan: Replay("other_task"),
    "same task": lambda plan: Replay("same_task", parties=[2]),
    "split view": lambda plan: EquivocatingServer(1),
    "greedy": lambda plan: GreedyUnmask(1),
    **{kind: lambda plan, kind=kind: Sybil(1, kind) for kind in KINDS},
}
ABSENT = {
    "plain": {"earlier", "same task", "split view", "greedy", *KINDS},
    **{name: {"same task", "split view", "greedy", *KINDS} for name in ("bfv", "public", "threshold")},
}


def attacked(plan, adversary, *, dropouts=None, seed=1):
    """Who survives an attack, or the error it ends in; a sum that comes out is exact, and so is what is read."""
    vectors = vectors_of(plan, seed)
    try:
        result = simulate(plan, vectors, dropouts=dropouts, entropy=Stream(seed), adversary=adversary)
    except (DecodeError, TooFewSurvivorsError) as error:
        outcome = error
    else:
        outcome = result.survivors
        assert result.total.tolist() == exact_sum(vectors[outcome])
        assert len(outcome) >= plan.min_survivors
    for refusal in adversary.report.refusals:
        assert refusal.round in plan.rounds
        assert isinstance(refusal.error, (PeerProtocolError, TooFewSurvivorsError, LocalProtocolError))
    for party, vector in adversary.report.opened.items():
        assert vector.tolist() == vectors[party].tolist()
    return outcome


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", PLANS)
def test_every_adversary_on_every_protocol(name, attack):
    plan, adversary = PLANS[name], ATTACKS[attack](PLANS[name])
    if attack in ABSENT.get(name, ()):
        with pytest.raises(ParameterError):
            attacked(plan, adversary)
        return
    outcome = attacked(plan, adversary)
    fatal = {("plain", "tampering"), ("semi-malicious", "split view")}  # nobody may drop out; too few answer a victim
    assert isinstance(outcome, list) is ((name, attack) not in fatal)
    opening = {"split view": {"semi-honest", "graph"}, "forged": set(MASKED) - {"malicious"}}
    assert list(adversary.report.opened) == ([1] if name in opening.get(attack, ()) else [])


def gone_of(plan):
    """Drop-outs, at most two parties in one round each."""
    parties = st.lists(st.integers(0, plan.num_parties - 1), max_size=2)
    return st.dictionaries(st.sampled_from(plan.rounds), parties, max_size=2)


# Tampering


@given(st.data())
def test_tampering_ends_in_the_exact_sum_or_a_typed_error(data):
    plan = PLANS[data.draw(st.sampled_from(sorted(PLANS)))]
    adversary = Tampering(
        data.draw(st.sampled_from(plan.rounds)),
        data.draw(st.sampled_from(["flip", "truncate", "redirect"])),
        data.draw(st.integers(0, 10_000)),
        data.draw(st.sampled_from(["up", "down"])),
        data.draw(st.none() | st.lists(st.integers(0, plan.num_parties - 1), max_size=2)),
    )
    attacked(plan, adversary, dropouts=data.draw(gone_of(plan)))


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("how", ["flip", "truncate", "redirect"])
@pytest.mark.parametrize("name", PLANS)
def test_whose_message_is_changed_drops_out_alone(name, how, direction):
    plan = PLANS[name]
    for (number, current), place in product(enumerate(plan.rounds), (101, 8 * 60)):  # in a header, and in a body
        adversary = Tampering(current, how, place, direction, [1])
        outcome = attacked(plan, adversary)
        refusals = adversary.report.refusals
        if direction == "down" and number == len(plan.rounds) - 1 and name not in ("plain", "bfv"):
            assert not refusals, "the last round ends at the server, or at an opener"
            continue
        assert refusals
        assert {refusal.round for refusal in refusals} == {current}
        if direction == "up":
            assert {refusal.who for refusal in refusals} == {"server"}
        elif how != "redirect":
            assert {refusal.who for refusal in refusals} == {1}
        if name == "plain" and direction == "up":
            assert isinstance(outcome, TooFewSurvivorsError)
        elif isinstance(outcome, list):
            # what goes wrong from then on finds its input in the sum
            assert (1 in outcome) is (number >= plan.rounds.index("masked_input") + (direction == "up"))


@pytest.mark.parametrize("name", ["semi-honest", "malicious"])
def test_digests_that_are_made_to_fit_spoil_a_sum_as_is_promised(name):
    """Nothing signs an input: what a server adds is the server's matter, and the promise says so."""
    plan, vectors = MASKED[name], vectors_of(MASKED[name], 1)
    adversary = Tampering("masked_input", place=8 * 32, parties=[2], resealed=True)
    result = simulate(plan, vectors, entropy=Stream(1), adversary=adversary)
    wrong = np.flatnonzero(result.total != exact_sum(vectors))
    assert wrong.tolist() == [0], "the first bit behind the commitment is of the first entry"
    assert adversary.report.refusals == []
    if name == "malicious":
        assert "The sum may be wrong" in plan.promise


@given(st.data())
def test_digests_that_are_made_to_fit_end_in_enough_inputs_or_a_typed_error(data):
    plan = MASKED[data.draw(st.sampled_from(sorted(MASKED)))]
    adversary = Tampering(
        data.draw(st.sampled_from(plan.rounds)),
        place=data.draw(st.integers(0, 10_000)),
        direction=data.draw(st.sampled_from(["up", "down"])),
        parties=data.draw(st.none() | st.lists(st.integers(0, plan.num_parties - 1), max_size=2)),
        resealed=True,
    )
    with contextlib.suppress(DecodeError, TooFewSurvivorsError):
        result = simulate(plan, vectors_of(plan, 1), entropy=Stream(1), adversary=adversary)
        assert len(result.survivors) >= plan.min_survivors


# Replay


@given(st.data())
def test_replays_end_in_the_exact_sum_or_a_typed_error(data):
    name = data.draw(st.sampled_from(sorted(PLANS)))
    plan = PLANS[name]
    earlier = [None, *(["other_task"] if name != "plain" else []), *(["same_task"] if name in MASKED else [])]
    adversary = Replay(
        data.draw(st.sampled_from(earlier)),
        data.draw(st.none() | st.lists(st.sampled_from(plan.rounds), unique=True)),
        data.draw(st.none() | st.lists(st.integers(0, plan.num_parties - 1), max_size=3)),
    )
    attacked(plan, adversary, dropouts=data.draw(gone_of(plan)))
    assert adversary.report.refusals, "whatever is sent again is refused"


@pytest.mark.parametrize("earlier", [None, "other_task"])
@pytest.mark.parametrize("name", PLANS)
def test_what_is_sent_again_changes_nothing(name, earlier):
    plan = PLANS[name]
    if name != "plain" or earlier is None:
        assert attacked(plan, Replay(earlier)) == list(range(plan.num_parties))


@pytest.mark.parametrize("name", MASKED)
def test_a_task_that_is_run_twice_costs_the_parties_and_gives_nothing(name):
    plan = MASKED[name]
    assert isinstance(attacked(plan, Replay("same_task")), TooFewSurvivorsError)
    assert attacked(plan, Replay("same_task", ["advertise"], [2])) == [
        party for party in range(plan.num_parties) if party != 2
    ]


# Split views, second questions


def test_a_split_view_opens_an_input_at_the_semi_honest_threshold_only():
    """The bound of the note: two lists need 2 t > n to exclude each other."""
    for dropped in range(5):
        plan = SecAgg.plan(6, 3, 8, adversary="semi_honest", corrupt=0.0, dropout=dropped / 6 + 1e-9)
        assert plan.threshold == 6 - dropped
        adversary = EquivocatingServer(4)
        outcome = attacked(plan, adversary)
        assert list(adversary.report.opened) == ([4] if 2 * plan.threshold <= 6 else [])
        assert (outcome == [0, 1, 2, 3, 4, 5]) is (plan.threshold <= 3)
        assert bool(adversary.report.refusals) is (plan.threshold == 6), "who knows that all must be there notices"
    with pytest.raises(ParameterError, match="2 t > num_parties"):
        SecAgg.plan(6, 3, 8, adversary="malicious", corrupt=0.0, dropout=0.5)


@pytest.mark.parametrize("name", ["malicious", "semi-malicious"])
def test_no_split_opens_an_input_where_the_list_is_signed(name):
    plan, summed = MASKED[name], 0
    others = [party for party in range(plan.num_parties) if party != 1]
    every = chain.from_iterable(combinations(others, size) for size in range(1, len(others) + 1))
    for deniers in list(every)[:: 1 if name == "malicious" else 4]:
        adversary = EquivocatingServer(1, deniers)
        outcome = attacked(plan, adversary)
        assert adversary.report.opened == {}
        if isinstance(outcome, list):
            summed += 1
            silent = {refusal.who for refusal in adversary.report.refusals}
            assert silent == set(deniers), "each of them sees that its list has no quorum"
            assert all(isinstance(one.error, TooFewSurvivorsError) for one in adversary.report.refusals)
    assert summed


@pytest.mark.parametrize("name", MASKED)
def test_asking_twice_gives_nothing(name):
    plan = MASKED[name]
    for victim in range(0, plan.num_parties, 3):
        adversary = GreedyUnmask(victim)
        assert attacked(plan, adversary) == list(range(plan.num_parties))
        assert adversary.report.opened == {}
        asked = [refusal.who for refusal in adversary.report.refusals]
        assert len(set(asked)) == (plan.num_parties if "malicious" in name else plan.neighbours + 1)
        times = 4 if "malicious" in name else 2  # after each message to a party that follows the list, and from it
        assert all(asked.count(party) == times for party in asked)


@given(st.data())
def test_lies_about_survivors_with_drop_outs(data):
    name = data.draw(st.sampled_from(sorted(MASKED)))
    plan = MASKED[name]
    party = st.integers(0, plan.num_parties - 1)
    deniers = data.draw(st.none() | st.sets(party))
    victim = data.draw(party)
    adversary = data.draw(st.sampled_from([EquivocatingServer(victim, deniers), GreedyUnmask(victim)]))
    attacked(plan, adversary, dropouts=data.draw(gone_of(plan)))
    if "malicious" in name or isinstance(adversary, GreedyUnmask):
        assert adversary.report.opened == {}


# Sybils


@pytest.mark.parametrize("name", MASKED)
def test_forged_keys_open_an_input_unless_keys_are_signed(name):
    plan = MASKED[name]
    for victim in range(0, plan.num_parties, 2):
        adversary = Sybil(victim)
        assert attacked(plan, adversary) == [party for party in range(plan.num_parties) if party != victim]
        if name == "malicious":
            (refusal,) = adversary.report.refusals
            assert (refusal.who, refusal.round, adversary.report.opened) == (victim, "advertise", {})
            assert "not signed by their party" in str(refusal.error)
        else:
            assert (list(adversary.report.opened), adversary.report.refusals) == ([victim], [])


@pytest.mark.parametrize("kind", ["copied", "aliased", "replayed"])
@pytest.mark.parametrize("name", MASKED)
def test_sybils_read_nothing(name, kind):
    plan = MASKED[name]
    for victim, puppet, named in ((1, None, 0), (0, None, 1), (2, 4, 4), (4, 2, 2)):
        for gone in ([], [named]):
            adversary = Sybil(victim, kind, puppet)
            outcome = attacked(plan, adversary, dropouts={"advertise": gone})
            assert adversary.report.opened == {}
            met = {refusal.who for refusal in adversary.report.refusals}
            if kind != "replayed":
                assert met == {victim, "server"}, "both look for keys that are not a party's alone"
            if name == "malicious":
                assert met >= {victim, "server"}, "and for signatures of this task"
            if isinstance(outcome, list):
                assert victim not in outcome


@given(st.data())
def test_sybils_with_drop_outs(data):
    plan = MASKED[data.draw(st.sampled_from(sorted(MASKED)))]
    party = st.integers(0, plan.num_parties - 1)
    victim, kind = data.draw(party), data.draw(st.sampled_from(KINDS))
    adversary = Sybil(victim, kind, data.draw(st.none() | party.filter(lambda one: one != victim)))
    attacked(plan, adversary, dropouts=data.draw(gone_of(plan)))
    if kind != "forged" or plan.adversary == "malicious":
        assert adversary.report.opened == {}


# Settings


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tampering("masked_input", "erase"),
        lambda: Tampering("masked_input", direction="sideways"),
        lambda: Tampering("masked_input", place=-1),
        lambda: Tampering("masked_input", "truncate", resealed=True),
        lambda: Tampering("unmask", parties=3),
        lambda: Replay("yesterday"),
        lambda: Replay(rounds=3),
        lambda: EquivocatingServer(1, 2),
        lambda: EquivocatingServer(-1),
        lambda: EquivocatingServer(True),
        lambda: GreedyUnmask("1"),
        lambda: Sybil(0, "friendly"),
        lambda: Sybil(2, "copied", 2),
        lambda: Sybil(-1),
    ],
)
def test_settings_out_of_their_domain(make):
    with pytest.raises(ParameterError):
        make()


@pytest.mark.parametrize(
    "adversary",
    [
        Tampering("shuffle"),
        Tampering("unmask", parties=[5]),
        Replay(rounds=["shuffle"]),
        Replay(rounds="unmask"),
        Replay(parties=[-1]),
        EquivocatingServer(5),
        EquivocatingServer(1, [5]),
        GreedyUnmask(5),
        Sybil(5),
        Sybil(1, "copied", 5),
    ],
)
def test_settings_that_are_not_the_plans(adversary):
    plan = MASKED["malicious"]
    with pytest.raises(ParameterError):
        simulate(plan, vectors_of(plan, 1), adversary=adversary)


def test_resealed_messages_need_digests_without_a_key():
    for name in ("plain", "bfv", "public", "threshold"):
        with pytest.raises(ParameterError, match="masked sum"):
            attacked(PLANS[name], Tampering("masked_input", resealed=True))


def test_adversaries_are_values_and_their_reports_are_not():
    assert Sybil(1) == Sybil(1) != Sybil(2)
    assert Sybil(1).report is not Sybil(1).report
    with pytest.raises(AttributeError):
        Sybil(1).victim = 2
    adversary = GreedyUnmask(1)
    for _ in range(2):
        attacked(MASKED["semi-honest"], adversary)
        assert len(adversary.report.refusals) == 10, "of the latest run"


def test_an_attack_is_the_same_in_every_run():
    """Whatever its parties were listed in, and whatever becomes of the list."""
    listed = [1]
    tampering = Tampering("masked_input", place=np.uint8(200), parties=listed)
    once = Replay(parties=(party for party in (1, 2)))
    listed.append(3)
    for adversary, wanted in ((tampering, 1), (once, None)):
        refused = []
        for _ in range(2):
            attacked(MASKED["semi-honest"], adversary)
            refused.append([(one.round, one.who, one.sender) for one in adversary.report.refusals])
        assert refused[0] == refused[1] != []
        assert wanted is None or len(refused[0]) == wanted
    assert hash(tampering) == hash(Tampering("masked_input", place=200, parties=(1,)))


@pytest.mark.parametrize("name", MASKED)
def test_attacks_follow_from_the_entropy(name):
    for attack in sorted(ATTACKS):
        runs = []
        for _ in range(2):
            adversary = ATTACKS[attack](MASKED[name])
            outcome = attacked(MASKED[name], adversary, seed=7)
            told = [(one.round, one.who, one.sender, str(one.error)) for one in adversary.report.refusals]
            runs.append((str(outcome), told, list(adversary.report.opened)))
        assert runs[0] == runs[1]
