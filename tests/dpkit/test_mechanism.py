"""What all mechanisms share: refusals, the record before the value, and honesty about seeds."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants.events import Gaussian, PoissonSampled
from dpkit.batches import PoissonBatches
from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.continuous import GaussianMechanism, LaplaceMechanism
from dpkit.discrete import DiscreteGaussianMechanism
from dpkit.entropy import seeded, system
from dpkit.errors import BoundError, EntropyError, ParameterError, StateError, UnboundedError
from dpkit.mechanism import Release, check_multiplier, product_up, publish

MECHANISMS = {
    "gaussian": (GaussianMechanism, "l2"),
    "laplace": (LaplaceMechanism, "l1"),
    "discrete gaussian": (lambda z: DiscreteGaussianMechanism(z, step=0.25), "l2"),
}
EACH = pytest.mark.parametrize(("make", "norm"), MECHANISMS.values(), ids=MECHANISMS)


class Book:
    """A ledger of sorts, which can refuse."""

    def __init__(self, *, full=False):
        self.full, self.entries = full, []

    def record(self, what, times=1, note=""):
        if self.full:
            raise RuntimeError("budget")
        self.entries.append(what)


class Counted:
    """Entropy that counts what it gives."""

    secure = True

    def __init__(self):
        self.inner, self.given = system(), 0

    def bytes(self, n):
        self.given += n
        return self.inner.bytes(n)


@EACH
def test_bare_arrays_are_refused(make, norm):
    for bare in (np.ones(3), [1.0], 3.0, {"w": np.ones(1)}):
        with pytest.raises(UnboundedError, match="must be Bounded"):
            make(1.0).release(bare)
        with pytest.raises(UnboundedError, match="must be Bounded"):
            make(1.0).event(bare)


@EACH
def test_norms_and_bounds_that_do_not_fit_are_refused(make, norm):
    wrong = ["linf", "l2"] if norm == "l1" else ["linf"]
    for other in wrong:
        with pytest.raises(BoundError, match="norm must be"):
            make(1.0).release(Bounded(np.ones(2), 1.0, other))
    with pytest.raises(BoundError, match="bound must be > 0"):
        make(1.0).release(Bounded(np.ones(2), 0.0, norm))
    make(1.0).release(Bounded(np.ones(2), 1.0, "l1"))


@EACH
@pytest.mark.parametrize(
    "noise", [0.0, -1.0, np.nan, np.inf, True, "1", None, 1j, np.ones(1), pytest.param(10**400, id="huge")]
)
def test_bad_noise_multipliers(make, norm, noise):
    with pytest.raises(ParameterError, match="noise_multiplier must be"):
        make(noise)


@EACH
def test_the_ledger_comes_first_and_its_refusal_stops_everything(make, norm):
    query, source = Bounded(np.ones(2), 1.0, norm), Counted()
    with pytest.raises(RuntimeError, match="budget"):
        make(2.0).release(query, ledger=Book(full=True), entropy=source)
    assert source.given == 0, "not even randomness was touched"

    class Watch(Book):
        def record(self, what, times=1, note=""):
            assert source.given == 0
            super().record(what)

    book = Watch()
    release = make(2.0).release(query, ledger=book, entropy=source)
    assert source.given > 0
    assert [entry.event for entry in book.entries] == [release.event]
    assert book.entries[0].value is None, "a ledger never sees values"


@EACH
def test_failed_calls_record_nothing(make, norm):
    book = Book()
    for bad in (Bounded(np.array([1.0, float("nan")]), 1.0, norm), Bounded(np.array([np.inf]), 1.0, norm)):
        with pytest.raises(ParameterError, match="query must be finite") as caught:
            make(1.0).release(bad, ledger=book)
        assert "1.0" not in str(caught.value)
    for bad in (Bounded(np.ones(1), 1e300, norm), Bounded(np.ones(1), 1e-300, norm)):
        with pytest.raises(ParameterError):
            make(1.0).release(bad, ledger=book)
    with pytest.raises(EntropyError):
        make(1.0).release(Bounded(np.ones(1), 1.0, norm), ledger=book, entropy="7")
    query = Bounded(np.ones(1), 1.0, norm)
    with pytest.raises(ParameterError, match="sampling must"):
        make(1.0).release(query, ledger=book, sampling=5)
    assert book.entries == []
    with pytest.raises(ParameterError, match="ledger must"):
        make(1.0).release(query, ledger=5)


@EACH
def test_structure_in_structure_out(make, norm):
    value = {"w": np.ones((2, 3), dtype=np.float32), "b": np.zeros((), dtype=np.int64)}
    release = make(1.0).release(Bounded(value, 1.0, norm))
    assert list(release.value) == ["w", "b"]
    assert [array.shape for array in release.value.values()] == [(2, 3), ()]
    assert [array.dtype for array in release.value.values()] == [np.float32, np.float64]
    assert (value["w"] == 1).all(), "the query is left as it was"
    assert make(1.0).release(Bounded(np.zeros((4, 1)), 1.0, norm)).value.shape == (4, 1)


@EACH
def test_a_dict_gets_the_noise_of_its_one_vector(make, norm):
    value = {"a": np.array([1.0, 2.0]), "b": np.array([[3.0]])}
    noisy = make(1.0).release(Bounded(value, 1.0, norm), entropy=seeded(1)).value
    flat = make(1.0).release(Bounded(np.array([1.0, 2.0, 3.0]), 1.0, norm), entropy=seeded(1)).value
    assert [*noisy["a"], noisy["b"][0, 0]] == flat.tolist()
    assert len(np.unique(flat - np.array([1.0, 2.0, 3.0]))) > 1, "every coordinate has noise of its own"


@EACH
def test_sampling_changes_the_event_and_never_the_noise(make, norm):
    query, book = Bounded(np.ones(2), 1.0, norm), Book()
    batches = PoissonBatches(10, 0.25, 1)
    batches.draw()
    plain = make(1.5).release(query, entropy=seeded(3))
    sampled = make(1.5).release(query, sampling=batches, ledger=book, entropy=seeded(3))
    assert sampled.event == PoissonSampled(plain.event, 0.25) == book.entries[0].event
    assert (sampled.value == plain.value).all()


@EACH
def test_one_draw_is_for_one_release(make, norm):
    query, batches, book = Bounded(np.ones(2), 1.0, norm), PoissonBatches(10, 0.25, 2), Book()

    def refused():
        with pytest.raises(StateError, match="open draw"):
            make(1.5).release(query, sampling=batches, ledger=book)
        return len(book.entries)

    assert refused() == 0, "nothing was drawn yet"
    batches.draw()
    make(1.5).release(query, sampling=batches, ledger=book)
    assert refused() == 1, "a second release of one draw is not a sampled event of its own"
    batches.draw()
    with pytest.raises(RuntimeError, match="budget"):
        make(1.5).release(query, sampling=batches, ledger=Book(full=True))
    with pytest.raises(ParameterError, match="finite"):
        make(1.5).release(Bounded(np.array([np.nan]), 1.0, norm), sampling=batches)
    assert batches.open, "refusals leave the draw open"
    make(1.5).release(query, sampling=batches)  # no ledger: spent all the same
    assert refused() == 1


@EACH
def test_a_draw_is_spent_before_the_noise(make, norm):
    batches = PoissonBatches(10, 0.25, 1)
    batches.draw()

    class Broken:
        def bytes(self, n):
            raise OSError("no randomness")

    with pytest.raises(OSError, match="no randomness"):
        make(1.5).release(Bounded(np.ones(2), 1.0, norm), sampling=batches, entropy=Broken())
    assert not batches.open


@EACH
def test_plans_that_do_not_count_draws_are_taken_at_their_word(make, norm):
    class Plan:
        secure = True

        def sampled(self, event):
            return PoissonSampled(event, 0.5)

    query = Bounded(np.ones(2), 1.0, norm)
    events = {make(1.5).release(query, sampling=Plan()).event for _ in range(2)}
    assert events == {PoissonSampled(make(1.5).event(query), 0.5)}


@EACH
def test_seeds_are_admitted_on_release_and_ledger(make, norm):
    query = Bounded(np.ones(2), 1.0, norm)
    safe, open_ = PoissonBatches(10, 0.5, 2), PoissonBatches(10, 0.5, 1, entropy=seeded(1))
    for entropy, sampling, secure in [
        (None, None, True),
        (system(), safe, True),
        (seeded(1), None, False),
        (None, open_, False),
        (seeded(1), safe, False),
    ]:
        book = Book()
        if sampling is not None:
            sampling.draw()
        release = make(1.0).release(query, sampling=sampling, ledger=book, entropy=entropy)
        assert release.secure is secure
        assert book.entries[0].secure is secure


@EACH
def test_equal_seeds_give_equal_releases_and_fresh_ones_differ(make, norm):
    query = Bounded(np.zeros(50), 1.0, norm)
    assert (
        make(9.0).release(query, entropy=seeded(1)).value == make(9.0).release(query, entropy=seeded(1)).value
    ).all()
    assert (make(9.0).release(query).value != make(9.0).release(query).value).any()


@EACH
def test_what_the_caller_traps_stops_no_release_after_its_record(make, norm):
    """float32 cannot hold 1e300, nor float64 1e-320 steps: the numbers decide, so neither may be told."""
    for value in (np.array([1e-320, 1e300]), np.array([3e38, 1e-45], dtype=np.float32)):
        book = Book()
        with np.errstate(all="raise"):
            release = make(1e-3).release(Bounded(value, 1.0, norm), ledger=book, entropy=seeded(1))
            publish(
                Bounded(np.zeros(2, dtype=np.float32), 1.0),
                release.event,
                lambda x, _: x + 1e300 * np.float64(1e9),
                sampling=None,
                ledger=book,
                entropy=None,
            )
        assert len(book.entries) == 2
        assert release.value.dtype == value.dtype


def test_publish_draws_from_the_source_it_is_given():
    seen = []
    query = Bounded(np.ones(2), 1.0)
    source = seeded(1)
    release = publish(
        query,
        Gaussian(1.0),
        lambda vector, used: seen.append(used) or vector,
        sampling=None,
        ledger=None,
        entropy=source,
    )
    assert seen == [source]
    assert isinstance(release, Release)


@given(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))
def test_products_are_rounded_up(left, right):
    exact = Fraction(left) * Fraction(right)
    assert exact <= Fraction(product_up(left, right)) <= exact * (1 + Fraction(1, 2**52))


def test_exact_products_stay():
    assert product_up(2.0, 3.0) == 6.0
    with pytest.raises(ParameterError, match="finite float64"):
        product_up(1e300, 1e300)


def test_multipliers_become_floats():
    assert check_multiplier(np.float32(2)) == 2.0
    assert type(check_multiplier(3)) is float


def test_the_walk_of_a_sum():
    records = np.array([[3.0, 4.0], [0.3, 0.4], [np.nan, 1.0]])
    release = GaussianMechanism(1e-4).release(FlatClip(1.0).sum(records) / 2)
    np.testing.assert_allclose(release.value, [0.45, 0.6], atol=40 * 0.5e-4)
