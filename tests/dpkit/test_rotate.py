"""The public rotation: orthonormal, invertible, and honest about its rounding."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dpkit.entropy import seeded
from dpkit.errors import ParameterError
from dpkit.rotate import Rotation

vectors = st.integers(1, 70).flatmap(
    lambda size: hnp.arrays(np.float64, size, elements=st.floats(-1e6, 1e6, allow_subnormal=False))
)


@given(vector=vectors, seed=st.integers(0, 2**64))
def test_rotation_keeps_the_norm(vector, seed):
    rotation = Rotation.draw(vector.size, entropy=seeded(seed))
    before, after = math.hypot(*vector), math.hypot(*rotation.forward(vector))
    # hypot itself is off by at most one unit of 2^-52 on each side, and what underflows by a few subnormals
    assert abs(after - before) <= (rotation.norm_slack + 2.0**-51) * before + 1e-320


@given(vector=vectors, seed=st.integers(0, 2**64))
def test_inverse_undoes_forward(vector, seed):
    rotation = Rotation.draw(vector.size, entropy=seeded(seed))
    back = rotation.inverse(rotation.forward(vector))
    assert back.shape == vector.shape
    assert np.abs(back - vector).max() <= 2 * rotation.norm_slack * math.hypot(*vector) + 1e-320


def test_matches_the_matrix():
    rotation = Rotation.draw(8, entropy=seeded(3))
    one = np.array([[1.0, 1.0], [1.0, -1.0]])
    hadamard = np.kron(np.kron(one, one), one) / np.sqrt(8)
    vector = np.arange(8.0)
    assert np.allclose(rotation.forward(vector), hadamard @ (rotation.signs * vector), rtol=1e-14, atol=1e-14)


def test_spreads_a_spike():
    spike = np.zeros(1024)
    spike[17] = 1.0
    assert np.allclose(np.abs(Rotation.draw(1024, entropy=seeded(1)).forward(spike)), 1 / 32, rtol=1e-13)


def test_signs_are_fresh():
    assert not np.array_equal(Rotation.draw(256).signs, Rotation.draw(256).signs)


def test_refuses_no_entries():
    with pytest.raises(ParameterError, match="dim must be >= 1"):
        Rotation.draw(0)
