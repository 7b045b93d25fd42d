"""What the README of Gboard's guarantees says about numbers that are inferred, or come off a grid."""

import math

import pytest

from paper_repro import results
from paper_repro.spec import experiments

EXPERIMENT = experiments()["gboard_production"]
CELLS = {cell.id: cell for cell in EXPERIMENT.cells}


@pytest.mark.parametrize("model", ["es-ES", "pt-BR", "es-US"])
def test_their_grid_gives_every_printed_digit(model):
    """The epsilons of the banded matrices, by dp_accounting as in the notebook, from the norms that were inferred."""
    accountants = pytest.importorskip("dp_accounting")
    cell = CELLS[f"mf.{model}.epsilon"]
    square = cell.settings["max_participations"] * cell.settings["column_square"]
    accountant = accountants.pld.PLDAccountant()
    accountant.compose(accountants.GaussianDpEvent(cell.settings["noise_multiplier"] / math.sqrt(square)))
    assert accountant.get_epsilon(1e-10) == pytest.approx(float(cell.published), rel=1e-12)


def test_no_other_integer_gives_the_rho_of_the_tree():
    noise, found = CELLS["tree.es-ES.rho"].settings["noise_multiplier"], results.load(EXPERIMENT).cells
    squares = [square for square in range(1, 200) if f"{square / (2 * noise**2):.2f}" == "0.81"]
    assert squares == [round(found["tree.es-ES.square"].value)]
