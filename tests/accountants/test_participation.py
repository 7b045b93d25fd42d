"""Participations allow what their three numbers say, and take what is left out at its worst."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import EventError
from accountants.participation import Participation
from tests.oracles.participation import patterns

sizes = st.integers(1, 9)


@given(sizes, sizes, st.none() | sizes)
def test_the_count_is_that_of_the_longest_pattern(steps, gap, most):
    allowed = Participation(steps=steps, min_separation=gap, max_participations=most)
    assert allowed.count == max(map(len, patterns(steps, gap, most)))
    assert allowed.room == max(map(len, patterns(steps, gap, None)))


def test_what_is_left_out_is_the_worst():
    assert Participation(steps=7).count == 7
    assert Participation(steps=7) == Participation(steps=7, min_separation=1, max_participations=None)
    assert Participation(steps=7, max_participations=3).min_separation == 1


def test_separation_is_a_difference():
    """Steps next to each other have separation 1; where the steps between are counted, it is 0."""
    assert Participation(steps=2, min_separation=1).count == 2
    assert Participation(steps=2, min_separation=2).count == 1
    assert Participation(steps=3, min_separation=2).count == 2


@pytest.mark.parametrize("name", ["steps", "min_separation", "max_participations"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3", 2**54])
def test_numbers_are_counts(name, value):
    with pytest.raises(EventError, match=name):
        Participation(**{"steps": 10, name: value})


def test_is_plain_data():
    allowed = Participation(steps=np.int64(10), min_separation=np.int32(3))
    assert type(allowed.steps) is type(allowed.min_separation) is int
    assert hash(allowed) == hash(Participation(steps=10, min_separation=3))
    with pytest.raises(TypeError):
        Participation(10, 3)
