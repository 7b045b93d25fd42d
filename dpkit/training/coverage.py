"""Coverage: which calls of which layers answer for which parameter, found by walking the autograd graph.

Every path from the losses to a trainable parameter must enter, by an output, the part of the graph of exactly one
recorded call whose layer owns the parameter, and stay in it. A parameter that the losses reach along any other path
would be trained on gradients that were never clipped, or without a share of its gradient; that is an error, with the
parameter's name. Calls may share nodes: autocast keeps one narrow copy of a weight for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NoReturn, cast

from torch import Tensor, nn
from torch.autograd.graph import Node

from dpkit.errors import CoverageError
from dpkit.training.tape import Tape, Use

__all__ = ["assign", "reachable"]

_LEAF = "torch::autograd::AccumulateGrad"

_Answers = Sequence[dict[int, nn.Parameter]]


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
    parameters = tape.parameters()
    names = {id(parameter): name for name, parameter in parameters.items()}
    nodes = reachable([losses.grad_fn])
    _refuse_unseen(parameters, nodes)
    uses = [use for use in tape.uses if any(edge.node in nodes for _, edge in use.edges)]
    regions = [_region(use) & nodes for use in uses]
    holding: dict[Node, list[int]] = defaultdict(list)
    for i, region in enumerate(regions):
        for node in region:
            holding[node].append(i)
    links = _parameter_edges(nodes, names)
    answers: _Answers = [{} for _ in uses]
    for (node, key), parameter in links.items():
        owners = _innermost(uses, regions, _owners(uses, holding.get(node, []), parameter))
        if not owners:
            _refuse(names[key])
        for i in owners:
            answers[i][key] = parameter
    _refuse_nested(uses, regions, answers, names)
    _refuse_detours(nodes, uses, regions, answers, links, names)
    return [(use, tuple(answer.values())) for use, answer in zip(uses, answers, strict=True) if answer]


def _refuse_unseen(parameters: Mapping[str, nn.Parameter], nodes: Iterable[Node]) -> None:
    """Refuse what the walk cannot see into, or the parts cannot hold."""
    if any(node.name() == "CheckpointFunctionBackward" for node in nodes):
        raise CoverageError(
            "the losses depend on reentrant checkpointing, which hides the layers inside; "
            "call checkpoint(..., use_reentrant=False)"
        )
    for name, parameter in parameters.items():
        if parameter.is_complex():
            raise CoverageError(
                f"parameter '{name}' is complex; keep real and imaginary parts in two real parameters, or freeze it"
            )


def _owners(uses: Sequence[Use], inside: Sequence[int], parameter: nn.Parameter) -> list[int]:
    """Of these calls, those whose layer owns the parameter: directly or, if none does, through a child."""
    direct = [i for i in inside if any(own is parameter for own in uses[i].module._parameters.values())]
    return direct or [i for i in inside if any(own is parameter for own in uses[i].module.parameters())]


def _innermost(uses: Sequence[Use], regions: Sequence[set[Node]], owners: Sequence[int]) -> list[int]:
    """Of these calls, those within which no other one was made.

    Calls that return the same tensor are each within the other: the inner one returned, and was noted, first.
    """

    def is_around(i: int, j: int) -> bool:
        return _is_inside(uses[j], regions[i]) and (i > j or not _is_inside(uses[i], regions[j]))

    return [i for i in owners if not any(is_around(i, j) for j in owners if j != i)]


def _is_inside(use: Use, region: set[Node]) -> bool:
    """Whether a call was made within the call that added this region."""
    return any(edge.node in region for _, edge in use.edges)


def _refuse(name: str) -> NoReturn:
    raise CoverageError(
        f"parameter '{name}' is trainable and reaches the losses outside the recorded calls of its layer, where "
        "clipping does not see it; call the layer instead of using its weight in a function (to tie two layers, set "
        "head.weight = embedding.weight once), return all of its results that the losses use, run the forward pass "
        "inside record(...) or after the Privatizer was made, and anew for every backward, do not modify a layer's "
        "output in place, or freeze the parameter with requires_grad_(False)"
    )


def _refuse_nested(
    uses: Sequence[Use], regions: Sequence[set[Node]], answers: _Answers, names: Mapping[int, str]
) -> None:
    """Refuse a parameter that two nested calls would both differentiate: its gradient would be counted twice."""
    answering: dict[int, list[int]] = defaultdict(list)
    for i, answer in enumerate(answers):
        for key in answer:
            answering[key].append(i)
    for key, several in answering.items():
        if any(_is_inside(uses[j], regions[i]) for i in several for j in several if j != i):
            raise CoverageError(
                f"parameter '{names[key]}' is used by a layer and, inside the same call, by a layer around it; "
                "use it in one of the two only, or freeze it with requires_grad_(False)"
            )


def _refuse_detours(
    nodes: Iterable[Node],
    uses: Sequence[Use],
    regions: Sequence[set[Node]],
    answers: _Answers,
    links: Iterable[tuple[Node, int]],
    names: Mapping[int, str],
) -> None:
    """Refuse what enters a call's part of the graph beside its outputs and leads to a parameter that it answers for."""
    ends: dict[int, list[Node]] = defaultdict(list)
    for node, key in links:
        ends[key].append(node)
    leading: dict[Node, dict[int, list[int]]] = defaultdict(dict)
    for i, answer in enumerate(answers):
        for node, keys in _leading(regions[i], [(end, key) for key in answer for end in ends[key]]).items():
            for key in keys:
                leading[node].setdefault(key, []).append(i)
    outputs = [{(edge.node, edge.output_nr) for _, edge in use.edges} for use in uses]
    for node in nodes:
        for entry in node.next_functions:
            for key, inside in leading.get(cast("Node", entry[0]), {}).items():
                if not any(node in regions[i] or entry in outputs[i] for i in inside):
                    _refuse(names[key])


def _leading(region: set[Node], links: Collection[tuple[Node, int]]) -> dict[Node, set[int]]:
    """The nodes of a region from which edges within it lead to parameters, with the parameters' ids."""
    above: dict[Node, list[Node]] = defaultdict(list)
    for node in region if links else ():
        for child, _ in node.next_functions:
            if child in region:
                above[child].append(node)
    found: dict[Node, set[int]] = defaultdict(set)
    stack = [link for link in links if link[0] in region]
    while stack:
        node, key = stack.pop()
        if key not in found[node]:
            found[node].add(key)
            stack += [(parent, key) for parent in above[node]]
    return found


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
    return reachable([edge.node for _, edge in use.edges], use.boundary)


def reachable(starts: Iterable[Node | None], stops: frozenset[Node] = frozenset()) -> set[Node]:
    """All nodes reachable from the starts without passing through a stop.

    Args:
        starts: where to begin; None and stops are left out.
        stops: nodes to leave out, with what is reachable through them only.

    Returns:
        The nodes, the starts among them.
    """
    stack = [node for node in starts if node is not None and node not in stops]
    seen = set(stack)
    while stack:
        for child, _ in stack.pop().next_functions:
            if child is not None and child not in seen and child not in stops:
                seen.add(child)
                stack.append(child)
    return seen
