r"""Norms of per-example gradients, and the coefficients that clip them.

Rounding, once for all routes. Squares are summed in float32 over runs of 32 entries and in float64 beyond, so a norm
is off by at most 17 units of :math:`2^{-24}` relatively, and a product of two norms by 34; coefficient, product and
cast add at most 4. A coefficient aims at :math:`(1 - 2^{-18})` times the bound, 64 units below it: a contribution stays
below the bound after rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["SHRINK", "coefficients", "normalizers", "squared_norms", "working_dtype"]

SHRINK = 1.0 - 2.0**-18
_RUN = 32
# Between these a float32 run can neither overflow nor lose what matters: squares of entries below 1e-19 vanish, and
# even 1e12 of them weigh less than 1e-6 of a norm of 1e-7.
_SAFE_LOW, _SAFE_HIGH = 1e-7, 1e15


def working_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype in which gradients are computed: never below float32."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def squared_norms(rows: Tensor) -> Tensor:
    """The squared Euclidean norm of each row.

    Args:
        rows: float32 or float64 tensor of shape (rows, ...).

    Returns:
        float64 tensor of shape (rows,); not finite exactly where the row or its square is not.
    """
    flat = rows.flatten(1) if rows.dim() > 1 else rows[:, None]
    runs = flat.shape[1] // _RUN
    if flat.dtype == torch.float64 or runs == 0:
        return _exact_squares(flat)
    head = flat[:, : runs * _RUN].reshape(-1, runs, _RUN)
    squares: Tensor = torch.linalg.vector_norm(head, dim=2).double().square().sum(1)
    squares += _exact_squares(flat[:, runs * _RUN :])
    doubtful = ~((squares > _SAFE_LOW**2) & (squares < _SAFE_HIGH**2))
    if bool(doubtful.any()):
        squares[doubtful] = _exact_squares(flat[doubtful])
    return squares


def coefficients(squares: Tensor, bound: float) -> Tensor:
    r"""The factor :math:`\min(1, C / n)`, rounded towards zero, that brings each norm :math:`n` to at most :math:`C`.

    A norm that is not finite gives 0, and so does a factor too small to be a normal float32 number.

    Args:
        squares: float64 tensor of shape (rows,), squared norms.
        bound: the clipping bound C > 0.

    Returns:
        float64 tensor of shape (rows,) with entries in [0, 1].
    """
    factor = (bound * SHRINK / squares.sqrt()).clamp(max=1.0)  # a zero norm gives inf, hence 1
    usable = torch.isfinite(squares) & (factor >= torch.finfo(torch.float32).tiny)
    return torch.where(usable, factor, 0.0)


def normalizers(squares: Tensor, bound: float, stability: float) -> Tensor:
    r"""The factor :math:`C / (n + \gamma)` of AUTO-S, rounded towards zero: it brings norms :math:`n` below :math:`C`.

    A norm that is not finite gives 0, and so does a factor too small to be a normal float32 number; a factor too large
    for float32 is its largest number.

    Args:
        squares: float64 tensor of shape (rows,), squared norms.
        bound: the bound C > 0.
        stability: gamma > 0.

    Returns:
        float64 tensor of shape (rows,).
    """
    factor = (bound * SHRINK / (squares.sqrt() + stability)).clamp(max=torch.finfo(torch.float32).max)
    usable = torch.isfinite(squares) & (factor >= torch.finfo(torch.float32).tiny)
    return torch.where(usable, factor, 0.0)


def _exact_squares(flat: Tensor) -> Tensor:
    """Squared norms of the rows of a matrix, in float64 throughout."""
    norms: Tensor = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64)
    return norms.square()
