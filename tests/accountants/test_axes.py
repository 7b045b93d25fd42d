"""Axes are made where matplotlib is installed, and refused by name where it is not."""

import sys

import pytest

from accountants._axes import new_axes


def test_axes_of_a_new_figure():
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    axes = new_axes()
    assert axes.figure is not new_axes().figure
    pyplot.close("all")


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"dpkit\[plot\]"):
        new_axes()
