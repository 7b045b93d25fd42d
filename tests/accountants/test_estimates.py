"""The central limit estimate: it is what its formula says, it lies below the truth, and it refuses to be a number."""

import math
import operator

import pytest

from accountants import Gaussian, Laplace, PoissonSampled, UnsupportedEventError
from accountants.estimates import Estimate, clt_epsilon
from accountants.gdp import GDPAccountant
from tests.oracles.vectors import rows

PEER = [row for row in rows() if row.name.startswith("NEG_opacus_gdp")]


@pytest.mark.parametrize("row", PEER, ids=lambda row: row.name)
def test_the_estimate_is_below_the_truth(row):
    step = PoissonSampled(Gaussian(row.params["noise_multiplier"]), row.params["q"])
    found = clt_epsilon(step * row.params["T"], delta=row.at["delta"], relation="add_remove")
    assert found.value == pytest.approx(row.value, rel=1e-6)  # the peer prints the same formula as a bound
    assert found.value < 0.7 * row.truth[0]


def test_squares_add_up_over_parts():
    event = PoissonSampled(Gaussian(0.8), 0.01) * 500 + Gaussian(20.0) * 40
    mu = math.sqrt(500 * 1e-4 * math.expm1(1 / 0.64) + 40 / 400)
    found = clt_epsilon(event, delta=1e-5, relation="add_remove").value
    assert found == pytest.approx(
        GDPAccountant().epsilon(Gaussian(1 / mu), delta=1e-5, relation="add_remove"), rel=1e-9
    )
    assert clt_epsilon(event, delta=1e-5, relation="zero_out").value == found


OPERATORS = (
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.pow,
    max,
)


@pytest.mark.parametrize("operate", OPERATORS)
def test_cannot_be_used_as_a_bound(operate):
    found = Estimate(1.5, "central limit")
    for pair in ((found, 1.0), (1.0, found), (found, found)):
        with pytest.raises(TypeError, match="it may lie below the truth"):
            operate(*pair)


@pytest.mark.parametrize(
    "convert", [float, int, bool, round, abs, hash, math.isfinite, operator.neg, lambda x: sum([x])]
)
def test_is_no_number(convert):
    with pytest.raises(TypeError, match="not a bound"):
        convert(Estimate(1.5, "central limit"))


def test_prints_what_it_is():
    assert str(Estimate(1.3245, "central limit")) == "~1.32 (central limit estimate, not a bound)"
    assert "1.3245" in repr(Estimate(1.3245, "central limit"))


def test_refuses_what_has_no_such_limit():
    step = PoissonSampled(Gaussian(1.0), 0.01)
    with pytest.raises(UnsupportedEventError, match=r"PLDAccountant\(\)"):
        clt_epsilon(step, delta=1e-5, relation="replace_one")
    for event in (Laplace(1.0), PoissonSampled(Laplace(1.0), 0.1)):
        with pytest.raises(UnsupportedEventError, match="add_remove or zero_out"):
            clt_epsilon(event, delta=1e-5, relation="add_remove")


def test_extremes():
    assert clt_epsilon(PoissonSampled(Gaussian(1e-3), 0.5), delta=1e-5, relation="add_remove").value == math.inf
    assert clt_epsilon(Gaussian(1.0) * 0, delta=1e-5, relation="add_remove").value == 0.0
