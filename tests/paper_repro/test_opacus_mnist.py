"""The comparison with Opacus' step is one that can fail."""

import math

import pytest

from dpkit import FlatClip
from dpkit.demo.data import synthetic_digits
from paper_repro.opacus_mnist import run

pytest.importorskip("opacus")
DIGITS = synthetic_digits(run.PARITY, 1)


def test_one_step_is_that_of_opacus():
    """Ours is shorter by 2^-18: that much every clipped gradient is cut, lest rounding take it past the bound."""
    assert run._parity(DIGITS, 0).value == pytest.approx(2.0**-18, rel=0.25)


@pytest.mark.parametrize("factor", [0.999, 1.001])
def test_another_clip_is_seen(monkeypatch, factor):
    monkeypatch.setattr(run, "FlatClip", lambda bound: FlatClip(bound * factor))
    assert run._parity(DIGITS, 0).value > 9e-4


def test_without_opacus_there_is_a_note(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(run.importlib, "import_module", missing)
    found = run._parity(DIGITS, 0)
    assert math.isnan(found.value)
    assert "not installed" in found.note
