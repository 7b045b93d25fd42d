"""Small plans that stand for large ones: of the same kind, with sums as wide, and as few as can be."""

import pytest

from secagg import BFVSum, CKKSSum, PlainSum, SecAgg, SecAggPlus, ThresholdSum
from secagg._growth import KINDS

LOST = {"corrupt": 0.1, "dropout": 0.1}
PLANS = {
    "plain": lambda n: PlainSum.plan(n, 10**7, 16),
    "secagg": lambda n: SecAgg.plan(n, 10**7, 30, adversary="malicious", **LOST),
    "secagg, wrapping": lambda n: SecAgg.plan(n, 10**7, 30, adversary="semi_honest", wrap=True, **LOST),
    "secagg, of all": lambda n: SecAgg.plan(n, 10**7, 16, adversary="semi_honest", corrupt=0.0, dropout=0.0),
    "secagg+": lambda n: SecAggPlus.plan(n, 10**7, 16, adversary="semi_malicious", connected=True, **LOST),
    "threshold": lambda n: ThresholdSum.plan(n, 10**7, 16, threshold=(2 * n + n // 10) // 3 + 1, **LOST),
    "threshold, of all": lambda n: ThresholdSum.plan(n, 10**7, 16, threshold=n, corrupt=0.0, dropout=0.0),
    "shared key": lambda n: BFVSum.plan(n, 10**7, 16, dropout=0.2),
    "public key": lambda n: BFVSum.plan(n, 10**7, 10, key="public", dropout=0.2),
    "reals": lambda n: CKKSSum.plan(n, 10**7, clip=1.0, error=1e-2),
}


def _smaller(plan):
    kind = next(kind for known, kind in KINDS.items() if isinstance(plan, known))
    return kind, kind.smaller(plan)


@pytest.mark.parametrize("parties", [10, 20, 100, 400])
@pytest.mark.parametrize("name", PLANS)
def test_small_plans_are_small_and_of_the_same_kind(name, parties):
    plan = PLANS[name](parties)
    kind, plans = _smaller(plan)
    assert 2 <= len(plans) <= 6
    for small in plans:
        assert type(small) is type(plan)
        assert (small.rounds, small.wrap) == (plan.rounds, plan.wrap)
        assert small.num_parties <= min(24, parties)
        assert small.dim < plan.dim
        assert name == "plain" or abs(small.modulus_bits - plan.modulus_bits) <= 1
        assert kind.vector(small).shape == (small.dim,)


@pytest.mark.parametrize("name", PLANS)
def test_every_step_of_a_plan_has_its_products(name):
    """And they tell plans apart: in none do two small ones have the same."""
    plan = PLANS[name](100)
    kind, plans = _smaller(plan)
    assert set(plan.rounds) <= set(kind.server)
    assert {"input", *plan.rounds[1:]} <= set(kind.client)
    for step in plan.rounds:
        assert max(kind.server[step](plan)) > 0
    assert len({tuple(terms(small) for terms in kind.server.values()) for small in plans}) == len(plans)


def test_sums_are_as_wide_where_words_would_be_smaller():
    """30 bits of 400 parties need 39, masks of 64 bits; 30 bits of 6 parties would need 33, and 28 would do with 32."""
    plan = SecAgg.plan(400, 1000, 28, adversary="semi_honest", **LOST)
    assert plan.modulus_bits == 37
    assert {small.modulus_bits for small in _smaller(plan)[1]} == {37}


def test_a_small_plan_stands_for_itself():
    plan = SecAgg.plan(10, 1000, 16, adversary="malicious", **LOST)
    assert _smaller(plan)[1] == [plan]
