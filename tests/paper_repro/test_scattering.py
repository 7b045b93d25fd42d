"""Scattering features against convolutions that are written out."""

import math

import numpy as np
import torch

from paper_repro.scattering import CHANNELS, SIDE, scattering

SIZE, MARGIN = 36, 4


def circle(values):
    """Fold a plane of three by three circles onto one."""
    return values.reshape(3, SIZE, 3, SIZE).sum(axis=(0, 2))


def wavelet(scale, turn):
    places = np.arange(-SIZE, 2 * SIZE)
    down, right = np.meshgrid(places, places, indexing="ij")
    angle, width, slant = turn * math.pi / 8, 0.8 * 2**scale, 0.5
    along, across = (
        np.cos(angle) * down + np.sin(angle) * right,
        np.cos(angle) * right - np.sin(angle) * down,
    )
    bell = np.exp(-(along**2 + slant**2 * across**2) / (2 * width**2)) * slant / (2 * math.pi * width**2)
    wave, bell = circle(bell * np.exp(1j * (3 * math.pi / 4) / 2**scale * along)), circle(bell)
    return wave - bell * wave.sum() / bell.sum()


def convolved(signal, kernel):
    return np.fft.ifft2(np.fft.fft2(signal) * np.fft.fft2(kernel))


def averaged(signal):
    places = np.arange(-SIZE, 2 * SIZE)
    line = (np.exp(-(places**2) / (2 * 1.6**2)) / math.sqrt(2 * math.pi * 1.6**2)).reshape(3, SIZE).sum(axis=0)
    step = SIZE // len(signal)
    kernel = np.outer(line, line)[::step, ::step] * step**2
    return convolved(signal, kernel).real[:: 4 // step, :: 4 // step][1:-1, 1:-1]


def test_features_of_all_orders():
    image = np.random.default_rng(0).random((28, 28)).astype(np.float32)
    found = scattering(torch.from_numpy(image)[None, None])[0].numpy()
    assert found.shape == (CHANNELS, SIDE, SIDE)
    signal = np.pad(image.astype(np.float64), MARGIN, mode="reflect")
    np.testing.assert_allclose(found[0], averaged(signal), atol=1e-6)
    for turn in (0, 3):
        fine = abs(convolved(signal, wavelet(0, turn)))
        coarse = abs(convolved(signal, wavelet(1, turn)))[::2, ::2]
        np.testing.assert_allclose(found[1 + turn], averaged(fine), atol=1e-6)
        np.testing.assert_allclose(found[9 + turn], averaged(coarse), atol=1e-6)
        for other in (0, 5):
            pair = abs(convolved(fine, wavelet(1, other)))[::2, ::2]
            np.testing.assert_allclose(found[17 + 8 * turn + other], averaged(pair), atol=1e-6)


def test_parts_do_not_matter():
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(scattering(images, chunk=2), scattering(images))


def test_wavelets_see_no_constant():
    found = scattering(torch.ones(1, 1, 28, 28))[0]
    torch.testing.assert_close(found[0], torch.ones(SIDE, SIDE))
    assert found[1:].abs().max() < 1e-5
