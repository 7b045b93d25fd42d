"""The keys of a masked sum: X25519 pairs, what two parties agree on, sealed shares, commitments and signatures.

Whatever is derived is bound to the session, to its purpose, and to both parties: their identifiers, and the public keys
as bytes. The last matters because the bytes of a key are not all that it is: several encodings, and several points,
give the same X25519 secret. Encodings that are not the canonical one are refused; points that differ give different
keys here.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import StrEnum
from typing import final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from secagg.checks import check_bytes, check_integer
from secagg.errors import DecodeError, ParameterError, PeerProtocolError
from secagg.prg import derive_key

__all__ = [
    "KEY_BYTES",
    "SEAL_OVERHEAD",
    "SIGNATURE_BYTES",
    "SUITE",
    "Identity",
    "KeyPair",
    "PairKey",
    "Purpose",
    "agree",
    "check_public",
    "commit",
    "open_share",
    "seal_share",
    "self_mask_key",
    "verify",
]

KEY_BYTES = 32
"""Length of seeds, public keys, agreed keys, session identifiers and commitments."""

SIGNATURE_BYTES = 64
"""Length of a signature."""

SEAL_OVERHEAD = 16
"""Bytes that sealing adds."""

SUITE = b"X25519 HKDF-SHA256 AES-256-CTR ChaCha20-Poly1305"
"""What the keys are for; in every derivation, so that another suite has other keys."""

_FIELD = (1 << 255) - 19
_NONCE = bytes(12)


class Purpose(StrEnum):
    """What an agreed key is for."""

    MASK = "pairwise mask"
    """The key of a mask that one party adds and the other subtracts."""
    SHARES = "sealed shares"
    """The key from which those of the sealed shares are derived, one for each direction."""


@final
class KeyPair:
    """An X25519 key pair, for one session.

    Args:
        seed: 32 uniform bytes, the private key.
    """

    __slots__ = ("_private", "_public")

    def __init__(self, seed: bytes) -> None:
        self._private = X25519PrivateKey.from_private_bytes(check_bytes("seed", seed, KEY_BYTES))
        self._public = self._private.public_key().public_bytes_raw()

    @property
    def public(self) -> bytes:
        """The public key, in its canonical encoding."""
        return self._public

    def exchange(self, public: bytes) -> bytes:
        """The X25519 secret with another's public key, zero where it would say nothing of ours; for `agree` alone."""
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:  # how the library reports a secret of zeros
            return bytes(KEY_BYTES)


@final
@dataclass(frozen=True, slots=True, eq=False)
class PairKey:
    """What two parties agreed on, for one purpose of one session; made by `agree`.

    Args:
        secret: 32 bytes.
        purpose: the only thing it may be used for.
        session: 32 bytes, the session.
        parties: the two, the lower first.
    """

    secret: bytes = field(repr=False)
    purpose: Purpose
    session: bytes = field(repr=False)
    parties: tuple[int, int]


def check_public(public: object, *, peer: int) -> bytes:
    """A peer's public key, refused unless it is 32 bytes and the one canonical encoding (RFC 7748, section 5).

    The high bit is ignored by X25519, and coordinates of p and above stand for smaller ones: both are second encodings.
    """
    if not isinstance(public, bytes) or len(public) != KEY_BYTES:
        raise PeerProtocolError(f"a public key must be {KEY_BYTES} bytes.", peer=peer)
    if int.from_bytes(public, "little") >= _FIELD:
        raise PeerProtocolError("a public key is not canonically encoded.", peer=peer)
    return public


def agree(pair: KeyPair, public: bytes, *, session: bytes, mine: int, theirs: int, purpose: Purpose) -> PairKey:
    """The key that two parties share for a purpose, the same on both sides.

    Guarantee:
        It differs whenever session, purpose, an identifier or a public key does, also where two public keys have the
        same X25519 secret, and a key that would make the secret known is refused. Held by
        ``test_agreed_keys_differ_by_everything_they_are_bound_to``, ``test_an_alias_of_a_key_gives_another_key`` and
        ``test_low_order_points_are_refused``.

    Args:
        pair: one's own keys.
        public: the peer's public key, as received.
        session: 32 bytes, of this session only.
        mine: one's own number, in ``[0, 2**32)``.
        theirs: the peer's, another.
        purpose: what the key is for.

    Returns:
        The key, bound to session, purpose and parties.

    Raises:
        ParameterError: an argument of one's own is out of its domain.
        PeerProtocolError: the public key may not be used; `theirs` is to blame.

    Example:
        >>> a, b = KeyPair(bytes(32)), KeyPair(bytes([1]) * 32)
        >>> ab = agree(a, b.public, session=bytes(32), mine=0, theirs=1, purpose=Purpose.MASK)
        >>> ba = agree(b, a.public, session=bytes(32), mine=1, theirs=0, purpose=Purpose.MASK)
        >>> ab.secret == ba.secret
        True

    References:
        RFC 7748 section 6.1; RFC 5869.
    """
    check_bytes("session", session, KEY_BYTES)
    if not isinstance(purpose, Purpose):
        raise ParameterError(f"purpose must be a Purpose, got {type(purpose).__name__}.")
    own, peer = _identifier("mine", mine), _identifier("theirs", theirs)
    if own == peer:
        raise ParameterError("theirs must be another party than mine.")
    check_public(public, peer=theirs)
    if public == pair.public:
        raise PeerProtocolError("a public key is this party's own.", peer=theirs)
    secret = pair.exchange(public)
    if hmac.compare_digest(secret, bytes(KEY_BYTES)):
        raise PeerProtocolError("a public key is a point of low order.", peer=theirs)
    sides = sorted(((int(mine), own, pair.public), (int(theirs), peer, public)))
    bound = tuple(part for _, identifier, key in sides for part in (identifier, key))
    key = derive_key(secret, salt=session, purpose=purpose.encode(), parts=(SUITE, *bound))
    return PairKey(key, purpose, session, (sides[0][0], sides[1][0]))


def self_mask_key(seed: bytes, *, session: bytes, party: int) -> bytes:
    """The key of a party's own mask, from the seed that it shares among others: 32 bytes."""
    check_bytes("seed", seed, KEY_BYTES)
    check_bytes("session", session, KEY_BYTES)
    return derive_key(seed, salt=session, purpose=b"self mask", parts=(SUITE, _identifier("party", party)))


def commit(session: bytes, party: int, seed: bytes) -> bytes:
    """The commitment to a self-mask seed, published with the masked input.

    A wrong seed is so found when it is joined from shares. The commitment hides the seed because the seed is uniform,
    and binds to it because SHA-256 is collision-resistant.

    Args:
        session: 32 bytes, the session.
        party: whose seed.
        seed: 32 uniform bytes.

    Returns:
        32 bytes; compare them with ``hmac.compare_digest``.
    """
    check_bytes("session", session, KEY_BYTES)
    check_bytes("seed", seed, KEY_BYTES)
    return hashlib.sha256(
        _join(b"secagg v1", b"self mask commitment", session, _identifier("party", party), seed)
    ).digest()


def seal_share(key: PairKey, share: bytes, *, sender: int, receiver: int, config: bytes) -> bytes:
    """A share that only the receiver can open, and only as what it is: ChaCha20-Poly1305, with all of its context.

    The nonce is zero. That is safe because the key is derived from session, direction and configuration, and encrypts
    one message: whoever seals two different messages of one session to one receiver gives away both.

    Guarantee:
        Nothing but these bytes opens, and only for this session, sender, receiver and configuration. Held by
        ``test_every_changed_byte_of_a_sealed_share_is_found`` and
        ``test_a_sealed_share_opens_in_its_own_context_only``.

    Args:
        key: agreed with the receiver, for ``Purpose.SHARES``.
        share: what to seal.
        sender: one's own number.
        receiver: the peer's.
        config: the plan's digest, and whatever else both sides must hold alike.

    Returns:
        `SEAL_OVERHEAD` bytes more than `share`.

    Raises:
        ParameterError: the key is for another purpose or other parties, or `share` or `config` are no bytes.

    References:
        RFC 8439 section 2.8.
    """
    if not isinstance(share, bytes):
        raise ParameterError(f"share must be bytes, got {type(share).__name__}.")
    cipher, context = _sealing(key, sender, receiver, config)
    return cipher.encrypt(_NONCE, share, context)


def open_share(key: PairKey, sealed: bytes, *, sender: int, receiver: int, config: bytes) -> bytes:
    """What `seal_share` sealed under the same arguments.

    Raises:
        ParameterError: as in `seal_share`.
        DecodeError: these are not the bytes that the sender sealed for this receiver, session and configuration.
    """
    cipher, context = _sealing(key, sender, receiver, config)
    if not isinstance(sealed, bytes):
        raise DecodeError("a sealed share must be bytes.", peer=sender)
    try:
        return cipher.decrypt(_NONCE, sealed, context)
    except InvalidTag:
        raise DecodeError("a sealed share is not authentic.", peer=sender) from None


def _sealing(key: PairKey, sender: int, receiver: int, config: bytes) -> tuple[ChaCha20Poly1305, bytes]:
    """The cipher of one direction, and its associated data."""
    if not isinstance(config, bytes):
        raise ParameterError(f"config must be bytes, got {type(config).__name__}.")
    ends = (_identifier("sender", sender), _identifier("receiver", receiver))
    if key.purpose is not Purpose.SHARES or key.parties != tuple(sorted((sender, receiver))):
        raise ParameterError("key must be agreed for sealed shares, between this sender and this receiver.")
    one_way = derive_key(key.secret, salt=key.session, purpose=b"sealed share", parts=(SUITE, *ends, config))
    return ChaCha20Poly1305(one_way), _join(b"secagg v1", b"sealed share", key.session, *ends, config)


@final
class Identity:
    """A party's long-lived Ed25519 signing key, for those who have no identity layer of their own.

    Args:
        seed: 32 uniform bytes, the private key.
    """

    __slots__ = ("_private", "_public")

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(check_bytes("seed", seed, KEY_BYTES))
        self._public = self._private.public_key().public_bytes_raw()

    @property
    def public(self) -> bytes:
        """The key that others must know, from elsewhere than the server."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """The signature, `SIGNATURE_BYTES` long; the message must say which session and purpose it is of."""
        return self._private.sign(message)


def verify(public: bytes, signature: bytes, message: bytes, *, peer: int) -> None:
    """Return if `signature` is of `message` under `public` (RFC 8032), and raise PeerProtocolError otherwise."""
    key = Ed25519PublicKey.from_public_bytes(check_bytes("public", public, KEY_BYTES))
    if not isinstance(signature, bytes) or len(signature) != SIGNATURE_BYTES:
        raise PeerProtocolError(f"a signature must be {SIGNATURE_BYTES} bytes.", peer=peer)
    try:
        key.verify(signature, message)
    except InvalidSignature:
        raise PeerProtocolError("a signature does not verify.", peer=peer) from None


def _identifier(name: str, party: int) -> bytes:
    """A party's number in 4 bytes."""
    return check_integer(name, party, at_least=0, at_most=(1 << 32) - 1).to_bytes(4, "little")


def _join(*parts: bytes) -> bytes:
    """Parts behind their lengths, so that no two lists of parts are the same bytes."""
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)
