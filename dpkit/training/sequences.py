r"""Norms of gradients that are sums over positions, :math:`K = \sum_t g_t a_t^\top`, and are not kept.

Inputs :math:`a` have shape (rows, groups, T, in), signals :math:`g` (rows, groups, T, out). What an example adds to a
sum is computed by another contraction than its norm, and a sum over positions cancels: where :math:`\|K\|` is far below
:math:`S = \|a\|\,\|g\|`, float32 could see a norm of zero for what is not zero, and clipping would bound nothing. So
each function answers with an upper bound. With :math:`u` half the spacing of floats at one, it adds

* the worst rounding error of the contraction that makes the sum, :math:`(T + 4)\, u\, S`, to the norm;
* its own worst rounding error, to what it computes;

and it answers at least :math:`S / 256`, so that no clipped example brings terms into the sum that are longer than 256
times the bound. Where positions do not conspire, :math:`S` is about :math:`\sqrt T \|K\|`, and all this is below a
thousandth of the norm for :math:`T` up to 128.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dpkit.training.norms import squared_norms

__all__ = ["by_forming", "by_products", "product_of_norms"]

# The longest inner product that is left to float32; what these give is added in float64.
_RUN = 64
_LEAST_SHARE = 1.0 / 256


def by_products(inputs: Tensor, signals: Tensor) -> Tensor:
    r"""From inner products: :math:`\|K\|^2 = \sum_{t,s} (a_t \cdot a_s)(g_t \cdot g_s)` (Li et al. 2022, section 4).

    Its own error is that of inner products of at most 64 terms: below :math:`(n + m + 8)\, u\, S^2` for runs of n and m
    terms. :math:`S` is answered where the factors are so small or large that products leave the range of float32.

    Args:
        inputs: float32 or float64 of shape (rows, groups, T, in).
        signals: of the same type, shape (rows, groups, T, out).

    Returns:
        float64 tensor of shape (rows,): squares of upper bounds.
    """
    ceiling, unit, positions = product_of_norms(inputs, signals), _unit(inputs), inputs.shape[2]
    runs = sum(min(tensor.shape[3], _RUN) for tensor in (inputs, signals))
    if inputs.dtype == torch.float64:  # neither shorter runs nor a wider sum over the pairs of positions
        runs = inputs.shape[3] + signals.shape[3] + positions**2
    products = (_inner(inputs) * _inner(signals)).sum((1, 2, 3)).clamp(min=0.0)
    norms = torch.minimum((products + (runs + 8) * unit * ceiling.square()).sqrt(), ceiling)
    usable = _within(squared_norms(inputs), 1e-20, 1e30) & _within(squared_norms(signals), 1e-20, 1e30)
    usable &= _within(ceiling, 1e-15, 1e15)
    return _at_least(torch.where(usable, norms, ceiling), ceiling, (positions + 4) * unit)


def by_forming(inputs: Tensor, signals: Tensor) -> Tensor:
    r"""From the gradients themselves, which are forgotten again; their own error is below :math:`(T + 4)\, u\, S`.

    Args and Returns: as for :func:`by_products`; not finite where an entry of a gradient is not.
    """
    ceiling, unit, positions = product_of_norms(inputs, signals), _unit(inputs), inputs.shape[2]
    norms = squared_norms(signals.mT @ inputs).sqrt()
    return _at_least(norms, ceiling, 2 * (positions + 4) * unit)


def product_of_norms(inputs: Tensor, signals: Tensor) -> Tensor:
    """The product of the norms of two rows, float64; no factor is squared alone where float64 could lose it."""
    if inputs.dtype != torch.float64:
        return (squared_norms(inputs) * squared_norms(signals)).sqrt()
    if not (inputs.numel() and signals.numel()):
        return inputs.new_zeros(len(inputs))
    norms, peaks = [], []
    for flat in (inputs.flatten(1), signals.flatten(1)):
        peak = torch.linalg.vector_norm(flat, float("inf"), dim=1)
        norms.append(torch.linalg.vector_norm(flat / torch.where(peak == 0, 1.0, peak)[:, None], dim=1))
        peaks.append(peak)
    product: Tensor = norms[0] * norms[1] * (peaks[0] * peaks[1])
    return product


def _inner(vectors: Tensor) -> Tensor:
    """Inner products of all pairs of positions, float64 of shape (rows, groups, T, T)."""
    if vectors.dtype == torch.float64:
        return vectors @ vectors.mT
    total = vectors.new_zeros((*vectors.shape[:3], vectors.shape[2]), dtype=torch.float64)
    for part in torch.split(vectors, _RUN, dim=3):
        total += part @ part.mT
    return total


def _at_least(norms: Tensor, ceiling: Tensor, error: float) -> Tensor:
    """Squares of the norms with room for an error, relative to the ceiling, and not below their least share of it."""
    return torch.maximum(norms + error * ceiling, _LEAST_SHARE * ceiling).square()


def _unit(tensor: Tensor) -> float:
    """Half the spacing of floats at one."""
    return float(torch.finfo(tensor.dtype).eps) / 2


def _within(values: Tensor, low: float, high: float) -> Tensor:
    """Where values lie strictly between; false for NaN."""
    return (values > low) & (values < high)
