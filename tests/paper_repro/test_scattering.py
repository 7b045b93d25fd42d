"""Scattering features against convolutions that are written out."""

import math

import numpy as np
import torch

from paper_repro.scattering import CHANNELS, SIDE, drawings, scattering

SIZE, MARGIN = 36, 4

# Kymatio 0.3.0, Scattering2D(J=2, shape=(28, 28)) of ring(): means over 7 x 7, its angles in our order
KYMATIO = """
0.11156 0.0093025 0.010505 0.012869 0.0157 0.016924 0.015807 0.012995 0.010585 0.018413 0.019713 0.023136 0.027716
0.031018 0.027951 0.023403 0.019867 0.0020356 0.0018627 0.0014824 0.0013677 0.0014187 0.001366 0.0014852 0.0018635
0.0019049 0.00228 0.0022106 0.0020383 0.0017268 0.0013254 0.0012575 0.0015312 0.0016091 0.0022016 0.0029322 0.0032945
0.0026665 0.0017836 0.0013831 0.0013573 0.0015275 0.0019506 0.0031453 0.0044559 0.0043259 0.0029206 0.0018127 0.0015011
0.0014866 0.0016602 0.0024679 0.0041391 0.005215 0.0041407 0.0024675 0.0016648 0.0015466 0.0015034 0.0018195 0.0029334
0.0043412 0.0044777 0.0031706 0.0019851 0.0016449 0.0013819 0.0013898 0.0017998 0.0026837 0.0033156 0.0029545 0.002227
0.0019185 0.0015478 0.0012714 0.0013358 0.0017336 0.0020526 0.0022205 0.002292
"""


def ring():
    down, right = np.mgrid[:28, :28]
    apart = np.hypot(down - 13, (right - 14) * 1.5) - 8
    return np.exp(-(apart**2) / 4 + 0.02 * (down - right) - 0.3).astype(np.float32)


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


def test_features_are_those_of_kymatio():
    """It cuts the spectra where it halves the grid, and takes pi for 3.1415: that is the 0.3 % between us."""
    found = scattering(torch.from_numpy(ring())[None, None])[0].mean(dim=(1, 2)).numpy()
    np.testing.assert_allclose(found, np.array(KYMATIO.split(), dtype=float), rtol=3.5e-3)


def test_parts_do_not_matter():
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(scattering(images, chunk=2), scattering(images))


def test_wavelets_see_no_constant():
    found = scattering(torch.ones(1, 1, 28, 28))[0]
    torch.testing.assert_close(found[0], torch.ones(SIDE, SIDE))
    assert found[1:].abs().max() < 1e-5


def test_drawings_are_the_same_each_time_and_leave_other_draws_alone():
    before = torch.random.get_rng_state()
    sheets = drawings(250)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(sheets, drawings(250))
    assert sheets.shape == (250, 1, 28, 28)
    assert sheets.min() == 0
    assert sheets.max() == 1
    assert not torch.equal(sheets[0], sheets[1])
