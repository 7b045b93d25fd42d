"""Sampling plans: which records each step uses, and what that does to an event.

Each plan is passed through once and gives every draw to one release. Modules: `plan` (what they share), `poisson`,
`truncated`, `fixed_size`, `cyclic`.
"""

from __future__ import annotations

from dpkit.batches.cyclic import CyclicBatches
from dpkit.batches.fixed_size import FixedSizeBatches
from dpkit.batches.plan import Batches
from dpkit.batches.poisson import PoissonBatches
from dpkit.batches.truncated import TruncatedPoissonBatches

__all__ = ["Batches", "CyclicBatches", "FixedSizeBatches", "PoissonBatches", "TruncatedPoissonBatches"]
