"""Where the noise of a training step comes from: fresh for each step, or a stream for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, final

import torch
from torch import Tensor

from accountants.events import Gaussian
from accountants.participation import Participation
from dpkit.adaptive import AdaptiveClip, split_noise
from dpkit.bounded import Bounded
from dpkit.continuous import GaussianMechanism
from dpkit.correlated import NoiseStream
from dpkit.entropy import Source, is_secure, resolve, system
from dpkit.errors import BoundError, ParameterError, StateError
from dpkit.mechanism import Recorder, Release, Sampling, check_multiplier, recorded
from dpkit.samplers import lattice_step
from dpkit.training.step import Clipped
from dpkit.training.weights import Clip

__all__ = ["FreshNoise", "Noise", "Schedule", "StreamNoise", "choose_noise"]

Schedule = Callable[[int], float]


class Noise(Protocol):
    """What a Privatizer asks of its noise."""

    def stddev(self, clip: Clip, step: int) -> float:
        """Standard deviation of the noise in each coordinate of the sum of a step."""

    def release(
        self, clipped: Clipped, clip: Clip, step: int, *, sampling: Sampling | None, ledger: Recorder | None
    ) -> tuple[Release, Clip]:
        """Record and noise the sum of a step; and the clip of the next one."""

    def snapshot(self, key: bytes | None) -> bytes:
        """What the noise of later steps needs of earlier ones."""

    def restore(self, snapshot: bytes, key: bytes | None) -> None:
        """Go on after a snapshot, with noise that was never drawn before."""


@final
class FreshNoise:
    """Independent Gaussian noise for each step.

    Args:
        noise_multiplier: the number, or the schedule from a step's number to it.
        entropy: a source of randomness, None for the operating system's, or a torch generator.
    """

    def __init__(self, noise_multiplier: float | Schedule, entropy: Source | torch.Generator | None) -> None:
        if not callable(noise_multiplier):
            check_multiplier(noise_multiplier)
        self._given = noise_multiplier
        self._entropy = entropy if isinstance(entropy, torch.Generator) else resolve(entropy)
        self._asked: tuple[int, float] | None = None

    def stddev(self, clip: Clip, step: int) -> float:
        """See :class:`Noise`; without the 7.6e-6 of it that pays for the lattice."""
        multiplier = self._multiplier(step)
        if isinstance(clip, AdaptiveClip):
            multiplier = split_noise(multiplier, count_noise_multiplier=clip.count_noise_multiplier)
        return multiplier * clip.bound

    def release(
        self, clipped: Clipped, clip: Clip, step: int, *, sampling: Sampling | None, ledger: Recorder | None
    ) -> tuple[Release, Clip]:
        """See :class:`Noise`."""
        multiplier = self._multiplier(step)
        if isinstance(self._entropy, torch.Generator):
            return _on_device(clipped.total, multiplier, self._entropy, sampling, ledger), clip
        if isinstance(clip, AdaptiveClip):
            return clip.release(
                clipped.total,
                clipped.count(),
                noise_multiplier=multiplier,
                sampling=sampling,
                ledger=ledger,
                entropy=self._entropy,
            )
        mechanism = GaussianMechanism(multiplier)
        return mechanism.release(clipped.total, sampling=sampling, ledger=ledger, entropy=self._entropy), clip

    def snapshot(self, key: bytes | None) -> bytes:
        """See :class:`Noise`: nothing."""
        del key
        return b""

    def restore(self, snapshot: bytes, key: bytes | None) -> None:
        """See :class:`Noise`: what follows from a seed would come again, so it is left for the operating system's."""
        del snapshot, key
        self._asked = None
        if isinstance(self._entropy, torch.Generator):
            self._entropy = torch.Generator(self._entropy.device)
            self._entropy.seed()
        elif not is_secure(self._entropy):
            self._entropy = system()

    def _multiplier(self, step: int) -> float:
        """The noise multiplier of a step; a schedule is asked once for each."""
        if not callable(self._given):
            return float(self._given)
        if self._asked is None or self._asked[0] != step:
            self._asked = step, check_multiplier(self._given(step))
        return self._asked[1]


@final
class StreamNoise:
    """Correlated noise: a row of a stream for each step, and one event for all of them.

    Args:
        stream: a stream that was made with the clip's bound and the shapes of the trainable parameters.
        participation: which steps one record may take part in.
    """

    def __init__(self, stream: NoiseStream, participation: Participation) -> None:
        stream.event(participation)  # refuses one of another number of steps
        self._stream, self._participation = stream, participation
        self._variances = stream.row_variance()

    def stddev(self, clip: Clip, step: int) -> float:
        """See :class:`Noise`: that of the row; after the last, of the last."""
        del clip
        row = self._variances[min(step, len(self._variances) - 1)]
        return math.sqrt(row) * self._stream.noise_multiplier * self._stream.bound

    def release(
        self, clipped: Clipped, clip: Clip, step: int, *, sampling: Sampling | None, ledger: Recorder | None
    ) -> tuple[Release, Clip]:
        """See :class:`Noise`."""
        del step
        release = self._stream.release(
            clipped.total, participation=self._participation, sampling=sampling, ledger=ledger
        )
        return release, clip

    def snapshot(self, key: bytes | None) -> bytes:
        """See :class:`Noise`: the rows that later ones take back, sealed."""
        if key is None:
            raise StateError(
                "key must be given to save a stream of noise: whoever knows its latest rows and the gradients released "
                "with them knows the data; give 32 secret bytes, for instance secrets.token_bytes(32)"
            )
        return self._stream.snapshot(key)

    def restore(self, snapshot: bytes, key: bytes | None) -> None:
        """See :class:`Noise`."""
        if key is None:
            raise StateError("key must be given to go on with a stream of noise; give the one that it was saved with")
        self._stream.restore(snapshot, key)


def choose_noise(
    clip: Clip,
    noise_multiplier: float | Schedule | None,
    entropy: Any,
    noise: NoiseStream | None,
    participation: Participation | None,
    sampling: Any,
) -> Noise:
    """The noise of a Privatizer, which is told exactly one of a noise multiplier and a stream.

    Raises:
        ParameterError: not exactly one of the two was given, or one of the arguments does not go with the other.
        BoundError: the stream was made for a smaller bound than the clip's.
    """
    if (noise is None) == (noise_multiplier is None):
        raise ParameterError(
            "noise_multiplier must be given, or noise: a stream of dpkit.correlated, and not both, got "
            f"{'none' if noise is None else 'both'}; what decides privacy has no default"
        )
    if noise is None and noise_multiplier is not None:
        if participation is not None:
            raise ParameterError("participation must be None where noise is independent; it is for noise=")
        if isinstance(entropy, torch.Generator) and isinstance(clip, AdaptiveClip):
            raise ParameterError(
                "entropy must be a source of dpkit.entropy for an AdaptiveClip, got a torch.Generator; give None, or "
                "use FlatClip(bound)"
            )
        return FreshNoise(noise_multiplier, entropy)
    if not isinstance(noise, NoiseStream):
        raise ParameterError(
            f"noise must be a stream of dpkit.correlated, got {type(noise).__name__}; for example BandedNoise(...)"
        )
    if entropy is not None:
        raise ParameterError("entropy must be None with noise=; give it to the stream, which draws the noise")
    if isinstance(clip, AdaptiveClip):
        raise ParameterError(
            "clip must have a fixed bound with noise=, got AdaptiveClip; the event of all steps is that of one bound: "
            "use FlatClip(bound)"
        )
    if clip.bound > noise.bound:
        raise BoundError(f"clip's bound must be <= the stream's {noise.bound!r}, got {clip.bound!r}; make them one")
    if participation is not None and sampling is not None:
        raise ParameterError("participation must be None with sampling=, which knows it; give one of the two")
    if participation is None:
        participation = Participation(steps=noise.steps) if sampling is None else sampling.participation
    return StreamNoise(noise, participation)


def _on_device(
    query: Bounded, multiplier: float, generator: torch.Generator, sampling: Sampling | None, ledger: Recorder | None
) -> Release:
    """Noise of a device's own generator: floating-point Gaussians, rounded with the sum to the mechanism's lattice."""
    stddev = GaussianMechanism(multiplier).stddev(query)
    step = lattice_step(stddev)
    shown = recorded(Gaussian(multiplier), secure=False, sampling=sampling, ledger=ledger)

    def noisy(value: Tensor) -> Tensor:
        device = generator.device
        noise = torch.randn(value.shape, generator=generator, device=device, dtype=torch.float64) * stddev
        return torch.round((value.to(device, torch.float64) + noise) / step).mul_(step)

    return Release({name: noisy(value) for name, value in query.value.items()}, shown.event, shown.secure)
