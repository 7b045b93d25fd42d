"""Masks, shares and key agreement of a masked sum against Flower's SecAgg+, each function alone."""

import sys

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from secagg.masking import shamir
from secagg.masking.keys import KeyPair, Purpose, agree
from secagg.masking.masks import add_mask
from tests.bench import peers_masking as peers
from tests.bench.timing import in_turn, interleaved, row

DIM = 1_000_000
PARTIES, THRESHOLD = 100, 51
SEED = bytes(range(32))


def rows():
    try:
        flower = peers.Flower()
    except peers.MissingPeerError as missing:
        print(f"not installed: {missing}", file=sys.stderr)
        return []
    return [*masks(flower), *shares(flower), agreement()]


def masks(flower):
    """A mask of a million entries, added to a vector; Flower's modulus is 2^32 unless it is told otherwise."""
    seed = b"A" * 44  # its key is 32 bytes in base64
    vector = [np.zeros(DIM, dtype=np.int64)]

    def theirs():
        flower.add(vector, flower.mask(seed, 2**32, [(DIM,)]))

    def generated():
        flower.mask(seed, 2**32, [(DIM,)])

    for bits in (32, 23):
        total = np.zeros(DIM, dtype=np.uint32)
        ours, both, alone = in_turn((lambda: add_mask(total, SEED, modulus=1 << bits, sign=1), theirs, generated), 40)  # noqa: B023  (called here)
        what = f"mask of {DIM} entries modulo 2^{bits}, generated and added"
        yield row(what, f"{flower.name}, the same (modulo 2^32)", ours, both, "≥ 3 times")
        yield row(what, f"{flower.name}, generated only", ours, alone, "")


def shares(flower):
    """What a client shares, and what the server joins for one party."""
    points = list(range(1, PARTIES + 1))
    secrets = np.arange(64, dtype=np.uint8).reshape(2, 32)
    dealt = shamir.split(secrets, points, THRESHOLD, SEED)
    key = peers.private_key()
    of_key = flower.split(key, THRESHOLD, PARTIES)
    if (
        flower.join(of_key[:THRESHOLD]) != key
        or (shamir.join(dealt[:, :THRESHOLD].copy(), points[:THRESHOLD], THRESHOLD) != secrets).any()
    ):
        raise RuntimeError("a secret did not come back")

    ours, theirs = interleaved(
        lambda: shamir.split(secrets, points, THRESHOLD, SEED),
        lambda: (flower.split(key, THRESHOLD, PARTIES), flower.split(SEED, THRESHOLD, PARTIES)),
        repeats=3,
    )
    what = f"a party's two secrets shared, n = {PARTIES}, t = {THRESHOLD}"
    yield row(what, flower.name, ours, theirs, "≥ 200 times")
    ours, theirs = interleaved(
        lambda: shamir.join(dealt[:1, :THRESHOLD], points[:THRESHOLD], THRESHOLD),
        lambda: flower.join(of_key[:THRESHOLD]),
        repeats=3,
    )
    yield row(f"a mask key joined, t = {THRESHOLD}", flower.name, ours, theirs, "≥ 200 times")
    every = np.repeat(dealt[:, :THRESHOLD], PARTIES // 2, axis=0)
    ours = in_turn((lambda: shamir.join(every, points[:THRESHOLD], THRESHOLD),), 5)[0]
    yield row(
        f"{PARTIES} mask keys joined, t = {THRESHOLD}", f"{flower.name}, {PARTIES} times", ours, PARTIES * theirs, ""
    )


def agreement():
    """A pairwise secret: X25519 and HKDF, against the curve that Flower takes."""
    pair, public = KeyPair(SEED), KeyPair(bytes(32)).public
    key, other = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    ours, theirs = interleaved(
        lambda: agree(pair, public, session=SEED, mine=0, theirs=1, purpose=Purpose.MASK),
        lambda: key.exchange(ec.ECDH(), other.public_key()),
        repeats=50,
    )
    return row("a pairwise key agreed", "P-384 of the same library, as in Flower", ours, theirs, "")
