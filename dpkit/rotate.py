r"""A random rotation that spreads a vector's energy evenly over its coordinates.

:math:`x \mapsto H D x` with random signs D and the Walsh-Hadamard matrix H, both orthonormal: the l2 norm, and
with it the bound of one record's contribution, stays what it was. The signs are public. A vector whose energy sits
in few coordinates would be clamped by a small integer range; after the rotation every coordinate is about
:math:`\|x\|_2 / \sqrt d`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpkit._checks import check_count, check_kind, check_within
from dpkit.entropy import Source, read_bytes, resolve
from dpkit.errors import ParameterError
from dpkit.samplers import root_up

__all__ = ["Rotation"]

Vector = NDArray[np.float64]

_UNIT = 2.0**-53  # relative error of one rounding
_RANGE = (2.0**-500, 2.0**500)  # of bounds: far from subnormal coordinates and from overflow


@final
@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    r"""A randomised Walsh-Hadamard transform of vectors with `dim` entries.

    Guarantee:
        Orthonormal: :math:`\|R x\|_2 = \|x\|_2` up to float64 rounding, which :attr:`norm_slack` bounds; held by
        ``test_rotation_keeps_the_norm``. What one record moves after the rotation is at most :meth:`bound`, rounding
        included; held by ``test_one_record_moves_a_rotated_sum_by_at_most_the_bound``.

    Args:
        dim: number of entries of the vectors that come in.
        signs: public random signs, shape ``(padded,)``, float64, each -1 or 1; see :meth:`draw`.

    Raises:
        ParameterError: dim is not an integer >= 1, or the signs are none, or not as many as the next power of two.

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "dim", check_count("dim", self.dim, "give the number of entries."))
        signs = np.array(self.signs)
        check_kind("signs", signs)
        signs = signs.astype(np.float64)
        if signs.shape != (_padded(self.dim),) or not (np.abs(signs) == 1.0).all():
            raise ParameterError(
                f"signs must be {_padded(self.dim)} numbers -1 or 1, got shape {signs.shape}; use Rotation.draw(dim)."
            )
        signs.setflags(write=False)
        object.__setattr__(self, "signs", signs)

    @classmethod
    def draw(cls, dim: int, *, entropy: Source | None = None) -> Rotation:
        """Draw the public signs for vectors with `dim` entries.

        Args:
            dim: number of entries, >= 1.
            entropy: source of randomness; None means ``dpkit.entropy.system()``.

        Returns:
            A rotation with fair, independent signs.

        Raises:
            ParameterError: dim is not an integer >= 1.
        """
        padded = _padded(check_count("dim", dim, "give the number of entries."))
        words = np.frombuffer(read_bytes(resolve(entropy), (padded + 7) // 8), dtype=np.uint8)
        bits = np.unpackbits(words)[:padded].astype(np.float64)
        return cls(dim, 1.0 - 2.0 * bits)

    @property
    def padded(self) -> int:
        """Entries of a rotated vector: the next power of two."""
        return int(self.signs.size)

    @property
    def norm_slack(self) -> float:
        """How far, relatively, float64 rounding may move or lengthen a rotated vector.

        Each of the log2(padded) butterfly levels is one rounding of relative size 2^-53 per entry, the signs are exact,
        and the final scaling is two more; the factor 2 covers the products of the errors.
        """
        return 2.0 * (self.padded.bit_length() + 1) * _UNIT

    def bound(self, bound: float, *, reach: float) -> float:
        """Return what one record moves a rotated vector by, if it moves the vector by at most `bound` before.

        Two sums that differ by one record are rounded apart by :attr:`norm_slack` of either sum, not of the record. So
        the sum needs a public limit: clamp its entries to `reach`, which moves no two sums apart.

        Args:
            bound: l2 norm of one record's contribution to the vector, from 2**-500 to 2**500.
            reach: what no entry of a vector exceeds in size, whatever the data; in units of the vector. Where the
                vector is one clipped record, that is its bound.

        Returns:
            bound + 2 * norm_slack * sqrt(dim) * reach, rounded up, in units of the vector.

        Raises:
            ParameterError: a number is out of range.

        Example:
            >>> Rotation.draw(1000).bound(1.0, reach=1000.0) - 1.0 < 1e-9
            True
        """
        bound = check_within("bound", bound, *_RANGE, "give the clipping norm.")
        reach = check_within("reach", reach, *_RANGE, "give a public number.")
        rounding = 2 * Fraction(self.norm_slack) * Fraction(reach) * Fraction(root_up(Fraction(self.dim)))
        return root_up((Fraction(bound) + rounding) ** 2)

    def forward(self, vector: Vector) -> Vector:
        """Rotate a vector.

        Args:
            vector: float64, shape ``(dim,)``.

        Returns:
            float64, shape ``(padded,)``.

        Raises:
            ParameterError: the vector has another shape.
        """
        padded = np.zeros(self.padded)
        padded[: self.dim] = _checked("vector", vector, self.dim)
        return _hadamard(padded * self.signs)

    def inverse(self, rotated: Vector) -> Vector:
        """Rotate back.

        Args:
            rotated: float64, shape ``(padded,)``.

        Returns:
            float64, shape ``(dim,)``.

        Raises:
            ParameterError: the vector has another shape.
        """
        return (_hadamard(_checked("rotated", rotated, self.padded)) * self.signs)[: self.dim]


def _padded(dim: int) -> int:
    """The next power of two."""
    return 1 << (dim - 1).bit_length()


def _checked(name: str, vector: Any, size: int) -> Vector:
    """A vector of that many entries; nothing is broadcast."""
    array = np.asarray(vector, dtype=np.float64)
    if array.shape != (size,):
        raise ParameterError(f"{name} must have shape ({size},), got {array.shape}; flatten it first.")
    return array


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
