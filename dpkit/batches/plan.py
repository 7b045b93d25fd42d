"""What sampling plans share: one pass, one release for each draw, and checkpoints between two draws."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np
from numpy.typing import NDArray

from accountants.events import Event
from accountants.participation import Participation
from dpkit._checks import check_count, check_real
from dpkit.entropy import Source, _process, is_secure, resolve, system
from dpkit.errors import EntropyError, ExhaustedError, ParameterError, StateError

__all__ = ["KEY_BYTES", "Batches", "check_key", "check_probability"]

KEY_BYTES = 32

_MOST_RECORDS = 1 << 62  # indices are int64


class Batches(ABC):
    """What the plans have in common; make a PoissonBatches, TruncatedPoissonBatches, FixedSizeBatches, CyclicBatches.

    A plan is passed through once: its batches are secret, each for one release. Iterate it, or call :meth:`draw` step
    by step. One thread at a time.

    A draw is open for one release, which a mechanism spends when it has recorded; a second release on the same draw is
    refused, for the sampled event would not hold. A draw that is not released is void when the next one is made, and
    in a process that was forked after it.

    Guarantee: no draw is released twice (``test_one_draw_is_for_one_release``, ``test_a_fork_opens_no_second_draw``). A
    draw that fails leaves the plan as it was (``test_a_broken_source_costs_no_step``). A restored plan goes on where
    its checkpoint was made, and draws no batch from a seed again (``test_a_restored_plan_replays_no_seed``).

    Attributes:
        num_records: how many records there are.
        steps: number of batches.
    """

    __slots__ = ("_key", "_opened_in", "_position", "_source", "_start", "_tainted", "num_records", "steps")

    _parameters: ClassVar[tuple[str, ...]]

    def __init__(self, num_records: int, steps: int, entropy: Source | None) -> None:
        """Check what all plans are told."""
        self.num_records = check_count("num_records", num_records, "give a public number.")
        if self.num_records > _MOST_RECORDS:
            raise ParameterError("num_records must be at most 2**62, got more; indices are int64.")
        self.steps = check_count("steps", steps, "give a public number.")
        self._source = resolve(entropy)
        self._key: bytes | None = None  # of a plan that draws one key for all its batches
        self._tainted = False  # whether a checkpoint came from a seed, or onto one
        self._position = self._start = 0  # draws made, and of these the ones before a checkpoint
        self._opened_in: tuple[int, int] | None = None  # the process of the open draw

    @property
    def secure(self) -> bool:
        """Whether the batches come from cryptographic randomness, all of them: those before a checkpoint too."""
        return not self._tainted and is_secure(self._source)

    @property
    def participation(self) -> Participation:
        """In which steps one record may take part; for noise that is correlated over the steps."""
        return Participation(steps=self.steps)

    @property
    def remaining(self) -> int:
        """How many batches are left."""
        return self.steps - self._position

    @property
    def open(self) -> bool:
        """Whether the latest draw is still to be released, by this process."""
        return self._opened_in == _process()

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        if self.remaining == 0:
            self._exhausted()
        return self._rest()

    def _rest(self) -> Iterator[NDArray[np.int64]]:
        """The batches that are left."""
        while self.remaining:
            yield self.draw()

    def draw(self) -> NDArray[np.int64]:
        """Draw the next batch, which is open for one release.

        Returns:
            Indices of the records in it, ascending and each once, int64, shape (b,).

        Raises:
            ExhaustedError: all steps have been drawn.

        Example:
            >>> from dpkit.batches import PoissonBatches
            >>> PoissonBatches(4, 1.0, steps=1).draw()
            array([0, 1, 2, 3])
        """
        if self.remaining == 0:
            self._exhausted()
        rows = self._rows()
        self._position, self._opened_in = self._position + 1, _process()
        return rows

    def spend(self) -> None:
        """Close the open draw. Mechanisms call it once they have recorded the release.

        Raises:
            StateError: no draw is open in this process.

        Example:
            >>> from dpkit.batches import FixedSizeBatches
            >>> batches = FixedSizeBatches(4, 2, steps=1)
            >>> _ = batches.draw()
            >>> batches.spend()
            >>> batches.open
            False
        """
        if not self.open:
            raise StateError("there is no open draw to spend; each draw is for one release: call draw() first.")
        self._opened_in = None

    def state_dict(self) -> dict[str, int | float | str]:
        """Return what a new plan of the same parameters needs to go on from here; JSON can hold it.

        It tells which step comes next, and of :class:`~dpkit.batches.cyclic.CyclicBatches` the key from which the
        batches follow: keep it as secret as the batches. It is about draws, not about what was released from them:
        releases after a checkpoint are not in it, and cost what they cost although a restored run makes them anew.

        Returns:
            A new dict: the kind of the plan, its parameters, the number of draws made, whether it is secure.

        Raises:
            StateError: a draw is open; it would be lost, or released on both sides of the checkpoint.

        Example:
            >>> from dpkit.batches import PoissonBatches
            >>> state = PoissonBatches(4, 0.5, steps=3).state_dict()
            >>> state["kind"], state["position"]
            ('PoissonBatches', 0)
        """
        if self.open:
            raise StateError("a draw is open, and a checkpoint cannot hold it; release its batch first.")
        parameters = {name: getattr(self, name) for name in self._parameters}
        progress = {"position": self._position, "secure": self.secure}
        key = {} if self._key is None else {"key": self._key.hex()}
        return {"kind": type(self).__name__, **parameters, **progress, **key}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was made; only in a plan that has drawn nothing. No draw is open then.

        A source that is not secure is replaced by ``dpkit.entropy.system()``: a seed would begin anew, and draw the
        first batches again. Such a plan says from then on that it is not secure, as it does when the checkpoint was
        that of a seeded one.

        Args:
            state: what :meth:`state_dict` returned for a plan of the same kind and parameters.

        Raises:
            StateError: this plan has drawn batches already. It is unchanged.
            ParameterError: the state is not one of such a plan; the message says what differs. The plan is unchanged.

        Example:
            >>> from dpkit.batches import PoissonBatches
            >>> first, second = (PoissonBatches(4, 0.5, steps=3) for _ in range(2))
            >>> _ = first.draw()
            >>> first.spend()
            >>> second.load_state_dict(first.state_dict())
            >>> second.remaining
            2
        """
        position = self.check_state(state)
        self._key = None if self._key is None else check_key(state["key"])
        self._tainted = not (self.secure and state["secure"])
        if not is_secure(self._source):
            self._source = system()
        self._position = self._start = position

    def check_state(self, state: Any) -> int:
        """Refuse what :meth:`load_state_dict` would refuse, and change nothing.

        Args:
            state: a checkpoint.

        Returns:
            The number of draws that had been made.

        Raises:
            StateError: this plan has drawn batches already.
            ParameterError: the state is not one of such a plan; the message says what differs.

        Example:
            >>> from dpkit.batches import PoissonBatches
            >>> PoissonBatches(4, 0.5, steps=3).check_state(PoissonBatches(4, 0.5, steps=3).state_dict())
            0
        """
        if self._position > self._start:
            raise StateError("this plan has drawn batches already; make a new one and load the state into that.")
        wanted = {"kind": type(self).__name__, **{name: getattr(self, name) for name in self._parameters}}
        names = {*wanted, "position", "secure"} | (set() if self._key is None else {"key"})
        advice = "give what state_dict() returned."
        if not isinstance(state, Mapping) or state.keys() != names:
            raise ParameterError(f"state must have the entries {', '.join(sorted(names))}, got others; {advice}")
        for name, value in wanted.items():
            if type(state[name]) is not type(value) or state[name] != value:
                raise ParameterError(
                    f"state must be that of a plan with {name}={value}, got another; make such a plan."
                )
        if not isinstance(state["secure"], bool):
            raise ParameterError(f"secure must be True or False in a state, got neither; {advice}")
        position = check_count("position", state["position"], advice, least=0)
        if position > self.steps:
            raise ParameterError(f"position must be at most steps={self.steps} in a state, got more; {advice}")
        return position

    @abstractmethod
    def sampled(self, event: Event) -> Event:
        """Return the event of a mechanism that is run on one of these batches; it needs no draw and spends none.

        Args:
            event: the mechanism's event on the records of a batch.

        Returns:
            The sampled event. Whether it has a sound account, and under which relation, the accountants say when it
            is recorded or asked for.
        """

    @abstractmethod
    def _rows(self) -> NDArray[np.int64]:
        """The batch of the coming step: ascending indices, int64."""

    def _exhausted(self) -> NoReturn:
        raise ExhaustedError(
            f"all {self.steps} batches of this plan have been drawn; make a new {type(self).__name__} for another pass."
        )

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Copy, deepcopy and pickle all come here."""
        raise EntropyError("a plan of batches may not be copied or pickled: its batches are for one release each.")

    def __repr__(self) -> str:
        shown = (*self._parameters, "remaining", "secure")
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)}' for name in shown)})"


def check_probability(value: Any) -> float:
    """Return a sampling probability as a float.

    Args:
        value: what was given.

    Returns:
        A float in (0, 1].

    Raises:
        ParameterError: it is not such a number.

    Example:
        >>> check_probability(1)
        1.0
    """
    number = check_real("sampling_prob", value, "give a float.")
    if not 0.0 < number <= 1.0:
        raise ParameterError(f"sampling_prob must be in (0, 1], got {number!r}; it is the chance of each record.")
    return number


def check_key(value: Any) -> bytes:
    """Return the key in a checkpoint.

    Args:
        value: what the state holds.

    Returns:
        `KEY_BYTES` bytes.

    Raises:
        ParameterError: it is not that many bytes in hexadecimal digits.

    Example:
        >>> check_key("00" * 32) == bytes(32)
        True
    """
    if not isinstance(value, str) or re.fullmatch("[0-9a-f]*", value) is None or len(value) != 2 * KEY_BYTES:
        raise ParameterError(f"key must be {2 * KEY_BYTES} hexadecimal digits, got something else; it was changed.")
    return bytes.fromhex(value)
