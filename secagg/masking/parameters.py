r"""How many neighbours a party has, how many shares open a secret, and what that promises: functions of public numbers.

Write n for the parties, A for the corrupt ones, D for those who drop out (fractions of n, floored), k for a party's
neighbours and t for the threshold of its two secrets, the mask key and the seed of its self-mask.

**Complete graph** (k = n - 1; a party also keeps a share of its own seed, so n hold each seed). t = n - D, the largest
that the promised drop-outs leave, for every adversary: sums of fewer than n - D inputs may not be opened anyway, since
noise is planned for their honest ones, so a smaller t would only let more parties leave in the last round, and would
pay with the margin against collusion. Servers that lie need 2t > n + A besides: then no two sets of t parties, of which
A answer both ways, can open both secrets of one party.

**Harary graph** (k of n, even, in random order; nobody holds a share of its own secrets). The first even k with

1. the honest parties that stay are connected, but for 2^-(σ+1): two runs of k/2 neighbouring places would have to be
   corrupt or gone, P <= n(n-k-1)/2 · B!(n-k)! / (n!(B-k)!) with B = A + D;
2. no party has more than t1 corrupt neighbours, but for 2^-(σ+1): n · P[H(n, A, k) > t1] <= 2^-(σ+1);
3. every party has t2 live neighbours, but for 2^-η: n · P[H(n, n-D, k) < t2] <= 2^-η;
4. on request, no two runs of k/2 places have t - k/2 corrupt parties each, but for 2^-(σ+1): n²/2 · P[H(n, A, k/2)
   >= t - k/2]² <= 2^-(σ+1), since counts in disjoint runs of a random order are negatively associated;

and t <= t2, where t is the least >= 2 with t > t1 (semi-honest), or 2t > k + t1 (a lying server asks some neighbours
for one secret and others for the other), and 4. Over a random party a neighbourhood is a uniform k-subset of all n
parties, so the sums over parties in 2 and 3 are equalities, and the union bound is the only loss. The first three are
the published rules; 4 costs a tenth more neighbours, and is what makes ``min_honest`` large.

References:
    Bonawitz et al. 2017, section 6; Bell et al. 2020, section 3 (semi-honest) and 4 (semi-malicious); Joag-Dev &
    Proschan 1983, theorem 2.11 (negative association of random orders).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, final

import numpy as np

from secagg.checks import check_fraction, check_integer
from secagg.codec import field_bits
from secagg.errors import CapacityError, ParameterError
from secagg.masking.tails import MOST_NEIGHBOURS, Law, Tails

__all__ = ["CORRECTNESS_BITS", "SECURITY_BITS", "Thresholds", "complete_graph", "harary_graph", "modulus_bits"]

SECURITY_BITS = 40
"""σ: a drawn graph is unsafe with probability at most 2^-40."""

CORRECTNESS_BITS = 20
"""η: a drawn graph leaves a secret without enough live shares with probability at most 2^-20."""

_MOST_PARTIES = 2**31

_ROOM = Fraction(9, 10)
"""What corrupt and dropped parties may make up; beyond, degrees grow without bound."""


@final
@dataclass(frozen=True, slots=True)
class Thresholds:
    """The graph of a sum and the thresholds of its secrets.

    Args:
        neighbours: with how many parties each party shares masks and secrets: n - 1, or even and smaller.
        threshold: shares that open a secret; a party stops if fewer of its neighbours (complete graph: of all
            parties) remain.
        own_share: whether a party keeps a share of the seed of its own self-mask, never one of its own mask key: true
            on the complete graph, and never on a smaller one, whose threshold counts the neighbours only.
        min_survivors: fewest inputs of a sum: n - D. An honest server opens no smaller one; where it may lie, parties
            answer to no shorter list.
        min_honest: fewest honest inputs of any sum that can come out, for the adversary that was planned for.
        corrupt: A, parties that may be on the adversary's side.
        dropped: D, parties that may drop out, all rounds together.
    """

    neighbours: int
    threshold: int
    own_share: bool
    min_survivors: int
    min_honest: int
    corrupt: int
    dropped: int


def modulus_bits(num_parties: int, value_bits: int, *, wrap: bool) -> int:
    """Bits of a masked entry: what the sum of all parties needs, or exactly `value_bits` with `wrap`.

    Args:
        num_parties: n, >= 3.
        value_bits: bits of one value, 1 to 64.
        wrap: whether the sum is taken modulo ``2**value_bits``.

    Returns:
        The width, 1 to 64.

    Raises:
        ParameterError: an argument is out of its domain.
        CapacityError: without `wrap`, the sum may need more than 64 bits.

    Example:
        >>> modulus_bits(100, 16, wrap=False), modulus_bits(100, 16, wrap=True)
        (23, 16)
    """
    parties = check_integer("num_parties", num_parties, at_least=3, at_most=_MOST_PARTIES)
    bits = check_integer("value_bits", value_bits, at_least=1, at_most=64)
    if not isinstance(wrap, bool):
        raise ParameterError(f"wrap must be a bool, got {type(wrap).__name__}.")
    width = bits if wrap else field_bits(parties, bits)
    if width > 64:
        raise CapacityError(
            f"the sum of {parties} values of {bits} bits must fit 64 bits; use fewer value_bits, or wrap=True for a "
            "sum modulo 2**value_bits."
        )
    return width


def complete_graph(
    num_parties: int, *, adversary: Literal["semi_honest", "malicious"], corrupt: float, dropout: float
) -> Thresholds:
    r"""Thresholds where everybody is everybody's neighbour: t = n - D.

    Guarantee:
        Semi-honest: the server opens one sum, of at least n - D inputs, A of them corrupt; A < t shares open nothing
        else. Malicious, with signed keys and a round in which t parties sign the list of survivors that each of them
        heard: two lists with t signatures would need 2t <= n + A, so there is one list, its t signers are in it, and
        t - A of them are honest. Both give ``min_honest`` = n - D - A. Held by
        ``test_split_views_open_both_secrets_only_below_the_malicious_threshold``.

    Args:
        num_parties: n, 3 to 2**31.
        adversary: "semi_honest" (the server follows the protocol and looks) or "malicious" (it sends what it likes).
        corrupt: fraction of the parties that are on the server's side, in [0, 1), floored.
        dropout: fraction of the parties that may drop out, in [0, 1), floored.

    Returns:
        The thresholds.

    Raises:
        ParameterError: no threshold keeps the promise, or it would be empty.

    Example:
        >>> plan = complete_graph(100, adversary="malicious", corrupt=0.1, dropout=0.2)
        >>> plan.threshold, plan.min_honest
        (80, 70)
    """
    _check_adversary(adversary, "semi_honest", "malicious")
    n, bad, dropped, _ = _counts(num_parties, corrupt, dropout)
    return _complete(n, bad, dropped, lying=adversary == "malicious")


def harary_graph(
    num_parties: int,
    *,
    adversary: Literal["semi_honest", "semi_malicious"],
    corrupt: float,
    dropout: float,
    connected: bool = False,
) -> Thresholds:
    r"""Thresholds on a Harary graph in random order, or on the complete graph where no smaller degree will do.

    Guarantee:
        But for 2^-40 over the order, never both secrets of an honest party can be opened, and any sum that comes out
        has at least ``min_honest`` honest inputs. Semi-honest: the server opens one sum, of n - D inputs and more, and
        the honest ones are connected: n - D - A. Semi-malicious: *if all honest parties hear the same list of n - D
        survivors or more*, whichever parties the server strikes from it, knowing the graph,

        - t - t1 + 1 in any case. For let v's input be in a sum. Its self-mask was opened by t of its neighbours, at
          least t - t1 of them honest. They answered, so each found itself on the list, so its mask key is not opened,
          and its mask with v only cancels where its own input is added too.
        - n - D - A, all honest ones of the list, under condition 4. Else take one of the list, x, that is not in the
          sum, and the last party w of the sum before x. Honest neighbours of w on the list are in the sum, so the k/2
          places after w have none, and of the t that opened w's self-mask at least t - k/2 are corrupt and stand there.
          The same holds before the first party of the sum after x, on the other side of x.

        A server that tells *different* neighbours different lists gets a single input out of a published plan: nothing
        here protects against that, and a protocol must see to it that there is one list, by signatures of more than
        (n + A) / 2 parties, say. Held by ``test_probabilities_are_within_the_bounds``,
        ``test_any_one_list_leaves_min_honest_together``, ``test_one_list_splits_only_at_two_runs_of_corrupt_parties``,
        ``test_two_rich_runs_are_as_rare_as_is_counted`` and ``test_two_lists_cut_out_a_single_party``.

    Args:
        num_parties: n, 3 to 2**31.
        adversary: "semi_honest", or "semi_malicious": the server draws the graph and relays keys and shares honestly,
            and then lies about who has dropped out.
        corrupt: fraction of the parties that are on the server's side, in [0, 1), floored; who they are may not hang on
            the graph.
        dropout: fraction of the parties that may drop out, in [0, 1), floored; who does by itself may not hang on the
            graph either.
        connected: whether a semi-malicious plan has to meet condition 4 too; without, degrees are the published ones.

    Returns:
        The thresholds.

    Raises:
        ParameterError: ``corrupt + dropout`` (semi-malicious: ``corrupt + 2 * dropout``) above 0.9, no threshold keeps
            the promise, or it would be empty.

    Example:
        >>> plan = harary_graph(10_000, adversary="semi_malicious", corrupt=0.05, dropout=0.05)
        >>> plan.neighbours, plan.threshold, plan.min_honest
        (62, 44, 21)
        >>> plan = harary_graph(10_000, adversary="semi_malicious", corrupt=0.05, dropout=0.05, connected=True)
        >>> plan.neighbours, plan.threshold, plan.min_honest
        (68, 49, 9000)
    """
    _check_adversary(adversary, "semi_honest", "semi_malicious")
    lying = adversary == "semi_malicious"
    if not isinstance(connected, bool):
        raise ParameterError(f"connected must be a bool, got {type(connected).__name__}.")
    n, bad, dropped, room = _counts(num_parties, corrupt, dropout, weight=2 if lying else 1)
    if room > _ROOM:
        total = "corrupt + 2 * dropout" if lying else "corrupt + dropout"
        raise ParameterError(f"{total} must be at most 0.9, got {float(room)}; use SecAgg, or expect fewer of them.")
    found = _search(n, bad, dropped, lying=lying, connected=connected)
    if found is None:
        return _complete(n, bad, dropped, lying=lying)
    k, t, t1 = found
    whole = not lying or t >= _unsplit_from(Tails(n).law(bad), k)
    honest = n - dropped - bad if whole else t - t1 + 1
    return _checked(Thresholds(k, t, False, n - dropped, honest, bad, dropped))


def _check_adversary(adversary: object, *known: str) -> None:
    """One of the adversaries that are known here."""
    if adversary not in known:
        raise ParameterError(f"adversary must be {' or '.join(repr(name) for name in known)}, got {adversary!r}.")


def _counts(num_parties: int, corrupt: float, dropout: float, *, weight: int = 1) -> tuple[int, int, int, Fraction]:
    """n, A, D, and ``corrupt + weight * dropout``, exactly as typed."""
    n = check_integer("num_parties", num_parties, at_least=3, at_most=_MOST_PARTIES)
    share, gone = check_fraction("corrupt", corrupt), check_fraction("dropout", dropout)
    bad = math.floor(share * n)
    if share > 0 and bad == 0:
        raise ParameterError(
            f"corrupt must be 0 or at least 1 / num_parties, got {float(share)}, which is less than one of {n} parties."
        )
    return n, bad, math.floor(gone * n), share + weight * gone


def _complete(n: int, bad: int, dropped: int, *, lying: bool) -> Thresholds:
    """Everybody shares with everybody."""
    t = n - dropped
    if lying and 2 * t <= n + bad:
        raise ParameterError(
            f"corrupt and dropout leave no threshold t with 2 t > num_parties + {bad} corrupt parties that {t} "
            "survivors reach; expect fewer drop-outs or fewer corrupt parties."
        )
    return _checked(Thresholds(n - 1, t, True, t, t - bad, bad, dropped))


def _checked(plan: Thresholds) -> Thresholds:
    """The plan, if it promises anything."""
    if plan.threshold < 2 or plan.min_honest < 2:
        raise ParameterError(
            f"corrupt and dropout leave a sum of {max(plan.min_honest, 0)} honest inputs that {plan.threshold} shares "
            "open, and both must be at least 2; use more parties, or expect fewer drop-outs or corrupt parties."
        )
    return plan


def _search(n: int, bad: int, dropped: int, *, lying: bool, connected: bool = False) -> tuple[int, int, int] | None:
    """The first even k < n - 1 that will do, with its t and t1; None if none does."""
    tails = Tails(n)
    most = min(n - 2, MOST_NEIGHBOURS)
    k = _connected_from(tails, bad + dropped, most)
    corrupt, alive = tails.law(bad), tails.law(n - dropped)
    while k <= most:
        t1 = k - corrupt.tail(k, -(SECURITY_BITS + 1))
        t2 = alive.tail(k, -CORRECTNESS_BITS, lower=True)
        t = (k + t1) // 2 + 1 if lying else max(t1 + 1, 2)
        if lying and connected:
            t = max(t, _unsplit_from(corrupt, k))
        if t <= t2:
            return k, t, t1
        # with two more neighbours t does not fall (t rises, if the server lies) and t2 rises by at most 2: degrees that
        # cannot do are passed over
        k += 2 * (t - t2) if lying else 2 * -(-(t - t2) // 2)
    if most < n - 2:
        raise ParameterError(f"num_parties = {n} needs more than {most} neighbours; expect fewer drop-outs.")
    return None


def _unsplit_from(corrupt: Law, k: int) -> int:
    """The least t for which no two runs of k/2 places have t - k/2 corrupt parties each, but for 2^-(σ+1)."""
    # half the bits for each run, since pairs of runs are at most n²/2
    rare = corrupt.tail(k // 2, -(SECURITY_BITS // 2))
    return k - rare + 1


def _connected_from(tails: Tails, lost: int, most: int) -> int:
    """The first even k for which the graph stays connected without any `lost` parties, but for 2^-(σ+1)."""
    # each further pair of neighbours makes a cut less likely
    cuts = tails.cut(np.arange(2, most + 1, 2), lost)
    return 2 + 2 * int(np.count_nonzero(cuts >= -(SECURITY_BITS + 1) * math.log(2.0)))
