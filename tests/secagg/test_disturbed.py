from dataclasses import replace

import numpy as np
import pytest

from secagg import LocalProtocolError
from secagg._disturbed import check_foreign, check_fuzz, check_order
from secagg._kit import Case
from secagg.errors import ConformanceError, ParameterError
from tests.secagg.faulty import Bent, Session, masked, plain


class _Asked(Session):
    """Keeps what was asked of it."""

    calls: list

    def receive(self, payload, sender):
        self.calls.append((self.who, payload, sender))
        return self.inner.receive(payload, sender)


def test_every_message_is_tried_changed_replaced_and_from_others():
    asked = []
    case = Case(lambda n, dim: Bent(plain(n, dim), client=_kept(asked), server=_kept(asked)), num_parties=4)
    check_fuzz(case)
    tried = [(payload, sender) for who, payload, sender in asked if who == "server"]
    sent = {letter.src: letter.payload for letter in case.undisturbed().letters if letter.dst == "server"}
    for party, payload in sent.items():
        mine = [other for other, sender in tried if sender == party and isinstance(other, bytes)]
        assert {b"", payload[:1], payload[:-1], payload + b"\0", b"\0" + payload, payload * 2} <= set(mine)
        assert set(sent.values()) <= set(mine)
        assert {sender for other, sender in tried if other == payload} >= {*range(4), -1, 4, "nobody", None}
        near = [other for other in mine if len(other) == len(payload) and other not in sent.values()]
        flips = [sum((a ^ b).bit_count() for a, b in zip(other, payload, strict=True)) for other in near]
        assert flips.count(1) >= 15


def _kept(calls):
    return lambda inner, who: _filled(_Asked(inner, who), calls)


def _filled(session, calls):
    session.calls = calls
    return session


class _Takes(Session):
    """Takes vectors that are unfit in one way, by mending them."""

    def mended(self, vector):
        return vector

    def set_input(self, vector):
        self.inner.set_input(self.mended(vector))


class _Longer(_Takes):
    def mended(self, vector):
        return vector[:40]


class _Negative(_Takes):
    def mended(self, vector):
        return np.abs(vector) if vector.dtype.kind == "i" else vector


class _TooLarge(_Takes):
    def mended(self, vector):
        return vector & np.uint64(2**16 - 1) if vector.dtype == np.uint64 else vector


@pytest.mark.parametrize(
    ("session", "what"), [(_Longer, "one entry more"), (_Negative, "a negative entry"), (_TooLarge, "too many bits")]
)
def test_unfit_vectors_must_be_refused(session, what):
    with pytest.raises(ConformanceError, match=what):
        check_order(Case(lambda n, dim: Bent(masked(n, dim), client=session)))


class _ResultTooEarly(Session):
    def result(self):
        return self.inner.result() if self.inner.state in ("finished", "aborted") else None


def test_sums_before_the_end_are_found():
    with pytest.raises(ConformanceError, match="result of 'server'"):
        check_order(Case(lambda n, dim: Bent(masked(n, dim), server=_ResultTooEarly)))


def test_another_plan_under_the_same_keys_is_another_session():
    """A protocol whose task does not hang on the plan takes the keys that were advertised for another one."""

    class Blind(Bent):
        def client(self, party, *, keys=None, **settings):
            return _blind(self._plan.client(party, keys=keys, **settings), keys)

        def server(self, *, keys=None, **settings):
            return _blind(self._plan.server(keys=keys, **settings), keys)

    with pytest.raises(ConformanceError, match="replaced by one of another plan"):
        check_foreign(Case(lambda n, dim: Blind(masked(n, dim))))


def _blind(session, keys):
    session._task = session._session = keys.task.identifier(bytes(32))
    return session


@pytest.mark.parametrize("side", ["client", "server"])
def test_what_are_no_keys_must_be_refused(side):
    class Lax(Bent):
        def __init__(self, plan):
            super().__init__(plan)
            self._own = plan.keygen()

    def client(self, party, *, keys=None, **settings):
        held = self._own.clients[party] if type(keys) is object else keys
        return self._plan.client(party, keys=held, **settings)

    def server(self, *, keys=None, **settings):
        return self._plan.server(keys=self._own.server if type(keys) is object else keys, **settings)

    setattr(Lax, side, {"client": client, "server": server}[side])
    with pytest.raises(ConformanceError, match=f"{side}.*no keys"):
        check_foreign(Case(lambda n, dim: Lax(masked(n, dim))))


def test_a_plan_whose_keys_fit_no_other_passes():
    class Strict(Bent):
        def client(self, party, *, keys=None, **settings):
            if self._plan.dim != 40:
                raise ParameterError("keys must be of this plan.")
            return self._plan.client(party, keys=keys, **settings)

    check_foreign(Case(lambda n, dim: Strict(masked(n, dim))))


class _ForgetsItWasAborted(Session):
    dead = False

    def abort(self, reason):
        self.dead = True
        self.inner.abort(reason)

    def result(self):
        if self.dead and self.before is not None:
            return self.before
        self.before = replace(self.inner.result())
        return self.before

    before = None


def test_a_sum_after_an_abort_is_found():
    class Opened(_ForgetsItWasAborted):
        def close_round(self):
            answers = self.inner.close_round()
            if self.inner.state == "finished":
                self.before = self.inner.result()
            return answers

    with pytest.raises(ConformanceError, match="result of 'server', in state 'aborted'"):
        check_order(Case(lambda n, dim: Bent(masked(n, dim), server=Opened)))


def test_a_refused_call_that_changes_a_message_is_found():
    class Redraws(Session):
        """A second start is refused, and the input is masked anew."""

        def set_input(self, vector):
            try:
                self.inner.set_input(vector)
            except LocalProtocolError:
                self.inner._secrets.seed = self.inner._secrets.seed[::-1]
                self.inner._secrets._sharing = bytes(32)
                raise

    with pytest.raises(ConformanceError, match="goes on in another way"):
        check_order(Case(lambda n, dim: Bent(masked(n, dim), client=Redraws)))
