"""A ledger that requires secure releases lets nothing out that was drawn from a seed, by whatever way."""

import numpy as np
import pytest

import secagg
from accountants import Budget, Gaussian, Ledger, Odometer, Plan
from accountants.errors import InsecureReleaseError
from accountants.participation import Participation
from dpkit.adaptive import AdaptiveClip
from dpkit.batches import PoissonBatches
from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.continuous import GaussianMechanism, LaplaceMechanism
from dpkit.correlated import TreeNoise
from dpkit.discrete import DiscreteGaussianMechanism
from dpkit.discrete_laplace import DiscreteLaplaceMechanism
from dpkit.entropy import seeded, system
from dpkit.federated import noise_shares, private_mean
from dpkit.mechanism import Release
from dpkit.skellam import SkellamMechanism
from tests.oracles.floats import Counted

MECHANISMS = {
    "gaussian": (GaussianMechanism(20.0), "l2"),
    "laplace": (LaplaceMechanism(20.0), "l1"),
    "discrete gaussian": (DiscreteGaussianMechanism(20.0, step=1.0), "l2"),
    "discrete laplace": (DiscreteLaplaceMechanism(20.0, step=2.0**-10), "l1"),
    "skellam": (SkellamMechanism(20.0, step=2.0**-10), "l2"),
}
EACH = pytest.mark.parametrize(("mechanism", "norm"), MECHANISMS.values(), ids=MECHANISMS)
QUERY = np.array([0.5, -0.25])


def _books(require_secure=True):
    how = {"relation": "add_remove", "require_secure": require_secure}
    return [
        Ledger(**how),
        Budget(epsilon=3.0, delta=1e-6, **how),
        Odometer(delta=1e-6, **how),
    ]


class _Silent:
    """A source that says nothing of itself."""

    def __init__(self, said=None):
        self.inner = system()
        if said is not None:
            self.secure = said

    def bytes(self, n):
        return self.inner.bytes(n)


@EACH
@pytest.mark.parametrize(
    "source", [seeded(1), seeded(1).child("x"), _Silent(), _Silent(False), _Silent(1), _Silent(np.True_)]
)
def test_mechanisms_release_nothing_from_what_is_not_secure(mechanism, norm, source):
    query = Bounded(QUERY, 1.0, norm)
    for book in _books():
        counted = _Silent()
        counted.bytes = lambda n, counted=counted: pytest.fail("randomness was touched")
        if hasattr(source, "secure"):
            counted.secure = source.secure
        before = book.to_json()
        for entropy in (source, counted):
            with pytest.raises(InsecureReleaseError):
                mechanism.release(query, ledger=book, entropy=entropy)
        assert (book.to_json(), len(book)) == (before, 0)
    for book in _books(require_secure=False):
        assert mechanism.release(query, ledger=book, entropy=source).secure is False


@EACH
def test_mechanisms_release_from_what_is_secure(mechanism, norm):
    query = Bounded(QUERY, 1.0, norm)
    for book in _books():
        for entropy in (None, system(), system().child("a"), Counted(system())):
            release = mechanism.release(query, ledger=book, entropy=entropy)
            assert release.secure is True
        assert (len(book), book.secure_releases) == (4, 4)


def test_seeded_batches_are_refused_and_the_draw_stays_open():
    mechanism, query, ledger = GaussianMechanism(20.0), Bounded(QUERY, 1.0), _books()[0]
    batches = PoissonBatches(10, 0.5, 2, entropy=seeded(1))
    batches.draw()
    with pytest.raises(InsecureReleaseError):
        mechanism.release(query, sampling=batches, ledger=ledger)
    assert batches.open
    assert len(ledger) == 0
    mechanism.release(query, sampling=batches)
    fair = PoissonBatches(10, 0.5, 1)
    fair.draw()
    mechanism.release(query, sampling=fair, ledger=ledger)
    assert (len(ledger), ledger.secure_releases) == (1, 1)


def test_a_plan_takes_secure_releases_only():
    plan = Plan(Gaussian(20.0) * 2, relation="add_remove", require_secure=True)
    query = Bounded(QUERY, 1.0)
    with pytest.raises(InsecureReleaseError):
        GaussianMechanism(20.0).release(query, ledger=plan, entropy=seeded(1))
    assert plan.remaining() == 2
    GaussianMechanism(20.0).release(query, ledger=plan)
    assert (plan.remaining(), plan.secure_releases) == (1, 1)


def test_the_event_of_a_seeded_release_cannot_be_brought_by_hand():
    """The hole that bare events would leave: release with a seed, then record what it cost as if nothing was."""
    release = GaussianMechanism(20.0).release(Bounded(QUERY, 1.0), entropy=seeded(1))
    for book in _books():
        for what in (release, release.event):
            with pytest.raises(InsecureReleaseError):
                book.record(what)
        assert len(book) == 0


def test_adaptive_clips_are_refused_and_their_bound_stays():
    clip = AdaptiveClip(1.0, 0.5, expected_batch_size=4, count_noise_multiplier=40.0)
    both, count = clip.sum_with_count(np.ones((4, 2))), clip.count(np.ones(4))
    for ledger in _books():
        for call in (
            lambda **how: clip.release(*both, noise_multiplier=20.0, **how),
            lambda **how: clip.updated(count, **how),
        ):
            before = len(ledger)
            with pytest.raises(InsecureReleaseError):
                call(ledger=ledger, entropy=seeded(1))
            assert (len(ledger), clip.bound) == (before, 1.0)
            call(ledger=ledger)
            assert (len(ledger), ledger.secure_releases) == (before + 1, before + 1)


def test_a_stream_is_recorded_with_what_it_says_of_itself():
    """Its event is typed by hand, once for all steps: what drew the noise is handed over with it."""
    for entropy in (None, seeded(1)):
        stream = TreeNoise(np.zeros(2), noise_multiplier=40.0, bound=1.0, steps=4, entropy=entropy)
        event = stream.event(Participation(steps=4, max_participations=1))
        ledger = Ledger(relation="add_remove", require_secure=True)
        with pytest.raises(InsecureReleaseError):
            ledger.record(event)
        if entropy is None:
            ledger.record(Release(None, event, stream.secure), note="four steps")
        else:
            with pytest.raises(InsecureReleaseError):
                ledger.record(Release(None, event, stream.secure))
        assert len(ledger) == (entropy is None)


def test_private_means_are_refused():
    plan = secagg.PlainSum.plan(3, 2, 16)
    ledger = Ledger(relation="add_remove", unit="party", require_secure=True)
    how = {"clip": FlatClip(1.0), "mechanism": DiscreteGaussianMechanism(8.0), "plan": plan}
    with pytest.raises(InsecureReleaseError):
        private_mean([QUERY] * 3, **how, denominator=3, ledger=ledger, entropy=seeded(1))
    shares = noise_shares([QUERY] * 3, **how, entropy=seeded(1))
    result = secagg.simulate(plan, shares.vectors)
    with pytest.raises(InsecureReleaseError):
        shares.release(result, denominator=3, ledger=ledger)
    assert len(ledger) == 0
    assert shares.release(result, denominator=3, ledger=Ledger(relation="add_remove")).secure is False  # still whole
    assert private_mean([QUERY] * 3, **how, denominator=3, ledger=ledger).secure is True
    assert (len(ledger), ledger.secure_releases) == (1, 1)


def test_training_is_refused_and_keeps_what_it_has():
    torch = pytest.importorskip("torch")
    from dpkit.training import Privatizer

    def step(ledger, entropy):
        model = torch.nn.Linear(2, 1)
        private = Privatizer(
            model, clip=FlatClip(1.0), noise_multiplier=2.0, expected_batch_size=4, ledger=ledger, entropy=entropy
        )
        private.backward(model(torch.ones(4, 2)).squeeze(1))
        return model, private

    ledger = Ledger(relation="add_remove", require_secure=True)
    model, private = step(ledger, seeded(1))
    for _ in range(2):
        with pytest.raises(InsecureReleaseError):
            private.release()
        assert all(parameter.grad is None for parameter in model.parameters())
    assert len(ledger) == 0
    model, private = step(ledger, None)
    assert private.release().secure is True
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert (len(ledger), ledger.secure_releases) == (1, 1)
