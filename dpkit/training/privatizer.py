"""The private step: clipped sums in, one noisy gradient out, written where any optimizer looks for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from numbers import Real
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from dpkit.bounded import Bounded
from dpkit.continuous import GaussianMechanism
from dpkit.entropy import resolve
from dpkit.errors import ParameterError, StateError
from dpkit.mechanism import Release
from dpkit.training.independence import require_independent
from dpkit.training.norms import working_dtype
from dpkit.training.sums import METHODS, Method, clipped_sum, require_losses
from dpkit.training.tape import Tape
from dpkit.training.weights import Clip, require_clip

__all__ = ["Privatizer"]

Schedule = Callable[[int], float]


@final
class Privatizer:
    r"""Makes a training loop private: ``backward(losses)`` for ``loss.backward()``, ``release()`` before the optimizer.

    Model, optimizer and data loader stay what they are. Raw gradients never enter ``p.grad``: it stays as it was until
    ``release()`` writes the noisy gradient, so a forgotten release trains on nothing. The forward passes between two
    releases are recorded from construction until ``close()``; run evaluation under ``torch.no_grad()``.

    The first batch of two or more examples is checked for losses and layers that mix examples, which costs two backward
    passes. Not seen are: mixing that begins after that batch or before the first recorded layer (a batch centred by its
    own mean), a divisor computed from the batch, mixing between examples other than the first inside a layer of your
    own, and data that code outside the layers' own parameters and buffers keeps (a list, another module's buffer).

    Guarantee:
        Each ``release()`` is one Gaussian mechanism on the sum of clipped gradients; its event, sampled by ``sampling``
        if given, is in the ledger before the noise is drawn, and nothing else that depends on the data leaves. Held by
        ``tests/dpkit/training/test_privatizer.py::test_each_release_is_one_event_recorded_before_it``. It needs losses
        that do not depend on each other, and one example (or unit) in at most one ``backward`` of a release.

    Args:
        model: the model; parameters may be frozen and unfrozen between steps.
        clip: the clip of one example's (unit's) gradient: see :func:`dpkit.training.clipped_sum`.
        noise_multiplier: noise standard deviation / clipping bound, > 0; or a schedule from the step's number
            (0, 1, ...) to that, which must not look at data and is asked once for each step.
        expected_batch_size: the public number that the noisy sum is divided by, > 0; not the size of any actual batch.
        sampling: the batches (``dpkit.batches``) that ``for rows in privatizer`` goes through; it gives the recorded
            event its sampling. None: every event is recorded unsampled.
        noise: must be None: streams of :mod:`dpkit.correlated` are not taken here yet; ``stream.add(clipped_sum(...))``
            takes the sum of a step.
        ledger: whatever has ``record(release)``: an ``accountants.Ledger`` or a budget. None: nothing is recorded.
        entropy: source of the noise. None: the operating system's.
        method: see :func:`dpkit.training.clipped_sum`.

    Raises:
        ParameterError: a parameter is out of its domain.

    Example:
        >>> import torch
        >>> from dpkit.clip import FlatClip
        >>> from dpkit.training import Privatizer
        >>> model = torch.nn.Linear(3, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with Privatizer(model, clip=FlatClip(1.0), noise_multiplier=1.1, expected_batch_size=8) as private:
        ...     private.backward(model(torch.ones(8, 3)).squeeze(1).square())
        ...     release = private.release()
        ...     optimizer.step()
        >>> release.event
        Gaussian(noise_multiplier=1.1)
        >>> private.noise_stddev
        0.1375

    References:
        Abadi et al. 2016, Algorithm 1.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        clip: Clip,
        noise_multiplier: float | Schedule,
        expected_batch_size: float,
        sampling: Any = None,
        noise: None = None,
        ledger: Any = None,
        entropy: Any = None,
        method: Method = "auto",
    ) -> None:
        require_clip(clip)
        if noise is not None:
            raise ParameterError(
                f"noise must be None, got {type(noise).__name__}; streams are not taken here yet; use stream.add"
            )
        if method not in METHODS:
            raise ParameterError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        self._expected = _positive("expected_batch_size", expected_batch_size)
        if not callable(noise_multiplier):
            _positive("noise_multiplier", noise_multiplier)
        _require_methods("sampling", sampling, ("sampled", "__iter__"), "PoissonBatches(...)")
        _require_methods("ledger", ledger, ("record",), "accountants.Ledger(...)")
        resolve(entropy)
        self._clip, self._noise_multiplier, self._method = clip, noise_multiplier, method
        self._sampling, self._ledger, self._entropy = sampling, ledger, entropy
        self._tape = Tape(model)
        self._steps = 0
        self._latest: float | None = None
        self._coming: float | None = None
        self._checked = self._drawn = self._closed = False
        self._sum: Bounded | None = None
        self._units: set[int] | None = None

    def __enter__(self) -> Privatizer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        """Go through the batches of ``sampling``; every draw must be released before the next one."""
        if self._sampling is None:
            raise StateError("there is nothing to iterate: give the Privatizer a sampling, e.g. PoissonBatches(...)")
        self._require_released()
        for rows in self._sampling:
            self._drawn = True
            yield rows
            self._require_released()

    def backward(self, losses: Tensor, units: Tensor | None = None) -> None:
        """Add the clipped gradients of these examples; ``p.grad`` is not touched.

        May be called several times before a release, for parts of one batch that fit into memory. No example, and no
        unit, may be in two of them.

        Args:
            losses: shape (batch,), one loss for each example, from a forward pass of the model; their graph is freed.
            units: integer tensor of shape (batch,): the unit of each example; in all parts of a batch or in none.

        Raises:
            LossError: losses are not one number for each example, or mix examples.
            CoverageError: a trainable parameter reaches the losses where clipping does not see it.
            ParameterError: units do not fit, or a unit was already in this release.
            StateError: the Privatizer is closed, or has a sampling and no draw of it is open.
        """
        self._require_open()
        self._require_draw()
        require_losses(losses)
        units_now = self._new_units(units)
        check = not self._checked and len(losses) > 1
        if check:
            require_independent(self._tape, losses)
        part = clipped_sum(self._tape, losses, self._clip, units, self._method)
        self._sum = part if self._sum is None else Bounded.disjoint([self._sum, part])
        self._units = units_now if self._units is None or units_now is None else self._units | units_now
        self._checked = self._checked or check
        self._tape.clear()

    def release(self) -> Release:
        """Record the event, add noise once, divide by the expected batch size, and overwrite every ``p.grad``.

        Without a ``backward`` before it (an empty batch) it releases pure noise, as it must. If the ledger refuses,
        nothing is released: ``p.grad`` and the sum so far stay as they were.

        Returns:
            ``Release`` whose value maps each trainable parameter's name to its new ``p.grad``. It is recorded already:
            do not record it again.

        Raises:
            StateError: the Privatizer is closed, or has a sampling and no draw of it is open.
            ParameterError: no parameter is trainable, or the schedule gave a number that is not > 0.
        """
        self._require_open()
        self._require_draw()
        parameters = self._tape.parameters()
        if not parameters:
            raise ParameterError("model must have at least one trainable parameter, got none; unfreeze one")
        multiplier = self._multiplier()
        query = _as_numpy(parameters, self._sum, self._clip)
        release = GaussianMechanism(multiplier).release(
            query, sampling=self._sampling, ledger=self._ledger, entropy=self._entropy
        )
        # The noise is drawn: the sum is spent before anything is written, so that no interrupt can release it again.
        self._sum, self._units, self._drawn = None, None, False
        self._latest, self._coming = multiplier, None
        self._steps += 1
        for name, parameter in parameters.items():
            mean = np.asarray(release.value[name] / self._expected)  # numpy's quotient of no dimensions is a scalar
            parameter.grad = torch.from_numpy(mean).to(parameter)
        return Release({name: value.grad for name, value in parameters.items()}, release.event, release.secure)

    @property
    def noise_stddev(self) -> float:
        """Standard deviation of the noise in each coordinate of the latest release (before the first: of that)."""
        multiplier = self._multiplier() if self._latest is None else self._latest
        return multiplier * self._clip.bound / self._expected

    def close(self) -> None:
        """Stop recording the model, and forget a sum that was not released. Closing twice is harmless."""
        self._tape.close()
        self._tape.clear()
        self._sum, self._units, self._closed = None, None, True

    def _multiplier(self) -> float:
        """The noise multiplier of the coming release; a schedule is asked once for each."""
        if self._coming is None:
            given = self._noise_multiplier
            self._coming = _positive("noise_multiplier", given(self._steps) if callable(given) else given)
        return self._coming

    def _new_units(self, units: Tensor | None) -> set[int] | None:
        """The units of a part of the batch; none may have been in an earlier part."""
        if self._sum is not None and (units is None) != (self._units is None):
            raise ParameterError(
                "units must be given in every backward call of a release or in none, got both; name each example's unit"
            )
        if units is None:
            return None
        now = set(units.tolist()) if isinstance(units, Tensor) and units.dim() == 1 else set()
        if self._units is not None and now & self._units:
            raise ParameterError(
                "units must not be in two backward calls of one release: each would be clipped by itself, and together "
                "they exceed the bound; put all examples of a unit into one call"
            )
        return now

    def _require_open(self) -> None:
        if self._closed:
            raise StateError("the Privatizer is closed; make a new one")

    def _require_draw(self) -> None:
        if self._sampling is not None and not self._drawn:
            raise StateError(
                "there is no open draw: the sampled event holds for one release of the rows of each draw; "
                "iterate with 'for rows in privatizer', and call backward and release inside"
            )

    def _require_released(self) -> None:
        if self._drawn:
            raise StateError(
                "the previous draw was not released; call release() for every batch, the empty ones too: "
                "the accounting counts them all"
            )


def _positive(name: str, value: object) -> float:
    """A finite number > 0, or a clear error."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ParameterError(f"{name} must be a number > 0, got {type(value).__name__}; give a float")
    number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise ParameterError(f"{name} must be finite and > 0, got {number!r}; it decides privacy and has no default")
    return number


def _require_methods(name: str, value: object, methods: tuple[str, ...], example: str) -> None:
    """Refuse an object that is not None and lacks one of these methods."""
    complete = all(callable(getattr(value, method, None)) for method in methods) and not isinstance(value, type)
    if value is not None and not complete:
        raise ParameterError(
            f"{name} must be None or have {' and '.join(methods)}, got {type(value).__name__}; give {example}"
        )


def _as_numpy(parameters: dict[str, nn.Parameter], total: Bounded | None, clip: Clip) -> Bounded:
    """The sum as numpy arrays, zeros for parameters that no backward call knew."""
    known: dict[str, Tensor] = {} if total is None else total.value
    filled = {
        name: known[name] if name in known else torch.zeros(value.shape, dtype=working_dtype(value))
        for name, value in parameters.items()
    }
    return Bounded({name: value.cpu().numpy() for name, value in filled.items()}, clip.bound, clip.norm)
