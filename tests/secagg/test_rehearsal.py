import numpy as np
import pytest

from secagg import Outgoing, PlainSum
from secagg._rehearsal import Letter, Rehearsal, Source, made_up_vectors
from secagg.errors import ConformanceError, TooFewSurvivorsError
from tests.secagg.faulty import Bent, Session, masked, plain
from tests.secagg.wires import exact_sum


def _carry(payload, src, dst):
    return payload


def _rehearsal(plan, **settings):
    return Rehearsal(plan, made_up_vectors(plan, 3), seed=3, carry=_carry, **settings)


def test_bytes_follow_from_seed_name_and_place():
    source, again = Source(1, "a"), Source(1, "a")
    drawn = [source.bytes(16) for _ in range(3)]
    assert drawn == [again.bytes(16) for _ in range(3)]
    others = [Source(2, "a").bytes(16), Source(1, "b").bytes(16)]
    assert len({*drawn, *others}) == 5
    assert {Source(seed, "c").below(3) for seed in range(50)} == {0, 1, 2}


@pytest.mark.parametrize("value_bits", [1, 7, 16, 64])
def test_vectors_fill_the_range(value_bits):
    plan = PlainSum.plan(4, 200, value_bits, wrap=True)
    vectors = made_up_vectors(plan, 0)
    assert vectors.shape == (4, 200)
    assert vectors.dtype == np.uint64
    assert (vectors[:, -1] == 2**value_bits - 1).all()
    assert int(vectors[:, :-1].max()) >> (value_bits - 1) == 1
    assert int(vectors.min()) >> max(value_bits - 4, 0) == 0


def test_a_whole_session_is_played_and_everybody_opens_it():
    run = _rehearsal(plain(4, 32))
    opened = run.complete()
    assert [sum_.who for sum_ in opened] == ["server", 0, 1, 2, 3]
    assert all(sum_.result.total.tolist() == exact_sum(run.vectors) for sum_ in opened)
    assert [(letter.src, letter.dst) for letter in run.letters] == [(i, "server") for i in range(4)] + [
        ("server", i) for i in range(4)
    ]


def test_who_is_gone_says_and_hears_nothing():
    plan = masked(6, 32)
    run = _rehearsal(plan)
    (sum_,) = run.complete({"share_keys": [2]})
    assert sum_.who == "server"
    assert sum_.result.survivors == [0, 1, 3, 4, 5]
    heard = [(letter.round, letter.src) for letter in run.letters if 2 in (letter.src, letter.dst)]
    assert heard == [("advertise", 2), ("advertise", "server")]


def test_letters_are_of_the_round_they_are_sent_in():
    run = _rehearsal(masked(6, 32))
    run.complete()
    assert list(dict.fromkeys(letter.round for letter in run.letters)) == list(run.plan.rounds)
    assert sum(letter.round == "masked_input" and letter.dst == "server" for letter in run.letters) == 6


def test_a_party_that_hears_of_too_few_is_gone():
    class Leaves(Session):
        def receive(self, payload, sender):
            if self.who == 1:
                raise TooFewSurvivorsError("too few.", alive=1, required=2)
            return self.inner.receive(payload, sender)

    run = _rehearsal(Bent(masked(6, 32), client=Leaves))
    (sum_,) = run.complete()
    assert run.gone == {1}
    assert sum_.result.survivors == [0, 2, 3, 4, 5]


def test_hooks_see_every_letter_before_and_after():
    seen = []
    run = _rehearsal(
        plain(3, 32),
        before=lambda run, letter: seen.append((letter, len(run.letters))),
        after=lambda run, letter: seen.append((letter, len(run.letters))),
    )
    run.complete()
    assert seen == [(letter, place + after) for place, letter in enumerate(run.letters) for after in (0, 1)]


@pytest.mark.parametrize(("side", "dst"), [("client", 1), ("server", "server")])
def test_only_parties_and_the_server_write_to_each_other(side, dst):
    class Strays(Session):
        def start(self):
            return [*self.inner.start(), Outgoing(dst, b"psst")]

    with pytest.raises(ConformanceError, match="parties and the server do"):
        _rehearsal(Bent(plain(3, 32), **{side: Strays})).complete()


def test_a_server_may_open_and_answer_at_once():
    """Messages of a start and answers to a receive are delivered like all others."""

    class Greets(Session):
        def start(self):
            return [*self.inner.start(), Outgoing(0, b"hello")]

        def receive(self, payload, sender):
            return [*self.inner.receive(payload, sender), Outgoing(sender, b"thanks")]

    class Nods(Session):
        def receive(self, payload, sender):
            return [] if payload in (b"hello", b"thanks") else self.inner.receive(payload, sender)

    run = _rehearsal(Bent(plain(3, 32), client=Nods, server=Greets))
    assert len(run.complete()) == 4
    assert run.letters[0] == Letter("masked_input", "server", 0, b"hello")
    assert [letter.dst for letter in run.letters if letter.payload == b"thanks"] == [0, 1, 2]
