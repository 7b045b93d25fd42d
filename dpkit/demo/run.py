"""The rounds: sample, clip, share the noise, sum what nobody can look into, step, account."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
import torch

import secagg
from accountants import Ledger, PoissonSampled, Relation, Statement, calibrate
from dpkit import entropy
from dpkit._text import rounded_up
from dpkit.batches import PoissonBatches
from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.demo.data import Digits, load_digits, shards
from dpkit.demo.model import Party, accuracy, apply_mean, build_model, parameter_count
from dpkit.demo.progress import Progress
from dpkit.discrete import DiscreteGaussianMechanism
from dpkit.errors import ParameterError
from dpkit.federated import MeanRelease, noise_shares, share_step

__all__ = ["PROTOCOLS", "Outcome", "Point", "Settings", "run"]

VALUE_BITS = 16
EVALUATIONS = 20

PROTOCOLS: dict[str, Callable[[int, int], secagg.SumProtocol]] = {
    "bfv": lambda parties, dim: secagg.BFVSum.plan(parties, dim, VALUE_BITS, key="shared"),
    "plain": lambda parties, dim: secagg.PlainSum.plan(parties, dim, VALUE_BITS),
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run may be told.

    Args:
        parties: how many hold data, always present, at least 3.
        rounds: noisy sums to release.
        protocol: "bfv" (homomorphic encryption) or "plain" (in the clear).
        compare: feed the same shares through both protocols and check the totals.
        epsilon: the budget of the whole run; the noise is calibrated to it.
        delta: its delta.
        sampling_prob: chance of each record to take part in a round.
        clip: l2 bound of one example's gradient.
        learning_rate: of the plain SGD optimizer.
        momentum: of the plain SGD optimizer.
        seed: None draws noise and batches from the system; a number makes the run repeatable, which the statement says.

    Raises:
        ParameterError: a setting is out of its domain.
    """

    parties: int = 10
    rounds: int = 160
    protocol: str = "bfv"
    compare: bool = False
    epsilon: float = 2.5
    delta: float = 1e-5
    sampling_prob: float = 0.05
    clip: float = 1.0
    learning_rate: float = 2.0
    momentum: float = 0.5
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ParameterError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {self.protocol!r}.")
        checks = {
            "parties must lie in [3, 1000]: of two, each could read the other's part off the sum": 3
            <= self.parties
            <= 1000,
            "rounds must be >= 1": self.rounds >= 1,
            "epsilon must be > 0 and finite": 0 < self.epsilon < float("inf"),
            "delta must lie in (0, 1)": 0 < self.delta < 1,
            "sampling-prob must lie in (0, 1]": 0 < self.sampling_prob <= 1,
            "clip must lie in [1e-6, 1e6]": 1e-6 <= self.clip <= 1e6,
            "learning-rate must lie in (0, 1e6]": 0 < self.learning_rate <= 1e6,
            "momentum must lie in [0, 1)": 0 <= self.momentum < 1,
        }
        for rule, holds in checks.items():
            if not holds:
                name = rule.split(" ", 1)[0]
                raise ParameterError(f"{rule}, got {getattr(self, name.replace('-', '_'))!r}.")


@final
@dataclass(frozen=True, slots=True)
class Point:
    """Where the run stood after a round."""

    round: int
    accuracy: float
    epsilon: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to.

    Args:
        settings: what it was told.
        data: the name of the data.
        noise_multiplier: calibrated to the budget.
        curve: test accuracy and epsilon over rounds.
        statement: the ledger's statement at the settings' delta.
        promise: what the sum protocol promises, against whom.
        ledger: the ledger as JSON.
        bytes_up: bytes sent by one party over all rounds.
        seconds: wall time of the rounds and of set-up.
        compared: whether every total was checked to be the same, bit for bit, under both protocols.
    """

    settings: Settings
    data: str
    noise_multiplier: float
    curve: Sequence[Point]
    statement: Statement
    promise: str
    ledger: str
    bytes_up: int
    seconds: float
    compared: bool

    def facts(self) -> dict[str, Any]:
        """Everything that is a number or a name, for JSON."""
        last = self.curve[-1]
        return {
            "settings": asdict(self.settings),
            "data": self.data,
            "noise_multiplier": self.noise_multiplier,
            "rounds": last.round,
            "test_accuracy": last.accuracy,
            "epsilon": last.epsilon,
            "bytes_up_per_party": self.bytes_up,
            "seconds": self.seconds,
            "compared": self.compared,
            "relation": str(self.statement.relation),
            "unit": self.statement.unit,
            "accountant": self.statement.accountant,
            "kind": "upper bound",
            "curve": [asdict(point) for point in self.curve],
        }


def run(settings: Settings, *, digits: Digits | None = None, progress: Progress | None = None) -> Outcome:
    """Train, and account for every sum that was opened.

    Args:
        settings: what to do.
        digits: data; None loads real MNIST, or the synthetic stand-in.
        progress: where to show the rounds; None shows nothing.

    Returns:
        Accuracy and epsilon over rounds, the statement, and the traffic.
    """
    start = time.perf_counter()
    data = load_digits() if digits is None else digits
    source = entropy.system() if settings.seed is None else entropy.seeded(settings.seed)
    parties = [
        Party(data.train_images[rows], data.train_labels[rows]) for rows in shards(data.train_labels, settings.parties)
    ]
    batches = [PoissonBatches(len(party), settings.sampling_prob, settings.rounds, entropy=source) for party in parties]
    model = build_model(seed=settings.seed or 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=settings.learning_rate, momentum=settings.momentum)
    plans = _plans(settings, parameter_count(model))
    mechanism = DiscreteGaussianMechanism(_calibrated(settings, plans[settings.protocol]))
    ledger = Ledger(relation=Relation.add_remove, unit="example")
    curve: list[Point] = []
    bytes_up = 0
    for done in range(1, settings.rounds + 1):
        sums = [
            party.clipped_gradients(model, batch.draw(), FlatClip(settings.clip))
            for party, batch in zip(parties, batches, strict=True)
        ]
        release = _noisy_mean(sums, settings, plans, mechanism, ledger, batches[0], len(data.train_labels), source)
        apply_mean(model, optimizer, release.value)
        bytes_up += int(release.bytes_up.max())
        if done % max(1, settings.rounds // EVALUATIONS) == 0 or done == settings.rounds:
            point = Point(
                done, accuracy(model, data.test_images, data.test_labels), ledger.epsilon(delta=settings.delta)
            )
            curve.append(point)
        if progress is not None:
            text = (
                f"accuracy {curve[-1].accuracy:.2%}  epsilon {rounded_up(curve[-1].epsilon, 4)}"
                if curve
                else "warming up"
            )
            progress.update(done, text)
    return Outcome(
        settings=settings,
        data=data.name,
        noise_multiplier=mechanism.noise_multiplier,
        curve=curve,
        statement=ledger.statement(delta=settings.delta),
        promise=plans[settings.protocol].promise,
        ledger=ledger.to_json(),
        bytes_up=bytes_up,
        seconds=time.perf_counter() - start,
        compared=settings.compare,
    )


def _plans(settings: Settings, dim: int) -> dict[str, secagg.SumProtocol]:
    """The plans that this run needs, by protocol name."""
    wanted = PROTOCOLS if settings.compare else [settings.protocol]
    return {name: PROTOCOLS[name](settings.parties, dim) for name in wanted}


def _calibrated(settings: Settings, plan: secagg.SumProtocol) -> float:
    """The least noise multiplier whose whole run stays within the budget."""
    query = Bounded(np.zeros(plan.dim), settings.clip)

    def build(noise_multiplier: float) -> Any:
        mechanism = DiscreteGaussianMechanism(noise_multiplier)
        step = share_step(mechanism, bound=settings.clip, plan=plan)
        share = mechanism.share(parties=plan.num_parties, min_honest=plan.min_honest).with_step(step)
        return PoissonSampled(share.event(query), settings.sampling_prob) * settings.rounds

    return calibrate(build, epsilon=settings.epsilon, delta=settings.delta, relation=Relation.add_remove)


def _noisy_mean(
    sums: Sequence[Bounded],
    settings: Settings,
    plans: dict[str, secagg.SumProtocol],
    mechanism: DiscreteGaussianMechanism,
    ledger: Ledger,
    sampling: PoissonBatches,
    num_records: int,
    source: entropy.Entropy,
) -> MeanRelease:
    """One release; with `compare`, through both protocols, of the same shares: totals that differ raise."""
    plan = plans[settings.protocol]
    shares = noise_shares(sums, clip=None, mechanism=mechanism, plan=plan, sampling=sampling, entropy=source)
    results = {name: secagg.simulate(each, shares.vectors) for name, each in plans.items()}
    totals = [result.total for result in results.values()]
    if any(not np.array_equal(totals[0], other) for other in totals[1:]):
        raise secagg.SecAggError("the protocols gave different totals of the same shares; nothing was released.")
    denominator = settings.sampling_prob * num_records
    return shares.release(results[settings.protocol], denominator=denominator, ledger=ledger)
