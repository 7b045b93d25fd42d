"""The law kit over other libraries' accountants: each case breaks exactly the laws that it is known to break.

The faults, seen in dp_accounting 0.6.0 and Opacus 1.6.0: PLDAccountant drops the count of randomized responses;
RdpAccountant takes the noise under REPLACE_ONE for that over the sensitivity, which halves epsilon for events as
documented (told the noise in its own reading it is right); Opacus's accountants answer with a negative epsilon at large
deltas, and its PRVAccountant, which is called an upper bound, lies below the truth at small ones. The laws that a case
keeps are held too: an adapter that always failed, or a kit that flagged everything, would not pass.

Tolerances: dp_accounting's losses stand here on a grid of 1e-3, so that one question asked in two ways may differ by
that for each of the at most six releases compared, of an epsilon of at least 1/4; RdpAccountant and Opacus add floats
in another order; PRVAccountant adds 0.01 to an epsilon of 4.2.
"""

import pytest

from accountants import (
    Composed,
    DiscreteLaplace,
    FixedSizeSampled,
    Gaussian,
    Laplace,
    Ledger,
    PoissonSampled,
    RandomizedResponse,
    Relation,
)
from accountants.errors import LawError
from accountants.testing import EVENTS, Case, EventRow, broken_laws, check_laws
from tests.conformance.peer_accountants import PLD, RDP, RDP_TOLD, Opacus
from tests.laws.kept import Kept

ROWS = {row.kind: row for row in EVENTS}
STEP = PoissonSampled(Gaussian(1.0), 0.01)
BELOW, COUNT, VALID = "never below the truth", "count is list", "numbers are valid"

GRID = 6 * 1e-3 / 0.25
ORDER = 1e-9
PEERS = [
    pytest.param(RDP, Gaussian(2.0), 1e-6, ORDER, {"replace_one": {BELOW}}, id="RdpAccountant halves replace_one"),
    pytest.param(RDP_TOLD, Gaussian(2.0), 1e-6, ORDER, {}, id="RdpAccountant told the noise over the sensitivity"),
    pytest.param(RDP_TOLD, Laplace(2.0), 1e-6, ORDER, {}, id="RdpAccountant on Laplace"),
    pytest.param(RDP_TOLD, FixedSizeSampled(Gaussian(2.0), 1000, 10), 1e-6, ORDER, {}, id="RdpAccountant, fixed size"),
    pytest.param(RDP, RandomizedResponse(1.0), 1e-6, ORDER, {}, id="RdpAccountant on randomized response"),
    pytest.param(PLD, Gaussian(2.0), 1e-6, GRID, {}, id="PLDAccountant on Gaussian"),
    pytest.param(PLD, STEP, 1e-6, GRID, {}, id="PLDAccountant on Poisson batches"),
    pytest.param(PLD, Laplace(2.0), 1e-6, GRID, {}, id="PLDAccountant on Laplace"),
    pytest.param(PLD, DiscreteLaplace(2.0, 3.5), 1e-6, GRID, {}, id="PLDAccountant on discrete Laplace"),
    pytest.param(
        PLD, RandomizedResponse(1.0), 1e-6, GRID, {"replace_one": {BELOW, COUNT}}, id="PLDAccountant drops the count"
    ),
    pytest.param(Opacus("rdp"), STEP, 1e-6, ORDER, {"add_remove": {VALID}}, id="Opacus RDP below zero"),
    pytest.param(Opacus("prv"), STEP, 1e-6, ORDER, {"add_remove": {VALID}}, id="Opacus PRV below zero"),
    pytest.param(
        Opacus("prv"), STEP * 1000, 1e-13, 0.01 / 4.2, {"add_remove": {VALID, BELOW}}, id="Opacus PRV below the truth"
    ),
]


@pytest.mark.filterwarnings("ignore")  # theirs, of many kinds
@pytest.mark.parametrize(("accountant", "event", "delta", "tolerance", "faults"), PEERS)
def test_the_kit_finds_the_known_faults_and_no_others(accountant, event, delta, tolerance, faults):
    row, accountant = ROWS[type(event)], Kept(accountant)
    held = [relation for relation in Relation if accountant.supports(event, relation=relation)]
    assert held
    found = {}
    for relation in held:
        broken = broken_laws(Case(accountant, row, event, relation, delta, tolerance))
        if delta < 1e-12:
            broken.pop(COUNT, None)  # so near the rounding of its transforms its answers are noise
        if broken:
            found[relation.value] = set(broken)
    assert found == faults


@pytest.mark.filterwarnings("ignore")
def test_one_call_says_what_is_wrong():
    row = EventRow(RandomizedResponse, (RandomizedResponse(1.0),), ROWS[RandomizedResponse].noisier)
    with pytest.raises(LawError, match=r"RandomizedResponse\(epsilon=1.0, categories=2\) under replace_one: count is"):
        check_laws(PLD, [row], tolerance=GRID)
    assert check_laws(RDP, [row], tolerance=ORDER) > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accountant", [PLD, RDP, Opacus("rdp")], ids=["PLD", "RDP", "Opacus"])
def test_the_adapters_answer_about_ledgers_as_about_events(accountant):
    ledger = Ledger(relation="add_remove")
    ledger.record(STEP, times=50)
    alone = accountant.epsilon(STEP * 50, delta=1e-6, relation="add_remove")
    assert accountant.epsilon(ledger, delta=1e-6) == alone > 0.0
    assert accountant.epsilon(Composed(()), delta=1e-6, relation="add_remove") == 0.0
