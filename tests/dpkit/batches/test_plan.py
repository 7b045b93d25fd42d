"""Every plan is one pass, gives each draw to one release, is honest about seeds, and says what has an account."""

import copy
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from accountants import Ledger
from accountants.errors import InsecureReleaseError, UnsupportedEventError
from accountants.events import DiscreteGaussian, Gaussian, Laplace, PureDP, RandomizedResponse, Skellam
from accountants.participation import Participation
from dpkit.batches import Batches, CyclicBatches, FixedSizeBatches, PoissonBatches, TruncatedPoissonBatches
from dpkit.bounded import Bounded
from dpkit.continuous import GaussianMechanism
from dpkit.entropy import seeded
from dpkit.errors import EntropyError, ExhaustedError, ParameterError, StateError
from tests.oracles.noise import ExhaustedTapeError, Tape

PLANS = {
    "poisson": (PoissonBatches, {"num_records": 1000, "sampling_prob": 0.5, "steps": 3}),
    "truncated": (
        TruncatedPoissonBatches,
        {"num_records": 1000, "sampling_prob": 0.5, "max_batch_size": 600, "steps": 3},
    ),
    "fixed size": (FixedSizeBatches, {"num_records": 1000, "batch_size": 400, "steps": 3}),
}
CYCLIC = (CyclicBatches, {"num_records": 1000, "batches_per_epoch": 3, "epochs": 1})
EACH = pytest.mark.parametrize(("kind", "good"), [*PLANS.values(), CYCLIC], ids=[*PLANS, "cyclic"])
SAMPLED = pytest.mark.parametrize(("kind", "good"), PLANS.values(), ids=PLANS)


@EACH
def test_one_plan_is_one_pass(kind, good):
    batches = kind(**good)
    assert isinstance(batches, Batches)
    assert len(batches) == batches.remaining == 3
    batches.draw()
    assert len(list(batches)) == 2
    assert (len(batches), batches.remaining) == (3, 0)
    again = rf"all 3 batches .* make a new {kind.__name__}"
    with pytest.raises(ExhaustedError, match=again):
        iter(batches)
    with pytest.raises(ExhaustedError, match=again):
        batches.draw()


@EACH
def test_at_most_one_draw_is_open(kind, good):
    batches = kind(**good)
    assert batches.open is False
    with pytest.raises(StateError, match="no open draw"):
        batches.spend()
    batches.draw()
    batches.draw()  # the first one is void: two draws are not two tickets
    assert batches.open is True
    batches.spend()
    assert batches.open is False
    with pytest.raises(StateError, match="no open draw"):
        batches.spend()
    for _ in batches:
        batches.spend()


FORK = """
import os
from dpkit.batches import PoissonBatches
batches = PoissonBatches(10, 0.5, 3)
batches.draw()
end, start = os.pipe()
if os.fork() == 0:
    verdicts = [str(batches.open)]
    try:
        batches.spend()
    except Exception as error:
        verdicts.append(type(error).__name__)
    batches.draw()
    verdicts.append(str(batches.open))
    os.write(start, " ".join(verdicts).encode())
    os._exit(0)
os.wait()
print(os.read(end, 1000).decode(), batches.open, batches.remaining)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_fork_opens_no_second_draw():
    """The process that drew releases; the other one sees no open draw until it draws for itself."""
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.split() == ["False", "StateError", "True", "True", "2"], run.stderr


@SAMPLED
def test_a_broken_source_costs_no_step(kind, good):
    batches = kind(**good, entropy=Tape())
    with pytest.raises(ExhaustedTapeError):
        batches.draw()
    assert batches.remaining == 3
    assert batches.open is False


@SAMPLED
def test_a_broken_source_leaves_an_open_draw_open(kind, good):
    class Once:
        source = seeded(1)

        def bytes(self, n):
            if batches.remaining < 3:
                raise ExhaustedTapeError
            return self.source.bytes(n)

    batches = kind(**good, entropy=Once())
    batches.draw()
    with pytest.raises(ExhaustedTapeError):
        batches.draw()
    assert (batches.remaining, batches.open) == (2, True)


@EACH
def test_seeds_are_admitted(kind, good):
    assert kind(**good).secure is True
    assert kind(**good, entropy=seeded(1)).secure is False
    shown = ", ".join(f"{name}={value}" for name, value in good.items())
    assert repr(kind(**good, entropy=seeded(1))) == f"{kind.__name__}({shown}, remaining=3, secure=False)"
    first, second = (kind(**good, entropy=seeded(1)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    first = kind(**good)
    assert first.draw().tolist() != first.draw().tolist()


@EACH
def test_parameters_may_be_given_in_their_order(kind, good):
    assert repr(kind(*good.values())) == repr(kind(**good))
    assert kind(*good.values(), seeded(1)).secure is False


@EACH
def test_releases_spend_the_draw_and_record_the_sampled_event(kind, good):
    mechanism, query, ledger = GaussianMechanism(20.0), Bounded(np.ones(2), 1.0), Ledger(relation="add_remove")
    batches = kind(**good)
    with pytest.raises(StateError, match="open draw"):
        mechanism.release(query, sampling=batches, ledger=ledger)
    batches.draw()
    release = mechanism.release(query, sampling=batches, ledger=ledger)
    assert release.event == batches.sampled(mechanism.event(query))
    assert release.secure is True
    assert ledger.entries[0].event == release.event
    with pytest.raises(StateError, match="open draw"):
        mechanism.release(query, sampling=batches, ledger=ledger)
    assert len(ledger) == 1


@EACH
def test_seeded_batches_are_no_secure_release(kind, good):
    mechanism, query = GaussianMechanism(20.0), Bounded(np.ones(2), 1.0)
    ledger = Ledger(relation="add_remove", require_secure=True)
    batches = kind(**good, entropy=seeded(1))
    batches.draw()
    with pytest.raises(InsecureReleaseError):
        mechanism.release(query, sampling=batches, ledger=ledger)
    assert (len(ledger), batches.open) == (0, True)
    assert mechanism.release(query, sampling=batches).secure is False


@EACH
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickle.dumps])
def test_plans_are_not_copied(kind, good, make):
    with pytest.raises(EntropyError, match="may not be copied"):
        make(kind(**good))


COUNTS = ("num_records", "steps", "batches_per_epoch", "epochs")
GIVEN = [(*plan, name) for plan in [*PLANS.values(), CYCLIC] for name in COUNTS if name in plan[1]]


@pytest.mark.parametrize(("kind", "good", "name"), GIVEN)
@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3", pytest.param(-(10**5000), id="huge")])
def test_bad_counts(kind, good, name, value):
    with pytest.raises(ParameterError, match=f"{name} must be an integer"):
        kind(**{**good, name: value})


@EACH
def test_indices_must_fit(kind, good):
    with pytest.raises(ParameterError, match=r"num_records must be at most 2\*\*62"):
        kind(**{**good, "num_records": 2**62 + 1})
    assert kind(**{**good, "num_records": 2**62}).num_records == 2**62


@SAMPLED
def test_a_record_may_be_in_any_step(kind, good):
    assert kind(**good).participation == Participation(steps=3)


@EACH
@pytest.mark.parametrize("drawn", [0, 1, 3])
def test_a_checkpoint_goes_on_where_it_was(kind, good, drawn):
    """Through JSON; as many batches are left, none is open, and all can be drawn."""
    first, second = kind(**good), kind(**good)
    for _ in range(drawn):
        first.draw()
        first.spend()
    state = json.loads(json.dumps(first.state_dict()))
    assert state == first.state_dict()
    second.load_state_dict(state)
    assert (second.remaining, second.open, second.secure) == (3 - drawn, False, True)
    assert second.state_dict() == state
    for _ in range(3 - drawn):
        second.draw()
    with pytest.raises(ExhaustedError):
        second.draw()


@EACH
def test_an_open_draw_is_in_no_checkpoint(kind, good):
    batches = kind(**good)
    batches.draw()
    with pytest.raises(StateError, match="a draw is open"):
        batches.state_dict()
    assert (batches.open, batches.remaining) == (True, 2)
    batches.spend()
    assert batches.state_dict()["position"] == 1


@SAMPLED
def test_a_restored_plan_replays_no_seed(kind, good):
    """Two batches of a thousand coins are the same with a chance below 2**-900."""
    first, second = (kind(**good, entropy=seeded(1)) for _ in range(2))
    drawn = [first.draw().tolist() for _ in range(2)]
    first.spend()
    second.load_state_dict(first.state_dict())
    assert second.draw().tolist() not in (*drawn, first.draw().tolist())


@EACH
@pytest.mark.parametrize("source", [None, seeded(2)])
@pytest.mark.parametrize("other", [None, seeded(3)])
def test_what_once_came_from_a_seed_is_not_secure(kind, good, source, other):
    first, second, third = kind(**good, entropy=source), kind(**good, entropy=other), kind(**good)
    second.load_state_dict(first.state_dict())
    third.load_state_dict(second.state_dict())
    assert second.secure is third.secure is (source is None and other is None)


@EACH
def test_a_plan_that_has_drawn_takes_no_checkpoint(kind, good):
    first, second = kind(**good), kind(**good)
    state = first.state_dict()
    second.load_state_dict(state)  # which may be done again, or undone, until something is drawn
    second.load_state_dict({**state, "position": 1})
    second.draw()
    with pytest.raises(StateError, match="make a new one"):
        second.load_state_dict(state)
    assert (second.remaining, second.open) == (1, True)


@EACH
def test_a_checkpoint_is_for_a_plan_like_its_own(kind, good):
    """Every entry is looked at; what is refused changes nothing, and the message says which it was."""
    state = kind(**good).state_dict()
    batches = kind(**good)
    before, wrong = batches.state_dict(), {"kind": "Batches", "position": 4, "secure": 1}
    wrong |= {name: type(value)(value / 2) for name, value in good.items()}
    wrong |= {"key": "f" * 63 + "F"} if "key" in state else {}
    assert wrong.keys() == state.keys()
    for name, value in wrong.items():
        with pytest.raises(ParameterError, match=name):
            batches.load_state_dict({**state, name: value})
        with pytest.raises(ParameterError, match=rf"state must have the entries .*\b{name}\b"):
            batches.load_state_dict({other: state[other] for other in state if other != name})
    for changed in ({**state, "more": 1}, [], None, "state"):
        with pytest.raises(ParameterError, match="state must have the entries"):
            batches.load_state_dict(changed)
    for position in (-1, 1.0, True, "1"):
        with pytest.raises(ParameterError, match="position must be an integer"):
            batches.load_state_dict({**state, "position": position})
    assert batches.state_dict() == before


@pytest.mark.parametrize("name", ["poisson", "truncated"])
@pytest.mark.parametrize(
    "value", [0.0, -0.1, 1.1, float("nan"), float("inf"), True, "0.5", None, pytest.param(10**400, id="huge")]
)
def test_bad_probabilities(name, value):
    kind, good = PLANS[name]
    with pytest.raises(ParameterError, match="sampling_prob must be"):
        kind(**{**good, "sampling_prob": value})


ALL, ONE_WAY, NONE = {"add_remove", "replace_one", "zero_out"}, {"add_remove", "zero_out"}, set()
SUPPORT = [  # event, relations under coins, relations at a fixed size: the table of docs/sampling.md
    (Gaussian(20.0), ALL, ALL),
    (Gaussian(20.0) + Gaussian(30.0), ALL, ALL),
    (Laplace(20.0), ALL, ALL),
    (DiscreteGaussian(80.0, 1.0, 1), ALL, ALL),
    (Skellam(6400.0, 1.0, 1.0), ONE_WAY, ALL),
    (PureDP(0.1, "add_remove"), {"add_remove"}, NONE),
    (PureDP(0.1, "replace_one"), NONE, {"add_remove", "replace_one"}),
    (RandomizedResponse(0.1), NONE, NONE),
    (Gaussian(20.0) + Laplace(20.0), NONE, NONE),
]


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize(("event", "coins", "fixed_size"), SUPPORT)
def test_what_has_no_sound_account_is_refused(name, event, coins, fixed_size):
    """The accountants decide; what they refuse costs no entry, and nothing that they hold costs nothing."""
    kind, good = PLANS[name]
    sampled = kind(**good).sampled(event)
    for relation in sorted(ALL):
        ledger = Ledger(relation=relation)
        if relation in (fixed_size if name == "fixed size" else coins):
            ledger.record(sampled)
            assert 0.0 < ledger.epsilon(delta=1e-6) < 1.0
        else:
            with pytest.raises(UnsupportedEventError):
                ledger.record(sampled)
            assert len(ledger) == 0
