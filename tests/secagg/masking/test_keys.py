"""Keys are bound to all that they are for, bad ones are refused, and what is sealed opens only as what it is."""

from __future__ import annotations

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import DecodeError, ParameterError, PeerProtocolError
from secagg.masking.keys import (
    SEAL_OVERHEAD,
    Identity,
    KeyPair,
    Purpose,
    agree,
    check_public,
    commit,
    open_share,
    seal_share,
    self_mask_key,
    verify,
)
from tests.oracles import masking as oracle

SESSION, CONFIG, SHARE = bytes([1]) * 32, bytes([2]) * 32, bytes(range(36))
A, B, C = (KeyPair(bytes([number]) * 32) for number in (3, 4, 5))

#: RFC 7748, section 5.2: scalar, coordinate, result.
RFC_7748_STEPS = [
    (
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ),
]
#: RFC 7748, section 6.1: private and public keys of two, and their secret.
RFC_7748_PAIRS = [
    (
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
    ),
    (
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    ),
]
RFC_7748_SHARED = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
#: RFC 8032, section 7.1, tests 1 to 3 and SHA(abc): seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        b"",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        b"\x72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        b"\xaf\x82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").digest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]
#: RFC 5869, A.1 to A.3: secret, salt, info, key.
RFC_5869 = [
    (
        bytes([0x0B]) * 22,
        bytes(range(13)),
        bytes(range(0xF0, 0xFA)),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(80)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
        "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        bytes([0x0B]) * 22,
        b"",
        b"",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]
#: RFC 8439, section 2.8.2: plain text, and its cipher text with the tag.
RFC_8439_TEXT = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
RFC_8439_SEALED = (
    "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
    "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
    "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
    "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691"
)
#: Canonical coordinates of low order: 0 and 1, two of order 8, and p - 1.
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    oracle.CURVE - 1,
]


def _agree(pair=A, public=B.public, *, session=SESSION, mine=0, theirs=1, purpose=Purpose.SHARES):
    return agree(pair, public, session=session, mine=mine, theirs=theirs, purpose=purpose)


def _encoded(coordinate):
    return coordinate.to_bytes(32, "little")


def _raw_exchange(pair_seed, public):
    return X25519PrivateKey.from_private_bytes(pair_seed).exchange(X25519PublicKey.from_public_bytes(public))


def test_x25519_of_rfc_7748():
    for scalar, coordinate, result in RFC_7748_STEPS:
        seed, public = bytes.fromhex(scalar), bytes.fromhex(coordinate)
        assert oracle.x25519(seed, public).hex() == KeyPair(seed).exchange(public).hex() == result
    (alice, alice_public), (bob, bob_public) = (map(bytes.fromhex, row) for row in RFC_7748_PAIRS)
    assert KeyPair(alice).public == alice_public == oracle.x25519(alice, oracle.BASE)
    assert KeyPair(bob).public == bob_public == oracle.x25519(bob, oracle.BASE)
    assert KeyPair(alice).exchange(bob_public).hex() == KeyPair(bob).exchange(alice_public).hex() == RFC_7748_SHARED


@pytest.mark.parametrize(("secret", "salt", "info", "key"), RFC_5869)
def test_hkdf_of_rfc_5869(secret, salt, info, key):
    length = len(key) // 2
    assert oracle.hkdf(secret, salt, info, length).hex() == key
    assert HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret).hex() == key


def test_chacha20_poly1305_of_rfc_8439():
    key, nonce = bytes(range(0x80, 0xA0)), bytes.fromhex("070000004041424344454647")
    context = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    assert oracle.seal(key, nonce, RFC_8439_TEXT, context).hex() == RFC_8439_SEALED
    assert ChaCha20Poly1305(key).encrypt(nonce, RFC_8439_TEXT, context).hex() == RFC_8439_SEALED


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_ed25519_of_rfc_8032(seed, public, message, signature):
    identity = Identity(bytes.fromhex(seed))
    assert identity.public.hex() == public
    assert identity.sign(message).hex() == signature
    verify(identity.public, bytes.fromhex(signature), message, peer=3)
    bad = [(message + b"\0", signature), (message, signature[:-2] + "ff"), (message, signature[2:]), (message, "")]
    for other, wrong in bad:
        with pytest.raises(PeerProtocolError) as caught:
            verify(identity.public, bytes.fromhex(wrong), other, peer=3)
        assert caught.value.peer == 3
    with pytest.raises(PeerProtocolError):
        verify(Identity(bytes(32)).public, bytes.fromhex(signature), message, peer=3)


def test_keys_equal_the_vectors():
    for row in json.loads(oracle.TABLE.read_text())["keys"]:
        pairs = [KeyPair(bytes.fromhex(seed)) for seed in row["seeds"]]
        (mine, theirs), session = row["parties"], bytes.fromhex(row["session"])
        assert [pair.public.hex() for pair in pairs] == row["public"]
        for purpose in Purpose:
            ours = _agree(pairs[0], pairs[1].public, session=session, mine=mine, theirs=theirs, purpose=purpose)
            other = _agree(pairs[1], pairs[0].public, session=session, mine=theirs, theirs=mine, purpose=purpose)
            assert ours.secret.hex() == other.secret.hex() == row[purpose]
        context = {"sender": mine, "receiver": theirs, "config": bytes.fromhex(row["config"])}
        key = _agree(pairs[1], pairs[0].public, session=session, mine=theirs, theirs=mine)
        assert open_share(key, bytes.fromhex(row["sealed"]), **context).hex() == row["share"]
        assert seal_share(key, bytes.fromhex(row["share"]), **context).hex() == row["sealed"]
        seed = bytes.fromhex(row["seeds"][0])
        assert self_mask_key(seed, session=session, party=mine).hex() == row["self mask"]
        assert commit(session, mine, seed).hex() == row["commitment"]


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1), st.sampled_from(list(Purpose)))
def test_agreed_keys_equal_the_slow_oracle(seed, mine, purpose):
    wanted = oracle.agreed(seed, B.public, SESSION, mine, 7 if mine != 7 else 8, purpose.encode())
    key = _agree(KeyPair(seed), mine=mine, theirs=7 if mine != 7 else 8, purpose=purpose)
    assert key.secret == wanted


def test_agreed_keys_differ_by_everything_they_are_bound_to():
    keys = [
        _agree(),
        _agree(purpose=Purpose.MASK),
        _agree(session=bytes(32)),
        _agree(theirs=2),
        _agree(mine=2),
        _agree(mine=1, theirs=0),  # the same two keys under each other's numbers
        _agree(public=C.public),
        _agree(C),
    ]
    assert len({key.secret for key in keys}) == len(keys)
    assert _agree(B, A.public, mine=1, theirs=0).secret == keys[0].secret


def test_an_alias_of_a_key_gives_another_key():
    # u and 1/u differ by the point (0, 0) of order 2, which every X25519 private key takes to nothing
    alias = _encoded(pow(int.from_bytes(B.public, "little"), -1, oracle.CURVE))
    assert _raw_exchange(bytes([3]) * 32, alias) == _raw_exchange(bytes([3]) * 32, B.public)
    assert _agree(public=alias).secret != _agree().secret
    # and so a peer who passes off an alias of a third party's key as its own has not that party's keys
    assert _agree(public=alias, theirs=2).secret != _agree(theirs=2).secret


@pytest.mark.parametrize("change", [2**255, oracle.CURVE])
def test_second_encodings_are_refused(change):
    low = [9, int.from_bytes(B.public, "little")] if change == 2**255 else [2, 9, 18]
    for coordinate in low:
        encoded = _encoded(coordinate + change)
        assert _raw_exchange(bytes([3]) * 32, encoded) == _raw_exchange(bytes([3]) * 32, _encoded(coordinate))
        with pytest.raises(PeerProtocolError, match="canonically") as caught:
            _agree(public=encoded, theirs=5)
        assert caught.value.peer == 5
    with pytest.raises(PeerProtocolError, match="canonically"):
        check_public(_encoded(oracle.CURVE), peer=1)
    assert check_public(_encoded(oracle.CURVE - 1), peer=1) == _encoded(oracle.CURVE - 1)


@pytest.mark.parametrize("coordinate", LOW_ORDER)
def test_low_order_points_are_refused(coordinate):
    assert oracle.x25519(bytes([3]) * 32, _encoded(coordinate)) == bytes(32)
    with pytest.raises(PeerProtocolError, match="low order") as caught:
        _agree(public=_encoded(coordinate))
    assert caught.value.peer == 1


def test_a_library_that_returns_zeros_is_not_trusted(monkeypatch):
    monkeypatch.setattr(KeyPair, "exchange", lambda self, public: bytes(32))
    with pytest.raises(PeerProtocolError, match="low order"):
        _agree()


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33), bytearray(32), "x" * 32, None])
def test_public_keys_of_another_length_are_refused(public):
    with pytest.raises(PeerProtocolError, match="32 bytes"):
        _agree(public=public)


def test_ones_own_key_is_refused():
    with pytest.raises(PeerProtocolError, match="own"):
        _agree(public=A.public)


@pytest.mark.parametrize(
    "change",
    [
        {"session": bytes(31)},
        {"session": bytearray(32)},
        {"mine": -1},
        {"mine": 2**32},
        {"mine": True},
        {"theirs": 0},
        {"theirs": 2**32},
        {"purpose": "pairwise mask"},
        {"purpose": b"sealed shares"},
    ],
)
def test_bad_arguments_of_agree_are_refused(change):
    with pytest.raises(ParameterError):
        _agree(**change)


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), bytearray(32), None])
def test_seeds_of_another_length_are_refused(seed):
    for use in (KeyPair, Identity, lambda s: commit(SESSION, 0, s)):
        with pytest.raises(ParameterError, match="seed must be 32 bytes"):
            use(seed)
    with pytest.raises(ParameterError, match="seed must be 32 bytes"):
        self_mask_key(seed, session=SESSION, party=0)


def test_keys_do_not_show_themselves():
    shown = repr(A) + repr(_agree()) + repr(Identity(bytes([3]) * 32))
    for secret in (bytes([3]) * 32, _agree().secret):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def _sealed(share=SHARE, *, sender=0, receiver=1, config=CONFIG):
    return seal_share(_agree(), share, sender=sender, receiver=receiver, config=config)


def test_a_sealed_share_opens_on_the_other_side():
    theirs = _agree(B, A.public, mine=1, theirs=0)
    sealed = _sealed()
    assert len(sealed) == len(SHARE) + SEAL_OVERHEAD
    assert open_share(theirs, sealed, sender=0, receiver=1, config=CONFIG) == SHARE


def test_every_changed_byte_of_a_sealed_share_is_found():
    sealed, key = _sealed(), _agree()
    changed = [
        sealed[:i] + bytes([sealed[i] ^ 1 << bit]) + sealed[i + 1 :] for i in range(len(sealed)) for bit in (0, 7)
    ]
    changed += [sealed[:length] for length in range(len(sealed))] + [
        sealed + b"\0",
        b"\0" + sealed,
        bytearray(sealed),
        None,
    ]
    for wrong in changed:
        with pytest.raises(DecodeError) as caught:
            open_share(key, wrong, sender=0, receiver=1, config=CONFIG)
        assert caught.value.peer == 0


def test_a_sealed_share_opens_in_its_own_context_only():
    sealed, context = _sealed(), {"sender": 0, "receiver": 1, "config": CONFIG}
    wrong = [
        (_agree(), {"sender": 1, "receiver": 0, "config": CONFIG}),  # turned back to who sent it
        (_agree(), {**context, "config": bytes(32)}),
        (_agree(session=bytes(32)), context),
        (_agree(C), context),
    ]
    for key, other in wrong:
        with pytest.raises(DecodeError):
            open_share(key, sealed, **other)
    for key in (_agree(purpose=Purpose.MASK), _agree(mine=2), _agree(theirs=2)):
        with pytest.raises(ParameterError, match="agreed for sealed shares"):
            open_share(key, sealed, **context)


def test_directions_and_configurations_have_keys_of_their_own():
    # one key for two messages under one nonce would give away their difference
    zeros = bytes(64)
    pads = {_sealed(zeros)[:64], _sealed(zeros, sender=1, receiver=0)[:64], _sealed(zeros, config=b"")[:64]}
    assert len(pads) == 3


@pytest.mark.parametrize(
    "change", [{"sender": 1}, {"receiver": 0}, {"receiver": 2}, {"sender": -1}, {"config": None}, {"share": "text"}]
)
def test_bad_arguments_of_seal_are_refused(change):
    with pytest.raises(ParameterError):
        _sealed(**change)


def test_commitments_differ_by_session_party_and_seed():
    rows = [(SESSION, 0, SHARE[:32]), (bytes(32), 0, SHARE[:32]), (SESSION, 1, SHARE[:32]), (SESSION, 0, bytes(32))]
    assert len({commit(*row) for row in rows}) == 4
    keys = {self_mask_key(seed, session=session, party=party) for session, party, seed in rows}
    assert len(keys) == 4
    assert not keys & {commit(*row) for row in rows}
    with pytest.raises(ParameterError, match="session"):
        commit(b"", 0, bytes(32))
    with pytest.raises(ParameterError, match="session"):
        self_mask_key(bytes(32), session=b"", party=0)
    with pytest.raises(ParameterError, match="party"):
        commit(SESSION, 2**32, bytes(32))
