"""Loading: every record of a draw once, in its own step, and no draw before the one before it is done."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from accountants import Ledger
from dpkit.batches import PoissonBatches
from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.continuous import GaussianMechanism
from dpkit.entropy import seeded
from dpkit.errors import ParameterError, StateError
from dpkit.training import Loader, Privatizer

# A machine with one core is warned of two workers, and a process with threads of a fork.
WORKERS = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create 2 worker processes", "ignore:.*multi-threaded.*fork.*:DeprecationWarning"
)
DRAWS = [np.array([1, 4, 7, 8, 9]), np.array([], dtype=np.int64), np.array([0, 2, 3]), np.array([5])]
NUMBERS = torch.arange(10) * 10


class ByList(Dataset):
    """Records only by lists of indices, and the process that loaded them."""

    def __len__(self):
        return len(NUMBERS)

    def __getitems__(self, rows):
        return [(int(NUMBERS[row]), os.getpid()) for row in rows]


def counted(draws):
    """The draws one by one, and a list that grows with each that is made."""
    made = []

    def go():
        for draw in draws:
            made.append(draw)
            yield draw

    return go(), made


@given(st.lists(st.sets(st.integers(0, 9)), max_size=4), st.sampled_from([None, 1, 2, 3, 10, 11]))
def test_every_draw_is_loaded_once_and_in_order(draws, most):
    rows = [np.array(sorted(draw), dtype=np.int64) for draw in draws]
    loaded = [[part.tolist() for part in parts] for parts in Loader(rows, NUMBERS, micro_batch=most)]
    assert [[number for part in parts for number in part] for parts in loaded] == [(10 * r).tolist() for r in rows]
    for parts in loaded:
        assert all(0 < len(part) <= (most or 10) for part in parts)
        assert all(len(part) == most for part in parts[:-1])


def test_a_draw_without_records_is_a_step_without_parts():
    """Nothing is collated, and nothing is asked of the dataset."""

    class Empty(Dataset):
        def __getitem__(self, row):
            raise AssertionError

    loader = Loader([DRAWS[1]] * 3, Empty(), collate_fn=lambda _: pytest.fail("collated"))
    assert [list(parts) for parts in loader] == [[], [], []]


@pytest.mark.parametrize(
    "dataset",
    [
        NUMBERS,
        NUMBERS.numpy(),
        list(range(0, 100, 10)),
        TensorDataset(NUMBERS),
        Subset(TensorDataset(NUMBERS), range(10)),
    ],
    ids=["tensor", "array", "list", "TensorDataset", "Subset"],
)
def test_datasets_of_all_kinds(dataset):
    loaded = [
        torch.cat([torch.as_tensor(p[0] if isinstance(p, list) else p) for p in parts])
        for parts in Loader(DRAWS[::2], dataset, micro_batch=2)
    ]
    assert [part.tolist() for part in loaded] == [[10, 40, 70, 80, 90], [0, 20, 30]]


def test_records_by_lists_and_a_collation_of_ones_own():
    loader = Loader(DRAWS, ByList(), micro_batch=3, collate_fn=lambda records: [number for number, _ in records])
    assert [list(parts) for parts in loader] == [[[10, 40, 70], [80, 90]], [], [[0, 20, 30]], [[50]]]


@WORKERS
@pytest.mark.parametrize("workers", [0, 2])
def test_no_draw_is_made_ahead(workers):
    """Workers load within a step; they are the same in all steps, and draw nothing."""
    rows, made = counted(DRAWS * 2)
    loader, processes = Loader(rows, ByList(), micro_batch=1, num_workers=workers, collate_fn=list), []
    for step, parts in enumerate(loader, start=1):
        assert len(made) == step
        loaded = [record for part in parts for record in part]
        assert [number for number, _ in loaded] == (10 * made[-1]).tolist()
        processes.append({process for _, process in loaded})
        assert len(made) == step
    assert len(made) == 8
    everyone = set().union(*processes)
    assert (os.getpid() in everyone, len(everyone)) == ((False, 2) if workers else (True, 1))


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_an_inner_loop_that_was_left_is_noticed(taken):
    """In the next step, in the last one too; going on with the same parts is the way out, or a new loader."""
    rows, made = counted([DRAWS[0], DRAWS[2]])
    loader = Loader(rows, NUMBERS, micro_batch=2)
    step = iter(loader)
    parts = next(step)
    for _ in range(taken):
        next(parts)
    assert len(parts) == 3 - taken
    for again in (step, iter(loader)):
        with pytest.raises(StateError, match=f"the latest draw has {3 - taken} micro-batches that were not loaded"):
            next(again)
    assert len(made) == 1
    assert len(list(parts)) == 3 - taken
    last = next(iter(loader))
    assert [part.tolist() for part in last] == [[0, 20], [30]]
    loader = Loader([DRAWS[0]], NUMBERS, micro_batch=2)
    with pytest.raises(StateError, match="3 micro-batches"):
        for _ in loader:
            pass


@WORKERS
@pytest.mark.parametrize("workers", [0, 2])
def test_after_an_error_the_same_part_is_loaded(workers, tmp_path):
    """A dataset that fails once loses no record: neither the part that failed, nor one that was loaded ahead."""

    class Once(Dataset):
        def __getitem__(self, row):
            if row == 7 and not (tmp_path / "failed").exists():
                (tmp_path / "failed").touch()
                raise OSError
            return row

    parts = next(iter(Loader(DRAWS, Once(), micro_batch=2, num_workers=workers)))
    assert next(parts).tolist() == [1, 4]
    with pytest.raises(OSError):
        next(parts)
    assert [part.tolist() for part in parts] == [[7, 8], [9]]


def test_parts_of_an_older_step_are_over():
    step = iter(Loader(DRAWS, NUMBERS))
    first = next(step)
    assert len(list(first)) == 1
    next(step)
    third = next(step)
    assert list(first) == []
    assert len(third) == 1


def trained(train, micro_batch):
    """A model after six private steps of `train(private, plan, dataset, micro_batch)`, and what was recorded."""
    dataset = TensorDataset(torch.linspace(-1.0, 1.0, 60).reshape(20, 3), torch.arange(20) % 2)
    model = torch.nn.Linear(3, 2)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    plan, ledger = PoissonBatches(20, 0.3, 6, seeded(2)), Ledger(relation="add_remove")

    def backward(inputs, targets):
        private.backward(torch.nn.functional.cross_entropy(model(inputs), targets, reduction="none"))

    with Privatizer(
        model,
        clip=FlatClip(1.0),
        noise_multiplier=1.0,
        expected_batch_size=6,
        sampling=plan,
        ledger=ledger,
        entropy=seeded(3),
    ) as private:
        for _ in train(private, dataset, micro_batch, backward):
            private.release()
            optimizer.step()
    assert len(ledger) == 6
    return model.weight.detach(), ledger.entries


def by_hand(private, dataset, micro_batch, backward):
    inputs, targets = dataset.tensors
    for rows in private:
        for part in torch.from_numpy(rows).split(micro_batch):
            if len(part):
                backward(inputs[part], targets[part])
        yield


def by_loader(private, dataset, micro_batch, backward):
    for parts in Loader(private, dataset, micro_batch=micro_batch):
        for inputs, targets in parts:
            backward(inputs, targets)
        yield


def by_torch(private, dataset, micro_batch, backward):
    for inputs, targets in DataLoader(dataset, batch_sampler=private):
        backward(inputs, targets)
        yield


@pytest.mark.parametrize(("loop", "micro_batch"), [(by_loader, 4), (by_loader, 100), (by_torch, 100)])
def test_training_by_a_loader_is_training_by_hand(loop, micro_batch):
    """The same batches in the same parts, one event a step."""
    (weight, entries), (other, others) = trained(by_hand, micro_batch), trained(loop, micro_batch)
    assert torch.equal(weight, other)
    assert entries == others


def test_a_step_that_is_not_released_is_the_last():
    def forgetful(private, dataset, micro_batch, backward):
        loader = iter(Loader(private, dataset, micro_batch=micro_batch))
        for _ in range(2):
            list(next(loader))
        yield

    with pytest.raises(StateError, match="previous draw was not released"):
        trained(forgetful, 4)


def test_torch_goes_through_a_plan_as_its_batch_sampler():
    """In this process, as docs/sampling.md says: each draw is released before the next is made."""
    plan, again = (PoissonBatches(10, 0.9, 5, seeded(1)) for _ in range(2))
    for step, part in enumerate(DataLoader(NUMBERS, batch_sampler=plan), start=1):
        assert (plan.remaining, plan.open) == (5 - step, True)
        assert part.tolist() == (10 * again.draw()).tolist()
        GaussianMechanism(3.0).release(Bounded(np.zeros(1), 1.0), sampling=plan)
    assert step == 5


@WORKERS
def test_workers_of_torch_draw_ahead_and_the_last_batches_are_refused():
    """Two workers ask for two batches each before the first one comes: at the end no draw is open for the last four."""
    plan = PoissonBatches(10, 0.9, 7, seeded(1))
    released, loader = [], iter(DataLoader(NUMBERS, batch_sampler=plan, num_workers=2, prefetch_factor=2))
    assert plan.remaining == 3
    for _ in loader:
        try:
            released.append(GaussianMechanism(3.0).release(Bounded(np.zeros(1), 1.0), sampling=plan))
        except StateError:
            assert plan.remaining == 0
    assert len(released) == 3


@WORKERS
def test_a_privatizer_is_not_drawn_ahead():
    """The second draw comes before the first release, and is refused before anything is loaded."""
    model = torch.nn.Linear(1, 1)
    with (
        Privatizer(
            model,
            clip=FlatClip(1.0),
            noise_multiplier=1.0,
            expected_batch_size=5,
            sampling=PoissonBatches(10, 0.9, 5),
        ) as private,
        pytest.raises(StateError, match="previous draw was not released"),
    ):
        iter(DataLoader(NUMBERS, batch_sampler=private, num_workers=2))


def test_torch_collates_no_empty_batch():
    """What the page says of torch's own loader: a draw without records is an error there."""
    with pytest.raises(IndexError):
        list(DataLoader(NUMBERS, batch_sampler=[[]]))


def test_the_loader_draws_from_the_generator_that_it_is_given():
    """Options come to torch's loader, which takes a number from a generator in each step."""
    generator, before = torch.Generator(), torch.get_rng_state()
    own = generator.get_state()
    for parts in Loader(DRAWS, NUMBERS, generator=generator):
        list(parts)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(generator.get_state(), own)


@pytest.mark.parametrize(
    "name", ["batch_size", "shuffle", "sampler", "batch_sampler", "drop_last", "persistent_workers", "in_order", "size"]
)
def test_options_that_say_what_the_draws_say(name):
    with pytest.raises(ParameterError, match=f"got {name}; which records come"):
        Loader(DRAWS, NUMBERS, **{name: True})


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3"])
def test_bad_counts(value):
    with pytest.raises(ParameterError, match="micro_batch must be an integer >= 1"):
        Loader(DRAWS, NUMBERS, micro_batch=value)
    with pytest.raises(ParameterError, match="num_workers must be an integer >= 0"):
        Loader(DRAWS, NUMBERS, num_workers=value or -1)


def test_what_has_no_record_of_a_number_is_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(NUMBERS)

    with pytest.raises(ParameterError, match="got an IterableDataset"):
        Loader(DRAWS, Stream())
    with pytest.raises(ParameterError, match=r"dataset must have dataset\[i\], got generator"):
        Loader(DRAWS, (number for number in NUMBERS))
    with pytest.raises(ParameterError, match="rows must be iterable, got int"):
        Loader(3, NUMBERS)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("count", [9, 11])
def test_a_plan_of_other_records_is_refused(count, private):
    rows = PoissonBatches(10, 0.5, 3)
    if private:
        rows = Privatizer(
            torch.nn.Linear(1, 1), clip=FlatClip(1.0), noise_multiplier=1.0, expected_batch_size=5, sampling=rows
        )
    with pytest.raises(ParameterError, match="dataset must hold the 10 records of the plan"):
        Loader(rows, NUMBERS.new_zeros(count))
    assert len(Loader(rows, NUMBERS)) == 3


@pytest.mark.parametrize("rows", [np.array([0.0]), np.array([[1]]), 3, np.array([True])])
def test_rows_are_integers(rows):
    with pytest.raises(ParameterError, match=r"rows must give integer arrays of shape \(b,\)"):
        next(iter(Loader([rows], NUMBERS)))
