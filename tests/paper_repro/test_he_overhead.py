"""Rounds of secure sums by others' set-ups."""

import numpy as np
import pytest

from paper_repro import plots, results
from paper_repro.he_overhead import run as he_overhead
from paper_repro.spec import experiments

pytest.importorskip("tenseal")


def test_a_short_run_can_be_drawn(tmp_path):
    """Of all models it has the smallest, and no published number."""
    experiment = experiments()["he_overhead"]
    result = results.execute(experiment, smoke=True, seed=0, progress=lambda *_: None)
    if plots.draw(experiment, result, tmp_path / "plot.svg"):
        assert (tmp_path / "plot.svg").stat().st_size > 0


@pytest.mark.parametrize("scheme", ["readme", "nvflare", "fedml"])
def test_set_ups_of_others_open_the_sum(scheme):
    """And as many ciphertexts travel as the vector fills, and each holds its moduli but the last."""
    models = np.random.default_rng(0).uniform(-1.0, 1.0, (2, he_overhead.DEGREE // 2 + 1))
    played = he_overhead._by_tenseal(he_overhead._tenseal(), scheme, models)
    entropy = 2 * 2 * he_overhead.DEGREE * sum(he_overhead.SETUPS[scheme][0][:-1]) / 8
    assert played.error < 1e-6
    assert 1.0 < played.ratio * 4 * models.shape[1] / entropy < 1.25
