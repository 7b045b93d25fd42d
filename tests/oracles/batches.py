"""Every random tape of a sampler, as a tree: the exact law of what it returns, and the exact cost of a sampled sum."""

from fractions import Fraction
from itertools import combinations, product
from math import comb, prod

import numpy as np
from scipy import stats


class _AskedError(Exception):
    """A sampler asked for more than is on its script."""


class Script:
    """Entropy that plays the words it was given, in whatever portions, and then says how many bytes it lacks."""

    secure = False

    def __init__(self, words):
        self.data, self.place, self.lack = b"".join(words), 0, 0

    def bytes(self, n):
        piece = self.data[self.place : self.place + n]
        self.place += n
        if len(piece) < n:
            self.lack = n - len(piece)
            raise _AskedError
        return piece


def exact_law(draw, letters, depth):
    """The law of what `draw(source)` returns: ({(outcome, words read): probability}, probability of not being done).

    `letters(place)` are the (word, probability) that stand for all words in this place. Scripts of more than `depth`
    words are not followed.
    """
    law, left, open_ = {}, Fraction(0), [((), Fraction(1))]
    while open_:
        words, weight = open_.pop()
        source = Script(words)
        try:
            outcome = tuple(draw(source).tolist())
        except _AskedError:
            coming, lack = [], source.lack
            while lack > 0:
                coming.append(letters(len(words) + len(coming)))
                lack -= len(coming[-1][0][0])
            if len(words) + len(coming) > depth:
                left += weight
                continue
            for chosen in product(*coming):
                chance = prod((share for _, share in chosen), start=weight)
                open_.append(((*words, *(word for word, _ in chosen)), chance))
        else:
            law[outcome, len(words)] = law.get((outcome, len(words)), Fraction(0)) + weight
    return law, left


def truncated_law(num_records, prob, largest):
    """{batch: probability} of a Poisson batch of which a uniform subset of at most `largest` is kept."""
    law = {}
    for size in range(num_records + 1):
        chance = prob**size * (1 - prob) ** (num_records - size)
        for drawn in combinations(range(num_records), size):
            kept = list(combinations(drawn, min(size, largest)))
            for batch in kept:
                law[batch] = law.get(batch, Fraction(0)) + chance / len(kept)
    return law


def fixed_size_law(num_records, size):
    """{batch: probability} of a uniform subset."""
    return {batch: Fraction(1, comb(num_records, size)) for batch in combinations(range(num_records), size)}


def delta_below(law, contents, other_law, other_contents, noise, epsilon):
    """A lower bound of the delta between two noisy sums of batches: the best union of cells, by exact tails.

    A set's probabilities are differences of normal distribution functions; any set's is below the true delta. A cell
    counts for 2**-48 (1 + e^epsilon) less than computed: two distribution functions and a mean of at most 32 numbers
    in [0, 1] are off by less.
    """
    edges = np.linspace(-40.0, 40.0, 4001)

    def masses(law, contents):
        sums = np.array([sum(contents[i] for i in batch) for batch in law], dtype=np.float64)
        weights = np.array([float(weight) for weight in law.values()])
        return weights @ np.diff(stats.norm.cdf((edges - sums[:, None]) / noise), axis=1)

    rounding = 2.0**-48 * (1.0 + np.exp(epsilon))
    gain = masses(law, contents) - np.exp(epsilon) * masses(other_law, other_contents) - rounding
    return float(gain[gain > 0].sum())
