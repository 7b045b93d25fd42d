"""dpkit: make it private.

::

    records ─► per_sample ─► clip ─► rotate ─► noise share ─► encode ─► mask / encrypt ─► Σ ─► decode ─► mean
               training      Bounded Bounded   Release, on    secagg.codec secagg.*              federated
                             Bounded           the integer
                                               lattice: the noise does the rounding
                                                │ event, of the min_honest shares that any sum contains
                                                ▼
                             Ledger ─► Accountant.epsilon(delta=…) ─► statement

Modules in the order data flows: `entropy`, `bounded`, `clip`, `groups`, `rotate`, `samplers`, `mechanism`,
`continuous`, `adaptive`, `lattice`, `lattice_noise`, `lattice_mechanism`, `shares`, `discrete`, `discrete_laplace`,
`skellam`, `correlated`, `batches`, `training` (the only place that imports torch), `federated` (the only one that sees
secagg).
"""

from __future__ import annotations

from dpkit import batches, entropy, federated, samplers
from dpkit.adaptive import AdaptiveClip
from dpkit.bounded import Bounded
from dpkit.clip import FlatClip, NormalizeClip
from dpkit.continuous import GaussianMechanism, LaplaceMechanism
from dpkit.correlated import BandedNoise, BufferedToeplitzNoise, TreeNoise
from dpkit.discrete import DiscreteGaussianMechanism
from dpkit.discrete_laplace import DiscreteLaplaceMechanism
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
from dpkit.groups import GroupClip
from dpkit.mechanism import Release
from dpkit.shares import ShareMechanism
from dpkit.skellam import SkellamMechanism

__version__ = "0.1.0"

__all__ = [
    "AdaptiveClip",
    "BackendError",
    "BandedNoise",
    "BoundError",
    "Bounded",
    "BufferedToeplitzNoise",
    "CoverageError",
    "DPKitError",
    "DiscreteGaussianMechanism",
    "DiscreteLaplaceMechanism",
    "EntropyError",
    "ExhaustedError",
    "FlatClip",
    "GaussianMechanism",
    "GroupClip",
    "LaplaceMechanism",
    "LossError",
    "MeanRelease",
    "NormalizeClip",
    "ParameterError",
    "Release",
    "ShareMechanism",
    "SkellamMechanism",
    "StateError",
    "TreeNoise",
    "UnboundedError",
    "batches",
    "entropy",
    "federated",
    "private_mean",
    "samplers",
]
