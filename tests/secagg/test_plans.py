"""What plans of both kinds say of themselves."""

import math

import pytest

from secagg import BFVSum
from secagg.envelope import OVERHEAD
from secagg.he.planner import fields_per_slot, plain_modulus
from secagg.he.seal import blob_limit

PLANS = [BFVSum.plan(15, 100_000, 16, key=key, dropout=0.1) for key in ("shared", "public")]


@pytest.mark.parametrize("plan", PLANS)
def test_sizes_follow_from_the_ring(plan):
    fields = fields_per_slot(15, 16, plan.ring)
    assert plan.values_per_chunk == fields * (plan.ring.degree - 1)
    assert plan.chunks == math.ceil(100_000 / plan.values_per_chunk)
    assert plan.plain_modulus == plain_modulus(15, plan.ring)
    assert plan.bytes_up == OVERHEAD + plan.chunks * (4 + blob_limit(plan.ring.sent_bytes))
    assert (plan.rounds, plan.wrap, plan.min_survivors, plan.min_honest) == (("masked_input",), False, 14, 13)
    assert plan.security == plan.ring.security
    assert plan.modulus_bits == plan.ring.modulus.bit_length()


def test_one_kind_never_fails_and_the_other_hardly_ever():
    assert PLANS[0].failure_bits == math.inf
    assert 64 <= PLANS[1].failure_bits < math.inf


def test_digests_tell_plans_apart():
    plans = [
        BFVSum.plan(n, dim, bits, key=key, dropout=dropout)
        for key in ("shared", "public")
        for n, dim, bits, dropout in ((10, 5, 8, 0), (11, 5, 8, 0), (10, 6, 8, 0), (10, 5, 9, 0), (10, 5, 8, 0.1))
    ]
    assert len({plan._config for plan in plans}) == len(plans)
