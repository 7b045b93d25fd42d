import json
import math
from types import SimpleNamespace

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import (
    ZCDP,
    ApproxDP,
    DominatingPair,
    EventError,
    Gaussian,
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
)
from accountants.errors import BudgetExceededError
from accountants.odometer import Odometer
from tests.oracles.adversary import response, strongest

ADD = Relation.add_remove


def _odometer(**kwargs):
    return Odometer(**{"delta": 1e-6, "relation": "add_remove", **kwargs})


def _picture(odometer):
    return odometer.entries, len(odometer), odometer.seeded_releases, odometer.epsilon(), odometer.to_json()


def _log_pair(laws):
    return DominatingPair(*(tuple(math.log(x) if x else -math.inf for x in law) for law in laws))


# the pairs are given as such, so that their pure epsilon is not what bounds them
MENUS = {
    "two": ([response(0.3), response(0.9)], {}),
    "skewed": ([((0.6, 0.1, 0.3), (0.3, 0.3, 0.4))], {}),
    "failing": ([((0.79, 0.2, 0.01), (0.6, 0.4, 0.0)), response(0.5)], {"failure": 0.0301}),
}


@pytest.mark.parametrize("name", MENUS)
@pytest.mark.parametrize("flip", [False, True])
def test_no_adaptive_adversary_outruns_the_odometer(name, flip):
    """The probability that the loss is ever above what the odometer says then, over all policies, is at most delta."""
    menu, extra = MENUS[name]
    events = [_log_pair(laws) for laws in menu]
    menu = [laws[::-1] if flip else laws for laws in menu]
    delta, seen = 0.1, {}

    def says(counts):
        if counts not in seen:
            odometer = _odometer(delta=delta, orders=[2.5, 4.0], **extra)
            for event, times in zip(events, counts, strict=True):
                odometer.record(event, times=times)
            seen[counts] = odometer.epsilon()
        return seen[counts]

    def admits(counts, i):
        after = [n + (k == i) for k, n in enumerate(counts)]
        return sum(after) <= 14 and (not extra or after[0] <= 3)

    def outrun(factor):
        return lambda p, q, counts: p if p > math.exp(factor * says(counts)) * q * (1 + 1e-12) else 0.0

    assert 0.0 < strongest(menu, admits, outrun(0.8)) <= 1.0
    assert strongest(menu, admits, outrun(1.0)) <= delta
    assert strongest(menu, admits, outrun(0.5)) > delta  # the test can fail


@given(
    noise=st.floats(0.5, 1e3),
    times=st.integers(1, 1000),
    delta=st.floats(1e-200, 0.5),
    orders=st.lists(st.floats(1.01, 1e4), min_size=1, max_size=5, unique=True),
    slack=st.floats(0.0, 0.5),
)
def test_the_bound_is_the_theorem(noise, times, delta, orders, slack):
    odometer = _odometer(delta=delta, orders=orders)
    odometer.record(Within(Gaussian(noise), slack, 0.5 * slack), times=times)
    with mpmath.workdps(50):
        share = mpmath.log(len(orders) / mpmath.mpf(delta))
        up, rho = mpmath.mpf(slack), 1 / (2 * mpmath.mpf(noise) ** 2)
        exact = min(
            times * (order * rho + order * up / (order - 1) + up / 2) + share / (order - 1)
            for order in map(mpmath.mpf, orders)
        )
        assert exact <= odometer.epsilon() <= exact * (1 + mpmath.mpf(1e-9))


def test_a_pure_sum_is_a_bound_too():
    odometer = _odometer()
    odometer.record(PureDP(0.01, ADD), times=3)
    odometer.record(Within(PureDP(0.01, ADD), 0.002, 0.001))
    assert 0.043 <= odometer.epsilon() <= 0.043 * (1 + 1e-12)
    odometer.record(Gaussian(1e3))
    assert odometer.epsilon() > 0.043


def test_it_only_rises_and_is_near_the_best():
    odometer, said = _odometer(), [0.0]
    for step in range(1, 40):
        odometer.record(Gaussian(30.0), times=step)
        said.append(odometer.epsilon())
    assert said == sorted(said)
    assert odometer.epsilon() < 1.4 * RDPAccountant().epsilon(odometer, delta=1e-6)
    assert odometer.epsilon() > RDPAccountant().epsilon(odometer, delta=1e-6)


def test_infinite_curves_leave_the_other_orders():
    odometer = _odometer(orders=[2.0, 16.0])
    odometer.record(RDPCurve([2.0, 4.0], [0.1, 0.2], ADD))
    assert odometer.epsilon() == pytest.approx(0.1 + math.log(2e6), rel=1e-9)
    odometer.record(ZCDP(0.5, ADD))
    assert odometer.epsilon() == pytest.approx(1.1 + math.log(2e6), rel=1e-9)
    alone = _odometer(orders=[16.0])
    alone.record(RDPCurve([2.0, 4.0], [0.1, 0.2], ADD))
    assert alone.epsilon() == math.inf
    assert alone.statement().epsilon == math.inf


def test_a_refused_record_changes_nothing_of_an_odometer():
    odometer = _odometer(failure=2e-7)
    odometer.record(SimpleNamespace(event=Gaussian(20.0), secure=False), times=3)
    odometer.record(ApproxDP(0.1, 1e-7, ADD), times=2)
    before = _picture(odometer)
    bad = [
        (ApproxDP(0.1, 1e-12, ADD), 1, "", BudgetExceededError),
        (NonPrivate(), 1, "", BudgetExceededError),
        (TruncatedPoissonSampled(Gaussian(1.0), 0.1, 100, 30), 1, "", UnsupportedEventError),
        (PoissonSampled(Laplace(1.0) * 2, 0.5), 1, "", UnsupportedEventError),
        (Gaussian(1.0), -1, "", LedgerError),
        (Gaussian(1.0), 1, None, LedgerError),
        (None, 1, "", LedgerError),
    ]
    for what, times, note, error in bad:
        with pytest.raises(error):
            odometer.record(what, times, note)
        assert _picture(odometer) == before
    odometer.record(NonPrivate(), times=0)
    assert _picture(odometer) == before


def test_failure_is_taken_from_delta():
    one, other = _odometer(delta=1e-6, failure=5e-7), _odometer(delta=5e-7)
    for odometer in (one, other):
        odometer.record(Gaussian(20.0))
    assert one.epsilon() == pytest.approx(other.epsilon(), rel=1e-9)


def test_json_gives_an_odometer_back():
    odometer = _odometer(orders=[2.0, 3.5], failure=1e-7, unit="user")
    odometer.record(SimpleNamespace(event=Gaussian(20.0), secure=False), times=3, note="seeded")
    odometer.record(ApproxDP(0.1, 1e-8, ADD))
    again = Odometer.from_json(odometer.to_json())
    assert again == odometer
    assert _picture(again) == _picture(odometer)
    assert again != _odometer()
    assert again != "odometer"
    assert repr(again).startswith("Odometer(delta=1e-06, relation='add_remove', unit='user', releases=4, epsilon=")
    with pytest.raises(TypeError, match="unhashable"):
        hash(again)


def _with(**changes):
    odometer = _odometer()
    odometer.record(Gaussian(20.0))
    return json.dumps({**json.loads(odometer.to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", LedgerError),
        (Ledger(relation="add_remove").to_json(), LedgerError),
        (_with(extra=1), LedgerError),
        (_with(delta=0), LedgerError),
        (_with(orders=[0.5]), LedgerError),
        (_with(orders=None), None),
        (_with(ledger=[]), LedgerError),
    ],
)
def test_what_is_not_an_odometers_json_is_refused(text, error):
    if error is None:
        assert Odometer.from_json(text) == Odometer.from_json(_with())
        return
    with pytest.raises(error):
        Odometer.from_json(text)


def test_constructor_is_checked():
    with pytest.raises(TypeError):
        Odometer(delta=1e-6)
    with pytest.raises(RelationError):
        _odometer(relation="remove")
    for arguments in (
        {"delta": 0.0},
        {"orders": []},
        {"orders": [1.0]},
        {"orders": [2.0, 2.0]},
        {"orders": ["2"]},
        {"failure": -0.1},
        {"failure": 1e-6},
    ):
        with pytest.raises(EventError):
            _odometer(**arguments)
    with pytest.raises(EventError, match="it was split"):
        _odometer().epsilon(delta=1e-5)
    assert _odometer().epsilon(delta=1e-6) == 0.0
    assert "odometer at 11 orders" in str(_odometer().statement(delta=1e-6))
