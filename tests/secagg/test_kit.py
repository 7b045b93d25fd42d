import numpy as np
import pytest

from secagg._kit import Case, Clean, Refused, check_result, goes_on
from secagg.errors import ConformanceError, DecodeError, LocalProtocolError, ParameterError, PeerProtocolError
from tests.secagg.faulty import Bent, Session, masked, plain


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_parties": 2}, "num_parties"),
        ({"dim": 31}, "dim"),
        ({"seed": -1}, "seed"),
        ({"make": 3}, "make must be a function"),
        ({"carry": "tcp"}, "carry must be a function"),
    ],
)
def test_a_case_refuses_what_is_none(settings, named):
    with pytest.raises(ParameterError, match=named):
        Case(**{"make": plain, **settings})


def test_sizes_are_taken_as_integers():
    case = Case(plain, np.int64(4), np.int64(33))
    assert (type(case.num_parties), type(case.dim)) == (int, int)
    assert case.plan().dim == 33


def test_seeds_change_the_keys_and_not_the_inputs():
    case = Case(masked)
    one, other = case.undisturbed(), case.undisturbed(seed=1)
    assert np.array_equal(one.vectors, other.vectors)
    assert {letter.payload for letter in one.letters} & {letter.payload for letter in other.letters} == set()
    assert not np.array_equal(one.vectors, Case(masked, seed=1).rehearsal().vectors)


def test_what_a_clean_block_raises_is_told_with_its_cause():
    with pytest.raises(ConformanceError, match=r"^here raised KeyError: 'x'$") as raised, Clean("here"):
        raise KeyError("x")
    assert isinstance(raised.value.__cause__, KeyError)
    with pytest.raises(ConformanceError, match=r"^here: there$"), Clean("here"):
        raise ConformanceError("there")
    with pytest.raises(KeyboardInterrupt), Clean("here"):
        raise KeyboardInterrupt


def test_what_must_be_refused_is_refused_with_the_right_error():
    with Refused("this", PeerProtocolError):
        raise DecodeError("no.")
    with pytest.raises(ConformanceError, match=r"^this must raise PeerProtocolError, and went through.$"):  # noqa: SIM117
        with Refused("this", PeerProtocolError):
            pass
    with pytest.raises(ConformanceError, match=r"^this must raise PeerProtocolError, and raised ValueError: bad$"):  # noqa: SIM117
        with Refused("this", PeerProtocolError):
            raise ValueError("bad")
    with pytest.raises(ConformanceError, match=r"^inside$"), Refused("this", PeerProtocolError, LocalProtocolError):
        raise ConformanceError("inside")
    with pytest.raises(KeyboardInterrupt), Refused("this", PeerProtocolError):
        raise KeyboardInterrupt


def test_sums_modulo_are_held_modulo():
    run = Case(lambda n, dim: masked(n, dim, wrap=True)).undisturbed()
    assert int(run.vectors.sum(axis=0).max()) >= 2**16 > int(run.opened()[0].result.total.max())


def test_survivors_must_be_sorted_and_once():
    class Doubled(Session):
        def result(self):
            result = self.inner.result()
            result.survivors.append(0)
            return result

    run = Case(lambda n, dim: Bent(plain(n, dim), server=Doubled)).rehearsal()
    opened = run.complete()
    with pytest.raises(ConformanceError, match="names the survivors"):
        check_result(run, opened, frozenset(range(6)), exactly=False)


def test_a_session_that_goes_on_differently_is_found():
    """The sum is right, but a message is not what it would have been."""
    case = Case(masked)
    run = case.rehearsal()
    with pytest.raises(ConformanceError, match=r"^this are refused, but the session goes on in another way"):
        goes_on(case, run, lambda: run.complete({}) if run.letters.append(None) is None else [], "this")
    goes_on(case, again := case.rehearsal(), again.complete, "this")
