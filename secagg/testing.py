"""The conformance kit: what every protocol and every transport must do, as checks that third parties run on their own.

A protocol is held to every check by one call. It is given as a function that plans it for so many parties and entries::

    check_all(lambda n, dim: MySum.plan(n, dim, 16))
    check_all(lambda n, dim: SecAgg.plan(n, dim, 16, adversary="malicious", corrupt=0.2, dropout=0.2), carry=my_wire)

The kit plays all roles. It sees what goes over the wire and nothing of what is inside: sessions are called as
:mod:`secagg.api` says, and "nothing changed" means that the rest of the session is what it would have been. So it finds
mistakes: that a protocol passes is no proof that it keeps anything from anybody. Nothing here needs pytest.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from secagg._disturbed import check_foreign, check_fuzz, check_order
from secagg._kit import INPUT_ROUND, Case, Clean, check_result, unchanged
from secagg._rehearsal import Carrier, Rehearsal
from secagg._restored import check_restore
from secagg.api import SumProtocol
from secagg.errors import ConformanceError, ParameterError, TooFewSurvivorsError

__all__ = [
    "CHECKS",
    "Carrier",
    "Case",
    "Check",
    "check_all",
    "check_bytes",
    "check_determinism",
    "check_foreign",
    "check_fuzz",
    "check_order",
    "check_restore",
    "check_secrecy",
    "check_sums",
    "failed_checks",
]

_KNOWN_BITS = 128
"""Bits of an input that are looked for at once: random bytes hold them by chance once in 2**128 places."""

_SENT_BITS = 2**16
"""Bits of the input whose message is looked at as a whole: many more than its headers and digests have."""


def _patterns(plan: SumProtocol) -> Iterable[dict[str, list[int]]]:
    """Who is gone from which round on: in each round one, as many as planned, one more, and all; then one in each."""
    n = plan.num_parties
    planned = n - plan.min_survivors
    yield {}
    for name in plan.rounds:
        chosen = [[0], [n - 1], list(range(planned)), list(range(n - planned - 1, n)), list(range(n))]
        yield from ({name: parties} for parties in map(list, sorted({tuple(parties) for parties in chosen if parties})))
    yield {name: [party] for party, name in enumerate(plan.rounds[:planned])}


def check_sums(case: Case) -> None:
    """Sums are exact whoever drops out when, or nothing is opened.

    With as many drop-outs as planned, all rounds together, the sum is that of exactly the parties whose input was sent.
    With more it may be, or the server raises :class:`~secagg.errors.TooFewSurvivorsError` and nobody opens anything.
    All who open a sum open the same.

    Args:
        case: the protocol.

    Raises:
        ConformanceError: a sum is wrong, missing, or names others than its survivors.
    """
    plan = case.plan()
    sends = plan.rounds.index(INPUT_ROUND)
    for dropouts in _patterns(plan):
        lost = set().union(*dropouts.values())
        silent = set().union(*(dropouts.get(name, ()) for name in plan.rounds[: sends + 1]))
        there = frozenset(set(range(plan.num_parties)) - silent)
        planned = len(lost) <= plan.num_parties - plan.min_survivors
        run = case.rehearsal()
        with Clean(f"with the drop-outs {dropouts}, a session"):
            try:
                opened = run.complete(dropouts)
            except TooFewSurvivorsError as error:
                _check_nothing_opened(run, dropouts, planned=planned, error=error)
            else:
                check_result(run, opened, there, exactly=planned)


def _check_nothing_opened(
    run: Rehearsal, dropouts: Mapping[str, Collection[int]], *, planned: bool, error: TooFewSurvivorsError
) -> None:
    """Too few is an answer where more dropped out than planned, and then nobody has a sum."""
    if planned:
        raise ConformanceError(f"with the drop-outs {dropouts}, as many as planned, no sum came out: {error}")
    if not error.alive < error.required:
        raise ConformanceError(f"with the drop-outs {dropouts}, {error.alive} of {error.required} were too few.")
    if run.opened():
        raise ConformanceError(f"with the drop-outs {dropouts}, too few, somebody opened a sum.")


def check_bytes(case: Case) -> None:
    """A party sends and receives no more than ``bytes_up`` and ``bytes_down`` say, and results count what was sent.

    Args:
        case: the protocol.

    Raises:
        ConformanceError: more bytes were sent, or others reported.
    """
    plan = case.plan()
    for dropouts in ({}, *({name: [0]} for name in plan.rounds if plan.min_survivors < plan.num_parties)):
        run = case.rehearsal()
        with Clean(f"with the drop-outs {dropouts}, a session"):
            opened = run.complete(dropouts)
        up, down = _traffic(run)
        for what, most, counted in (("sent", plan.bytes_up, up), ("received", plan.bytes_down, down)):
            if counted.max() > most:
                raise ConformanceError(f"with the drop-outs {dropouts}, a party {what} {counted.max()} bytes > {most}.")
        for sum_ in opened if not dropouts else []:
            if sum_.who == "opener":  # who opens it has seen no party's message
                continue
            known = slice(None) if sum_.who == "server" else sum_.who
            if np.any(sum_.result.bytes_up[known] != up[known]) or np.any(sum_.result.bytes_down[known] != down[known]):
                raise ConformanceError(f"bytes_up or bytes_down in the result of {sum_.who!r} are not what was sent.")


def _traffic(run: Rehearsal) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bytes that each party sent, and received."""
    counts = np.zeros((2, run.plan.num_parties), dtype=np.int64)
    for letter in run.letters:
        for row, who in enumerate((letter.src, letter.dst)):
            if isinstance(who, int):
                counts[row, who] += len(letter.payload)
    return counts[0], counts[1]


def check_determinism(case: Case) -> None:
    """What is sent follows from inputs, keys and entropy: a session that is run again sends the same bytes.

    Args:
        case: the protocol.

    Raises:
        ConformanceError: it sent others.
    """
    first, again = case.undisturbed().letters, case.undisturbed().letters
    for one, other in zip(first, again, strict=False):
        if one != other:
            raise ConformanceError(
                f"in {one.round!r}, {one.src!r} sends {one.dst!r} other bytes from the same entropy."
            )
    if len(first) != len(again):
        raise ConformanceError("the same entropy gives another number of messages.")


def check_secrecy(case: Case) -> None:
    """No input goes over the wire in the clear, nor under a mask that repeats.

    Inputs are looked for in all messages, as integers of every width and order of bytes and as packed bits. Then all
    parties give the same vector of zeros: what each sends for it must not be shorter, compressed, than the vector is,
    nor must its difference from what the next party sends, or the same party in a session with other entropy.

    This finds what forgot to encrypt, and masks used twice; it is no proof of anything else.

    Args:
        case: the protocol.

    Raises:
        ConformanceError: an input was found, or a message says too little for a mask to be in it.
    """
    run = case.undisturbed()
    for party, vector in enumerate(run.vectors):
        for what, looked_for in _encodings(run.plan, vector):
            for letter in run.letters:
                if looked_for in letter.payload:
                    raise ConformanceError(
                        f"in {letter.round!r}, the message from {letter.src!r} to {letter.dst!r} has the input of "
                        f"{party} in it, {what}."
                    )
    _check_masks(case)


def _encodings(plan: SumProtocol, vector: NDArray[np.uint64]) -> Iterator[tuple[str, bytes]]:
    """Parts of a vector as they would be written."""
    size = min(8 * -(-_KNOWN_BITS // (8 * plan.value_bits)), plan.dim // 8 * 8)
    for start in range(0, plan.dim - size + 1, 8):  # eight entries: packed bits begin with a byte
        part = vector[start : start + size]
        for width in (1, 2, 4, 8):
            if 8 * width >= plan.value_bits:
                for order in "<>":
                    yield f"as integers of {width} bytes", part.astype(f"{order}u{width}").tobytes()
        for bits in sorted({plan.value_bits, min(plan.modulus_bits, 64)}):
            rows = (part[:, None] >> np.arange(bits, dtype=np.uint64)) & np.uint64(1)
            yield f"packed to {bits} bits", np.packbits(rows.astype(np.uint8), bitorder="little").tobytes()
            yield f"packed to {bits} bits", np.packbits(rows[:, ::-1].astype(np.uint8)).tobytes()


def _check_masks(case: Case) -> None:
    """Zeros, sent by all in two sessions."""
    value_bits = case.plan().value_bits
    large = replace(case, dim=max(case.dim, -(-_SENT_BITS // value_bits)))
    plan = large.plan()
    zeros = np.zeros((plan.num_parties, plan.dim), dtype=np.uint64)
    least = plan.dim * value_bits // 8
    sent = []
    for seed in (case.seed, case.seed + 1):
        run = large.rehearsal(seed=seed, vectors=zeros)
        with Clean("a session in which everybody sends zeros"):
            run.complete()
        sent.append([_of_input(run, party) for party in range(plan.num_parties)])
    for party, message in enumerate(sent[0]):
        seen = {
            "what is sent for zeros": message,
            "what two parties send for zeros": _difference(message, sent[0][party - 1]),
            "what is sent for zeros in two sessions": _difference(message, sent[1][party]),
        }
        for what, content in seen.items():
            said = len(zlib.compress(content, 9))
            if said < least:
                raise ConformanceError(f"{what} differs in {said} bytes, compressed: less than {least}, the input's.")


def _of_input(run: Rehearsal, party: int) -> bytes:
    """All that a party sends in the round of the inputs."""
    return b"".join(letter.payload for letter in run.letters if (letter.round, letter.src) == (INPUT_ROUND, party))


def _difference(one: bytes, other: bytes) -> bytes:
    """Where two messages differ; all of both if they are not equally long."""
    if len(one) != len(other):
        return one + other
    return (np.frombuffer(one, dtype=np.uint8) ^ np.frombuffer(other, dtype=np.uint8)).tobytes()


@final
@dataclass(frozen=True, slots=True)
class Check:
    """One check of the kit.

    Args:
        name: what it is called.
        run: raises ConformanceError where a case fails it.
    """

    name: str
    run: Callable[[Case], None]


#: Every check of the kit.
CHECKS: tuple[Check, ...] = (
    Check("sums", check_sums),
    Check("order", check_order),
    Check("fuzz", check_fuzz),
    Check("bytes", check_bytes),
    Check("determinism", check_determinism),
    Check("secrecy", check_secrecy),
    Check("foreign", check_foreign),
    Check("restore", check_restore),
)


def failed_checks(case: Case, *, leave_out: Iterable[str] = ()) -> dict[str, str]:
    """The checks that a case fails, by name, each with what was found.

    Args:
        case: the protocol, at one size and over one transport.
        leave_out: names of checks that are not made.

    Returns:
        An empty dict if all hold.

    Raises:
        ParameterError: there is no such check.

    Example:
        >>> from secagg import PlainSum
        >>> sorted(failed_checks(Case(lambda n, dim: PlainSum.plan(n, dim, 16), num_parties=3)))
        ['foreign', 'secrecy']
    """
    left_out = frozenset(leave_out)
    unknown = left_out - {check.name for check in CHECKS}
    if unknown:
        raise ParameterError(f"leave_out must name checks, {', '.join(check.name for check in CHECKS)}, got {unknown}.")
    found = {}
    for check in CHECKS:
        try:
            if check.name not in left_out:
                check.run(case)
        except ConformanceError as failed:
            found[check.name] = str(failed)
    return found


def check_all(
    make: Callable[[int, int], SumProtocol],
    *,
    num_parties: int = 6,
    dim: int = 40,
    seed: int = 0,
    carry: Carrier = unchanged,
    leave_out: Iterable[str] = (),
) -> None:
    """Hold a protocol to every check.

    Guarantee:
        A protocol that breaks one of the rules is found (``test_a_planted_fault_is_found_by_its_check``).

    Args:
        make: see :class:`Case`, and so are the sizes, the seed and the transport.
        num_parties: see there.
        dim: see there.
        seed: see there.
        carry: see there.
        leave_out: names of checks that the protocol cannot meet, and says so. A homomorphic sum whose library draws its
            own randomness leaves out "determinism"; "nothing changed" then rests on the sums alone.

    Raises:
        ConformanceError: checks failed; its text names each and what was found.
        ParameterError: a size is out of its domain, or there is no such check.

    Example:
        >>> from secagg import SecAgg
        >>> terms = {"adversary": "semi_honest", "corrupt": 0.25, "dropout": 0.25}
        >>> check_all(lambda n, dim: SecAgg.plan(n, dim, 16, **terms), num_parties=4)
    """
    failed = failed_checks(Case(make, num_parties, dim, seed, carry), leave_out=leave_out)
    if failed:
        raise ConformanceError("; ".join(f"{name}: {what}" for name, what in failed.items()))
