"""Signals: the gradients of the losses in the outputs of every recorded call, by one backward pass for all of them.

Where a layer returns a result and something computed from it (the cell's state and the hidden state of an LSTM cell),
autograd's gradient in the former holds the path through the latter. Together they would count that path twice, so it is
taken out again: what is left is the gradient that reaches each output from outside of the call.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpkit.training.coverage import reachable
from dpkit.training.tape import Use

__all__ = ["signals_of"]


def signals_of(losses: Tensor, uses: Sequence[Use]) -> list[dict[int, Tensor]]:
    """The gradients of the losses' sum in the outputs of the calls.

    Args:
        losses: shape (batch,); their graph is freed.
        uses: recorded calls.

    Returns:
        For each call the gradients by position among its outputs, of the outputs' shapes; without those outputs that
        the losses do not depend on.
    """
    edges = [edge for use in uses for _, edge in use.edges]
    if not edges:
        return [{} for _ in uses]
    chains = [_chained(use) for use in uses]
    keep = any(any(chain) for chain in chains)
    found = iter(torch.autograd.grad(losses, edges, torch.ones_like(losses), allow_unused=True, retain_graph=keep))
    answers = []
    for use, chain in zip(uses, chains, strict=True):
        totals = [next(found) for _ in use.edges]
        outside = _from_outside(use, chain, totals) if any(chain) else totals
        pairs = zip(use.edges, outside, strict=True)
        answers.append({i: value.reshape(use.outputs[i]) for (i, _), value in pairs if value is not None})
    return answers


def _chained(use: Use) -> list[set[int]]:
    """For each output with gradients, by index, the others that it is computed from within the call."""
    if len(use.edges) < 2:
        return [set() for _ in use.edges]
    inside = [reachable([child for child, _ in edge.node.next_functions], use.boundary) for _, edge in use.edges]
    return [{j for j, (_, edge) in enumerate(use.edges) if edge.node in nodes} for nodes in inside]


def _from_outside(use: Use, chain: Sequence[set[int]], totals: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Take the paths through other outputs of the call out of the gradients, the last outputs first."""
    answer = list(totals)
    for i in sorted(range(len(chain)), key=lambda index: len(chain[index]), reverse=True):
        signal = answer[i]
        if signal is None or not chain[i]:
            continue
        sources = sorted(chain[i])
        edges = [use.edges[j][1] for j in sources]
        shares = torch.autograd.grad([use.edges[i][1]], edges, [signal], retain_graph=True, allow_unused=True)
        for j, share in zip(sources, shares, strict=True):
            before = answer[j]
            if before is not None and share is not None:
                answer[j] = before - share
    return answer
