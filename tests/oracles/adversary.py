"""The strongest adaptive adversary against discrete releases, by dynamic programming over what it has seen.

A menu of releases, each two laws on the same few outcomes. The order in which outcomes came does not matter to the
joint laws, so a state is how often each outcome of each release was seen, and the best policy is found exactly.
"""

from functools import cache
from math import exp, prod


def strongest(menu, admits, gain):
    """The largest expected gain over all policies that record only what is admitted, and stop when they like.

    Args:
        menu: (p, q) pairs of tuples of masses.
        admits: from the counts used so far, one per release, and an index to whether that release may follow.
        gain: from (p, q, counts) of a transcript to what stopping there is worth.
    """

    @cache
    def value(state):
        counts = tuple(sum(seen) for seen in state)
        p, q = (
            prod(law[side][o] ** n for law, seen in zip(menu, state, strict=True) for o, n in enumerate(seen))
            for side in (0, 1)
        )
        best = gain(p, q, counts)
        for i, seen in enumerate(state):
            if admits(counts, i):
                nexts = (tuple(n + (k == o) for k, n in enumerate(seen)) for o in range(len(seen)))
                total = sum(value((*state[:i], after, *state[i + 1 :])) for after in nexts)
                best = max(best, total)
        return best

    return value(tuple((0,) * len(law[0]) for law in menu))


def hockey_stick(epsilon):
    """The gain of an adversary against (epsilon, delta)."""
    return lambda p, q, counts: max(0.0, p - exp(epsilon) * q)


def response(epsilon):
    """Randomized response as (p, q)."""
    kept = exp(epsilon) / (1.0 + exp(epsilon))
    return (kept, 1.0 - kept), (1.0 - kept, kept)
