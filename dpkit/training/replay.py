"""The general rule: call the layer again, once for each example, and differentiate.

Any layer with a batch dimension is covered: the recorded arguments, positional and by keyword, are cut into examples,
the layer is differentiated on each with the gradients of its outputs, all examples at once by ``vmap`` or, where the
layer does not allow that, one by one. Examples cannot meet here, whatever the layer computes.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.rnn import PackedSequence
from torch.utils._python_dispatch import TorchDispatchMode

from dpkit.errors import CoverageError
from dpkit.training.norms import working_dtype
from dpkit.training.parts import Dense
from dpkit.training.tape import Use, tensors_in

__all__ = ["Axes", "batch_axes", "first_rows", "mixes_rows", "replay", "with_tensors"]

# what may be given to every example alike: nothing that can hold a tensor
_PLAIN = (bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device, torch.memory_format)

_LEAST_RANKS = (
    (nn.Linear, 2),
    (nn.Embedding, 1),
    (nn.InstanceNorm1d, 3),
    (nn.InstanceNorm2d, 4),
    (nn.InstanceNorm3d, 5),
)

_Answer = dict[str, Tensor]
_Outputs = Callable[[_Answer], tuple[Tensor, ...]]
_Pull = Callable[[_Outputs, _Answer, tuple[Tensor, ...]], _Answer]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """The batch axis of every argument tensor (None: shared by all examples) and of every output tensor."""

    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]


class _Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees whether an operation of this thread draws random numbers, on any device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.seen or torch.Tag.nondeterministic_seeded not in function.tags:
            return function(*args, **(kwargs or {}))
        before = _states()  # one that could draw: attention does so with dropout only
        answer = function(*args, **(kwargs or {}))
        self.seen = any(not torch.equal(old, new) for old, new in zip(before, _states(), strict=True))
        return answer


def _states() -> list[Tensor]:
    """The states of torch's global generators."""
    has_devices = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if has_devices else ())]


class _Forward(nn.Module):
    """A layer's ``forward`` without its hooks: the recorded arguments have passed them already."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.forward(*args, **kwargs)


def replay(
    use: Use, signals: Mapping[int, Tensor], wanted: Collection[nn.Parameter], rows: int, *, one_by_one: bool = False
) -> list[Dense]:
    """Gradients of one call for each example.

    Args:
        use: the recorded call.
        signals: gradients of the losses in the outputs, by position among the output tensors.
        wanted: the parameters to answer.
        rows: the number of examples.
        one_by_one: a loop instead of ``vmap``.

    Returns:
        One dense part for each wanted parameter.

    Raises:
        CoverageError: the layer draws random numbers, or its tensors do not have the batch where they should.
    """
    axes = batch_axes(use, rows, signals)
    inner, names = _Forward(use.module), _names(use.module, wanted)
    start = {name: parameter.detach() for name, parameter in inner.named_parameters() if name in names}
    tensors = [tensor.detach() for tensor in tensors_in((use.args, use.kwargs))]
    split = [i for i, axis in enumerate(axes.inputs) if axis is not None]

    def one(pull: _Pull, examples: list[Tensor], gradients: list[Tensor]) -> _Answer:
        given = list(tensors)
        for i, example in zip(split, examples, strict=True):
            given[i] = example.unsqueeze(axes.inputs[i] or 0)

        def outputs(parameters: _Answer) -> tuple[Tensor, ...]:
            args, kwargs = with_tensors((use.args, dict(use.kwargs)), iter(given).__next__)
            with use.casting():
                found = tensors_in(functional_call(inner, parameters, args, kwargs))
            return tuple(found[i] for i in signals)

        backs = zip(signals, gradients, strict=True)
        return pull(outputs, start, tuple(back.unsqueeze(axes.outputs[i]) for i, back in backs))

    examples = [tensors[i].movedim(axes.inputs[i] or 0, 0) for i in split]
    gradients = [signal.movedim(axes.outputs[i], 0) for i, signal in signals.items()]
    formed = _each(use.name, one, examples, gradients, one_by_one=one_by_one)
    use.require_unchanged()  # or the layer itself writes into its input, and was called on what it had written
    return [Dense(names[name], value.to(working_dtype(value))) for name, value in formed.items()]


def batch_axes(use: Use, rows: int, used: Collection[int]) -> Axes:
    """Where the batch stands in a call's tensors; refuses a call in which it is not where it should be.

    Args:
        use: the recorded call.
        rows: the number of examples.
        used: positions of the output tensors that matter.

    Returns:
        The axes, as wide as the call has tensors.

    Raises:
        CoverageError: a tensor has not one row for each example.
    """
    if any(isinstance(value, PackedSequence) for value in (*use.args, *use.kwargs.values())):
        raise CoverageError(
            f"layer '{use.name}' was called on a packed sequence, which has no row for each example; give it the "
            "padded tensor, and read what it returns at each example's last position"
        )
    by_name, by_output = _sequence_axes(use.module)
    names = list(inspect.signature(use.module.forward).parameters) if by_name else [""] * len(use.args)
    named = [*zip(names, use.args, strict=False), *use.kwargs.items()]
    inputs = [(tensor.shape, by_name.get(name, 0)) for name, value in named for tensor in tensors_in(value)]
    axes = tuple(axis if shape else None for shape, axis in inputs)
    outputs = tuple(by_output[i] if i < len(by_output) else 0 for i in range(len(use.outputs)))
    places = [*zip((shape for shape, _ in inputs), axes, strict=True), *((use.outputs[i], outputs[i]) for i in used)]
    if any(by_name.get(name, 0) is None and tensor.dim() > 2 for name, value in named for tensor in tensors_in(value)):
        raise CoverageError(
            f"layer '{use.name}' was called with an attn_mask of three axes, with examples and heads in one, which "
            "cannot be cut into examples; give one of two axes for all of them, and key_padding_mask for each"
        )
    least = _least_rank(use.module)
    for shape, axis in places:
        if len(shape) < least:
            raise CoverageError(
                f"layer '{use.name}' was called without a batch axis, on shape {tuple(shape)}; "
                "give the layer one row for each example"
            )
        if axis is not None and (len(shape) <= axis or shape[axis] != rows):
            raise CoverageError(
                f"layer '{use.name}' was called on a tensor of shape {tuple(shape)}, but axis {axis} must be the batch "
                f"of {rows} examples (one loss each); give the layer one row for each example, expand what examples "
                "share (positions, masks) over the batch, and average the losses of tokens within each example"
            )
    return Axes(axes, outputs)


def first_rows(use: Use, signals: Mapping[int, Tensor], rows: int, count: int) -> tuple[Use, dict[int, Tensor]]:
    """A call as if it had been made on the first few examples only.

    Args:
        use: the recorded call.
        signals: gradients of the losses in the outputs, by position.
        rows: the number of examples.
        count: how many to keep.

    Returns:
        The call with shorter tensors, and its signals.

    Raises:
        CoverageError: as in :func:`replay`.
    """
    axes = batch_axes(use, rows, signals)
    tensors = [tensor.detach() for tensor in tensors_in((use.args, use.kwargs))]
    given = [t if axis is None else t.narrow(axis, 0, count) for t, axis in zip(tensors, axes.inputs, strict=True)]
    args, kwargs = with_tensors((use.args, dict(use.kwargs)), iter(given).__next__)
    cut = {i: signal.narrow(axes.outputs[i], 0, count) for i, signal in signals.items()}
    shapes = tuple(cut[i].shape if i in cut else shape for i, shape in enumerate(use.outputs))
    return replace(use, args=args, kwargs=kwargs, outputs=shapes), cut


def mixes_rows(use: Use, rows: int) -> bool:
    """Whether a layer that is called again gives the first example another output alone than in its batch.

    Answers false where nothing can be told: outputs that are not finite in the batch, layers that draw random numbers.

    Args:
        use: the recorded call.
        rows: the number of examples, >= 2.

    Returns:
        True if the outputs differ by more than rounding (of 16-bit numbers, where the layer answers in them).

    Raises:
        CoverageError: as in :func:`replay`.
    """
    axes = batch_axes(use, rows, [i for i, _ in use.edges])
    tensors = [tensor.detach() for tensor in tensors_in((use.args, use.kwargs))]
    alone = [t if axis is None else t.narrow(axis, 0, 1) for t, axis in zip(tensors, axes.inputs, strict=True)]
    before = torch.get_rng_state()
    answers = []
    with torch.no_grad(), use.casting(), _Draws() as draws:
        for given in (alone, tensors):
            args, kwargs = with_tensors((use.args, dict(use.kwargs)), iter(given).__next__)
            answers.append(tensors_in(use.module.forward(*args, **kwargs)))
    use.require_unchanged()
    if draws.seen:
        torch.set_rng_state(before)
        return False
    return any(_differ(answers[1][i], answers[0][i], axes.outputs[i]) for i, _ in use.edges)


def _differ(batch: Tensor, alone: Tensor, axis: int) -> bool:
    """Whether the first row of an answer differs from that row alone by more than rounding."""
    batched = batch.narrow(axis, 0, 1)
    if batched.shape != alone.shape:
        return True
    share = 5e-2 if torch.finfo(alone.dtype).bits == 16 else 1e-3
    size, gap = (x.double().norm() for x in (batched, batched.double() - alone.double()))
    return bool(torch.isfinite(size)) and not bool(
        gap <= share * size + 1e-5 * batch.double().nan_to_num(0, 0, 0).norm()
    )


def _sequence_axes(module: nn.Module) -> tuple[dict[str, int | None], list[int]]:
    """Batch axes by argument name and by output of torch's layers that keep time first; empty for all others."""
    if isinstance(module, nn.RNNBase):
        time = 0 if module.batch_first else 1
        return {"input": time, "hx": 1}, [time, 1, 1]
    if isinstance(module, nn.MultiheadAttention):
        time = 0 if module.batch_first else 1
        return {"query": time, "key": time, "value": time, "attn_mask": None}, [time, 0]
    return {}, []


def _least_rank(module: nn.Module) -> int:
    """The fewest axes of a batch, for layers that also take a single example: there, no axis can be told to be it."""
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return len(module.normalized_shape) + 1
    if isinstance(module, _ConvNd):
        return len(module.kernel_size) + 2
    return next((rank for kind, rank in _LEAST_RANKS if isinstance(module, kind)), 0)


def _names(module: nn.Module, wanted: Collection[nn.Parameter]) -> dict[str, nn.Parameter]:
    """Names under :class:`_Forward` of the wanted parameters."""
    chosen = {id(parameter) for parameter in wanted}
    return {f"layer.{name}": value for name, value in module.named_parameters() if id(value) in chosen}


def with_tensors(tree: Any, take: Callable[[], Tensor]) -> Any:
    """The same nested structure with its tensors, in order, replaced by those that ``take`` gives."""
    if isinstance(tree, Tensor):
        return take()
    if isinstance(tree, dict):
        return {key: with_tensors(value, take) for key, value in tree.items()}
    if type(tree) in (tuple, list):
        return type(tree)(with_tensors(value, take) for value in tree)
    if tree is not None and not isinstance(tree, _PLAIN):
        raise CoverageError(
            f"an argument of type {type(tree).__name__} cannot be cut into examples, and it may hold several of them; "
            "give the layer tensors, in tuples, lists or dicts, and plain numbers"
        )
    return tree


def _pull_functional(outputs: _Outputs, start: _Answer, backs: tuple[Tensor, ...]) -> _Answer:
    """Gradients of outputs in parameters, in the way that ``vmap`` can batch."""
    values, pull = vjp(outputs, start)[:2]
    return dict(pull(tuple(back.to(value.dtype) for back, value in zip(backs, values, strict=True)))[0])


def _pull_plain(outputs: _Outputs, start: _Answer, backs: tuple[Tensor, ...]) -> _Answer:
    """The same by ordinary autograd, which every layer supports."""
    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    with torch.enable_grad():
        values = outputs(leaves)
    wanted = [(value, back.to(value.dtype)) for value, back in zip(values, backs, strict=True) if value.requires_grad]
    if not wanted:
        return {name: torch.zeros_like(value) for name, value in start.items()}
    heads, signals = zip(*wanted, strict=True)
    found = torch.autograd.grad(heads, list(leaves.values()), signals, allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def _each(
    name: str,
    one: Callable[[_Pull, list[Tensor], list[Tensor]], _Answer],
    examples: list[Tensor],
    gradients: list[Tensor],
    *,
    one_by_one: bool,
) -> _Answer:
    """Apply to every example: all at once if the layer allows it, else in turn."""
    if not one_by_one:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a missing batching rule is slow, not wrong
                return dict(vmap(partial(one, _pull_functional), randomness="error")(examples, gradients))
        except RuntimeError:  # torch's only sign that a layer cannot be batched; the loop below decides
            pass
    before, answers = torch.get_rng_state(), list[_Answer]()
    with _Draws() as draws:  # in the first call: what draws for one example draws for all
        answers.append(one(_pull_plain, [x[0] for x in examples], [g[0] for g in gradients]))
    if draws.seen:
        torch.set_rng_state(before)
        raise CoverageError(
            f"layer '{name}' draws random numbers in its forward pass (dropout?), so it cannot be called again with "
            "the same outcome; set its dropout to 0, or move its own parameters into a layer that does not contain it"
        )
    for i in range(1, len(gradients[0])):
        answers.append(one(_pull_plain, [x[i] for x in examples], [g[i] for g in gradients]))
    return {key: torch.stack([answer[key] for answer in answers]) for key in answers[0]}
