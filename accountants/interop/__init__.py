"""Interop: events, histories and accountants of other libraries. None of them is imported with this package.

Modules: dp_events (dp_accounting's DpEvent, both ways), histories (Opacus's history, both ways, and an accountant that
Opacus can be given), flower (an accountant of the form that Flower's strategies ask for).
"""

from __future__ import annotations

from accountants.interop.dp_events import from_dp_event, to_dp_event
from accountants.interop.flower import FlowerAccountant, FlowerSpent
from accountants.interop.histories import from_opacus_history, opacus_accountant, to_opacus_history

__all__ = [
    "FlowerAccountant",
    "FlowerSpent",
    "from_dp_event",
    "from_opacus_history",
    "opacus_accountant",
    "to_dp_event",
    "to_opacus_history",
]
