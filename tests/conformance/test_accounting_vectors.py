"""Every row of tests/vectors/accounting_vectors.csv is checked, or says in one table why it cannot be.

``pytest -s tests/conformance/test_accounting_vectors.py -k table`` prints that table.
"""

import math
import sys

import pytest

from accountants import Relation
from accountants.tradeoff import tradeoff
from tests.conformance import vector_curves, vector_selections, vector_sensitivity  # noqa: F401 (they register)
from tests.conformance.known_bad import KNOWN_BAD
from tests.conformance.vector_checks import CHECKS, PLD, one_way_epsilon
from tests.conformance.vector_events import sampled
from tests.conformance.vector_tags import NOT_EXPRESSED, REFUTED, UNDERCUT
from tests.conformance.vector_tradeoffs import reached
from tests.oracles import contour
from tests.oracles.vectors import TOLERANCES, TRUTHS, rows


def _reasons(row):
    return [
        reason
        for reason, kinds in NOT_EXPRESSED.items()
        if (row.mechanism, row.ask) in kinds or (row.mechanism, None) in kinds
    ]


def _homes(row):
    """Every place that claims the row; there must be one."""
    if row.known_bad:
        return ["known bad"] if row.name in KNOWN_BAD else []
    if row.name in REFUTED or row.name in UNDERCUT:
        return ["refuted"]
    checked = ["checked"] if (row.mechanism, row.ask) in CHECKS else []
    return checked + _reasons(row)


def _ids(chosen):
    return pytest.mark.parametrize("row", chosen, ids=[row.name for row in chosen])


@_ids([row for row in rows() if _homes(row) == ["checked"]])
def test_row(row):
    CHECKS[row.mechanism, row.ask](row)


@_ids([row for row in rows() if row.known_bad])
def test_known_bad_values_are_not_ours(row):
    KNOWN_BAD[row.name](row)


@_ids([row for row in rows() if row.name in REFUTED])
def test_refuted_rows_are_refuted_by_quadrature_and_by_us(row):
    """The oracle at the truth gives back what was asked; the row is further away than it says; ours holds the truth."""
    truth, how = REFUTED[row.name]
    p, asked_epsilon = row.params, row.ask == "epsilon"
    epsilon, log_target = (truth, math.log(row.at["delta"])) if asked_epsilon else (row.at["eps"], math.log(truth))
    shape = p.get("direction") or p["adjacency"]
    seen = contour.log_delta(shape, p["noise_multiplier"], p["q"], p["T"], epsilon, **how)
    assert abs(float(seen) - log_target) <= 1e-9
    assert abs(row.value - truth) > row.slack
    if asked_epsilon:
        lower, upper = one_way_epsilon(sampled(row), row)
        assert lower <= truth + 1e-10 and upper >= truth - 1e-10
    else:
        ours = PLD.delta(sampled(row), epsilon=epsilon, relation=Relation.add_remove)
        assert truth * (1 - 1e-9) <= ours <= truth * (1 + 1e-6) < row.value


@_ids([row for row in rows() if row.name in UNDERCUT])
def test_undercut_rows_are_undercut_by_a_test_and_not_by_us(row):
    """A test, by quadrature, has fewer false negatives than the row holds possible; ours are at most the test's."""
    epsilon, how = UNDERCUT[row.name]
    fpr, fnr = reached(row, epsilon, **how)
    assert fpr <= row.at["alpha"]
    assert fnr < row.value - row.slack
    ours = tradeoff(sampled(row), Relation.add_remove)
    assert ours.beta(row.at["alpha"]) <= fnr
    assert fnr - 1e-6 <= ours.beta(fpr) <= fnr


def test_every_row_has_one_home():
    assert {row.name: _homes(row) for row in rows() if len(_homes(row)) != 1} == {}
    assert len({row.name for row in rows()}) == len(rows()) == 298
    known = {(row.mechanism, row.ask) for row in rows()}
    assert set(CHECKS) <= known, "a check without a row"
    assert set(KNOWN_BAD) | set(REFUTED) | set(UNDERCUT) <= {row.name for row in rows()}
    written = {row.tolerance for row in rows()}
    assert set(TOLERANCES) | set(TRUTHS) == written


def test_table_of_what_is_not_expressed():
    """One row in twenty is out of reach; the reasons are these."""
    tagged = {reason: [row.name for row in rows() if reason in _reasons(row)] for reason in NOT_EXPRESSED}
    sys.stdout.write(f"\n{len(rows())} rows, {sum(map(len, tagged.values()))} of them not expressed:\n")
    for reason, names in tagged.items():
        sys.stdout.write(f"- {reason} ({len(names)}): {', '.join(names)}\n")
    assert all(tagged.values()), "a reason without a row"
    assert sum(map(len, tagged.values())) == 8
