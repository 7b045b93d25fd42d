"""Slow, obvious references for sensitivities: every pattern of steps, every sign, rational numbers."""

from fractions import Fraction
from itertools import product


def patterns(steps, gap, most):
    """Every pattern of at most `most` steps that differ by `gap` or more, the empty one too."""

    def after(start, left):
        yield ()
        if left:
            for step in range(start, steps):
                for rest in after(step + gap, left - 1):
                    yield (step, *rest)

    return after(0, steps if most is None else most)


def intervals(steps):
    """The dyadic intervals within the steps, as (start, end)."""
    found, size = [], 1
    while size <= steps:
        found += [(start, start + size) for start in range(0, steps - size + 1, size)]
        size *= 2
    return found


def tree(steps):
    """The strategy of a binary tree: a row of zeros and ones for each node."""
    return [[int(start <= step < end) for step in range(steps)] for start, end in intervals(steps)]


def worst_tree(steps, gap, most):
    """The largest sum of squared counts over the nodes."""
    nodes = intervals(steps)
    return max(
        sum(sum(start <= step < end for step in pattern) ** 2 for start, end in nodes)
        for pattern in patterns(steps, gap, most)
    )


def gram(matrix):
    """The products of the columns, exactly."""
    columns = [[Fraction(value) for value in column] for column in zip(*matrix, strict=True)]
    return [[sum(a * b for a, b in zip(one, other, strict=True)) for other in columns] for one in columns]


def worst_absolute(matrix, gap, most):
    """The largest sum of absolute products over a pattern, exactly: never below the squared sensitivity."""
    products = gram(matrix)
    steps = len(products)
    return max(sum(abs(products[s][t]) for s in pattern for t in pattern) for pattern in patterns(steps, gap, most))


def worst_signed(matrix, gap, most):
    """The largest squared norm over patterns and signs of scalar contributions, exactly: never above it."""
    products = gram(matrix)
    steps = len(products)
    return max(
        sum(
            a * b * products[s][t]
            for a, s in zip(signs, pattern, strict=True)
            for b, t in zip(signs, pattern, strict=True)
        )
        for pattern in patterns(steps, gap, most)
        for signs in product((1, -1), repeat=len(pattern))
    )


def is_signed(matrix, gap, most):
    """Whether two steps that a record may take part in have columns with a negative product."""
    products = gram(matrix)
    steps = range(len(products))
    return most != 1 and any(products[s][t] < 0 for s in steps for t in steps if t - s >= gap)


def toeplitz(coefficients, steps):
    """The lower triangular matrix of a first column."""
    padded = [*coefficients, *([0.0] * (steps - len(coefficients)))]
    return [[padded[row - step] if row >= step else 0.0 for step in range(steps)] for row in range(steps)]
