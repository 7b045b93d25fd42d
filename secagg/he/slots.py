"""SEAL's CKKS without keys for evaluation: rings, sums of seeded ciphertexts, and exact noise before decryption.

The rules of :mod:`secagg.he.seal` hold here too: SEAL's generator is never replaced, and nothing is loaded before its
header, its length and the announced size of its contents have been checked.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from secagg.errors import BackendError, DecodeError, ParameterError
from secagg.he.contents import SECRET_KEY_FIELDS, unpacked
from secagg.he.seal import _frame, _load, _save, _sealapi

__all__ = ["RINGS", "SlotBackend", "SlotCipher", "SlotRing", "slot_backend"]

_FIELDS = struct.Struct("<4QBQQQdQ")
"""SEAL's ciphertext fields: parms_id, is_ntt_form, size, degree, primes, scale, correction factor."""

_KEY_FIELDS_BYTES = 32 + 2 * 8
"""SEAL's plaintext fields, which is what a secret key is: parms_id, coefficients, scale."""

_HEADER_BYTES = 16
"""SEAL's header: magic and header size 3, version 2, compression 1, reserved 2, length 8."""

_ARRAY_BYTES = _HEADER_BYTES + 8
_SEED_BYTES = _HEADER_BYTES + 1 + 64
_ZSTD = 2


@final
@dataclass(frozen=True, slots=True)
class SlotRing:
    """A ring of CKKS, and what its ciphertexts weigh.

    Args:
        degree: coefficients of a polynomial; half as many complex slots, so as many real values.
        primes: the ciphertext modulus, as primes congruent to 1 modulo ``2 * degree``.
        special: a further prime that SEAL reserves where there are two or more; nothing is published under it.
        level: bits of security of the modulus at this degree, in the tables of 2018 and of 2024.
    """

    degree: int
    primes: tuple[int, ...]
    special: tuple[int, ...]
    level: int

    @property
    def modulus(self) -> int:
        """The ciphertext modulus q."""
        return math.prod(self.primes)

    @property
    def seeded_bytes(self) -> int:
        """A seeded ciphertext before compression: one polynomial and the seed of the other."""
        return _FIELDS.size + _ARRAY_BYTES + 8 * self.degree * len(self.primes) + _SEED_BYTES

    @property
    def full_bytes(self) -> int:
        """A full ciphertext before compression: two polynomials."""
        return _FIELDS.size + _ARRAY_BYTES + 2 * 8 * self.degree * len(self.primes)

    @property
    def secret_key_bytes(self) -> int:
        """A secret key before compression: one polynomial under every prime."""
        return _KEY_FIELDS_BYTES + _ARRAY_BYTES + 8 * self.degree * len(self.primes + self.special)


RINGS = (
    SlotRing(4096, (1152921504606830593,), (), 192),
    SlotRing(8192, (1099510890497, 1099511480321), (137438822401,), 256),
)
"""One prime of 60 bits: about twice float32. Two primes of 40: about three times, and 20 bits more for the sum."""


@final
@dataclass(frozen=True, slots=True)
class SlotBackend:
    """SEAL objects of one ring and scale that hold no secret.

    Args:
        ring: the ring.
        scale_bits: slots are multiplied by ``2**scale_bits`` and rounded to integers.
        sealapi: TenSEAL's SEAL layer.
        context: the SEAL context.
        encoder: its encoder.
        evaluator: its evaluator.
        prefix: the first five bytes of whatever this SEAL writes: magic, header size, version.

    Raises:
        ParameterError: the context's generator is seeded.
    """

    ring: SlotRing
    scale_bits: int
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
        cipher = _load(self.sealapi.Ciphertext(), self.context, unpacked(self.sealapi, blob, content_bytes))
        regular = (
            cipher.size() == 2
            and cipher.poly_modulus_degree() == self.ring.degree
            and cipher.coeff_modulus_size() == len(self.ring.primes)
            and cipher.is_ntt_form()
            and not cipher.is_transparent()
            and cipher.parms_id() == self.context.first_parms_id()
            and cipher.scale == math.ldexp(1.0, self.scale_bits)
        )
        if not regular:
            raise DecodeError("the bytes are not a ciphertext of this plan.")
        return cipher

    def load_secret_key(self, blob: bytes) -> Any:
        """A secret key from its bytes; raises DecodeError."""
        self._check_header(blob, self.ring.secret_key_bytes)
        plain = unpacked(self.sealapi, blob, self.ring.secret_key_bytes, SECRET_KEY_FIELDS)
        return _load(self.sealapi.SecretKey(), self.context, plain)

    def add(self, left: Any, right: Any) -> None:
        """Add the ciphertext `right` into `left`; `right` is as it was."""
        self.evaluator.add_inplace(left, right)

    def save(self, cipher: Any) -> bytes:
        """A full ciphertext's bytes."""
        return _save(cipher)

    def add_polynomial(self, cipher: Any, coefficients: NDArray[np.int64]) -> None:
        """Add an integer polynomial to what `cipher` decrypts to, exactly.

        SEAL encodes slots of floats only, so the integers enter as the pair (f, 1), from which (0, 1) is taken again:
        a second half of zero is what SEAL refuses as transparent.

        Args:
            cipher: a loaded ciphertext; changed.
            coefficients: int64, shape ``(degree,)``.

        Raises:
            DecodeError: its second half is -1, of which the pair leaves nothing: no sum has it, but a lie may.
        """
        try:
            self.evaluator.add_inplace(cipher, self._pair(coefficients))
        except RuntimeError:
            raise DecodeError("the bytes are not a ciphertext of this plan.") from None
        self.evaluator.sub_inplace(cipher, _zero_pair(self.ring, self.scale_bits))

    def _pair(self, coefficients: NDArray[np.int64]) -> Any:
        """The ciphertext (f, 1) in SEAL's transformed form."""
        one = np.zeros_like(coefficients)
        one[0] = 1
        words = np.concatenate([half % prime for half in (coefficients, one) for prime in self.ring.primes])
        fields = (0, 2, self.ring.degree, len(self.ring.primes), math.ldexp(1.0, self.scale_bits), 1)
        array = self._object(struct.pack("<Q", words.size) + words.astype("<u8").tobytes())
        blob = self._object(_FIELDS.pack(*self.context.first_parms_id(), *fields) + array)
        cipher = _load(self.sealapi.Ciphertext(), self.context, blob)
        self.evaluator.transform_to_ntt_inplace(cipher)
        return cipher

    def _check_header(self, blob: bytes, content_bytes: int) -> None:
        """SEAL's header with the true length, and a zstd frame that announces exactly `content_bytes`."""
        if not isinstance(blob, bytes):
            raise DecodeError(f"the bytes must be bytes, got {type(blob).__name__}.")
        if blob[:3] == self.prefix[:3] and len(blob) > _HEADER_BYTES and blob[3:5] != self.prefix[3:5]:
            raise DecodeError(
                f"the bytes were written by version {blob[3]}.{blob[4]} of SEAL, and this is version "
                f"{self.prefix[3]}.{self.prefix[4]}; install the same tenseal on both sides."
            )
        wanted = self.prefix + bytes([_ZSTD, 0, 0]) + len(blob).to_bytes(8, "little") + _frame(content_bytes)
        if blob[: len(wanted)] != wanted:
            raise DecodeError("the bytes are not what this plan has in their place, or are cut short.")

    def _object(self, content: bytes) -> bytes:
        """A SEAL object without compression: its header and its content."""
        return self.prefix + bytes(3) + (_HEADER_BYTES + len(content)).to_bytes(8, "little") + content


@lru_cache(maxsize=8)
def slot_backend(ring: SlotRing, scale_bits: int) -> SlotBackend:
    """The backend of a ring and scale; kept, because making SEAL's tables takes longer than an encryption.

    Args:
        ring: one of ``RINGS``.
        scale_bits: the scale is ``2**scale_bits``.

    Returns:
        The backend.

    Raises:
        BackendError: TenSEAL is missing, or is not the SEAL that this module knows.
    """
    sealapi = _sealapi()
    parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(ring.degree)
    parameters.set_coeff_modulus([sealapi.Modulus(prime) for prime in ring.primes + ring.special])
    level = getattr(sealapi.SEC_LEVEL_TYPE, f"TC{ring.level}")
    context = sealapi.SEALContext(parameters, True, level)
    if not context.parameters_set():
        raise BackendError("this TenSEAL refuses the parameters of CKKSSum; install tenseal>=0.3.15.")
    prefix = _save(sealapi.Plaintext())[:6]
    if prefix[:3] != b"\x5e\xa1\x10" or prefix[5] != _ZSTD:
        raise BackendError("this TenSEAL writes another format than zstd-compressed SEAL 4; install a wheel of PyPI.")
    encoder, evaluator = sealapi.CKKSEncoder(context), sealapi.Evaluator(context)
    return SlotBackend(ring, scale_bits, sealapi, context, encoder, evaluator, prefix[:5])


@lru_cache(maxsize=8)
def _zero_pair(ring: SlotRing, scale_bits: int) -> Any:
    """The pair (0, 1) of a backend; nobody changes it."""
    return slot_backend(ring, scale_bits)._pair(np.zeros(ring.degree, dtype=np.int64))


@final
class SlotCipher:
    """Encryption and decryption under one secret key.

    Args:
        backend: the public side.
        secret_key: from :meth:`SlotBackend.new_secret_key`.

    Raises:
        DecodeError: the key is not one of this ring.
    """

    __slots__ = ("_backend", "_decryptor", "_encryptor")

    def __init__(self, backend: SlotBackend, secret_key: bytes) -> None:
        key = backend.load_secret_key(secret_key)
        self._backend = backend
        self._encryptor = backend.sealapi.Encryptor(backend.context, key)
        self._decryptor = backend.sealapi.Decryptor(backend.context, key)

    def encrypt(self, slots: NDArray[np.complex128]) -> bytes:
        """A seeded symmetric ciphertext of complex slots, shape ``(degree / 2,)``."""
        plain = self._backend.sealapi.Plaintext()
        self._backend.encoder.encode(slots.tolist(), math.ldexp(1.0, self._backend.scale_bits), plain)
        return _save(self._encryptor.encrypt_symmetric(plain))

    def decrypt(self, cipher: Any) -> NDArray[np.complex128]:
        """The slots of a loaded ciphertext, shape ``(degree / 2,)``: flooded before, or they give the key away."""
        plain = self._backend.sealapi.Plaintext()
        self._decryptor.decrypt(cipher, plain)
        return np.array(self._backend.encoder.decode_complex(plain), dtype=np.complex128)
