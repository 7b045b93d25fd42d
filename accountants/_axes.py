"""Axes to draw on; matplotlib is imported here, when something is drawn. Private."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["new_axes"]


def new_axes() -> Any:
    """Axes of a new figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        pyplot = import_module("matplotlib.pyplot")
    except ImportError as fault:
        raise ImportError("matplotlib must be installed to plot: pip install 'dpkit[plot]'") from fault
    return pyplot.subplots()[1]
