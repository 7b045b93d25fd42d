"""Opacus's history both ways, and an accountant that trains with it."""

import sys
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from accountants import (
    EventError,
    Gaussian,
    Laplace,
    Ledger,
    LedgerError,
    NonPrivate,
    PoissonSampled,
    RelationError,
    UnsupportedEventError,
    epsilon,
)
from accountants.interop import from_opacus_history, opacus_accountant, to_opacus_history

HISTORY = [(1.1, 0.01, 500), (1.3, 0.02, 20), (1.1, 0.01, 3)]


def test_every_step_of_a_history_is_recorded():
    ledger = from_opacus_history(HISTORY, unit="user")
    assert len(ledger) == 523
    assert ledger.unit == "user"
    event = PoissonSampled(Gaussian(1.1), 0.01) * 503 + PoissonSampled(Gaussian(1.3), 0.02) * 20
    assert ledger.epsilon(delta=1e-6) == epsilon(event, delta=1e-6, relation="add_remove")
    assert from_opacus_history([]).epsilon(delta=1e-6) == 0.0
    assert from_opacus_history([*HISTORY, (0.0, 1.0, 1)]).epsilon(delta=1e-6) == float("inf")
    replaced = from_opacus_history(HISTORY, relation="replace_one")
    assert replaced.epsilon(delta=1e-6) > ledger.epsilon(delta=1e-6)


def test_there_and_back_is_the_same_history():
    assert to_opacus_history(from_opacus_history(HISTORY)) == HISTORY
    assert to_opacus_history(from_opacus_history([(0.0, 0.5, 2)])) == [(0.0, 0.5, 2)]
    ledger = Ledger(relation="add_remove")
    ledger.record(Gaussian(2.0) + PoissonSampled(Gaussian(1.0), 0.1) * 3 + Laplace(1.0) * 0, times=4)
    ledger.record(NonPrivate())
    assert to_opacus_history(ledger) == [(2.0, 1.0, 4), (1.0, 0.1, 12), (0.0, 1.0, 1)]


@pytest.mark.parametrize(
    "event", [Laplace(1.0), PoissonSampled(Laplace(1.0), 0.1), PoissonSampled(Gaussian(1.0) * 2, 0.1)]
)
def test_what_is_no_gaussian_step_is_refused(event):
    ledger = Ledger(relation="add_remove")
    ledger.record(event)
    with pytest.raises(UnsupportedEventError, match="Opacus"):
        to_opacus_history(ledger)


def test_a_relation_that_a_history_cannot_say_is_refused():
    with pytest.raises(RelationError, match="add_remove"):
        to_opacus_history(from_opacus_history(HISTORY, relation="replace_one"))


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ((1.0, 0.1), LedgerError),
        (3, LedgerError),
        ((-1.0, 0.1, 2), EventError),
        ((float("nan"), 0.1, 2), EventError),
        ((1.0, 1.5, 2), EventError),
        ((1.0, 0.1, 2.5), LedgerError),
        ((1.0, 0.1, -1), LedgerError),
    ],
)
def test_bad_rows_are_refused(row, error):
    with pytest.raises(error):
        from_opacus_history([row])


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.accountants.accountant", None)
    opacus_accountant.cache_clear()
    with pytest.raises(ImportError, match="opacus must be installed"):
        opacus_accountant()


@pytest.fixture(scope="module")
def registered():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.accountants import create_accountant, register_accountant
    register_accountant("dpkit", opacus_accountant(), force=True)
    return create_accountant


def test_its_own_form_is_kept(registered):
    accountant = registered("dpkit")
    assert accountant.mechanism() == "dpkit"
    assert opacus_accountant() is type(accountant)
    assert (len(accountant), accountant.get_epsilon(1e-6)) == (0, 0.0)
    for noise, rate, steps in [(1.1, 0.01, 5), (1.3, 0.02, 2), (1.1, 0.01, 1)]:
        for _ in range(steps):
            accountant.step(noise_multiplier=noise, sample_rate=rate)
    assert accountant.history == [(1.1, 0.01, 5), (1.3, 0.02, 2), (1.1, 0.01, 1)]
    assert len(accountant) == 8
    assert accountant.get_epsilon(delta=1e-6) == from_opacus_history(accountant.history).epsilon(delta=1e-6)
    assert accountant.get_epsilon(delta=0.5) == 0.0
    with pytest.raises(EventError, match="sampling_prob"):
        accountant.step(noise_multiplier=1.0, sample_rate=1.5)
    assert len(accountant) == 8


def test_state_is_taken_up_or_refused(registered):
    accountant = registered("dpkit")
    accountant.step(noise_multiplier=1.1, sample_rate=0.01)
    state = accountant.state_dict()
    again = registered("dpkit")
    again.load_state_dict(state)
    again.step(noise_multiplier=1.1, sample_rate=0.01)
    assert (len(accountant), len(again)) == (1, 2)
    assert state["history"] == [(1.1, 0.01, 1)]
    for bad in ({}, {**state, "mechanism": "prv"}, {**state, "history": [(1.0, 2.0, 3)]}, {**state, "history": [(1,)]}):
        with pytest.raises(ValueError, match=r"."):
            again.load_state_dict(bad)
    with pytest.raises(TypeError):
        again.load_state_dict({**state, "history": 7})
    assert len(again) == 2


@pytest.mark.filterwarnings("ignore")  # Opacus and torch speak of their own affairs
def test_opacus_trains_with_it(registered):
    from opacus import PrivacyEngine

    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    data = DataLoader(TensorDataset(torch.randn(64, 3), torch.randn(64, 1)), batch_size=16)
    engine = PrivacyEngine(accountant="dpkit")
    model, optimizer, loader = engine.make_private_with_epsilon(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=data,
        target_epsilon=2.0,
        target_delta=1e-5,
        epochs=2,
        max_grad_norm=1.0,
    )
    for _ in range(2):
        for inputs, targets in loader:
            optimizer.zero_grad()
            nn.functional.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    spent = engine.get_epsilon(1e-5)
    assert 1.9 < spent <= 2.0
    [(noise, rate, steps)] = engine.accountant.history
    assert (rate, steps) == (0.25, 8)
    assert len(engine.accountant) == 8
    step = PoissonSampled(Gaussian(noise), rate)
    assert spent == epsilon(step * 8, delta=1e-5, relation="add_remove")
