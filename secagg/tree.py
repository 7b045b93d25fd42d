"""Trees of arrays to one vector and back: a model's parameters travel as a single vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from secagg.checks import check_unmasked
from secagg.errors import ParameterError

__all__ = ["TreeSpec", "flatten", "unflatten"]

_MAX_DEPTH = 64
"""Levels of nesting that are walked; a tree that holds itself ends here."""


@final
@dataclass(frozen=True, slots=True)
class TreeSpec:
    """The structure of a tree and the shapes of its leaves; equal for trees that flatten alike.

    Args:
        kind: what stands here.
        shape: shape of a leaf.
        names: keys of a dict, sorted.
        children: specs of what is inside, in order.
    """

    kind: Literal["leaf", "dict", "list", "tuple"]
    shape: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    children: tuple[TreeSpec, ...] = ()

    @property
    def size(self) -> int:
        """Number of entries of the vector."""
        if self.kind == "leaf":
            return int(np.prod(self.shape, dtype=np.int64))
        return sum(child.size for child in self.children)


def flatten(tree: Any) -> tuple[NDArray[Any], TreeSpec]:
    """A tree of arrays to one vector.

    Dicts are walked in the order of their sorted keys, so two parties whose dicts were filled in different order still
    add the same entries. A torch ``state_dict()`` is such a tree: its tensors are taken off the graph and off their
    device. What comes back from :func:`unflatten` are arrays, and ``torch.from_numpy`` makes tensors of them.

    Args:
        tree: an array or tensor, or a dict (with str keys), list or tuple of trees, at most 64 levels deep. All arrays
            have one dtype: promoting integers and floats to a common one could lose bits.

    Returns:
        The vector, shape ``(d,)``, and the spec that :func:`unflatten` takes.

    Raises:
        ParameterError: a key that is no str, a leaf that is no array of numbers that numpy has (bfloat16 is none) or is
            masked, another sequence (a named tuple would not come back as one), two dtypes, or too many levels. It
            says where.

    Example:
        >>> vector, spec = flatten({"w": np.ones((2, 2)), "b": np.zeros(1)})
        >>> vector.tolist()
        [0.0, 1.0, 1.0, 1.0, 1.0]
        >>> unflatten(vector, spec)["w"].shape
        (2, 2)
    """
    leaves: list[tuple[str, NDArray[Any]]] = []
    spec = _walk(tree, "tree", _MAX_DEPTH, leaves)
    _check_one_dtype(leaves)
    return np.concatenate([leaf.reshape(-1) for _, leaf in leaves]) if leaves else np.empty(0), spec


def unflatten(vector: NDArray[Any], spec: TreeSpec) -> Any:
    """A vector back to the tree of :func:`flatten`.

    Args:
        vector: shape ``(d,)``; its dtype is kept.
        spec: from :func:`flatten`.

    Returns:
        The tree; its arrays are copies.

    Raises:
        ParameterError: the vector has not as many entries as the spec, or is masked.
    """
    array = check_unmasked("vector", vector)
    if array.shape != (spec.size,):
        raise ParameterError(f"vector must have shape ({spec.size},) for this spec, got {array.shape}.")
    return _build(array, spec)


def _walk(tree: Any, path: str, levels: int, leaves: list[tuple[str, NDArray[Any]]]) -> TreeSpec:
    """The structure of a tree of at most so many levels above its leaves, which are appended with where they stand."""
    if levels < 0:
        raise ParameterError(f"tree must have at most {_MAX_DEPTH} levels of nesting, got more; flatten its parts.")
    if isinstance(tree, Mapping):
        if not all(isinstance(name, str) for name in tree):
            raise ParameterError(f"{path} must have str keys only, as every dict of a tree.")
        names = tuple(sorted(tree))
        children = tuple(_walk(tree[name], f"{path}[{name!r}]", levels - 1, leaves) for name in names)
        return TreeSpec("dict", names=names, children=children)
    if type(tree) in (list, tuple):
        kind: Literal["list", "tuple"] = "list" if type(tree) is list else "tuple"
        parts = tuple(_walk(part, f"{path}[{i}]", levels - 1, leaves) for i, part in enumerate(tree))
        return TreeSpec(kind, children=parts)
    if isinstance(tree, Sequence):
        raise ParameterError(
            f"{path} must be a dict, list, tuple or array, got a {type(tree).__name__}; convert it first."
        )
    leaf = _array(tree, path)
    leaves.append((path, leaf))
    return TreeSpec("leaf", shape=leaf.shape)


def _array(leaf: Any, path: str) -> NDArray[Any]:
    """A leaf as an array of numbers; a tensor without its gradients, from wherever it is."""
    tensor = callable(getattr(leaf, "detach", None)) and callable(getattr(leaf, "cpu", None))
    try:
        taken = np.asanyarray(leaf.detach().cpu() if tensor else leaf)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ParameterError(
            f"{path} must be an array of numbers that numpy has, got a {type(leaf).__name__} that does not become one "
            f"(dtype {getattr(leaf, 'dtype', 'unknown')}); convert it first, bfloat16 for one with .float()."
        ) from error
    array = check_unmasked(path, taken)
    if array.dtype.kind not in "iufc":
        raise ParameterError(
            f"{path} must be an array of numbers, got a leaf of type {type(leaf).__name__} and dtype {array.dtype}."
        )
    return array


def _check_one_dtype(leaves: list[tuple[str, NDArray[Any]]]) -> None:
    """All alike; of each dtype that there is, the first leaf is named."""
    first: dict[np.dtype[Any], str] = {}
    for path, leaf in leaves:
        first.setdefault(leaf.dtype, path)
    if len(first) > 1:
        found = ", ".join(f"{dtype} in {path}" for dtype, path in first.items())
        raise ParameterError(
            f"tree must hold arrays of one dtype, got {found}; leave out what is not to be summed (counters of a "
            "state_dict, for instance), or convert it first."
        )


def _build(vector: NDArray[Any], spec: TreeSpec) -> Any:
    """The tree of a vector of the right size."""
    if spec.kind == "leaf":
        return vector.reshape(spec.shape).copy()
    ends = np.cumsum([child.size for child in spec.children], dtype=np.int64)[:-1]
    pieces = np.split(vector, ends) if spec.children else []
    parts = [_build(piece, child) for piece, child in zip(pieces, spec.children, strict=True)]
    if spec.kind == "dict":
        return dict(zip(spec.names, parts, strict=True))
    return parts if spec.kind == "list" else tuple(parts)
