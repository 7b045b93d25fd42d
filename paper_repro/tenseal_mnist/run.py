"""A small network, trained in the clear, that then reads encrypted images with TenSEAL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast, final

import numpy as np
import torch
from torch import Tensor, nn

from dpkit.demo.data import Digits
from paper_repro.results import Ours, Progress
from paper_repro.spec import Cell
from paper_repro.training import DATA, mnist

__all__ = ["DATA", "draw", "run"]

IMAGES, EPOCHS, BATCH, RATE = 50, 10, 64, 1e-3

SCALE_BITS, ENDS = 26, 31
"""Of the six moduli in the middle and of the scale; of the first and the last."""

KERNEL, STRIDE = 7, 3

KB = 1000
"""The tutorial's: in KB of 1024 bytes its sizes would be 2 % larger than any that we see."""

PANELS = {
    "images of 10 000 read right": ("plain", "encrypted"),
    "KB": ("input", "output"),
    "seconds an image": ("seconds",),
}


@final
class Network(nn.Module):
    """Four kernels of 7 x 7 in steps of 3, and two dense layers; squares between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, KERNEL, stride=STRIDE)
        self.hidden, self.out = nn.Linear(256, 64), nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Ten numbers for each image."""
        answer: Tensor = self.out(self.hidden(self.conv(images).square().flatten(1)).square())
        return answer


def run(cells: Sequence[Cell], *, smoke: bool, seed: int, progress: Progress) -> dict[str, Ours]:
    """All cells; a short run trains on 600 images and reads one."""
    tenseal = _tenseal()
    images = 1 if smoke else IMAGES
    steps = images + 1
    digits = mnist(smoke=smoke)
    network = _trained(digits, seed)
    progress(1, steps, "trained")
    with torch.no_grad():
        plain = network(torch.from_numpy(digits.test_images)).argmax(1).numpy()
    context, started = _context(tenseal), time.perf_counter()
    decided, sizes = [], (0, 0)
    for place in range(images):
        answer, sizes = _read(tenseal, context, network, digits.test_images[place, 0])
        decided.append(int(np.argmax(answer)))
        progress(place + 2, steps, f"image {place + 1}")
    seconds = (time.perf_counter() - started) / images
    labels = digits.test_labels
    right, right_plain = (float((found == labels[:images]).mean()) for found in (np.array(decided), plain[:images]))
    found = {
        "plain": float((plain == labels).sum()),
        "encrypted": 10_000 * right,
        "lost": 100 * (right_plain - right),
        "same": 100 * float((np.array(decided) == plain[:images]).mean()),
        "input": sizes[0] / KB,
        "output": sizes[1] / KB,
        "seconds": seconds,
    }
    return {name: Ours(value, note=digits.name if name == "plain" else "") for name, value in found.items()}


def draw(figure: Any, cells: Sequence[Cell], found: dict[str, Ours]) -> None:
    """What the tutorial printed over what we get; in one panel what has one unit."""
    published = {cell.id: float(cell.published) for cell in cells if cell.published is not None}
    for axes, (word, names) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        axes.plot(names, [found[name].value for name in names], "o", color="tab:blue", label="ours")
        axes.plot(names, [published[name] for name in names], "kx", label="published")
        axes.set_ylabel(word)
        axes.margins(x=0.4)
        axes.legend(loc="best")
    figure.axes[0].set(ylim=(9000, 10_050), xlabel="ours encrypted: 50 images")
    for axes in figure.axes[1:]:
        axes.set_ylim(bottom=0)


def _tenseal() -> Any:
    """TenSEAL."""
    try:
        import tenseal
    except ModuleNotFoundError:
        raise ModuleNotFoundError("tenseal_mnist needs TenSEAL: pip install tenseal") from None
    return tenseal


def _trained(digits: Digits, seed: int) -> Network:
    """The tutorial's training: Adam, ten epochs of shuffled batches."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network()
        optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
        images = torch.from_numpy(digits.train_images)
        labels = torch.from_numpy(digits.train_labels)
        for _ in range(EPOCHS):
            for batch in torch.split(torch.randperm(len(labels)), BATCH):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return network.eval()


def _context(tenseal: Any) -> Any:
    """Fresh keys, with those that rotate."""
    bits = [ENDS, *[SCALE_BITS] * 6, ENDS]
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 8192, coeff_mod_bit_sizes=bits)
    context.global_scale = 2**SCALE_BITS
    context.generate_galois_keys()
    return context


def _read(tenseal: Any, context: Any, network: Network, image: Any) -> tuple[list[float], tuple[int, int]]:
    """The network's answer to an encrypted image, decrypted; bytes of both ciphertexts."""
    received, windows = tenseal.im2col_encoding(context, image.tolist(), KERNEL, KERNEL, STRIDE)
    kernels, biases = network.conv.weight[:, 0].tolist(), cast("Tensor", network.conv.bias).tolist()
    channels = [received.conv2d_im2col(kernel, windows) + bias for kernel, bias in zip(kernels, biases, strict=True)]
    layer = tenseal.CKKSVector.pack_vectors(channels)
    for dense in (network.hidden, network.out):
        layer.square_()
        layer = layer.mm(dense.weight.T.tolist()) + dense.bias.tolist()
    return layer.decrypt(), (len(received.serialize()), len(layer.serialize()))
