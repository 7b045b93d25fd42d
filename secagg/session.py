"""What all sessions have in common: a state, calls in order, an end, and an input or numbered senders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import wraps
from threading import Lock, RLock
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from numpy.typing import NDArray

from secagg.api import State
from secagg.checks import check_integer
from secagg.errors import LocalProtocolError, ParameterError, PeerProtocolError

__all__ = ["PartySession", "Session", "SummingSession", "Uncopied", "check_server", "in_turn", "one_at_a_time"]

P = ParamSpec("P")
R = TypeVar("R")
PartyT = TypeVar("PartyT", bound="PartySession")
SummingT = TypeVar("SummingT", bound="SummingSession")


def check_server(sender: int | str) -> None:
    """Everybody but the server hears from the server alone: parties do not write to parties."""
    if not isinstance(sender, str) or sender != "server":
        raise PeerProtocolError(f"sender must be 'server', got {sender!r}: parties write to the server.", peer=sender)


def one_at_a_time(method: Callable[Concatenate[PartyT, P], R]) -> Callable[Concatenate[PartyT, P], R]:
    """A step of a party: refused while it is at work on another, in whatever thread, or it could answer twice."""

    @wraps(method)
    def alone(self: PartyT, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if not self._turn.acquire(blocking=False):
            raise LocalProtocolError(
                "a session takes one call at a time, and this one is at work on another; wait until it has returned."
            )
        try:
            return method(self, *args, **kwargs)
        finally:
            self._turn.release()

    return alone


def in_turn(method: Callable[Concatenate[SummingT, P], R]) -> Callable[Concatenate[SummingT, P], R]:
    """A step of the server: threads wait for each other, or of two inputs that arrive at once one could be lost."""

    @wraps(method)
    def waiting(self: SummingT, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._turn:
            return method(self, *args, **kwargs)

    return waiting


class Uncopied:
    """A session of which there is one: its copy would answer, or open, once more."""

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise LocalProtocolError(
            "a session is not pickled or copied: a copy would answer once more; take a snapshot() where there is one."
        )


class Session(ABC):
    """A session of anybody: where it stands, and that nothing happens after an abort."""

    def __init__(self) -> None:
        self._state = State.NEW
        self._reason = ""

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    def abort(self, reason: str) -> None:
        """Give up: no further step is possible, and every secret is forgotten.

        Args:
            reason: for the error messages of later calls.
        """
        self._state, self._reason = State.ABORTED, reason
        self._forget()

    @abstractmethod
    def _forget(self) -> None:
        """Drop every secret."""

    def _expect(self, state: State, rule: str) -> None:
        """Out of order is the caller's error."""
        self._refuse_aborted()
        if self._state is not state:
            raise LocalProtocolError(f"{rule}; this session is {self.state.value!r}.")

    def _refuse_aborted(self) -> None:
        """Nothing happens after an abort."""
        if self._state is State.ABORTED:
            raise LocalProtocolError(f"this session was aborted: {self._reason}.")


class PartySession(Uncopied, Session):
    """A party's session: it has an input, and hears from the server alone.

    Guarantee:
        It is not pickled or copied, and of two calls at once it takes one; held by
        ``test_parties_and_openers_are_not_copied`` and ``test_of_two_calls_at_once_one_is_answered``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn = Lock()
        self._input: NDArray[Any] | None = None

    def set_input(self, vector: Any) -> None:
        """Give the party's vector.

        Args:
            vector: what the plan sums, shape ``(dim,)``: integers in ``[0, 2**value_bits)``, and reals in the plan's
                range for plans of reals; copied.

        Raises:
            ParameterError: another shape, dtype or range; the values are not printed.
            LocalProtocolError: there is an input already.
        """
        self._expect(State.NEW, "set_input is called once, before start")
        self._input = self._checked(vector)
        self._state = State.READY

    def close_round(self) -> NoReturn:
        """Refused: only the server closes a round.

        Raises:
            LocalProtocolError: always.
        """
        raise LocalProtocolError("close_round belongs to the server; a client waits for its message.")

    @abstractmethod
    def _checked(self, vector: Any) -> NDArray[Any]:
        """A copy of a vector that the plan can sum; raises ParameterError."""


class SummingSession(Session):
    """The server's session: it hears from numbered parties, and keeps no secret."""

    def __init__(self, num_parties: int) -> None:
        super().__init__()
        self._turn = RLock()
        self._last = num_parties - 1

    def _forget(self) -> None:
        """There is no secret here."""

    def _party(self, sender: int | str) -> int:
        """The sender as a party's number, whichever integer type the transport uses."""
        try:
            return check_integer("sender", sender, at_least=0, at_most=self._last)
        except ParameterError:
            raise PeerProtocolError(
                f"sender must be a party's number, 0 to {self._last}, got {sender!r}.", peer=sender
            ) from None
