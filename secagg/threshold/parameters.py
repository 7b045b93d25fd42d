r"""Who must answer, and how integers stand in ring elements: functions of public numbers.

**Thresholds.** Write n for the parties, A for the corrupt ones, D for those who drop out, t for the threshold of the
shared secrets and :math:`\ell` for `packed`, the coefficients of a secret that share a polynomial. Parties answer to
lists of at least n - D survivors. An honest party answers once, but a server that lies may tell every party another
list. Take one polynomial of each honest party i, :math:`f_i`, uniform among those of degree below t that have its
coefficients as values at the points :math:`0, -1, \dots, 1 - \ell`; every other one has randomness of its own, and the
same is true of it. The server and its A parties know f_i at A points, and of honest party x the sum of f_i(x) over the
list U_x that x was told. All of it is linear, so it says something of :math:`\sum_{i, k} w_{ik} f_i(-k)` if and only if
there are numbers a_x with

.. math:: \sum_{k < \ell} w_{ik} \, \mathrm{ev}_{-k} + \sum_{x : i \in U_x} a_x \, \mathrm{ev}_x
    \in \langle \mathrm{ev}_c : c \text{ corrupt} \rangle \quad\text{for every honest } i,

and otherwise what it sees is distributed alike whatever that number is; it may pick the lists one by one, by what it
has seen. Any t evaluations at points are independent, so a line in which some w_ik or a_x is not zero has more than t
points. At most :math:`\ell` of them are secret and A corrupt: at least :math:`t'' - A` have an honest x and an a_x ≠ 0,
where :math:`t'' = t - \ell + 1`. Say that i *uses* these points. It uses none, and all its w_ik are zero, or t'' - A at
least. For two parties that use different points, both not none, the difference of their lines is of the same form: so
three sets, the points that i uses, those that j uses, and those that just one of them uses, have t'' - A points or more
each. Together they count each of the h = n - A honest points at most twice: 3(t'' - A) <= 2h. With

.. math:: 3 t'' > 2 n + A

that is impossible: whoever uses points at all uses the same ones. So the lists told there have the same honest parties,
U. The difference of the lines of two of them has no honest point, and t'' > A, so it has no secret one either: w_ik is
one number w_k for all i in U, and zero for all others. What is known is of the sums :math:`\sum_{i \in U} f_i(-k)`. Two
such numbers over different lists would have a combination that is none, and all polynomials have the same lists: the
server knows something of the sum of the secrets over one U, and of nothing else. A list has n - D parties or more, so U
has n - D - A or more. It takes t answers to know the whole sum; :math:`t - \ell` answers and shares of the corrupt
parties together say nothing of it, and the numbers between tell combinations of its coefficients.

The plan asks t answers for, and packs as many coefficients as that leaves room for, :math:`\ell = t - t'' + 1` with the
least t'' that will do.

2t'' > n + A rules out two lists with t'' answers each, and is not enough for lists of any length: three lists that are
answered by some parties each, "all", "one half" and "the other half", give a combination of two sums, more than one
sum of small secrets. Lists of n - D parties stop that one; we know of no attack then, and of no proof.

**Packing.** Fields of w = :func:`secagg.codec.field_bits` bits, f of them to a coefficient, so that sums stay below
2^(fw); a coefficient m is sent as Δ·m + (mask and noise) modulo Q with Δ = ⌊Q / 2^(fw)⌋. The lowest `cut` bits are not
sent. A sum of n then differs from Δ·Σm by at most

.. math:: E = L + n \lfloor 2^{cut} / 2 \rfloor,

where L bounds the sum of n noises, but for 2^-64 over all coefficients of the vector. Decoding is right if
2E < Δ; we ask for 8E <= Δ, so that a wrong mask passes the check of what is left over with probability at most 1/4 for
each coefficient. Of all (f, cut) the plan takes the one that sends the fewest bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from secagg.checks import check_fraction, check_integer, dropped_parties
from secagg.codec import field_bits
from secagg.errors import CapacityError, ParameterError
from secagg.threshold.noise import BOUND, tail
from secagg.threshold.ring import RING, Q
from secagg.threshold.sharing import MAX_HOLDERS

__all__ = ["FAILURE", "Layout", "Packing", "Thresholds", "noise_limit", "packing", "thresholds"]

FAILURE = 2.0**-64
"""A sum of honest parties fails to open with at most this probability; it then raises."""

_MARGIN = 8
"""Δ is at least so many times the bound of what is left over."""


@final
@dataclass(frozen=True, slots=True)
class Thresholds:
    """Who must answer.

    Args:
        num_parties: n.
        threshold: t, answers that open a sum.
        min_survivors: n - D; parties answer to no shorter list.
        min_honest: n - D - A, honest inputs of any sum that can come out.
        corrupt: A.
        packed: coefficients of a secret that share a polynomial.
    """

    num_parties: int
    threshold: int
    min_survivors: int
    min_honest: int
    corrupt: int
    packed: int

    @property
    def silent(self) -> int:
        """So many answers, and shares of corrupt parties, together say nothing of a sum."""
        return self.threshold - self.packed


@final
@dataclass(frozen=True, slots=True)
class Packing:
    """How a vector stands in ring elements.

    Args:
        num_parties: n.
        dim: entries of a vector.
        value_bits: bits of one entry.
        width: bits of a field: a sum of n entries fits.
        fields: f, entries of one coefficient.
        cut: low bits of a coefficient that are not sent.
        limit: L, bound of the sum of n noises.
    """

    num_parties: int
    dim: int
    value_bits: int
    width: int
    fields: int
    cut: int
    limit: int

    @property
    def chunks(self) -> int:
        """Ring elements of a vector."""
        return -(-self.dim // (self.fields * RING))

    @property
    def delta(self) -> int:
        """Δ, what one unit of a coefficient is in the ring."""
        return Q >> (self.fields * self.width)

    @property
    def half(self) -> int:
        """What cutting changes a coefficient by, at most."""
        return (1 << self.cut) >> 1

    @property
    def largest(self) -> int:
        """The largest coefficient that is sent."""
        return (Q - 1 + self.half) >> self.cut

    @property
    def bits(self) -> int:
        """Bits of a coefficient that is sent."""
        return self.largest.bit_length()

    @property
    def input_bytes(self) -> int:
        """Length of a packed vector: a ring element ends with a byte."""
        return self.chunks * RING * self.bits // 8

    def left_over(self, survivors: int) -> int:
        """The bound of what is left over beside a sum of so many parties."""
        return min(self.limit, BOUND * survivors) + survivors * self.half


@final
@dataclass(frozen=True, slots=True)
class Layout:
    """The numbers that sessions need."""

    thresholds: Thresholds
    packing: Packing


def thresholds(num_parties: int, *, threshold: int, corrupt: float, dropout: float) -> Thresholds:
    r"""The thresholds of a sum, if they keep what is promised.

    Guarantee:
        Whatever lists of survivors a server tells to whom, it and `corrupt` of the parties learn nothing of the honest
        parties' secrets but their sum over one list, and that has at least ``min_honest`` of them. Held by
        ``test_no_lists_open_more_than_one_sum`` and ``test_two_answers_in_three_are_needed``.

    Args:
        num_parties: n, 3 to 400.
        threshold: t, answers that open a sum: 3t > 2n + A, t <= n - D. What it is beyond the least makes shares short.
        corrupt: fraction of the parties that are on the server's side, in [0, 1), floored to A; ``2 / 6`` of six are
            two, although the float is less than a third.
        dropout: fraction of the parties that may drop out, in [0, 1), floored to D.

    Returns:
        The thresholds.

    Raises:
        ParameterError: an argument is out of its domain, or the promise would be empty.

    Example:
        >>> plan = thresholds(15, threshold=12, corrupt=0.1, dropout=0.2)
        >>> plan.min_survivors, plan.min_honest, plan.packed, plan.silent
        (12, 11, 2, 10)
    """
    n = check_integer("num_parties", num_parties, at_least=3, at_most=MAX_HOLDERS)
    t = check_integer("threshold", threshold, at_least=2, at_most=n)
    share = check_fraction("corrupt", corrupt)
    bad, alive = math.floor(share * n), n - dropped_parties(dropout, n)
    # the float 2 / 6 is less than a third, and who writes it means two of six parties
    bad += Fraction(repr((bad + 1) / n)) <= share
    if share > 0 and bad == 0:
        raise ParameterError(
            f"corrupt must be 0 or at least 1 / num_parties, got {float(share)}, which is less than one of {n} parties."
        )
    least = (2 * n + bad) // 3 + 1
    if least > alive:
        raise ParameterError(
            f"corrupt and dropout leave no threshold: with {bad} of {n} parties corrupt it must be at least {least}, "
            f"and only {alive} parties are sure to answer; expect fewer drop-outs or fewer corrupt parties."
        )
    if not least <= t <= alive:
        raise ParameterError(
            f"threshold must be in [{least}, {alive}], got {t}: below, a server that tells different lists of "
            "survivors could open more than one sum; above, too few parties are sure to answer."
        )
    if alive - bad < 2:
        raise ParameterError(
            f"corrupt and dropout leave a sum of {max(alive - bad, 0)} honest inputs, and it must be at least 2; use "
            "more parties, or expect fewer drop-outs or corrupt parties."
        )
    return Thresholds(n, t, alive, alive - bad, bad, t - least + 1)


def packing(num_parties: int, dim: int, value_bits: int) -> Packing:
    """The packing that sends the fewest bits.

    Guarantee:
        Sums of up to n parties decode to the exact sum, but for `FAILURE` over all coefficients
        (``test_extreme_noise_decodes``, ``test_failure_is_below_the_bound_by_exact_convolution``).

    Args:
        num_parties: n, 1 to 400.
        dim: entries of a vector, 1 to 2**40.
        value_bits: bits of one entry, 1 to 64.

    Returns:
        The packing.

    Raises:
        ParameterError: an argument is out of its domain.
        CapacityError: a sum does not fit a coefficient beside the noise.

    Example:
        >>> plan = packing(15, 1_000_000, 16)
        >>> plan.fields, plan.cut, plan.chunks, plan.input_bytes
        (2, 14, 123, 2896896)
    """
    n = check_integer("num_parties", num_parties, at_least=1, at_most=MAX_HOLDERS)
    entries = check_integer("dim", dim, at_least=1, at_most=1 << 40)
    bits = check_integer("value_bits", value_bits, at_least=1, at_most=64)
    width = field_bits(n, bits)
    best: Packing | None = None
    for fields in range(1, Q.bit_length() // width + 1):
        limit = noise_limit(n, -(-entries // (fields * RING)) * RING)
        room = (Q >> (fields * width)) // _MARGIN - limit
        if room < 0:
            break
        # the largest cut for which n·⌊2^cut / 2⌋ <= room
        found = Packing(n, entries, bits, width, fields, (room // n).bit_length(), limit)
        if best is None or found.input_bytes < best.input_bytes:
            best = found
    if best is None:
        raise CapacityError(
            f"a sum of {n} values of {bits} bits needs {width} bits, more than fit beside the noise of {n} parties; "
            "use fewer value_bits or fewer parties."
        )
    return best


def noise_limit(num_parties: int, coefficients: int) -> int:
    """The least L that the sum of so many noises stays within, but for `FAILURE` over so many coefficients.

    Args:
        num_parties: n, >= 1.
        coefficients: >= 1.

    Returns:
        L, at most the largest sum that there is.

    Example:
        >>> noise_limit(1, 4096), noise_limit(100, 4096)
        (66, 661)
    """
    low, high = 0, BOUND * num_parties
    while low < high:
        middle = (low + high) // 2
        if coefficients * tail(num_parties, middle) <= FAILURE:
            high = middle
        else:
            low = middle + 1
    return low
