"""Coverage: which call of which layer answers for which parameter, found by walking the autograd graph.

Every edge from a graph node into a trainable parameter must lie in the part of the graph of exactly one recorded call
whose layer owns the parameter. A parameter that reaches the losses along any other path would be trained on gradients
that were never clipped; that is an error, with the parameter's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from torch import Tensor, nn
from torch.autograd.graph import Node

from dpkit.errors import CoverageError
from dpkit.training.tape import Tape, Use

__all__ = ["assign"]

_LEAF = "torch::autograd::AccumulateGrad"


def assign(tape: Tape, losses: Tensor) -> list[tuple[Use, tuple[nn.Parameter, ...]]]:
    """The recorded calls that the losses depend on, each with the parameters that it answers for.

    Args:
        tape: the recording of the forward pass.
        losses: tensor of shape (batch,), made by that forward pass.

    Returns:
        Pairs (call, parameters) in order of the calls.

    Raises:
        CoverageError: a trainable parameter reaches the losses outside the recorded calls of its layer, or through two
            nested calls that both own it; or the losses depend on a reentrant checkpoint; or a parameter is complex.
    """
    names = {id(parameter): name for name, parameter in tape.parameters().items()}
    nodes = _reachable([losses.grad_fn])
    _refuse_unseen(tape, nodes)
    uses = [use for use in tape.uses if any(edge.node in nodes for _, edge in use.edges)]
    regions = [_parameter_edges(_region(use) & nodes, names) for use in uses]
    answers: list[dict[int, nn.Parameter]] = [{} for _ in uses]
    for link, parameter in _parameter_edges(nodes, names).items():
        holder = _holder(uses, regions, link, parameter, names[id(parameter)])
        answers[holder][id(parameter)] = parameter
    _refuse_nested(regions, answers, names)
    return [(use, tuple(answer.values())) for use, answer in zip(uses, answers, strict=True) if answer]


def _refuse_unseen(tape: Tape, nodes: Iterable[Node]) -> None:
    """Refuse what the walk cannot see into, or the parts cannot hold."""
    if any(node.name() == "CheckpointFunctionBackward" for node in nodes):
        raise CoverageError(
            "the losses depend on reentrant checkpointing, which hides the layers inside; "
            "call checkpoint(..., use_reentrant=False)"
        )
    for name, parameter in tape.parameters().items():
        if parameter.is_complex():
            raise CoverageError(
                f"parameter '{name}' is complex; keep real and imaginary parts in two real parameters, or freeze it"
            )


def _holder(
    uses: Sequence[Use],
    regions: Sequence[Mapping[tuple[Node, int], nn.Parameter]],
    link: tuple[Node, int],
    parameter: nn.Parameter,
    name: str,
) -> int:
    """The call that answers for one edge into one parameter: the innermost owner, directly or through a child."""
    inside = [i for i, region in enumerate(regions) if link in region]
    for i in inside:  # calls are recorded when they return: inner ones first
        if any(own is parameter for own in uses[i].module._parameters.values()):
            return i
    for i in inside:
        if any(own is parameter for own in uses[i].module.parameters()):
            return i
    raise CoverageError(
        f"parameter '{name}' is trainable and reaches the losses outside the recorded calls of its layer, where "
        "clipping does not see it; call the layer instead of using its weight in a function, run the forward pass "
        "inside record(...) or after the Privatizer was made, do not modify a layer's output in place, or freeze the "
        "parameter with requires_grad_(False)"
    )


def _refuse_nested(
    regions: Sequence[Mapping[tuple[Node, int], nn.Parameter]],
    answers: Sequence[Mapping[int, nn.Parameter]],
    names: Mapping[int, str],
) -> None:
    """Refuse a parameter that two nested calls would both differentiate: its gradient would be counted twice."""
    for i, region in enumerate(regions):
        for j, other in enumerate(regions):
            for key in answers[i].keys() & answers[j].keys() if j > i else ():
                if any(link in other for link in region if link[1] == key):
                    raise CoverageError(
                        f"parameter '{names[key]}' is used by a layer and, inside the same call, by a layer around it; "
                        "use it in one of the two only, or freeze it with requires_grad_(False)"
                    )


def _parameter_edges(nodes: Iterable[Node], names: Mapping[int, str]) -> dict[tuple[Node, int], nn.Parameter]:
    """Edges from these nodes into trainable parameters: (node, id of the parameter) -> parameter."""
    found = {}
    for node in nodes:
        for child, _ in node.next_functions:
            if child is not None and child.name() == _LEAF:
                parameter = cast("nn.Parameter", child.variable)  # type: ignore[attr-defined]
                if id(parameter) in names:
                    found[node, id(parameter)] = parameter
    return found


def _region(use: Use) -> set[Node]:
    """The nodes that a call added to the graph: from its outputs down to its inputs."""
    return _reachable([edge.node for _, edge in use.edges], use.boundary)


def _reachable(starts: Iterable[Node | None], stops: frozenset[Node] = frozenset()) -> set[Node]:
    """All nodes reachable from the starts without passing through a stop."""
    stack = [node for node in starts if node is not None and node not in stops]
    seen = set(stack)
    while stack:
        for child, _ in stack.pop().next_functions:
            if child is not None and child not in seen and child not in stops:
                seen.add(child)
                stack.append(child)
    return seen
