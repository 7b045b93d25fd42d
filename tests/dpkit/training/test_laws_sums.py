"""Laws of clipped sums over random architectures, losses, types and splits of the batch."""

import itertools
import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from dpkit.clip import FlatClip, NormalizeClip
from dpkit.groups import GroupClip
from dpkit.training import clipped_sum, record
from dpkit.training.norms import SHRINK
from dpkit.training.sums import METHODS
from tests.oracles.architectures import Batch, added, architectures, gradients
from tests.oracles.training import losses_of, norm

pytestmark = [  # torch's own
    pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning"),
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight:UserWarning"),
]

ROWS, SOME, METHOD = st.integers(0, 8), st.integers(1, 8), st.sampled_from(METHODS)
BOUNDS = st.sampled_from([0.05, 1.0, 1e6])
# float64: at most 1e3 roundings of 2**-53 on each path, times a condition of at most 1e4 in models of this size.
CLOSE = 1e-9
UNIT = 2.0**-24


def total_of(case, batch, clip, units=None, method="auto", scale=1.0):
    with record(case.model) as tape:
        losses = case.losses(batch) * scale
    return clipped_sum(tape, losses, clip, units, method).value


def groups_of(case, bound):
    """A bound for each trainable parameter, no two alike."""
    named = [name for name, p in case.model.named_parameters() if p.requires_grad]
    return {name: bound * (1 + i) for i, name in enumerate(named)}


def gap(one, other):
    return {name: one[name].double() - other[name].double() for name in one}


def assert_close(found, expected, rows):
    assert found.keys() == expected.keys()
    room = CLOSE * (1.0 + sum(norm(row) for row in rows))
    for name, value in expected.items():
        assert found[name].shape == value.shape
        torch.testing.assert_close(found[name], value, rtol=0, atol=room, msg=name)


def summed(parts, case):
    return {
        name: sum((part[name] for part in parts), torch.zeros_like(p))
        for name, p in case.model.named_parameters()
        if p.requires_grad
    }


def assert_along(found, expected):
    """Not longer than expected, and in its direction."""
    short, long = norm(found), norm(expected)
    assert short <= long * (1 + CLOSE) + CLOSE
    assert norm({name: found[name] * long - expected[name] * short for name in expected}) <= CLOSE * (1.0 + long)


@given(architectures(), ROWS, BOUNDS)
def test_every_method_is_the_loop_over_rows(case, rows, bound):
    """The fast way may take a norm that cancels over positions for longer than it is, and clip that row by more."""
    batch = case.batch(rows if case.takes_empty else max(rows, 1))
    alone = gradients(case, batch)
    clipped = [added([[row]], case, lambda n: min(1.0, bound * SHRINK / max(n, 1e-300))) for row in alone]
    for method in METHODS:
        found = total_of(case, batch, FlatClip(bound), method=method)
        if method == "auto" and bound < 1e6:
            single = [total_of(case, batch.take([i]), FlatClip(bound)) for i in range(len(alone))]
            for one, expected in zip(single, clipped, strict=True):
                assert_along(one, expected)
            assert_close(found, summed(single, case), alone)
        else:
            assert_close(found, summed(clipped, case), alone)


@given(architectures(), SOME, st.data())
def test_every_method_is_the_loop_over_units(case, rows, data):
    batch = case.batch(rows)
    units = data.draw(st.lists(st.integers(-2, 3), min_size=rows, max_size=rows))
    alone = gradients(case, batch)
    groups = [[alone[i] for i in range(rows) if units[i] == unit] for unit in set(units)]
    expected = added(groups, case, lambda n: min(1.0, SHRINK / max(n, 1e-300)))
    for method in METHODS:
        assert_close(total_of(case, batch, FlatClip(1.0), torch.tensor(units), method), expected, alone)


@given(architectures(), SOME, METHOD, st.sampled_from(["flat", "normalize", "group"]))
def test_one_row_moves_the_sum_by_at_most_the_bound(case, rows, method, kind):
    """In float64, whose rounding is far below the room of 2**-18 that a clip leaves: no slack at all."""
    assume(rows > 1 or case.takes_empty)
    clips = {"flat": FlatClip(0.3), "normalize": NormalizeClip(0.3, 0.1), "group": GroupClip(groups_of(case, 0.3))}
    clip, batch = clips[kind], case.batch(rows)
    whole, without = (total_of(case, part, clip, method=method) for part in (batch, batch.take(range(1, rows))))
    moved = gap(whole, without)
    assert norm(moved) <= clip.bound
    if kind == "group":
        assert clip.bound <= math.hypot(*clip.bounds.values()) * (1 + 1e-15)
        assert all(norm({name: moved[name]}) <= bound for name, bound in clip.bounds.items())
    other = case.batch(rows + 1)
    replaced = Batch(torch.cat([other.x[-1:], batch.x[1:]]), torch.cat([other.y[-1:], batch.y[1:]]))
    assert norm(gap(whole, total_of(case, replaced, clip, method=method))) <= 2 * clip.bound


@given(architectures(), st.integers(2, 8), METHOD, st.data())
def test_one_unit_moves_the_sum_by_at_most_the_bound(case, rows, method, data):
    batch = case.batch(rows)
    units = data.draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    kept = [i for i in range(rows) if units[i] != units[0]]
    assume(kept or case.takes_empty)
    whole = total_of(case, batch, FlatClip(0.3), torch.tensor(units), method)
    without = total_of(case, batch.take(kept), FlatClip(0.3), torch.tensor([units[i] for i in kept]).long(), method)
    assert norm(gap(whole, without)) <= 0.3


@given(
    st.booleans().flatmap(
        lambda autocast: architectures(
            dtypes=(torch.float32,) if autocast else (torch.float32, torch.bfloat16), autocast=autocast
        )
    ),
    st.integers(1, 4),
    METHOD,
)
def test_in_low_precision_one_row_moves_the_sum_by_the_bound_and_the_rounding_of_sums(case, rows, method):
    """The row leaves by a loss of zero, so that kernels see the same shapes and other rows' gradients are the same.

    What remains is the rounding of two float32 sums of clipped gradients, each at most (terms + 1) u times the sum of
    magnitudes. Where rows' gradients are formed there are n terms, and their norms add up to at most nC. Where they are
    not, each row adds T positions, whose magnitudes have norm S; a norm is taken for at least S / 256, so that S is at
    most 256 C once it is clipped.
    """
    batch = case.batch(rows)
    without = torch.ones(rows)
    without[0] = 0.0
    with record(case.model) as tape:
        case.losses(batch)
    positions = max(shape.numel() // rows for use in tape.uses for shape in use.outputs)
    terms, lengths = (rows * positions, 256.0) if method == "auto" else (rows, 1.0)
    slack = 2 * (terms + 1) * UNIT * rows * lengths
    clip = FlatClip(0.3)
    both = [total_of(case, batch, clip, method=method, scale=scale) for scale in (torch.ones(rows), without)]
    assert norm(gap(*both)) <= 0.3 * (1 + slack)


SPECIAL = [float("nan"), float("inf"), -float("inf"), 3e38, 1e-45]


@given(
    st.booleans().flatmap(
        lambda autocast: architectures(
            dtypes=(torch.float32,) if autocast else (torch.float32, torch.float64, torch.bfloat16), autocast=autocast
        )
    ),
    st.one_of(st.integers(-30, 30).map(lambda e: 10.0**e), st.sampled_from(SPECIAL)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1e-4, 1.0, 7e3]),
)
def test_one_row_alone_stays_within_the_bound_at_every_scale(case, scale, of_loss, is_flat, bound):
    """Also where all positions of a row see the same, so that their gradients add up and do not cancel."""
    batch = case.batch(1)
    if is_flat:
        batch = Batch(batch.x.flatten()[:1].expand(batch.x.numel()).reshape(batch.x.shape), batch.y)
    if batch.x.is_floating_point() and not of_loss:
        batch = Batch(batch.x * scale, batch.y)
        scale = 1.0
    for method in METHODS:
        assert norm(total_of(case, batch, FlatClip(bound), method=method, scale=scale)) <= bound
        assert norm(total_of(case, batch, NormalizeClip(bound, 0.1), method=method, scale=scale)) < bound


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("layer", "row"),
    [
        (nn.Linear(6, 6), torch.ones(1, 3, 6)),
        (nn.Conv1d(3, 6, 2), torch.ones(1, 3, 4)),
        (nn.Conv2d(3, 6, 2), torch.ones(1, 3, 3, 3)),
        (nn.ConvTranspose1d(3, 6, 2, stride=2), torch.ones(1, 3, 4)),
        (nn.Embedding(5, 6), torch.full((1, 4), 2)),
        (nn.LayerNorm(6), torch.arange(6.0).expand(1, 4, 6)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_positions_that_see_the_same_add_up_before_the_norm(layer, row, method):
    """Every position has the same gradient, T times longer together than the root of T that squares would add up to."""
    with record(layer) as tape:
        losses = layer(row).flatten(1).sum(1)
    found = norm(clipped_sum(tape, losses, FlatClip(0.5), method=method).value)
    assert 0.5 * (1 - 1e-5) < found <= 0.5


@pytest.mark.parametrize("scale", [10.0**e for e in range(-8, 5)])
@pytest.mark.parametrize("method", METHODS)
def test_float16_stays_within_the_bound(scale, method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 40), nn.LayerNorm(40), nn.GELU(), nn.Linear(40, 2)).to(torch.float16)
    inputs = (scale * torch.randn(1, 3, 300)).to(torch.float16)
    with record(model) as tape:
        losses = losses_of(model(inputs).float())
    assert norm(clipped_sum(tape, losses, FlatClip(0.5), method=method).value) <= 0.5


@given(
    architectures(kinds=("features", "space")),
    st.integers(2, 6),
    METHOD,
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e300]),
)
def test_a_row_that_is_not_finite_leaves_the_others_as_they_are(case, rows, method, value):
    batch = case.batch(rows)
    batch.x[0] = value
    broken = total_of(case, batch, FlatClip(0.3), method=method)
    assert all(bool(torch.isfinite(part).all()) for part in broken.values())
    assert norm(gap(broken, total_of(case, batch.take(range(1, rows)), FlatClip(0.3), method=method))) <= 0.3


@given(architectures(), SOME, st.data())
def test_neither_order_nor_split_matter(case, rows, data):
    batch = case.batch(rows)
    alone = gradients(case, batch)
    order = data.draw(st.permutations(range(rows)))
    cuts = sorted(data.draw(st.sets(st.integers(1, rows), max_size=3)) | {rows})
    whole = total_of(case, batch, FlatClip(0.4))
    parts = [
        total_of(case, batch.take(order[start:end]), FlatClip(0.4)) for start, end in itertools.pairwise([0, *cuts])
    ]
    assert_close({name: sum(part[name] for part in parts) for name in whole}, whole, alone)


@given(architectures(), METHOD, st.floats(1e-2, 10.0))
def test_a_longer_gradient_contributes_more_and_stays_below_the_bound(case, method, stability):
    batch = case.batch(1)
    lengths = [
        norm(total_of(case, batch, NormalizeClip(0.7, stability), method=method, scale=10.0**e)) for e in range(-6, 7)
    ]
    assert all(length < 0.7 for length in lengths)
    length = norm(gradients(case, batch)[0])
    for shorter, longer in itertools.pairwise(lengths):
        assert longer >= shorter - 1e-12
    if length > 1e-3:
        assert lengths[0] < lengths[6] < lengths[-1]


@given(architectures(frozen=False), SOME, st.data())
def test_no_step_depends_on_the_one_before(case, rows, data):
    """One recording goes on while parameters are frozen and unfrozen; each sum is that of a fresh recording."""
    named = dict(case.model.named_parameters())
    with record(case.model) as tape:
        for step in range(3):
            kept = data.draw(st.sets(st.sampled_from(sorted(named)), min_size=1))
            for name, parameter in named.items():
                parameter.requires_grad_(name in kept)
            batch = case.batch(rows + step)
            found = clipped_sum(tape, case.losses(batch), FlatClip(0.4)).value
            tape.clear()
            fresh = total_of(case, batch, FlatClip(0.4))
            assert found.keys() == fresh.keys() == {name for name in named if name in kept}
            assert all(torch.equal(found[name], fresh[name]) for name in fresh)


class Branches(nn.Module):
    """Takes one of two ways, and may leave the common layer out."""

    def __init__(self):
        super().__init__()
        self.common, self.ways = nn.Linear(3, 4), nn.ModuleList([nn.Linear(4, 2), nn.Conv1d(4, 2, 1)])
        self.way = 0

    def forward(self, x):
        hidden = torch.tanh(self.common(x))
        return self.ways[0](hidden) if self.way == 0 else self.ways[1](hidden[:, :, None])


@given(st.lists(st.integers(0, 1), min_size=2, max_size=5), st.integers(0, 2**20))
def test_a_branch_that_is_not_taken_leaves_nothing_stale(ways, seed):
    generator = torch.Generator().manual_seed(seed)
    model = Branches()
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    with record(model) as tape:
        for model.way in ways:
            x = torch.randn(4, 3, generator=generator)
            found = clipped_sum(tape, losses_of(model(x)), FlatClip(0.4)).value
            tape.clear()
            with record(model) as fresh:
                losses = losses_of(model(x))
            expected = clipped_sum(fresh, losses, FlatClip(0.4)).value
            assert all(torch.equal(found[name], expected[name]) for name in expected)
            assert norm({name: v for name, v in found.items() if name.startswith(f"ways.{1 - model.way}")}) == 0.0
            assert norm(found) > 0.0


@given(architectures(), METHOD)
def test_no_rows_sum_to_zeros(case, method):
    assume(case.takes_empty)
    found = total_of(case, case.batch(0), FlatClip(0.4), method=method)
    shapes = {name: p.shape for name, p in case.model.named_parameters() if p.requires_grad}
    assert {name: value.shape for name, value in found.items()} == shapes
    assert norm(found) == 0.0
