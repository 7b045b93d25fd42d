"""What a clip multiplies each example's gradient by, one factor for each parameter: a small function for each clip."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dpkit.adaptive import AdaptiveClip
from dpkit.clip import FlatClip, NormalizeClip
from dpkit.errors import ParameterError
from dpkit.groups import GroupClip
from dpkit.training.norms import coefficients, normalizers

__all__ = ["Clip", "require_clip", "require_names", "weights"]

Clip: TypeAlias = FlatClip | GroupClip | NormalizeClip | AdaptiveClip

# Beyond these, float32 could neither hold the clipped numbers to their last bit nor add them.
_LEAST, _LARGEST = 1e-30, 1e30


@singledispatch
def require_clip(clip: Any) -> None:
    """Refuse a clip that training cannot use: no joint l2 norm, or out of float32's range."""
    raise ParameterError(
        "clip must be a FlatClip, GroupClip, NormalizeClip or AdaptiveClip of dpkit, got "
        f"{type(clip).__name__}; use FlatClip(bound)"
    )


@require_clip.register(FlatClip)
@require_clip.register(AdaptiveClip)
def _(clip: FlatClip | AdaptiveClip) -> None:
    _require_l2(clip.norm)
    _require_range("bound", clip.bound)


@require_clip.register
def _(clip: NormalizeClip) -> None:
    _require_l2(clip.norm)
    _require_range("bound", clip.bound)
    _require_range("stability", clip.stability)


@require_clip.register
def _(clip: GroupClip) -> None:
    for bound in clip.bounds.values():
        _require_range("bound", bound)


def require_names(clip: Clip, names: Sequence[str]) -> None:
    """Refuse a GroupClip that does not have one bound for each trainable parameter and no other."""
    if not isinstance(clip, GroupClip) or clip.bounds.keys() == set(names):
        return
    lacking = [name for name in names if name not in clip.bounds]
    others = [str(name) for name in clip.bounds if name not in names]
    raise ParameterError(
        "clip must have a bound for each trainable parameter, by its name in named_parameters(), got none for "
        f"{', '.join(lacking) or 'no one that needs it'}, and one for {', '.join(others) or 'no other'}"
    )


@singledispatch
def weights(clip: Any, squares: Tensor, names: Sequence[str]) -> Tensor:
    r"""The factors of each example's gradient.

    Args:
        clip: what :func:`require_clip` took.
        squares: float64 tensor of shape (parameters, examples): squared norms; of examples that stay, finite.
        names: the parameters' names.

    Returns:
        float64 tensor of shape (parameters, examples), such that the scaled gradients of an example are, over all
        parameters, at most the clip's bound long.
    """
    del squares, names
    require_clip(clip)
    raise ParameterError(f"clip must have weights in training, got {type(clip).__name__}")


@weights.register(FlatClip)
@weights.register(AdaptiveClip)
def _(clip: FlatClip | AdaptiveClip, squares: Tensor, names: Sequence[str]) -> Tensor:
    del names
    return coefficients(squares.sum(0), clip.bound).expand_as(squares)


@weights.register
def _(clip: NormalizeClip, squares: Tensor, names: Sequence[str]) -> Tensor:
    del names
    return normalizers(squares.sum(0), clip.bound, clip.stability).expand_as(squares)


@weights.register
def _(clip: GroupClip, squares: Tensor, names: Sequence[str]) -> Tensor:
    return torch.stack([coefficients(row, clip.bounds[name]) for row, name in zip(squares, names, strict=True)])


def _require_l2(norm: str) -> None:
    if norm != "l2":
        raise ParameterError(f"clip must have norm 'l2' for training, got {norm!r}; use FlatClip(bound)")


def _require_range(name: str, value: float) -> None:
    if not _LEAST <= value <= _LARGEST:
        raise ParameterError(
            f"clip must have a {name} from {_LEAST} to {_LARGEST} for training in float32, got {value!r}; scale the "
            "losses"
        )
