"""An accountant that keeps what it said: the laws ask the same of one event again and again."""

from accountants import Relation
from accountants.events import Event


class Kept:
    """Works out each answer about an event once; about anything else, such as a ledger, every time.

    An event is fixed and an accountant holds no history, so that asked again it would work out the same.
    """

    def __init__(self, accountant):
        self.accountant = accountant
        self._known = {}

    def __str__(self):
        return str(self.accountant)

    def epsilon(self, what, *, delta, relation=None):
        return self._ask(self.accountant.epsilon, what, relation, delta=delta)

    def delta(self, what, *, epsilon, relation=None):
        return self._ask(self.accountant.delta, what, relation, epsilon=epsilon)

    def supports(self, what, *, relation=None):
        return self._ask(self.accountant.supports, what, relation)

    def _ask(self, question, what, relation, **value):
        if not isinstance(what, Event) or not isinstance(relation, Relation):
            return question(what, relation=relation, **value)
        key = (question.__name__, what, relation, *value.values())
        if key not in self._known:
            self._known[key] = question(what, relation=relation, **value)
        return self._known[key]
