"""Bytes that would make SEAL unpack further, or end the process, do not reach it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from secagg import DecodeError
from secagg.he import contents
from secagg.he.contents import HEADER_BYTES, SECRET_KEY_FIELDS, unpacked
from secagg.he.planner import plain_modulus
from secagg.he.rings import PUBLIC_RINGS, SHARED_RING
from secagg.he.seal import SeededEncryptor, _frame, backend


def _stored(base, data):
    """Contents in a blob of SEAL, in zstd blocks that are not compressed."""
    starts = range(0, len(data), 1 << 17)
    blocks = [data[start : start + (1 << 17)] for start in starts]
    heads = [
        (len(block) << 3 | (start == starts[-1])).to_bytes(3, "little")
        for start, block in zip(starts, blocks, strict=True)
    ]
    frame = _frame(len(data)) + b"".join(head + block for head, block in zip(heads, blocks, strict=True))
    return base.prefix + bytes(2) + (HEADER_BYTES + len(frame)).to_bytes(8, "little") + frame


def _seeded():
    """A backend, and the contents of a seeded ciphertext."""
    base = backend(plain_modulus(15))
    blob = SeededEncryptor(base, base.new_secret_key()).encrypt(np.arange(4096, dtype=np.uint64))
    return base, unpacked(base.sealapi, blob, SHARED_RING.seeded_bytes)[HEADER_BYTES:]


def test_what_seal_wrote_is_unpacked_and_loaded():
    base, plain = _seeded()
    assert len(plain) == SHARED_RING.seeded_bytes
    assert contents._decompressor(base.sealapi) is not None
    base.load(_stored(base, plain), len(plain))


SECTIONS = {"the array": 73, "the seed": SHARED_RING.seeded_bytes - 81}


def _changed(plain, place, compression, size):
    """Contents of which one section has another compression and size."""
    head = plain[place : place + 5] + bytes([compression]) + bytes(2)
    size = int.from_bytes(plain[place + 8 : place + 16], "little") + size
    return plain[:place] + head + size.to_bytes(8, "little") + plain[place + 16 :]


@pytest.mark.parametrize("compression", [0, 1, 2])
@pytest.mark.parametrize("more", [-81, -1, 0, 1, 32])
@pytest.mark.parametrize("place", SECTIONS.values(), ids=SECTIONS)
def test_sections_that_claim_to_be_compressed_are_refused(compression, more, place):
    base, plain = _seeded()
    if (compression, more) == (0, 0):
        return
    with pytest.raises(DecodeError):
        unpacked(base.sealapi, _stored(base, _changed(plain, place, compression, more)), len(plain))


def test_a_hostile_ciphertext_does_not_end_the_process():
    # SEAL ends it with std::terminate, which nothing in it can catch: so it is another one
    base, plain = _seeded()
    blob = _stored(base, _changed(plain, SECTIONS["the seed"], 2, 32))
    lines = [
        "import sys",
        "from secagg import DecodeError",
        "from secagg.he.seal import backend",
        "try:",
        f"    backend({plain_modulus(15)}).load(bytes.fromhex(sys.stdin.read()), {len(plain)})",
        "except DecodeError:",
        "    print('refused')",
    ]
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], input=blob.hex(), capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout.strip()) == (0, "refused")


def test_keys_are_looked_at_too():
    for ring in (SHARED_RING, *PUBLIC_RINGS):
        base = backend(plain_modulus(15, ring), ring)
        secret, public = base.new_key_pair() if ring.is_public else (base.new_secret_key(), None)
        plain = unpacked(base.sealapi, secret, ring.secret_key_bytes, SECRET_KEY_FIELDS)[HEADER_BYTES:]
        for size in (0, 1):
            with pytest.raises(DecodeError):
                base.load_secret_key(_stored(base, _changed(plain, SECRET_KEY_FIELDS, 2, size)))
        if public is not None:
            plain = unpacked(base.sealapi, public, ring.public_key_bytes)[HEADER_BYTES:]
            with pytest.raises(DecodeError):
                base.load_public_key(_stored(base, _changed(plain, SECTIONS["the array"], 2, 1)))


def test_what_follows_the_contents_or_exceeds_them_is_refused():
    base, plain = _seeded()
    blob = _stored(base, plain)
    for bad in (blob + bytes(1), blob + blob[16:], blob[:-1], blob[:30]):
        with pytest.raises(DecodeError, match="do not unpack"):
            unpacked(base.sealapi, bad, len(plain))


@pytest.mark.parametrize("ring", PUBLIC_RINGS)
def test_rings_of_every_size_are_unpacked(ring):
    base = backend(plain_modulus(15, ring), ring)
    cipher = base.sealapi.Ciphertext()
    generator, public = base.sealapi.KeyGenerator(base.context), base.sealapi.PublicKey()
    generator.create_public_key(public)
    base.sealapi.Encryptor(base.context, public).encrypt(base.sealapi.Plaintext("1"), cipher)
    assert len(unpacked(base.sealapi, base.save(cipher), ring.full_bytes)) == HEADER_BYTES + ring.full_bytes


def test_where_zstd_is_hidden_the_bytes_are_as_they_were(monkeypatch):
    base, plain = _seeded()
    monkeypatch.setattr(contents, "_decompressor", lambda _: None)
    assert unpacked(base.sealapi, _stored(base, plain), len(plain)) == _stored(base, plain)
