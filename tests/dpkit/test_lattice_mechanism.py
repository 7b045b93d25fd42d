"""What a mechanism inherits: everything but its noise, also where it is a user's own."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import pytest

from accountants import Ledger
from accountants.events import DiscreteLaplace
from dpkit import DiscreteGaussianMechanism, DiscreteLaplaceMechanism, SkellamMechanism
from dpkit._laws import LaplaceLaw
from dpkit.bounded import Bounded
from dpkit.entropy import seeded
from dpkit.errors import BoundError, ParameterError
from dpkit.lattice import movement, on_lattice, require_step
from dpkit.lattice_mechanism import LatticeMechanism
from dpkit.lattice_noise import LatticeNoise
from dpkit.mechanism import check_query

KINDS = [DiscreteGaussianMechanism, DiscreteLaplaceMechanism, SkellamMechanism]


@final
@dataclass(frozen=True, slots=True)
class Fixed(LatticeMechanism):
    """Discrete Laplace noise of `noise_multiplier` steps, whatever the bound is."""

    norms: ClassVar[tuple[str, ...]] = ("l1",)
    rounds: ClassVar[bool] = True

    def noise(self, query):
        check_query(query, self.norms)
        step, law = require_step(self.step), LaplaceLaw(self.noise_multiplier)
        return LatticeNoise(step, law, DiscreteLaplace(law.scale, movement(query, step).l1), on_lattice(query, step))

    @classmethod
    def _least(cls, epsilon, delta, relation, query, step):
        return 7.0


def test_the_base_is_no_mechanism():
    with pytest.raises(TypeError, match="abstract"):
        LatticeMechanism(1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mechanism_says_its_noise_and_nothing_else(kind):
    own = {name for name in vars(kind) if callable(getattr(kind, name)) and not name.startswith("__")}
    assert own <= {"noise", "share", "_least"}
    assert {"noise", "_least"} <= own
    assert issubclass(kind, LatticeMechanism)


def test_a_mechanism_of_ones_own_is_whole():
    query, ledger = Bounded(np.array([3, 5]), 1.0, "l1"), Ledger(relation="add_remove")
    mechanism = Fixed(4.0).with_step(1.0)
    release = mechanism.release(query, ledger=ledger, entropy=seeded(1))
    assert release.event == mechanism.event(query) == DiscreteLaplace(4.0, 1.0)
    assert [entry.event for entry in ledger.entries] == [release.event]
    assert release.value.dtype == np.int64
    assert mechanism.pmf([3, 5, 3.5], Bounded(np.array(3), 1.0, "l1"))[2] == 0.0
    assert mechanism.variance(query) == pytest.approx(LaplaceLaw(4.0).variance())
    assert mechanism.interval(query, level=0.5) in (2.0, 3.0)
    assert Fixed.for_epsilon(1.0, 0.0, "add_remove", query=query, step=0.5) == Fixed(7.0, 0.5)
    with pytest.raises(BoundError, match="l1 for this mechanism"):
        Fixed.for_epsilon(1.0, 0.0, "add_remove", query=Bounded(np.array(3), 1.0), step=0.5)


@pytest.mark.parametrize("kind", [*KINDS, Fixed])
@pytest.mark.parametrize(("parameters", "text"), [((0.0,), "noise_multiplier"), ((1.0, 0.3), "step must be a power")])
def test_parameters_are_checked_once_for_all(kind, parameters, text):
    with pytest.raises(ParameterError, match=text):
        kind(*parameters)
