"""Masks are what the layout says, uniform for any modulus, and cancel exactly whatever the pieces."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from secagg.errors import ParameterError
from secagg.masking import masks
from secagg.masking.masks import CHUNK, Keystream, add_mask, mask, word_type
from tests.oracles import masking as oracle

KEY = bytes(range(32))
MODULI = [2, 3, 2**23, 2**32 - 5, 2**32, 2**32 + 15, 2**40, 2**63 + 1, 2**64 - 59, 2**64]
#: The key, counter blocks, plain and cipher text of SP 800-38A, F.5.5.
NIST_KEY = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
NIST_PLAIN = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
NIST_CIPHER = bytes.fromhex(
    "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
)
moduli = st.sampled_from(MODULI) | st.integers(2, 2**64) | st.integers(0, 64).map(lambda w: max(2, 2**w))


def _fast_block(key):
    """One block at a time, from AES alone."""
    return Cipher(algorithms.AES256(key), modes.ECB()).encryptor().update  # noqa: S305  (an oracle, one block at a time)


def _mask_of(values, modulus):
    return np.array(values, dtype=word_type(modulus))


def test_the_oracle_is_aes_of_fips_197():
    plain = bytes.fromhex("00112233445566778899aabbccddeeff")
    assert oracle.aes256(KEY)(plain).hex() == "8ea2b7ca516745bfeafc49904b496089"
    assert _fast_block(KEY)(plain).hex() == "8ea2b7ca516745bfeafc49904b496089"


@pytest.mark.parametrize("dtype", ["u4", "u8"])
def test_the_stream_is_that_of_sp_800_38a(dtype):
    # its first counter block f0f1…feff, read as vector, chunk and counter
    stream = Keystream(NIST_KEY, np.dtype(dtype), 0xF0F1F2F3)
    width = stream.dtype.itemsize
    words = stream.words(0xF4F5F6F7, 0xF8F9FAFBFCFDFEFF * 16 // width, 64 // width)
    assert bytes(a ^ b for a, b in zip(words.tobytes(), NIST_PLAIN, strict=True)) == NIST_CIPHER
    block, head = oracle.aes256(NIST_KEY), bytes(range(0xF0, 0xF8))
    slow = oracle.stream(block, head, width, 0xF8F9FAFBFCFDFEFF * 16 // width)
    assert [next(slow) for _ in range(64 // width)] == words.tolist()


@given(moduli, st.integers(0, 2**32 - 1), st.integers(0, 70), st.integers(0, 12))
def test_entries_equal_the_slow_oracle(modulus, vector, start, count):
    total = np.zeros(count, dtype=word_type(modulus))
    add_mask(total, KEY, modulus=modulus, sign=1, vector=vector, start=start)
    wanted = oracle.mask_entries(KEY, modulus, vector=vector, start=start, count=count, encrypt=_fast_block(KEY))
    assert total.tolist() == wanted
    assert (mask(KEY, start + count, modulus=modulus, vector=vector)[start:] == total).all()


def test_entries_equal_the_vectors():
    rows = json.loads(oracle.TABLE.read_text())["masks"]
    for row in rows:
        modulus, wanted = int(row["modulus"]), [int(entry) for entry in row["entries"]]
        total = np.zeros(len(wanted), dtype=word_type(modulus))
        add_mask(total, bytes.fromhex(row["key"]), modulus=modulus, sign=1, vector=row["vector"], start=row["start"])
        assert total.tolist() == wanted
    assert len({row["modulus"] for row in rows}) == 11


def test_the_vectors_are_those_of_the_oracle():
    assert oracle.TABLE.read_text() == oracle.text()


@pytest.mark.parametrize("modulus", [2**23, 3 * 2**21 + 1, 2**40, 2**40 + 1])
def test_chunks_meet_without_seam(modulus):
    count = 2 * CHUNK + 5
    whole = mask(KEY, count, modulus=modulus)
    for start, stop in ((CHUNK - 3, CHUNK + 4), (CHUNK, CHUNK + 1), (2 * CHUNK - 1, count), (5, CHUNK)):
        total = np.zeros(stop - start, dtype=whole.dtype)
        add_mask(total, KEY, modulus=modulus, sign=1, start=start)
        assert (total == whole[start:stop]).all()
    around = oracle.mask_entries(KEY, modulus, start=CHUNK - 2, count=4, encrypt=_fast_block(KEY))
    assert whole[CHUNK - 2 : CHUNK + 2].tolist() == around


def test_the_last_chunk_is_the_last():
    total, start = np.zeros(4, dtype=np.uint32), (1 << 48) - 4
    add_mask(total, KEY, modulus=2**32, sign=1, start=start)
    assert total.tolist() == oracle.mask_entries(KEY, 2**32, start=start, count=4)
    with pytest.raises(ParameterError, match="start"):
        add_mask(total, KEY, modulus=2**32, sign=1, start=start + 1)


@given(moduli, st.data())
def test_added_and_subtracted_masks_cancel(modulus, data):
    values = data.draw(st.lists(st.integers(0, modulus - 1), min_size=1, max_size=40))
    total = _mask_of(values, modulus)
    added = [data.draw(st.sampled_from([1, -1])) for _ in range(3)]
    for vector, sign in enumerate(added):
        add_mask(total, KEY, modulus=modulus, sign=sign, vector=vector)
    signed = sum(s * mask(KEY, len(values), modulus=modulus, vector=v).astype(object) for v, s in enumerate(added))
    assert total.tolist() == ((np.array(values, dtype=object) + signed) % modulus).tolist()
    for vector, sign in enumerate(added):
        cuts = sorted({0, len(values), *data.draw(st.lists(st.integers(0, len(values)), max_size=3))})
        for first, last in pairwise(cuts):
            add_mask(total[first:last], KEY, modulus=modulus, sign=-sign, vector=vector, start=first)
    assert total.tolist() == values


@pytest.mark.parametrize("modulus", MODULI)
def test_sums_wrap_at_the_modulus_and_nowhere_else(modulus):
    own = mask(KEY, 64, modulus=modulus).tolist()
    for value in (0, 1, modulus // 2, modulus - 1):
        for sign in (1, -1):
            total = _mask_of([value] * 64, modulus)
            add_mask(total, KEY, modulus=modulus, sign=sign)
            assert total.tolist() == [(value + sign * entry) % modulus for entry in own]


def test_a_power_of_two_takes_any_words_and_leaves_residues():
    total = np.array([2**32 - 1, 2**23, 5], dtype=np.uint32)
    add_mask(total, KEY, modulus=2**23, sign=-1)
    own = mask(KEY, 3, modulus=2**23).tolist()
    assert total.tolist() == [(value - entry) % 2**23 for value, entry in zip((2**32 - 1, 2**23, 5), own, strict=True)]


class _EveryWord:
    """A stream in which each value of the low bits stands once; those that differ by the modulus follow each other."""

    def __init__(self, dtype, modulus):
        self.dtype, bits = np.dtype(dtype), (modulus - 1).bit_length()
        values = sorted(range(1 << bits), key=lambda value: (value % modulus, -value))
        self._words = np.array(values, dtype=dtype) | self.dtype.type(0xAB << bits)

    def words(self, chunk, first, count):
        rest = self._words[first : first + count]
        return np.concatenate((rest, np.full(count - rest.size, self._words[-1])))


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("modulus", [3, 5, 6, 7, 9, 11, 12, 13, 100, 255, 257])
def test_every_word_gives_each_residue_equally_often(modulus, dtype):
    # of all words, each residue keeps one: entries are uniform if words are
    entries = masks._residues(_EveryWord(dtype, modulus), 0, modulus, modulus).tolist()
    assert Counter(entries) == Counter(range(modulus))


@pytest.mark.parametrize("modulus", [2, 8, 256])
def test_every_word_gives_each_residue_of_a_power_of_two_equally_often(modulus):
    stream, total = _EveryWord(np.uint32, modulus), np.zeros(modulus, dtype=np.uint32)
    masks._add_words(total, stream, modulus, 1, 0)
    assert Counter(total.tolist()) == Counter(range(modulus))


@pytest.mark.statistical
@pytest.mark.parametrize("modulus", [3, 8, 11])
def test_masks_fill_residues_evenly(modulus):
    counts = np.bincount(mask(KEY, 200_000, modulus=modulus).astype(np.int64), minlength=modulus)
    expected = 200_000 / modulus
    assert chi2.sf(((counts - expected) ** 2 / expected).sum(), modulus - 1) > 1e-9


def test_masks_of_other_keys_vectors_and_chunks_have_nothing_in_common():
    rows = [mask(key, 8, modulus=2**64, vector=v) for key in (KEY, bytes(32)) for v in (0, 1, 2**31)]
    whole = mask(KEY, CHUNK + 8, modulus=2**64)
    assert len(np.unique(np.array([*rows, whole[CHUNK:]]))) == 56


@pytest.mark.parametrize("modulus", [2**20, 2**20 + 7, 2**50, 2**50 + 1])
def test_a_view_into_an_array_is_masked_in_place(modulus):
    base = np.zeros(20, dtype=word_type(modulus))
    add_mask(base[::2], KEY, modulus=modulus, sign=1)
    assert (base[::2] == mask(KEY, 10, modulus=modulus)).all()
    assert not base[1::2].any()


def test_word_types():
    assert [word_type(m) for m in (2, 2**32, 2**32 + 1, 2**64)] == [np.uint32, np.uint32, np.uint64, np.uint64]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, CHUNK])
@pytest.mark.parametrize("dtype", [np.dtype(np.uint32), np.dtype(np.uint64)], ids=str)
def test_the_quick_way_gives_the_stream(dtype, count, monkeypatch):
    """AES-GCM's ciphertext of zeros, where it can be had in place, and plain counter mode: the same words."""
    quick, plain = (Keystream(bytes(range(32)), dtype, 2**32 - 1) for _ in range(2))
    assert hasattr(masks.AESGCM, "encrypt_into")
    for chunk in (0, 2**32 - 1):
        monkeypatch.setattr(masks, "_WORTHWHILE", 0)
        words = quick.words(chunk, 0, count)
        assert (quick._gcm is None) is (count * dtype.itemsize <= 32)
        monkeypatch.setattr(masks, "_WORTHWHILE", 2**20)
        assert np.array_equal(words, plain.words(chunk, 0, count))
        assert plain._gcm is None


def test_the_quick_way_is_not_set_up_for_little():
    """A graph of a thousand parties masks short vectors with a thousand keys."""
    stream = Keystream(KEY, np.dtype(np.uint32), 0)
    stream.words(0, 0, 4095)
    assert stream._gcm is None
    stream.words(0, 0, 4096)
    assert stream._gcm is not None


def test_releases_without_the_quick_way_give_the_same_stream(monkeypatch):
    there = mask(KEY, CHUNK + 9, modulus=2**20)
    monkeypatch.setattr(masks, "AESGCM", type("Older", (), {}))
    assert np.array_equal(mask(KEY, CHUNK + 9, modulus=2**20), there)


def test_a_context_without_reset_gives_the_same_stream(monkeypatch):
    # releases of cryptography before 43
    class Older:
        def __init__(self, context):
            self.update_into = context.update_into

    class Maker(Cipher):
        def encryptor(self):
            return Older(super().encryptor())

    whole = mask(KEY, CHUNK + 50, modulus=2**23)
    monkeypatch.setattr(masks, "Cipher", Maker)
    assert (mask(KEY, CHUNK + 50, modulus=2**23) == whole).all()


@pytest.mark.parametrize("modulus", [0, 1, -2, 2**64 + 1, 2.0, True, None])
def test_bad_moduli_are_refused(modulus):
    with pytest.raises(ParameterError, match="modulus"):
        mask(KEY, 3, modulus=modulus)


@pytest.mark.parametrize(
    "change",
    [
        {"key": bytes(31)},
        {"key": bytearray(32)},
        {"sign": 0},
        {"sign": 2},
        {"vector": -1},
        {"vector": 2**32},
        {"start": -1},
        {"start": 0.0},
        {"total": np.zeros(3, dtype=np.uint64)},
        {"total": np.zeros(3, dtype=np.int32)},
        {"total": np.zeros((1, 3), dtype=np.uint32)},
        {"total": [0, 0, 0]},
        {"modulus": 11, "total": np.array([3, 11, 0], dtype=np.uint32)},
    ],
)
def test_bad_arguments_are_refused_and_the_total_stays(change):
    given_ = {"total": np.full(3, 7, dtype=np.uint32), "key": KEY, "modulus": 2**20, "sign": 1, **change}
    before = np.array(given_["total"])
    total, key = given_.pop("total"), given_.pop("key")
    with pytest.raises(ParameterError):
        add_mask(total, key, **given_)
    assert (np.array(total) == before).all()


def test_an_array_that_may_not_be_written_is_refused():
    total = np.zeros(3, dtype=np.uint32)
    total.flags.writeable = False
    with pytest.raises(ParameterError, match="writeable"):
        add_mask(total, KEY, modulus=2**20, sign=1)


@pytest.mark.parametrize("dtype", ["u4", "u8"])
def test_no_more_words_are_given_than_the_stream_made(dtype):
    stream = Keystream(KEY, np.dtype(dtype), 0)
    assert stream.words(0, 1, CHUNK).size == CHUNK
    with pytest.raises(ParameterError, match="count must be at most"):
        stream.words(0, 1, CHUNK + 1)
