"""Stopping and going on: rows go on as without a stop, no draw comes twice, and nothing else opens."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import Ledger
from accountants.participation import Participation
from dpkit.bounded import Bounded
from dpkit.correlated import BandedNoise, BufferedToeplitzNoise, TreeNoise
from dpkit.entropy import is_secure, seeded
from dpkit.errors import EntropyError, ExhaustedError, ParameterError, StateError

STEPS, KEY = 12, bytes(range(32))
KINDS = {
    "tree": (TreeNoise, {}),
    "banded": (BandedNoise, {"bands": 4}),
    "buffered": (BufferedToeplitzNoise, {"output_scale": [0.25, 0.125], "buf_decay": [0.875, 0.5]}),
}
EACH = pytest.mark.parametrize("kind", KINDS)


class Tape:
    """The bytes of a seed from a source that says it is secure: they may be followed over a stop."""

    secure = True

    def __init__(self, seed):
        self.source = seeded(seed)

    def bytes(self, n):
        return self.source.bytes(n)


def _make(kind, entropy=None, **changed):
    made, chosen = KINDS[kind]
    common = {"like": np.zeros(2), "noise_multiplier": 1.0, "bound": 1.0, "steps": STEPS}
    return made(entropy=entropy, **(common | chosen | changed))


def _rows(stream, count):
    return [stream.next().tolist() for _ in range(count)]


@EACH
@given(st.integers(0, 2**64), st.integers(0, STEPS), st.integers(0, STEPS))
def test_rows_go_on_as_without_a_stop(kind, seed, first, second):
    """On one tape of draws, with two stops anywhere: the rows and what is kept are those of a run with none."""
    first, second = sorted((first, second))
    alone, tape = _make(kind, Tape(seed)), Tape(seed)
    stream, rows, stops = _make(kind, tape), [], (first, second)
    for stop in stops:
        rows += _rows(stream, stop - len(rows))
        snapshot, stream = stream.snapshot(KEY), _make(kind, tape)
        stream.restore(snapshot, KEY)
        assert stream.remaining == STEPS - stop
    assert stream.secure
    rows += _rows(stream, STEPS - second)
    assert rows == _rows(alone, STEPS)
    assert [row.tolist() for row in stream._state.kept] == [row.tolist() for row in alone._state.kept]
    with pytest.raises(ExhaustedError):
        stream.next()


@EACH
def test_a_snapshot_changes_nothing(kind):
    one, two = _make(kind, seeded(1)), _make(kind, seeded(1))
    for _ in range(STEPS):
        state = one._state
        one.snapshot(KEY)
        assert one._state is state
        assert _rows(one, 1) == _rows(two, 1)


@EACH
@pytest.mark.parametrize("entropy", [None, 7], ids=["system", "seeded"])
def test_no_draw_comes_twice(kind, entropy):
    """Four runs from one point, two of them of new streams: their next draws are all different, whatever the seed."""

    def source():
        return None if entropy is None else seeded(entropy)

    stream = _make(kind, source())
    start = _rows(stream, 5)
    snapshot = stream.snapshot(KEY)
    runs, continued = [start, _rows(stream, 5)], []
    for _ in range(2):
        later = _make(kind, source())
        later.restore(snapshot, KEY)
        assert is_secure(later._source)
        assert later.secure is (entropy is None)
        continued.append(later)
        runs.append(_rows(later, 5))
    assert continued[0]._source is not continued[1]._source
    # two rows are equal with a chance below (0.4 / 2**36)**2: given the past, each number has the law of a Z, whose
    # deviation is at least 2**36 steps
    rows = [tuple(row) for run in runs for row in run]
    assert len(set(rows)) == len(rows) == 20


@EACH
@pytest.mark.parametrize("saved", [None, 7])
@pytest.mark.parametrize("new", [None, 8])
def test_secure_is_what_all_rows_were(kind, saved, new):
    stream = _make(kind, None if saved is None else seeded(saved))
    stream.next()
    for _ in range(2):
        later = _make(kind, None if new is None else seeded(new))
        later.restore(stream.snapshot(KEY), KEY)
        assert later.secure is (saved is None and new is None)
        stream = later


OTHERS = [
    {"noise_multiplier": 1.0 + 2.0**-52},
    {"bound": 1.0 - 2.0**-53},
    {"steps": STEPS + 1},
    {"like": np.zeros(3)},
    {"like": np.zeros((2, 1))},
    {"like": {"w": np.zeros(2)}},
]
DICTS = [
    {"v": np.zeros(1), "b": np.zeros(1)},
    {"b": np.zeros(1), "w": np.zeros(1)},
    {"w": np.zeros(1), "b": np.zeros((1, 1))},
]


@EACH
def test_nothing_else_opens_and_nothing_changes(kind):
    """A stream of any other parameter, name, shape or order refuses, and so do other keys and bytes."""
    stream, named = _make(kind), _make(kind, like={"w": np.zeros(1), "b": np.zeros(1)})
    stream.next(), named.next()
    snapshot = stream.snapshot(KEY)
    tries = [(_make(kind, **changed), snapshot, KEY) for changed in OTHERS]
    tries += [(_make(kind, like=like), named.snapshot(KEY), KEY) for like in DICTS]
    tries += [(_make(other), snapshot, KEY) for other in KINDS if other != kind]
    tries += [(_make(kind), snapshot, bytes(32)), (_make(kind), snapshot[:-1], KEY), (_make(kind), b"", KEY)]
    for other, sealed, key in tries:
        before = other._state, other._source
        with pytest.raises(EntropyError, match="does not open"):
            other.restore(sealed, key)
        assert (other._state, other._source) == before
        assert other.remaining == other.steps
    named_again = _make(kind, like={"w": np.ones(1, np.float32), "b": np.ones(1)})
    named_again.restore(named.snapshot(KEY), KEY)
    assert named_again.remaining == STEPS - 1


def test_other_weights_do_not_open():
    common = {"like": np.zeros(2), "noise_multiplier": 1.0, "bound": 1.0, "steps": STEPS}
    bands = [BandedNoise(**common, coefficients=[1.0, weight]) for weight in (0.5, 0.5 + 2.0**-31)]
    chosen = [([0.5, 0.25], [0.5, 0.25]), ([0.5, 0.125], [0.5, 0.25]), ([0.5, 0.25], [0.5, 0.125])]
    buffers = [BufferedToeplitzNoise(**common, output_scale=scale, buf_decay=decay) for scale, decay in chosen]
    for first, *others in (bands, buffers):
        for other in others:
            with pytest.raises(EntropyError, match="does not open"):
                other.restore(first.snapshot(KEY), KEY)


@EACH
def test_fuzzed_bytes_leave_the_stream_as_it_was(kind):
    stream, later = _make(kind), _make(kind, seeded(3))
    stream.next()
    snapshot, before = stream.snapshot(KEY), (later._state, later._source)

    @given(st.data())
    def tries(data):
        place = data.draw(st.integers(0, len(snapshot) - 1))
        for changed in (
            snapshot[:place] + data.draw(st.binary(min_size=1, max_size=40)),
            data.draw(st.binary(max_size=80)) + snapshot[place:],
        ):
            if changed != snapshot:
                with pytest.raises(EntropyError, match="does not open"):
                    later.restore(changed, KEY)
            assert (later._state, later._source) == before

    tries()


@EACH
def test_a_snapshot_shows_nothing(kind):
    """No kept row is in it, and its length follows from public numbers."""
    stream, twin = _make(kind, like=np.zeros(50)), _make(kind, like=np.zeros(50))
    for _ in range(7):
        stream.next(), twin.next()
    snapshot, kept = stream.snapshot(KEY), stream._state.kept
    assert kept
    for row in kept:
        for start in range(0, 50, 2):
            assert row[start : start + 2].tobytes() not in snapshot
    assert len(snapshot) == 12 + 8 * (8 + 50 * len(kept)) + 16 == len(twin.snapshot(KEY))
    assert snapshot != stream.snapshot(KEY)


@EACH
def test_only_an_unused_stream_is_restored(kind):
    stream, allowed = _make(kind), Participation(steps=STEPS)
    snapshot = stream.snapshot(KEY)
    used, broken = _make(kind), _make(kind, Broken())
    used.next()
    with pytest.raises(OSError, match="broken"):
        broken.release(Bounded(np.zeros(2), 1.0), participation=allowed)
    restored = _make(kind)
    stream.next()
    restored.restore(stream.snapshot(KEY), KEY)
    for other in (used, broken, restored, stream):
        state = other._state
        with pytest.raises(StateError, match="into a stream that has drawn and recorded nothing"):
            other.restore(snapshot, KEY)
        assert other._state is state


class Broken:
    """A source that gives nothing."""

    secure = True

    def bytes(self, n):
        raise OSError("broken")


@EACH
@pytest.mark.parametrize("bad", [b"short", "text" * 8, None])
def test_keys_and_snapshots_are_checked(kind, bad):
    stream = _make(kind)
    with pytest.raises(ParameterError, match="key must be 32 bytes"):
        stream.snapshot(bad)
    with pytest.raises(ParameterError, match="key must be 32 bytes"):
        stream.restore(stream.snapshot(KEY), bad)
    with pytest.raises(ParameterError, match="snapshot must be bytes"):
        stream.restore(bytearray(stream.snapshot(KEY)), KEY)


@EACH
def test_an_event_is_not_recorded_again_after_a_stop(kind):
    ledger, allowed = Ledger(relation="zero_out", unit="example"), Participation(steps=STEPS, min_separation=4)
    query = Bounded(np.zeros(2), 1.0)
    stream = _make(kind)
    first = stream.release(query, participation=allowed, ledger=ledger)
    later = _make(kind)
    later.restore(stream.snapshot(KEY), KEY)
    with pytest.raises(StateError, match="participation must be that of the earlier releases"):
        later.release(query, participation=Participation(steps=STEPS), ledger=ledger)
    second = later.release(query, participation=allowed, ledger=ledger)
    assert len(ledger) == 1
    assert second.event == first.event == stream.event(allowed)
    other = Ledger(relation="zero_out", unit="example")
    with pytest.raises(StateError, match="ledger must be that of the earlier releases"):
        later.release(query, participation=allowed, ledger=other)


@EACH
def test_an_event_that_no_ledger_has_is_recorded_after_a_stop(kind):
    ledger, allowed = Ledger(relation="zero_out", unit="example"), Participation(steps=STEPS)
    query = Bounded(np.zeros(2), 1.0)
    stream, later = _make(kind), _make(kind)
    stream.release(query, participation=allowed)
    later.restore(stream.snapshot(KEY), KEY)
    for _ in range(3):
        later.release(query, participation=allowed, ledger=ledger)
        assert len(ledger) == 1


@EACH
def test_nothing_is_saved_or_restored_after_a_fork(kind, monkeypatch):
    """As if in another process; the real fork is in test_stream."""
    stream, later = _make(kind), _make(kind)
    snapshot, query = stream.snapshot(KEY), Bounded(np.zeros(2), 1.0)
    monkeypatch.setattr("dpkit.correlated._pass._process", lambda: (0, 0))
    for call in (
        stream.next,
        lambda: stream.snapshot(KEY),
        lambda: later.restore(snapshot, KEY),
        lambda: later.release(query, participation=Participation(steps=STEPS)),
        lambda: later.add(query),
    ):
        with pytest.raises(EntropyError, match="after a fork"):
            call()


def test_a_snapshot_beside_other_threads_is_of_one_moment():
    """As many rows are kept as the number that was drawn says."""
    stream = _make("tree", steps=400)
    thread = threading.Thread(target=lambda: [stream.next() for _ in range(400)])
    thread.start()
    while thread.is_alive():
        later = _make("tree", steps=400)
        later.restore(stream.snapshot(KEY), KEY)
        assert len(later._state.kept) == later._state.drawn.bit_count()
    thread.join()
    assert stream.remaining == 0
