"""A session of a plan in one process, step by step, with the seconds that each side takes for each step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from statistics import median
from typing import Any, TypeVar, cast, final

from secagg.api import ClientSession, OpenedSumProtocol, OpenerSession, Outgoing, SumProtocol
from secagg.errors import LocalProtocolError

__all__ = ["Clock", "Played", "played"]

Clock = Callable[[], float]
"""What time it is, in seconds from anywhere."""

Step = Callable[[], list[Outgoing]]
T = TypeVar("T")

_OPENED = 3
"""So many parties open the sum, where all can."""


@final
class Played:
    """Seconds by step: ``"input"`` (a session is made, takes its vector, and starts), every round, and ``"result"``.

    Args:
        clock: what time it is.

    Attributes:
        server: of the server; its session is made in the first round.
        opener: of who opens the sum, where that is a third: its ``"result"``.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._each: dict[str, list[float]] = defaultdict(list)
        self.server: dict[str, float] = defaultdict(float)
        self.opener: dict[str, float] = defaultdict(float)

    @property
    def clients(self) -> dict[str, float]:
        """Of one party: the median of those that took the step."""
        return {step: median(seconds) for step, seconds in self._each.items()}

    def of_client(self, step: str, does: Callable[[], T]) -> T:
        """What a party's step returns."""
        started = self._clock()
        done = does()
        self._each[step].append(self._clock() - started)
        return done

    def of_third(self, seconds: dict[str, float], step: str, does: Callable[[], T]) -> T:
        """What a step of the server or of the opener returns."""
        started = self._clock()
        done = does()
        seconds[step] += self._clock() - started
        return done


def played(plan: SumProtocol, vector: Any, gone: Iterable[int], clock: Clock) -> Played:
    """Play a session in which every party has the same vector.

    Args:
        plan: any protocol's plan.
        vector: what a party's ``set_input`` takes.
        gone: parties that leave before they send what their vector is in.
        clock: what time it is.

    Returns:
        The seconds of each step; making keys is none.
    """
    watch, keys, lost = Played(clock), plan.keygen(), frozenset(gone)
    clients: dict[int, ClientSession] = {}

    def begin(party: int) -> list[Outgoing]:
        clients[party] = plan.client(party, keys=keys.clients[party])
        clients[party].set_input(vector)
        return clients[party].start()

    server = watch.of_third(watch.server, plan.rounds[0], partial(plan.server, keys=keys.server))
    server.start()
    waiting: dict[int, Step] = {party: partial(begin, party) for party in range(plan.num_parties)}
    for place, name in enumerate(plan.rounds):
        steps = {party: step for party, step in waiting.items() if name != "masked_input" or party not in lost}
        waiting = {}
        for party, step in steps.items():
            for message in watch.of_client(name if place else "input", step):
                watch.of_third(watch.server, name, partial(server.receive, message.payload, party))
        for message in watch.of_third(watch.server, name, server.close_round):
            if message.dst == "opener":
                opens = partial(_opened_by_third, cast(OpenedSumProtocol, plan), keys.opener, message.payload)
                watch.of_third(watch.opener, "result", opens)
            elif isinstance(message.dst, int) and message.dst in steps:
                waiting[message.dst] = partial(clients[message.dst].receive, message.payload, "server")
    for party, step in list(waiting.items())[:_OPENED]:
        watch.of_client("result", partial(_opened, step, clients[party]))
    return watch


def _opened(step: Step, client: ClientSession) -> None:
    """A party's last step: it takes the sum, and opens it if it can."""
    step()
    try:
        client.result()
    except LocalProtocolError:
        return  # the sum is the server's to open


def _opened_by_third(plan: OpenedSumProtocol, keys: Any, payload: bytes) -> None:
    """The opener's one step."""
    opener: OpenerSession = plan.opener(keys=keys)
    opener.receive(payload, "server")
    opener.result()
