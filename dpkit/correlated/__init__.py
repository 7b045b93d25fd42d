"""Noise that is correlated over steps, as streams: trees, bands and buffered Toeplitz matrices.

Each stream gives one row of noise a step, keeps a bounded number of rows, and is one Gaussian event for all steps
together under a stated participation. Modules: `stream` (what they share, and why it is private), `tree`, `banded`,
`toeplitz`.
"""

from __future__ import annotations

from dpkit.correlated.banded import BandedNoise
from dpkit.correlated.stream import NoiseStream
from dpkit.correlated.toeplitz import BufferedToeplitzNoise
from dpkit.correlated.tree import TreeNoise

__all__ = ["BandedNoise", "BufferedToeplitzNoise", "NoiseStream", "TreeNoise"]
