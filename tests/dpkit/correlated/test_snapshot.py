"""Sealed states: they open to what they were, under their key and for their stream only."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given
from hypothesis import strategies as st

from accountants.participation import Participation
from dpkit.correlated import _snapshot
from dpkit.correlated._schedule import Place
from dpkit.correlated._snapshot import State, check_key, seal, unseal
from dpkit.errors import EntropyError, ParameterError

STEPS, DIM = 40, 3
KEY, ABOUT = bytes(range(32)), b"a stream"
INT64 = st.integers(-(2**63), 2**63 - 1)
GAPS = st.integers(1, STEPS) | st.integers(1, 2**53)
ALLOWED = st.none() | st.builds(
    Participation, steps=st.just(STEPS), min_separation=GAPS, max_participations=st.none() | GAPS
)
STATES = st.builds(
    State,
    drawn=st.integers(0, STEPS),
    kept=st.lists(st.lists(INT64, min_size=DIM, max_size=DIM).map(np.array), max_size=4).map(tuple),
    participation=ALLOWED,
    recorded=st.booleans(),
    secure=st.booleans(),
    place=st.builds(Place, draws=GAPS, row=st.integers(0, STEPS)),
)


def _open(snapshot, key=KEY, about=ABOUT):
    return unseal(snapshot, key, about, STEPS, DIM)


def _refused(snapshot, **chosen):
    with pytest.raises(EntropyError, match="the snapshot does not open") as caught:
        _open(snapshot, **chosen)
    assert caught.value.__suppress_context__
    return str(caught.value)


@given(STATES, st.integers(1, 100))
def test_a_state_comes_back_whole(state, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_snapshot, "_PIECE", piece)
        opened = _open(seal(state, KEY, ABOUT))
    for name in ("drawn", "participation", "recorded", "secure", "place"):
        assert getattr(opened, name) == getattr(state, name)
    assert (opened.event, opened.ledger) == (None, None)
    assert [row.tolist() for row in opened.kept] == [row.tolist() for row in state.kept]
    assert all(row.dtype == np.int64 and row.flags.owndata for row in opened.kept)


@given(STATES)
def test_it_is_aes_256_gcm_with_a_fresh_nonce(state):
    """Nonce, ciphertext and tag as the library's own one-call interface has them."""
    snapshots = [seal(state, KEY, ABOUT) for _ in range(2)]
    assert snapshots[0][:12] != snapshots[1][:12]
    texts = [AESGCM(KEY).decrypt(snapshot[:12], snapshot[12:], ABOUT) for snapshot in snapshots]
    assert texts[0] == texts[1]
    assert texts[0].endswith(b"".join(row.astype("<i8").tobytes() for row in state.kept))


@given(STATES, st.data())
def test_what_was_changed_does_not_open(state, data):
    snapshot = seal(state, KEY, ABOUT)
    place = data.draw(st.integers(0, len(snapshot) - 1))
    flipped = bytearray(snapshot)
    flipped[place] ^= data.draw(st.integers(1, 255))
    others = [bytes(flipped), snapshot[:place], snapshot[place + 1 :], snapshot + b"\0"]
    messages = {_refused(other) for other in others}
    messages |= {_refused(snapshot, key=bytes(32)), _refused(snapshot, about=b"another")}
    assert len(messages) == 1, "whatever is wrong, no more is said"


@given(st.binary(max_size=200))
@example(b"")
@example(bytes(27))
@example(bytes(28))
def test_garbage_does_not_open(garbage):
    _refused(garbage)


@given(st.lists(st.integers(-2, 50), max_size=24), st.binary(max_size=9))
def test_what_the_key_holder_forges_is_a_state_or_refused(numbers, rest):
    """A typed error even for what was sealed under the key and is no state."""
    try:
        state = _open(_forged(numbers, rest))
    except EntropyError:
        return
    assert 0 <= state.drawn <= STEPS
    assert all(row.shape == (DIM,) for row in state.kept)


def test_forged_numbers_are_refused():
    _open(_forged([STEPS, 1, 0, 0, 0, 1, 0, 0, 5, 6, 7]))
    for numbers in (
        [STEPS + 1, 0, 0, 0, 0, 1, 0, 0],
        [-1, 0, 0, 0, 0, 1, 0, 0],
        [1, 2, 0, 0, 0, 1, 0, 0, 5, 6, 7],
        [1, -1, 0, 0, 0, 1, 0, 0, 5, 6, 7],
        [1, 1, -1, 0, 0, 1, 0, 0, 5, 6, 7],
        [1, 1, 1, -1, 0, 1, 0, 0, 5, 6, 7],
        [1, 0, 0, 0, 0, 1, 0],
    ):
        _refused(_forged(numbers))
    _refused(_forged([1, 0, 0, 0, 0, 1, 0, 0], b"1"))


def _forged(numbers, rest=b""):
    text = np.array(numbers, dtype="<i8").tobytes() + rest
    return bytes(12) + AESGCM(KEY).encrypt(bytes(12), text, ABOUT)


@pytest.mark.parametrize(
    ("key", "came"), [(bytes(31), "31 bytes"), (bytes(33), "33 bytes"), ("x" * 32, "str"), (bytearray(32), "bytearray")]
)
def test_a_key_is_32_bytes(key, came):
    with pytest.raises(ParameterError, match=f"key must be 32 bytes, got {came}; make one") as caught:
        check_key(key)
    assert "x" * 32 not in str(caught.value)


def test_a_snapshot_is_bytes():
    with pytest.raises(ParameterError, match="snapshot must be bytes, got str"):
        _open("text")


def test_a_state_is_shown_without_its_rows():
    assert "kept" not in repr(State(kept=(np.arange(3),)))
