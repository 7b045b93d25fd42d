"""Scenarios of training in several processes: what each process does, by whatever they are connected.

A scenario is a function of a :class:`~tests.oracles.worlds.World`. It returns what JSON can hold, in each process.
"""

from __future__ import annotations

import torch
from torch import distributed, nn

from accountants import Budget, Ledger
from dpkit.adaptive import AdaptiveClip
from dpkit.batches import PoissonBatches
from dpkit.clip import FlatClip
from dpkit.correlated import TreeNoise
from dpkit.entropy import seeded
from dpkit.groups import GroupClip
from dpkit.training import Privatizer
from dpkit.training.state import FORMAT
from tests.oracles.worlds import World

SCENARIOS = {}
# A checkpoint of another step than the others are in.
LATER = {"format": FORMAT, "steps": 3, "bound": None, "ledger": None, "sampling": None, "noise": ""}


def private_of(world, model, **changes):
    """A Privatizer of this process."""
    settings = {"clip": FlatClip(64.0), "noise_multiplier": 1.0, "expected_batch_size": 8, "entropy": seeded(4)}
    return Privatizer(model, process_group=world.group, **{**settings, **changes})


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def build(dtype=torch.float32):
    """A model whose gradients are small integers: their sums are exact in any order."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    for parameter in model.parameters():
        parameter.data = (torch.arange(parameter.numel()) % 3 - 1.0).view(parameter.shape)
    return model.to(dtype)


def records(count=13):
    return (torch.arange(count * 4) * 7 % 5 - 2.0).view(count, 4)


def losses(model, inputs):
    return (model(inputs) * torch.tensor([1.0, -2.0])).sum(1)


def gradients(model):
    return [None if p.grad is None else p.grad.flatten().tolist() for p in model.parameters()]


def attempt(act):
    """What came of it: the name and the message of an error, or None."""
    try:
        act()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - which one it is, the tests ask
        return [type(error).__name__, str(error)]
    return None


class Refusing:
    """A ledger that refuses the record of a number."""

    def __init__(self, number, error=RuntimeError):
        self.number, self.error, self.events = number, error, []

    def record(self, release):
        if len(self.events) == self.number:
            self.number = -1
            raise self.error("row 17 is Ada's")
        self.events.append(repr(release.event))


class Broken:
    """A source of randomness that fails once it is asked for noise."""

    secure = True

    def __init__(self, source):
        self.source, self.broken = source, True

    def bytes(self, count):
        if self.broken:
            self.broken = False
            raise OSError("no randomness")
        return self.source.bytes(count)


@scenario
def dyadic(world):
    """One release of exact sums, in two parts."""
    model = build()
    with private_of(world, model) as private:
        for rows in (range(8), range(8, 13)):
            private.backward(losses(model, records()[list(world.mine(rows))]))
        before = gradients(model)
        release = private.release()
        return {"before": before, "after": gradients(model), "event": repr(release.event), "secure": release.secure}


@scenario
def rounded(world):
    """One release of sums that round."""
    torch.manual_seed(1)
    model = build()
    inputs = torch.randn(13, 4, generator=torch.Generator().manual_seed(2))
    with private_of(world, model, clip=FlatClip(1.0), noise_multiplier=2.0**-12, expected_batch_size=1) as private:
        private.backward(losses(model, inputs[list(world.mine(range(13)))]))
        private.release()
    return gradients(model)


@scenario
def training(world):
    """Batches, an optimizer, a ledger: everything together."""
    model, ledger = build(), Ledger(relation="add_remove", unit="example")
    plan = PoissonBatches(13, 0.5, steps=5, entropy=seeded(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.125)
    drawn = []
    with private_of(world, model, clip=FlatClip(1.0), sampling=plan, ledger=ledger) as private:
        for rows in private:
            drawn.append(rows.tolist())
            private.backward(losses(model, records()[rows]), units=torch.as_tensor(rows))
            private.release()
            optimizer.step()
    weights = [p.detach().flatten().tolist() for p in model.parameters()]
    return {"drawn": drawn, "weights": weights, "ledger": ledger.to_json(), "remaining": plan.remaining}


@scenario
def noise(world):
    """Noise alone, of the system's source."""
    model = nn.Linear(100, 60, bias=False)
    with private_of(
        world, model, clip=FlatClip(2.5), noise_multiplier=1.2, expected_batch_size=16, entropy=None
    ) as private:
        private.backward(model(torch.zeros(3, 100)).sum(1))
        release = private.release()
    return {"gradient": gradients(model)[0], "stddev": private.noise_stddev, "secure": release.secure}


@scenario
def empty(world):
    """Rows in the last process only; then no rows at all; then a part that is empty but given."""
    model, ledger, seen = build(), Refusing(-1), []
    with private_of(world, model, ledger=ledger) as private:
        for rows in ([1, 2, 3] if world.last else None, None, [4] if world.last else []):
            if rows is not None:
                private.backward(losses(model, records()[rows]))
            private.release()
            seen.append(gradients(model))
    return {"seen": seen, "events": ledger.events}


@scenario
def budget(world):
    """A budget for two releases."""
    model, seen = build(), []
    ledger = Budget(epsilon=8.0, delta=1e-6, relation="add_remove", unit="example", method="gdp")
    plan = PoissonBatches(13, 1.0, steps=4)
    with private_of(world, model, sampling=plan, ledger=ledger) as private:
        iterator = iter(private)
        for rows in iterator:
            private.backward(losses(model, records()[rows]))
            seen.append(attempt(private.release))
            if seen[-1] is not None:
                break
        seen += [gradients(model), attempt(private.release), attempt(lambda: next(iterator)), len(ledger)]
    return seen


@scenario
def account_elsewhere(world):
    """The ledger of the last process refuses once, after the first one's has recorded."""
    model, ledger = build(), Refusing(0 if world.last and world.size > 1 else -1)
    with private_of(world, model, ledger=ledger) as private:
        private.backward(losses(model, records()[list(world.mine(range(13)))]))
        error = attempt(private.release)
        kept = gradients(model)
        private.release()
    return {"error": error, "kept": kept, "next": gradients(model), "events": ledger.events}


@scenario
def units(world):
    """A unit in all processes; units in some of them; then units as they should be."""
    model, ledger, seen = build(), Refusing(-1), []
    for case in ("shared", "some", "apart"):
        with private_of(world, model, ledger=ledger) as private:
            unit = torch.tensor([7, 7 if case == "shared" else 8]) + (0 if case == "shared" else 2 * world.rank)
            private.backward(losses(model, records()[:2]), units=None if case == "some" and world.last else unit)
            seen.append([attempt(private.release), gradients(model), len(ledger.events)])
    return seen


@scenario
def differences(world):
    """What must be the same in all processes, and is another in the last one."""
    seen = {}
    for case in ("frozen", "shape", "clip", "groups", "size", "noise", "step"):
        model, ledger, odd = build(), Refusing(-1), world.last and world.size > 1
        if case == "shape" and odd:
            model[1] = nn.Linear(3, 1)
        model[1].bias.requires_grad_(not (case == "frozen" and odd))
        changes = {
            "clip": {"clip": FlatClip(128.0 if odd else 64.0)},
            "groups": {"clip": GroupClip({n: 2.0 if odd else 1.0 for n, _ in model.named_parameters()})},
            "size": {"expected_batch_size": 9 if odd else 8},
            "noise": {"noise_multiplier": 2.0 if odd else 1.0},
        }.get(case, {})
        with private_of(world, model, ledger=None if case == "step" else ledger, **changes) as private:
            if case == "step" and odd:
                private.load_state_dict(LATER)
            seen[case] = [attempt(private.release), gradients(model), len(ledger.events)]
    return seen


@scenario
def grouped(world):
    """A clip with a bound for each parameter travels too."""
    model = build()
    clip = GroupClip({name: 32.0 for name, _ in model.named_parameters()})
    with private_of(world, model, clip=clip) as private:
        private.backward(losses(model, records()[list(world.mine(range(13)))]))
        private.release()
    return gradients(model)


@scenario
def adaptive(world):
    """A bound that moves with each release."""
    model, clip = build(), AdaptiveClip(16.0, 0.5, expected_batch_size=8, count_noise_multiplier=4.0)
    seen = []
    with private_of(world, model, clip=clip) as private:
        for step in range(3):
            rows = [row for row in range(13) if row % 3 != step]
            private.backward(losses(model, torch.zeros(len(world.mine(rows)), 4)))
            private.release()
            seen.append([private.clip.bound, private.noise_stddev, gradients(model)])
    return seen


@scenario
def stream(world):
    """Correlated noise: each process has a stream, the first one's is used."""
    model, ledger = build(), Ledger(relation="add_remove", unit="example")
    like = dict(model.named_parameters())
    rows = TreeNoise(like, noise_multiplier=1.0, bound=64.0, steps=4, entropy=seeded(5 + world.rank))
    seen = []
    with private_of(world, model, noise=rows, noise_multiplier=None, entropy=None, ledger=ledger) as private:
        for start in (0, 5, 13):
            private.backward(losses(model, records()[list(world.mine(range(start, 13)))]))
            private.release()
            seen.append(gradients(model))
    return {"seen": seen, "ledger": ledger.to_json(), "remaining": rows.remaining}


@scenario
def stream_fails(world):
    """The randomness of a stream fails in the second step, whose draw is lost; the others go on."""
    model, source, seen = build(), Broken(seeded(5)), []
    rows = TreeNoise(dict(model.named_parameters()), noise_multiplier=1.0, bound=64.0, steps=4, entropy=source)
    plan = PoissonBatches(13, 1.0, steps=4)
    changes = {"noise": rows, "noise_multiplier": None, "entropy": None, "sampling": plan}
    with private_of(world, model, **changes) as private:
        for step, part in enumerate(private):
            source.broken = step == 1
            private.backward(losses(model, records()[part]))
            seen.append(attempt(private.release))
    return seen


@scenario
def checkpoint(world):
    """Two steps, a file, and two more in new Privatizers."""
    file, total = world.folder / f"checkpoint-{world.size}.pt", []

    def make():
        ledger = Ledger(relation="add_remove", unit="example")
        plan = PoissonBatches(13, 1.0, steps=4)
        return build(), ledger, plan

    for part in range(2):
        model, ledger, plan = make()
        with private_of(world, model, sampling=plan, ledger=ledger) as private:
            if part:
                world.wait()
                private.load_state_dict(torch.load(file))
            for rows in private:
                total += rows.tolist()
                private.backward(losses(model, records()[rows]))
                private.release()
                if len(ledger) and ledger.entries[-1].times == 2 and not part:
                    break
            if not part:
                refusal = attempt(private.state_dict)
            if not part and world.rank == 0:
                torch.save(private.state_dict(), file)
    return {"refusal": refusal, "rows": sorted(total), "times": ledger.entries[-1].times}


@scenario
def kept_away(world):
    """What keeps one process from a release is told to all: a closed Privatizer, another call, an odd schedule."""
    model, ledger, seen = build(), Refusing(-1), []
    odd = world.last and world.size > 1
    private = private_of(world, model, ledger=ledger)
    if odd:
        private.close()
    seen.append(attempt(private.release))
    private.close()
    with private_of(world, model, ledger=ledger, sampling=PoissonBatches(13, 1.0, steps=2)) as private:
        iterator = iter(private)
        next(iterator)
        seen.append(attempt((lambda: next(iterator)) if odd else private.release))
        seen.append(attempt(private.release))
    with private_of(world, model, ledger=ledger, noise_multiplier=lambda step: 0.0 if odd else 1.0) as private:
        seen.append(attempt(private.release))
    return {"seen": seen, "events": len(ledger.events)}


@scenario
def noise_fails(world):
    """The first one's randomness fails after the record: what was summed is not summed again."""
    model, ledger = build(), Refusing(-1)
    with private_of(world, model, ledger=ledger, entropy=Broken(seeded(4))) as private:
        private.backward(losses(model, records()[list(world.mine(range(13)))]))
        seen = [attempt(private.release), gradients(model), len(ledger.events)]
        private.backward(losses(model, records()[list(world.mine(range(5)))]))
        private.release()
    return [*seen, gradients(model), len(ledger.events)]


@scenario
def interrupted(world):
    """The first process is interrupted before its record; then a release without rows, here and in a new Privatizer."""
    model, ledger = build(), Refusing(-1 if world.rank else 0, KeyboardInterrupt)
    with private_of(world, model, ledger=ledger) as private:
        private.backward(losses(model, records()[list(world.mine(range(13)))]))
        seen = [attempt(private.release), gradients(model)]
        private.release()
    seen.append(gradients(model))
    with private_of(world, model) as private:
        private.release()
    return [*seen, gradients(model)]


@scenario
def layouts(world):
    """Half precision, and weights that lie otherwise in memory in some processes."""
    seen = []
    for kind in ("bfloat16", "channels_last"):
        model = nn.Sequential(nn.Conv2d(2, 2, 2, bias=False), nn.Flatten(), nn.Linear(2, 1, bias=False))
        for parameter in model.parameters():
            parameter.data = (torch.arange(parameter.numel()) % 3 - 1.0).view(parameter.shape)
        if kind == "bfloat16":
            model = model.bfloat16()
        elif world.last:
            model = model.to(memory_format=torch.channels_last)
        inputs = (torch.arange(7 * 8) % 3 - 1.0).view(7, 2, 2, 2).to(next(model.parameters()).dtype)
        with private_of(world, model) as private:
            if not world.last or world.size == 1:
                rows = list(range(7)[world.rank :: max(world.size - 1, 1)])
                private.backward(model(inputs[rows]).sum(1))
            private.release()
        seen.append([[str(p.grad.dtype) for p in model.parameters()], gradients(model)])
    return seen


@scenario
def subgroup(world):
    """Every second process trains; the others are in no group of it."""
    chosen = list(range(world.size))[1::2]
    group = distributed.new_group(chosen)
    if world.rank not in chosen:
        return attempt(lambda: Privatizer(build(), clip=FlatClip(1.0), noise_multiplier=1.0, expected_batch_size=8,
                                          process_group=group))  # fmt: skip
    return dyadic(World(chosen.index(world.rank), len(chosen), group, world.folder))


@scenario
def by_itself(world):
    """Every process trains with all rows, in a group of its own."""
    group = distributed.new_group([world.rank], use_local_synchronization=True)
    return dyadic(World(0, 1, group, world.folder))


@scenario
def data_parallel(world):
    """A model that is also held by DistributedDataParallel, whose reducer has nothing to do."""
    wrapped = nn.parallel.DistributedDataParallel(build())
    seen = []
    with private_of(world, wrapped.module) as private:
        for _ in range(2):
            private.backward(losses(wrapped, records()[list(world.mine(range(13)))]))
            private.release()
            seen.append(gradients(wrapped.module))
    forgotten = attempt(lambda: Privatizer(build(), clip=FlatClip(1.0), noise_multiplier=1.0, expected_batch_size=8))
    return {"seen": seen, "forgotten": forgotten}
