"""Scattering features of digits, in which nothing is learned from data; and drawings, which belong to nobody."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["CHANNELS", "SIDE", "drawings", "scattering"]

CHANNELS, SIDE = 81, 7
"""One average, 16 moduli, 64 moduli of moduli; each on a grid of 7 x 7."""

_MARGIN, _ANGLES = 4, 8
_WIDE = 28 + 2 * _MARGIN


def scattering(images: Tensor, *, chunk: int = 200) -> Tensor:
    """Two scales, eight angles, two orders.

    Args:
        images: float32, shape ``(n, 1, 28, 28)``.
        chunk: images at a time.

    Returns:
        float32, shape ``(n, 81, 7, 7)``.

    References:
        Bruna & Mallat 2013; Oyallon & Mallat 2015 (arXiv 1412.8659).
    """
    fine, coarse = (torch.stack([_wavelet(scale, turn) for turn in range(_ANGLES)]) for scale in (0, 1))
    lows = _low(_WIDE), _low(_WIDE // 2)
    return torch.cat([_features(part, fine, coarse, lows) for part in torch.split(images, chunk)])


def drawings(count: int) -> Tensor:
    """Two bent strokes on each of `count` sheets, by a generator of their own: float32, ``(count, 1, 28, 28)``."""
    maker = torch.Generator().manual_seed(0)
    ends = 4 + 20 * torch.rand(count, 2, 1, 3, 2, generator=maker)
    along = torch.linspace(0, 1, 30)[:, None]
    path = (1 - along) ** 2 * ends[..., 0, :] + 2 * along * (1 - along) * ends[..., 1, :] + along**2 * ends[..., 2, :]
    pixels, sheets = torch.arange(28.0), []
    for points in torch.split(path.flatten(1, 2), 100):
        down, right = ((points[:, :, axis, None] - pixels).square() for axis in (0, 1))
        distance = (down[..., :, None] + right[..., None, :]).amin(dim=1).sqrt()
        sheets.append((2.1 - distance).clamp(0, 1)[:, None])
    return torch.cat(sheets)


def _features(images: Tensor, fine: Tensor, coarse: Tensor, lows: tuple[Tensor, Tensor]) -> Tensor:
    """One chunk; what passed a coarse wavelet lives on half the grid."""
    signal = pad(images, (_MARGIN,) * 4, mode="reflect")
    spectrum = torch.fft.fft2(signal)
    first = torch.fft.ifft2(spectrum * fine).abs()
    second = torch.fft.ifft2(_halved(spectrum, coarse)).abs()
    third = torch.fft.ifft2(_halved(torch.fft.fft2(first)[:, :, None], coarse)).abs().flatten(1, 2)
    averages = [low @ part @ low.T for low, part in zip((lows[0], *lows), (signal, first, second), strict=False)]
    return torch.cat([*averages, lows[1] @ third @ lows[1].T], dim=1)


def _halved(spectrum: Tensor, wavelets: Tensor) -> Tensor:
    """The spectrum of every second sample of the product: its four quarters on top of each other."""
    half = spectrum.shape[-1] // 2
    halves = slice(0, half), slice(half, None)
    quarters = [(spectrum[..., down, right], wavelets[..., down, right]) for down in halves for right in halves]
    total = quarters[0][0] * quarters[0][1]
    for part, wavelet in quarters[1:]:
        total.addcmul_(part, wavelet)
    return total.mul_(0.25)


def _grid() -> Tensor:
    """Places around zero, once around the circle to either side, so that what hangs over comes back in."""
    return torch.arange(-_WIDE, 2 * _WIDE, dtype=torch.float64)


def _wrapped(values: Tensor) -> Tensor:
    """Onto the circle."""
    for axis in range(values.dim()):
        values = torch.unflatten(values, axis, (3, _WIDE)).sum(dim=axis)
    return values


def _wavelet(scale: int, turn: int) -> Tensor:
    """The spectrum of a Morlet wavelet: a wave under a bell, less a bell, so that its mean is zero."""
    width, wave, slant = 0.8 * 2**scale, 0.75 * math.pi / 2**scale, 4.0 / _ANGLES
    angle = turn * math.pi / _ANGLES
    down, right = torch.meshgrid(_grid(), _grid(), indexing="ij")
    along = math.cos(angle) * down + math.sin(angle) * right
    across = -math.sin(angle) * down + math.cos(angle) * right
    bell = torch.exp(-(along**2 + (slant * across) ** 2) / (2 * width**2)) * slant / (2 * math.pi * width**2)
    waves, bells = _wrapped(bell * torch.exp(1j * wave * along)), _wrapped(bell)
    wavelet: Tensor = waves - waves.sum() / bells.sum() * bells
    spectrum: Tensor = torch.fft.fft2(wavelet)
    return spectrum.to(torch.complex64)


def _low(side: int) -> Tensor:
    """Seven local averages of `side` samples, four pixels apart, as a matrix."""
    step = _WIDE // side
    bell = _wrapped(torch.exp(-(_grid() ** 2) / (2 * 1.6**2)) / math.sqrt(2 * math.pi * 1.6**2))
    rows = [bell.roll(4 * (place + 1))[::step] * step for place in range(SIDE)]
    return torch.stack(rows).to(torch.float32)
