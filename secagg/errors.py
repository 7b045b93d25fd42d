"""The exceptions of secagg.

::

    SecAggError
    ├─ ParameterError       (ValueError)     a plan that cannot be kept, or an argument out of its domain
    ├─ CapacityError        (OverflowError)  the sum, or its noise, would not fit
    ├─ LocalProtocolError   (RuntimeError)   you called out of order
    │  └─ RollbackRiskError                  a step that may have been taken before, with another message
    ├─ PeerProtocolError    (RuntimeError)   another party's message may not be used; carries .peer
    │  └─ DecodeError       (ValueError)     the bytes are not a message of this session
    ├─ TooFewSurvivorsError (RuntimeError)   fewer parties than the plan promised; carries .alive, .required
    ├─ BackendError         (ImportError)    an optional package is missing
    └─ ConformanceError     (AssertionError) a protocol or transport fails a check of secagg.testing
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "CapacityError",
    "ConformanceError",
    "DecodeError",
    "LocalProtocolError",
    "ParameterError",
    "PeerProtocolError",
    "RollbackRiskError",
    "SecAggError",
    "TooFewSurvivorsError",
]


class SecAggError(Exception):
    """Base class of every error that secagg raises on purpose."""


class ParameterError(SecAggError, ValueError):
    """A plan that cannot be kept, or an argument out of its domain."""


class CapacityError(SecAggError, OverflowError):
    """The sum, or the noise of its ciphertext, would not fit."""


class LocalProtocolError(SecAggError, RuntimeError):
    """The caller used a session out of order."""


class RollbackRiskError(LocalProtocolError):
    """A session that was restored may have answered before, in another way; it says nothing."""


class PeerProtocolError(SecAggError, RuntimeError):
    """A message of another party may not be used.

    Attributes:
        peer: the sender, an int or ``"server"``; None where the sender is unknown.
    """

    def __init__(self, message: str, *, peer: int | str | None = None) -> None:
        super().__init__(message)
        self.peer = peer


class DecodeError(PeerProtocolError, ValueError):
    """The bytes are not an authentic message of this session."""


class TooFewSurvivorsError(SecAggError, RuntimeError):
    """Fewer parties remained than the plan promised; nothing was opened.

    Attributes:
        alive: how many remained.
        required: how many the plan requires.
    """

    def __init__(self, message: str, *, alive: int, required: int) -> None:
        super().__init__(message)
        self.alive = alive
        self.required = required


class BackendError(SecAggError, ImportError):
    """An optional package is missing; the message names the extra to install."""


class ConformanceError(SecAggError, AssertionError):
    """A protocol, or the transport under it, fails a check of secagg.testing."""
