"""A progress bar that is one line in a terminal and ten lines in a file."""

from __future__ import annotations

import sys
import time
from typing import TextIO, final

__all__ = ["Progress"]

_WIDTH = 28


@final
class Progress:
    """Counts rounds on a stream.

    Args:
        total: how many steps there will be.
        stream: where the bar goes; None means standard error.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._start = time.perf_counter()

    def update(self, done: int, text: str) -> None:
        """Show that `done` steps are behind, with a word about them."""
        if not self._live and done % max(1, self._total // 10) and done != self._total:
            return
        elapsed = time.perf_counter() - self._start
        left = elapsed / done * (self._total - done) if done else 0.0
        filled = _WIDTH * done // self._total
        line = f"[{'#' * filled}{'.' * (_WIDTH - filled)}] round {done}/{self._total}  {text}  {left:.0f} s left"
        ending = "\n" if not self._live or done == self._total else ""
        self._stream.write(f"\r\x1b[K{line}{ending}" if self._live else line + ending)
        self._stream.flush()
