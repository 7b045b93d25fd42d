"""One party's part: the clipped sum is the one of the loop oracle, and the model is left alone."""

import numpy as np
import torch
from torch.nn import functional

from dpkit.clip import FlatClip
from dpkit.demo.data import synthetic_digits
from dpkit.demo.model import Party, accuracy, apply_mean, build_model, parameter_count


def _party(records=6):
    digits = synthetic_digits(train=records, test=1)
    return Party(digits.train_images, digits.train_labels), digits


def test_clipped_gradients_are_those_of_a_loop():
    party, digits = _party()
    model = build_model(seed=1)
    clip = 0.5
    total = party.clipped_gradients(model, np.arange(6), FlatClip(clip))
    oracle = dict.fromkeys(total.value, 0.0)
    for row in range(6):
        image = torch.from_numpy(digits.train_images[row : row + 1])
        loss = functional.cross_entropy(model(image), torch.from_numpy(digits.train_labels[row : row + 1]))
        gradients = dict(zip(oracle, torch.autograd.grad(loss, list(model.parameters())), strict=True))
        norm = torch.sqrt(sum(gradient.double().square().sum() for gradient in gradients.values()))
        for name, gradient in gradients.items():
            oracle[name] = oracle[name] + gradient.double() * min(1.0, clip / float(norm))
    assert total.bound == clip
    for name, gradient in oracle.items():
        # float32 sums of up to 169 positions and six examples: 2^-24 a step, relative to the clip
        assert float((total.value[name].double() - gradient).abs().max()) < 1e-5 * clip, name
    assert all(parameter.grad is None for parameter in model.parameters())


def test_empty_batch_sums_to_zero():
    party, _ = _party()
    total = party.clipped_gradients(build_model(seed=0), np.array([], dtype=np.int64), FlatClip(1.0))
    assert all(not tensor.any() for tensor in total.value.values())


def test_model_is_the_published_size_and_repeatable():
    state = torch.random.get_rng_state()
    first, second = build_model(seed=3), build_model(seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert parameter_count(first) == 26_010
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_apply_mean_steps_along_the_mean():
    model = build_model(seed=0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    mean = {name: np.ones(tuple(parameter.shape)) for name, parameter in model.named_parameters()}
    apply_mean(model, torch.optim.SGD(model.parameters(), lr=0.25), mean)
    assert all(torch.equal(parameter, before[name] - 0.25) for name, parameter in model.named_parameters())


def test_accuracy_counts():
    model = build_model(seed=0)
    digits = synthetic_digits(train=1, test=40)
    predicted = model(torch.from_numpy(digits.test_images)).argmax(dim=1).numpy()
    assert accuracy(model, digits.test_images, predicted) == 1.0
    assert accuracy(model, digits.test_images, (predicted + 1) % 10) == 0.0
