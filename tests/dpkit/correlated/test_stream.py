"""What all streams do: noise that covers every rounding, one pass, no copies, one event."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import Ledger
from accountants.errors import InsecureReleaseError
from accountants.events import Gaussian
from accountants.participation import Participation
from dpkit.batches import PoissonBatches
from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.correlated import BandedNoise, BufferedToeplitzNoise, NoiseStream, TreeNoise
from dpkit.correlated.toeplitz import _drift
from dpkit.entropy import seeded
from dpkit.errors import BoundError, EntropyError, ExhaustedError, ParameterError, StateError, UnboundedError
from dpkit.mechanism import Release

KINDS = {
    "tree": (TreeNoise, {}, Fraction(0)),
    "banded": (BandedNoise, {"bands": 4}, Fraction(2)),
    "buffered": (
        BufferedToeplitzNoise,
        {"output_scale": [0.25, 0.125], "buf_decay": [0.875, 0.5]},
        _drift((1 << 29, 1 << 28), (7 << 28, 1 << 30), 16),
    ),
}
EACH = pytest.mark.parametrize("kind", KINDS)
ANY_STEP = Participation(steps=16)
NOISE = st.floats(1e-3, 1e3)
BOUNDS = st.floats(1e-6, 1e6)


def _make(kind, like=None, noise_multiplier=1.0, bound=1.0, steps=16, entropy=None):
    made, chosen, _ = KINDS[kind]
    like = np.zeros(3) if like is None else like
    return made(like, noise_multiplier=noise_multiplier, bound=bound, steps=steps, entropy=entropy, **chosen)


def _root(number):
    """A rational number >= the root, by less than 2**-30 of it."""
    return Fraction(int((number << 80) ** 0.5) + (1 << 20), 1 << 40)


@EACH
@given(NOISE, BOUNDS, st.integers(1, 10**12))
def test_noise_covers_lattice_and_roundings(kind, noise_multiplier, bound, dim):
    """drawn² - (4g)² >= (z (B + g sqrt(d) + δ g sqrt(n d)))², in exact arithmetic; a sensitivity is at least 1."""
    like = np.broadcast_to(0.0, (dim,))
    try:
        stream = _make(kind, like, noise_multiplier, bound)
    except ParameterError as error:
        assert "rounding would cost more than 1/16" in str(error)
        assert noise_multiplier * dim**0.5 > 2.0**26
        return
    g, drift = Fraction(stream.step), KINDS[kind][2]
    moved = Fraction(bound) + g * _root(dim) + drift * g * _root(16 * dim)
    assert Fraction(stream.stddev) ** 2 - (4 * g) ** 2 >= (Fraction(noise_multiplier) * moved) ** 2
    assert stream.stddev <= noise_multiplier * bound * (1 + 8e-6) * float(moved / Fraction(bound)) * (1 + 1e-9)
    assert g <= Fraction(noise_multiplier) * Fraction(bound) * (1 + Fraction(1, 2**52)) / 2**36 < 2 * g


@EACH
def test_many_numbers_cost_little(kind):
    """A million numbers and the event's noise: 1e-5 more is drawn."""
    stream = _make(kind, np.broadcast_to(0.0, (10**6,)))
    assert stream.stddev <= 1 + 9e-6


@EACH
@given(st.integers(0, 2**64), st.floats(0.1, 64), st.data())
def test_released_rows_are_query_and_noise_exactly(kind, seed, noise_multiplier, data):
    """Integers: the query's nearest lattice point plus the row that next() gives; the sum is rounded once."""
    numbers = st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3)
    noise, noisy = (_make(kind, noise_multiplier=noise_multiplier, entropy=seeded(seed)) for _ in range(2))
    for _ in range(5):
        query = np.array(data.draw(numbers))
        row, released = noise.next(), noisy.add(Bounded(query, 1.0))
        for x, n, y in zip(query, row, released, strict=True):
            grains = Fraction(n) / Fraction(noise.step)
            assert grains.denominator == 1
            assert y == float((round(Fraction(x) / Fraction(noise.step)) + grains) * Fraction(noise.step))


@EACH
@given(st.integers(0, 2**64), st.floats(0.01, 64), st.floats(1e-3, 1e3))
def test_clipped_sums_are_on_the_lattice(kind, seed, noise_multiplier, bound):
    """Float64 addition of the row that next() gives is then the same release."""
    noise, noisy = (_make(kind, noise_multiplier=noise_multiplier, bound=bound, entropy=seeded(seed)) for _ in range(2))
    records = np.random.default_rng(seed).normal(size=(4, 3)) * bound
    for _ in range(5):
        query = FlatClip(bound).sum(records)
        assert (noisy.add(query) == query.value + noise.next()).all()


@EACH
def test_huge_queries_saturate(kind):
    stream = _make(kind, entropy=seeded(1))
    released = stream.add(Bounded(np.array([1e300, -1e300, 0.0]), 1.0))
    reach = 2.0**62 * stream.step
    assert np.allclose(released, [reach, -reach, 0.0], atol=50)


@EACH
def test_rows_have_the_structure_that_was_given(kind):
    like = {"w": np.ones((2, 2), dtype=np.float32), "b": np.zeros(())}
    stream = _make(kind, like)
    for value, kind_of_w in ((stream.next(), np.float64), (stream.add(Bounded(like, 1.0)), np.float32)):
        assert list(value) == ["w", "b"]
        assert (value["w"].shape, value["b"].shape) == ((2, 2), ())
        assert (value["w"].dtype, value["b"].dtype) == (kind_of_w, np.float64)


@EACH
def test_noise_goes_by_name_and_not_by_order(kind):
    """Else the rows of one array would be taken back from another, and nothing would cancel."""
    like = {"w": np.zeros((2, 2)), "b": np.zeros(1)}
    straight, turned = (_make(kind, like, entropy=seeded(3)) for _ in range(2))
    for step in range(4):
        query = {"w": np.full((2, 2), 5.0 + step), "b": np.full(1, 7.0 - step)}
        first = straight.add(Bounded(query, 1.0))
        second = turned.add(Bounded(dict(reversed(query.items())) if step % 2 else query, 1.0))
        assert all((first[name] == second[name]).all() for name in like)


@EACH
def test_one_stream_is_one_pass(kind):
    stream = _make(kind, steps=4)
    assert stream.secure
    for left in (3, 2, 1, 0):
        stream.next()
        assert stream.remaining == left
    for call in (stream.next, lambda: stream.add(Bounded(np.zeros(3), 1.0))):
        with pytest.raises(ExhaustedError, match="all 4 rows"):
            call()


FORK = """
import os
import numpy as np
from dpkit.correlated import BandedNoise, BufferedToeplitzNoise, TreeNoise
chosen = dict(like=np.zeros(3), noise_multiplier=1.0, bound=1.0, steps=16)
streams = [TreeNoise(**chosen), BandedNoise(**chosen, bands=4), BufferedToeplitzNoise(**chosen, buffers=2)]
start, end = os.pipe()[::-1]
for stream in streams:
    stream.next()
if os.fork() == 0:
    verdicts = []
    for stream in streams:
        try:
            stream.next()
            verdicts.append("drew")
        except Exception as error:
            verdicts.append(type(error).__name__)
    os.write(start, " ".join(verdicts).encode())
    os._exit(0)
os.wait()
print(os.read(end, 1000).decode(), [stream.remaining for stream in streams], streams[0].next().shape)
"""


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickle.dumps])
@EACH
def test_no_copies(kind, make):
    with pytest.raises(EntropyError, match="may not be copied"):
        make(_make(kind))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_no_copies_no_forks():
    run = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.split(" [")[0] == "EntropyError EntropyError EntropyError", run.stderr
    assert run.stdout.endswith("[15, 15, 15] (3,)\n"), "the parent goes on"
    for kind in KINDS:
        test_no_copies(kind, copy.copy)


@EACH
def test_threads_share_a_stream_row_by_row(kind):
    """Every row is given once: as multisets, rows of four threads are those of one."""
    stream, rows = _make(kind, steps=200, entropy=seeded(3)), []
    threads = [threading.Thread(target=lambda: rows.extend(tuple(stream.next()) for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = _make(kind, steps=200, entropy=seeded(3))
    assert sorted(rows) == sorted(tuple(alone.next()) for _ in range(200))


class _Failing:
    """A source that fails at one call."""

    secure = True

    def __init__(self, at):
        self.source, self.calls, self.at = seeded(0), 0, at

    def bytes(self, n):
        self.calls += 1
        if self.calls == self.at:
            raise OSError
        return self.source.bytes(n)


@EACH
def test_a_failed_draw_leaves_the_stream_as_it_was(kind):
    for at in range(1, 12):
        stream, drawn, failed = _make(kind, steps=4, entropy=_Failing(at)), 0, False
        while stream.remaining:
            state = stream._state
            try:
                stream.next()
            except OSError:
                failed = True
                assert stream._state is state
            else:
                drawn += 1
        assert drawn == 4
        assert failed == (stream._source.calls >= at)


@EACH
def test_a_bound_that_float64_rounds_is_rounded_up(kind):
    stream = _make(kind, bound=Fraction(1, 3))
    assert Fraction(stream.bound) >= Fraction(1, 3)
    stream.add(Bounded(np.zeros(3), Fraction(1, 3)))


@EACH
def test_the_event_is_that_of_the_noise_that_was_typed(kind):
    stream, allowed = _make(kind, noise_multiplier=4.0), Participation(steps=16, min_separation=8)
    found = stream.sensitivity(allowed)
    event = stream.event(allowed)
    assert isinstance(event, Gaussian)
    assert found.value >= 1
    assert Fraction(event.noise_multiplier) * Fraction(found.value) <= 4
    assert event.noise_multiplier * found.value >= 4 * (1 - 1e-15)
    with pytest.raises(ParameterError, match="the stream's 16 steps, got 15"):
        stream.event(Participation(steps=15))
    with pytest.raises(ParameterError, match="participation must be a Participation, got int"):
        stream.sensitivity(16)


@EACH
def test_a_ledger_sees_whether_a_seed_was_used(kind):
    ledger = Ledger(relation="zero_out", unit="user", require_secure=True)
    allowed = Participation(steps=16)
    secure, open_ = _make(kind), _make(kind, entropy=seeded(1))
    ledger.record(Release(None, secure.event(allowed), secure.secure))
    with pytest.raises(InsecureReleaseError):
        ledger.record(Release(None, open_.event(allowed), open_.secure))


class _Book:
    """A ledger of sorts, which can refuse, and says when it is asked."""

    def __init__(self, *, full=False, log=None):
        self.full, self.entries, self.log = full, [], [] if log is None else log

    def record(self, what):
        if self.full:
            raise RuntimeError("budget")
        self.entries.append(what)
        self.log.append("record")


class _Plan:
    """A plan whose draws are counted, as those of dpkit.batches."""

    secure = True

    def __init__(self, log=None, **participation):
        self.open, self.log = True, [] if log is None else log
        if participation:
            self.participation = Participation(**participation)

    def sampled(self, event):
        raise AssertionError("nothing is gained from sampling")

    def spend(self):
        self.open = False
        self.log.append("spend")


class _Told:
    """A source that says when it is asked."""

    secure = True

    def __init__(self, log):
        self.log, self.source = log, seeded(0)

    def bytes(self, n):
        self.log.append("draw")
        return self.source.bytes(n)


@EACH
@given(st.integers(0, 2**64), st.lists(st.sampled_from(["add", "next", "release"]), max_size=6))
def test_one_event_for_all_steps(kind, seed, before):
    """One entry whatever calls the rows came by; the values are those of add; and the event is that of all steps."""
    stream, twin = (_make(kind, noise_multiplier=4.0, entropy=seeded(seed)) for _ in range(2))
    allowed, book = Participation(steps=16, min_separation=4), _Book()
    query = FlatClip(1.0).sum(np.random.default_rng(1).normal(size=(5, 3)))
    for call in before:
        if call == "next":
            assert (stream.next() == twin.next()).all()
        elif call == "add":
            assert (stream.add(query) == twin.add(query)).all()
        else:
            assert (stream.release(query, participation=allowed).value == twin.add(query)).all()
        assert book.entries == []
    for _ in range(3):
        release = stream.release(query, participation=allowed, ledger=book)
        assert (release.value == twin.add(query)).all()
        assert (release.event, release.secure) == (stream.event(allowed), False)
        (entry,) = book.entries
        assert (entry.value, entry.event, entry.secure) == (None, release.event, False)
    assert stream.remaining == 13 - len(before)


@EACH
def test_the_record_comes_before_the_draw_is_spent_and_the_noise_drawn(kind):
    log = []
    stream, plan, book = _make(kind, entropy=_Told(log)), _Plan(log), _Book(log=log)
    query = Bounded(np.zeros(3), 1.0)
    stream.release(query, participation=ANY_STEP, sampling=plan, ledger=book)
    assert log[:2] == ["record", "spend"]
    assert set(log[2:]) == {"draw"}
    log.clear()
    plan.open = True
    stream.release(query, participation=ANY_STEP, sampling=plan, ledger=book)
    assert log[0] == "spend"
    assert set(log[1:]) == {"draw"}


QUERY = Bounded(np.zeros(3), 1.0)
NOT_RELEASED = [
    ({"query": np.zeros(3)}, UnboundedError, "must be Bounded"),
    ({"query": Bounded(np.zeros(3), 1.5)}, BoundError, "query's bound must be <= 1.0"),
    ({"query": Bounded(np.zeros(3), 1.0, "linf")}, BoundError, "norm must be l2 or l1"),
    ({"query": Bounded(np.zeros(4), 1.0)}, BoundError, "must have the shapes"),
    ({"query": Bounded(np.array([0.0, np.inf, 0.0]), 1.0)}, ParameterError, "query must be finite"),
    ({"participation": None}, ParameterError, "participation must be a Participation, got NoneType"),
    ({"participation": Participation(steps=15)}, ParameterError, "the stream's 16 steps, got 15"),
    ({"sampling": 0.01}, ParameterError, "sampling must have a method"),
    ({"ledger": []}, ParameterError, "ledger must have a method record"),
    ({"ledger": _Book(full=True)}, RuntimeError, "budget"),
]


@EACH
@pytest.mark.parametrize(("changed", "error", "message"), NOT_RELEASED)
def test_what_is_refused_records_draws_and_spends_nothing(kind, changed, error, message):
    log = []
    stream, plan, book = _make(kind, entropy=_Told(log)), _Plan(log), _Book(log=log)
    given_ = {"query": QUERY, "participation": ANY_STEP, "sampling": plan, "ledger": book} | changed
    state = stream._state
    with pytest.raises(error, match=message):
        stream.release(given_.pop("query"), **given_)
    assert (log, plan.open) == ([], True)
    assert stream._state is state
    stream.release(QUERY, participation=Participation(steps=16, min_separation=2), ledger=book)
    assert len(book.entries) == 1, "what was refused fixed neither participation nor ledger"


@EACH
def test_later_calls_are_held_to_the_first(kind):
    """Another participation, another ledger, a spent draw, a step too many: refused, with nothing recorded or drawn."""
    log = []
    stream, plan, book = _make(kind, steps=4, entropy=_Told(log)), _Plan(log), _Book()
    allowed, wider = Participation(steps=4, min_separation=2), Participation(steps=4)
    for left in (3, 2, 1, 0):
        plan.open = True
        stream.release(QUERY, participation=allowed, sampling=plan, ledger=book)
        state = stream._state
        log.clear()
        refused = [({"sampling": plan}, "must have an open draw"), ({"participation": wider}, "participation must be")]
        refused.append(({"ledger": _Book()}, "ledger must be that of the earlier releases"))
        for changed, message in refused:
            error, message = (StateError, message) if left else (ExhaustedError, "all 4 rows")
            with pytest.raises(error, match=message):
                stream.release(QUERY, **({"participation": allowed, "ledger": book} | changed))
        assert (log, stream._state) == ([], state)
    assert len(book.entries) == 1


@EACH
def test_a_draw_that_fails_after_the_record_is_not_recorded_again(kind):
    """The entry stands and the batch is spent, which is the safe side; the step can be tried again."""
    stream, plan, book = _make(kind, entropy=_Failing(1)), _Plan(), _Book()
    with pytest.raises(OSError):
        stream.release(QUERY, participation=ANY_STEP, sampling=plan, ledger=book)
    assert (len(book.entries), plan.open, stream.remaining) == (1, False, 16)
    with pytest.raises(StateError, match="participation must be that of the earlier releases"):
        stream.release(QUERY, participation=Participation(steps=16, min_separation=2), ledger=book)
    stream.release(QUERY, participation=ANY_STEP, ledger=book)
    assert (len(book.entries), stream.remaining) == (1, 15)


@EACH
def test_sampled_batches_cost_the_whole_event(kind):
    """Each draw is for one release, and the event is not sampled."""
    batches, ledger = PoissonBatches(10, 0.1, steps=2), Ledger(relation="zero_out", unit="user")
    stream = _make(kind)
    for _ in range(2):
        batches.draw()
        release = stream.release(QUERY, participation=ANY_STEP, sampling=batches, ledger=ledger)
        assert not batches.open
        assert release.event == stream.event(ANY_STEP)
        with pytest.raises(StateError, match="open draw"):
            stream.release(QUERY, participation=ANY_STEP, sampling=batches, ledger=ledger)
    assert len(ledger) == 1


@EACH
def test_seeded_batches_are_not_secure(kind):
    """As in every release: said to the ledger, which may refuse."""
    ledger = Ledger(relation="zero_out", unit="user", require_secure=True)
    stream, book, batches = _make(kind), _Book(), PoissonBatches(10, 0.1, steps=2, entropy=seeded(1))
    batches.draw()
    with pytest.raises(InsecureReleaseError):
        stream.release(QUERY, participation=ANY_STEP, sampling=batches, ledger=ledger)
    assert batches.open
    assert not stream.release(QUERY, participation=ANY_STEP, sampling=batches, ledger=book).secure
    assert not book.entries[0].secure


@EACH
@pytest.mark.parametrize(
    ("plan", "allowed", "fits"),
    [
        ({"steps": 16}, {}, True),
        ({"steps": 16}, {"min_separation": 2}, False),
        ({"steps": 16}, {"max_participations": 15}, False),
        ({"steps": 16}, {"max_participations": 16}, True),
        ({"steps": 16, "min_separation": 4, "max_participations": 4}, {"min_separation": 4}, True),
        ({"steps": 16, "min_separation": 4, "max_participations": 4}, {"min_separation": 5}, False),
        ({"steps": 16, "min_separation": 4, "max_participations": 4}, {"max_participations": 3}, False),
        ({"steps": 16, "min_separation": 4, "max_participations": 1}, {"min_separation": 9}, True),
        ({"steps": 99, "min_separation": 20}, {"min_separation": 9, "max_participations": 1}, True),
        ({"steps": 4}, {"min_separation": 4}, False),
        ({"steps": 4}, {"max_participations": 4}, True),
        ({"steps": 1}, {"min_separation": 4}, True),
    ],
)
def test_a_participation_allows_what_the_batches_do(kind, plan, allowed, fits):
    """A record may be wherever the plan lets it, within the steps of both."""
    stream, told, participation = _make(kind), _Plan(**plan), Participation(steps=16, **allowed)
    if fits:
        stream.release(QUERY, participation=participation, sampling=told)
        return
    with pytest.raises(ParameterError, match="participation must allow what the batches do"):
        stream.release(QUERY, participation=participation, sampling=told)
    assert told.open


@EACH
def test_what_the_caller_traps_stops_no_release_after_its_record(kind):
    with np.errstate(all="raise"):
        stream = _make(kind, entropy=seeded(1))
        query = Bounded(np.array([1e300, 5e-324, -1e300], dtype=np.float64), 1.0)
        assert np.isfinite(stream.release(query, participation=ANY_STEP).value).all()


@EACH
def test_threads_record_a_stream_once(kind):
    stream, book, rows = _make(kind, steps=40, entropy=seeded(3)), _Book(), []

    def work():
        allowed = Participation(steps=40)
        rows.extend(tuple(stream.release(QUERY, participation=allowed, ledger=book).value) for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = _make(kind, steps=40, entropy=seeded(3))
    assert sorted(rows) == sorted(tuple(alone.next()) for _ in range(40))
    assert len(book.entries) == 1


@EACH
@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        (np.zeros(3), UnboundedError, "must be Bounded"),
        (Bounded(np.zeros(3), 1.5), BoundError, "query's bound must be <= 1.0, got 1.5"),
        (Bounded(np.zeros(3), 1.0, "linf"), BoundError, "norm must be l2 or l1"),
        (Bounded(np.zeros(4), 1.0), BoundError, r"shapes \(3,\), got \(4,\)"),
        (Bounded({"w": np.zeros(3)}, 1.0), BoundError, "shapes"),
        (Bounded(np.array([0.0, np.nan, 0.0]), 1.0), ParameterError, "query must be finite"),
    ],
)
def test_a_refused_query_takes_no_step(kind, query, error, message):
    stream = _make(kind)
    with pytest.raises(error, match=message):
        stream.add(query)
    assert stream.remaining == 16


@EACH
@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"noise_multiplier": 0.0}, "noise_multiplier must be finite and > 0"),
        ({"bound": -1.0}, "bound must be finite and > 0"),
        ({"bound": 1e-200}, "stddev must be in"),
        ({"steps": 0}, "steps must be an integer >= 1"),
        ({"steps": 2**20 + 1}, "steps must be <= 1048576"),
        ({"like": np.zeros(0)}, "like must be an integer >= 1"),
        ({"like": (3,)}, "like must be an array or a dict of arrays, got tuple"),
        ({"like": 3}, "like must be an array or a dict of arrays, got int"),
        ({"like": {"w": [0.0, 0.0]}}, "like must be an array or a dict of arrays, got list"),
        ({"like": np.broadcast_to(0.0, (2**58,)), "noise_multiplier": 1e3}, "rounding would cost more than 1/16"),
        ({"like": np.array(["a"])}, "like must hold real numbers"),
    ],
)
def test_bad_parameters_are_refused(kind, chosen, message):
    with pytest.raises(ParameterError, match=message):
        _make(kind, **chosen)


def test_a_stream_says_what_it_is_without_its_noise():
    shown = repr(_make("tree", entropy=seeded(1)))
    assert shown == "TreeNoise(noise_multiplier=1.0, bound=1.0, steps=16, remaining=16, secure=False)"
    with pytest.raises(TypeError, match="abstract"):
        NoiseStream(np.zeros(1), 1.0, 1.0, 4, None, drift=Fraction(0))


@EACH
@pytest.mark.parametrize("steps", [1, 2, 7, 16])
def test_variances_are_those_of_the_linear_map(kind, steps):
    """The map from rows of Z to rows, and to their sums, read off by drawing unit vectors."""
    stream = (
        _make(kind, steps=steps)
        if kind != "banded"
        else BandedNoise(np.zeros(3), noise_multiplier=1.0, bound=1.0, steps=steps, bands=min(steps, 4))
    )
    most, size = 2 * steps + 1, 1 << 40
    drawn, kept, rows, count = 0, (), [], 0

    def draw():
        nonlocal count
        count += 1
        unit = np.zeros(most, dtype=np.int64)
        unit[count - 1] = size
        return unit

    for drawn in range(steps):
        row, kept = stream._advance(drawn, kept, draw)
        rows.append(row / size)
    weights = np.array(rows)
    np.testing.assert_allclose(stream.row_variance(), (weights**2).sum(1), rtol=1e-7)
    np.testing.assert_allclose(stream.prefix_variance(), (np.cumsum(weights, 0) ** 2).sum(1), rtol=1e-7)
