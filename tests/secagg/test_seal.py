from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from secagg import BackendError, BFVSum, DecodeError, simulate
from secagg.he import seal
from secagg.he.planner import plain_modulus
from secagg.he.seal import FULL_BYTES, RING, SEEDED_BYTES, Cipher, backend, blob_limit
from tests.secagg.wires import exact_sum, vectors_of

T = plain_modulus(3)
SLOTS = np.arange(RING, dtype=np.uint64) * np.uint64(2**28)


@pytest.fixture(scope="module")
def cipher():
    return Cipher(backend(T), backend(T).new_secret_key())


def test_round_trip_seeded_and_full(cipher):
    blob = cipher.encrypt(SLOTS)
    loaded = backend(T).load(blob, SEEDED_BYTES)
    full = backend(T).save(loaded)
    assert (cipher.decrypt(loaded) == SLOTS).all()
    assert (cipher.decrypt(backend(T).load(full, FULL_BYTES)) == SLOTS).all()
    assert len(blob) <= blob_limit(SEEDED_BYTES)
    assert len(full) <= blob_limit(FULL_BYTES)
    assert len(blob) < 0.51 * len(full)


def test_limit_is_what_incompressible_bytes_need():
    # zstd stores what it cannot compress: 16 bytes of SEAL, 7 of frame header, 3 for the block
    assert all(size + 26 <= blob_limit(size) <= 1.01 * size + 160 for size in (SEEDED_BYTES, FULL_BYTES))


@pytest.mark.parametrize("place", range(23))
def test_every_byte_of_the_header_is_checked_before_seal_sees_it(cipher, monkeypatch, place):
    blob = bytearray(cipher.encrypt(SLOTS))
    blob[place] ^= 1
    monkeypatch.setattr(seal, "_load", lambda *_: pytest.fail("SEAL saw bytes that were not checked"))
    with pytest.raises(DecodeError):
        backend(T).load(bytes(blob), SEEDED_BYTES)


def test_wrong_kind_length_or_modulus_is_refused(cipher):
    blob = cipher.encrypt(SLOTS)
    full = backend(T).save(backend(T).load(blob, SEEDED_BYTES))
    for bad, size in ((blob, FULL_BYTES), (full, SEEDED_BYTES), (blob[:-1], SEEDED_BYTES), (blob + b"x", SEEDED_BYTES)):
        with pytest.raises(DecodeError):
            backend(T).load(bad, size)
    for bad in (b"", blob[:10], blob[:23]):
        with pytest.raises(DecodeError):
            backend(T).load(bad, SEEDED_BYTES)
    with pytest.raises(DecodeError):
        backend(plain_modulus(400)).load(blob, SEEDED_BYTES)


def test_another_version_of_seal_is_named(cipher):
    blob = bytearray(cipher.encrypt(SLOTS))
    blob[4] += 1
    with pytest.raises(DecodeError, match="version of SEAL"):
        backend(T).load(bytes(blob), SEEDED_BYTES)


def test_works_through_files_where_there_is_no_memfd(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delattr(os, "memfd_create")
    plan = BFVSum.plan(3, 5, 8)
    vectors = vectors_of(plan, seed=0)
    assert simulate(plan, vectors).total.tolist() == exact_sum(vectors)
    assert list(tmp_path.iterdir()) == []


def test_missing_tenseal_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tenseal.sealapi", None)
    backend.cache_clear()
    try:
        plan = BFVSum.plan(3, 5, 8)  # planning needs no tenseal
        assert plan.bytes_up > 0
        with pytest.raises(BackendError, match=r"dpkit\[he\]") as caught:
            plan.keygen()
        assert isinstance(caught.value, ImportError)
    finally:
        backend.cache_clear()


def test_import_loads_no_tenseal():
    code = "import sys, secagg; secagg.BFVSum.plan(3, 5, 8); print('tenseal' in sys.modules, 'scipy' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]
