r"""Independence: no example's gradient depends on another example's loss.

Clipping bounds one example's contribution only if the example appears in no other contribution. If it does not, the
gradient of :math:`\sum_i v_i \ell_i` in a layer's output has, for example i, exactly :math:`v_i` times the row of the
gradient of :math:`\sum_i \ell_i`. Weights that are powers of two make this exact in floating point, so the probe has
nothing to tune: mixing examples shows up at the size of the gradients themselves. They are random, so that no fixed
pattern of mixing can agree with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dpkit.entropy import system
from dpkit.errors import CoverageError, LossError
from dpkit.training.coverage import assign
from dpkit.training.layers import rule_of
from dpkit.training.norms import squared_norms, working_dtype
from dpkit.training.replay import batch_axes, mixes_rows
from dpkit.training.tape import Tape

__all__ = ["Probe", "require_independent"]

_EXPONENTS = 8
# Far above subnormal rounding and kernels that add in varying order, far below any mixing worth the name.
_OF_ROW, _OF_LARGEST = 1e-3, 1e-5


@final
@dataclass(frozen=True, slots=True)
class Probe:
    """Which layers were tried so far, over many batches.

    A layer is tried with the first batch of two or more examples in which it is called. Mixing shows only where two of
    its examples have gradients: a last layer that begins with zeros, or losses that are not finite, hide it. Layers of
    which too little was seen are tried again with the 2nd, 4th, 8th, ... batch, so that one that never has gradients
    costs little.

    Attributes:
        tried: the names of the layers that were tried.
        seen: of these, the ones in which mixing would have shown.
        batches: the number of batches of two or more examples.
        is_now: whether the latest batch was one to try.
    """

    tried: frozenset[str] = frozenset()
    seen: frozenset[str] = frozenset()
    batches: int = 0
    is_now: bool = False

    def after(self, tape: Tape, losses: Tensor) -> Probe:
        """What is known after one more batch.

        Raises:
            LossError: as in :func:`require_independent`.
            CoverageError: as there.
        """
        if len(losses) < 2:
            return Probe(self.tried, self.seen, self.batches)
        names, batches = frozenset(use.name for use in tape.uses), self.batches + 1
        is_again = batches & (batches - 1) == 0 and not names <= self.seen
        if names <= self.tried and not is_again:
            return Probe(self.tried, self.seen, batches)
        return Probe(self.tried | names, self.seen | require_independent(tape, losses), batches, True)


def require_independent(tape: Tape, losses: Tensor) -> frozenset[str]:
    """Refuse losses whose gradients mix examples; costs two backward passes and keeps the graph.

    Layers that are differentiated by calling them again are also called on one example alone: their output must be the
    one in the batch. Not seen are a factor that all examples share (a divisor computed from the batch: it scales every
    row alike), values of other examples that no gradient flows through (a mean that was detached), and inputs that were
    mixed before the first recorded layer (a batch centred by its own mean).

    Args:
        tape: recording of the forward pass.
        losses: shape (batch,), made by that forward pass.

    Returns:
        The names of the layers in which mixing would have shown: those in which at least two examples have gradients
        that are finite and not zero.

    Raises:
        LossError: gradients of some layer's output mix examples; the message names the layer.
        CoverageError: a layer's output for one example depends on the others; or as in
            :func:`dpkit.training.clipped_sum`.
    """
    rows = len(losses)
    if rows < 2:
        return frozenset()
    uses = [use for use, _ in assign(tape, losses)]
    with tape.paused():
        for use in uses:
            if rule_of(use.module) is None and mixes_rows(use, rows):
                raise CoverageError(
                    f"layer '{use.name}' ({type(use.module).__name__}) gives an example another output alone "
                    "than in the batch, so its gradient depends on others and clipping bounds nothing; look for "
                    "operations across the batch inside this layer (batch statistics)"
                )
    weights = _weights(rows).to(losses)
    edges = [edge for use in uses for _, edge in use.edges]
    with tape.paused(), tape.gradients_kept():
        plain, scaled = (
            torch.autograd.grad(losses, edges, factor, retain_graph=True, allow_unused=True)
            for factor in (torch.ones_like(losses), weights)
        )
    found = iter(zip(plain, scaled, strict=True))
    hidden = set()
    for use in uses:
        shown = 0
        for position, _ in use.edges:
            before, after = next(found)
            if before is not None and after is not None:
                shape, axis = use.outputs[position], batch_axes(use, rows, (position,)).outputs[position]
                pair = [g.reshape(shape).movedim(axis, 0).to(working_dtype(g)) for g in (before, after)]
                shown = max(shown, _compare(use.name, pair, weights))
        if shown < 2:
            hidden.add(use.name)
    return frozenset(use.name for use in uses) - hidden


def _weights(rows: int) -> Tensor:
    """A power of two from 1/16 to 8 with a sign for each row, drawn afresh: no pattern of mixing can follow it.

    Every 16 rows have the 16 weights in a random order, so two rows near each other never have the same.
    """
    blocks = -(-rows // (2 * _EXPONENTS))
    keys = torch.frombuffer(bytearray(system().bytes(16 * blocks * _EXPONENTS)), dtype=torch.int64)
    order = keys.view(blocks, 2 * _EXPONENTS).argsort(1).flatten()[:rows]
    return torch.ldexp(1.0 - 2.0 * (order // _EXPONENTS), order % _EXPONENTS - _EXPONENTS // 2)


def _compare(name: str, gradients: Sequence[Tensor], weights: Tensor) -> int:
    """Refuse rows of the second that are not those of the first times the weights; broken rows are left out.

    Returns:
        How many rows are finite and not zero.
    """
    before, after = gradients
    expected = before * weights.to(before.dtype).view(-1, *[1] * (before.dim() - 1))
    sizes, gaps = squared_norms(expected).sqrt(), squared_norms(after - expected).sqrt()
    usable = torch.isfinite(sizes) & torch.isfinite(gaps)
    if not bool(usable.any()):
        return 0
    allowed = _OF_ROW * sizes + _OF_LARGEST * sizes[usable].max()
    if bool((usable & (gaps > allowed)).any()):
        raise LossError(
            f"the losses mix examples: the gradient of one example in layer '{name}' depends on the losses of others, "
            "so clipping bounds nothing; look for operations across the batch after this layer (batch statistics, "
            "contrastive terms, time and batch axes exchanged, shared rows that are not expanded)"
        )
    return int((usable & (sizes > 0)).sum())
