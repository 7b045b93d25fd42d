"""The tape: which layers were called, on what, and where their outputs stand in the autograd graph.

A recorded model is not touched: no attribute, parameter or hook of it changes, so ``state_dict``, pickling and
``copy.deepcopy`` see the model they would see without us. One global forward hook looks every called module up in the
tape and notes the call when gradients are on.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from dpkit.errors import CoverageError, ParameterError

__all__ = ["Tape", "Use", "record", "tensors_in"]

_COMPUTING_HOOKS = (WeightNorm, SpectralNorm, BasePruningMethod)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """One call of one layer.

    Attributes:
        name: the layer's name in the recorded model.
        module: the layer.
        args: the call's positional arguments.
        kwargs: the call's keyword arguments.
        versions: version counters of the argument tensors, to see a later in-place change.
        boundary: graph nodes of the argument tensors: where the layer's part of the graph ends.
        outputs: the shapes of all output tensors, in order.
        edges: (position among the outputs, gradient edge) of every output tensor that carries gradients.
        device: the type of the device of the outputs.
        autocast: the type that the call was autocast to, or None.
    """

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    versions: tuple[int, ...]
    boundary: frozenset[Node]
    outputs: tuple[torch.Size, ...]
    edges: tuple[tuple[int, GradientEdge], ...]
    device: str
    autocast: torch.dtype | None

    def casting(self) -> torch.autocast:
        """The autocast of the call, for calling the layer again; whatever is on where that happens."""
        return torch.autocast(self.device, dtype=self.autocast, enabled=self.autocast is not None, cache_enabled=False)

    def require_unchanged(self) -> None:
        """Refuse a call whose argument tensors were modified in place after it."""
        if self.versions != _changes(tensors_in((self.args, self.kwargs))):
            raise CoverageError(
                f"the input of layer '{self.name}' was modified in place after the layer read it, so its gradient "
                "can no longer be computed; replace the in-place operation by one that returns a new tensor"
            )


@final
class Tape:
    """The calls of a model's layers since recording began or since ``clear``.

    Made by :func:`record`. Layers are those that directly own a trainable parameter at the time of the call, so
    freezing and unfreezing between steps just works. A forward pass under ``torch.no_grad`` leaves no trace, but layers
    in training mode that compute statistics over the batch are refused there too.
    """

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            raise ParameterError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        _refuse_compiled(model)
        self.model = model
        self.uses: list[Use] = []
        self._names = {module: name or type(module).__name__ for name, module in model.named_modules()}
        self._paused = False
        self._held: dict[nn.Module, list[tuple[Tensor, int]]] = {}
        self._finalizer = weakref.finalize(self, _remove, _install(weakref.ref(self)))

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop recording. What was recorded stays; closing twice is harmless."""
        self._finalizer()

    def clear(self) -> None:
        """Forget what was recorded."""
        self.uses.clear()

    def parameters(self) -> dict[str, nn.Parameter]:
        """The model's trainable parameters by name; a tied one appears once, under its first name."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Record nothing inside: layers are called again to differentiate them."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    @contextlib.contextmanager
    def gradients_kept(self) -> Iterator[None]:
        """Refuse backward passes that write gradients themselves, and leave none of them.

        A function whose own backward pass calls ``backward()`` adds raw gradients to ``p.grad``, where neither the
        graph nor clipping sees them.

        Raises:
            CoverageError: a parameter's ``grad`` was written inside; it is None now.
        """
        before = {name: _gradient(parameter) for name, parameter in self.parameters().items()}
        written: list[str] = []
        try:
            yield
        finally:
            for name, parameter in self.parameters().items():
                if (now := _gradient(parameter)) is not None and now != before.get(name):
                    written.append(name)
                    parameter.grad = None
        if written:
            raise CoverageError(
                f"the backward pass wrote a gradient of parameter '{written[0]}' that was never clipped; it is "
                "removed. Some function calls backward() inside its own backward pass (reversible layers, other "
                "libraries' checkpoints): use torch.utils.checkpoint.checkpoint(..., use_reentrant=False) instead"
            )

    def watch(self, module: nn.Module) -> None:
        """Before a call: refuse layers that mix examples or write them down, and remember what the layer holds."""
        if self._paused or module not in self._names:
            return
        _refuse_batch_statistics(self._names[module], module)  # a frozen backbone under no_grad mixes all the same
        _refuse_table(self._names[module], module)
        if torch.is_grad_enabled() and _owns_trainable(module):
            _refuse_hooked_weights(self._names[module], module)
        self._held[module] = _versions(module)

    def note(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: object) -> None:
        """Record one call, unless it cannot matter to any gradient."""
        if self._paused or module not in self._names:
            return
        self._refuse_writes(module)
        if not torch.is_grad_enabled() or not _owns_trainable(module):
            return
        outputs = tensors_in(output)
        edges = _edges(outputs)
        if not edges:
            return
        inputs = tensors_in((args, kwargs))
        device = outputs[edges[0][0]].device.type
        self.uses.append(
            Use(
                name=self._names[module],
                module=module,
                args=args,
                kwargs=dict(kwargs),
                versions=_changes(inputs),
                boundary=frozenset(tensor.grad_fn for tensor in inputs if tensor.grad_fn is not None),
                outputs=tuple(tensor.shape for tensor in outputs),
                edges=edges,
                device=device,
                autocast=torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None,
            )
        )

    def _refuse_writes(self, module: nn.Module) -> None:
        """Refuse a layer whose call changed its parameters or buffers: they leave with the model, without noise."""
        before = self._held.pop(module, None)
        if before is None or "parametrizations" in self._names[module].split("."):  # those see weights, not data
            return
        now = _versions(module)
        if len(now) != len(before) or any(a is not b or v != w for (a, v), (b, w) in zip(before, now, strict=True)):
            raise CoverageError(
                f"layer '{self._names[module]}' ({type(module).__name__}) changed its own parameters or buffers while "
                "it was called on data, and they leave with the model without noise; let forward() write nothing, put "
                "the layer in eval() mode, or make the Privatizer after lazy layers were initialised"
            )


def record(model: nn.Module) -> Tape:
    r"""Record the calls of a model's layers, for :func:`clipped_sum`.

    Used as a context manager around the forward pass; the model itself, its ``state_dict``, its hooks and its pickle
    are not changed. Several models, or one model several times, may be recorded at once.

    Args:
        model: any module tree. Layers that mix the examples of a batch (batch normalisation in training mode) are
            refused when they are called, and so are layers that write parameters or buffers of their own.

    Returns:
        The tape. Leaving the ``with`` block, or ``close()``, ends the recording and keeps what was recorded.

    Raises:
        ParameterError: ``model`` is not a module, or it is compiled.
        CoverageError: raised by the model's forward pass if a layer mixes examples.

    Example:
        >>> import torch
        >>> from dpkit.training import record
        >>> model = torch.nn.Linear(3, 2)
        >>> with record(model) as tape:
        ...     losses = model(torch.ones(4, 3)).square().sum(1)
        >>> [use.name for use in tape.uses]
        ['Linear']
    """
    return Tape(model)


def tensors_in(tree: object) -> list[Tensor]:
    """The tensors of nested tuples, lists and dicts, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        return [tensor for value in tree.values() for tensor in tensors_in(value)]
    if isinstance(tree, (tuple, list)):
        return [tensor for value in tree for tensor in tensors_in(value)]
    return []


def _changes(tensors: list[Tensor]) -> tuple[int, ...]:
    """How often each tensor was changed in place; torch does not count it for those made in inference mode."""
    return tuple(0 if tensor.is_inference() else tensor._version for tensor in tensors)


def _install(reference: weakref.ref[Tape]) -> tuple[torch.utils.hooks.RemovableHandle, ...]:
    """Register the global hooks; they hold the tape weakly, so that a forgotten tape is collected and unhooked."""

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        tape = reference()
        if tape is not None:
            tape.watch(module)

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: object) -> None:
        tape = reference()
        if tape is not None:
            tape.note(module, args, kwargs, output)

    return register_module_forward_pre_hook(before), register_module_forward_hook(hook, with_kwargs=True)


def _remove(handles: tuple[torch.utils.hooks.RemovableHandle, ...]) -> None:
    """Unregister the hooks."""
    for handle in handles:
        handle.remove()


def _gradient(parameter: nn.Parameter) -> tuple[int, int] | None:
    """Which tensor a parameter's gradient is, and how often it was changed in place."""
    return None if parameter.grad is None else (id(parameter.grad), parameter.grad._version)


def _versions(module: nn.Module) -> list[tuple[Tensor, int]]:
    """The parameters and buffers that a module holds itself, with torch's counters of in-place changes."""
    held = (*module._parameters.values(), *module._buffers.values())
    return [(value, value._version) for value in held if value is not None and not value.is_inference()]


def _edges(outputs: list[Tensor]) -> tuple[tuple[int, GradientEdge], ...]:
    """Edges of the outputs that carry gradients, by position; a tensor that is returned twice has one."""
    found: dict[tuple[Node, int], tuple[int, GradientEdge]] = {}
    for i, tensor in enumerate(outputs):
        if tensor.requires_grad:
            edge = _edge(tensor)
            found.setdefault((edge.node, edge.output_nr), (i, edge))
    return tuple(found.values())


def _edge(output: Tensor) -> GradientEdge:
    """Where the gradient of an output arrives, even if the output is modified in place later (``ReLU(inplace=True)``).

    Autograd rewrites the history of a view when it is modified, so for a mere reshape of another tensor, which is what
    linear layers return for more than two axes, the gradient of that tensor is taken: the same numbers in its shape.
    """
    base = output._base
    if base is None or not base.requires_grad or base.dtype != output.dtype or base.numel() != output.numel():
        return get_gradient_edge(output)
    return get_gradient_edge(base if base.is_contiguous() and output.is_contiguous() else output)


def _owns_trainable(module: nn.Module) -> bool:
    """Whether a call of this module is to be recorded: it owns a trainable parameter, itself or by parametrization."""
    if isinstance(module, ParametrizationList):
        return False  # called while its layer computes a weight: the layer answers for it
    if is_parametrized(module) or isinstance(module, nn.MultiheadAttention):  # it reads its out_proj without a call
        return any(parameter.requires_grad for parameter in module.parameters())
    # lists and dicts of parameters are never called: whoever holds them is
    lists = (child for child in module.children() if isinstance(child, nn.ParameterList | nn.ParameterDict))
    own = (value for holder in (module, *lists) for value in holder._parameters.values())
    return any(value is not None and value.requires_grad for value in own)


def _refuse_compiled(model: nn.Module) -> None:
    """Refuse modules whose compiled code calls their layers without hooks."""
    for name, module in model.named_modules():
        if type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None:
            raise ParameterError(
                f"model must not be compiled, got {name or 'one'} that is: compiled code hides the calls of layers;"
                " give the plain module (module._orig_mod), and compile functions without parameters only"
            )


def _refuse_batch_statistics(name: str, module: nn.Module) -> None:
    """Refuse normalisation layers through which one example changes the others, or the model's buffers."""
    if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
        raise CoverageError(
            f"layer '{name}' ({type(module).__name__}) computes statistics over the batch, so every example changes "
            "the gradients of all others and clipping bounds nothing; replace it by GroupNorm or LayerNorm, or put it "
            "in eval() mode with public running statistics"
        )
    if isinstance(module, _InstanceNorm) and module.training and module.track_running_stats:
        raise CoverageError(
            f"layer '{name}' ({type(module).__name__}) writes statistics of the data into the model's buffers, which "
            "are released with the model without noise; construct it with track_running_stats=False"
        )


def _refuse_table(name: str, module: nn.Module) -> None:
    """Refuse embeddings that write, or whose gradient has another form."""
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        for option in ("max_norm", "scale_grad_by_freq", "sparse"):
            if getattr(module, option) not in (None, False):
                raise CoverageError(
                    f"layer '{name}' ({type(module).__name__}) has {option}: it changes rows because they are in the "
                    f"batch, or gives gradients that cannot be clipped; construct it without {option}"
                )


def _refuse_hooked_weights(name: str, module: nn.Module) -> None:
    """Refuse layers whose weight a hook computes from other parameters: calling them again would not compute it."""
    if any(isinstance(hook, _COMPUTING_HOOKS) for hook in module._forward_pre_hooks.values()):
        raise CoverageError(
            f"layer '{name}' ({type(module).__name__}) computes its weight in a hook, where clipping does not see it; "
            "use torch.nn.utils.parametrizations.weight_norm or spectral_norm instead of torch.nn.utils', and a "
            "parametrization, or prune.remove, instead of a pruned weight"
        )
