"""The check of sessions that are stored and restored, and of the guard that keeps them from answering twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from secagg._kit import INPUT_ROUND, Case, Clean, Refused, goes_on
from secagg._rehearsal import Letter, Rehearsal, Source
from secagg.api import Keys, SumProtocol
from secagg.errors import ConformanceError, DecodeError, ParameterError, RollbackRiskError

__all__ = ["check_restore"]

_KEY_BYTES = 32


@final
class _Guard:
    """What was sent in each step of each session; in memory, since nothing outlives a check."""

    def __init__(self) -> None:
        self._claims: dict[tuple[bytes, str], bytes] = {}

    def claim(self, session: bytes, step: str, digest: bytes) -> bool:
        """Whether it is the first digest of this step, or the same again."""
        return self._claims.setdefault((session, step), digest) == digest


def check_restore(case: Case) -> None:
    """Parties that are stored and restored after every step go on as they were, and never answer in two ways.

    Each party is put into bytes after each step, and goes on in a new session: its latest message is repeated byte for
    byte, and the session is what it would have been; so is the server, if it has ``snapshot``. Under another key, and
    for a party without a guard, nothing opens. Then a session is begun again
    under the same guards: with other entropy, and with the same, as if from old snapshots, while one party that may
    drop out is not there. Who hears of that would have to answer in another way, and must refuse.

    A protocol that takes no guard and has no ``snapshot`` passes, if it says so: a guard that is not used is refused.

    Args:
        case: the protocol.

    Raises:
        ConformanceError: a restored session went on differently, or somebody answered twice.
    """
    plan = case.plan()
    guards = [_Guard() for _ in range(plan.num_parties)]
    keys = plan.keygen(Source(case.seed, "keys"))
    if not _takes_guards(plan, keys.clients[0]):
        return

    def restore(run: Rehearsal, letter: Letter) -> None:
        if not isinstance(letter.src, int):
            return
        _restore(case, run, letter, keys.clients[letter.src], guards[letter.src])
        if callable(getattr(run.server, "snapshot", None)):
            _restore_server(case, run, letter, keys.server)

    run = case.rehearsal(keys=keys, guards=guards, after=restore)
    goes_on(case, run, run.complete, "parties that are restored after each step")
    _check_rollback(case, keys, guards)


def _takes_guards(plan: SumProtocol, keys: Any) -> bool:
    """Whether sessions take a guard; if not, they have to say so."""
    try:
        session = plan.client(0, keys=keys, guard=_Guard())
    except ParameterError:
        return False
    if not all(callable(getattr(session, name, None)) for name in ("snapshot", "restore")):
        raise ConformanceError(
            "client(guard=...) is taken by sessions without snapshot(key) and restore(snapshot, key)."
        )
    return True


def _restore(case: Case, run: Rehearsal, letter: Letter, keys: Any, guard: _Guard) -> None:
    """Whoever has just sent something goes on in a new session."""
    party: Any = letter.src
    source = Source(case.seed, f"snapshots {party}")
    key, wrong = source.bytes(_KEY_BYTES), source.bytes(_KEY_BYTES)
    old: Any = run.clients[party]
    new: Any = run.plan.client(party, entropy=source, keys=keys, guard=guard)
    unguarded: Any = run.plan.client(party, entropy=source, keys=keys)
    what = f"in {letter.round!r}, the snapshot of {party}"
    with Clean(what):
        stored = old.snapshot(key)
        with Refused(f"{what}, opened under another key,", DecodeError):
            new.restore(stored, wrong)
        with Refused(f"{what}, opened without a guard,", RollbackRiskError):
            unguarded.restore(stored, key)
        again = new.restore(stored, key)
    if [message.payload for message in again] != [letter.payload]:
        raise ConformanceError(f"{what} does not repeat its latest message byte for byte.")
    if new.state != old.state:
        raise ConformanceError(f"{what} was taken as {str(old.state)!r}, and opens as {str(new.state)!r}.")
    run.clients[party] = new


def _restore_server(case: Case, run: Rehearsal, letter: Letter, keys: Any) -> None:
    """The server goes on in a new session."""
    source = Source(case.seed, "snapshots of the server")
    key = source.bytes(_KEY_BYTES)
    old: Any = run.server
    new: Any = run.plan.server(entropy=source, keys=keys)
    with Clean(f"in {letter.round!r}, the snapshot of the server"):
        new.restore(old.snapshot(key), key)
    run.server = new


def _check_rollback(case: Case, keys: Keys[Any, Any], guards: Sequence[_Guard]) -> None:
    """The same keys and other entropy; then the same beginning and, if anybody may drop out, another continuation."""
    plan, absent = case.plan(), case.num_parties - 1
    run = case.rehearsal(seed=case.seed + 1, keys=keys, guards=guards)
    with Refused("a second session under the same keys and guards, and other entropy,", RollbackRiskError):
        run.complete()
    for name in plan.rounds[: plan.rounds.index(INPUT_ROUND)] if plan.min_survivors < plan.num_parties else ():
        run = case.rehearsal(keys=keys, guards=guards)
        with Refused(f"a second session of the same, in which {absent} is gone in {name!r},", RollbackRiskError):
            run.complete({name: [absent]})
