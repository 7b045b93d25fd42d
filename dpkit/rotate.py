r"""A random rotation that spreads a vector's energy evenly over its coordinates.

:math:`x \mapsto H D x` with random signs D and the Walsh-Hadamard matrix H, both orthonormal: the l2 norm, and
with it the bound of one record's contribution, stays what it was. The signs are public. A vector whose energy sits
in few coordinates would be clamped by a small integer range; after the rotation every coordinate is about
:math:`\|x\|_2 / \sqrt d`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from dpkit.entropy import Source, resolve
from dpkit.errors import ParameterError

__all__ = ["Rotation"]

Vector = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    r"""A randomised Walsh-Hadamard transform of vectors with `dim` entries.

    Guarantee:
        Orthonormal: :math:`\|R x\|_2 = \|x\|_2` up to float64 rounding, which :attr:`norm_slack` bounds; held by
        ``test_rotation_keeps_the_norm``.

    Args:
        dim: number of entries of the vectors that come in.
        signs: public random signs, shape ``(padded,)``, float64, each -1 or 1; see :meth:`draw`.

    Example:
        >>> import numpy as np
        >>> from dpkit.entropy import seeded
        >>> rotation = Rotation.draw(3, entropy=seeded(1))
        >>> rotation.padded
        4
        >>> rotation.inverse(rotation.forward(np.array([3.0, 1.0, 4.0]))).round(12).tolist()
        [3.0, 1.0, 4.0]

    References:
        Ailon & Chazelle, "The fast Johnson-Lindenstrauss transform", SIAM J. Comput. 2009; used for this purpose by
        Kairouz, Liu & Steinke, ICML 2021 (arXiv 2102.06387), section 4.
    """

    dim: int
    signs: Vector

    @classmethod
    def draw(cls, dim: int, *, entropy: Source | None = None) -> Rotation:
        """Draw the public signs for vectors with `dim` entries."""
        if dim < 1:
            raise ParameterError(f"dim must be >= 1, got {dim}.")
        padded = 1 << (dim - 1).bit_length()
        words = np.frombuffer(resolve(entropy).bytes((padded + 7) // 8), dtype=np.uint8)
        bits = np.unpackbits(words)[:padded].astype(np.float64)
        return cls(dim, 1.0 - 2.0 * bits)

    @property
    def padded(self) -> int:
        """Entries of a rotated vector: the next power of two."""
        return int(self.signs.size)

    @property
    def norm_slack(self) -> float:
        """How far, relatively, float64 rounding may lengthen a rotated vector.

        Each of the log2(padded) butterfly levels is one rounding of relative size 2^-53 per entry, the signs are exact,
        and the final scaling is two more; the factor 2 covers the products of the errors.
        """
        return 2.0 * (self.padded.bit_length() + 1) * 2.0**-53

    def forward(self, vector: Vector) -> Vector:
        """Rotate: shape ``(dim,)`` in, ``(padded,)`` out."""
        padded = np.zeros(self.padded)
        padded[: self.dim] = vector
        return _hadamard(padded * self.signs)

    def inverse(self, rotated: Vector) -> Vector:
        """Rotate back: shape ``(padded,)`` in, ``(dim,)`` out."""
        return (_hadamard(rotated) * self.signs)[: self.dim]


def _hadamard(vector: Vector) -> Vector:
    """The orthonormal Walsh-Hadamard transform; its own inverse."""
    out = vector.copy()
    half = 1
    while half < out.size:
        pairs = out.reshape(-1, 2, half)
        total, difference = pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]
        pairs[:, 0], pairs[:, 1] = total, difference
        half *= 2
    return np.asarray(out / np.sqrt(out.size), dtype=np.float64)
