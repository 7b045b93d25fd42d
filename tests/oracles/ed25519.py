"""Slow, independent Ed25519 signatures (RFC 8032, section 5.1): Python's integers and SHA-512."""

import hashlib
from functools import cache

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE = -121665 * pow(121666, -1, PRIME) % PRIME
ROOT_OF_MINUS_ONE = pow(2, (PRIME - 1) // 4, PRIME)


def _even_x(y):
    """The even x of a point."""
    square = (y * y - 1) * pow(CURVE * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * ROOT_OF_MINUS_ONE % PRIME
    return x if x % 2 == 0 else PRIME - x


Y = 4 * pow(5, -1, PRIME) % PRIME
BASE = _even_x(Y), Y, 1, _even_x(Y) * Y % PRIME


def _sum(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % PRIME, (p[1] + p[0]) * (q[1] + q[0]) % PRIME
    c, d = 2 * CURVE * p[3] * q[3] % PRIME, 2 * p[2] * q[2] % PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % PRIME, g * h % PRIME, f * g % PRIME, e * h % PRIME


def _times_base(scalar):
    """The encoding of a multiple of the base point."""
    total, double = (0, 1, 1, 0), BASE
    while scalar:
        total = _sum(total, double) if scalar & 1 else total
        double, scalar = _sum(double, double), scalar >> 1
    inverse = pow(total[2], -1, PRIME)
    x, y = total[0] * inverse % PRIME, total[1] * inverse % PRIME
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _number(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def _secret(seed):
    """The scalar, and the prefix that nonces follow from."""
    digest = hashlib.sha512(seed).digest()
    return int.from_bytes(digest[:32], "little") & ~7 & (1 << 254) - 1 | 1 << 254, digest[32:]


@cache
def public(seed):
    """The public key, 32 bytes."""
    return _times_base(_secret(seed)[0])


def sign(seed, message):
    """The signature, 64 bytes."""
    scalar, prefix = _secret(seed)
    nonce = _number(prefix, message) % ORDER
    point = _times_base(nonce)
    answer = nonce + _number(point, public(seed), message) * scalar
    return point + (answer % ORDER).to_bytes(32, "little")
