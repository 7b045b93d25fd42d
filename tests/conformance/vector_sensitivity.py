"""Checks of rows about correlated noise: trees, and bands that were scaled for as many steps as fit."""

import numpy as np

from accountants import RDPAccountant, ZCDPAccountant, rdp_curve
from accountants.participation import Participation
from accountants.sensitivity import matrix_sensitivity, tree_sensitivity
from tests.conformance.vector_checks import ADD_REMOVE, PLD, approx, check
from tests.conformance.vector_events import OPACUS_ORDERS


def tree(row):
    """TF-Privacy and the notebooks that use it count the steps between two of one record: r2 - r1 - 1."""
    p = row.params
    return tree_sensitivity(
        Participation(
            steps=p["steps"], min_separation=p["min_separation"] + 1, max_participations=p["max_participation"]
        )
    )


@check("DP-FTRL tree squared sensitivity", "max sum of squares")
def _(row):
    found = tree(row)
    assert found.is_exact
    assert row.value <= found.value**2 <= row.value * (1 + 1e-14)


@check("DP-FTRL tree aggregation", "epsilon_upper")
def _(row):
    """The same orders give the same number; the exact Gaussian is below it."""
    event = tree(row).event(row.params["noise_multiplier"])
    for accountant in (RDPAccountant(orders=OPACUS_ORDERS), ZCDPAccountant()):
        ours = accountant.epsilon(event, delta=row.at["delta"], relation=ADD_REMOVE)
        assert ours == approx(row)
    lower, upper = PLD.bounds(event, delta=row.at["delta"], relation=ADD_REMOVE)
    assert upper < row.value
    assert upper - lower < 1e-9


@check("MF-DP-FTRL banded", "zcdp rho")
def _(row):
    """The strategy is scaled for as many steps as the separation lets in; a record has fewer."""
    p = row.params
    rounds, bands = p["rounds"], p["bands"]
    below = np.subtract.outer(np.arange(rounds), np.arange(rounds))
    banded = np.where((below >= 0) & (below < bands), 1.0 / (1.0 + np.abs(below)), 0.0)
    banded /= np.linalg.norm(banded, axis=0)
    banded /= matrix_sensitivity(banded, Participation(steps=rounds, min_separation=p["sep"])).value
    allowed = Participation(steps=rounds, min_separation=p["sep"], max_participations=p["part"])
    event = matrix_sensitivity(banded, allowed).event(p["nm"])
    assert rdp_curve(event, ADD_REMOVE).rdp(2.0) / 2.0 == approx(row)
