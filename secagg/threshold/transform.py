r"""The number-theoretic transform of Z_p[X] / (X^n + 1), as two products of matrices that float64 holds exactly.

It takes a polynomial to its values at the odd powers of :math:`\psi`, a root of -1, in the order of FIPS 204,

.. math:: \hat x_i = \sum_j x_j \, \psi^{(2 \mathrm{brv}(i) + 1) j} \pmod p,

brv reversing the bits of an index. With n = rows·columns, j = columns·j1 + j0 and i = columns·i1 + i0 the sum over j is
a sum over j1, factors that depend on i1 and j0, and a sum over j0: for n = 4096 two products with matrices of 64 rows.

- A matrix is cut into halves of 15 bits, so a product is a sum of at most 64 terms below 2^45: an integer below 2^51,
  which float64 holds exactly with every partial sum, in any order. It is fast everywhere and the same everywhere.
- Each half and each polynomial is a product of its own, of 2^18 multiplications. OpenBLAS does so small ones in one
  thread; larger ones it cuts up, and on a busy machine its threads then wait for each other a hundred times as long.
- Against who shares the machine nothing is promised: times may depend on values.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from secagg.checks import check_integer
from secagg.errors import ParameterError

__all__ = ["MAX_PRIME_BITS", "MAX_SIZE", "Transform"]

MAX_SIZE = 4096
"""The largest n: matrices of 64 rows, for which sums of products are exact."""

MAX_PRIME_BITS = 30
"""Bits of the largest prime."""

_HALF = 15
_BLOCK = 2  # polynomials at a time: what a step reads and writes stays in a core's own cache


@final
class Transform:
    r"""The transform of Z_p[X] / (X^n + 1), in the order of FIPS 204.

    Guarantee:
        Bit-exact on every machine: the product of two transforms is the transform of the negacyclic product, and
        `inverse` takes `forward` back. Held by ``test_transform_equals_its_definition``,
        ``test_products_equal_the_schoolbook`` and ``test_zetas_of_fips_204``.

    Args:
        n: coefficients, a power of two in ``[4, 4096]``.
        prime: p < 2^30, 1 modulo 2n.
        root: :math:`\psi` with :math:`\psi^n = -1` modulo p.

    Raises:
        ParameterError: an argument is out of its domain; that p is prime is not checked.

    Example:
        >>> import numpy as np
        >>> small = Transform(4, 17, 2)  # 2^4 = -1 modulo 17
        >>> x = np.array([0, 0, 0, 1], dtype=np.uint64)
        >>> small.inverse(small.forward(x) ** np.uint64(2) % np.uint64(17)).tolist()  # X^6 = -X^2
        [0, 0, 16, 0]

    References:
        FIPS 204, section 7.5 and appendix B. Bailey 1990, "FFTs in external or hierarchical memory".
    """

    __slots__ = ("_columns", "_down", "_factors", "_rows", "_up", "n", "prime")

    def __init__(self, n: int, prime: int, root: int) -> None:
        size = check_integer("n", n, at_least=4, at_most=MAX_SIZE)
        p = check_integer("prime", prime, at_least=3, at_most=(1 << MAX_PRIME_BITS) - 1)
        if size & (size - 1) or (p - 1) % (2 * size):
            raise ParameterError("n must be a power of two, and the prime 1 modulo 2n.")
        psi = check_integer("root", root, at_least=1, at_most=p - 1)
        if pow(psi, size, p) != p - 1:
            raise ParameterError("root must be a root of -1: its power n must be -1 modulo the prime.")
        self.n, self.prime = size, p
        bits = size.bit_length() - 1
        self._rows, self._columns = 1 << (bits + 1) // 2, 1 << bits // 2
        powers = np.array([pow(psi, e, p) for e in range(2 * size)], dtype=np.uint64)
        scaled = powers * np.uint64(pow(size, -1, p)) % np.uint64(p)
        down, factors, up = self._exponents()
        modulus = 2 * size
        self._down = _halves(powers[down % modulus]), _halves(powers[-up.T % modulus])  # forward, inverse
        self._factors = powers[factors % modulus], scaled[-factors % modulus]
        self._up = _halves(powers[up % modulus]), _halves(powers[-down.T % modulus])

    def _exponents(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Powers of the root in the first matrix, shape (i1, j1), the factors, (i1, j0), and the second, (j0, i0).

        (2k + 1)j with k = k1 + rows·k0 and j = columns·j1 + j0 is columns·j1(2k1 + 1) + j0(2k1 + 1) + 2·rows·j0·k0
        modulo 2n, and k = brv(i) has k1 = brv(i1) and k0 = brv(i0).
        """
        odd = 2 * _reversed(self._rows)[:, None] + 1
        j1, j0 = np.arange(self._rows), np.arange(self._columns)
        return self._columns * j1 * odd, j0 * odd, 2 * self._rows * j0[:, None] * _reversed(self._columns)

    def forward(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Values of polynomials, from their coefficients.

        Args:
            x: uint64 below the prime, shape ``(..., n)``.

        Returns:
            A new array of this shape and dtype, below the prime.

        Raises:
            ParameterError: `x` is no such array.
        """
        return self._apply(x, inverse=False)

    def inverse(self, x: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Coefficients of polynomials, from their values; arguments as in `forward`."""
        return self._apply(x, inverse=True)

    def _apply(self, x: NDArray[np.uint64], *, inverse: bool) -> NDArray[np.uint64]:
        if not isinstance(x, np.ndarray) or x.dtype != np.uint64 or x.shape[-1:] != (self.n,):
            raise ParameterError(f"x must be an array of dtype uint64 and shape (..., {self.n}).")
        if x.size and int(x.max()) >= self.prime:
            raise ParameterError("x must be below the prime.")
        p = np.uint64(self.prime)
        source = x.reshape(-1, self._rows, self._columns)
        out = np.empty(source.shape, dtype=np.uint64)
        first, last = (self._to_right, self._to_left) if inverse else (self._to_left, self._to_right)
        for start in range(0, len(out), _BLOCK):
            words = first(source[start : start + _BLOCK], self._down[inverse])
            words *= self._factors[inverse]  # below p, and the words below 2p
            words -= words // p * p  # numpy divides by one number much faster than it takes remainders
            words = last(words, self._up[inverse])
            np.minimum(words, words - p, out=out[start : start + _BLOCK])  # what wraps around is the larger
        return out.reshape(x.shape)

    def _to_left(self, words: NDArray[np.uint64], halves: NDArray[np.float64]) -> NDArray[np.uint64]:
        """A matrix @ each polynomial, modulo the prime, in (0, 2p)."""
        return self._joined(halves @ words.astype(np.float64))

    def _to_right(self, words: NDArray[np.uint64], halves: NDArray[np.float64]) -> NDArray[np.uint64]:
        """Each polynomial @ a matrix, modulo the prime, in (0, 2p)."""
        return self._joined(words.astype(np.float64) @ halves)

    def _joined(self, parts: NDArray[np.float64]) -> NDArray[np.uint64]:
        """high·2^15 + low, less the multiple of p next to it, plus p.

        Everything is an integer below 2^53, hence exact, but the quotients by p: those are below 2^22, so two roundings
        of 2^-53 each do not matter beside the half that is rounded away, and what is left is in (-p, p).
        """
        high, low = parts
        joined = self._reduced(high)
        joined *= float(1 << _HALF)
        joined += low
        joined = self._reduced(joined)
        joined += float(self.prime)
        return joined.astype(np.uint64)

    def _reduced(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """An integer less the multiple of p next to it."""
        turns = x * (1.0 / self.prime)
        np.rint(turns, out=turns)
        turns *= float(self.prime)
        return np.subtract(x, turns, out=turns)


def _reversed(size: int) -> NDArray[np.int64]:
    """The numbers below a power of two with their bits reversed."""
    out = np.zeros(1, dtype=np.int64)
    while out.size < size:
        out = np.concatenate((2 * out, 2 * out + 1))
    return out


def _halves(matrix: NDArray[np.uint64]) -> NDArray[np.float64]:
    """The high and the low halves of a matrix, shape ``(2, 1, size, size)``, for products with many polynomials."""
    low = np.uint64((1 << _HALF) - 1)
    return np.stack((matrix >> np.uint64(_HALF), matrix & low))[:, None].astype(np.float64)
