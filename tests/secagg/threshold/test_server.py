"""The server: what it refuses leaves it as it was, wrong answers never give a wrong sum, and memory does not grow."""

from __future__ import annotations

from threading import Thread

import numpy as np
import pytest

from secagg.api import State
from secagg.errors import DecodeError, LocalProtocolError, PeerProtocolError, TooFewSurvivorsError
from secagg.masking.keys import KeyPair, seal_share
from secagg.masking.packing import pack_bits
from secagg.threshold import server as server_module
from secagg.threshold.keys import SERVER, pair_keys
from secagg.threshold.messages import Kind, list_digest
from secagg.threshold.plan import ThresholdSum
from secagg.threshold.ring import RING
from secagg.threshold.sharing import PRIME
from tests.secagg.threshold.sessions import EIGHT, PACKED, PLAN, VECTORS, Play, body_of, frozen, refuses


@pytest.fixture
def play():
    return Play()


def _answer(play, party, row, listed=None):
    """An answer of a party's choice."""
    keys, bound = play.keys.clients[party], play.server._bound
    pair = pair_keys(KeyPair(keys.secret), {SERVER: keys.server}, session=keys.session, mine=party)[SERVER]
    listed = play.server._set(play.server._survivors) if listed is None else listed
    config = bound + play.server._nonces[party] + list_digest(bound, listed)
    sealed = seal_share(pair, pack_bits(row, 17), sender=party, receiver=SERVER, config=config)
    return play.sealed(Kind.REVEAL, party, sealed)


def _off_by_one(play, party):
    """An answer to the list that is wrong in one coefficient, by one."""
    listed = play.server._survivors
    row = sum(play.clients[party]._held[member].astype(np.int64) for member in listed) % PRIME
    row[5] = (row[5] + 1) % PRIME
    return _answer(play, party, row)


@pytest.mark.parametrize(("plan", "vectors"), [(PLAN, VECTORS), (PACKED, EIGHT)], ids=["plain", "packed"])
def test_a_wrong_answer_among_just_enough_gives_no_sum(plan, vectors):
    play = Play(plan, vectors).to_survivors(gone=[0])
    wrong = _off_by_one(play, 3)
    play.answer()
    with pytest.raises(DecodeError, match="did not verify"):
        play.close(replaced={3: wrong})
    assert play.server.state is State.ABORTED
    with pytest.raises(LocalProtocolError, match="the sum did not verify"):
        play.server.result()


@pytest.mark.parametrize("liar", range(6))
def test_one_wrong_answer_more_than_enough_is_left_out(play, liar):
    play.to_survivors()
    wrong = _off_by_one(play, liar)
    play.answer().close(replaced={liar: wrong})
    assert play.server.result().total.tolist() == VECTORS.sum(axis=0).tolist()


@pytest.mark.parametrize("liar", [0, 6, 7])
def test_one_wrong_answer_of_packed_shares_is_left_out(liar):
    play = Play(PACKED, EIGHT).to_survivors()
    wrong = _off_by_one(play, liar)
    play.answer().close(replaced={liar: wrong})
    assert play.server.result().total.tolist() == EIGHT.sum(axis=0).tolist()


@pytest.mark.parametrize("liars", [[0, 1], [0, 5], [2, 4]])
def test_two_wrong_answers_of_six_give_no_sum(play, liars):
    play.to_survivors()
    wrong = {liar: _off_by_one(play, liar) for liar in liars}
    with pytest.raises(DecodeError, match="did not verify"):
        play.answer().close(replaced=wrong)


def test_a_dealer_whose_shares_are_not_of_its_secret_gives_no_sum(play):
    play.start()
    other = Play(seed=7, keys=play.keys).start()
    # it shares another secret than it masks with; the nonce is with its shares
    play.close(replaced={2: other.sent[2]})
    play.answer().close()
    bad = play.clients[2]
    bad._seed = other.clients[2]._seed  # so that it seals its answer under the nonce that the server knows
    with pytest.raises(DecodeError, match="did not verify"):
        play.answer().close()


def test_answers_to_another_list_are_refused(play):
    play.to_survivors()
    row = np.zeros(RING, dtype=np.uint64)
    for listed in (b"\x1f", b"\x3e", b"\x00"):
        refuses(play.server, _answer(play, 1, row, listed), 1, DecodeError)
    beyond = row + np.uint64(PRIME)
    refuses(play.server, _answer(play, 1, beyond), 1, DecodeError, "no share")
    assert _answer(play, 1, row) != play.answer().sent[1]
    play.close()
    assert play.server.state is State.FINISHED


def test_a_server_that_tells_two_lists_gets_fewer_answers_than_it_needs_to_either():
    """The split view: 5 and 5 of 6 answer to lists that differ in one party; neither list has the threshold."""
    plan = ThresholdSum.plan(9, 3, 8, threshold=7, corrupt=0.0, dropout=0.2)
    play = Play(plan, np.ones((9, 3), dtype=np.uint64)).to_survivors()
    one, other = list(range(8)), list(range(1, 9))
    answers = {0: [], 1: []}
    for party in range(9):
        which = int(party > 4)
        members = (one, other)[which]
        answers[which].append(play.clients[party].receive(play.survivors(party, members), "server"))
        with pytest.raises(LocalProtocolError, match="answers nothing more"):
            play.clients[party].receive(play.survivors(party, (other, one)[which]), "server")
    assert max(map(len, answers.values())) < plan.threshold


def test_what_the_round_does_not_want_is_refused(play):
    play.start()
    shares = dict(play.sent)
    refuses(play.server, shares[1], 0, DecodeError)
    refuses(play.server, shares[0], 6, PeerProtocolError)
    refuses(play.server, shares[0], "0", PeerProtocolError)
    refuses(play.server, play.sealed(Kind.SHARES, 0, body_of(shares[0])[:-1]), 0, DecodeError, "another length")
    refuses(play.server, play.sealed(Kind.INPUT, 0, bytes(PLAN.packing.input_bytes)), 0, DecodeError)
    play.close(gone=[0])
    refuses(play.server, shares[0], 0, PeerProtocolError, "dropped out")
    refuses(play.server, shares[1], 1, DecodeError)
    inputs = play.answer().sent
    play.server.receive(inputs[1], 1)
    refuses(play.server, inputs[1], 1, PeerProtocolError, "already")
    refuses(play.server, play.sealed(Kind.INPUT, 2, b"\xff" * PLAN.packing.input_bytes), 2, DecodeError, "party 2")
    for party in (2, 3, 4, 5):
        play.server.receive(inputs[party], party)
    play.told = {message.dst: message.payload for message in play.server.close_round()}
    play.answer().close()
    assert play.server.result().total.tolist() == VECTORS[1:].sum(axis=0).tolist()


def test_too_few_leave_the_round_open(play):
    play.start()
    for required, kind in ((5, "share_keys"), (5, "masked_input"), (5, "reveal")):
        for party in range(4):
            play.server.receive(play.sent[party], party)
        before = frozen(play.server)
        with pytest.raises(TooFewSurvivorsError, match=kind) as caught:
            play.server.close_round()
        assert frozen(play.server) == before
        assert (caught.value.alive, caught.value.required) == (4, required)
        play.sent = {4: play.sent[4]}
        play.close()
        if kind != "reveal":
            play.answer()
    assert play.server.result().survivors == [0, 1, 2, 3, 4]


def test_inputs_are_added_as_they_come_and_not_kept(play):
    play.to_inputs()
    sizes = []
    for party, payload in play.sent.items():
        play.server.receive(payload, party)
        sizes.append(len(frozen(play.server)))
    assert max(sizes) - min(sizes) < 100


def test_results_are_copies_and_come_last(play):
    for call in (play.server.result, play.server.close_round, lambda: play.server.receive(b"", 0)):
        with pytest.raises(LocalProtocolError):
            call()
    play.to_survivors().answer().close()
    play.server.result().total[:] = 0
    assert play.server.result().total.tolist() == VECTORS.sum(axis=0).tolist()
    for call in (play.server.start, play.server.close_round, lambda: play.server.receive(b"", 0)):
        with pytest.raises(LocalProtocolError):
            call()


def test_progress_is_told(play):
    told = []
    play.to_survivors().answer()
    for party, payload in play.sent.items():
        play.server.receive(payload, party)
    play.server.close_round(progress=lambda *done: told.append(done))
    assert told == [(1, 1)]


def test_a_sum_that_is_cancelled_while_it_is_opened_stays_cancelled(play):
    play.to_survivors().answer()
    for party, payload in play.sent.items():
        play.server.receive(payload, party)
    with pytest.raises(LocalProtocolError, match="aborted: cancelled"):
        play.server.close_round(progress=lambda *_: play.server.abort("cancelled"))
    assert play.server.state is State.ABORTED
    with pytest.raises(LocalProtocolError, match="aborted: cancelled"):
        play.server.result()


def test_inputs_that_arrive_at_once_are_all_in_the_sum(play, monkeypatch):
    play.to_inputs()
    threads, original = [], server_module.add_input

    def slow(*args):
        monkeypatch.undo()
        threads.append(Thread(target=play.server.receive, args=(play.sent.pop(1), 1)))
        threads[0].start()
        threads[0].join(0.05)
        return original(*args)

    monkeypatch.setattr(server_module, "add_input", slow)
    play.server.receive(play.sent.pop(0), 0)
    threads[0].join()
    play.close().answer().close()
    assert play.server.result().total.tolist() == VECTORS.sum(axis=0).tolist()
