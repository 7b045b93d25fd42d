"""The exceptions of accountants.

::

    AccountingError
    ├─ EventError             (ValueError)           a parameter of an event is out of its domain
    ├─ UnsupportedEventError  (NotImplementedError)  no accountant at hand can soundly hold this event
    ├─ RelationError          (ValueError)           a relation is missing, or is not the one that was promised
    ├─ LedgerError            (ValueError)           a ledger, or its JSON, is not well formed
    ├─ BudgetExceededError    (RuntimeError)         a release does not fit what is left; nothing was recorded
    ├─ InsecureReleaseError   (RuntimeError)         randomness that is not cryptographic where it must be; not recorded
    ├─ CalibrationError       (RuntimeError)         no parameter in reach meets the target, or every one does
    └─ LawError               (AssertionError)       an event or accountant breaks a law of accountants.testing
"""

from __future__ import annotations

__all__ = [
    "AccountingError",
    "BudgetExceededError",
    "CalibrationError",
    "EventError",
    "InsecureReleaseError",
    "LawError",
    "LedgerError",
    "RelationError",
    "UnsupportedEventError",
]


class AccountingError(Exception):
    """Base class of every error that accountants raises on purpose."""


class EventError(AccountingError, ValueError):
    """A parameter of an event is out of its domain."""


class UnsupportedEventError(AccountingError, NotImplementedError):
    """No sound curve is known here for this event under this relation.

    Attributes:
        event: the event that was refused.
    """

    def __init__(self, message: str, *, event: object = None) -> None:
        super().__init__(message)
        self.event = event


class RelationError(AccountingError, ValueError):
    """A relation is missing, unknown, or not the one that was promised."""


class LedgerError(AccountingError, ValueError):
    """A ledger, or its JSON, is not well formed."""


class BudgetExceededError(AccountingError, RuntimeError):
    """A release does not fit what is left of a budget or plan. It was not recorded, and must not be made.

    Attributes:
        event: the event that was refused.
        times: how many of them were asked for.
        remaining: how many would fit.
    """

    def __init__(self, message: str, *, event: object = None, times: int = 1, remaining: int = 0) -> None:
        super().__init__(message)
        self.event = event
        self.times = times
        self.remaining = remaining


class InsecureReleaseError(AccountingError, RuntimeError):
    """A release did not say that all its randomness was cryptographic, where ``require_secure`` asks for it.

    It was not recorded, and must not be made.
    """


class CalibrationError(AccountingError, RuntimeError):
    """No parameter in reach meets the target, or every one does.

    Attributes:
        all_meet: whether every parameter met the target, rather than none.
        refusal: why the last parameter that had no bound had none, or None.
    """

    def __init__(self, message: str, *, all_meet: bool = False, refusal: AccountingError | None = None) -> None:
        super().__init__(message)
        self.all_meet = all_meet
        self.refusal = refusal


class LawError(AccountingError, AssertionError):
    """An event or an accountant breaks a law of accountants.testing."""
