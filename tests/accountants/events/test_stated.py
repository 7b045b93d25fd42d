"""Stated guarantees and given laws: domains, and the relation that they carry."""

import math

import numpy as np
import pytest

from accountants import (
    ZCDP,
    ApproxDP,
    BoundedRange,
    DominatingPair,
    EventError,
    NonPrivate,
    PureDP,
    RandomizedResponse,
    RDPCurve,
    Relation,
    RelationError,
)

BAD = [-1e-300, math.nan, math.inf, True, None, "1"]
HALF = math.log(0.5)


@pytest.mark.parametrize("bad", BAD)
def test_guarantees_are_finite_numbers(bad):
    for build in (
        lambda: RandomizedResponse(bad),
        lambda: BoundedRange(bad),
        lambda: PureDP(bad, "add_remove"),
        lambda: ApproxDP(bad, 0.0, "add_remove"),
    ):
        with pytest.raises(EventError, match="epsilon must be"):
            build()
    with pytest.raises(EventError, match="rho must be"):
        ZCDP(bad, "add_remove")
    with pytest.raises(EventError, match="delta must be"):
        ApproxDP(1.0, bad, "add_remove")
    with pytest.raises(EventError, match="delta must be in"):
        ApproxDP(1.0, 1.0 + 2.0**-52, "add_remove")
    with pytest.raises(EventError, match="categories must be"):
        RandomizedResponse(1.0, bad)


def test_one_category_is_no_response():
    with pytest.raises(EventError, match="categories must be an integer from 2"):
        RandomizedResponse(1.0, 1)


def test_the_ends_of_the_domains_are_in():
    assert PureDP(0, "add_remove") == PureDP(-0.0, Relation.add_remove)
    assert ApproxDP(0.0, 1, "add_remove").delta == 1.0
    assert NonPrivate() == NonPrivate()


@pytest.mark.parametrize("relation", ["remove", None, 1, ""])
def test_the_relation_is_one_of_the_three(relation):
    for build in (
        lambda: PureDP(1.0, relation),
        lambda: ApproxDP(1.0, 0.0, relation),
        lambda: ZCDP(1.0, relation),
        lambda: RDPCurve([2], [1], relation),
    ):
        with pytest.raises(RelationError, match="relation must be one of"):
            build()


def test_a_relation_by_name_is_the_relation():
    event = PureDP(1.0, "replace_one")
    assert event.relation is Relation.replace_one
    assert repr(event) == "PureDP(epsilon=1.0, relation=Relation.replace_one)"
    assert eval(repr(event), {"PureDP": PureDP, "Relation": Relation}) == event  # noqa: S307  # the text is our own


@pytest.mark.parametrize(
    ("orders", "values", "name"),
    [
        ([], [], "orders"),
        ([1.0], [0.1], "orders"),
        ([2.0, math.inf], [0.1, 0.2], "orders"),
        ([3.0, 2.0], [0.1, 0.2], "orders"),
        ([2.0, 2.0], [0.1, 0.2], "orders"),
        ([2.0, math.nan], [0.1, 0.2], "orders"),
        ("23", [0.1, 0.2], "orders"),
        (2.0, 0.1, "orders"),
        ([2.0, True], [0.1, 0.2], "orders"),
        ([2.0, 10**400], [0.1, 0.2], "orders"),
        ([2.0, 3.0], [0.1], "values"),
        ([2.0, 3.0], [0.1, -0.2], "values"),
        ([2.0, 3.0], [0.1, math.nan], "values"),
        ([2.0, 3.0], None, "values"),
    ],
)
def test_curves_are_checked(orders, values, name):
    with pytest.raises(EventError, match=f"{name} must be"):
        RDPCurve(orders, values, "add_remove")


def test_curves_take_arrays_and_infinite_values():
    event = RDPCurve(np.array([2, 4]), np.array([0.5, np.inf]), "add_remove")
    assert event == RDPCurve((2.0, 4.0), (0.5, math.inf), "add_remove")
    assert type(event.orders[0]) is float
    hash(event)


@pytest.mark.parametrize(
    ("log_p", "log_q", "name"),
    [
        ([], [], "log_p"),
        ([HALF, HALF], [0.0], "log_q"),
        ([HALF], [0.0], "log_p"),
        ([HALF, HALF + 1e-8], [HALF, HALF], "log_p"),
        ([HALF, HALF], [HALF, HALF - 1e-8], "log_q"),
        ([HALF, math.nan], [HALF, HALF], "log_p"),
        ([0.0, math.inf], [HALF, HALF], "log_p"),
        ([800.0], [0.0], "log_p"),
        ([0.0, -math.inf], "ab", "log_q"),
    ],
)
def test_laws_are_checked(log_p, log_q, name):
    with pytest.raises(EventError, match=f"{name} must"):
        DominatingPair(log_p, log_q)


def test_laws_may_lack_atoms_and_a_rounding_of_their_sum():
    law = [math.log(0.1)] * 10
    pair = DominatingPair([*law, -math.inf], np.array([-np.inf, *law]))
    assert pair.log_p[-1] == pair.log_q[0] == -math.inf
    DominatingPair([HALF, HALF + 9e-10], [HALF, HALF])


def test_messages_never_print_a_law():
    with pytest.raises(EventError) as caught:
        DominatingPair([-1.0] * 1000, [-1.0] * 1000)
    assert len(str(caught.value)) < 200


def test_a_long_pair_is_printed_short():
    law = [math.log(1 / 9)] * 9
    assert repr(DominatingPair(law, law)) == "DominatingPair(<9 atoms>)"
    short = DominatingPair([0.0, -math.inf], [HALF, HALF])
    assert eval(repr(short), {"DominatingPair": DominatingPair, "inf": math.inf}) == short  # noqa: S307  # our own
