"""Adversaries of simulated sums: what becomes of a sum, and of its secrets, when somebody owns the wire and the server.

An adversary is handed every message before it arrives and says what arrives instead: the message, another one, several,
or none. It speaks for the server, so it may write to any party whatever it likes. It holds no party's keys.
:func:`~secagg.simulation.simulate` goes on as a deployment would: who refuses a message is as it was before, who gets
none that it can use says nothing more, and the others go on. What was refused, and what the adversary could read, is in
the adversary's `report`.

============================  ====================================================================================
:class:`Tampering`            changes messages, cuts them, or gives them to somebody else
:class:`Replay`               sends messages again: of this session, or of an earlier one
:class:`EquivocatingServer`   tells some that a party dropped out, and others that it did not, to get both its secrets
:class:`GreedyUnmask`         asks everybody for both secrets of a party, one after the other
:class:`Sybil`                puts keys into the roster that are another party's, or its own
============================  ====================================================================================

They read an input only from plans that do not promise to withstand them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, final

from secagg._attacks import Impostor, SecondQuestion, SplitView, aliased
from secagg._overheard import Overheard, body_of, resealed
from secagg._scene import Adversary, Carry, Letter, Refusal, Report, Scene
from secagg.api import SumProtocol
from secagg.checks import check_integer
from secagg.errors import ParameterError
from secagg.masking.layout import Layout
from secagg.masking.plans import SecAgg, SecAggPlus
from secagg.plain import PlainSum

__all__ = [
    "Adversary",
    "Carry",
    "EquivocatingServer",
    "GreedyUnmask",
    "Letter",
    "Refusal",
    "Replay",
    "Report",
    "Scene",
    "Sybil",
    "Tampering",
]


@final
@dataclass(frozen=True, slots=True)
class Tampering:
    """Messages of one round are changed, cut, or given to somebody else.

    Guarantee:
        Nothing but the exact sum of some parties comes out, or a typed error (`resealed` aside); held by
        ``test_tampering_ends_in_the_exact_sum_or_a_typed_error``.

    Args:
        round: the round whose messages are meant.
        how: "flip" changes bit `place` of the message, "truncate" keeps its first `place` bytes, "redirect" gives it to
            the party `place` + 1 further on, or says that it came from there. All modulo what there is.
        place: see there.
        direction: "up", to the server, or "down", to a party.
        parties: whose messages; None for everybody's.
        resealed: whether a changed message gets the digest that fits it. For masked sums, and bits of their bodies
            ("flip") only. Their digests find accidents; a changed input is then another input, and a changed list
            another list: *the sum may be wrong*, which their promise leaves open.

    Raises:
        ParameterError: an argument is out of its domain.
    """

    round: str
    how: Literal["flip", "truncate", "redirect"] = "flip"
    place: int = 0
    direction: Literal["up", "down"] = "up"
    parties: Collection[int] | None = None
    resealed: bool = False
    report: Report = field(default_factory=Report, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_among("how", self.how, ("flip", "truncate", "redirect"))
        _check_among("direction", self.direction, ("up", "down"))
        object.__setattr__(self, "place", check_integer("place", self.place, at_least=0))
        object.__setattr__(self, "parties", _listed("parties", self.parties))
        if self.resealed and self.how != "flip":
            raise ParameterError(f"resealed goes with how='flip' only, got {self.how!r}.")

    def attack(self, scene: Scene) -> Carry:
        """Begin; the plan must have the round and the parties."""
        _check_among("round", self.round, scene.plan.rounds)
        parties = _check_parties(self.parties, scene.plan)
        if self.resealed:
            _layout(scene.plan, "resealed messages")

        def carry(letter: Letter) -> list[Letter]:
            party, up = (letter.src, True) if letter.dst == "server" else (letter.dst, False)
            chosen = self.parties is None or party in parties
            if letter.round != self.round or up is not (self.direction == "up") or not chosen:
                return [letter]
            return [self._changed(letter, scene.plan.num_parties)]

        return carry

    def _changed(self, letter: Letter, num_parties: int) -> Letter:
        """The message that arrives."""
        payload = letter.payload
        if self.how == "redirect":
            party = letter.src if letter.dst == "server" else letter.dst
            start = party if isinstance(party, int) else 0  # whoever opens the sum is no party
            other = (start + 1 + self.place % (num_parties - 1)) % num_parties
            return _between(letter, other)
        if self.how == "truncate":
            return Letter(letter.round, letter.src, letter.dst, payload[: self.place % max(len(payload), 1)])
        changed = bytearray(body_of(payload) if self.resealed else payload)
        if changed:
            bit = self.place % (8 * len(changed))
            changed[bit // 8] ^= 1 << bit % 8
        arrived = resealed(payload, bytes(changed)) if self.resealed else bytes(changed)
        return Letter(letter.round, letter.src, letter.dst, arrived)


@final
@dataclass(frozen=True, slots=True)
class Replay:
    """Messages are sent again: after each, all that went between the same two before, and itself back to its sender.

    With `earlier`, wherever a message is sent that of an earlier session comes first, and is taken if it can be.

    Guarantee:
        Nothing but the exact sum of some parties' inputs of *this* session comes out, or a typed error; held by
        ``test_replays_end_in_the_exact_sum_or_a_typed_error``.

    Args:
        earlier: None for messages of this session; "other_task" or "same_task" for those of an earlier one, too.
        rounds: in which earlier messages are used; None for all.
        parties: whose; None for everybody's.

    Raises:
        ParameterError: an argument is out of its domain.
    """

    earlier: Literal["other_task", "same_task"] | None = None
    rounds: Collection[str] | None = None
    parties: Collection[int] | None = None
    report: Report = field(default_factory=Report, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_among("earlier", self.earlier, (None, "other_task", "same_task"))
        for name in ("rounds", "parties"):
            object.__setattr__(self, name, _listed(name, getattr(self, name)))

    def attack(self, scene: Scene) -> Carry:
        """Begin; all sessions of a plain sum are one, and those of an encrypted one have keys of their own."""
        masked = isinstance(scene.plan, (SecAgg, SecAggPlus))
        if self.earlier is not None and isinstance(scene.plan, PlainSum):
            raise ParameterError("earlier must be None for PlainSum: all its sessions are one, and a replay is none.")
        if self.earlier == "same_task" and not masked:
            raise ParameterError(
                "earlier='same_task' needs a plan with tasks, SecAgg or SecAggPlus; keys are used once."
            )
        rounds = _check_rounds(self.rounds, scene.plan)
        parties = _check_parties(self.parties, scene.plan)
        old: dict[tuple[Any, ...], list[Letter]] = {}
        if self.earlier is not None:
            for letter in scene.earlier(same_task=self.earlier == "same_task"):
                party = letter.src if letter.dst == "server" else letter.dst
                if letter.round in rounds and (self.parties is None or party in parties):
                    old.setdefault((letter.round, letter.src, letter.dst), []).append(letter)
        return _Echo(old).carry


@final
class _Echo:
    """What went between each two so far."""

    def __init__(self, old: dict[tuple[Any, ...], list[Letter]]) -> None:
        self._old = old
        self._heard: dict[tuple[Any, Any], list[Letter]] = {}

    def carry(self, letter: Letter) -> list[Letter]:
        """What becomes of a message."""
        before = self._heard.setdefault((letter.src, letter.dst), [])
        before.append(letter)
        again = [Letter(letter.round, one.src, one.dst, one.payload) for one in before]
        mirrored = Letter(letter.round, letter.dst, letter.src, letter.payload)
        return [*self._old.get((letter.round, letter.src, letter.dst), ()), letter, *again, mirrored]


@final
@dataclass(frozen=True, slots=True)
class EquivocatingServer:
    """A split view: some of those who hold a victim's shares hear that it dropped out, the others that it did not.

    The first give shares of its mask key, the others of its self-mask seed. With `threshold` of each, its input is in
    the clear, and the sum comes out as if nothing had been. Where parties sign the list of survivors, each side is
    shown the signatures of its own list.

    Guarantee:
        It reads the victim's input where each half of the holders reaches the threshold, and nothing in plans against
        servers that lie; held by ``test_a_split_view_opens_an_input_at_the_semi_honest_threshold_only`` and
        ``test_no_split_opens_an_input_where_the_list_is_signed``.

    Args:
        victim: whose input is wanted.
        deniers: who hears that it dropped out; None for the later half of the holders.

    Raises:
        ParameterError: an argument is out of its domain.
    """

    victim: int
    deniers: Collection[int] | None = None
    report: Report = field(default_factory=Report, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_integer("victim", self.victim, at_least=0)
        object.__setattr__(self, "deniers", _listed("deniers", self.deniers))

    def attack(self, scene: Scene) -> Carry:
        """Begin; the plan must be a masked sum with these parties."""
        heard, victim = _overheard(scene.plan, "EquivocatingServer", self.victim)
        deniers = None if self.deniers is None else _check_parties(self.deniers, scene.plan)
        return SplitView(heard, victim, deniers, self.report.opened).carry


@final
@dataclass(frozen=True, slots=True)
class GreedyUnmask:
    """Everybody is asked for both secrets of a victim: the truth first, and then, that it dropped out.

    It is asked again after each of its answers, too.

    Guarantee:
        It reads nothing, and the sum comes out; held by ``test_asking_twice_gives_nothing``.

    Args:
        victim: whose input is wanted.

    Raises:
        ParameterError: an argument is out of its domain.
    """

    victim: int
    report: Report = field(default_factory=Report, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_integer("victim", self.victim, at_least=0)

    def attack(self, scene: Scene) -> Carry:
        """Begin; the plan must be a masked sum with these parties."""
        heard, victim = _overheard(scene.plan, "GreedyUnmask", self.victim)
        return SecondQuestion(heard, victim, self.report.opened).carry


@final
@dataclass(frozen=True, slots=True)
class Sybil:
    """Keys in the roster that are not whose they seem to be.

    A victim that believes them is kept from the others, for whom it drops out.

    Guarantee:
        Forged keys read the victim's input unless parties sign their keys, and nothing else does; held by
        ``test_forged_keys_open_an_input_unless_keys_are_signed`` and ``test_sybils_read_nothing``.

    Args:
        victim: who is told of them.
        kind: "forged": all others' keys are the server's own. Or one other party, the puppet, has keys that are:
            "copied", another party's under a second number; "aliased", the same in another encoding; "replayed", its
            own of an earlier task, with their signature. These the puppet also sends to the server.
        puppet: a party, which may have dropped out; None for the first that is not the victim.

    Raises:
        ParameterError: an argument is out of its domain.
    """

    victim: int
    kind: Literal["forged", "copied", "aliased", "replayed"] = "forged"
    puppet: int | None = None
    report: Report = field(default_factory=Report, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_integer("victim", self.victim, at_least=0)
        _check_among("kind", self.kind, ("forged", "copied", "aliased", "replayed"))
        if self.puppet is not None and check_integer("puppet", self.puppet, at_least=0) == self.victim:
            raise ParameterError("puppet must be another party than the victim.")

    def attack(self, scene: Scene) -> Carry:
        """Begin; the plan must be a masked sum with these parties."""
        heard, victim = _overheard(scene.plan, "Sybil", self.victim)
        chosen = int(victim == 0) if self.puppet is None else self.puppet
        puppet = check_integer("puppet", chosen, at_least=0, at_most=scene.plan.num_parties - 1)
        return Impostor(
            heard,
            victim,
            scene.entropy,
            puppet=puppet,
            disguise=self._disguise(scene, puppet),
            opened=self.report.opened,
        ).carry

    def _disguise(self, scene: Scene, puppet: int) -> Callable[[bytes], bytes] | None:
        """What the puppet advertises, from what another party does."""
        if self.kind == "forged":
            return None
        if self.kind == "replayed":
            old = next(letter for letter in scene.earlier(same_task=False) if letter.src == puppet)
            return lambda _: body_of(old.payload)
        return aliased if self.kind == "aliased" else bytes


def _between(letter: Letter, party: int) -> Letter:
    """The same bytes, to or from another party."""
    if letter.dst == "server":
        return Letter(letter.round, party, "server", letter.payload)
    return Letter(letter.round, "server", party, letter.payload)


def _check_among(name: str, value: object, known: Iterable[object]) -> None:
    """One of what there is."""
    known = tuple(known)
    if value not in known:
        raise ParameterError(f"{name} must be {', '.join(repr(one) for one in known)}, got {value!r}.")


def _listed(name: str, values: Any) -> tuple[Any, ...] | None:
    """A copy: what can be gone through once, or changes, would make another attack of the next run."""
    try:
        return None if values is None else tuple(values)
    except TypeError:
        raise ParameterError(f"{name} must be listed, or None, got {type(values).__name__}.") from None


def _check_parties(parties: Collection[int] | None, plan: SumProtocol) -> frozenset[int]:
    """Parties of the plan; all of them for None."""
    listed = range(plan.num_parties) if parties is None else parties
    return frozenset(check_integer("a party", one, at_least=0, at_most=plan.num_parties - 1) for one in listed)


def _check_rounds(rounds: Collection[str] | None, plan: SumProtocol) -> Collection[str]:
    """Rounds of the plan; all of them for None."""
    listed = plan.rounds if rounds is None else rounds
    for name in listed:
        _check_among("a round", name, plan.rounds)
    return listed


def _layout(plan: SumProtocol, what: str) -> Layout:
    """The numbers of a masked sum's messages."""
    if not isinstance(plan, (SecAgg, SecAggPlus)):
        raise ParameterError(f"{what} need a masked sum, SecAgg or SecAggPlus, got {type(plan).__name__}.")
    return plan._layout


def _overheard(plan: SumProtocol, who: str, victim: int) -> tuple[Overheard, int]:
    """What a server that lies hears, and the party it is after."""
    layout = _layout(plan, f"attacks of {who}")
    return Overheard(layout), check_integer("victim", victim, at_least=0, at_most=plan.num_parties - 1)
