r"""Independence: no example's gradient depends on another example's loss.

Clipping bounds one example's contribution only if the example appears in no other contribution. If it does not, the
gradient of :math:`\sum_i v_i \ell_i` in a layer's output has, for example i, exactly :math:`v_i` times the row of the
gradient of :math:`\sum_i \ell_i`. Weights that are powers of two make this exact in floating point, so the probe has
nothing to tune: mixing examples shows up at the size of the gradients themselves. They are random, so that no fixed
pattern of mixing can agree with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpkit.entropy import system
from dpkit.errors import CoverageError, LossError
from dpkit.training.coverage import assign
from dpkit.training.layers import rule_of
from dpkit.training.norms import squared_norms, working_dtype
from dpkit.training.replay import batch_axes, mixes_rows
from dpkit.training.tape import Tape

__all__ = ["require_independent"]

_EXPONENTS = 8
# Far above subnormal rounding and kernels that add in varying order, far below any mixing worth the name.
_OF_ROW, _OF_LARGEST = 1e-3, 1e-5


def require_independent(tape: Tape, losses: Tensor) -> None:
    """Refuse losses whose gradients mix examples; costs two backward passes and keeps the graph.

    Layers that are differentiated by calling them again are also called on one example alone: their output must be the
    one in the batch. Not seen are a factor that all examples share (a divisor computed from the batch: it scales every
    row alike) and inputs that were mixed before the first recorded layer (a batch centred by its own mean).

    Args:
        tape: recording of the forward pass.
        losses: shape (batch,), made by that forward pass.

    Raises:
        LossError: gradients of some layer's output mix examples; the message names the layer.
        CoverageError: a layer's output for one example depends on the others; or as in
            :func:`dpkit.training.clipped_sum`.
    """
    rows = len(losses)
    if rows < 2:
        return
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
    places = [(use, position) for use in uses for position, _ in use.edges]
    plain: Sequence[Tensor | None] = torch.autograd.grad(losses.sum(), edges, retain_graph=True, allow_unused=True)
    scaled: Sequence[Tensor | None] = torch.autograd.grad(
        (losses * weights).sum(), edges, retain_graph=True, allow_unused=True
    )
    for (use, position), before, after in zip(places, plain, scaled, strict=True):
        if before is None or after is None:
            continue
        shape = use.outputs[position]
        axis = batch_axes(use, rows, (position,)).outputs[position]
        if _mixes([g.reshape(shape).movedim(axis, 0).to(working_dtype(g)) for g in (before, after)], weights):
            raise LossError(
                f"the losses mix examples: the gradient of one example in layer '{use.name}' depends on the losses of "
                "others, so clipping bounds nothing; look for operations across the batch after this layer (batch "
                "statistics, contrastive terms, time and batch axes exchanged, shared rows that are not expanded)"
            )


def _weights(rows: int) -> Tensor:
    """A power of two from 1/16 to 8 with a sign for each row, drawn afresh: no pattern of mixing can follow it.

    Every 16 rows have the 16 weights in a random order, so two rows near each other never have the same.
    """
    blocks = -(-rows // (2 * _EXPONENTS))
    keys = torch.frombuffer(bytearray(system().bytes(16 * blocks * _EXPONENTS)), dtype=torch.int64)
    order = keys.view(blocks, 2 * _EXPONENTS).argsort(1).flatten()[:rows]
    return torch.ldexp(1.0 - 2.0 * (order // _EXPONENTS), order % _EXPONENTS - _EXPONENTS // 2)


def _mixes(gradients: Sequence[Tensor], weights: Tensor) -> bool:
    """Whether the rows of the second are not the rows of the first times the weights; broken rows are left out."""
    before, after = gradients
    expected = before * weights.to(before.dtype).view(-1, *[1] * (before.dim() - 1))
    sizes, gaps = squared_norms(expected).sqrt(), squared_norms(after - expected).sqrt()
    usable = torch.isfinite(sizes) & torch.isfinite(gaps)
    if not bool(usable.any()):
        return False
    allowed = _OF_ROW * sizes + _OF_LARGEST * sizes[usable].max()
    return bool((usable & (gaps > allowed)).any())
