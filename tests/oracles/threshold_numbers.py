"""Slow numbers under a threshold sum: bits, ciphers, the ring, the Gaussian, shares; nothing of secagg, no numpy."""

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import cache

from tests.oracles import masking

N = 4096
PRIMES = (1073692673, 1073668097)
ROOTS = (510015274, 1047115509)
Q = PRIMES[0] * PRIMES[1]
FIELD = 65537
BOUND = 76
EXACT = Context(prec=120)

x25519 = cache(masking.x25519)


def u32(number):
    return number.to_bytes(4, "little")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def side_by_side(values, width=17):
    """Value i in bits i·width to i·width + width - 1."""
    whole = int("".join(f"{value:0{width}b}" for value in reversed(values)), 2)
    return whole.to_bytes(-(-len(values) * width // 8), "little")


def apart(data, width, count):
    """The first so many values that lie side by side."""
    digits = f"{int.from_bytes(data, 'little'):0{count * width}b}"
    last = len(digits)
    return [int(digits[last - (i + 1) * width : last - i * width], 2) for i in range(count)]


# what is computed a million times, and what a test may put in its place


def slow_key_stream(key, first, count):
    """AES-256-CTR from this counter block on."""
    encrypt, number = masking.aes256(key), int.from_bytes(first, "big")
    return b"".join(encrypt((number + i).to_bytes(16, "big")) for i in range(-(-count // 16)))[:count]


@dataclass(frozen=True)
class Primitives:
    """AES-256-CTR, and ChaCha20-Poly1305 of a key, nonce, text and associated data."""

    key_stream: object = slow_key_stream
    seal: object = masking.seal


SLOW = Primitives()


# the ring


def powers_of(values, root, prime):
    """Σ values[j]·root^(k·j) for every k, of a root of unity of as high an order as there are values."""
    if len(values) == 1:
        return values
    even, odd = (powers_of(values[start::2], root * root % prime, prime) for start in (0, 1))
    out, power = [0] * len(values), 1
    for k, (left, right) in enumerate(zip(even, odd, strict=True)):
        turned = power * right
        out[k], out[k + len(even)] = (left + turned) % prime, (left - turned) % prime
        power = power * root % prime
    return out


def from_transform(row, prime, root):
    """The x whose sum over x_j·root^((2·brv(i) + 1)·j) is row[i]."""
    ordered = [row[int(f"{m:012b}"[::-1], 2)] for m in range(N)]
    inverse, count = pow(root, -1, prime), pow(N, -1, prime)
    turned = powers_of(ordered, inverse * inverse % prime, prime)
    return [value * count * pow(inverse, j, prime) % prime for j, value in enumerate(turned)]


@cache
def public_element(session, chunk):
    """Its coefficients modulo Q."""
    rows = []
    for r, prime in enumerate(PRIMES):
        text = b"secagg v1 threshold ring" + session + u32(chunk) + bytes([r])
        stream, row, place = hashlib.shake_128(text).digest(8 * N), [], 0
        while len(row) < N:
            word = int.from_bytes(stream[place : place + 4], "little") % 2**30
            row += [word] if word < prime else []
            place += 4
        rows.append(from_transform(row, prime, ROOTS[r]))
    lift = PRIMES[0] * pow(PRIMES[0], -1, PRIMES[1])
    return [(x + (y - x) * lift) % Q for x, y in zip(*rows, strict=True)]


def times(a, small):
    """a·small modulo X^N + 1 and Q, for small entries of either sign: a product of two long integers."""
    shifted = [entry % Q for entry in small]
    left, right = (int.from_bytes(side_by_side(x, 136), "little") for x in (a, shifted))
    data = (left * right).to_bytes(17 * 2 * N, "little")
    entries = [int.from_bytes(data[17 * i : 17 * (i + 1)], "little") for i in range(2 * N)]
    return [(entries[i] - entries[N + i]) % Q for i in range(N)]


# the Gaussian


@cache
def gaussian_steps():
    """T(x) for x = -76, ..., 75."""
    weights = [EXACT.exp(EXACT.divide(Decimal(-25 * x * x), Decimal(2048))) for x in range(BOUND + 1)]
    total = 0
    for weight in (*weights, *weights[1:]):
        total = EXACT.add(total, weight)
    left, so_far = [], 0
    for x in range(BOUND, 0, -1):
        so_far = EXACT.add(so_far, weights[x])
        ideal = EXACT.divide(EXACT.multiply(so_far, Decimal(2**128)), total)
        left.append(int(EXACT.add(ideal, Decimal("0.5"))))
    return left + [2**128 - step for step in reversed(left)]


def gaussian(primitives, key, index):
    """N draws of 16 bytes each."""
    stream = primitives.key_stream(key, index.to_bytes(4, "big") + bytes(12), 16 * N)
    out = []
    for i in range(0, 16 * N, 16):
        high, low = (int.from_bytes(stream[i + at : i + at + 8], "little") for at in (0, 8))
        out.append(bisect_right(gaussian_steps(), high * 2**64 + low) - BOUND)
    return out


# the shares


def field_entries(primitives, key, count):
    """So many numbers below the field's size."""
    out, chunk = [], 0
    while len(out) < count:
        wanted, found, place = min(2**16, count - len(out)), [], 0
        first = u32(0)[::-1] + chunk.to_bytes(4, "big") + bytes(8)
        stream = primitives.key_stream(key, first, 4 * 2 * wanted + 4096)
        while len(found) < wanted:
            low = int.from_bytes(stream[place : place + 4], "little") % 2**17
            found += [low] if low < FIELD else []
            place += 4
        out += found
        chunk += 1
    return out


def spread(values, point):
    """The value at a point of the polynomial that goes through these: pairs of a point and a value."""
    weights = lagrange(tuple(x for x, _ in values), point)
    return sum(weight * value for weight, (_, value) in zip(weights, values, strict=True)) % FIELD


@cache
def lagrange(points, at):
    """What the values at some points count for at another."""
    out = []
    for i, x in enumerate(points):
        over = under = 1
        for j, other in enumerate(points):
            if j != i:
                over, under = over * (at - other), under * (x - other)
        out.append(over * pow(under, -1, FIELD) % FIELD)
    return out


def dealt(primitives, plan, key, secret):
    """For each point from 1 on, the row of a secret's share."""
    t, packed, count = plan.threshold, plan.packed, plan.polynomials
    plain = b"".join((s % 2**64).to_bytes(8, "little") for s in secret)
    about = u32(t) + u32(packed) + u32(plan.num_parties)
    own = masking.derived(key, b"", b"threshold residues", about, plain)
    free = field_entries(primitives, own, (t - packed) * count)
    secret = [*secret, *[0] * (packed * count - N)]
    out = [[] for _ in plan.everybody]
    for q in range(count):
        known = [(-k, secret[q * packed + k]) for k in range(packed)]
        known += [(x, free[(x - 1) * count + q]) for x in range(1, t - packed + 1)]
        for party, row in enumerate(out):
            row.append(spread(known, party + 1))
    return out


def joined(plan, answers):
    """The secret behind rows at t points."""
    out = []
    for column in zip(*answers.values(), strict=True):
        values = list(zip(answers, column, strict=True))
        out += [spread(values, -k) for k in range(plan.packed)]
    return [value - FIELD if value > FIELD // 2 else value for value in out[:N]]
