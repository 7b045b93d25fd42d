"""A value and the bound of one record's contribution to it, which no scaling can separate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from dpkit._checks import check_arrays, check_count, check_finite, check_finite_up
from dpkit._kinds import add, check_width, is_single, read, roundoff, to_float64, wide
from dpkit.errors import BoundError, ParameterError, UnboundedError

__all__ = ["NORMS", "Bounded", "Norm", "flatten", "opened", "rebuild", "shapes"]

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
    first, so nothing wraps; integers beyond 2**53 saturate there (``test_narrow_numbers_become_float64``). Scaling by a
    power of two is exact, and the bound follows what float32 arrays make of any other scalar
    (``test_the_bound_follows_the_scalar_that_float32_makes``). Such scalars and ``+`` round each coordinate of the
    value once, float32 arrays in float32: where a sum is many orders larger than its bound, use float64, or scale the
    release instead, which is free. A sum of records made in floats has its own constructor, :meth:`of_float_sum`.

    Args:
        value: an array or a dict of arrays: numpy, torch, JAX, or anything with ``__array__`` or ``__dlpack__``; not
            copied, not written to. A number or a list becomes float64.
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
        bound = _up(self.bound)
        if bound < 0:
            raise ParameterError(f"bound must be >= 0, got {bound!r}; it is the norm of one record's contribution.")
        object.__setattr__(self, "bound", bound)
        if isinstance(self.value, Bounded):
            raise ParameterError("value must be an array, got Bounded; a value carries one bound.")
        object.__setattr__(self, "value", check_arrays("value", self.value))
        for array in _leaves(self.value):
            check_width("value", array)

    def __mul__(self, factor: float) -> Bounded:
        factor = check_finite("factor", factor, "give a public number.")
        bound = _up(Fraction(self.bound) * max(_images("factor", factor, self.value)))
        return Bounded(_map(lambda array: wide(array) * factor, self.value), bound, self.norm)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Bounded:
        divisor = check_finite("divisor", divisor, "give a public number.")
        if divisor == 0.0:
            raise ParameterError("divisor must not be 0; divide by a public constant such as the expected batch size.")
        bound = _up(Fraction(self.bound) / min(_images("divisor", divisor, self.value)))
        return Bounded(_map(lambda array: wide(array) / divisor, self.value), bound, self.norm)

    def __add__(self, other: Bounded) -> Bounded:
        if not isinstance(other, Bounded):
            raise UnboundedError(
                f"only Bounded values can be added, got {type(other).__name__}; wrap it: Bounded(value, bound)."
            )
        bound = _up(Fraction(self.bound) + Fraction(other.bound))
        return Bounded(_add(self, other), bound, self.norm)

    def __repr__(self) -> str:
        # the value is not yet private: show its structure only
        return f"Bounded(shape={shapes(self.value)}, bound={self.bound}, norm={self.norm!r})"

    @classmethod
    def of_float_sum(cls, value: Any, bound: float, *, max_records: int, norm: Norm = "l2") -> Bounded:
        r"""Bound a sum of records that was made in floats, rounding included.

        Two neighbouring sums are rounded differently, at every addition, so one record may move the computed sum by
        more than its norm. With u the unit roundoff of the value's type, at most n = `max_records` records of norm
        <= B, and γ = (n-1)u / (1 - (n-1)u):

        A term takes part in at most n-1 additions, each of which multiplies it by 1 + δ, \|δ\| <= u. So each computed
        coordinate is within :math:`\gamma \sum_i |x_{ij}|` of the exact one, whatever the order and the grouping. The
        norms grow with the size of coordinates, so the error has norm at most γ Σ ‖x_i‖ <= γnB for the larger sum,
        γ(n-1)B for its neighbour, and the two computed sums are within :math:`B (1 + (2n-1)\gamma)`: the bound set.

        Guarantee: that, in exact arithmetic, for any orders of both sums
        (``test_float_sums_move_by_at_most_the_bound``), provided that additions round to nearest with gradual underflow
        (no TF32, no flushing of subnormals), that no more than `max_records` records that are not zero were added, and
        nothing else was done to the sum. Clips sum in integers and need none of this.

        Args:
            value: the sum, float32 or float64, added up in that very type from records that it holds exactly.
            bound: norm of one record.
            max_records: a public number that the number of records never exceeds; in float32 the bound doubles at 2900.
            norm: "l2", "l1" or "linf".

        Returns:
            Bounded, its bound larger than `bound` by the factor 1 + (2n-1)γ, rounded up.

        Raises:
            ParameterError: a parameter is out of range, the value of another type, or max_records beyond 1/u.

        Example:
            >>> records = np.full((1000, 2), 0.1)
            >>> Bounded.of_float_sum(records.sum(axis=0), 1.0, max_records=1000).bound - 1.0 < 2.3e-10
            True

        References:
            Higham 2002, Section 4.2 and Lemma 3.1; Casacuberta et al. 2022 (arXiv 2207.10635), on attacks.
        """
        plain = cls(value, bound, norm)
        count = check_count("max_records", max_records, "give a public number that the records never exceed.")
        unit = max((roundoff("value", array) for array in _leaves(plain.value)), default=Fraction(0))
        if (count - 1) * unit >= 1:
            raise ParameterError(f"max_records must be at most {float(1 / unit):.3g}, got {count}; sum in float64.")
        gamma = (count - 1) * unit / (1 - (count - 1) * unit)
        factor = 1 + (2 * count - 1) * gamma
        return cls(plain.value, _up(Fraction(plain.bound) * factor), norm)

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
    arrays = [read("value", array)[0] for array in _leaves(value)]
    with np.errstate(over="ignore"):  # extended precision
        return np.concatenate([np.empty(0), *(array.astype(np.float64).reshape(-1) for array in arrays)])


def opened(value: Any) -> tuple[NDArray[np.float64], Callable[[NDArray[Any]], Any]]:
    """Return the numbers of a query as one new float64 vector, and the way back to its structure and kinds of arrays.

    Guarantee: the value is not written to, and every number is taken exactly; integers beyond 2**53 saturate, which
    moves no two of them apart (``test_integers_beyond_float64_do_not_move_apart``). A library that cannot hold what
    would come back says so here, before anything is recorded (``test_what_cannot_come_back_is_refused_at_once``).

    Args:
        value: array or dict of arrays: numpy, torch, or anything with ``__array__`` or ``__dlpack__``.

    Returns:
        float64, shape (d,); and a function from a vector of shape (d,) to arrays of the kinds and shapes of `value`, a
        numpy array where a library has no ``__array_namespace__``. Floats of 32 bits are kept, narrower ones become
        float32 and integers float64; a vector of integers stays one of integers.

    Raises:
        ParameterError: an array holds no real numbers, or cannot be read.

    Example:
        >>> vector, back = opened({"w": np.ones((2, 2), np.float32), "b": np.zeros(1)})
        >>> back(vector)["w"].dtype
        dtype('float32')
    """
    pairs = [read("value", array) for array in _leaves(value)]
    for array, kind in pairs:
        check_width("value", array)
        kind(np.empty(0))

    def back(vector: NDArray[Any]) -> Any:
        arrays = rebuild(vector, value)
        made = (kind(array) for (_, kind), array in zip(pairs, _leaves(arrays), strict=True))
        return dict(zip(value, made, strict=True)) if isinstance(value, Mapping) else next(made)

    return np.concatenate([np.empty(0), *(to_float64(array).reshape(-1) for array, _ in pairs)]), back


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
        return vector.reshape(tuple(like.shape))
    result, start = {}, 0
    for name, array in like.items():
        size = math.prod(array.shape)
        result[name] = vector[start : start + size].reshape(tuple(array.shape))
        start += size
    return result


def _leaves(value: Any) -> list[Any]:
    """The array, or the arrays of a dict in its order."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


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
        return {name: add(array, right.value[name]) for name, array in left.value.items()}
    return add(left.value, right.value)


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


def _up(bound: float | Fraction) -> float:
    """A bound as the least float64 that is at least that much."""
    return check_finite_up("bound", bound, "it is the norm of one record's contribution.")


def _images(name: str, factor: float, value: Any) -> list[Fraction]:
    """The size of a factor, and of what float32 arrays make of it, who round it first."""
    image = factor
    if any(is_single(array) for array in _leaves(value)):
        with np.errstate(over="ignore", under="ignore"):
            image = float(np.float32(factor))
    if not math.isfinite(image) or (image == 0.0) != (factor == 0.0):
        raise ParameterError(f"{name} must be within the range of float32, as the value is, got {factor!r}.")
    return [abs(Fraction(factor)), abs(Fraction(image))]
