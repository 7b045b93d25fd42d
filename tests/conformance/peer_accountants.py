"""dp_accounting's and Opacus's accountants, asked in the words of this package: what a third party would write."""

import warnings
from dataclasses import dataclass
from functools import partial

from accountants import Relation, UnsupportedEventError
from accountants.interop import to_dp_event, to_opacus_history
from accountants.ledger import Ledger

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import dp_accounting
    from dp_accounting import pld, rdp

RELATIONS = {
    Relation.add_remove: dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    Relation.replace_one: dp_accounting.NeighboringRelation.REPLACE_ONE,
    Relation.zero_out: dp_accounting.NeighboringRelation.REPLACE_SPECIAL,
}


@dataclass(frozen=True)
class DpAccounting:
    """One of dp_accounting's accountants.

    Args:
        make: (relation of theirs) -> their accountant.
        noise_over: how it is to be told the noise under ``replace_one``.
    """

    make: object
    noise_over: str | None

    def _composed(self, what, relation):
        event = to_dp_event(what, relation, noise_over=self.noise_over)
        relation = Relation(what.relation if relation is None else relation)
        return self.make(neighboring_relation=RELATIONS[relation]).compose(event)

    def epsilon(self, what, *, delta, relation=None):
        return float(self._composed(what, relation).get_epsilon(delta))

    def delta(self, what, *, epsilon, relation=None):
        return float(self._composed(what, relation).get_delta(epsilon))

    def supports(self, what, *, relation=None):
        try:
            event = to_dp_event(what, relation, noise_over=self.noise_over)
        except UnsupportedEventError:
            return False
        relation = Relation(what.relation if relation is None else relation)
        return self.make(neighboring_relation=RELATIONS[relation]).supports(event)


PLD = DpAccounting(partial(pld.PLDAccountant, value_discretization_interval=1e-3), "bound")
RDP = DpAccounting(rdp.RdpAccountant, "bound")
RDP_TOLD = DpAccounting(rdp.RdpAccountant, "sensitivity")


@dataclass(frozen=True)
class Opacus:
    """One of Opacus's accountants, by the name it is registered under; it means ``add_remove``.

    It has no delta; this one searches for it.
    """

    name: str

    def _accountant(self, what, relation):
        from opacus.accountants import create_accountant

        ledger = what
        if relation is not None:
            ledger = Ledger(relation=relation)
            ledger.record(what)
        accountant = create_accountant(self.name)
        accountant.history = to_opacus_history(ledger)
        return accountant

    def epsilon(self, what, *, delta, relation=None):
        accountant = self._accountant(what, relation)
        return float(accountant.get_epsilon(delta=delta)) if accountant.history else 0.0

    def delta(self, what, *, epsilon, relation=None):
        low, high = -15.0, 0.0
        while high - low > 1e-4:
            middle = 0.5 * (low + high)
            if self.epsilon(what, delta=10.0**middle, relation=relation) <= epsilon:
                high = middle
            else:
                low = middle
        return 10.0**high

    def supports(self, what, *, relation=None):
        if relation is not None and Relation(relation) is not Relation.add_remove:
            return False
        try:
            accountant = self._accountant(what, relation)
        except UnsupportedEventError:
            return False
        return all(noise > 0.0 and rate > 0.0 for noise, rate, _ in accountant.history)
