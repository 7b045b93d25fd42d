"""The exact lattice Gaussian against numpy's normal, which is neither exact nor secure."""

import numpy as np

from tests.bench.timing import interleaved, row

DRAWS = 1_000_000


def rows():
    from dpkit import samplers

    generator = np.random.default_rng(0)
    centers = generator.standard_normal(DRAWS)
    ours_s, peer_s = interleaved(
        lambda: samplers.lattice_gaussian(centers, 1.5), lambda: generator.standard_normal(DRAWS)
    )
    what = "lattice Gaussian on real centres, 10⁶ draws"
    result = row(what, "numpy Generator.standard_normal", ours_s, peer_s, "≥ 1 × its rate")
    return [result | {"ratio": f"{peer_s / ours_s:.2f} × its rate"}]
