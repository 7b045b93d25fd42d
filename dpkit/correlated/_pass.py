"""One pass through rows of noise: drawn once, by one thread of one process at a time, and saved under a key.

Private to the package; :mod:`dpkit.correlated.stream` says what the rows are for.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dpkit.bounded import rebuild, shapes
from dpkit.correlated._snapshot import State, check_key, seal, unseal
from dpkit.entropy import Source, _process, is_secure, resolve, system
from dpkit.errors import EntropyError, ExhaustedError, StateError
from dpkit.samplers import discrete_gaussian

__all__ = ["Pass", "Rows", "size"]

Rows = NDArray[np.int64]

_FORMAT = "dpkit.correlated/1"


class Pass(ABC):
    """Rows of noise, each of which is drawn once; see :class:`~dpkit.correlated.stream.NoiseStream`."""

    __slots__ = (
        "_like",
        "_lock",
        "_process",
        "_source",
        "_state",
        "bound",
        "noise_multiplier",
        "stddev",
        "step",
        "steps",
    )

    noise_multiplier: float
    bound: float
    steps: int
    step: float
    stddev: float
    _like: Any

    def __init__(self, entropy: Source | None) -> None:
        """Begin a pass; the parameters have been set."""
        self._source = resolve(entropy)
        self._lock = threading.Lock()
        self._process = _process()
        self._state = State()

    @property
    def secure(self) -> bool:
        """Whether the noise comes from cryptographic randomness."""
        return self._state.secure and is_secure(self._source)

    @property
    def remaining(self) -> int:
        """How many rows are left."""
        return self.steps - self._state.drawn

    def next(self) -> Any:
        """Draw the noise of the next step.

        Guarantee: every number is a multiple of `step`. If the query of the step is one too, which a sum of
        ``FlatClip`` is for noise multipliers up to 64, then float64 query plus float64 row is what
        :meth:`~dpkit.correlated.stream.NoiseStream.add` returns. Adding in float32, or to a query of other numbers, has
        no such guarantee: use that.

        Returns:
            float64 array or dict of arrays, in the structure of `like`.

        Raises:
            ExhaustedError: all steps have been drawn.
            EntropyError: the process was forked after the stream was made.

        Example:
            >>> from dpkit.correlated import TreeNoise
            >>> stream = TreeNoise(np.zeros(3), noise_multiplier=1.0, bound=1.0, steps=8)
            >>> stream.next().shape, stream.remaining
            ((3,), 7)
        """
        with self._turn():
            row = self._row()
        return rebuild(row * self.step, self._like)

    def snapshot(self, key: bytes) -> bytes:
        """Return where the stream stands, sealed under a key: a checkpoint.

        It holds the rows that are kept (8 bytes a number), which are as secret as the noise, how many rows have been
        drawn, the participation of the releases, whether their event was recorded, and how many draws the plan of
        batches had made. It does not hold the source of randomness. The stream goes on as if nothing had been asked.

        Guarantee: the rows leave the process encrypted and authenticated, by AES-256-GCM with a fresh nonce
        (``test_a_snapshot_shows_nothing``).

        Args:
            key: 32 secret bytes, for example ``secrets.token_bytes(32)``; keep them apart from the snapshots.

        Returns:
            Bytes, for :meth:`restore`.

        Raises:
            ParameterError: the key is not 32 bytes.
            EntropyError: the process was forked after the stream was made.

        Example:
            >>> from dpkit.correlated import TreeNoise
            >>> stream = TreeNoise(np.zeros(3), noise_multiplier=1.0, bound=1.0, steps=8)
            >>> saved = stream.snapshot(bytes(32))
        """
        check_key(key)
        with self._held():
            return seal(replace(self._state, secure=self.secure), key, self._about())

    def restore(self, snapshot: bytes, key: bytes) -> None:
        """Go on where a snapshot was taken, with later draws of this stream's own.

        The rows that are kept come from the snapshot, so that the noise cancels as if there had been no stop. All Z
        from here on are drawn afresh. A source that follows from a seed would give the first rows again: it is replaced
        by ``dpkit.entropy.system()``, and the stream stays one that is not secure. If the event was recorded, it is not
        recorded again: the ledger to go on with is the one that has it, and the plan of batches is the one that was
        saved beside it.

        The event covers one continuation. Where rows that the first run drew after the snapshot were seen, or a
        snapshot is restored a second time, there are two, and each costs the event: record it once more for each,
        ``ledger.record(Release(None, stream.event(participation), stream.secure))``.

        Guarantee: two continuations of a snapshot share no draw (``test_no_draw_comes_twice``); rows go on as without a
        stop (``test_rows_go_on_as_without_a_stop``). What does not open changes nothing
        (``test_nothing_else_opens_and_nothing_changes``).

        Args:
            snapshot: what :meth:`snapshot` returned, of a stream with the same class, parameters and `like`.
            key: the key it was sealed under.

        Raises:
            StateError: this stream has drawn a row or recorded its event already.
            EntropyError: the snapshot does not open: it is another key's or another stream's, or was changed; or the
                process was forked after the stream was made.
            ParameterError: the key is not 32 bytes, or the snapshot not bytes.

        Example:
            >>> from dpkit.correlated import TreeNoise
            >>> chosen = dict(like=np.zeros(3), noise_multiplier=1.0, bound=1.0, steps=8)
            >>> stream, later = TreeNoise(**chosen), TreeNoise(**chosen)
            >>> _ = stream.next()
            >>> later.restore(stream.snapshot(bytes(32)), bytes(32))
            >>> later.remaining
            7
        """
        check_key(key)
        with self._held():
            if self._state.drawn or self._state.participation is not None:
                raise StateError(
                    "a snapshot is restored into a stream that has drawn and recorded nothing, got "
                    f"{self._state.drawn} rows; make a new one of the same parameters."
                )
            state = unseal(snapshot, key, self._about(), self.steps, size(self._like))
            state = replace(state, secure=state.secure and is_secure(self._source))
            if not is_secure(self._source):
                self._source = system()
            self._state = state

    @abstractmethod
    def _strategy(self) -> tuple[int, ...]:
        """The integers that the rows depend on besides the common parameters."""

    @abstractmethod
    def _advance(self, drawn: int, kept: tuple[Rows, ...], draw: Callable[[], Rows]) -> tuple[Rows, tuple[Rows, ...]]:
        """The next row in lattice steps and the rows to keep, from what was kept and fresh rows of Z."""

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the state: for one thread of the process that the stream was made in."""
        if self._process != _process():  # before the lock, which another thread may have held at the fork
            raise EntropyError(
                "a noise stream may not be used after a fork: two processes would release the same steps; make a new "
                "stream in the new process, and record its event."
            )
        with self._lock:
            yield

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold the state for the next step."""
        with self._held():
            if self._state.drawn == self.steps:
                raise ExhaustedError(
                    f"all {self.steps} rows of this stream have been drawn; its event covers no more: make a new "
                    "stream and record its event."
                )
            yield

    def _row(self) -> Rows:
        """The next row in lattice steps."""
        state = self._state
        row, kept = self._advance(state.drawn, state.kept, self._fresh)
        self._state = replace(state, drawn=state.drawn + 1, kept=kept)
        return row

    def _fresh(self) -> Rows:
        """A fresh row of Z in lattice steps."""
        return discrete_gaussian(size(self._like), self.stddev / self.step, self._source)

    def _about(self) -> bytes:
        """All that two streams have in common if one may go on where the other stood."""
        numbers = (self.noise_multiplier, self.bound, self.step, self.stddev)
        words = (_FORMAT, type(self).__name__, self.steps, *(number.hex() for number in numbers), *self._strategy())
        return f"{' '.join(map(str, words))}\n{shapes(self._like)!a}".encode()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Copy, deepcopy and pickle all come here."""
        raise EntropyError(
            "a noise stream may not be copied or pickled: both copies would release the same steps; make a new stream "
            "and record its event, or save it by snapshot(key)."
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(noise_multiplier={self.noise_multiplier}, bound={self.bound}, steps={self.steps}, "
            f"remaining={self.remaining}, secure={self.secure})"
        )


def size(like: Any) -> int:
    """How many numbers there are in a structure."""
    arrays = like.values() if isinstance(like, Mapping) else (like,)
    return sum(math.prod(array.shape) for array in arrays)
