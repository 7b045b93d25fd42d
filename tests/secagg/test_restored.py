import pytest

from secagg._kit import Case
from secagg._restored import check_restore
from secagg.errors import ConformanceError
from tests.secagg.faulty import Bent, Session, masked, plain


class _RepeatsNothing(Session):
    def restore(self, snapshot, key):
        self.inner.restore(snapshot, key)
        return []


class _OneKey(Session):
    """Seals under the same key for all."""

    def snapshot(self, key):
        return self.inner.snapshot(bytes(32))

    def restore(self, snapshot, key):
        return self.inner.restore(snapshot, bytes(32))


class _OtherState(Session):
    def restore(self, snapshot, key):
        self.restored = True
        return self.inner.restore(snapshot, key)

    restored = False

    @property
    def state(self):
        return "restored" if self.restored else self.inner.state


class _ForgetsShares(Session):
    def restore(self, snapshot, key):
        answers = self.inner.restore(snapshot, key)
        self.inner._held = {}
        return answers


class _ServerForgets(Session):
    def restore(self, snapshot, key):
        self.inner.restore(snapshot, key)
        self.inner._answers = {}


class _Yes:
    def claim(self, session, step, digest):
        return True


class _AsksNobody(Bent):
    def client(self, party, *, guard=None, **settings):
        return self._plan.client(party, guard=None if guard is None else _Yes(), **settings)


class _OnlyAtTheBeginning:
    def __init__(self, guard):
        self._guard = guard

    def claim(self, session, step, digest):
        return step != "advertise" or self._guard.claim(session, step, digest)


class _Forgives(Bent):
    """Lets any party go on in another way that began in the same."""

    def client(self, party, *, guard=None, **settings):
        return self._plan.client(party, guard=None if guard is None else _OnlyAtTheBeginning(guard), **settings)


class _NeedsNobody(Bent):
    def client(self, party, *, guard=None, **settings):
        return self._plan.client(party, guard=_Yes(), **settings)


class _TakesAnything(Bent):
    def client(self, party, *, guard=None, **settings):
        return self._plan.client(party, **settings)


def _client(session):
    return lambda n, dim: Bent(masked(n, dim), client=session)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (_client(_RepeatsNothing), "does not repeat its latest message"),
        (_client(_OneKey), "under another key, must raise DecodeError, and went through"),
        (_client(_OtherState), "opens as 'restored'"),
        (_client(_ForgetsShares), "restored after each step"),
        (lambda n, dim: Bent(masked(n, dim), server=_ServerForgets), "restored after each step"),
        (
            lambda n, dim: _AsksNobody(masked(n, dim)),
            "and other entropy, must raise RollbackRiskError, and went through",
        ),
        (
            lambda n, dim: _Forgives(masked(n, dim)),
            "gone in 'advertise', must raise RollbackRiskError, and went through",
        ),
        (lambda n, dim: _NeedsNobody(masked(n, dim)), "opened without a guard, must raise RollbackRiskError"),
        (lambda n, dim: _TakesAnything(plain(n, dim)), "is taken by sessions without snapshot"),
    ],
)
def test_a_fault_of_what_is_restored_is_found(make, found):
    with pytest.raises(ConformanceError) as raised:
        check_restore(Case(make))
    assert found in str(raised.value)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("adversary", ["semi_honest", "malicious"])
def test_our_own_sessions_go_on(adversary, dropout):
    check_restore(Case(lambda n, dim: masked(n, dim, adversary=adversary, dropout=dropout)))


def test_who_refuses_a_guard_has_nothing_to_restore():
    check_restore(Case(plain))
