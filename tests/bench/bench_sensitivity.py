"""What correlated noise over 2000 steps costs to account: trees and bands.

No library at hand has these sensitivities, so the rows are seconds alone. The one published time, of another machine,
stands in the note below them and is no ratio.
"""

import time

import numpy as np

STEPS, REPEATS = 2000, 5


def rows():
    from accountants.participation import Participation
    from accountants.sensitivity import matrix_sensitivity, toeplitz_sensitivity, tree_sensitivity

    allowed = Participation(steps=STEPS, min_separation=314, max_participations=6)
    often = Participation(steps=STEPS, min_separation=45)
    column = square_root(STEPS)
    below = np.subtract.outer(np.arange(STEPS), np.arange(STEPS))
    dense = np.where(below >= 0, column[below], 0.0)
    narrow, wide = (np.where(below < bands, dense, 0.0) for bands in (300, 600))
    yield figure("tree, 6 steps of a record, 314 apart", lambda: tree_sensitivity(allowed))
    yield figure("tree, 45 steps of a record, 45 apart", lambda: tree_sensitivity(often))
    yield figure("square root, Toeplitz", lambda: toeplitz_sensitivity(column, allowed))
    yield figure("300 bands, 314 apart", lambda: matrix_sensitivity(narrow, allowed))
    yield figure("600 bands, 314 apart", lambda: matrix_sensitivity(wide, allowed))
    yield figure("square root, as any matrix", lambda: matrix_sensitivity(dense, allowed))


def square_root(steps):
    """The first column of the square root of prefix sums."""
    odd = np.arange(1.0, 2.0 * steps - 1.0, 2.0)
    return np.concatenate([[1.0], np.cumprod(odd / (odd + 1.0))])


def notes():
    return (
        "Sensitivities have no peer that is installed here, hence no ratio. The first of them is that of the\n"
        "production tree of Kairouz et al. 2021 (2000 steps, 6 of a record, 313 between): its notebook prints\n"
        "347.85 s for the same number, 79, on a machine of its own."
    )


def figure(what, ask):
    found, seconds = ask(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - start)
    kind = "exact" if found.is_exact else "bound"
    return {
        "what": f"sensitivity, {STEPS} steps: {what} (square {found.value**2:.4f}, {kind})",
        "against": "–",
        "ours": f"{1e3 * min(seconds):.3g} ms",
        "peer": "–",
        "ratio": "–",
        "reach": "< 1 s",
    }
