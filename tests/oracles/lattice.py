"""Slow, independent lattice arithmetic: sums by their definitions over integers, and the Gaussian law by mpmath."""

import hashlib
from fractions import Fraction
from itertools import islice

import mpmath

from tests.oracles import masking

RING = 4096
FIELD = 65537
BOUND = 76


def is_prime(number):
    return number > 1 and all(number % d for d in range(2, int(number**0.5) + 1))


def largest_primes(bits, step, count):
    """The largest primes below 2^bits that are 1 modulo `step`."""
    candidates = range((2**bits - 2) // step * step + 1, 1, -step)
    return list(islice(filter(is_prime, candidates), count))


def root_of_minus_one(prime, n):
    """g^((p - 1)/2n), g the smallest number that is no square."""
    squares = next(g for g in range(2, prime) if pow(g, (prime - 1) // 2, prime) == prime - 1)
    return pow(squares, (prime - 1) // (2 * n), prime)


def reversed_bits(number, n):
    width = n.bit_length() - 1
    return int(f"{number:0{width}b}"[::-1], 2)


def value(x, prime, root, place):
    """One transformed value: x at the power 2 brv(place) + 1 of the root."""
    point = pow(root, 2 * reversed_bits(place, len(x)) + 1, prime)
    out = 0
    for coefficient in reversed(x):
        out = (out * point + coefficient) % prime
    return out


def transform(x, prime, root):
    return [value(x, prime, root, place) for place in range(len(x))]


def product(a, b, modulus):
    """Schoolbook product modulo X^n + 1."""
    n = len(a)
    out = [0] * n
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            out[(i + j) % n] += left * right if i + j < n else -left * right
    return [entry % modulus for entry in out]


def long_product(a, b, modulus):
    """The same for long polynomials: one product of integers that have the coefficients side by side."""
    n, slot = len(a), 2 * modulus.bit_length() + len(a).bit_length()
    left, right = (int.from_bytes(bits_as_bytes(x, slot), "little") for x in (a, b))
    whole = left * right
    entries = [whole >> slot * i & ((1 << slot) - 1) for i in range(2 * n)]
    return [(entries[i] - entries[n + i]) % modulus for i in range(n)]


def fips_204_ntt(w):
    """FIPS 204, algorithm 41, with its table of zetas computed."""
    q, w = 8380417, list(w)
    zetas = [pow(1753, reversed_bits(k, 256), q) for k in range(256)]
    m, length = 0, 128
    while length >= 1:
        for start in range(0, 256, 2 * length):
            m += 1
            for j in range(start, start + length):
                t = zetas[m] * w[j + length] % q
                w[j + length], w[j] = (w[j] - t) % q, (w[j] + t) % q
        length //= 2
    return w


def public_element(session, index, primes):
    """The two rows of a public element, word by word."""
    rows = []
    for r, prime in enumerate(primes):
        data = hashlib.shake_128(b"secagg v1 threshold ring" + session + index.to_bytes(4, "little") + bytes([r]))
        stream = data.digest(5 * RING)
        words = (int.from_bytes(stream[i : i + 4], "little") % 2**30 for i in range(0, len(stream), 4))
        rows.append(list(islice((word for word in words if word < prime), RING)))
    return rows


def bits_as_bytes(values, bits):
    """Integers side by side, the first in the lowest bits."""
    whole = int("".join(f"{value:0{bits}b}" for value in reversed(values)), 2)
    return whole.to_bytes(-(-len(values) * bits // 8), "little")


def gaussian_weights():
    """exp(-x²/(2·6.4²)) for x = 0 to 76 and what all larger x have together, to 150 digits."""
    with mpmath.workdps(150):
        variance = mpmath.mpf(64) ** 2 / 100
        weights = [mpmath.exp(-mpmath.mpf(x * x) / (2 * variance)) for x in range(BOUND + 1)]
        beyond = mpmath.nsum(lambda x: mpmath.exp(-(x * x) / (2 * variance)), [BOUND + 1, BOUND + 200])
        return weights, beyond


def thresholds():
    """2^128·P[X <= x] for x = -76 to -1 of the law cut at 76, not rounded yet."""
    with mpmath.workdps(150):
        weights, _ = gaussian_weights()
        total = 2 * sum(weights[1:]) + weights[0]
        return [2**128 * sum(weights[: x - 1 if x else None : -1]) / total for x in range(BOUND, 0, -1)]


def table():
    """Thresholds as drawn with: next integers on the left, mirrored on the right."""
    with mpmath.workdps(150):
        left = [int(mpmath.nint(t)) for t in thresholds()]
    return left + [2**128 - t for t in reversed(left)]


def gaussian(key, index, count):
    """Draws one by one: words 2j and 2j + 1 of a chunk of 2^15 draws, against every threshold."""
    steps, out, encrypt = table(), [], masking.aes256(key)
    for c in range(-(-count // 2**15)):
        head = index.to_bytes(4, "big") + c.to_bytes(4, "big")
        words = masking.stream(encrypt, head, 8)
        for _ in range(min(2**15, count - 2**15 * c)):
            number = next(words) * 2**64 + next(words)
            out.append(sum(step <= number for step in steps) - BOUND)
    return out


def sum_law(probabilities, parties):
    """The law of a sum, as a list from the smallest value on, by convolution over integers or fractions."""
    law = [1]
    for _ in range(parties):
        longer = [0] * (len(law) + len(probabilities) - 1)
        for i, left in enumerate(law):
            for j, right in enumerate(probabilities):
                longer[i + j] += left * right
        law = longer
    return law


def shares(secret, threshold, packed, num_holders, key):
    """Shares of a secret: for each polynomial a list of the holders' values."""
    plain = b"".join((s % 2**64).to_bytes(8, "little") for s in secret)
    numbers = b"".join(number.to_bytes(4, "little") for number in (threshold, packed, num_holders))
    own = masking.derived(key, b"", b"threshold residues", numbers, plain)
    count, random = -(-len(secret) // packed), threshold - packed
    drawn = masking.mask_entries(own, FIELD, count=random * count)
    nodes = [*(-k for k in range(packed)), *range(1, random + 1)]
    rows = [weights(nodes, x, FIELD) for x in range(1, num_holders + 1)]
    out = []
    for q in range(count):
        own = secret[q * packed : (q + 1) * packed]
        values = [*own, *[0] * (packed - len(own)), *drawn[q::count]]
        out.append([sum(w * v for w, v in zip(row, values, strict=True)) % FIELD for row in rows])
    return out


def weights(nodes, target, prime):
    """What the values of a polynomial at the nodes count for in its value at a target."""
    out = []
    for x in nodes:
        fraction = Fraction(1)
        for other in nodes:
            if other != x:
                fraction *= Fraction(target - other, x - other)
        out.append(fraction.numerator * pow(fraction.denominator, -1, prime) % prime)
    return out
