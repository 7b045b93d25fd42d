"""The one place that touches TenSEAL's SEAL layer: contexts, secret keys, seeded ciphertexts and their bytes.

Rules:

1. SEAL's own generator is never replaced: with a seeded one every encryption repeats its randomness.
2. Nothing is loaded before its SEAL header, its exact length and the announced size of its contents have been checked.
3. What SEAL raises on bad bytes becomes ``DecodeError`` here.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.errors import BackendError, DecodeError

__all__ = ["FULL_BYTES", "MODULUS", "RING", "SEEDED_BYTES", "Backend", "Cipher", "backend", "blob_limit"]

RING = 4096
"""Ring dimension: coefficients of a polynomial, and slots of a plaintext."""

MODULUS = 18014398509293569
"""The ciphertext modulus: one prime of 54 bits, congruent to 1 modulo 2 * RING (SEAL's own choice)."""

_FIELDS_BYTES = 32 + 1 + 5 * 8
"""SEAL's ciphertext fields: parms_id, is_ntt_form, size, ring, primes, scale, correction factor."""

_ARRAY_BYTES = 16 + 8
"""Header and length of SEAL's inner array."""

SEEDED_BYTES = _FIELDS_BYTES + _ARRAY_BYTES + 8 * RING + 16 + 1 + 64
"""A seeded ciphertext before compression: one polynomial and the generator's kind and seed."""

FULL_BYTES = _FIELDS_BYTES + _ARRAY_BYTES + 2 * 8 * RING
"""A full ciphertext before compression: two polynomials."""

_HEADER_BYTES = 16
_ZSTD = 2
_ZSTD_FRAME = bytes.fromhex("28b52ffd60")
"""Magic of a zstd frame, and a descriptor that says: one segment, no checksum, content size in two bytes."""

_SEAL_ERRORS = (RuntimeError, ValueError, IndexError, OverflowError, MemoryError)


def blob_limit(content_bytes: int) -> int:
    """The most bytes that SEAL writes for so many bytes of content: its header and zstd's ``ZSTD_compressBound``."""
    return _HEADER_BYTES + content_bytes + (content_bytes >> 8) + max(0, (1 << 17) - content_bytes >> 11)


def _sealapi() -> ModuleType:
    """TenSEAL's SEAL layer, or an error that says what to install."""
    try:
        import tenseal.sealapi as sealapi
    except ImportError as error:
        raise BackendError("homomorphic sums need TenSEAL, which is not installed: pip install 'dpkit[he]'.") from error
    module: ModuleType = sealapi
    return module


def _save(value: Any) -> bytes:
    """What SEAL writes for an object; it takes paths only, so the path leads to memory where there is a way."""
    if not hasattr(os, "memfd_create"):
        return _save_to_file(value)
    handle = os.memfd_create("secagg")
    try:
        value.save(f"/proc/self/fd/{handle}")
        return os.pread(handle, os.fstat(handle).st_size, 0)
    finally:
        os.close(handle)


def _save_to_file(value: Any) -> bytes:
    """The same through a private directory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seal"
        value.save(str(path))
        return path.read_bytes()


def _load(value: Any, context: Any, blob: bytes) -> Any:
    """Read `blob` into a fresh SEAL object; the caller has checked its header."""
    try:
        if hasattr(os, "memfd_create"):
            with os.fdopen(os.memfd_create("secagg"), "wb", buffering=0) as handle:
                handle.write(blob)
                value.load(context, f"/proc/self/fd/{handle.fileno()}")
        else:
            _load_from_file(value, context, blob)
    except _SEAL_ERRORS:
        raise DecodeError("the bytes are not a valid object of SEAL.") from None
    return value


def _load_from_file(value: Any, context: Any, blob: bytes) -> None:
    """The same through a private directory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seal"
        path.write_bytes(blob)
        value.load(context, str(path))


@final
@dataclass(frozen=True, slots=True)
class Backend:
    """SEAL objects of one plaintext modulus that hold no secret.

    Args:
        sealapi: TenSEAL's SEAL layer.
        context: the SEAL context.
        encoder: its batch encoder.
        evaluator: its evaluator.
        prefix: the first six bytes of whatever this SEAL writes: magic, header size, version, compression.
    """

    sealapi: ModuleType
    context: Any
    encoder: Any
    evaluator: Any
    prefix: bytes

    def new_secret_key(self) -> bytes:
        """A fresh secret key, serialised. No public key is made."""
        return _save(self.sealapi.KeyGenerator(self.context).secret_key())

    def load(self, blob: bytes, content_bytes: int) -> Any:
        """A ciphertext of two polynomials from its bytes.

        Args:
            blob: what SEAL wrote.
            content_bytes: its exact size before compression.

        Returns:
            The SEAL ciphertext.

        Raises:
            DecodeError: the bytes are something else.
        """
        self._check_header(blob, content_bytes)
        cipher = _load(self.sealapi.Ciphertext(), self.context, blob)
        regular = (
            cipher.size() == 2
            and cipher.poly_modulus_degree() == RING
            and cipher.coeff_modulus_size() == 1
            and not cipher.is_ntt_form()
            and not cipher.is_transparent()
            and cipher.parms_id() == self.context.first_parms_id()
        )
        if not regular:
            raise DecodeError("the bytes are not a ciphertext of this plan.")
        return cipher

    def add(self, left: Any, right: Any) -> None:
        """Add the ciphertext `right` into `left`."""
        self.evaluator.add_inplace(left, right)

    def save(self, cipher: Any) -> bytes:
        """A full ciphertext's bytes."""
        return _save(cipher)

    def _check_header(self, blob: bytes, content_bytes: int) -> None:
        """SEAL's header with the true length, and a zstd frame that announces exactly `content_bytes`."""
        wanted = self.prefix + bytes(2) + len(blob).to_bytes(8, "little")
        wanted += _ZSTD_FRAME + (content_bytes - 256).to_bytes(2, "little")
        if blob[: len(wanted)] != wanted:
            raise DecodeError(
                "the bytes are not a ciphertext of this plan, or were written by another version of SEAL "
                f"(here {self.prefix[3]}.{self.prefix[4]})."
            )


@lru_cache(maxsize=8)
def backend(plain_modulus: int) -> Backend:
    """The backend of a plaintext modulus; kept, because making SEAL's tables takes longer than an encryption.

    Args:
        plain_modulus: a prime, congruent to 1 modulo ``2 * RING``.

    Returns:
        The backend.

    Raises:
        BackendError: TenSEAL is missing, or is not the SEAL that this module knows.
    """
    sealapi = _sealapi()
    parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(RING)
    parameters.set_coeff_modulus([sealapi.Modulus(MODULUS)])
    parameters.set_plain_modulus(sealapi.Modulus(plain_modulus))
    context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.TC256)
    if not context.parameters_set() or context.using_keyswitching():
        raise BackendError("this TenSEAL refuses the parameters of BFVSum; install tenseal>=0.3.15.")
    prefix = _save(sealapi.Plaintext())[:6]
    if prefix[:3] != b"\x5e\xa1\x10" or prefix[5] != _ZSTD:
        raise BackendError("this TenSEAL writes another format than zstd-compressed SEAL 4; install a wheel of PyPI.")
    return Backend(sealapi, context, sealapi.BatchEncoder(context), sealapi.Evaluator(context), prefix)


@final
class Cipher:
    """Encryption and decryption under one secret key.

    Args:
        backend: the public side.
        secret_key: from :meth:`Backend.new_secret_key`.

    Raises:
        DecodeError: the key is not one of this plaintext modulus.
    """

    __slots__ = ("_backend", "_decryptor", "_encryptor")

    def __init__(self, backend: Backend, secret_key: bytes) -> None:
        key = _load(backend.sealapi.SecretKey(), backend.context, secret_key)
        self._backend = backend
        self._encryptor = backend.sealapi.Encryptor(backend.context, key)
        self._decryptor = backend.sealapi.Decryptor(backend.context, key)

    def encrypt(self, slots: NDArray[np.uint64]) -> bytes:
        """A seeded symmetric ciphertext of uint64 slots in ``[0, t)``, shape ``(RING,)``."""
        plain = self._backend.sealapi.Plaintext()
        self._backend.encoder.encode(slots.tolist(), plain)
        return _save(self._encryptor.encrypt_symmetric(plain))

    def decrypt(self, cipher: Any) -> NDArray[np.uint64]:
        """The slots of a loaded ciphertext, uint64 in ``[0, t)``, shape ``(RING,)``."""
        plain = self._backend.sealapi.Plaintext()
        self._decryptor.decrypt(cipher, plain)
        return np.array(self._backend.encoder.decode_uint64(plain), dtype=np.uint64)
