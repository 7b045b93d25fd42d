"""A value and the bound of one record's contribution to it, which no scaling can separate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from dpkit._checks import check_arrays, check_finite, check_finite_up, check_kind
from dpkit.errors import BoundError, ParameterError, UnboundedError

__all__ = ["NORMS", "Bounded", "Norm", "flatten", "rebuild", "shapes"]

Norm: TypeAlias = Literal["l1", "l2", "linf"]
NORMS = ("l1", "l2", "linf")


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bounded:
    """A value together with the norm that one record's contribution to it cannot exceed.

    Clipping makes it, scaling keeps it true, a mechanism asks for it. The bound is a claim about how the value was
    made: one record more or less moves the value by at most `bound` in `norm`, over all arrays of a dict together.

    Guarantee: ``*`` and ``/`` scale value and bound alike, ``+`` adds bounds, and bounds are rounded up
    (``test_bound_follows_the_value_in_exact_arithmetic``). Integers and floats narrower than 32 bits become float64
    first, so nothing wraps (``test_narrow_numbers_become_float64``). Scaling by a power of two is exact. Another scalar
    and ``+`` round each coordinate of the value once, float32 arrays in float32: where a sum is many orders larger than
    its bound, use float64, or scale the release instead, which is free.

    Args:
        value: an array or a dict of arrays (numpy or torch; not copied, not converted); a number or a list becomes
            float64.
        bound: norm of one record's contribution, finite and >= 0, in units of the value; rounded up to a float64.
        norm: "l2", "l1" or "linf".

    Raises:
        ParameterError: the bound is not a finite number >= 0, the norm is unknown, or the value is no array.

    Example:
        >>> Bounded(np.array([3.0, 4.0]), bound=5.0) / 2
        Bounded(shape=(2,), bound=2.5, norm='l2')
    """

    value: Any
    bound: float
    norm: Norm = "l2"

    # numpy scalars on the left leave the operation to us
    __array_ufunc__: ClassVar[None] = None

    def __post_init__(self) -> None:
        if not isinstance(self.norm, str) or self.norm not in NORMS:
            raise ParameterError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}; the usual one is 'l2'.")
        bound = check_finite_up("bound", self.bound, "it is the norm of one record's contribution.")
        if bound < 0:
            raise ParameterError(f"bound must be >= 0, got {bound!r}; it is the norm of one record's contribution.")
        object.__setattr__(self, "bound", bound)
        if isinstance(self.value, Bounded):
            raise ParameterError("value must be an array, got Bounded; a value carries one bound.")
        object.__setattr__(self, "value", check_arrays("value", self.value))

    def __mul__(self, factor: float) -> Bounded:
        factor = check_finite("factor", factor, "give a public number.")
        bound = _round_up(self.bound * abs(factor), Fraction(self.bound) * abs(Fraction(factor)))
        return Bounded(_map(lambda array: _wide(array) * factor, self.value), bound, self.norm)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Bounded:
        divisor = check_finite("divisor", divisor, "give a public number.")
        if divisor == 0.0:
            raise ParameterError("divisor must not be 0; divide by a public constant such as the expected batch size.")
        bound = _round_up(self.bound / abs(divisor), Fraction(self.bound) / abs(Fraction(divisor)))
        return Bounded(_map(lambda array: _wide(array) / divisor, self.value), bound, self.norm)

    def __add__(self, other: Bounded) -> Bounded:
        if not isinstance(other, Bounded):
            raise UnboundedError(
                f"only Bounded values can be added, got {type(other).__name__}; wrap it: Bounded(value, bound)."
            )
        bound = _round_up(self.bound + other.bound, Fraction(self.bound) + Fraction(other.bound))
        return Bounded(_add(self, other), bound, self.norm)

    def __repr__(self) -> str:
        # the value is not yet private: show its structure only
        return f"Bounded(shape={shapes(self.value)}, bound={self.bound}, norm={self.norm!r})"

    @classmethod
    def disjoint(cls, parts: Iterable[Bounded]) -> Bounded:
        """Add values to which no record contributes twice: the largest bound holds for the sum.

        Args:
            parts: at least one Bounded; equal norms and shapes. That no record is in two of them is the caller's claim.

        Returns:
            The sum, with the largest of the bounds.

        Raises:
            BoundError: no parts, or norms or shapes differ.

        Example:
            >>> Bounded.disjoint([Bounded(np.ones(2), 1.0), Bounded(np.ones(2), 3.0)]).bound
            3.0
        """
        items = list(parts)
        if not items:
            raise BoundError("disjoint needs at least one part, got none; the sum over no parts has no shape.")
        total = items[0]
        for part in items[1:]:
            if not isinstance(part, Bounded):
                raise UnboundedError(
                    f"parts must be Bounded, got {type(part).__name__}; wrap it: Bounded(value, bound)."
                )
            total = cls(_add(total, part), max(total.bound, part.bound), total.norm)
        return total


def flatten(value: Any) -> NDArray[np.float64]:
    """Return the numbers of an array, or of a dict of arrays in the dict's order, as one new float64 vector.

    Args:
        value: array or dict of arrays, of integers or floats.

    Returns:
        float64, shape (d,).

    Raises:
        ParameterError: an array holds no real numbers.

    Example:
        >>> flatten({"w": np.ones((2, 2)), "b": np.zeros(1)}).shape
        (5,)
    """
    arrays = [np.asarray(array) for array in (value.values() if isinstance(value, Mapping) else (value,))]
    for array in arrays:
        check_kind("value", array)
    with np.errstate(over="ignore"):
        return np.concatenate([np.empty(0), *(array.astype(np.float64).reshape(-1) for array in arrays)])


def rebuild(vector: NDArray[Any], like: Any) -> Any:
    """Return the numbers of a vector in the structure of another value: the inverse of :func:`flatten`.

    Args:
        vector: shape (d,).
        like: array or dict of arrays with d numbers together.

    Returns:
        An array, or a dict of arrays, with the shapes of `like` and the dtype of `vector`.

    Example:
        >>> rebuild(np.arange(3.0), {"w": np.ones((1, 2)), "b": np.zeros(1)})["b"]
        array([2.])
    """
    if not isinstance(like, Mapping):
        return vector.reshape(like.shape)
    result, start = {}, 0
    for name, array in like.items():
        size = math.prod(array.shape)
        result[name] = vector[start : start + size].reshape(array.shape)
        start += size
    return result


def _map(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply a function to an array or to every array of a dict."""
    if isinstance(value, Mapping):
        return {name: function(array) for name, array in value.items()}
    return function(value)


def _add(left: Bounded, right: Bounded) -> Any:
    """Sum of two values of equal norm and structure; nothing is broadcast."""
    if left.norm != right.norm:
        raise BoundError(f"norms must be equal, got {left.norm} and {right.norm}; clip both in the same norm.")
    if shapes(left.value) != shapes(right.value):
        raise BoundError(
            f"shapes must be equal, got {shapes(left.value)} and {shapes(right.value)}; add values of one structure."
        )
    if isinstance(left.value, Mapping):
        return {name: _wide(array) + _wide(right.value[name]) for name, array in left.value.items()}
    return _wide(left.value) + _wide(right.value)


def _wide(array: Any) -> Any:
    """The array, or its float64 copy where its own arithmetic would wrap or round coarsely."""
    if hasattr(array, "double"):  # a torch tensor
        dtype = array.dtype
        return array if dtype.is_floating_point and dtype.itemsize >= 4 else array.double()
    array = np.asarray(array)
    check_kind("value", array)
    return array if array.dtype.kind == "f" and array.dtype.itemsize >= 4 else array.astype(np.float64)


def shapes(value: Any) -> Any:
    """Return the structure of a value: a shape, or shapes by name.

    Args:
        value: array or dict of arrays.

    Returns:
        A tuple of sizes, or a dict of such.

    Example:
        >>> shapes({"w": np.ones((2, 2))})
        {'w': (2, 2)}
    """
    if isinstance(value, Mapping):
        return {name: tuple(array.shape) for name, array in value.items()}
    return tuple(value.shape)


def _round_up(rounded: float, exact: Fraction) -> float:
    """The float that was computed, or the next one where it fell below the exact number."""
    if math.isinf(rounded) or Fraction(rounded) >= exact:
        return rounded
    return math.nextafter(rounded, math.inf)
