"""Forcing the routes by which layers get their gradients."""

import pytest

from dpkit.training import routes

ROUTES = {
    "gram": {"gram"},
    "kernel": {"kernel", "formed"},
    "patches": {"patches", "formed"},
    "passing": {"passing"},
}


def forced(patch: pytest.MonkeyPatch, route: str) -> None:
    """Leave open only the routes of this row, where a layer has one of them."""
    patch.setattr(routes, "_open", lambda all_, rows, room: [r for r in all_ if r.name in ROUTES[route]] or list(all_))
