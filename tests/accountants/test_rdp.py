"""The Rényi accountant against published values, against its peers, and against known faults of other libraries."""

import itertools
import json
import math
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants import (
    Curve,
    DistributedDiscreteGaussian,
    Event,
    EventError,
    Gaussian,
    Laplace,
    Ledger,
    LedgerError,
    PoissonSampled,
    RDPAccountant,
    Relation,
    RelationError,
    UnsupportedEventError,
    epsilon,
    rdp_curve,
)
from accountants.events import (
    ZCDP,
    BoundedRange,
    DiscreteGaussian,
    DominatingPair,
    FixedSizeSampled,
    Group,
    RandomizedResponse,
    RDPCurve,
    Skellam,
)
from accountants.testing import LAWS, EventRow, check_laws
from tests.oracles.accounting import gaussian_delta

VECTORS = json.loads((Path(__file__).parent / "vectors" / "rdp.json").read_text())
PEER_ORDERS = (*(1 + x / 10.0 for x in range(1, 100)), *range(11, 64), 128, 256, 512, 1024)
RDP = RDPAccountant()


def _event(row):
    core = {"gaussian": Gaussian, "laplace": Laplace}[row["noise"]](row["noise_multiplier"])
    return PoissonSampled(core, row["sampling_prob"]) * row["times"]


def _rows(*kinds):
    return pytest.mark.parametrize("row", [r for r in VECTORS if r["kind"] in kinds], ids=lambda r: r["name"])


@_rows("rdp")
def test_rdp_vectors(row):
    core = _event(row).event
    core = core if row["sampling_prob"] < 1.0 else core.event
    value = row["times"] * rdp_curve(core, Relation.add_remove).rdp(row["at"])
    assert value == pytest.approx(row["value"], rel=row["tolerance"])


@_rows("exact")
def test_never_below_the_exact_value(row):
    if row["ask"] == "epsilon":
        value = RDP.epsilon(_event(row), delta=row["at"], relation=row["relation"])
    else:
        value = RDP.delta(_event(row), epsilon=row["at"], relation=row["relation"])
        value = math.log(value) if row["ask"] == "log_delta" else value
    assert value >= row["value"] - row["tolerance"] * max(1.0, abs(row["value"]))


@_rows("peer_orders")
def test_not_above_the_peers_value_at_the_peers_orders(row):
    """dp_accounting's fractional orders are loose (order 2.3 at q=.5, z=10: .01074 for .00289) or infinite."""
    event, delta = _event(row), row["at"]
    at_orders = RDPAccountant(orders=PEER_ORDERS).epsilon(event, delta=delta, relation="add_remove")
    assert at_orders <= row["value"] * (1 + row["tolerance"])
    assert RDP.epsilon(event, delta=delta, relation="add_remove") <= at_orders * (1 + 1e-9)


@_rows("conversion_improved", "conversion_mironov2017")
def test_conversions_at_the_best_real_order(row):
    accountant = RDPAccountant(conversion=row["kind"].removeprefix("conversion_"))
    assert accountant.epsilon(_event(row), delta=row["at"], relation="add_remove") == pytest.approx(
        row["value"], rel=1e-8
    )


@_rows("pure")
def test_pure_events_cost_at_most_the_sum_of_their_pure_epsilons(row):
    event = _event(row).event
    assert RDP.epsilon(event, delta=1e-300, relation="add_remove") == pytest.approx(row["value"], rel=1e-12)
    assert RDP.delta(event * 7, epsilon=7.000001 * row["value"], relation="add_remove") == 0.0


@given(scale=st.floats(0.1, 100.0), times=st.integers(1, 1000), delta=st.floats(1e-300, 0.9))
def test_laplace_never_costs_more_than_pure(scale, times, delta):
    assert RDP.epsilon(Laplace(scale) * times, delta=delta, relation="add_remove") <= times / scale * (1 + 1e-13)


@given(
    z=st.floats(0.2, 100.0),
    times=st.integers(1, 10**6),
    log_delta=st.floats(-300.0, -0.1),
    relation=st.sampled_from(Relation),
)
def test_gaussian_is_bounded_by_its_closed_form_on_both_sides(z, times, log_delta, relation):
    """delta at the epsilon reported is at most the delta asked for; epsilon is at most zCDP's, rho + 2 sqrt(rho L)."""
    delta = math.exp(log_delta)
    value = RDP.epsilon(Gaussian(z) * times, delta=delta, relation=relation)
    mu = math.sqrt(times) / z * (2.0 if relation is Relation.replace_one else 1.0)
    assert gaussian_delta(mu, value) <= delta
    rho = mu * mu / 2.0
    assert value <= (rho + 2.0 * math.sqrt(-rho * log_delta)) * (1 + 1e-9)


@given(
    q=st.floats(1e-4, 0.99),
    z=st.floats(0.4, 20.0),
    times=st.integers(1, 10**5),
    log_delta=st.floats(-60.0, -0.1),
    relation=st.sampled_from(Relation),
)
def test_orders_and_conversions_are_in_order(q, z, times, log_delta, relation):
    event, delta = PoissonSampled(Gaussian(z), q) * times, math.exp(log_delta)
    best = RDP.epsilon(event, delta=delta, relation=relation)
    assert 0.0 <= best < math.inf
    some = RDPAccountant(orders=(1.5, 4, 16, 64)).epsilon(event, delta=delta, relation=relation)
    older = RDPAccountant(conversion="mironov2017").epsilon(event, delta=delta, relation=relation)
    unsampled = RDP.epsilon(event.event.event * times, delta=delta, relation=relation)
    assert best <= min(some, older, unsampled) * (1 + 1e-8)


def _peer_epsilon(q, z, times, delta, orders):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from dp_accounting import dp_event
        from dp_accounting.rdp import rdp_privacy_accountant

        accountant = rdp_privacy_accountant.RdpAccountant(orders)
        accountant.compose(dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(z)), times)
        return accountant.get_epsilon(delta)


@settings(max_examples=20)
@given(
    q=st.floats(1e-4, 0.9),
    z=st.floats(0.5, 10.0),
    times=st.integers(1, 10**4),
    delta=st.sampled_from([1e-3, 1e-5, 1e-9]),
)
def test_agrees_with_dp_accounting_at_integer_orders(q, z, times, delta):
    orders = [2, 3, 5, 8, 16, 32, 60]
    ours = RDPAccountant(orders=orders).epsilon(
        PoissonSampled(Gaussian(z), q) * times, delta=delta, relation="add_remove"
    )
    assert ours == pytest.approx(_peer_epsilon(q, z, times, delta, orders), rel=1e-8, abs=1e-12)


def test_fractional_orders_where_the_peers_series_fails():
    """dp_accounting's series does not converge at q=.1, z=1, order <= 1.5 and reports infinity."""
    curve = rdp_curve(PoissonSampled(Gaussian(1.0), 0.1), Relation.add_remove)
    assert [curve.rdp(order) for order in (1.001, 1.1, 1.5)] == sorted(curve.rdp(order) for order in (1.001, 1.1, 1.5))
    assert 0.0 < curve.rdp(1.001) < curve.rdp(1.5) < curve.rdp(2.0) < 0.02
    peer = _peer_epsilon(0.1, 1.0, 10, 1e-6, [1.1, 1.2, 1.5, 2, 3, 4, 5, 6, 8])
    ours = RDP.epsilon(PoissonSampled(Gaussian(1.0), 0.1) * 10, delta=1e-6, relation="add_remove")
    assert 3.5 < ours <= peer


def test_agrees_with_opacus():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.accountants.analysis import rdp as opacus_rdp
    for q, z in ((0.01, 1.1), (0.2, 0.8), (1e-4, 3.0)):
        curve = rdp_curve(PoissonSampled(Gaussian(z), q), Relation.add_remove)
        for order in (1.5, 2.0, 7.3, 40.0):
            peer = float(opacus_rdp.compute_rdp(q=q, noise_multiplier=z, steps=1, orders=order))
            assert curve.rdp(order) == pytest.approx(peer, rel=1e-6)


def test_no_floor_however_small_the_cost():
    """Opacus's orders stop at 63: epsilon 0.1029 at delta=1e-5 however much noise; the truth here is 0."""
    event = PoissonSampled(Gaussian(100.0), 1e-3)
    assert RDP.epsilon(event, delta=1e-5, relation="add_remove") == 0.0
    assert RDPAccountant(conversion="mironov2017").epsilon(event, delta=1e-5, relation="add_remove") < 1e-3


def test_never_negative():
    """Opacus reports -0.693 here."""
    assert RDP.epsilon(PoissonSampled(Gaussian(10.0), 0.01), delta=0.5, relation="add_remove") == 0.0


def test_count_is_not_dropped():
    """dp_accounting drops it for two events: 50 randomized responses cost as one."""
    for event in (Laplace(10.0), PoissonSampled(Laplace(2.0), 0.1), PoissonSampled(Gaussian(1.0), 0.1)):
        listed = event
        for _ in range(49):
            listed = listed + event
        one = RDP.epsilon(event, delta=1e-5, relation="add_remove")
        fifty = RDP.epsilon(event * 50, delta=1e-5, relation="add_remove")
        assert fifty == RDP.epsilon(listed, delta=1e-5, relation="add_remove")
        assert fifty > 2.0 * one


@pytest.mark.parametrize("delta", [1e-14, 1e-15, 1e-50, 1e-200, 5e-324])
def test_small_deltas(delta):
    """dp_accounting's PLD says 8.586 at 1e-14 (truth 4.5437) and infinity at 1e-15."""
    event = PoissonSampled(Gaussian(1.0), 0.01) * 1000
    value = RDP.epsilon(event, delta=delta, relation="add_remove")
    assert RDP.delta(event, epsilon=value, relation="add_remove") <= delta * 1.001 + 5e-324
    assert 4.5437 < value < 4.5437 + 3.0 * math.sqrt(-math.log(delta) * 2.0)


@pytest.mark.parametrize("relation", Relation)
def test_extreme_noise_is_a_number(relation):
    for core in (Gaussian, Laplace):
        for z in (1e-300, 1e-200, 1e-9, 1e-3, 1e6, 1e200, 1e300):
            for event in (core(z), PoissonSampled(core(z), 1e-9) * 10, PoissonSampled(core(z), 1 - 1e-9)):
                value = RDP.epsilon(event, delta=1e-6, relation=relation)
                assert value >= 0.0
                assert 0.0 <= RDP.delta(event, epsilon=1.0, relation=relation) <= 1.0
    shares = DistributedDiscreteGaussian(1e200, 5, 1e200, 10)
    assert RDP.epsilon(shares, delta=1e-6, relation=relation) < 20.0
    batch = PoissonSampled(Gaussian(1e-200) + Gaussian(1e200), 0.5)
    assert RDP.epsilon(batch, delta=1e-6, relation=relation) == math.inf
    assert RDP.epsilon(Gaussian(1e-300), delta=1e-6, relation=relation) == math.inf
    assert RDP.epsilon(Gaussian(1e300), delta=1e-6, relation=relation) == 0.0


def test_ten_thousand_steps_are_fast():
    event = PoissonSampled(Gaussian(1.1), 0.01) * 10_000
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        RDP.epsilon(event, delta=1e-5, relation="add_remove")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


@pytest.mark.parametrize("orders", [[], [1.0], [2, math.inf], [2, math.nan], [0.5]])
def test_orders_are_checked(orders):
    with pytest.raises(EventError, match="orders must be"):
        RDPAccountant(orders=orders)


def test_parameters_are_checked():
    with pytest.raises(EventError, match="conversion must be improved or mironov2017"):
        RDPAccountant(conversion="best")
    with pytest.raises(RelationError, match="no default"):
        RDP.epsilon(Gaussian(1.0), delta=1e-5)
    with pytest.raises(EventError, match="delta must be"):
        RDP.epsilon(Gaussian(1.0), delta=1.0, relation="add_remove")
    with pytest.raises(EventError, match="epsilon must be"):
        RDP.delta(Gaussian(1.0), epsilon=-1.0, relation="add_remove")
    with pytest.raises(EventError, match="what must be a Ledger or an event"):
        RDP.epsilon("Gaussian", delta=1e-5, relation="add_remove")


def test_the_name_says_what_it_is():
    assert str(RDP) == "Rényi accountant (best real order, improved conversion)"
    assert "best of 2 orders, mironov2017" in str(RDPAccountant(orders=[2, 3], conversion="mironov2017"))


@final
@dataclass(frozen=True, slots=True)
class Toy(Event):
    """A third party's event: one class ..."""

    strength: float


@rdp_curve.register
def _(event: Toy, relation: Relation) -> Curve:
    """... and one curve."""
    if relation is Relation.zero_out:
        raise UnsupportedEventError("Toy has no curve under zero_out; use add_remove.", event=event)
    factor = 4.0 if relation is Relation.replace_one else 1.0
    return Curve(rdp=lambda order: factor * event.strength * order)


def test_a_third_party_event_is_one_class_and_one_curve():
    toy = Toy(0.125)
    assert RDP.epsilon(toy * 3, delta=1e-5, relation="add_remove") == pytest.approx(
        RDP.epsilon(Gaussian(2.0) * 3, delta=1e-5, relation="add_remove"), rel=1e-9
    )
    assert epsilon(toy * 3, delta=1e-5, relation="add_remove") <= RDP.epsilon(
        toy * 3, delta=1e-5, relation="add_remove"
    )
    ledger = Ledger(relation="add_remove")
    ledger.record(toy, times=5)
    assert Ledger.from_json(ledger.to_json()) == ledger
    assert RDP.supports(toy)
    assert not RDP.supports(toy, relation="zero_out")
    with pytest.raises(UnsupportedEventError, match="zero_out"):
        Ledger(relation="zero_out").record(toy)
    assert check_laws(RDP, [EventRow(Toy, (toy, Toy(2.0)), lambda e: Toy(e.strength / 2.0))]) == 2 * 2 * len(LAWS)


@final
@dataclass(frozen=True, slots=True)
class Uncurved(Event):
    """An event that nobody has a curve for."""


def test_an_event_without_a_curve_is_refused_with_what_to_do():
    with pytest.raises(UnsupportedEventError, match=r"rdp_curve\.register"):
        RDP.epsilon(Uncurved(), delta=1e-5, relation="add_remove")
    ledger = Ledger(relation="add_remove")
    with pytest.raises(UnsupportedEventError, match=r"rdp_curve\.register"):
        ledger.record(Uncurved())
    assert len(ledger) == 0
    assert not RDP.supports(PoissonSampled(Toy(1.0), 0.5))


def test_unknown_names_are_not_imported():
    text = (
        Ledger(relation="add_remove")
        .to_json()
        .replace('"entries": []', '"entries": [{"event": {"type": "os.system"}, "times": 1, "note": ""}]')
    )
    with pytest.raises(LedgerError, match=r"known class, got 'os\.system'"):
        Ledger.from_json(text)


@pytest.mark.parametrize("z", [0.04, 0.05, 0.1, 1.0])
@pytest.mark.parametrize("relation", ["add_remove", "replace_one"])
def test_a_vanishing_sample_costs_nothing(z, relation):
    # delta is 1e80 times the chance that the record was ever drawn
    event = PoissonSampled(Gaussian(z), 1e-100) * 1000
    assert RDPAccountant().epsilon(event, delta=1e-17, relation=relation) == 0.0


def test_delta_falls_in_epsilon_to_the_end():
    deltas = [RDPAccountant().delta(Gaussian(1.0), epsilon=10.0**k, relation="add_remove") for k in range(0, 309, 4)]
    assert deltas == sorted(deltas, reverse=True)
    assert deltas[-1] < 1e-300


@pytest.mark.parametrize("event", [Gaussian(5e-324), Laplace(5e-324), PoissonSampled(Gaussian(5e-324), 0.5)])
@pytest.mark.parametrize("relation", Relation)
def test_the_least_noise_costs_infinity(event, relation):
    assert RDPAccountant().epsilon(event, delta=1e-5, relation=relation) > 1e300


@pytest.mark.parametrize("orders", [[1e300], "ab", [], [1.0], [float("nan")], [10**400], [None]])
def test_bad_orders(orders):
    with pytest.raises(EventError, match="orders must be"):
        RDPAccountant(orders=orders)


@pytest.mark.parametrize("conversion", [["improved"], None, "best"])
def test_bad_conversions(conversion):
    with pytest.raises(EventError, match="conversion must be"):
        RDPAccountant(conversion=conversion)


WITHOUT_REPLACEMENT = [
    # population, batch, stddev / distance of two records, steps, delta, dp_accounting 0.6 (Wang et al., Theorem 27)
    (1000, 10, 2.0, 100, 1e-5, 0.43473118331365956),
    (50_000, 250, 1.0, 1000, 1e-6, 2.012485577130688),
]


@pytest.mark.parametrize(("population", "batch", "ratio", "steps", "delta", "peer"), WITHOUT_REPLACEMENT)
def test_fixed_size_batches_cost_less_than_the_peers_theorem(population, batch, ratio, steps, delta, peer):
    """The one curve of both branches; and at the peer's own orders too."""
    event = FixedSizeSampled(Gaussian(2.0 * ratio), population, batch) * steps
    value = RDP.epsilon(event, delta=delta, relation="replace_one")
    at_orders = RDPAccountant(orders=PEER_ORDERS).epsilon(event, delta=delta, relation="replace_one")
    assert 0.5 * peer < value <= at_orders * (1 + 1e-9) <= 0.82 * peer
    assert RDP.epsilon(event, delta=delta, relation="add_remove") < value
    apart = PoissonSampled(Gaussian(2.0 * ratio), batch / population) * steps
    assert RDP.epsilon(apart, delta=delta, relation="add_remove") < 0.7 * value, "distance 1 is not enough"


def test_failure_of_every_occurrence_is_counted():
    """P = (.89, .1, .01), Q = (.9, .1, 0): with probability .01 a release gives the record away."""
    p, q = (0.89, 0.1, 0.01), (0.9, 0.1, 0.0)
    logs = [tuple(math.log(x) if x else -math.inf for x in law) for law in (p, q)]
    event = DominatingPair(*logs)
    for times in (1, 5, 60):
        lost = 1.0 - 0.99**times
        assert math.isinf(RDP.epsilon(event * times, delta=0.999 * lost, relation="add_remove"))
        assert math.isfinite(RDP.epsilon(event * times, delta=lost + 0.01, relation="add_remove"))
        delta = RDP.delta(event * times, epsilon=50.0, relation="add_remove")
        assert lost <= delta <= lost * (1 + 1e-12)


@given(
    masses=st.lists(st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)), min_size=2, max_size=4),
    times=st.integers(1, 4),
    epsilon=st.floats(0.0, 3.0),
)
def test_given_pairs_are_bounded_by_enumeration(masses, times, epsilon):
    """Any two laws, with atoms that one of them lacks, composed by enumeration, in both directions."""
    laws = [[pair[side] for pair in masses] for side in (0, 1)]
    if min(map(sum, laws)) < 0.1:
        return
    p, q = ([x / sum(law) for x in law] for law in laws)
    event = DominatingPair(*(tuple(math.log(x) if x > 0.0 else -math.inf for x in law) for law in (p, q)))
    value = RDP.delta(event * times, epsilon=epsilon, relation="add_remove")
    for first, second in ((p, q), (q, p)):
        truth = 0.0
        for chosen in itertools.product(range(len(p)), repeat=times):
            a, b = (math.prod(law[i] for i in chosen) for law in (first, second))
            truth += max(0.0, a - math.exp(epsilon) * b)
        # each of the differences summed is off by EPS of its terms, which sum up to 1 + e^epsilon
        assert truth * (1 - 1e-12) - 4 * 2.0**-52 * times * (1.0 + math.exp(epsilon)) <= value


SUPPORTED = [
    (Skellam(400.0, 30.0, 10.0), {"add_remove", "replace_one", "zero_out"}),
    (PoissonSampled(Skellam(400.0, 30.0, 10.0), 0.1), {"add_remove", "zero_out"}),
    (FixedSizeSampled(Skellam(400.0, 30.0, 10.0), 100, 10), {"add_remove", "replace_one", "zero_out"}),
    (PoissonSampled(DiscreteGaussian(8.0, 4.0, dim=20), 0.1), {"add_remove", "replace_one", "zero_out"}),
    (PoissonSampled(DiscreteGaussian(8.0, 4.0), 0.1), {"add_remove", "replace_one", "zero_out"}),
    (BoundedRange(0.3), {"add_remove", "replace_one", "zero_out"}),
    (RandomizedResponse(1.0, 4), {"replace_one"}),
    (ZCDP(0.1, "zero_out"), {"zero_out"}),
    (RDPCurve([2.0, 5.0, 30.0], [0.1, 0.2, 0.9], "replace_one"), {"replace_one"}),
    (Group(PoissonSampled(Gaussian(4.0), 0.1), 3), {"add_remove", "zero_out"}),
]


@pytest.mark.parametrize(("event", "relations"), SUPPORTED)
def test_where_a_sound_curve_is_known(event, relations):
    for relation in Relation:
        assert RDP.supports(event, relation=relation) == (relation.value in relations)
        if relation.value in relations:
            one, many = (RDP.epsilon(event * n, delta=1e-6, relation=relation) for n in (1, 50))
            assert 0.0 < one < many < math.inf


def test_a_group_costs_more_than_a_record_and_less_than_the_unsampled_group():
    one = PoissonSampled(Gaussian(4.0), 0.05)
    costs = [RDP.epsilon(Group(one, k) * 100, delta=1e-6, relation="add_remove") for k in (1, 2, 4, 8)]
    assert costs == sorted(costs)
    assert costs[0] == RDP.epsilon(one * 100, delta=1e-6, relation="add_remove")
    for k, cost in zip((2, 4, 8), costs[1:], strict=True):
        assert cost < RDP.epsilon(Group(Gaussian(4.0), k) * 100, delta=1e-6, relation="add_remove")
        assert cost > k * costs[0], "a group of k costs more than k records apart"
