import itertools
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from accountants import (
    ZCDP,
    ApproxDP,
    DominatingPair,
    Event,
    EventError,
    Gaussian,
    GDPAccountant,
    Laplace,
    Ledger,
    LedgerError,
    NonPrivate,
    PoissonSampled,
    PureDP,
    RDPAccountant,
    RDPCurve,
    Relation,
    RelationError,
    TruncatedPoissonSampled,
    UnsupportedEventError,
    Within,
    max_times,
)
from accountants.budget import Budget
from accountants.curves import Curve, rdp_curve
from accountants.errors import BudgetExceededError
from accountants.fold import fold
from dpkit import Bounded, GaussianMechanism
from tests.oracles.adversary import hockey_stick, response, strongest

ADD = Relation.add_remove


def _budget(**kwargs):
    return Budget(**{"epsilon": 1.0, "delta": 1e-6, "relation": "add_remove", **kwargs})


def _picture(budget):
    return budget.entries, len(budget), budget.seeded_releases, budget.spent, budget.to_json(), repr(budget)


def _log_pair(laws):
    return DominatingPair(*(tuple(math.log(x) if x else -math.inf for x in law) for law in laws))


# what the strongest adversary can do


def _admission(events, **promise):
    """(counts, index) -> whether a budget that holds the counts has room; one budget for each combination of counts."""
    seen = {}

    def admits(counts, i):
        if counts not in seen:
            budget = Budget(relation="add_remove", **promise)
            for event, times in zip(events, counts, strict=True):
                budget.record(event, times=times)
            seen[counts] = [budget.remaining(event) > 0 for event in events]
        return seen[counts][i]

    return admits


FAILING = ((0.9, 0.05, 0.05), (0.95, 0.05, 0.0))
BASE, ACTUAL = response(0.6), ((0.68, 0.32), (0.33, 0.67))
LOGS = [math.log(a / b) for law, true in zip(BASE, ACTUAL, strict=True) for a, b in zip(true, law, strict=True)]
WITHIN = Within(_log_pair(BASE), max(LOGS) + 1e-12, -min(LOGS) + 1e-12)
SMALL = {"epsilon": 2.0, "delta": 0.05}
MENUS = {  # name -> laws, their events, the factor that breaks the promise, the promise
    "pure": ([response(0.3), response(0.9)], [PureDP(0.3, ADD), PureDP(0.9, ADD)], 1.5, SMALL),
    "pairs": ([response(0.4), ((0.6, 0.1, 0.3), (0.3, 0.3, 0.4))], None, 1.5, SMALL),
    "failing": ([FAILING, response(0.5)], None, 3.0, {"epsilon": 1.0, "delta": 0.3, "failure": 0.1}),
    "within": ([ACTUAL, response(0.4)], [WITHIN, PureDP(0.4, ADD)], 1.5, SMALL),
}


@pytest.mark.parametrize("name", MENUS)
@pytest.mark.parametrize("flip", [False, True])
def test_no_adaptive_adversary_overspends(name, flip):
    """Over all policies that choose the next release, or stop, by everything seen: exactly, for small budgets."""
    menu, events, factor, promise = MENUS[name]
    events = events or [_log_pair(laws) for laws in menu]
    menu = [laws[::-1] if flip else laws for laws in menu]
    epsilon, delta = promise["epsilon"], promise["delta"]
    admits = _admission(events, order=3.0, **promise)
    assert 0.2 * delta < strongest(menu, admits, hockey_stick(epsilon)) <= delta
    # the test can fail: what a budget of a larger epsilon admits does break the promise
    wide = _admission(events, order=3.0, **{**promise, "epsilon": factor * epsilon})
    assert strongest(menu, wide, hockey_stick(epsilon)) > delta


def test_exact_curves_along_the_path_are_no_filter():
    """Why there is no method "pld": stop where the exact delta of what was recorded would exceed the promise."""
    menu, epsilon, delta = [response(0.3), response(0.9)], 1.0, 0.1

    def exact(counts):
        joint = [(1.0, 1.0)]
        for (p, q), n in zip(menu, counts, strict=True):
            steps = [
                (math.comb(n, k) * p[0] ** k * p[1] ** (n - k), math.comb(n, k) * q[0] ** k * q[1] ** (n - k))
                for k in range(n + 1)
            ]
            joint = [(a * c, b * d) for a, b in joint for c, d in steps]
        return math.fsum(max(0.0, a - math.exp(epsilon) * b) for a, b in joint)

    def admits(counts, i):
        return sum(counts) < 16 and exact([n + (k == i) for k, n in enumerate(counts)]) <= delta

    assert strongest(menu, admits, hockey_stick(epsilon)) > 1.2 * delta


# refusing, before and not after


def test_a_refused_record_changes_nothing():
    budget = _budget()
    budget.record(SimpleNamespace(event=Gaussian(20.0), secure=False), times=3, note="kept")
    before = _picture(budget)
    room = budget.remaining(Gaussian(8.0))
    with pytest.raises(BudgetExceededError, match="nothing was recorded") as caught:
        budget.record(Gaussian(8.0), times=room + 1, note="kept")
    assert (caught.value.event, caught.value.times, caught.value.remaining) == (Gaussian(8.0), room + 1, room)
    bad = [
        (object(), 1, "", LedgerError),
        (Gaussian(8.0), -1, "", LedgerError),
        (Gaussian(8.0), 1.0, "", LedgerError),
        (Gaussian(8.0), 1, None, LedgerError),
        (NonPrivate(), 1, "", BudgetExceededError),
        (ApproxDP(1e-9, 1e-12, ADD), 1, "", BudgetExceededError),
        (PureDP(0.1, Relation.replace_one), 1, "", UnsupportedEventError),
        (PoissonSampled(Laplace(1.0) * 2, 0.5), 1, "", UnsupportedEventError),
    ]
    for what, times, note, error in bad:
        with pytest.raises(error):
            budget.record(what, times, note)
        assert _picture(budget) == before
    budget.record(Gaussian(8.0), times=room, note="kept")
    assert len(budget) == room + 3


def test_the_last_that_fits_exactly_is_recorded():
    """A sum that equals its limit is within it."""
    budget = _budget(delta=0.5, failure=0.25)
    half = ApproxDP(0.0, 0.125, ADD)
    assert budget.remaining(half) == 2
    budget.record(half, times=2)
    assert budget.spent == 1.0
    assert budget.remaining(half) == 0
    with pytest.raises(BudgetExceededError):
        budget.record(half)


def test_counts_count():
    budget = _budget()
    room = budget.remaining(Gaussian(20.0))
    assert room > 4
    assert budget.remaining(Gaussian(20.0) * 3) == room // 3
    assert budget.remaining(Gaussian(20.0) * 0) == 2**53
    budget.record(Gaussian(20.0) * 2, times=room // 2)
    assert budget.remaining(Gaussian(20.0)) == room % 2
    single = _budget()
    for _ in range(room):
        single.record(Gaussian(20.0))
    with pytest.raises(BudgetExceededError):
        single.record(Gaussian(20.0))
    assert single.entries == ((Gaussian(20.0), room, ""),)


def test_the_order_never_follows_the_events():
    """What fits is what fits at the order of the constructor, though another order would admit more."""
    budget = _budget(epsilon=2.0, delta=1e-5)
    order = budget.order
    step = PoissonSampled(Gaussian(1.0), 0.01)
    few = budget.remaining(step)
    charge = rdp_curve(step, ADD).rdp(order)
    offset = (order - 1) * math.log(order - 1) - order * math.log(order)
    limit = (math.log(1e-5) - offset) / (order - 1) + 2.0
    assert few == int(limit / charge)
    most = max_times(step, epsilon=2.0, delta=1e-5, relation="add_remove", accountant=RDPAccountant())
    assert few < most / 10
    budget.record(step, times=few)
    with pytest.raises(BudgetExceededError):
        budget.record(step)
    assert budget.order == order
    chosen = _budget(epsilon=2.0, delta=1e-5, order=step)
    assert chosen.remaining(step) == most
    chosen.record(Gaussian(50.0))
    assert chosen.order == _budget(epsilon=2.0, delta=1e-5, order=step).order


@pytest.mark.parametrize("method", ["rdp", "zcdp", "gdp"])
@pytest.mark.parametrize("relation", list(Relation))
def test_what_was_fixed_beforehand_fits_no_better(method, relation):
    """A filter admits no more than the accountant of the same name would admit of events fixed beforehand."""
    event = Gaussian(30.0)
    budget = Budget(epsilon=0.7, delta=1e-7, relation=relation, method=method)
    fit = budget.remaining(event)
    exact = max_times(event, epsilon=0.7, delta=1e-7, relation=relation, accountant=GDPAccountant())
    renyi = max_times(event, epsilon=0.7, delta=1e-7, relation=relation, accountant=RDPAccountant())
    assert fit == (exact if method == "gdp" else renyi)


def test_slack_is_charged():
    plain, close = Gaussian(30.0), Within(Gaussian(30.0), 1e-3, 1e-3)
    budget = _budget()
    order = budget.order
    assert budget.remaining(close) < budget.remaining(plain)
    offset = (order - 1) * math.log(order - 1) - order * math.log(order)
    limit = math.log(1e-6) + (order - 1) - offset
    each = order * (order - 1) / 1800.0 + 1e-3 * (2 * order - 1)
    assert budget.remaining(close) == int(limit / each)
    budget.record(close, times=budget.remaining(close))
    assert RDPAccountant().epsilon(budget, delta=1e-6) <= 1.0


def test_failures_need_what_was_set_aside():
    event = ApproxDP(0.01, 1e-8, ADD)
    assert _budget().remaining(event) == 0
    budget = _budget(failure=2.5e-8)
    assert budget.remaining(event) == 2
    assert budget.remaining(Within(event, 0.25, 0.0)) == 1
    budget.record(event, times=2)
    with pytest.raises(BudgetExceededError):
        budget.record(event)
    assert budget.remaining(Gaussian(50.0)) > 0
    assert budget.spent == pytest.approx(0.8, rel=1e-12)


def test_distances_need_what_was_set_aside():
    batch = TruncatedPoissonSampled(Gaussian(2.0), 0.01, 1000, 30)
    each = fold([(batch, 1)]).slack.distance
    assert _budget(order=8.0, epsilon=3.0).remaining(batch) == 0
    budget = _budget(order=8.0, epsilon=3.0, delta=1e-3, distance=10.5 * each)
    assert budget.remaining(batch) == 10
    budget.record(batch, times=10)
    assert RDPAccountant().epsilon(budget, delta=1e-3) <= 3.0


def test_everything_set_aside_is_taken_from_the_rest():
    assert _budget(delta=1e-5, failure=5e-6).remaining(Gaussian(30.0)) == _budget(delta=5e-6).remaining(Gaussian(30.0))
    with pytest.raises(EventError, match="must leave something"):
        _budget(failure=1e-6)
    with pytest.raises(EventError, match="must leave something"):
        _budget(distance=3e-7)


# what a budget says


def test_the_promise_is_said_whatever_was_used():
    empty, full = _budget(), _budget()
    full.record(Gaussian(10.0), times=full.remaining(Gaussian(10.0)))
    for delta in (None, 1e-6, 1e-9, 1e-3):
        assert empty.epsilon(delta=delta) == full.epsilon(delta=delta)
    assert empty.epsilon() == empty.epsilon(delta=1e-6) == 1.0
    assert empty.delta() == empty.delta(epsilon=1.0) == 1e-6
    assert full.epsilon(delta=1e-9) > 1.0 > full.epsilon(delta=1e-3)
    statement = full.statement()
    assert (statement.epsilon, statement.delta, statement.releases) == (1.0, 1e-6, len(full))
    assert "privacy filter at order" in str(statement)
    assert "Gaussian privacy filter" in str(_budget(method="gdp").statement(delta=1e-8))


@given(
    epsilon=st.floats(0.1, 8.0),
    log_delta=st.floats(-60.0, -2.0),
    parts=st.tuples(st.floats(0.0, 0.4), st.floats(0.0, 0.4)),
    other=st.floats(0.3, 3.0),
)
def test_other_epsilons_and_deltas_are_the_theorem(epsilon, log_delta, parts, other):
    delta = math.exp(log_delta)
    failure, distance = parts[0] * delta, parts[1] * delta / (1.0 + math.exp(epsilon))
    budget = _budget(epsilon=epsilon, delta=delta, failure=failure, distance=distance)
    with mpmath.workdps(60):
        t = mpmath.mpf(budget.order) - 1
        offset = t * mpmath.log(t) - (1 + t) * mpmath.log1p(t)
        left = mpmath.mpf(delta) - failure - (1 + mpmath.exp(epsilon)) * distance
        limit = mpmath.log(left) + t * epsilon - offset

        def theorem(at):
            return mpmath.exp(limit - t * at + offset) + failure + (1 + mpmath.exp(at)) * distance

        exact = theorem(mpmath.mpf(other * epsilon))
        near = 1e-12 * (1 + float(t) * epsilon + abs(log_delta))
        known = delta if other >= 1.0 else 1.0  # delta falls in epsilon
        assert min(exact, known) * (1 - near) <= budget.delta(epsilon=other * epsilon) <= exact * (1 + 1e-6)
        cost = budget.epsilon(delta=min(0.9, 2.0 * delta))
        assert cost == epsilon or theorem(mpmath.mpf(cost)) <= min(0.9, 2.0 * delta) * (1 + near)


def test_a_budget_goes_where_a_ledger_goes():
    budget = _budget(unit="user")
    budget.record(Gaussian(30.0), times=2, note="twice")
    ledger = Ledger(relation="add_remove", unit="user")
    ledger.record(Gaussian(30.0), times=2, note="twice")
    assert (budget.relation, budget.unit, budget.entries) == (ledger.relation, ledger.unit, ledger.entries)
    assert GDPAccountant().epsilon(budget, delta=1e-6) == ledger.epsilon(delta=1e-6, accountant=GDPAccountant())
    with pytest.raises(TypeError, match="unhashable"):
        hash(budget)
    assert budget != ledger


def test_a_mechanism_releases_nothing_that_does_not_fit():
    mechanism = GaussianMechanism(noise_multiplier=5.0)
    budget = _budget(method="gdp")
    query = Bounded(np.zeros(3), bound=1.0)
    room = budget.remaining(Gaussian(5.0))
    for _ in range(room):
        assert mechanism.release(query, ledger=budget).event == Gaussian(5.0)
    before = _picture(budget)
    with pytest.raises(BudgetExceededError):
        mechanism.release(query, ledger=budget)
    assert _picture(budget) == before
    assert len(budget) == room > 0


# constant time


@dataclass(frozen=True)
class _Counted(Event):
    name: str


_CALLS = []


@rdp_curve.register
def _(event: _Counted, relation: Relation) -> Curve:
    def rdp(order):
        _CALLS.append(event)
        return 1e-6 * order

    return Curve(rdp)


def test_ten_thousand_records_evaluate_each_curve_once():
    budget = _budget()
    first, second = _Counted("first"), _Counted("second")
    budget.record(first)
    budget.record(second)
    before = len(_CALLS)
    for event in itertools.islice(itertools.cycle((first, second)), 10_000):
        budget.record(event)
    assert len(_CALLS) == before
    assert len(budget) == 10_002


# JSON and the constructor


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"method": "zcdp"},
        {"method": "gdp", "unit": "user"},
        {"order": 37.5, "failure": 1e-7, "distance": 1e-8, "relation": "replace_one"},
        {"order": PoissonSampled(Gaussian(1.0), 0.1)},
    ],
)
def test_json_gives_a_budget_back(arguments):
    budget = _budget(**arguments)
    budget.record(SimpleNamespace(event=Gaussian(40.0), secure=False), times=3, note="seeded")
    budget.record(Gaussian(70.0), times=2)
    again = Budget.from_json(budget.to_json())
    assert again == budget
    assert _picture(again) == _picture(budget)
    assert again.remaining(Gaussian(9.0)) == budget.remaining(Gaussian(9.0))
    assert json.loads(budget.to_json())["schema"] == "accountants.budget/1"


def _with(**changes):
    budget = _budget()
    budget.record(Gaussian(20.0))
    return json.dumps({**json.loads(budget.to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", LedgerError),
        ("[]", LedgerError),
        (Ledger(relation="add_remove").to_json(), LedgerError),
        (_with(schema="accountants.budget/2"), LedgerError),
        (_with(extra=1), LedgerError),
        (_with(epsilon="1"), LedgerError),
        (_with(method="pld"), LedgerError),
        (_with(order=None, epsilon=-1.0), LedgerError),
        (_with(ledger={}), LedgerError),
        (_with().replace("20.0", "NaN"), LedgerError),
        (_with().replace("20.0", "0.5"), BudgetExceededError),
    ],
)
def test_what_is_not_a_budgets_json_is_refused(text, error):
    with pytest.raises(error):
        Budget.from_json(text)


def test_constructor_is_checked():
    with pytest.raises(TypeError):
        Budget(epsilon=1.0, delta=1e-6)
    with pytest.raises(RelationError):
        _budget(relation="remove")
    bad = [
        {"epsilon": 0.0},
        {"epsilon": math.inf},
        {"delta": 0.0},
        {"delta": 1.0},
        {"order": 1.0},
        {"order": True},
        {"order": 1e11},
        {"order": 1.01},
        {"failure": -1e-9},
        {"distance": math.nan},
        {"method": None},
        {"method": "gdp", "order": 3.0},
        {"method": "gdp", "order": Gaussian(1.0)},
        {"method": "gdp", "failure": 1e-9},
    ]
    for arguments in bad:
        with pytest.raises(EventError):
            _budget(**arguments)
    with pytest.raises(EventError, match="privacy-loss distributions do not"):
        _budget(method="pld")
    with pytest.raises(UnsupportedEventError):
        _budget(method="zcdp", order=Laplace(1.0))


def test_what_a_method_does_not_hold_is_refused():
    for method in ("zcdp", "gdp"):
        with pytest.raises(UnsupportedEventError, match=f"a budget of method {method}"):
            _budget(method=method).record(Laplace(1.0))
    assert _budget(order=40.0).remaining(RDPCurve([2.0, 8.0], [0.1, 0.2], ADD)) == 0


# a machine that tries to overspend


def _rho(event):
    """rho of a record, in exact arithmetic."""
    if isinstance(event, ZCDP):
        return Fraction(event.rho)
    return 1 / (2 * Fraction(event.noise_multiplier) ** 2)


class Overspending(RuleBasedStateMachine):
    """Chooses releases by what earlier ones showed; the model is the sum of rho, exactly."""

    @initialize(
        method=st.sampled_from(["rdp", "zcdp", "gdp"]),
        epsilon=st.floats(0.05, 8.0),
        delta=st.sampled_from([1e-3, 1e-6, 1e-40]),
    )
    def start(self, method, epsilon, delta):
        self.promise = {"epsilon": epsilon, "delta": delta, "relation": "add_remove"}
        self.budget = Budget(method=method, **self.promise)
        self.method, self.spent, self.shown, self.rows = method, Fraction(0), 0.0, []
        order = self.budget.order
        if order is None:
            self.limit = self._most_gaussian(epsilon, delta)
        else:
            t = order - 1.0
            offset = t * math.log(t) - order * math.log(order)
            self.limit = (math.log(delta) + t * epsilon - offset) / t / order

    @staticmethod
    def _most_gaussian(epsilon, delta):
        with mpmath.workdps(60):

            def excess(mu):
                normal = [mpmath.erfc(-x / mpmath.sqrt(2)) / 2 for x in (mu / 2 - epsilon / mu, -mu / 2 - epsilon / mu)]
                return mpmath.log(normal[0] - mpmath.exp(epsilon) * normal[1]) - mpmath.log(delta)

            low, high = mpmath.mpf(1e-3), mpmath.mpf(10)
            for _ in range(60):
                middle = (low + high) / 2
                low, high = (low, middle) if excess(middle) > 0 else (middle, high)
            return float(low**2 / 2)

    def _try(self, event, times):
        cost = times * _rho(event)
        before = _picture(self.budget)
        total = float(self.spent + cost)
        try:
            self.budget.record(event, times=times, note="adaptive")
        except BudgetExceededError:
            assert total > self.limit * (1 - 1e-9)
            assert _picture(self.budget) == before
        else:
            assert total <= self.limit * (1 + 1e-9)
            self.spent += cost
            self.rows += [event] * (times > 0)

    @rule(data=st.data(), scale=st.floats(0.2, 30.0), times=st.integers(0, 5), noise=st.floats(-3.0, 3.0))
    def adaptive(self, data, scale, times, noise):
        """More noise after a large result, less after a small one; the result is the shift and its noise."""
        multiplier = scale * math.exp(self.shown / 4.0)
        event = Gaussian(multiplier)
        if self.method != "gdp" and data.draw(st.booleans()):
            event = ZCDP(0.5 / multiplier**2, ADD)
        self._try(event, times)
        self.shown = max(-8.0, min(8.0, self.shown + 1.0 / multiplier + noise))

    @rule(share=st.floats(0.1, 1.5))
    def a_share_of_what_is_left(self, share):
        """One release that takes about this share of what is left."""
        left = float(max(Fraction(0), Fraction(self.limit) - self.spent))
        if left > 1e-12 * self.limit:
            self._try(Gaussian(math.sqrt(0.5 / (share * left))), 1)

    @rule(multiplier=st.floats(0.3, 50.0))
    def everything_that_is_left(self, multiplier):
        event = Gaussian(multiplier)
        room = self.budget.remaining(event)
        with pytest.raises(BudgetExceededError):
            self.budget.record(event, times=room + 1)
        if room < 10**6:
            self._try(event, room)

    @rule()
    def through_json(self):
        self.budget = Budget.from_json(self.budget.to_json())

    @precondition(lambda self: hasattr(self, "budget"))
    @invariant()
    def never_overspent(self):
        assert float(self.spent) <= self.limit * (1 + 1e-9)
        assert 0.0 <= self.budget.spent <= 1.0
        assert self.budget.epsilon() == self.promise["epsilon"]
        if len(self.budget):
            exact = GDPAccountant().epsilon(
                Gaussian(float(1 / (2 * self.spent)) ** 0.5), delta=self.promise["delta"], relation="add_remove"
            )
            assert exact <= self.promise["epsilon"] * (1 + 1e-6)


Overspending.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestOverspending = Overspending.TestCase
