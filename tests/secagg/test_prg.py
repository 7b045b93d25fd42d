from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from secagg import ParameterError
from secagg.prg import derive_key, draw, system, uniform

KEY = bytes(range(32))


def _slow_uniform(key: bytes, index: int, count: int, modulus: int) -> list[int]:
    """Block by block, with AES alone and Python's integers."""
    block = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305  (an oracle, one block at a time)
    out, counter = [], 0
    while len(out) < count:
        stream = block.update(index.to_bytes(8, "big") + counter.to_bytes(8, "big"))
        counter += 1
        for word in (stream[:8], stream[8:]):
            candidate = int.from_bytes(word, "little") % 2 ** (modulus - 1).bit_length()
            out += [candidate] if candidate < modulus else []
    return out[:count]


@given(st.integers(0, 2**64 - 1), st.integers(0, 40), st.integers(1, 2**62))
def test_uniform_equals_the_slow_oracle(index, count, modulus):
    assert uniform(KEY, index=index, count=count, modulus=modulus).tolist() == _slow_uniform(KEY, index, count, modulus)


def test_uniform_does_not_depend_on_how_much_is_asked_for():
    modulus = 2**40 + 1  # nearly half of all candidates are rejected
    long = uniform(KEY, index=3, count=3000, modulus=modulus)
    assert (uniform(KEY, index=3, count=7, modulus=modulus) == long[:7]).all()


def test_streams_of_other_keys_and_indices_differ():
    draws = [uniform(key, index=i, count=8, modulus=2**41).tolist() for key in (KEY, bytes(32)) for i in (0, 1, 2**40)]
    assert len({tuple(d) for d in draws}) == 6


@pytest.mark.statistical
def test_uniform_fills_residues_evenly():
    # modulus 3 of 4 candidates: taking words modulo 3 instead would give one residue 4/3 of its share
    counts = np.bincount(uniform(KEY, index=0, count=300_000, modulus=3).astype(np.int64), minlength=3)
    assert chi2.sf(((counts - 100_000) ** 2 / 100_000).sum(), 2) > 1e-9


def test_derive_key_is_hkdf_of_rfc_5869_by_hand():
    info = b"".join(len(p).to_bytes(4, "little") + p for p in (b"secagg v1", b"purpose", b"part"))
    extracted = hmac.new(b"salt", KEY, hashlib.sha256).digest()
    assert derive_key(KEY, salt=b"salt", purpose=b"purpose", parts=(b"part",)) == (
        hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()
    )


def test_derived_keys_differ_by_every_argument():
    keys = {
        derive_key(KEY, salt=b"s", purpose=b"p"),
        derive_key(KEY, salt=b"t", purpose=b"p"),
        derive_key(KEY, salt=b"s", purpose=b"q"),
        derive_key(KEY, salt=b"s", purpose=b"p", parts=(b"",)),
        derive_key(KEY, salt=b"s", purpose=b"", parts=(b"p",)),
        derive_key(bytes(32), salt=b"s", purpose=b"p"),
    }
    assert len(keys) == 6


def test_system_entropy_is_the_default_and_never_repeats():
    assert len({draw(None, 16), draw(None, 16), system().bytes(16), system().bytes(16)}) == 4
    assert system().secure


class _Short:
    def bytes(self, n: int) -> bytes:
        return b"x"


@pytest.mark.parametrize("bad", [_Short(), object(), 7])
def test_draw_refuses_a_bad_source(bad):
    with pytest.raises(ParameterError):
        draw(bad, 4)
