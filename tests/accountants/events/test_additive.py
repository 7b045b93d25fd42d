"""Additive noise: parameters are checked by name and kept as plain numbers."""

import math

import numpy as np
import pytest

from accountants import DiscreteGaussian, DiscreteLaplace, DistributedDiscreteGaussian, EventError, Skellam

BAD = [0.0, -1.0, math.nan, math.inf, True, None, "1"]
GOOD = [
    (DiscreteGaussian, {"stddev": 2.0, "l2_bound": 1.0, "dim": 3}),
    (DiscreteLaplace, {"scale": 2.0, "l1_bound": 1.0}),
    (Skellam, {"variance": 2.0, "l1_bound": 1.0, "l2_bound": 1.0}),
    (DistributedDiscreteGaussian, {"local_stddev": 2.0, "parties": 3, "l2_bound": 1.0, "dim": 4}),
]
FIELDS = [(kind, good, field) for kind, good in GOOD for field in good]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("kind", "good", "field"), FIELDS)
def test_every_field_is_checked_by_its_name(kind, good, field, bad):
    with pytest.raises(EventError, match=f"{field} must be"):
        kind(**{**good, field: bad})


@pytest.mark.parametrize(("kind", "good"), GOOD)
def test_numbers_of_any_type_make_the_same_event(kind, good):
    plain = kind(**good)
    numpy = kind(
        **{name: (np.float64 if isinstance(value, float) else np.int64)(value) for name, value in good.items()}
    )
    assert numpy == plain
    assert repr(numpy) == repr(plain)
    assert eval(repr(plain), {kind.__name__: kind}) == plain  # noqa: S307  # the text is our own


def test_one_dimension_is_the_default():
    assert DiscreteGaussian(2.0, 1).dim == 1
