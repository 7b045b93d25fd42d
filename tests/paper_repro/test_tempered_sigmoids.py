"""The steps of Fu et al., which their noise and their budget fix."""

import dataclasses

from accountants import Ledger
from paper_repro.tempered_sigmoids.run import ACTIVATIONS, ORDERS, RECIPE, _network


def spent(recipe):
    ledger = Ledger(relation="add_remove")
    ledger.record(recipe.event)
    return ledger.epsilon(delta=1e-5, accountant=ORDERS)


def test_one_step_more_would_pass_the_budget():
    assert 0.999 < spent(RECIPE) <= 1.0 < spent(dataclasses.replace(RECIPE, steps=RECIPE.steps + 1))


def test_networks_differ_in_the_activation_alone():
    assert {sum(part.numel() for part in _network(name).parameters()) for name in ACTIVATIONS} == {26_010}
