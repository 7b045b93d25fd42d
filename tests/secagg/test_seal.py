from __future__ import annotations

import ast
import copy
import os
import pickle
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg import BackendError, BFVSum, DecodeError, ParameterError, simulate
from secagg.he import seal
from secagg.he.planner import plain_modulus
from secagg.he.rings import PUBLIC_RINGS, SHARED_RING
from secagg.he.seal import Decryptor, PublicEncryptor, SeededEncryptor, backend, blob_limit
from tests.secagg.wires import exact_sum, vectors_of

RINGS = (SHARED_RING, *PUBLIC_RINGS)
T = plain_modulus(3)


class Side:
    """Keys of a ring, and a ciphertext under them."""

    def __init__(self, ring):
        self.ring, self.base = ring, backend(plain_modulus(3, ring), ring)
        self.slots = np.arange(ring.degree, dtype=np.uint64) * np.uint64(2**27)
        if ring.is_public:
            self.secret, self.public = self.base.new_key_pair()
            self.encryptor = PublicEncryptor(self.base, self.public)
        else:
            self.secret, self.public = self.base.new_secret_key(), b""
            self.encryptor = SeededEncryptor(self.base, self.secret)
        self.decryptor = Decryptor(self.base, self.secret)
        self.blob = self.encryptor.encrypt(self.slots)


@pytest.fixture(scope="module", params=RINGS, ids=["seeded", "public 4096", "public 8192"])
def side(request):
    return Side(request.param)


def test_round_trip(side):
    loaded = side.base.load(side.blob, side.ring.sent_bytes)
    full = side.base.save(loaded)
    assert (side.decryptor.decrypt(loaded) == side.slots).all()
    assert (side.decryptor.decrypt(side.base.load(full, side.ring.full_bytes)) == side.slots).all()
    assert len(side.blob) <= blob_limit(side.ring.sent_bytes)
    assert len(full) <= blob_limit(side.ring.full_bytes)
    if not side.ring.is_public:
        assert len(side.blob) < 0.51 * len(full)


def test_operands_are_as_they_were(side):
    left, right = (side.base.load(side.blob, side.ring.sent_bytes) for _ in range(2))
    before = side.base.save(right)
    side.base.add(left, right)
    assert (side.decryptor.decrypt(left) == 2 * side.slots).all()
    assert side.base.save(right) == before
    added = side.base.save(left)
    side.decryptor.decrypt(left)
    assert side.base.save(left) == added


def test_ciphertexts_of_equal_slots_differ(side):
    blobs = {side.encryptor.encrypt(side.slots) for _ in range(3)}
    assert len(blobs) == 3


def test_limit_is_what_incompressible_bytes_need():
    # zstd stores what it cannot compress: 16 bytes of SEAL, 9 of frame header, 3 for each block of 128 KiB
    for size in [size for ring in RINGS for size in (ring.sent_bytes, ring.full_bytes)]:
        assert size + 25 + 3 * (1 + (size >> 17)) <= blob_limit(size) <= 1.01 * size + 160


def test_every_byte_of_the_header_is_checked_before_seal_sees_it(side, monkeypatch):
    for reader in ("unpacked", "_load"):
        monkeypatch.setattr(seal, reader, lambda *_: pytest.fail("bytes were read that were not checked"))
    # SEAL's 16 bytes, the frame's magic and kind, and the size of what it unpacks to
    for place in range(21 + (2 if side.ring.sent_bytes < 65792 else 4)):
        blob = bytearray(side.blob)
        blob[place] ^= 1
        with pytest.raises(DecodeError):
            side.base.load(bytes(blob), side.ring.sent_bytes)


def test_wrong_kind_length_or_modulus_is_refused(side):
    full = side.base.save(side.base.load(side.blob, side.ring.sent_bytes))
    sent = side.ring.sent_bytes
    for bad in (side.blob[:-1], side.blob + b"x", side.blob[:10], side.blob[:23], b"", bytearray(side.blob), None):
        with pytest.raises(DecodeError):
            side.base.load(bad, sent)
    if not side.ring.is_public:
        for bad, size in ((side.blob, side.ring.full_bytes), (full, sent)):
            with pytest.raises(DecodeError):
                side.base.load(bad, size)
    other = backend(plain_modulus(10**6, side.ring), side.ring)
    assert other.context.first_parms_id() != side.base.context.first_parms_id()
    with pytest.raises(DecodeError):
        other.load(side.blob, sent)


def test_every_cut_and_flip_of_a_body_is_refused_or_a_ciphertext(side):
    # what gets past the header is garbage at worst: the tag is what finds it (test_bfv, test_public)
    for place in range(25, len(side.blob), len(side.blob) // 25):
        blob = bytearray(side.blob)
        blob[place] ^= 0x41
        try:
            cipher = side.base.load(bytes(blob), side.ring.sent_bytes)
        except DecodeError:
            continue
        assert cipher.size() == 2


def test_another_version_of_seal_is_named(side):
    here = f"{side.blob[3]}.{side.blob[4]}"
    for place, other in ((3, f"{side.blob[3] + 1}.{side.blob[4]}"), (4, f"{side.blob[3]}.{side.blob[4] - 1}")):
        blob = bytearray(side.blob)
        blob[place] = int(other.split(".")[place - 3])
        with pytest.raises(DecodeError, match=rf"version {other} of SEAL, and this is version {here}"):
            side.base.load(bytes(blob), side.ring.sent_bytes)
        for keys, load in ((side.secret, side.base.load_secret_key), (side.public, side.base.load_public_key)):
            if keys:
                with pytest.raises(DecodeError, match=f"version {other} of SEAL"):
                    load(keys[:place] + blob[place : place + 1] + keys[place + 1 :])


def test_keys_of_one_kind_are_not_keys_of_another():
    seeded, public = Side(RINGS[0]), Side(RINGS[1])
    for base, ring in ((seeded.base, RINGS[0]), (public.base, RINGS[1])):
        foreign = public if base is seeded.base else seeded
        for load in (base.load_secret_key, base.load_public_key):
            for blob in (foreign.secret, foreign.blob, b""):
                with pytest.raises(DecodeError):
                    load(blob)
        assert ring.is_public is base.context.using_keyswitching()
    with pytest.raises(DecodeError):
        public.base.load_secret_key(public.public)
    with pytest.raises(DecodeError):
        public.base.load_public_key(public.secret)


def test_a_ring_has_public_keys_or_seeded_ciphertexts_and_never_both():
    seeded, public = Side(RINGS[0]), Side(RINGS[1])
    with pytest.raises(ParameterError, match="two primes"):
        seeded.base.new_key_pair()
    with pytest.raises(ParameterError, match="one prime"):
        public.base.new_secret_key()
    with pytest.raises(ParameterError, match="one prime"):
        SeededEncryptor(public.base, public.secret)
    with pytest.raises(ParameterError, match="two primes"):
        PublicEncryptor(seeded.base, seeded.secret)


def test_a_public_key_made_of_a_seeded_key_is_refused():
    # by hand, behind the wrapper: SEAL itself makes it
    seeded = Side(RINGS[0])
    sealapi, key = seeded.base.sealapi, seeded.base.load_secret_key(seeded.secret)
    exported = sealapi.PublicKey()
    sealapi.KeyGenerator(seeded.base.context, key).create_public_key(exported)
    blob = seal._save(exported)
    for ring in PUBLIC_RINGS:
        with pytest.raises(DecodeError):
            PublicEncryptor(backend(plain_modulus(3, ring), ring), blob)
    with pytest.raises(ParameterError):
        PublicEncryptor(seeded.base, blob)


@pytest.mark.parametrize("factory", ["Blake2xbPRNGFactory", "Shake256PRNGFactory"])
def test_a_seeded_generator_is_refused(factory):
    base = backend(T)
    sealapi = base.sealapi
    parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(SHARED_RING.degree)
    parameters.set_coeff_modulus([sealapi.Modulus(SHARED_RING.modulus)])
    parameters.set_plain_modulus(sealapi.Modulus(T))
    parameters.set_random_generator(getattr(sealapi, factory)([1, 2, 3, 4, 5, 6, 7, 8]))
    context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC256)
    with pytest.raises(ParameterError, match="seeded"):
        replace(base, context=context)
    parameters.set_random_generator(getattr(sealapi, factory)())
    replace(base, context=sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC256))


def test_no_evaluation_key_is_ever_made():
    names = set()
    for path in Path(secagg.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                names.add(node.value)
    assert "create_public_key" in names  # this is where such names would be
    assert not {name for name in names if "relin" in name.lower() or "galois" in name.lower()}


def test_what_encrypts_or_decrypts_is_not_written(side):
    for held in (side.encryptor, side.decryptor):
        for written in (copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError):
                written(held)


def _refused(*_):
    raise OSError("not in this sandbox")


NO_MEMORY = {
    "no such call": lambda patch: patch.delattr(os, "memfd_create"),
    "a call that is refused": lambda patch: patch.setattr(os, "memfd_create", _refused),
    "no paths to descriptors": lambda patch: patch.setattr(seal, "_DESCRIPTORS", Path("/proc/nowhere/fd")),
}


@pytest.fixture(params=NO_MEMORY)
def without_memory_files(request, monkeypatch):
    seal._has_memory_files.cache_clear()
    NO_MEMORY[request.param](monkeypatch)
    assert not seal._has_memory_files()
    yield
    monkeypatch.undo()
    seal._has_memory_files.cache_clear()


@pytest.mark.parametrize("key", ["shared", "public"])
def test_works_through_files_where_there_is_no_memfd(without_memory_files, monkeypatch, tmp_path, key):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []

    def looked_at(folder):
        for path in folder.rglob("*"):
            mode = stat.S_IMODE(path.stat().st_mode)
            seen.append((path.is_dir(), mode, stat.S_IMODE(path.parent.stat().st_mode)))

    original = seal.Path.read_bytes
    monkeypatch.setattr(seal.Path, "read_bytes", lambda path: (looked_at(tmp_path), original(path))[1])
    plan = BFVSum.plan(3, 5, 8, key=key)
    vectors = vectors_of(plan, seed=0)
    assert simulate(plan, vectors).total.tolist() == exact_sum(vectors)
    assert list(tmp_path.iterdir()) == []
    assert {mode for folder, mode, _ in seen if not folder} == {0o600}
    assert {mode for folder, mode, _ in seen if folder} == {0o700}


def test_missing_tenseal_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tenseal.sealapi", None)
    backend.cache_clear()
    try:
        for key in ("shared", "public"):
            plan = BFVSum.plan(3, 5, 8, key=key)  # planning needs no tenseal
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
