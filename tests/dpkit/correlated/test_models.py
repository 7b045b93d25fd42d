"""A model's parameters as what a stream is like, and its gradients as queries."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from accountants.participation import Participation
from dpkit.bounded import Bounded
from dpkit.correlated import BandedNoise, BufferedToeplitzNoise, TreeNoise
from dpkit.entropy import seeded

STEPS, KEY = 12, bytes(range(32))
KINDS = {
    "tree": (TreeNoise, {}),
    "banded": (BandedNoise, {"bands": 4}),
    "buffered": (BufferedToeplitzNoise, {"buffers": 2}),
}


def _make(kind, like, entropy=None):
    made, chosen = KINDS[kind]
    return made(like, noise_multiplier=1.0, bound=1.0, steps=STEPS, entropy=entropy, **chosen)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_of_a_model_are_a_structure(kind):
    """Tensors that require gradients: only names and shapes are taken, and released numbers are tensors again."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1, bias=False))
    like = dict(model.named_parameters())
    stream, numbers = _make(kind, like, seeded(4)), _make(kind, like, seeded(4))
    gradients = {name: torch.full_like(parameter, 2.0**-4).detach() for name, parameter in like.items()}
    released = stream.release(Bounded(gradients, 1.0), participation=Participation(steps=STEPS)).value
    row = numbers.next()
    assert list(released) == list(like) == list(row)
    for name, parameter in like.items():
        assert isinstance(released[name], torch.Tensor)
        assert (released[name].shape, released[name].dtype) == (parameter.shape, torch.float32)
        assert not released[name].requires_grad
        exact = [Fraction(float(number)) + Fraction(1, 16) for number in row[name].ravel()]
        # the sum is rounded to float64 and that to float32
        assert released[name].ravel().tolist() == [float(np.float32(float(number))) for number in exact]
    later = _make(kind, dict(torch.nn.Sequential(*model).named_parameters()))
    later.restore(stream.snapshot(KEY), KEY)
    assert later.remaining == STEPS - 1
