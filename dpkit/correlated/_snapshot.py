"""Where a stream stands, and the same sealed under a key. Private to the package.

The rows that are kept are as secret as the noise: whoever has them and the released rows has the queries. They leave a
process encrypted and authenticated only: a random nonce of 12 bytes, the ciphertext, and the tag of 16 bytes of
AES-256-GCM, whose associated data say which stream it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from accountants.events import Gaussian
from accountants.participation import Participation
from dpkit.correlated._schedule import Place
from dpkit.entropy import read_bytes, system
from dpkit.errors import EntropyError, ParameterError
from dpkit.mechanism import Recorder

__all__ = ["State", "check_key", "seal", "unseal"]

Rows = NDArray[np.int64]

_KEY, _NONCE, _TAG = 32, 12, 16
_HEAD = 8  # integers before the rows
_PIECE = 1 << 24  # bytes at a time: the library takes less than 2**31


@final
@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where a stream stands: it is replaced as one.

    Attributes:
        drawn: how many rows have been drawn.
        kept: the rows that later rows take back, shape (d,) each.
        participation: what the releases were made for; None before the first.
        event: the one event of all steps for that participation; None as long as this process has not asked for it.
        recorded: whether some ledger has the event.
        ledger: the ledger that this process gave; it is not sealed.
        secure: whether all rows so far came from secure randomness.
        place: where the plan of batches stood at the latest release.
    """

    drawn: int = 0
    kept: tuple[Rows, ...] = field(default=(), repr=False)
    participation: Participation | None = None
    event: Gaussian | None = None
    recorded: bool = False
    ledger: Recorder | None = field(default=None, repr=False)
    secure: bool = True
    place: Place = field(default_factory=Place)


def check_key(key: Any) -> bytes:
    """The key of a snapshot, or an error that does not show it."""
    if not isinstance(key, bytes) or len(key) != _KEY:
        came = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
        raise ParameterError(f"key must be {_KEY} bytes, got {came}; make one with secrets.token_bytes({_KEY}).")
    return key


def seal(state: State, key: bytes, about: bytes) -> bytes:
    """A state under a key, for the stream that `about` describes."""
    nonce = read_bytes(system(), _NONCE)
    encryptor = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(about)
    sealed = _through(encryptor, _written(state))
    return b"".join([nonce, sealed, encryptor.finalize(), encryptor.tag])


def unseal(snapshot: Any, key: bytes, about: bytes, steps: int, dim: int) -> State:
    """The state of a snapshot, or one error whatever is wrong with it."""
    if not isinstance(snapshot, bytes):
        raise ParameterError(f"snapshot must be bytes, got {type(snapshot).__name__}; give what snapshot() returned.")
    nonce, sealed, tag = snapshot[:_NONCE], memoryview(snapshot)[_NONCE:-_TAG], snapshot[-_TAG:]
    try:
        decryptor = Cipher(algorithms.AES(key), modes.GCM(nonce, tag)).decryptor()
        decryptor.authenticate_additional_data(about)
        data = _through(decryptor, sealed)
        decryptor.finalize()
        return _read(data, steps, dim)
    except (InvalidTag, ValueError):
        raise EntropyError(
            "the snapshot does not open: another key, bytes that were changed or cut off, or a stream of other "
            "parameters; make the stream as the one that was saved."
        ) from None


def _through(context: Any, data: Any) -> bytes:
    """What a cipher makes of some data."""
    return b"".join(context.update(data[start : start + _PIECE]) for start in range(0, len(data), _PIECE))


def _written(state: State) -> memoryview:
    """Eight integers and the rows; int64, little-endian."""
    allowed = state.participation
    gap = 0 if allowed is None else allowed.min_separation
    most = 0 if allowed is None or allowed.max_participations is None else allowed.max_participations
    place = state.place
    head = np.array([state.drawn, len(state.kept), gap, most, state.recorded, state.secure, place.draws, place.row])
    return memoryview(b"".join(row.astype("<i8").tobytes() for row in (head, *state.kept)))


def _read(data: bytes, steps: int, dim: int) -> State:
    """What :func:`_written` wrote, or a ValueError."""
    numbers = np.frombuffer(data, "<i8")
    drawn, count, gap, most, recorded, secure, draws, row = numbers[:_HEAD].tolist()
    if not 0 <= drawn <= steps or count < 0:
        raise ValueError
    kept = tuple(kept_row.astype(np.int64) for kept_row in numbers[_HEAD:].reshape(count, dim))
    allowed = Participation(steps=steps, min_separation=gap, max_participations=most or None) if gap else None
    return State(drawn, kept, allowed, None, bool(recorded), None, bool(secure), Place(None, draws, row))
