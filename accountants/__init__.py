"""accountants: what did it cost? Events, a ledger of them, and certified upper bounds of what they reveal.

Modules, in the order data flows: relation, events, participation, sensitivity, slack, fold, accountant (what one is),
atoms, pairs, moments, curves, conversion, rdp, selection, allocation, profile, lattice, contour, fourier, engines,
composition, witness, pld, tradeoff, loss, gdp, zcdp, best, statement, assumptions, terms, ledger, filters, budget,
odometer, plan, calibrate, joint, estimates, interop (other libraries), testing; errors.

Example:
    >>> ledger = Ledger(relation="add_remove")
    >>> ledger.record(PoissonSampled(Gaussian(1.1), 0.01), times=10_000)
    >>> round(ledger.epsilon(delta=1e-5), 2)
    5.19
"""

from __future__ import annotations

# they register what their events are made of, and cost
from accountants import _grouped, _sampled, allocation, selection  # noqa: F401
from accountants.accountant import Accountant
from accountants.best import epsilon
from accountants.budget import Budget
from accountants.calibrate import calibrate, max_times
from accountants.errors import (
    AccountingError,
    BudgetExceededError,
    CalibrationError,
    EventError,
    LedgerError,
    RelationError,
    UnsupportedEventError,
)
from accountants.events import (
    ZCDP,
    ApproxDP,
    BoundedRange,
    Composed,
    DiscreteGaussian,
    DiscreteLaplace,
    DistributedDiscreteGaussian,
    DominatingPair,
    Event,
    FixedSizeSampled,
    Gaussian,
    Group,
    Laplace,
    NonPrivate,
    PoissonSampled,
    PureDP,
    RandomizedResponse,
    RDPCurve,
    Repeated,
    Skellam,
    TruncatedPoissonSampled,
    Within,
)
from accountants.gdp import GDPAccountant
from accountants.interop import from_dp_event, to_dp_event
from accountants.ledger import Ledger
from accountants.loss import PrivacyLoss
from accountants.odometer import Odometer
from accountants.plan import Plan
from accountants.pld import Certificate, PLDAccountant
from accountants.rdp import Curve, RDPAccountant, rdp_curve
from accountants.relation import Relation
from accountants.statement import Statement
from accountants.tradeoff import tradeoff
from accountants.zcdp import ZCDPAccountant

__all__ = [
    "ZCDP",
    "Accountant",
    "AccountingError",
    "ApproxDP",
    "BoundedRange",
    "Budget",
    "BudgetExceededError",
    "CalibrationError",
    "Certificate",
    "Composed",
    "Curve",
    "DiscreteGaussian",
    "DiscreteLaplace",
    "DistributedDiscreteGaussian",
    "DominatingPair",
    "Event",
    "EventError",
    "FixedSizeSampled",
    "GDPAccountant",
    "Gaussian",
    "Group",
    "Laplace",
    "Ledger",
    "LedgerError",
    "NonPrivate",
    "Odometer",
    "PLDAccountant",
    "Plan",
    "PoissonSampled",
    "PrivacyLoss",
    "PureDP",
    "RDPAccountant",
    "RDPCurve",
    "RandomizedResponse",
    "Relation",
    "RelationError",
    "Repeated",
    "Skellam",
    "Statement",
    "TruncatedPoissonSampled",
    "UnsupportedEventError",
    "Within",
    "ZCDPAccountant",
    "calibrate",
    "epsilon",
    "from_dp_event",
    "max_times",
    "rdp_curve",
    "to_dp_event",
    "tradeoff",
]
