"""The exceptions of dpkit.

::

    DPKitError
    ├─ ParameterError   (ValueError)    a parameter is out of its domain
    ├─ UnboundedError   (TypeError)     a value came without the bound of one record's contribution
    ├─ BoundError       (ValueError)    bounds of two values do not fit together, or a norm does not fit a mechanism
    ├─ EntropyError     (RuntimeError)  randomness that may not be used here
    ├─ ExhaustedError   (RuntimeError)  a plan of batches has no step left
    ├─ LossError        (ValueError)    losses are not one number per example
    ├─ CoverageError    (RuntimeError)  a trainable parameter that clipping does not see
    ├─ StateError       (RuntimeError)  a call out of turn, which would break the account of what was released
    └─ BackendError     (ImportError)   an optional package is missing
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "BoundError",
    "CoverageError",
    "DPKitError",
    "EntropyError",
    "ExhaustedError",
    "LossError",
    "ParameterError",
    "StateError",
    "UnboundedError",
]


class DPKitError(Exception):
    """Base class of every error that dpkit raises on purpose."""


class ParameterError(DPKitError, ValueError):
    """A parameter is out of its domain."""


class UnboundedError(DPKitError, TypeError):
    """A value came without the bound of one record's contribution to it."""


class BoundError(DPKitError, ValueError):
    """Two bounds do not fit together, or a norm does not fit a mechanism."""


class EntropyError(DPKitError, RuntimeError):
    """Randomness that may not be used here."""


class ExhaustedError(DPKitError, RuntimeError):
    """A plan of batches has no step left."""


class LossError(DPKitError, ValueError):
    """Losses are not one number per example."""


class CoverageError(DPKitError, RuntimeError):
    """A trainable parameter takes part in the loss where clipping does not see it."""


class StateError(DPKitError, RuntimeError):
    """A call out of turn: closed, not begun, or already done; the object's state is unchanged."""


class BackendError(DPKitError, ImportError):
    """An optional package is missing; the message names the extra to install."""
