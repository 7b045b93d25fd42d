"""Ways to a clipped sum of gradients: ours, Opacus's modes, and for comparison the plain gradient.

A step is forward pass, backward pass and clipped sum, without noise and without the step of an optimizer. Opacus's
modes are what its ``PrivacyEngine.make_private`` builds, on a copy of the model, in which layers that Opacus does not
take are replaced by its own (the one for torch's attention computes something else where the batch comes first, in
Opacus 1.6.0: sums are compared before times). The norm is that of all parameters together.
"""

import copy
import importlib.metadata
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from opacus import grad_sample
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.optimizers.optimizer import _generate_noise
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from opacus.validators import ModuleValidator
from torch import nn
from torch.nn import functional

from dpkit.clip import FlatClip
from dpkit.training import record
from dpkit.training.sums import clip_and_count

BOUND = 1.0
OPACUS = f"Opacus {importlib.metadata.version('opacus')}"


@dataclass(frozen=True)
class Side:
    """One way: ``step(case)`` is what is measured, on any batch of the case, and gives the sums of all parameters."""

    name: str
    step: Callable


def plain(case):
    """The gradient of the mean loss, without clipping."""
    parameters = list(case.model.parameters())
    return Side("plain forward + backward", lambda case: torch.autograd.grad(case.losses().mean(), parameters))


def ours(case):
    """The same pass recorded, and the clipped sum of it."""

    def step(case):
        with record(case.model) as tape:
            losses = case.losses()
        return list(clip_and_count(tape, losses, FlatClip(BOUND), clear=True)[0].value.values())  # as a Privatizer does

    return Side("ours", step)


def hooks(case):
    """Opacus's default: hooks form the gradients of all examples."""
    return _forming("hooks", *_private(case, grad_sample.GradSampleModule))


def functorch(case):
    """The same with torch.func in every layer."""
    return _forming("functorch", *_private(case, grad_sample.GradSampleModule, force_functorch=True))


def expanded_weights(case):
    """Torch's own expanded weights."""
    return _forming("ew", *_private(case, grad_sample.GradSampleModuleExpandedWeights))


def ghost(case):
    """Norms without forming gradients where Opacus can, then a second backward pass of the weighted losses."""
    return _two_passes("ghost", case, use_ghost_clipping=True)


def fast_gradient_clipping(case):
    """Two passes as well, with the gradients of one layer at a time formed for their norms."""
    return _two_passes("fast gradient clipping", case, use_ghost_clipping=False)


def whole_model(case):
    """Opacus's mode "no_op", in which the user brings the gradients: by vmap over the whole model."""
    model, optimizer = _private(case, grad_sample.GradSampleModuleNoOp, fix=copy.deepcopy)
    inner = model._module

    def loss(parameters, example, label):
        logits = torch.func.functional_call(inner, parameters, (example.unsqueeze(0),))
        return functional.cross_entropy(logits, label.unsqueeze(0))

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))

    def step(case):
        optimizer.zero_grad(set_to_none=True)
        start = {name: value.detach() for name, value in inner.named_parameters()}
        formed = gradients(start, case.inputs, case.labels)
        for name, value in inner.named_parameters():
            value.grad_sample = formed[name]
        return _clipped(optimizer)

    return Side(f"{OPACUS}, no_op with vmap", step)


MODES = (hooks, functorch, expanded_weights, ghost, fast_gradient_clipping, whole_model)


def secure_mode_noise(count):
    """Opacus's noise for secure mode, the sum of four draws, from torch's default generator: its own needs csprng."""
    return _generate_noise(1.0, torch.zeros(count), None, secure_mode=True)


def alike(sums, others):
    """Whether two clipped sums have the same norm, to a thousandth: the parameters of one may be cut in two."""
    ours, theirs = (float(torch.stack([value.norm() for value in values]).norm()) for values in (sums, others))
    return abs(ours - theirs) <= 1e-3 * ours


def _forming(mode, model, optimizer):
    """A mode after whose backward pass every parameter has its ``grad_sample``."""

    def step(case):
        optimizer.zero_grad(set_to_none=True)
        case.losses(model).sum().backward()
        return _clipped(optimizer)

    return Side(f"{OPACUS}, {mode}", step)


def _two_passes(mode, case, **options):
    """A mode whose criterion runs both passes in its ``backward``."""
    wrapper, kind = grad_sample.GradSampleModuleFastGradientClipping, DPOptimizerFastGradientClipping
    model, optimizer = _private(case, wrapper, kind, max_grad_norm=BOUND, **options)
    criterion = DPLossFastGradientClipping(model, optimizer, nn.CrossEntropyLoss(reduction="sum"), "sum")

    def step(case):
        optimizer.zero_grad(set_to_none=True)
        criterion(model(case.inputs), case.labels).backward()
        return [parameter.grad for parameter in optimizer.params]

    return Side(f"{OPACUS}, {mode}", step)


def _private(case, wrapper, kind=DPOptimizer, fix=ModuleValidator.fix, **options):
    """A copy of the model and an optimizer, as make_private wraps them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = wrapper(fix(copy.deepcopy(case.model)).train(), loss_reduction="sum", **options)
    settings = {"noise_multiplier": 1.0, "max_grad_norm": BOUND, "expected_batch_size": len(case.labels)}
    return model, kind(torch.optim.SGD(model.parameters(), lr=0.0), loss_reduction="sum", **settings)


def _clipped(optimizer):
    """The clipped sums of all parameters that have a ``grad_sample``."""
    optimizer.clip_and_accumulate()
    return [parameter.summed_grad for parameter in optimizer.params]
