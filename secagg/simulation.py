"""All parties and the server of one sum, in one process, through the same sessions and bytes as in a deployment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast, final

import numpy as np
from numpy.typing import NDArray

from secagg.api import (
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
from secagg.errors import LocalProtocolError, ParameterError, TooFewSurvivorsError

__all__ = ["simulate"]


def simulate(
    plan: SumProtocol,
    vectors: Any,
    *,
    codec: FixedPoint | None = None,
    dropouts: Mapping[str, Sequence[int]] | None = None,
    entropy: Entropy | None = None,
) -> SumResult:
    """Run one session of a plan: fresh keys, every party's message, the server's sum, opened by one survivor.

    Guarantee:
        The total is the exact sum of the survivors' vectors (modulo ``2**value_bits`` in wrapping plans), or the call
        raises; held by ``test_equals_the_plain_sum`` and ``test_plain_sum_is_exact``.

    Args:
        plan: any protocol's plan.
        vectors: integers in ``[0, 2**value_bits)``, shape ``(num_parties, dim)``; with `codec`, finite reals. Residues
            of negative numbers cannot be told from large values: into plans that do not wrap, send what
            :func:`~secagg.codec.offset_encode` returns.
        codec: encodes every vector and decodes the total; its value_bits are the plan's.
        dropouts: ``{round name: [party, ...]}`` of parties that are gone before they send in that round.
        entropy: source of session identifiers and keys; None means the system's.

    Returns:
        Total (uint64, or float64 with `codec`), survivors, bytes by party, and the seconds it took.

    Raises:
        ParameterError: vectors, codec or dropouts do not fit the plan; values are not printed.
        TooFewSurvivorsError: fewer parties remain than the plan requires; nothing is opened.
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
    clients = [plan.client(party, entropy=entropy, keys=held) for party, held in enumerate(keys.clients)]
    for client, vector in zip(clients, inputs, strict=True):
        client.set_input(vector)
    opener = None if keys.opener is None else cast(OpenedSumProtocol, plan).opener(keys=keys.opener)
    run = _Run(clients, plan.server(entropy=entropy, keys=keys.server), opener)
    for name in plan.rounds:
        run.play_round(gone.get(name, frozenset()))
    result = run.opened(plan.min_survivors)
    seconds = time.perf_counter() - started
    total = result.total if codec is None else codec.decode(result.total, len(result.survivors))
    return replace(result, total=total, bytes_up=run.bytes_up, bytes_down=run.bytes_down, seconds=seconds)


@final
class _Run:
    """The transport: who is still there, what they send next, and how many bytes went by."""

    def __init__(self, clients: list[ClientSession], server: ServerSession, opener: OpenerSession | None) -> None:
        self._clients = clients
        self._server = server
        self._opener = opener
        self._pending: dict[int, Callable[[], list[Outgoing]]] = {
            party: client.start for party, client in enumerate(clients)
        }
        self.bytes_up = np.zeros(len(clients), dtype=np.int64)
        self.bytes_down = np.zeros(len(clients), dtype=np.int64)
        self._deliver(server.start())

    def play_round(self, gone: frozenset[int]) -> None:
        """Everybody who is left sends; the server closes the round; its messages are delivered."""
        for party in gone:
            self._pending.pop(party, None)
        pending, self._pending = self._pending, {}
        for party, step in pending.items():
            for message in step():
                self.bytes_up[party] += len(message.payload)
                self._deliver(self._server.receive(message.payload, party))
        closing = [message for message in self._server.close_round() if message.dst in (*pending, "opener")]
        self._deliver(closing)

    def opened(self, required: int) -> SumResult:
        """The sum, opened by its opener, by the first party that has it, or by the server."""
        if self._opener is not None:
            return self._opener.result()
        if self._pending:
            return self._clients[min(self._pending)].result()
        try:
            return self._server.result()
        except LocalProtocolError:
            raise TooFewSurvivorsError("nobody is left to open the sum.", alive=0, required=required) from None

    def _deliver(self, messages: list[Outgoing]) -> None:
        """Hand the server's messages over; what a party answers is sent in its next round."""
        for message in messages:
            if message.dst == "opener" and self._opener is not None:
                self._opener.receive(message.payload, "server")
            if not isinstance(message.dst, int):
                continue
            self.bytes_down[message.dst] += len(message.payload)
            answers = self._clients[message.dst].receive(message.payload, "server")
            self._pending[message.dst] = partial(list, answers)


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
    if codec.value_bits != plan.value_bits or plan.wrap:
        raise ParameterError(
            f"codec must have the plan's value_bits, {plan.value_bits}, and the plan must not wrap, got "
            f"{codec.value_bits} and wrap={plan.wrap}."
        )
    return codec.encode(rows, entropy)
