"""Trees of arrays to one vector and back: a model's parameters travel as a single vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    add the same entries.

    Args:
        tree: an array, or a dict (with str keys), list or tuple of trees, at most 64 levels deep. All arrays have one
            dtype: promoting integers and floats to a common one could lose bits.

    Returns:
        The vector, shape ``(d,)``, and the spec that :func:`unflatten` takes.

    Raises:
        ParameterError: a key that is no str, a leaf that is no array of numbers or is masked, another sequence (a
            named tuple would not come back as one), two dtypes, or too many levels.

    Example:
        >>> vector, spec = flatten({"w": np.ones((2, 2)), "b": np.zeros(1)})
        >>> vector.tolist()
        [0.0, 1.0, 1.0, 1.0, 1.0]
        >>> unflatten(vector, spec)["w"].shape
        (2, 2)
    """
    spec = _spec(tree, _MAX_DEPTH)
    leaves = [np.asarray(leaf) for leaf in _leaves(tree, spec)]
    if len({leaf.dtype for leaf in leaves}) > 1:
        raise ParameterError("tree must hold arrays of one dtype, got several; convert them first.")
    return np.concatenate([leaf.reshape(-1) for leaf in leaves]) if leaves else np.empty(0), spec


def unflatten(vector: NDArray[Any], spec: TreeSpec) -> Any:
    """A vector back to the tree of :func:`flatten`.

    Args:
        vector: shape ``(d,)``; its dtype is kept.
        spec: from :func:`flatten`.

    Returns:
        The tree; its arrays are copies.

    Raises:
        ParameterError: the vector has not as many entries as the spec.
    """
    if vector.shape != (spec.size,):
        raise ParameterError(f"vector must have shape ({spec.size},) for this spec, got {vector.shape}.")
    return _build(vector, spec)


def _spec(tree: Any, levels: int) -> TreeSpec:
    """The structure of a tree of at most so many levels above its leaves."""
    if levels < 0:
        raise ParameterError(f"tree must have at most {_MAX_DEPTH} levels of nesting, got more; flatten its parts.")
    if isinstance(tree, Mapping):
        if not all(isinstance(name, str) for name in tree):
            raise ParameterError("tree must have dicts with str keys only.")
        names = tuple(sorted(tree))
        return TreeSpec("dict", names=names, children=tuple(_spec(tree[name], levels - 1) for name in names))
    if type(tree) in (list, tuple):
        kind: Literal["list", "tuple"] = "list" if type(tree) is list else "tuple"
        return TreeSpec(kind, children=tuple(_spec(part, levels - 1) for part in tree))
    if isinstance(tree, Sequence):
        raise ParameterError(
            f"tree must be of dicts, lists, tuples and arrays, got a {type(tree).__name__}; convert it first."
        )
    leaf = check_unmasked("tree", tree)
    if leaf.dtype.kind not in "iufc":
        raise ParameterError(f"tree must hold arrays of numbers, got a leaf of type {type(tree).__name__}.")
    return TreeSpec("leaf", shape=leaf.shape)


def _leaves(tree: Any, spec: TreeSpec) -> Iterator[Any]:
    """The arrays, in the order of the spec."""
    if spec.kind == "leaf":
        yield tree
        return
    parts = [tree[name] for name in spec.names] if spec.kind == "dict" else tree
    for part, child in zip(parts, spec.children, strict=True):
        yield from _leaves(part, child)


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
