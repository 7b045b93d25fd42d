"""All parties and the server of one sum, in one process, through the same sessions and bytes as in a deployment."""

from __future__ import annotations

import numbers
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast, final

import numpy as np
from numpy.typing import NDArray

from secagg._scene import Adversary, Carry, Letter, Refusal, Report, Scene
from secagg.api import (
    Address,
    ClientSession,
    Entropy,
    OpenedSumProtocol,
    OpenerSession,
    Outgoing,
    ServerSession,
    SumProtocol,
    SumResult,
)
from secagg.checks import check_integer, check_unmasked
from secagg.codec import FixedPoint
from secagg.errors import DecodeError, LocalProtocolError, ParameterError, SecAggError, TooFewSurvivorsError

__all__ = ["simulate"]

_NO_LETTERS = "an adversary must return Letters of bytes, between those who take part."


def simulate(
    plan: SumProtocol,
    vectors: Any,
    *,
    codec: FixedPoint | None = None,
    dropouts: Mapping[str, Sequence[int]] | None = None,
    entropy: Entropy | None = None,
    adversary: Adversary | None = None,
) -> SumResult:
    """Run one session of a plan: fresh keys, every party's message, the server's sum, opened by one survivor.

    With an adversary, messages arrive as it likes. Whoever refuses one is as before, whoever gets none that it can use
    says nothing more, and the others go on.

    Guarantee:
        The total is the exact sum of the survivors' vectors (modulo ``2**value_bits`` in wrapping plans), or the call
        raises; held by ``test_equals_the_plain_sum`` and ``test_plain_sum_is_exact``. What holds against adversaries
        stands with each of :mod:`secagg.adversaries`.

    Args:
        plan: any protocol's plan.
        vectors: integers in ``[0, 2**value_bits)``, shape ``(num_parties, dim)``; with `codec`, finite reals. Residues
            of negative numbers cannot be told from large values: into plans that do not wrap, send what
            :func:`~secagg.codec.offset_encode` returns.
        codec: encodes every vector and decodes the total; its value_bits are the plan's.
        dropouts: ``{round name: [party, ...]}`` of parties that are gone before they send in that round.
        entropy: source of session identifiers and keys; None means the system's.
        adversary: who owns the wire and speaks for the server, see :mod:`secagg.adversaries`; its `report` says which
            messages were refused and what it could read. None for nobody.

    Returns:
        Total (uint64, or float64 with `codec`), survivors, bytes by party, and the seconds it took.

    Raises:
        ParameterError: vectors, codec, dropouts or adversary do not fit the plan; values are not printed.
        TooFewSurvivorsError: fewer parties remain than the plan requires; nothing is opened.
        DecodeError: an adversary's doing: what there is to open does not verify.
        BackendError: an optional package is missing.

    Example:
        >>> from secagg import PlainSum
        >>> simulate(PlainSum.plan(2, 3, 8), [[1, 2, 3], [10, 20, 255]]).total.tolist()
        [11, 22, 258]
    """
    gone = _check_dropouts(plan, dropouts)
    inputs = _encoded(plan, vectors, codec, entropy)
    started = time.perf_counter()
    keys = plan.keygen(entropy)
    wire = None if adversary is None else _Wire(adversary, Scene(plan, keys, entropy))
    clients = [plan.client(party, entropy=entropy, keys=held) for party, held in enumerate(keys.clients)]
    for client, vector in zip(clients, inputs, strict=True):
        client.set_input(vector)
    opener = None if keys.opener is None else cast(OpenedSumProtocol, plan).opener(keys=keys.opener)
    run = _Run(clients, plan.server(entropy=entropy, keys=keys.server), opener, wire)
    for name in plan.rounds:
        run.play_round(name, gone.get(name, frozenset()))
    result = run.opened(plan.min_survivors)
    seconds = time.perf_counter() - started
    total = result.total if codec is None else codec.decode(result.total, len(result.survivors))
    return replace(result, total=total, bytes_up=run.bytes_up, bytes_down=run.bytes_down, seconds=seconds)


@final
class _Wire:
    """An adversary at work."""

    def __init__(self, adversary: Adversary, scene: Scene) -> None:
        report = getattr(adversary, "report", None)
        if not isinstance(report, Report) or not callable(getattr(adversary, "attack", None)):
            raise ParameterError(
                f"adversary must have attack(scene), and a Report as report, got {type(adversary).__name__}."
            )
        third = () if scene.keys.opener is None else ("opener",)
        self.report, self._ends = report, frozenset(("server", *third, *range(scene.plan.num_parties)))
        self.report.clear()
        self._carry: Carry = adversary.attack(scene)

    def carry(self, letter: Letter) -> Iterator[Letter]:
        """What arrives instead of a message, checked: it is the adversary's author who must know of a mistake."""
        arrived = self._carry(letter)
        if not isinstance(arrived, Iterable):
            raise ParameterError(_NO_LETTERS)
        for moved in arrived:
            if not isinstance(moved, Letter) or not isinstance(moved.payload, bytes):
                raise ParameterError(_NO_LETTERS)
            yield Letter(moved.round, self._end(moved.src), self._end(moved.dst), moved.payload)

    def refused(self, letter: Letter, error: SecAggError) -> None:
        """Write it down, without where it was raised: a traceback holds sessions and their secrets."""
        error.__traceback__ = error.__context__ = error.__cause__ = None
        self.report.refusals.append(Refusal(letter.round, letter.dst, letter.src, error))

    def _end(self, who: object) -> Address:
        """Somebody who takes part; a party's number may be of any integer type."""
        is_number = isinstance(who, numbers.Integral) and not isinstance(who, bool)
        found = int(cast(int, who)) if is_number else who
        if not isinstance(found, (int, str)) or isinstance(found, bool) or found not in self._ends:
            raise ParameterError(_NO_LETTERS)
        return cast(Address, found)


@final
class _Run:
    """The transport: who is still there, what they send next, and how many bytes went by."""

    def __init__(
        self,
        clients: list[ClientSession],
        server: ServerSession,
        opener: OpenerSession | None,
        wire: _Wire | None,
    ) -> None:
        self._clients, self._server, self._opener, self._wire = clients, server, opener, wire
        self._gone: set[int] = set()
        self._pending: dict[int, Iterable[Outgoing]] = {party: _started(client) for party, client in enumerate(clients)}
        self._round = ""
        self.bytes_up = np.zeros(len(clients), dtype=np.int64)
        self.bytes_down = np.zeros(len(clients), dtype=np.int64)
        self._opening = server.start()

    def play_round(self, name: str, gone: frozenset[int]) -> None:
        """Everybody who is left sends; the server closes the round; its messages are delivered."""
        self._round = name
        self._gone |= gone
        opening, self._opening = self._opening, []
        self._say(opening)
        pending, self._pending = self._pending, {}
        for party, messages in pending.items():
            for message in () if party in self._gone else messages:
                self.bytes_up[party] += len(message.payload)
                self._send(Letter(name, party, message.dst, message.payload))
        self._say(self._server.close_round())

    def opened(self, required: int) -> SumResult:
        """The sum, opened by its opener, by the first party that can, or by the server."""
        unverified = None
        openers: list[Address] = [*sorted(self._pending), "server"] if self._opener is None else ["opener"]
        for who in openers:
            try:
                return self._session(who).result()
            except LocalProtocolError:
                continue  # it has nothing to open, or no key for it
            except DecodeError as error:
                if self._wire is None:
                    raise
                self._wire.refused(Letter(self._round, "server", who, b""), error)
                unverified = error
        if unverified is not None:
            raise DecodeError(str(unverified), peer=unverified.peer)  # the one in the report stays without a traceback
        raise TooFewSurvivorsError("nobody is left to open the sum.", alive=0, required=required)

    def _session(self, who: Address) -> ClientSession | ServerSession | OpenerSession:
        """Whose session it is."""
        if isinstance(who, int):
            return self._clients[who]
        return self._opener if who == "opener" and self._opener is not None else self._server

    def _say(self, messages: Sequence[Outgoing]) -> None:
        """The server's messages go out."""
        for message in messages:
            if message.dst != "server":
                self._send(Letter(self._round, "server", message.dst, message.payload))

    def _send(self, letter: Letter) -> None:
        """A message arrives, or what an adversary makes of it."""
        if self._wire is None:
            self._answered(letter, self._delivered(letter))
            return
        for moved in self._wire.carry(letter):
            try:
                answers = self._delivered(moved)
            except SecAggError as error:
                self._wire.refused(moved, error)
                continue
            self._answered(moved, answers)

    def _delivered(self, letter: Letter) -> list[Outgoing] | None:
        """What is answered; None where nobody is."""
        if letter.dst in self._gone:
            return None
        if isinstance(letter.dst, int):
            self.bytes_down[letter.dst] += len(letter.payload)
        return self._session(letter.dst).receive(letter.payload, letter.src)

    def _answered(self, letter: Letter, answers: list[Outgoing] | None) -> None:
        """What the server answers goes out at once; what a party answers is sent in its next round."""
        if answers is not None and letter.dst == "server":
            self._say(answers)
        elif answers is not None and isinstance(letter.dst, int):
            self._pending[letter.dst] = [*self._pending.get(letter.dst, ()), *answers]


def _started(client: ClientSession) -> Iterator[Outgoing]:
    """What a party sends first, made when it is sent."""
    yield from client.start()


def _check_dropouts(plan: SumProtocol, dropouts: Mapping[str, Sequence[int]] | None) -> dict[str, frozenset[int]]:
    """Round names of the plan, and parties of it."""
    if dropouts is None:
        return {}
    if not isinstance(dropouts, Mapping):
        raise ParameterError(
            f"dropouts must be a dict of parties by round, {{round name: [party, ...]}}, got {type(dropouts).__name__}."
        )
    gone: dict[str, frozenset[int]] = {}
    for name, parties in dropouts.items():
        if name not in plan.rounds:
            raise ParameterError(f"dropouts must name rounds of the plan, {', '.join(plan.rounds)}, got {name!r}.")
        try:
            listed = tuple(parties)
        except TypeError:
            raise ParameterError(
                f"dropouts[{name!r}] must be a list of parties, got {type(parties).__name__}."
            ) from None
        gone[name] = frozenset(
            check_integer("a party in dropouts", party, at_least=0, at_most=plan.num_parties - 1) for party in listed
        )
    return gone


def _encoded(plan: SumProtocol, vectors: Any, codec: FixedPoint | None, entropy: Entropy | None) -> NDArray[Any]:
    """One row for each party; ranges are checked by the sessions, where the rows enter."""
    rows = check_unmasked("vectors", vectors)
    if rows.shape != (plan.num_parties, plan.dim):
        raise ParameterError(f"vectors must have shape ({plan.num_parties}, {plan.dim}), got {rows.shape}.")
    if codec is None:
        return rows
    if hasattr(plan, "error_bound"):
        raise ParameterError(
            f"codec must be None: {type(plan).__name__} takes reals as they are, and its total is real."
        )
    if not isinstance(codec, FixedPoint):
        raise ParameterError(
            f"codec must be a FixedPoint or None, got {type(codec).__name__}; encode with any other before, "
            "and decode the total."
        )
    if codec.value_bits != plan.value_bits or plan.wrap:
        raise ParameterError(
            f"codec must have the plan's value_bits, {plan.value_bits}, and the plan must not wrap, got "
            f"{codec.value_bits} and wrap={plan.wrap}."
        )
    return codec.encode(rows, entropy)
