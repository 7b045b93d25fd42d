"""Cyclic batches: dice without bias, one batch of each epoch, and a participation that is kept."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import Ledger
from accountants.events import Gaussian
from accountants.participation import Participation
from dpkit.batches import CyclicBatches
from dpkit.batches.cyclic import dice
from dpkit.bounded import Bounded
from dpkit.continuous import GaussianMechanism
from dpkit.entropy import seeded
from dpkit.errors import ParameterError
from tests.oracles.batches import exact_law
from tests.oracles.noise import ExhaustedTapeError, Tape


def dice_law(num_records, sides, depth):
    """{(slots, words read): probability} of the shipped code with words of 8 bits, and the mass of longer tapes."""
    letters = [(bytes([i]), Fraction(256 // sides, 256)) for i in range(sides)]
    if 256 % sides:
        letters.append((b"\xff", Fraction(256 % sides, 256)))
    return exact_law(lambda source: dice(source, num_records, sides, 8), lambda place: letters, depth)


@pytest.mark.parametrize(("num_records", "sides"), [(1, 1), (1, 5), (2, 3), (3, 2), (3, 3), (4, 2), (2, 4)])
def test_every_tape_of_the_dice(num_records, sides):
    """All schedules have one and the same probability, after every number of words: independent and uniform."""
    law, left = dice_law(num_records, sides, num_records + 2)
    by_words = {}
    for (slots, words), weight in law.items():
        by_words.setdefault(words, {})[slots] = weight
    assert sum(law.values()) + left == 1
    assert min(by_words) == num_records
    assert left == 0 if 256 % sides == 0 else 0 < left < Fraction(1, 10_000)
    for schedules in by_words.values():
        assert set(schedules) == set(product(range(sides), repeat=num_records))
        assert len(set(schedules.values())) == 1


@pytest.mark.parametrize(("num_records", "sides"), [(1, 2), (2, 2), (3, 2), (2, 4), (3, 4)])
def test_a_record_moves_no_other(num_records, sides):
    """Wherever a record comes in, and whatever its slot is, the others have the law that they have without it."""
    without = {slots: weight for (slots, _), weight in dice_law(num_records, sides, 9)[0].items()}
    law, left = dice_law(num_records + 1, sides, 9)
    assert left == 0
    for place, own in product(range(num_records + 1), range(sides)):
        others = {
            slots[:place] + slots[place + 1 :]: sides * weight
            for (slots, _), weight in law.items()
            if slots[place] == own
        }
        assert others == without


@given(st.integers(1, 400), st.integers(1, 300), st.integers(1, 4), st.integers(0, 2**64))
def test_every_record_is_in_one_batch_of_each_epoch(num_records, batches_per_epoch, epochs, seed):
    plan = CyclicBatches(num_records, batches_per_epoch, epochs, seeded(seed))
    table = np.zeros((len(plan), num_records), dtype=np.int64)
    for row, batch in zip(table, plan, strict=True):
        assert batch.dtype == np.int64
        assert (np.diff(batch) > 0).all()
        row[batch] = 1
    assert (table.reshape(epochs, batches_per_epoch, num_records).sum(axis=1) == 1).all()
    allowed = plan.participation
    assert allowed == Participation(steps=len(plan), min_separation=batches_per_epoch, max_participations=epochs)
    for steps in map(np.flatnonzero, table.T):
        assert steps.size <= allowed.count
        assert (np.diff(steps) >= allowed.min_separation).all()


@pytest.mark.parametrize("batches_per_epoch", [1, 7, 256, 257, 2**16 + 1, 2**40])
def test_a_batch_is_a_slot_of_the_dice(batches_per_epoch):
    """Up to the last slot of each dtype, and however many slots are empty."""
    plan = CyclicBatches(3000, batches_per_epoch, 2, seeded(1))
    slots = dice(seeded(bytes.fromhex(plan.state_dict()["key"])), 3000, batches_per_epoch)
    seen = np.unique(slots)
    for slot in {0, 1 % batches_per_epoch, int(seen[0]), int(seen[-1]), batches_per_epoch - 1}:
        for epoch in range(2):
            start = CyclicBatches(3000, batches_per_epoch, 2)
            start.load_state_dict(plan.state_dict() | {"position": epoch * batches_per_epoch + slot})
            assert start.draw().tolist() == np.flatnonzero(slots == slot).tolist()


@pytest.mark.parametrize(("sides", "kind"), [(256, np.uint8), (257, np.uint16), (2**32, np.uint32), (2**62, np.uint64)])
def test_every_record_has_a_die_of_its_own(sides, kind):
    """Chunk after chunk: where no word is refused, the words of all in one piece say the same."""
    slots = dice(seeded(4), 150_000, sides)
    assert slots.dtype == kind
    if 2**64 % sides == 0:
        words = np.frombuffer(seeded(4).bytes(8 * 150_000), dtype="<u8")
        assert (slots == words % np.uint64(sides)).all()


def test_a_checkpoint_keeps_the_slots():
    """A restored plan has the batches of the first one, also if its own key was another."""
    first, second = CyclicBatches(100, 5, 3), CyclicBatches(100, 5, 3)
    drawn = [first.draw().tolist() for _ in range(7)]
    first.spend()
    second.load_state_dict(first.state_dict())
    rest = [batch.tolist() for batch in second]
    assert rest == [*drawn[2:5], *drawn[:5]]


def test_the_key_is_drawn_once_and_first():
    key = bytes(range(32))
    plan = CyclicBatches(10, 3, 2, Tape(key))
    assert plan.state_dict()["key"] == key.hex()
    assert len(list(plan)) == 6
    with pytest.raises(ExhaustedTapeError):
        CyclicBatches(10, 3, 2, Tape())


def test_no_amplification_is_claimed():
    plan, ledger = CyclicBatches(100, 4, 2), Ledger(relation="add_remove")
    for _ in plan:
        release = GaussianMechanism(5.0).release(Bounded(np.zeros(2), 1.0), sampling=plan, ledger=ledger)
        assert release.event == Gaussian(5.0)
    assert len(ledger) == 8


def test_slots_must_fit():
    assert CyclicBatches(10, 2**62, 1).steps == 2**62
    with pytest.raises(ParameterError, match=r"batches_per_epoch must be at most 2\*\*62"):
        CyclicBatches(10, 2**62 + 1, 1)
