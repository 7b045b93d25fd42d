"""Slow, independent masks, shares and keys: Python's integers, hashlib and hmac, and nothing of numpy or cryptography.

``python -m tests.oracles.masking`` writes tests/vectors/masking.json anew, from these functions alone.
"""

import hashlib
import hmac
import json
from itertools import chain, islice
from itertools import count as count_from
from pathlib import Path

TABLE = Path(__file__).parents[1] / "vectors" / "masking.json"
MERSENNE = 2**31 - 1
CURVE = 2**255 - 19
SUITE = b"X25519 HKDF-SHA256 AES-256-CTR ChaCha20-Poly1305"


def framed(*parts):
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


# AES-256 (FIPS 197), with its S-box from inverses in GF(2^8)


def _double(a):
    return (a << 1) ^ (0x11B if a & 0x80 else 0)


def _times(a, b):
    out = 0
    while b:
        out ^= a if b & 1 else 0
        a, b = _double(a), b >> 1
    return out


def _sbox_entry(a):
    inverse = next((b for b in range(1, 256) if _times(a, b) == 1), 0)
    out = 0x63
    for turn in range(5):
        out ^= ((inverse << turn) | (inverse >> (8 - turn))) & 0xFF
    return out


SBOX = [_sbox_entry(a) for a in range(256)]
TWO = [_double(a) for a in range(256)]


def aes256(key):
    """The function that encrypts one block."""
    words, round_constant = [list(key[i : i + 4]) for i in range(0, 32, 4)], 1
    for i in range(8, 60):
        word = words[-1]
        if i % 8 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= round_constant
            round_constant = _double(round_constant)
        elif i % 8 == 4:
            word = [SBOX[b] for b in word]
        words.append([a ^ b for a, b in zip(words[i - 8], word, strict=True)])
    keys = [list(chain(*words[i : i + 4])) for i in range(0, 60, 4)]

    def encrypt(block):
        state = [a ^ b for a, b in zip(block, keys[0], strict=True)]
        for turn in range(1, 15):
            state = [SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]
            if turn < 14:
                state = list(chain(*(_mix(state[i : i + 4]) for i in range(0, 16, 4))))
            state = [a ^ b for a, b in zip(state, keys[turn], strict=True)]
        return bytes(state)

    return encrypt


def _mix(column):
    every = column[0] ^ column[1] ^ column[2] ^ column[3]
    return [column[i] ^ every ^ TWO[column[i] ^ column[(i + 1) % 4]] for i in range(4)]


# masks and uniform residues


def stream(encrypt, head, width, first=0):
    """Little-endian words of `width` bytes behind 8 bytes of a counter block, from word `first` on."""
    per_block = 16 // width
    for number in count_from(first // per_block):
        block = encrypt(head + number.to_bytes(8, "big"))
        skip = first % per_block if number == first // per_block else 0
        for place in range(skip, per_block):
            yield int.from_bytes(block[width * place : width * (place + 1)], "little")


def mask_entries(key, modulus, *, vector=0, start=0, count, encrypt=None):
    """Entries of a mask, one after the other."""
    encrypt = encrypt or aes256(key)
    width = 4 if modulus <= 2**32 else 8
    out, entry = [], start
    while len(out) < count:
        chunk, place = divmod(entry, 2**16)
        head = vector.to_bytes(4, "big") + chunk.to_bytes(4, "big")
        take = min(count - len(out), 2**16 - place)
        if modulus & (modulus - 1) == 0:
            out += [word % modulus for word in islice(stream(encrypt, head, width, place), take)]
        else:
            low = (word % 2 ** (modulus - 1).bit_length() for word in stream(encrypt, head, width))
            out += islice((word for word in low if word < modulus), place, place + take)
        entry += take
    return out


def uniform(key, count, modulus):
    """The residues of ``secagg.prg.uniform``, index 0."""
    bits = (modulus - 1).bit_length()
    low = (word % 2**bits for word in stream(aes256(key), bytes(8), 8))
    return list(islice((word for word in low if word < modulus), count))


# HKDF (RFC 5869)


def hkdf(secret, salt, info, length):
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    out, last = b"", b""
    for number in range(1, -(-length // 32) + 1):
        last = hmac.new(extracted, last + info + bytes([number]), hashlib.sha256).digest()
        out += last
    return out[:length]


def derived(secret, salt, purpose, *parts):
    return hkdf(secret, salt, framed(b"secagg v1", purpose, *parts), 32)


# Shamir


def limbs(secret):
    number = int.from_bytes(secret, "little")
    return [number >> 30 * i & (2**30 - 1) for i in range(9)]


def evaluate(coefficients, point, prime):
    return sum(c * point**degree for degree, c in enumerate(coefficients)) % prime


def shares(secrets, points, threshold, randomness):
    """As nested lists: secret, point, limb."""
    context = (
        threshold.to_bytes(4, "little"),
        b"".join(point.to_bytes(4, "little") for point in points),
        b"".join(secrets),
    )
    free = uniform(
        derived(randomness, b"", b"shamir coefficients", *context), (threshold - 1) * len(secrets) * 9, MERSENNE
    )
    degrees = [free[i : i + 9 * len(secrets)] for i in range(0, len(free), 9 * len(secrets))]
    polynomials = [
        [[limb, *(row[9 * s + i] for row in degrees)] for i, limb in enumerate(limbs(secret))]
        for s, secret in enumerate(secrets)
    ]
    return [[[evaluate(f, x, MERSENNE) for f in own] for x in points] for own in polynomials]


def at_zero(values, points, prime):
    """Lagrange's formula."""
    total = 0
    for i, x in enumerate(points):
        over = under = 1
        for j, other in enumerate(points):
            if j != i:
                over, under = over * -other, under * (x - other)
        total += values[i] * over * pow(under, -1, prime)
    return total % prime


# X25519 (RFC 7748)


def x25519(private, public):
    number = int.from_bytes(private, "little") & ~7 & ~(1 << 255) | 1 << 254
    u = int.from_bytes(public, "little") % 2**255
    (x2, z2), (x3, z3) = (1, 0), (u, 1)
    for turn in reversed(range(255)):
        swap = number >> turn & 1
        if swap:
            (x2, z2), (x3, z3) = (x3, z3), (x2, z2)
        plus, minus, cross, other = (x2 + z2) ** 2, (x2 - z2) ** 2, (x3 - z3) * (x2 + z2), (x3 + z3) * (x2 - z2)
        x3, z3 = (cross + other) ** 2 % CURVE, u * (cross - other) ** 2 % CURVE
        x2, z2 = plus * minus % CURVE, (plus - minus) * (plus + 121665 * (plus - minus)) % CURVE
        if swap:
            (x2, z2), (x3, z3) = (x3, z3), (x2, z2)
    return (x2 * pow(z2, CURVE - 2, CURVE) % CURVE).to_bytes(32, "little")


BASE = (9).to_bytes(32, "little")


def agreed(private, public, session, mine, theirs, purpose):
    sides = sorted([(mine, x25519(private, BASE)), (theirs, public)])
    bound = [part for party, key in sides for part in (party.to_bytes(4, "little"), key)]
    return derived(x25519(private, public), session, purpose, SUITE, *bound)


# ChaCha20-Poly1305 (RFC 8439)


def _quarter(s, a, b, c, d):
    for (x, y, z), turn in zip(((a, b, d), (c, d, b), (a, b, d), (c, d, b)), (16, 12, 8, 7), strict=True):
        s[x] = (s[x] + s[y]) % 2**32
        mixed = s[z] ^ s[x]
        s[z] = (mixed << turn | mixed >> (32 - turn)) % 2**32


def chacha20(key, number, nonce):
    """One block of 64 bytes."""
    whole = b"expand 32-byte k" + key + number.to_bytes(4, "little") + nonce
    first = [int.from_bytes(whole[i : i + 4], "little") for i in range(0, 64, 4)]
    state = list(first)
    for _ in range(10):
        for i in range(4):
            _quarter(state, i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            _quarter(state, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return b"".join(((a + b) % 2**32).to_bytes(4, "little") for a, b in zip(state, first, strict=True))


def seal(key, nonce, plain, context):
    """Ciphertext and tag."""
    pads = b"".join(chacha20(key, 1 + i, nonce) for i in range(-(-len(plain) // 64)))
    sealed = bytes(a ^ b for a, b in zip(plain, pads, strict=False))
    one_time = chacha20(key, 0, nonce)
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    message = b"".join(part + bytes(-len(part) % 16) for part in (context, sealed))
    message += len(context).to_bytes(8, "little") + len(sealed).to_bytes(8, "little")
    total = 0
    for i in range(0, len(message), 16):
        total = (total + int.from_bytes(message[i : i + 16], "little") + 2**128) * r % (2**130 - 5)
    return sealed + ((total + int.from_bytes(one_time[16:], "little")) % 2**128).to_bytes(16, "little")


def sealed_share(secret, session, share, sender, receiver, config):
    """What one who holds the agreed secret sends."""
    ends = sender.to_bytes(4, "little"), receiver.to_bytes(4, "little")
    key = derived(secret, session, b"sealed share", SUITE, *ends, config)
    return seal(key, bytes(12), share, framed(b"secagg v1", b"sealed share", session, *ends, config))


def self_mask_key(seed, session, party):
    return derived(seed, session, b"self mask", SUITE, party.to_bytes(4, "little"))


def commitment(session, party, seed):
    parts = (b"secagg v1", b"self mask commitment", session, party.to_bytes(4, "little"), seed)
    return hashlib.sha256(framed(*parts)).digest()


# the table


def _bytes(text, length=32):
    return hashlib.sha512(text.encode()).digest()[:length]


def _mask_rows():
    moduli = (2, 3, 2**16, 2**23, 2**32 - 5, 2**32, 2**32 + 15, 2**40, 2**63 + 1, 2**64 - 59, 2**64)
    for modulus in moduli:
        for vector, start in ((0, 0), (7, 3), (2**32 - 1, 2**16 - 2)):
            if start > 3 and modulus & (modulus - 1):
                continue  # every candidate of a chunk would have to be made
            key = _bytes(f"mask {modulus}")
            entries = mask_entries(key, modulus, vector=vector, start=start, count=6)
            yield {
                "key": key.hex(),
                "modulus": str(modulus),  # as text: not every reader of JSON has integers of 64 bits
                "vector": vector,
                "start": start,
                "entries": [str(entry) for entry in entries],
            }


def _share_rows():
    for threshold, points in ((2, [1, 2]), (3, [5, 1, 2, 4]), (4, [1, 2, 3, MERSENNE - 1])):
        secrets, randomness = [bytes([255]) * 32, _bytes(f"secret {threshold}")], _bytes(f"coefficients {threshold}")
        yield {
            "secrets": [secret.hex() for secret in secrets],
            "randomness": randomness.hex(),
            "threshold": threshold,
            "points": points,
            "shares": shares(secrets, points, threshold, randomness),
        }


def _key_rows():
    for mine, theirs in ((0, 1), (9, 2), (2**32 - 1, 0)):
        seeds = _bytes(f"seed {mine}"), _bytes(f"seed {theirs} of {mine}")
        session, config, share = _bytes(f"session {mine}"), _bytes(f"config {mine}"), _bytes(f"share {mine}", 36)
        public = x25519(seeds[1], BASE)
        secrets = [agreed(seeds[0], public, session, mine, theirs, p) for p in (b"pairwise mask", b"sealed shares")]
        yield {
            "seeds": [seed.hex() for seed in seeds],
            "parties": [mine, theirs],
            "session": session.hex(),
            "config": config.hex(),
            "share": share.hex(),
            "public": [x25519(seeds[0], BASE).hex(), public.hex()],
            "pairwise mask": secrets[0].hex(),
            "sealed shares": secrets[1].hex(),
            "sealed": sealed_share(secrets[1], session, share, mine, theirs, config).hex(),
            "self mask": self_mask_key(seeds[0], session, mine).hex(),
            "commitment": commitment(session, mine, seeds[0]).hex(),
        }


def vectors():
    """All rows of the table."""
    return {"masks": list(_mask_rows()), "shares": list(_share_rows()), "keys": list(_key_rows())}


def text():
    """The table as a file, one row a line."""
    lines = [f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]" for name, rows in vectors().items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    TABLE.write_text(text())
