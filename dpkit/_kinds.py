"""Arrays of every library: numbers out of them, and released numbers back into them. Private to dpkit.

No library is imported: one whose object came in is loaded already. What each kind becomes:

=====================================  =========================================================================
came in                                comes out
=====================================  =========================================================================
numpy array or scalar                  numpy array
torch tensor on any device             torch tensor on that device, detached
anything with ``__array_namespace__``  its namespace's array, on its device (JAX since 0.4.32, CuPy, array-api-strict)
anything else with ``__array__`` or    numpy array
``__dlpack__``; numbers and lists
=====================================  =========================================================================

Floats of 32 and 64 bits keep their type, narrower ones become float32, integers float64. Casting what was released is
post-processing. What a query holds is never rounded on the way in: integers beyond 2**53 saturate there, which is
1-Lipschitz, and :class:`~dpkit.bounded.Bounded` refuses floats wider than 64 bits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpkit.errors import ParameterError

__all__ = ["Kind", "add", "as_leaf", "check_kind", "check_width", "is_single", "read", "roundoff", "to_float64", "wide"]

_EXACT = 2.0**53  # integers up to here are float64 numbers
_UNREADABLE = (TypeError, ValueError, RuntimeError, BufferError, AttributeError, OverflowError)


@final
@dataclass(frozen=True, slots=True)
class Kind:
    """How to make an array of the kind that came in.

    Args:
        dtype: the floating type of what is released.
        make: from a numpy array to the library's own.
    """

    dtype: np.dtype[Any]
    make: Callable[[NDArray[Any]], Any]

    def __call__(self, array: NDArray[Any]) -> Any:
        """Numbers in this kind: floats are cast, to infinity where they overflow; integers stay integers."""
        if array.dtype.kind == "f":
            with np.errstate(over="ignore", under="ignore"):
                array = array.astype(self.dtype, copy=False)
        return self.make(array)


def as_leaf(name: str, value: Any) -> Any:
    """What has a shape as it is, if it can hold real numbers; numbers and lists as float64."""
    if hasattr(value, "shape"):
        _check_leaf(name, value)
        return value
    array = read(name, value)[0]
    exported = hasattr(value, "__array__") or hasattr(value, "__dlpack__")
    return array if exported else to_float64(array)


def read(name: str, leaf: Any) -> tuple[NDArray[Any], Kind]:
    """The numbers of an array as a numpy array of integers or floats, not to be written to; and its kind."""
    _check_leaf(name, leaf)
    torch = _torch(leaf)
    array = _host(name, leaf) if torch is None else _tensor_host(name, leaf, torch)
    if _is_narrow(array.dtype):
        array = array.astype(np.int8 if "int" in array.dtype.name else np.float32)
    check_kind(name, array)
    dtype = array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
    dtype = dtype if dtype.itemsize >= 4 else np.dtype(np.float32)
    if torch is not None:
        return array, Kind(dtype, lambda made: torch.from_numpy(made).to(leaf.device))
    return array, Kind(dtype, _maker(leaf))


def to_float64(array: NDArray[Any]) -> NDArray[np.float64]:
    """A float64 copy: floats exactly, integers saturated at 2**53 either way, so that no two of them move apart."""
    copy = array.astype(np.float64)
    return copy if array.dtype.kind == "f" else np.asarray(np.clip(copy, -_EXACT, _EXACT))


def wide(leaf: Any) -> Any:
    """The array, or a float64 copy where its own arithmetic would wrap or round coarsely."""
    if _torch(leaf) is not None:
        if leaf.dtype.is_floating_point:
            return leaf if leaf.dtype.itemsize >= 4 else leaf.double()
        return leaf.double().clamp(-_EXACT, _EXACT)
    keeps = _type_name(leaf).endswith(("float32", "float64"))
    if keeps and hasattr(leaf, "__array_namespace__"):
        return leaf
    array = read("value", leaf)[0]
    return array if keeps else to_float64(array)


def is_single(leaf: Any) -> bool:
    """Whether the numbers are float32."""
    return _type_name(leaf).endswith("float32")


def roundoff(name: str, leaf: Any) -> Fraction:
    """The unit roundoff of an array of float32 or float64 numbers: how far one operation may be off, relatively."""
    kind = _type_name(leaf)
    for ending, bits in (("float32", 24), ("float64", 53)):
        if kind.endswith(ending):
            return Fraction(1, 1 << bits)
    raise ParameterError(
        f"{name} must hold float32 or float64 numbers, got {kind}; sums of integers are exact: Bounded(value, bound)."
    )


def _type_name(leaf: Any) -> str:
    """The name of an array's type, ending in float32 or float64 if it is that, whatever the library and byte order."""
    dtype = getattr(leaf, "dtype", None)
    return str(dtype.name if isinstance(dtype, np.dtype) else dtype)


def add(left: Any, right: Any) -> Any:
    """The sum of two arrays of one shape, each made wide first; a tensor is added to tensors only."""
    if (_torch(left) is None) != (_torch(right) is None):
        raise ParameterError(
            f"values must be of one kind, got {type(left).__name__} and {type(right).__name__}; convert one of them."
        )
    return wide(left) + wide(right)


def check_kind(name: str, array: NDArray[Any]) -> None:
    """An array of integers or floats. The length of a string type is not told."""
    if array.dtype.kind not in "iuf":
        kind = array.dtype.type.__name__
        raise ParameterError(f"{name} must hold real numbers, got {kind}; convert it to float64.")


def check_width(name: str, leaf: Any) -> None:
    """Refuse numpy's extended precision, which no float64 holds."""
    dtype = getattr(leaf, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize > 8:
        raise ParameterError(
            f"{name} must hold numbers of at most 64 bits, got {dtype}; convert it to float64 before its bound is "
            "stated: the rounding counts."
        )


def _check_leaf(name: str, leaf: Any) -> None:
    """Refuse what is known to hold no real numbers before any of them is read."""
    torch = _torch(leaf)
    if isinstance(leaf, np.ma.MaskedArray):
        raise ParameterError(f"{name} must not be masked, got MaskedArray; fill it with public numbers: .filled(0.0).")
    if isinstance(leaf, np.ndarray | np.generic) and not _is_narrow(leaf.dtype):
        check_kind(name, np.asarray(leaf))
    if torch is None:
        return
    if leaf.is_nested or leaf.layout is not torch.strided or leaf.is_quantized or leaf.device.type == "meta":
        raise ParameterError(f"{name} must be a dense tensor that holds its numbers; for example .to_dense().")
    if leaf.dtype.is_complex or leaf.dtype is torch.bool:
        raise ParameterError(f"{name} must hold real numbers, got {leaf.dtype}; convert it to float64.")


def _is_narrow(dtype: np.dtype[Any]) -> bool:
    """Whether this is one of the narrow types of ml_dtypes, which JAX uses; int8 and float32 hold them exactly."""
    return dtype.kind == "V" and dtype.name.startswith(("bfloat", "float", "int", "uint"))


def _torch(leaf: Any) -> Any:
    """The torch module if the array is a tensor of it, else None."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(leaf, getattr(torch, "Tensor", ())) else None


def _tensor_host(name: str, tensor: Any, torch: Any) -> NDArray[Any]:
    """The numbers of a tensor, without its graph; those that numpy has no type for as float32."""
    try:
        tensor = tensor.detach().cpu().resolve_neg()
        narrow = tensor.dtype.is_floating_point and tensor.dtype.itemsize < 4
        return np.asarray((tensor.to(torch.float32) if narrow else tensor).numpy())
    except _UNREADABLE:
        raise _unreadable(name, tensor) from None


def _host(name: str, value: Any) -> NDArray[Any]:
    """A numpy array of what came; the errors of its library would print what it holds."""
    readers: list[Callable[[Any], NDArray[Any]]] = [np.asarray]
    if hasattr(value, "__dlpack__"):
        # the last one lets the library copy from its device (numpy 2.1)
        by_dlpack: list[Callable[[Any], NDArray[Any]]] = [np.from_dlpack, partial(np.from_dlpack, device="cpu")]
        readers = [*readers, *by_dlpack] if hasattr(value, "__array__") else by_dlpack
    for reader in readers:
        try:
            return reader(value)
        except _UNREADABLE:
            continue
    raise _unreadable(name, value)


def _unreadable(name: str, value: Any) -> ParameterError:
    return ParameterError(
        f"{name} must be an array of one shape that can be read here, got {type(value).__name__}; pad or split lists, "
        "and release outside of traced functions."
    )


def _maker(leaf: Any) -> Callable[[NDArray[Any]], Any]:
    """From a numpy array to the library of the array that came; a numpy array where that offers no way."""
    if isinstance(leaf, np.ndarray | np.generic) or not hasattr(leaf, "__array_namespace__"):
        return np.asarray
    return partial(leaf.__array_namespace__().asarray, device=leaf.device)
