"""Checks that disturb a session: calls out of order, messages that nobody sent, and those of other sessions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg._kit import Case, Clean, Refused, goes_on
from secagg._rehearsal import Letter, Rehearsal, Source
from secagg.api import Address, Keys, SumProtocol
from secagg.errors import ConformanceError, LocalProtocolError, ParameterError, SecAggError, TooFewSurvivorsError

__all__ = ["check_foreign", "check_fuzz", "check_order"]


_BEGINNINGS: dict[Address, tuple[str, ...]] = {"server": ("start", "close_round"), "opener": ()}
"""What comes before a sum, beside the calls that everybody has."""


def check_order(case: Case) -> None:
    """Calls out of order raise ``LocalProtocolError`` and change nothing, and so do inputs that do not fit.

    Args:
        case: the protocol.

    Raises:
        ConformanceError: such a call went through, raised something else, or left its mark on the session.
    """
    waited: set[str] = set()

    def disturb(run: Rehearsal, letter: Letter) -> None:
        if letter.dst != "server":
            return
        _out_of_order(run.session(letter.src), letter.src, "set_input", "start", "close_round", "result")
        _out_of_order(run.server, "server", "start", "result")
        if letter.round not in waited:
            waited.add(letter.round)
            with Refused(f"closing {letter.round!r} before anybody has sent", TooFewSurvivorsError):
                run.server.close_round()

    run = case.rehearsal(before=disturb)
    _out_of_order(run.server, "server", "receive", "close_round", "result")
    if run.opener is not None:
        _out_of_order(run.opener, "opener", "result")
    for party, client in enumerate(run.clients):
        _out_of_order(client, party, "start", "receive", "close_round", "result")
        _unfit(client, run.plan)
    run.give()
    for party, client in enumerate(run.clients):
        _out_of_order(client, party, "set_input", "receive", "close_round", "result")
    run.start()
    goes_on(case, run, run.play, "calls out of order")
    for who, session in _all_sessions(run):
        _out_of_order(session, who, *_BEGINNINGS.get(who, ("start", "set_input")))
    _check_aborts(case)


def _all_sessions(run: Rehearsal) -> list[tuple[Address, Any]]:
    """Everybody's session."""
    third: list[tuple[Address, Any]] = [] if run.opener is None else [("opener", run.opener)]
    return [("server", run.server), *third, *enumerate(run.clients)]


def _check_aborts(case: Case) -> None:
    """After an abort, at any time, nothing is possible."""
    for begin in ((), ("give",), ("give", "start"), ("complete",)):
        run = case.rehearsal()
        with Clean("a session to abort"):
            for step in begin:
                getattr(run, step)()
            for _, session in _all_sessions(run):
                session.abort("the kit wants it")
        for who, session in _all_sessions(run):
            party = ["set_input"] if isinstance(who, int) else []
            _out_of_order(session, who, "receive", "result", *_BEGINNINGS.get(who, ("start", "close_round")), *party)


def _out_of_order(session: Any, who: object, *calls: str) -> None:
    """None of these calls is possible now."""
    for call in calls:
        arguments = {"set_input": ([0],), "receive": (b"", 0 if who == "server" else "server")}.get(call, ())
        before = session.state
        with Refused(f"{call} of {who!r}, in state {str(before)!r},", LocalProtocolError):
            getattr(session, call)(*arguments)
        if session.state != before:
            raise ConformanceError(f"{call} of {who!r}, refused, took its state from {before!r} to {session.state!r}.")


def _unfit(client: Any, plan: SumProtocol) -> None:
    """Vectors that are none of this plan."""
    zeros = np.zeros(plan.dim, dtype=np.uint64)
    unfit: list[tuple[str, NDArray[Any]]] = [
        ("one entry more", np.zeros(plan.dim + 1, dtype=np.uint64)),
        ("reals", zeros.astype(np.float64)),
        ("a negative entry", zeros.astype(np.int64) - 1),
    ]
    if plan.value_bits < 64:
        unfit.append(("an entry of too many bits", zeros + np.uint64(1 << plan.value_bits)))
    for what, vector in unfit:
        with Refused(f"set_input with {what}", ParameterError):
            client.set_input(vector)


def check_fuzz(case: Case) -> None:
    """Messages that are not what was sent are refused with a typed error, and the session goes on.

    Before each message of a session its recipient gets it cut, longer, with single bits changed, from other senders,
    and every other message of the session in its stead; after it, the same once more.

    Args:
        case: the protocol.

    Raises:
        ConformanceError: such a message was taken, raised something else, or left its mark on the session.
    """
    source = Source(case.seed, "fuzz")
    quiet = case.undisturbed().letters

    def disturb(run: Rehearsal, letter: Letter) -> None:
        session, place = run.session(letter.dst), (letter.round, letter.src, letter.dst)
        for what, payload in _changed(letter.payload, source):
            _is_refused(session, letter, payload, letter.src, what)
        for other in quiet:
            if other.payload != letter.payload and (other.round, other.src, other.dst) != place:
                what = f"replaced by {other.src!r}'s of {other.round!r}"
                _is_refused(session, letter, other.payload, letter.src, what)
        for stranger in (-1, case.num_parties, "nobody", None, "server", *range(case.num_parties)):
            if stranger not in (letter.src, letter.dst):
                _is_refused(session, letter, letter.payload, stranger, f"said to be from {stranger!r}")

    def repeat(run: Rehearsal, letter: Letter) -> None:
        _is_refused(run.session(letter.dst), letter, letter.payload, letter.src, "sent twice")

    run = case.rehearsal(before=disturb, after=repeat)
    goes_on(case, run, run.complete, "messages that nobody sent")


def _is_refused(session: Any, letter: Letter, payload: Any, sender: Any, what: str) -> None:
    before = session.state
    with Refused(f"in {letter.round!r}, {letter.src!r}'s message to {letter.dst!r}, {what},", SecAggError):
        session.receive(payload, sender)
    if session.state != before:
        raise ConformanceError(f"in {letter.round!r}, a message to {letter.dst!r} that is refused changed its state.")


def _changed(payload: bytes, source: Source) -> Iterable[tuple[str, Any]]:
    """What accidents and enemies make of a message."""
    size = len(payload)
    yield from (("as None", None), ("emptied", b""), ("as a list", list(payload)))
    for cut in sorted({1, size // 2, size - 1, source.below(size)} - {0, size}):
        yield f"cut to {cut} of {size} bytes", payload[:cut]
    yield from (("with a byte more", payload + b"\0"), ("with a byte before", b"\0" + payload), ("twice", payload * 2))
    places = {*range(min(size, 8)), size - 1, *(source.below(size) for _ in range(16))}
    for place in sorted(places):
        flipped = payload[place] ^ (1 << source.below(8))
        yield f"with a bit of byte {place} changed", payload[:place] + bytes([flipped]) + payload[place + 1 :]


def check_foreign(case: Case) -> None:
    """A session takes nothing that belongs to another one, or to another plan.

    Before each message its recipient gets the one in its place of a session with other keys, and of a session with the
    same keys whose vectors have an entry more. What are no keys is refused, and so are parties that the plan has not.

    Args:
        case: the protocol.

    Raises:
        ConformanceError: something foreign was taken, or left its mark on the session.
    """
    keys = case.plan().keygen(Source(case.seed, "keys"))
    foreign = {
        "of another session": case.undisturbed(seed=case.seed + 1).letters,
        "of another plan": _under_another_plan(case, keys),
    }

    def disturb(run: Rehearsal, letter: Letter) -> None:
        place = letter.round, letter.src, letter.dst
        for what, letters in foreign.items():
            for other in letters:
                if (other.round, other.src, other.dst) == place:
                    _is_refused(run.session(letter.dst), letter, other.payload, letter.src, f"replaced by one {what}")

    run = case.rehearsal(keys=keys, before=disturb)
    goes_on(case, run, run.complete, "messages of other sessions")
    _check_makers(run.plan, keys)


def _under_another_plan(case: Case, keys: Keys[Any, Any]) -> list[Letter]:
    """What is sent in a session of the next larger plan under the keys of this one; nothing if they do not fit it."""
    larger = replace(case, dim=case.dim + 1)
    try:
        run = larger.rehearsal(keys=keys)
        run.complete()
    except ConformanceError:
        raise
    except SecAggError:
        return []
    return run.letters


def _check_makers(plan: SumProtocol, keys: Keys[Any, Any]) -> None:
    """Sessions are made of the plan's own keys, for the plan's own parties."""
    wrong: list[Any] = [object(), *([None] if keys.clients[0] is not None else [])]
    for held in wrong:
        with Refused("client(0, keys=...) with what are no keys", SecAggError):
            plan.client(0, keys=held)
        with Refused("server(keys=...) with what are no keys", SecAggError):
            plan.server(keys=held)
    for party in (-1, plan.num_parties):
        with Refused(f"client({party}) of {plan.num_parties} parties", ParameterError):
            plan.client(party, keys=keys.clients[0])
