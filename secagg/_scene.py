"""What an adversary of a simulated sum is: what it is shown, what it says, and what is written down about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from secagg._rehearsal import Letter, Rehearsal, made_up_vectors
from secagg.api import Address, Entropy, Keys, SumProtocol
from secagg.errors import SecAggError
from secagg.masking.keys import KEY_BYTES
from secagg.masking.task import PartyKeys, Task
from secagg.prg import draw

__all__ = ["Adversary", "Carry", "Letter", "Refusal", "Report", "Scene"]

Carry = Callable[[Letter], Iterable[Letter]]
"""What becomes of a message: the messages that arrive in its stead, in this order."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    """A message that was not taken, or a sum that was not opened.

    Args:
        round: the round.
        who: who refused it.
        sender: whose it was said to be.
        error: why.
    """

    round: str
    who: Address
    sender: Address
    error: SecAggError


@final
@dataclass(slots=True, eq=False)
class Report:
    """What an adversary met, and what it got; of the latest run.

    Args:
        refusals: in order.
        opened: inputs of single parties that it could compute, by party, as the integers that were summed.
    """

    refusals: list[Refusal] = field(default_factory=list)
    opened: dict[int, NDArray[np.uint64]] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget the run before."""
        self.refusals.clear()
        self.opened.clear()


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The sum that is attacked, before its first message.

    Args:
        plan: its plan.
        keys: of all parties and of the server. The ready-made adversaries use them only to play earlier sessions.
        entropy: source of what the adversary draws; None means the system's.
    """

    plan: SumProtocol
    keys: Keys[Any, Any] = field(repr=False)
    entropy: Entropy | None

    def earlier(self, *, same_task: bool) -> list[Letter]:
        """The messages of an earlier session, of other inputs, in which nobody dropped out.

        Args:
            same_task: whether it was about the same task; otherwise the same parties summed for another one.
        """
        keys = self.keys if same_task else self._other_task()
        seed = int.from_bytes(draw(self.entropy, 8), "little")
        vectors = made_up_vectors(self.plan, seed)
        played = Rehearsal(self.plan, vectors, seed=seed, carry=lambda payload, *_: payload, keys=keys)
        played.complete()
        return played.letters

    def _other_task(self) -> Keys[Any, Any]:
        """The parties as they are, where they are more than one session's keys."""
        if not isinstance(self.keys.server, PartyKeys):
            return self.plan.keygen(self.entropy)
        task = Task(self.keys.server.task.model, self.keys.server.task.round, draw(self.entropy, KEY_BYTES))
        clients = tuple(PartyKeys(task, held.identity) for held in self.keys.clients)
        return Keys(clients, PartyKeys(task, self.keys.server.identity))


class Adversary(Protocol):
    """Whoever owns the wire and the server's mouth; write your own with these two."""

    @property
    def report(self) -> Report:
        """What it met and got in the latest run; emptied when the next begins."""

    def attack(self, scene: Scene) -> Carry:
        """Take over one sum: what is called with every message, and says what arrives. It may remember things.

        Raises:
            ParameterError: the attack is none on this plan.
        """
