r"""The lattice of the integer mechanisms, and how far one record moves a query that is rounded to it.

*How far a record moves a rounded query.* In lattice steps a record moves the query by a real vector :math:`\Delta` of
norm at most b. Coordinate i is rounded by floor(x + 1/2), so it moves by at most :math:`\lceil|\Delta_i|\rceil = n_i +
1` where it moves at all, with :math:`n_i < |\Delta_i|` an integer >= 0. In l1, :math:`\sum n_i < b`, an integer, and so
at most :math:`A = \lceil b\rceil - 1`, and :math:`\sum n_i^2 \le A^2 =: N`. In l2, :math:`\sum n_i^2 < b^2`, so at most
:math:`N = \lceil b^2\rceil - 1`, and :math:`\sum n_i \le \min(N, \lfloor\sqrt{dN}\rfloor) =: A` (integers are at most
their squares; Cauchy-Schwarz). Both times

.. math:: \sum(n_i+1) \le A + d,\qquad \sum(n_i+1)^2 \le \min(N + 2A + d, (A+d)^2),

never more than :math:`b + d` in l1 and :math:`b + \sqrt d` in l2; one coordinate with a whole bound pays nothing. A
query of integer type on a step of at most 1 is on the lattice already: then :math:`\Delta` is an integer vector, and
only rounding b (or b²) down is left. Two records, or one replaced by another, move it by twice that: by way of the
query without the record, whatever was rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, final

from dpkit._checks import check_real
from dpkit._kinds import read
from dpkit.bounded import Bounded, shapes
from dpkit.errors import ParameterError
from dpkit.mechanism import product_up
from dpkit.samplers import root_up

__all__ = ["Movement", "check_step", "dimension", "holds_integers", "movement", "on_lattice", "require_step"]


@final
@dataclass(frozen=True, slots=True)
class Movement:
    """How far one record can move a query on the lattice, rounding included.

    Attributes:
        l1: the l1 norm of the integer vector by which it moves, at most; at least 1.
        l2: its l2 norm, rounded up; at least 1.

    Example:
        >>> import numpy as np
        >>> movement(Bounded(np.zeros(4), 3.0, "l1"), 1.0)
        Movement(l1=6.0, l2=3.464101615137755)
    """

    l1: float
    l2: float


def movement(query: Bounded, step: float) -> Movement:
    """Return how far one record can move a query on the lattice; the proof heads this module.

    Guarantee: no pair of values within the bound moves further when rounded as :func:`dpkit.lattice` says, and some
    pairs come near (``test_no_rounded_query_moves_further``).

    Args:
        query: a value bounded in l1 or l2; only its bound, norm, type and size are read.
        step: the lattice step, a power of two.

    Returns:
        Norms in lattice steps.

    Example:
        >>> import numpy as np
        >>> movement(Bounded(np.zeros(1), 3.0), 1.0), movement(Bounded(np.zeros(2, dtype=int), 3.0), 1.0)
        (Movement(l1=3.0, l2=3.0), Movement(l1=4.0, l2=3.0))
    """
    size, dim = Fraction(query.bound) / Fraction(step), dimension(query)
    if on_lattice(query, step):
        most, square = math.floor(size), math.floor(size**2)
    else:
        most, square = math.ceil(size) - 1, math.ceil(size**2) - 1
    if query.norm == "l1":
        square = most**2
    else:
        most = min(square, math.isqrt(dim * square))
    if not on_lattice(query, step):
        most, square = most + dim, min(square + 2 * most + dim, (most + dim) ** 2)
    return Movement(product_up(Fraction(max(1, most))), root_up(Fraction(max(1, square))))


def dimension(query: Bounded) -> int:
    """Return how many numbers a query has, without reading them.

    Args:
        query: any bounded value.

    Returns:
        The number of entries of all its arrays together.

    Example:
        >>> import numpy as np
        >>> dimension(Bounded({"a": np.zeros((2, 3)), "b": np.array(1.0)}, 1.0))
        7
    """
    sizes = shapes(query.value)
    return sum(math.prod(size) for size in (sizes.values() if isinstance(sizes, Mapping) else (sizes,)))


def on_lattice(query: Bounded, step: float) -> bool:
    """Return whether a query's numbers are multiples of the step whatever they are: integers, and a step of at most 1.

    Args:
        query: only the types of its arrays are read.
        step: a power of two.

    Returns:
        True where no rounding can take place.

    Example:
        >>> import numpy as np
        >>> on_lattice(Bounded(np.arange(3), 1.0), 0.5), on_lattice(Bounded(np.arange(3.0), 1.0), 0.5)
        (True, False)
    """
    return step <= 1.0 and holds_integers(query.value)


def holds_integers(value: Any) -> bool:
    """Return whether every array of a value is of an integer type: a fact of the types, whatever the numbers are.

    Args:
        value: array or dict of arrays.

    Returns:
        False for whole numbers of a floating type.

    Example:
        >>> import numpy as np
        >>> holds_integers({"a": np.arange(3), "b": np.zeros(2)})
        False
    """
    arrays = value.values() if isinstance(value, Mapping) else (value,)
    return all(read("value", array)[0].dtype.kind in "iu" for array in arrays)


def check_step(step: Any) -> float | None:
    """Return a lattice step as a float, or None.

    Args:
        step: a power of two from 2**-500 to 2**500, or None.

    Returns:
        The same.

    Raises:
        ParameterError: it is not such a number.

    Example:
        >>> check_step(2)
        2.0
    """
    if step is None:
        return None
    value = check_real("step", step, "give a power of two such as 2.0**-10.")
    if not 2.0**-500 <= value <= 2.0**500 or math.frexp(value)[0] != 0.5:
        raise ParameterError(
            f"step must be a power of two from 2**-500 to 2**500, got {value!r}; for example 2.0**-10."
        )
    return value


def require_step(step: float | None) -> float:
    """Return a step that is there.

    Args:
        step: a step or None.

    Returns:
        The step.

    Raises:
        ParameterError: there is none.

    Example:
        >>> require_step(0.5)
        0.5
    """
    if step is None:
        raise ParameterError("step must be given, got None; choose one from public numbers: .with_step(2.0**-10).")
    return step
