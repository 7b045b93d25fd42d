"""dpkit: make it private.

::

    records ─► per_sample ─► clip ─► rotate ─► noise share ─► encode ─► mask / encrypt ─► Σ ─► decode ─► mean
               training      Bounded Bounded   Release, on    secagg.codec secagg.*              federated
                             Bounded           the integer
                                               lattice: the noise does the rounding
                                                │ event, of the min_honest shares that any sum contains
                                                ▼
                             Ledger ─► Accountant.epsilon(delta=…) ─► statement

Modules in the order data flows: `entropy`, `bounded`, `clip`, `rotate`, `samplers`, `mechanism`, `continuous`,
`discrete`, `correlated`, `batches`, `training` (the only place that imports torch), `federated` (the only one that sees
secagg).
"""

from __future__ import annotations

from dpkit import batches, entropy, federated, samplers
from dpkit.bounded import Bounded
from dpkit.clip import FlatClip
from dpkit.continuous import GaussianMechanism, LaplaceMechanism
from dpkit.correlated import BandedNoise, BufferedToeplitzNoise, TreeNoise
from dpkit.discrete import DiscreteGaussianMechanism, ShareMechanism
from dpkit.errors import (
    BackendError,
    BoundError,
    CoverageError,
    DPKitError,
    EntropyError,
    ExhaustedError,
    LossError,
    ParameterError,
    StateError,
    UnboundedError,
)
from dpkit.federated import MeanRelease, private_mean
from dpkit.mechanism import Release

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BandedNoise",
    "BoundError",
    "Bounded",
    "BufferedToeplitzNoise",
    "CoverageError",
    "DPKitError",
    "DiscreteGaussianMechanism",
    "EntropyError",
    "ExhaustedError",
    "FlatClip",
    "GaussianMechanism",
    "LaplaceMechanism",
    "LossError",
    "MeanRelease",
    "ParameterError",
    "Release",
    "ShareMechanism",
    "StateError",
    "TreeNoise",
    "UnboundedError",
    "batches",
    "entropy",
    "federated",
    "private_mean",
    "samplers",
]
