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

import importlib
from typing import TYPE_CHECKING, Any

from dpkit import batches, entropy, samplers
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
from dpkit.groups import GroupClip
from dpkit.mechanism import Release
from dpkit.shares import ShareMechanism
from dpkit.skellam import SkellamMechanism

if TYPE_CHECKING:
    from dpkit import federated
    from dpkit.federated import MeanRelease, private_mean

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


def __getattr__(name: str) -> Any:
    """Import `federated`, and secagg with it, when it is first asked for: a third of the time of ``import dpkit``."""
    if name not in ("federated", "MeanRelease", "private_mean"):
        raise AttributeError(f"module 'dpkit' has no attribute {name!r}")
    federated = importlib.import_module("dpkit.federated")
    return federated if name == "federated" else getattr(federated, name)
