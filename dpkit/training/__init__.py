"""Private training with torch: record a forward pass, sum clipped gradients, release them with noise.

The modules, in the order in which a gradient passes them: tape (calls of layers), coverage (who answers for which
parameter), signals (gradients in the outputs of calls), answers (per-example gradients of one call: by layers, the
rules of linear, convolution, embedding and normalization, or by replay), calls (what a rule reads), routes (the fastest
of several ways), parts (the gradients' forms), sequences and norms (how long they are), units (whose they are), weights
(clipping), sums (the clipped sum), independence (no example sees another), certificate (all of that tried on one
batch), privatizer (noise, ledger, ``p.grad``), loading (the records of each draw).
"""

from __future__ import annotations

from dpkit.training.certificate import Certificate, check
from dpkit.training.loading import Loader
from dpkit.training.privatizer import Privatizer
from dpkit.training.sums import clipped_sum
from dpkit.training.tape import Tape, record

__all__ = ["Certificate", "Loader", "Privatizer", "Tape", "check", "clipped_sum", "record"]
