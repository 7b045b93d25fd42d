"""The one place that touches TenSEAL's SEAL layer: contexts, keys, ciphertexts and their bytes.

Rules:

1. SEAL's own generator is never replaced: with a seeded one every encryption repeats its randomness.
2. Nothing is loaded before its SEAL header, its exact length and the announced size of its contents have been checked.
3. What SEAL raises on bad bytes becomes ``DecodeError`` here.
4. A secret key under one prime encrypts and decrypts, and has no public key; one under two has, and only decrypts.
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

from secagg.errors import BackendError, DecodeError, ParameterError
from secagg.he.contents import HEADER_BYTES, SECRET_KEY_FIELDS, unpacked
from secagg.he.rings import SHARED_RING, Ring

__all__ = ["Backend", "Decryptor", "PublicEncryptor", "SeededEncryptor", "backend", "blob_limit"]

_ZSTD = 2
_ZSTD_FRAME = bytes.fromhex("28b52ffd")
"""Magic of a zstd frame."""

_DESCRIPTORS = Path("/proc/self/fd")
"""Paths to open files, under which a file in memory has one too."""

_SEAL_ERRORS = (RuntimeError, ValueError, IndexError, OverflowError, MemoryError)


def blob_limit(content_bytes: int) -> int:
    """The most bytes that SEAL writes for so many bytes of content: its header and zstd's ``ZSTD_compressBound``."""
    return HEADER_BYTES + content_bytes + (content_bytes >> 8) + max(0, (1 << 17) - content_bytes >> 11)


def _frame(content_bytes: int) -> bytes:
    """How a zstd frame begins: one segment, no checksum, and the content's size in two bytes or in four."""
    if content_bytes < 256 + (1 << 16):
        return _ZSTD_FRAME + b"\x60" + (content_bytes - 256).to_bytes(2, "little")
    return _ZSTD_FRAME + b"\xa0" + content_bytes.to_bytes(4, "little")


def _sealapi() -> ModuleType:
    """TenSEAL's SEAL layer, or an error that says what to install."""
    try:
        import tenseal.sealapi as sealapi
    except ImportError as error:
        raise BackendError("homomorphic sums need TenSEAL, which is not installed: pip install 'dpkit[he]'.") from error
    module: ModuleType = sealapi
    return module


@lru_cache(maxsize=1)
def _has_memory_files() -> bool:
    """Whether there are files in memory, and paths that lead to them; not on every system, nor in every container."""
    try:
        handle = os.memfd_create("secagg")
    except (AttributeError, OSError):
        return False
    try:
        return (_DESCRIPTORS / str(handle)).exists()
    finally:
        os.close(handle)


def _save(value: Any) -> bytes:
    """What SEAL writes for an object; it takes paths only, so the path leads to memory where there is a way."""
    if not _has_memory_files():
        return _save_to_file(value)
    handle = os.memfd_create("secagg")
    try:
        value.save(str(_DESCRIPTORS / str(handle)))
        return os.pread(handle, os.fstat(handle).st_size, 0)
    finally:
        os.close(handle)


def _save_to_file(value: Any) -> bytes:
    """The same through a file that nobody else may open, in a directory that goes at once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seal"
        path.touch(mode=0o600, exist_ok=False)
        value.save(str(path))
        return path.read_bytes()


def _load(value: Any, context: Any, blob: bytes) -> Any:
    """Read `blob` into a fresh SEAL object; the caller has checked its header."""
    try:
        if _has_memory_files():
            with os.fdopen(os.memfd_create("secagg"), "wb", buffering=0) as handle:
                handle.write(blob)
                value.load(context, str(_DESCRIPTORS / str(handle.fileno())))
        else:
            _load_from_file(value, context, blob)
    except _SEAL_ERRORS:
        raise DecodeError("the bytes are not a valid object of SEAL.") from None
    return value


def _load_from_file(value: Any, context: Any, blob: bytes) -> None:
    """The same through a file that nobody else may open."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seal"
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(blob)
        value.load(context, str(path))


@final
@dataclass(frozen=True, slots=True)
class Backend:
    """SEAL objects of one ring and plaintext modulus that hold no secret.

    Args:
        ring: degree and primes.
        sealapi: TenSEAL's SEAL layer.
        context: the SEAL context.
        encoder: its batch encoder.
        evaluator: its evaluator.
        prefix: the first six bytes of whatever this SEAL writes: magic, header size, version, compression.

    Raises:
        ParameterError: the context's generator is seeded.
    """

    ring: Ring
    sealapi: ModuleType
    context: Any
    encoder: Any
    evaluator: Any
    prefix: bytes

    def __post_init__(self) -> None:
        generator = self.context.key_context_data().parms().random_generator()
        if generator is not None and not generator.use_random_seed():
            raise ParameterError(
                "context must draw from SEAL's own generator, got a seeded one: every encryption would repeat its "
                "randomness, and two ciphertexts would give away the difference of their vectors."
            )

    def new_secret_key(self) -> bytes:
        """A fresh secret key of a ring with one prime, serialised. No public key is made, and none may be."""
        if self.ring.is_public:
            raise ParameterError("ring must have one prime for a secret key without a public one, got two.")
        return _save(self.sealapi.KeyGenerator(self.context).secret_key())

    def new_key_pair(self) -> tuple[bytes, bytes]:
        """A fresh secret key of a ring with two primes and its public key, serialised."""
        if not self.ring.is_public:
            raise ParameterError("ring must have two primes for a public key, got one: its noise would not fit.")
        generator = self.sealapi.KeyGenerator(self.context)
        public_key = self.sealapi.PublicKey()
        generator.create_public_key(public_key)
        return _save(generator.secret_key()), _save(public_key)

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
        cipher = _load(self.sealapi.Ciphertext(), self.context, unpacked(self.sealapi, blob, content_bytes))
        regular = (
            cipher.size() == 2
            and cipher.poly_modulus_degree() == self.ring.degree
            and cipher.coeff_modulus_size() == 1
            and not cipher.is_ntt_form()
            and not cipher.is_transparent()
            and cipher.parms_id() == self.context.first_parms_id()
        )
        if not regular:
            raise DecodeError("the bytes are not a ciphertext of this plan.")
        return cipher

    def load_secret_key(self, blob: bytes) -> Any:
        """A secret key from its bytes; raises DecodeError."""
        self._check_header(blob, self.ring.secret_key_bytes)
        plain = unpacked(self.sealapi, blob, self.ring.secret_key_bytes, SECRET_KEY_FIELDS)
        return _load(self.sealapi.SecretKey(), self.context, plain)

    def load_public_key(self, blob: bytes) -> Any:
        """A public key from its bytes; raises DecodeError."""
        self._check_header(blob, self.ring.public_key_bytes)
        plain = unpacked(self.sealapi, blob, self.ring.public_key_bytes)
        return _load(self.sealapi.PublicKey(), self.context, plain)

    def add(self, left: Any, right: Any) -> None:
        """Add the ciphertext `right` into `left`; `right` is as it was.

        Raises:
            DecodeError: their second halves cancel, and what is left would hide nothing; `left` is as it was, too.
        """
        try:
            self.evaluator.add_inplace(left, right)
        except RuntimeError:
            self.subtract(left, right)  # SEAL adds, and looks at the sum after
            raise DecodeError("the ciphertext leaves a sum that is none.") from None

    def subtract(self, left: Any, right: Any) -> None:
        """Take the ciphertext `right` off `left` again."""
        self.evaluator.sub_inplace(left, right)

    def save(self, cipher: Any) -> bytes:
        """A full ciphertext's bytes."""
        return _save(cipher)

    def _check_header(self, blob: bytes, content_bytes: int) -> None:
        """SEAL's header with the true length, and a zstd frame that announces exactly `content_bytes`."""
        if not isinstance(blob, bytes):
            raise DecodeError(f"the bytes must be bytes, got {type(blob).__name__}.")
        if blob[:3] == self.prefix[:3] and len(blob) > HEADER_BYTES and blob[3:5] != self.prefix[3:5]:
            raise DecodeError(
                f"the bytes were written by version {blob[3]}.{blob[4]} of SEAL, and this is version "
                f"{self.prefix[3]}.{self.prefix[4]}; install the same tenseal on both sides."
            )
        wanted = self.prefix + bytes(2) + len(blob).to_bytes(8, "little") + _frame(content_bytes)
        if blob[: len(wanted)] != wanted:
            raise DecodeError("the bytes are not what this plan has in their place, or are cut short.")


@lru_cache(maxsize=8)
def backend(plain_modulus: int, ring: Ring = SHARED_RING) -> Backend:
    """The backend of a plaintext modulus; kept, because making SEAL's tables takes longer than an encryption.

    Args:
        plain_modulus: a prime, congruent to 1 modulo ``2 * degree``.
        ring: degree and primes.

    Returns:
        The backend.

    Raises:
        BackendError: TenSEAL is missing, or is not the SEAL that this module knows.
    """
    sealapi = _sealapi()
    parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
    parameters.set_poly_modulus_degree(ring.degree)
    parameters.set_coeff_modulus([sealapi.Modulus(prime) for prime in ring.primes])
    parameters.set_plain_modulus(sealapi.Modulus(plain_modulus))
    level = sealapi.SEC_LEVEL_TYPE.__members__[f"TC{ring.security.level_2018}"]
    context = sealapi.SEALContext(parameters, True, level)
    if not context.parameters_set() or context.using_keyswitching() != ring.is_public:
        raise BackendError("this TenSEAL refuses the parameters of BFVSum; install tenseal>=0.3.15.")
    prefix = _save(sealapi.Plaintext())[:6]
    if prefix[:3] != b"\x5e\xa1\x10" or prefix[5] != _ZSTD:
        raise BackendError("this TenSEAL writes another format than zstd-compressed SEAL 4; install a wheel of PyPI.")
    return Backend(ring, sealapi, context, sealapi.BatchEncoder(context), sealapi.Evaluator(context), prefix)


@final
class SeededEncryptor:
    """Encryption by who holds the secret key: half of a ciphertext is a seed.

    Args:
        backend: the public side; of a ring with one prime.
        secret_key: from :meth:`Backend.new_secret_key`.

    Raises:
        DecodeError: the key is not one of this ring and plaintext modulus.
        ParameterError: the ring is one of public keys.
    """

    __slots__ = ("_backend", "_encryptor")

    def __init__(self, backend: Backend, secret_key: bytes) -> None:
        if backend.ring.is_public:
            raise ParameterError("seeded ciphertexts need a ring with one prime, got two.")
        self._backend = backend
        self._encryptor = backend.sealapi.Encryptor(backend.context, backend.load_secret_key(secret_key))

    def encrypt(self, slots: NDArray[np.uint64]) -> bytes:
        """A seeded ciphertext of uint64 slots in ``[0, t)``, shape ``(degree,)``."""
        return _save(self._encryptor.encrypt_symmetric(_encoded(self._backend, slots)))


@final
class PublicEncryptor:
    """Encryption by anybody: nothing here opens what it made.

    Args:
        backend: the public side; of a ring with two primes.
        public_key: from :meth:`Backend.new_key_pair`.

    Raises:
        DecodeError: the key is not one of this ring and plaintext modulus.
        ParameterError: the ring has no public keys.
    """

    __slots__ = ("_backend", "_encryptor")

    def __init__(self, backend: Backend, public_key: bytes) -> None:
        if not backend.ring.is_public:
            raise ParameterError("a public key needs a ring with two primes, got one.")
        self._backend = backend
        self._encryptor = backend.sealapi.Encryptor(backend.context, backend.load_public_key(public_key))

    def encrypt(self, slots: NDArray[np.uint64]) -> bytes:
        """A ciphertext of uint64 slots in ``[0, t)``, shape ``(degree,)``."""
        cipher = self._backend.sealapi.Ciphertext()
        self._encryptor.encrypt(_encoded(self._backend, slots), cipher)
        return _save(cipher)


@final
class Decryptor:
    """Decryption under one secret key.

    Args:
        backend: the public side.
        secret_key: of the same ring.

    Raises:
        DecodeError: the key is not one of this ring and plaintext modulus.
    """

    __slots__ = ("_backend", "_decryptor")

    def __init__(self, backend: Backend, secret_key: bytes) -> None:
        self._backend = backend
        self._decryptor = backend.sealapi.Decryptor(backend.context, backend.load_secret_key(secret_key))

    def decrypt(self, cipher: Any) -> NDArray[np.uint64]:
        """The slots of a loaded ciphertext, uint64 in ``[0, t)``, shape ``(degree,)``; it is as it was."""
        plain = self._backend.sealapi.Plaintext()
        self._decryptor.decrypt(cipher, plain)
        return np.array(self._backend.encoder.decode_uint64(plain), dtype=np.uint64)


def _encoded(backend: Backend, slots: NDArray[np.uint64]) -> Any:
    """Slots as a SEAL plaintext."""
    plain = backend.sealapi.Plaintext()
    backend.encoder.encode(slots.tolist(), plain)
    return plain
