"""Events of one inner event: their parameters and what they refuse."""

import math

import pytest

from accountants import EventError, FixedSizeSampled, Gaussian, Group, PoissonSampled, TruncatedPoissonSampled, Within

BUILDERS = [
    lambda event: Within(event, 0.0, 0.0),
    lambda event: PoissonSampled(event, 0.5),
    lambda event: FixedSizeSampled(event, 10, 5),
    lambda event: TruncatedPoissonSampled(event, 0.5, 10, 5),
    lambda event: Group(event, 2),
]
GOOD = [
    (FixedSizeSampled, {"population": 10, "batch": 5}),
    (TruncatedPoissonSampled, {"sampling_prob": 0.5, "population": 10, "max_batch": 5}),
    (Group, {"size": 2}),
]


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("bad", [1.0, None, "Gaussian", Gaussian])
def test_the_inner_event_is_an_event(build, bad):
    with pytest.raises(EventError, match="event must be an event"):
        build(bad)


@pytest.mark.parametrize("build", BUILDERS)
def test_depth_is_counted(build):
    event, depth = Gaussian(1.0), 1
    while depth < 65:
        event, depth = build(event), depth + 1
    with pytest.raises(EventError, match="nested at most 64 deep"):
        build(event)


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, True, None, "1", 2**53 + 1])
@pytest.mark.parametrize(("kind", "good", "field"), [(k, g, f) for k, g in GOOD for f in g])
def test_every_field_is_checked_by_its_name(kind, good, field, bad):
    with pytest.raises(EventError, match=f"{field} must be"):
        kind(Gaussian(1.0), **{**good, field: bad})


def test_a_batch_holds_no_record_twice():
    assert FixedSizeSampled(Gaussian(1.0), 10, 10).batch == 10
    with pytest.raises(EventError, match=r"batch must be at most the population of 10, got 11; .* no record twice"):
        FixedSizeSampled(Gaussian(1.0), population=10, batch=11)


def test_ends_of_the_counts():
    assert FixedSizeSampled(Gaussian(1.0), 1, 0).batch == 0
    assert TruncatedPoissonSampled(Gaussian(1.0), 1, 1, 0).sampling_prob == 1.0
    for build in (lambda: FixedSizeSampled(Gaussian(1.0), 0, 0), lambda: Group(Gaussian(1.0), 0)):
        with pytest.raises(EventError, match="an integer from 1"):
            build()
