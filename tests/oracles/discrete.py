"""Slow and obvious: hockey-stick divergences of enumerated laws, and every integer neighbour within a bound."""

import itertools
import math

import numpy as np


def hockey_stick(p, q, epsilon):
    """sum max(0, p - e^epsilon q) over all outcomes, the exponential kept in reach."""
    return math.fsum(np.maximum(0.0, p - math.exp(epsilon) * q).reshape(-1))


def joint(rows):
    """The joint law of independent coordinates, one pmf each."""
    law = np.ones(1)
    for row in rows:
        law = np.multiply.outer(law, row)
    return law


def integer_vectors(dim, norm, bound):
    """Every integer vector but zero of l1 or l2 norm at most `bound`, first coordinates largest and not negative."""
    reach = range(-math.floor(bound), math.floor(bound) + 1)
    for vector in itertools.product(reach, repeat=dim):
        size = sum(map(abs, vector)) if norm == "l1" else math.sqrt(sum(x * x for x in vector))
        if 0 < size <= bound and vector[0] >= abs(vector[-1]):
            yield vector
