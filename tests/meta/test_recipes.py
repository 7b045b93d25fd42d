"""What the pages about training claim beyond running: three lines, an unbiased moment, examples in frameworks."""

import difflib
import importlib.util
import io
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from dpkit import BandedNoise, FlatClip
from dpkit.batches import PoissonBatches
from dpkit.entropy import seeded
from dpkit.training import Privatizer

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = {"huggingface_trainer": ("transformers", "accelerate"), "lightning_module": ("lightning",)}


def _block(page, opening):
    """The one block of a page that begins so, and the line above it."""
    text = (ROOT / "docs" / page).read_text()
    fences = re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (found,) = [fence for fence in fences if fence[1].startswith(opening)]
    return text[: found.start()].splitlines()[-1], found[1]


def _loops():
    _, plain = _block("training.md", "for rows in batches:")
    above, private = _block("training.md", "for rows in private:\n    losses = cross_entropy(")
    return plain, private, above


def test_three_lines_make_a_loop_private():
    plain, private, above = _loops()
    steps = difflib.SequenceMatcher(a=plain.splitlines(), b=private.splitlines(), autojunk=False).get_opcodes()
    new = [line + 1 for tag, _, _, start, end in steps if tag != "equal" for line in range(start, end)]
    gone = [line for tag, start, end, _, _ in steps if tag != "equal" for line in range(start, end)]
    assert len(new) == 3 >= len(gone)
    assert above == f'{{emphasize-lines="{",".join(str(line) for line in new)}"}}'


def test_without_clipping_and_noise_both_loops_train_the_same_model():
    plain, private, _ = _loops()
    trained = []
    for code in (plain, private):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        plan = PoissonBatches(30, 1.0, steps=20)  # every record in every batch
        names = {
            "model": model,
            "inputs": torch.randn(30, 4),
            "labels": torch.randint(2, (30,)),
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.5),
            "cross_entropy": cross_entropy,
            "batches": [torch.arange(30)] * 20,
            "private": Privatizer(
                model, clip=FlatClip(100.0), noise_multiplier=1e-9, expected_batch_size=30, sampling=plan
            ),
        }
        exec(compile(code, "training.md", "exec"), names)  # noqa: S102 - this project's own page
        names["private"].close()
        trained.append(torch.cat([value.detach().flatten() for value in model.parameters()]))
    assert torch.allclose(*trained, atol=1e-5)
    torch.manual_seed(3)
    fresh = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    assert (torch.cat([value.detach().flatten() for value in fresh.parameters()]) - trained[0]).abs().max() > 0.1


def _unbiased_adam():
    names = {"torch": torch}
    exec(_block("recipes.md", "class UnbiasedAdam")[1], names)  # noqa: S102 - this project's own page
    return names["UnbiasedAdam"]


@pytest.mark.parametrize("noise", [0.1, lambda step: 0.05 + 0.01 * step], ids=["constant", "schedule"])
def test_the_corrected_second_moment_is_the_clean_one(noise):
    """All gradients are g, so the moment is a weighted sum over steps i and coordinates of (g + s_i Z)².

    Its distance from g² is Gaussian plus centred chi-square, w_i (2 g s_i Z + s_i² (Z² - 1)); the tail of the latter is
    that of Laurent & Massart 2000, Lemma 1. The noise may be larger by 2**-17, which pays for the lattice.
    """
    coordinates, steps, second, gradient, tail = 4000, 30, 0.9, 0.5 / 4000**0.5, math.log(4e9)  # alpha = 1e-9, 4 parts
    layer = nn.Linear(coordinates, 1, bias=False)
    with Privatizer(
        layer, clip=FlatClip(1.0), noise_multiplier=noise, expected_batch_size=4, entropy=seeded(11)
    ) as private:
        optimizer = _unbiased_adam()(layer.parameters(), private, lr=0.0, betas=(0.5, second), floor=1e-12)
        spread = []
        for _ in range(steps):
            private.backward(layer(torch.full((4, coordinates), gradient)).squeeze(1))
            private.release()
            optimizer.step()
            spread.append(private.noise_stddev)
    state, faded = optimizer.state[layer.weight], 1 - second**steps
    weights = [(1 - second) * second ** (steps - 1 - step) / faded for step in range(steps)]
    squares = [weight * s**2 for weight, s in zip(weights, spread, strict=True)]
    normal = 2 * gradient * math.sqrt(sum(w**2 * s**2 for w, s in zip(weights, spread, strict=True)) * 2 * tail)
    chi = 2 * math.sqrt(sum(a**2 for a in squares) * tail) + 2 * max(squares) * tail / math.sqrt(coordinates)
    room = (normal + chi) / math.sqrt(coordinates) + sum(squares) * 2.0**-15 + gradient**2 * 2.0**-15
    plain, corrected = (float(value.mean()) / faded for value in (state["square"], state["square"] - state["noise"]))
    assert abs(corrected - gradient**2) <= room
    assert plain - gradient**2 > sum(squares) - room > 5 * room


def test_without_noise_it_is_adam():
    models = [nn.Linear(5, 1) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    inputs = torch.randn(6, 5, generator=torch.Generator().manual_seed(4))
    with Privatizer(models[0], clip=FlatClip(1e3), noise_multiplier=1e-12, expected_batch_size=6) as private:
        ours = _unbiased_adam()(models[0].parameters(), private, lr=0.1, betas=(0.8, 0.9), floor=1e-20)
        theirs = torch.optim.Adam(models[1].parameters(), lr=0.1, betas=(0.8, 0.9), eps=1e-10)
        for _ in range(10):
            private.backward((models[0](inputs).squeeze(1) - 1).square())
            private.release()
            ours.step()
            theirs.zero_grad()
            (models[1](inputs).squeeze(1) - 1).square().mean().backward()
            theirs.step()
    assert torch.allclose(models[0].weight, models[1].weight, atol=1e-4)


@pytest.mark.parametrize("stream", [False, True])
def test_checkpoints_are_loaded_as_weights_only(stream):
    """As torch does unless it is told otherwise: numbers and text, and nothing that runs code."""
    key = bytes(32) if stream else None

    def make():
        layer = nn.Linear(3, 1)
        noise = BandedNoise(dict(layer.named_parameters()), noise_multiplier=1.0, bound=1.0, steps=4, bands=2)
        choice = {"noise": noise} if stream else {"noise_multiplier": 1.0}
        return Privatizer(layer, clip=FlatClip(1.0), expected_batch_size=4, **choice)

    file, private = io.BytesIO(), make()
    private.release()
    torch.save(private.state_dict(key), file)
    file.seek(0)
    again = make()
    again.load_state_dict(torch.load(file, weights_only=True), key)
    assert again.state_dict(key)["steps"] == 1


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_examples_in_frameworks_run(name):
    if any(importlib.util.find_spec(module) is None for module in FRAMEWORKS[name]):
        pytest.skip("not installed")
    path = ROOT / "docs" / "examples" / "frameworks" / f"{name}.py"
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    result = subprocess.run([sys.executable, str(path)], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "differentially private" in result.stdout


def test_the_pages_show_the_framework_examples():
    page = (ROOT / "docs" / "recipes.md").read_text()
    files = {path.stem for path in (ROOT / "docs" / "examples" / "frameworks").glob("*.py")}
    assert files == set(FRAMEWORKS)
    for name in files:
        assert f"{{literalinclude}} examples/frameworks/{name}.py" in page
        assert "    assert " in (ROOT / "docs" / "examples" / "frameworks" / f"{name}.py").read_text()
