"""What the checks of the kit have in common: the case, what must not be raised or must be, and which sums are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, final

import numpy as np

from secagg._rehearsal import Carrier, Opened, Rehearsal, made_up_vectors
from secagg.api import Address, SumProtocol, SumResult
from secagg.checks import check_integer
from secagg.errors import ConformanceError, ParameterError, SecAggError

__all__ = ["INPUT_ROUND", "Case", "Clean", "Refused", "check_result", "goes_on", "unchanged"]

INPUT_ROUND = "masked_input"
"""The round in which the inputs are sent, in every protocol."""


def unchanged(payload: bytes, src: Address, dst: Address) -> bytes:
    """The transport that is none."""
    return payload


@final
@dataclass(frozen=True, slots=True)
class Case:
    """A protocol at one size, over one transport.

    Args:
        make: ``make(num_parties, dim)`` plans the protocol; settings beside the size are the caller's.
        num_parties: parties, >= 3.
        dim: entries of a vector, >= 32: fewer could be found, or not, by chance.
        seed: what inputs, keys, drop-outs and disturbances follow from, >= 0.
        carry: the transport: ``carry(payload, src, dst)`` sends from where `src` is and returns the bytes that came out
            where `dst` is, each a party's number, ``"server"`` or ``"opener"``. By default, none.

    Raises:
        ParameterError: a size or the seed is out of its domain.
    """

    make: Callable[[int, int], SumProtocol]
    num_parties: int = 6
    dim: int = 40
    seed: int = 0
    carry: Carrier = unchanged

    def __post_init__(self) -> None:
        for name, least in (("num_parties", 3), ("dim", 32), ("seed", 0)):
            object.__setattr__(self, name, check_integer(name, getattr(self, name), at_least=least))
        for name in ("make", "carry"):
            if not callable(getattr(self, name)):
                raise ParameterError(f"{name} must be a function, got {type(getattr(self, name)).__name__}.")

    def plan(self) -> SumProtocol:
        """The plan; refused if it is of another size, or no round is the one that the inputs go in."""
        plan = self.make(self.num_parties, self.dim)
        if (plan.num_parties, plan.dim) != (self.num_parties, self.dim):
            raise ConformanceError(
                f"make({self.num_parties}, {self.dim}) plans for {plan.num_parties}, {plan.dim}: take both as given."
            )
        if INPUT_ROUND not in plan.rounds:
            raise ConformanceError(f"rounds must name the one of the inputs {INPUT_ROUND!r}, got {plan.rounds!r}.")
        return plan

    def rehearsal(self, *, seed: int | None = None, **changed: Any) -> Rehearsal:
        """A session that has not begun; other seeds give other keys and entropy, and the same inputs."""
        plan = self.plan()
        settings = {"vectors": made_up_vectors(plan, self.seed), "carry": self.carry, **changed}
        return Rehearsal(plan, seed=self.seed if seed is None else seed, **settings)

    def undisturbed(self, seed: int | None = None) -> Rehearsal:
        """A session that is over, in which everybody took part; its sum is right."""
        run = self.rehearsal(seed=seed)
        with Clean("a session in which everybody takes part"):
            check_result(run, run.complete(), frozenset(range(self.num_parties)), exactly=True)
        return run


@final
class Clean:
    """A block that raises nothing; what it raises is told as a ConformanceError."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Tell what was raised, and where."""
        if isinstance(error, ConformanceError):
            raise ConformanceError(f"{self._what}: {error}") from error
        if isinstance(error, Exception):
            raise ConformanceError(f"{self._what} raised {type(error).__name__}: {error}") from error


@final
class Refused:
    """A block that must raise one of these errors."""

    def __init__(self, what: str, *errors: type[SecAggError]) -> None:
        self._what, self._errors = what, errors

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        """Let what is wanted go by, and tell everything else."""
        wanted = " or ".join(wanted.__name__ for wanted in self._errors)
        if kind is None:
            raise ConformanceError(f"{self._what} must raise {wanted}, and went through.")
        if issubclass(kind, ConformanceError) or not issubclass(kind, Exception):
            return False
        if not issubclass(kind, self._errors):
            raise ConformanceError(f"{self._what} must raise {wanted}, and raised {kind.__name__}: {error}") from error
        return True


def check_result(run: Rehearsal, opened: list[Opened], there: frozenset[int], *, exactly: bool) -> None:
    """Every opened sum is that of the survivors it names: of all whose input was sent, or (not `exactly`) some."""
    if not opened:
        raise ConformanceError("the last round is closed, and nobody can open the sum.")
    named: set[tuple[int, ...]] = set()
    for sum_ in opened:
        result, who = sum_.result, sum_.who
        survivors = list(result.survivors)
        if survivors != sorted(set(survivors)) or not set(survivors) <= there:
            raise ConformanceError(f"{who!r} names the survivors {survivors}; the inputs of {sorted(there)} were sent.")
        if exactly and set(survivors) != there:
            raise ConformanceError(f"{who!r} names the survivors {survivors}, and not {sorted(there)}.")
        if len(survivors) < run.plan.min_survivors:
            raise ConformanceError(
                f"{who!r} opened a sum of {len(survivors)} inputs, {run.plan.min_survivors} planned."
            )
        _check_total(run, result, who)
        named.add(tuple(survivors))
    if len(named) > 1:
        raise ConformanceError(f"not all who opened the sum name the same survivors: {sorted(named)}.")


def _check_total(run: Rehearsal, result: SumResult, who: object) -> None:
    """The total is the survivors' sum, in the form that is promised."""
    total, plan = result.total, run.plan
    if not isinstance(total, np.ndarray) or total.dtype != np.uint64 or total.shape != (plan.dim,):
        raise ConformanceError(f"the total that {who!r} opened must be uint64 of shape ({plan.dim},).")
    wanted = run.vectors[result.survivors].sum(axis=0, dtype=np.uint64)
    if plan.wrap:
        wanted &= np.uint64((1 << plan.value_bits) - 1)
    if not np.array_equal(total, wanted):
        raise ConformanceError(f"the total that {who!r} opened is not the sum of its survivors {result.survivors}.")


def goes_on(case: Case, run: Rehearsal, rest: Callable[[], list[Opened]], what: str) -> None:
    """The rest of a session that was disturbed is what it would have been: all sums, and to the bit what is sent."""
    with Clean(f"a session with {what}"):
        check_result(run, rest(), frozenset(range(case.num_parties)), exactly=True)
    quiet, again = case.undisturbed().letters, case.undisturbed().letters
    if quiet == again and quiet != run.letters:  # where sessions draw what the kit does not give, letters tell nothing
        raise ConformanceError(f"{what} are refused, but the session goes on in another way than without.")
