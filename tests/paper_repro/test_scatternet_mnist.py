"""Tramer & Boneh's noise, which needs no digits, and the epsilon that it is for."""

import pytest

from accountants import Gaussian
from paper_repro.scatternet_mnist.run import LINEAR, PIXELS, least_noise
from paper_repro.spec import experiments
from paper_repro.training import cost

CELLS = [cell for cell in experiments()["scatternet_mnist"].cells if "batch" in cell.settings]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
def test_noise_is_the_printed_one_to_every_digit(cell):
    published, tight = least_noise(cell.settings)
    assert cell.agreement.holds(published, cell.published)
    assert tight < published


@pytest.mark.parametrize("epochs", [39, 41])
def test_no_other_number_of_epochs_gives_it(epochs):
    for cell in CELLS:
        if cell.settings["epochs"] == 40:
            assert not cell.agreement.holds(least_noise(cell.settings | {"epochs": epochs})[0], cell.published)


def test_epsilon_of_the_printed_noise():
    for event in (Gaussian(8.0) * 2 + LINEAR.event, PIXELS.event):
        assert 2.99 < cost(event, published=True) < 3.0
