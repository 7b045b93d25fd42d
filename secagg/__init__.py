"""secagg: nobody sees a part. Protocols that open the sum of many parties' vectors, and nothing else.

::

    reals, trees ─► codec, tree ─► plan.client(...) ═ bytes ═► plan.server(...) ═ bytes ═► result()

Sessions take bytes and return bytes; they hold no socket, thread, clock or global. This package imports nothing of
dpkit or accountants, and TenSEAL only when a homomorphic plan makes keys.
"""

from secagg.api import ClientSession, Entropy, Keys, Outgoing, ServerSession, State, SumProtocol, SumResult
from secagg.codec import FixedPoint, field_bits, offset_decode, offset_encode, pack, summand_bits, unpack
from secagg.errors import (
    BackendError,
    CapacityError,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    PeerProtocolError,
    RollbackRiskError,
    SecAggError,
    TooFewSurvivorsError,
)
from secagg.he import BFVSum, CKKSSum
from secagg.masking.plans import SecAgg, SecAggPlus
from secagg.masking.task import Registry, Task
from secagg.plain import PlainSum
from secagg.simulation import simulate
from secagg.threshold.plan import ThresholdSum
from secagg.tree import TreeSpec, flatten, unflatten
from secagg.weighted import WeightedMean

__all__ = [
    "BFVSum",
    "BackendError",
    "CKKSSum",
    "CapacityError",
    "ClientSession",
    "DecodeError",
    "Entropy",
    "FixedPoint",
    "Keys",
    "LocalProtocolError",
    "Outgoing",
    "ParameterError",
    "PeerProtocolError",
    "PlainSum",
    "Registry",
    "RollbackRiskError",
    "SecAgg",
    "SecAggError",
    "SecAggPlus",
    "ServerSession",
    "State",
    "SumProtocol",
    "SumResult",
    "Task",
    "ThresholdSum",
    "TooFewSurvivorsError",
    "TreeSpec",
    "WeightedMean",
    "field_bits",
    "flatten",
    "offset_decode",
    "offset_encode",
    "pack",
    "simulate",
    "summand_bits",
    "unflatten",
    "unpack",
]
