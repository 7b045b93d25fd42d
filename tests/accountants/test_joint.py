"""Joint calibration: the whole within its target, on the safe side and tight; each release within its share."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accountants import (
    CalibrationError,
    Composed,
    EventError,
    FixedSizeSampled,
    Gaussian,
    Laplace,
    Ledger,
    PLDAccountant,
    PoissonSampled,
    RDPAccountant,
    Relation,
    RelationError,
    calibrate,
    epsilon,
)
from accountants.joint import calibrate_jointly

TERMS = {"epsilon": 2.0, "delta": 1e-6, "relation": "add_remove"}
PLANS = {
    "histogram": Laplace,
    "mean": Gaussian,
    "training": lambda z: PoissonSampled(Gaussian(z), 0.01) * 1000,
}
RENYI = RDPAccountant()
TOLERANCE = 1e-4


def _whole(plans, values, factor=1.0):
    return Composed([build(values[name] * factor) for name, build in plans.items()])


@settings(max_examples=12)
@given(
    weights=st.tuples(*[st.floats(-3.0, 3.0).map(math.exp)] * 3),
    log_target=st.floats(math.log(0.05), math.log(10.0)),
    delta=st.sampled_from([1e-3, 1e-6, 1e-12]),
    relation=st.sampled_from([Relation.add_remove, Relation.zero_out]),
)
def test_the_whole_is_on_the_safe_side_and_tight(weights, log_target, delta, relation):
    target, terms = math.exp(log_target), {"delta": delta, "relation": relation}
    given_ = dict(zip(PLANS, weights, strict=True))
    # an accountant whose answers are smooth to their last digits, so that what is tight can be seen
    values = calibrate_jointly(PLANS, weights=given_, epsilon=target, accountant=RENYI, **terms)
    assert RENYI.epsilon(_whole(PLANS, values), **terms) <= target
    # a scale within the tolerance below was evaluated, and failed. A Gaussian's epsilon falls at most as the square of
    # its noise, each plan's at least as its own noise: so no parameter there is less by more than twice the tolerance,
    # and an eighth, twice, for the parameters' own
    assert RENYI.epsilon(_whole(PLANS, values, 1.0 - 2.3 * TOLERANCE), **terms) > target * (1.0 - 1e-8)


def test_a_ledger_of_the_releases_costs_what_was_asked_for():
    plans = {"histogram": Laplace, "mean": Gaussian, "sums": lambda z: Gaussian(z) * 10}
    values = calibrate_jointly(plans, weights={"histogram": 1, "mean": 2, "sums": 5}, **TERMS)
    ledger = Ledger(relation="add_remove")
    for name, build in plans.items():
        ledger.record(build(values[name]), note=name)
    assert 2.0 * (1.0 - 1e-3) < ledger.epsilon(delta=1e-6) <= 2.0
    assert PLDAccountant().bounds(ledger, delta=1e-6)[1] <= 2.0


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 2.0, 8.0), (30.0, 1.0, 0.1)])
def test_each_release_alone_costs_its_share(weights):
    given_ = dict(zip(PLANS, weights, strict=True))
    values = calibrate_jointly(PLANS, weights=given_, accountant=RENYI, **TERMS)
    by_weight = values["mean"] * math.sqrt(weights[1])  # a plain Gaussian: noise ** -2 in proportion to the weight
    for (name, build), weight in zip(PLANS.items(), weights, strict=True):
        share = Gaussian(by_weight / math.sqrt(weight))
        allowed = epsilon(share, delta=1e-6, relation="add_remove")
        alone = epsilon(build(values[name]), delta=1e-6, relation="add_remove")
        # each noise is within 1/8 of the tolerance of its share's; at these costs epsilon moves at most tenfold by that
        assert alone == pytest.approx(allowed, rel=10.0 * TOLERANCE / 8.0)


@pytest.mark.parametrize("relation", Relation)
@pytest.mark.parametrize("target", [0.01, 1.0, 20.0])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_equal_gaussians_are_one_gaussian(count, target, relation):
    terms = {"epsilon": target, "delta": 1e-6, "relation": relation}
    values = calibrate_jointly({str(n): Gaussian for n in range(count)}, **terms)
    assert len(set(values.values())) == 1
    one = calibrate(Gaussian, tolerance=1e-9, **terms)
    assert one * (1.0 - 1e-9) <= values["0"] / math.sqrt(count) <= one * (1.0 + 1.3 * TOLERANCE)


def test_gaussians_share_rho_in_proportion():
    weights = {"a": 1, "b": 4, "c": 100}
    values = calibrate_jointly(dict.fromkeys(weights, Gaussian), weights=weights, **TERMS)
    for name, weight in weights.items():
        assert values[name] * math.sqrt(weight) == pytest.approx(values["a"], rel=TOLERANCE / 8.0)
    again = calibrate_jointly(dict.fromkeys(weights, Gaussian), weights={n: 2 * w for n, w in weights.items()}, **TERMS)
    assert again == values  # only the ratios matter


def test_the_order_of_releases_does_not_matter():
    weights = {"histogram": 1, "mean": 3, "training": 8}
    turned = dict(reversed(PLANS.items()))
    one, other = (calibrate_jointly(plans, weights=weights, accountant=RENYI, **TERMS) for plans in (PLANS, turned))
    assert one == other


def test_other_samplers_relations_and_accountants():
    plans = {"batch": lambda z: FixedSizeSampled(Gaussian(z), 1000, 100), "vote": Laplace}
    terms = {"epsilon": 3.0, "delta": 1e-6, "relation": "replace_one"}
    accountant = RDPAccountant(conversion="mironov2017")
    values = calibrate_jointly(plans, weights={"batch": 9, "vote": 1}, accountant=accountant, **terms)
    assert accountant.epsilon(_whole(plans, values), delta=1e-6, relation="replace_one") <= 3.0
    tight = calibrate_jointly(plans, weights={"batch": 9, "vote": 1}, accountant=RENYI, **terms)
    assert all(tight[name] < values[name] for name in plans)


def test_a_share_that_costs_nothing_at_this_delta_is_still_a_share():
    plans = {"small": Gaussian, "large": lambda z: Gaussian(z) * 4}
    terms = {"epsilon": 0.1, "delta": 0.05, "relation": "add_remove"}
    values = calibrate_jointly(plans, weights={"small": 1, "large": 10_000}, **terms)
    assert epsilon(Gaussian(values["small"]), delta=0.05, relation="add_remove") == 0.0
    assert values["small"] == pytest.approx(100.0 * values["large"] / 2.0, rel=TOLERANCE / 4.0)
    assert epsilon(_whole(plans, values), delta=0.05, relation="add_remove") <= 0.1


def test_a_share_out_of_reach_is_named():
    for build, text in [
        (lambda z: Gaussian(z) + Gaussian(0.1), r"'side'.*which it exceeds"),
        (lambda z: PoissonSampled(Gaussian(z), 1e-9), r"'side'.*which it stays below"),
        (lambda z: PoissonSampled(PoissonSampled(Gaussian(z), 0.1) * 2, 0.5), r"refused.*draw a batch per release"),
    ]:
        with pytest.raises(CalibrationError, match=text) as caught:
            calibrate_jointly({"mean": Gaussian, "side": build}, **TERMS)
        assert caught.value.all_meet == ("below" in text)
        assert "bracket" not in str(caught.value)


def test_a_target_out_of_reach_ends():
    with pytest.raises(CalibrationError, match="within reach"):
        calibrate_jointly({"a": Gaussian}, epsilon=1e-16, delta=1e-20, relation="add_remove")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"builds": {}}, "builds must be a non-empty mapping"),
        ({"builds": [Gaussian]}, "builds must be a non-empty mapping"),
        ({"builds": {"a": 3.0}}, "builds must be functions, got float for 'a'"),
        ({"builds": {"a": lambda x: 3.0}}, "build must return an event, got float"),
        ({"weights": {"b": 1.0}}, "weights must have the names of builds"),
        ({"weights": [1.0]}, "weights must have the names of builds"),
        ({"weights": {"a": 0.0}}, "weights must be > 0"),
        ({"weights": {"a": math.inf}}, "weights must be a finite number"),
        ({"weights": {"a": True}}, "weights must be a finite number"),
        ({"builds": {"a": Gaussian, "b": Gaussian}, "weights": {"a": 1e-10, "b": 1.0}}, "within a factor of 1e9"),
        ({"epsilon": 0.0}, "epsilon must be > 0"),
        ({"delta": 1.0}, "delta must be in"),
        ({"tolerance": 1.0}, "tolerance must be < 1"),
        ({"tolerance": 0.0}, "tolerance must be > 0"),
    ],
)
def test_parameters_are_checked(changes, text):
    with pytest.raises(EventError, match=text):
        calibrate_jointly(**{"builds": {"a": Gaussian}, **TERMS, **changes})


def test_weights_may_be_huge_or_tiny():
    one = calibrate_jointly({"a": Gaussian, "b": Gaussian}, **TERMS)
    for size in (1e-300, 1e308):
        assert calibrate_jointly({"a": Gaussian, "b": Gaussian}, weights={"a": size, "b": size}, **TERMS) == one


def test_relation_is_required():
    with pytest.raises(RelationError):
        calibrate_jointly({"a": Gaussian}, epsilon=1.0, delta=1e-6, relation=None)
