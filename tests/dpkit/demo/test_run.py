"""The whole walk at a small size: every layer, both protocols, one ledger."""

import dataclasses

import numpy as np
import pytest

import secagg
from accountants import Ledger
from dpkit.demo.data import synthetic_digits
from dpkit.demo.run import Settings, run
from dpkit.errors import ParameterError

SMALL = Settings(parties=3, rounds=3, sampling_prob=0.2, epsilon=8.0, seed=1)


@pytest.fixture(scope="module")
def digits():
    return synthetic_digits(train=120, test=60)


@pytest.fixture(scope="module")
def compared(digits):
    return run(dataclasses.replace(SMALL, compare=True), digits=digits)


def test_every_round_is_recorded_once_and_within_budget(compared):
    ledger = Ledger.from_json(compared.ledger)
    assert len(ledger) == SMALL.rounds
    assert 0.98 * SMALL.epsilon < ledger.epsilon(delta=SMALL.delta) <= SMALL.epsilon
    assert compared.curve[-1].epsilon == ledger.epsilon(delta=SMALL.delta)
    assert ledger.seeded_releases == SMALL.rounds


def test_comparing_feeds_the_same_shares_through_both_protocols(digits, monkeypatch):
    honest, seen = secagg.simulate, []

    def watching(plan, vectors, **more):
        result = honest(plan, vectors, **more)
        seen.append((type(plan), vectors.tobytes(), result.total.tobytes()))
        return result

    monkeypatch.setattr(secagg, "simulate", watching)
    assert run(dataclasses.replace(SMALL, compare=True), digits=digits).compared
    assert [kind for kind, _, _ in seen] == [secagg.BFVSum, secagg.PlainSum] * SMALL.rounds
    assert all(one[1:] == other[1:] for one, other in zip(seen[::2], seen[1::2], strict=True))
    assert len({vectors for _, vectors, _ in seen}) == SMALL.rounds


def test_protocols_train_the_same_model(compared, digits):
    plain = run(dataclasses.replace(SMALL, protocol="plain"), digits=digits)
    assert [point.accuracy for point in plain.curve] == [point.accuracy for point in compared.curve]
    assert plain.bytes_up != compared.bytes_up
    assert not plain.compared


def test_statement_says_what_it_must(compared):
    text = str(compared.statement)
    for word in ("add_remove", "example", "1e-05", "seeded"):
        assert word in text


def test_a_differing_total_releases_nothing(digits, monkeypatch):
    honest = secagg.simulate

    def lying(plan, vectors, **more):
        result = honest(plan, vectors, **more)
        if isinstance(plan, secagg.PlainSum):
            return dataclasses.replace(result, total=result.total + np.uint64(1))
        return result

    monkeypatch.setattr(secagg, "simulate", lying)
    with pytest.raises(secagg.SecAggError, match="different totals"):
        run(dataclasses.replace(SMALL, compare=True), digits=digits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "magic"}, "protocol must be one of bfv, plain, got 'magic'"),
        ({"epsilon": 0.0}, "epsilon must be > 0 and finite, got 0.0"),
        ({"epsilon": float("nan")}, "epsilon must be > 0 and finite, got nan"),
        ({"parties": 1}, "parties must lie in .*got 1"),
        ({"parties": 10**5}, "parties must lie in .*got 100000"),
        ({"learning_rate": 1e300}, "learning-rate must lie in"),
        ({"rounds": 0}, "rounds must be >= 1, got 0"),
        ({"delta": 1.0}, r"delta must lie in \(0, 1\), got 1.0"),
        ({"sampling_prob": 1.5}, r"sampling-prob must lie in \(0, 1\], got 1.5"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ParameterError, match=message):
        dataclasses.replace(SMALL, **change)
