"""One record at a time: what a ledger holds is read, judged and written as one. Private to accountants.

Two threads that ask a budget what still fits would both be told of the same room, and of two rows written at once one
would be lost. One lock for all ledgers, and not one in each: a ledger stays an object that is copied and pickled.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager

__all__ = ["exclusive"]


class _Turn:
    """The lock. A child process takes a new one: another thread may have held the old one at the fork."""

    lock = threading.RLock()  # a budget records in its ledger

    @classmethod
    def renew(cls) -> None:
        cls.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Turn.renew)


def exclusive() -> AbstractContextManager[object]:
    """A context in which no other thread of this process records anything.

    Example:
        >>> with exclusive(), exclusive():
        ...     pass
    """
    return _Turn.lock
