"""The private step: clipped sums in, one noisy gradient out, written where any optimizer looks for it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, final

from torch import Tensor, nn

from accountants.events import Event
from accountants.participation import Participation
from dpkit._checks import check_positive
from dpkit.adaptive import AdaptiveClip
from dpkit.correlated import NoiseStream
from dpkit.errors import ParameterError, StateError
from dpkit.mechanism import Release
from dpkit.training.independence import Probe
from dpkit.training.noise import Schedule, choose_noise
from dpkit.training.processes import choose_processes
from dpkit.training.state import (
    FORMAT,
    ledger_text,
    read_state,
    require_ledger,
    require_sampling,
    restore_ledger,
    sampling_state,
)
from dpkit.training.step import (
    NOTHING,
    Offer,
    Witness,
    gather,
    new_units,
    offered,
    require_methods,
    require_room,
    write_means,
)
from dpkit.training.sums import METHODS, Method, clip_and_count, require_losses
from dpkit.training.tape import Tape
from dpkit.training.weights import Clip, require_clip

__all__ = ["Privatizer"]


@final
class Privatizer:
    r"""Makes a training loop private: ``backward(losses)`` for ``loss.backward()``, ``release()`` before the optimizer.

    Model, optimizer and data loader stay what they are. Raw gradients never enter ``p.grad``: what ``release()`` wrote
    there is taken back by the next ``backward()``, so that a forgotten release trains on nothing. The forward passes
    between two releases are recorded from construction until ``close()``; run evaluation under ``torch.no_grad()``.

    The first batch in which two examples have gradients in a layer is checked: for losses and layers that mix examples,
    which costs two backward passes, and a few fast gradients are compared with slow ones. Not seen are: mixing that
    begins later or before the first recorded layer (a batch centred by its own mean), a divisor computed from the batch
    and other values of its examples that no gradient flows through (detached means, a queue of negatives), mixing
    between examples other than the first inside a layer of your own, and data that code outside the layers' own
    parameters and buffers keeps (a list, another module's buffer). :func:`dpkit.training.check` sees more.

    Guarantee:
        Each ``release()`` is one Gaussian mechanism on the sum of clipped gradients; its event, sampled by ``sampling``
        if given, is in the ledger before the noise is drawn, and nothing else that depends on the data leaves. Held by
        ``tests/dpkit/training/test_privatizer.py::test_each_release_is_one_event_recorded_before_it``. With ``noise``
        all releases together are one Gaussian mechanism, recorded with the first. It needs losses that do not depend on
        each other, and one example (or unit) in at most one ``backward`` of a release.

    Args:
        model: the model; parameters may be frozen and unfrozen between steps.
        clip: the clip of one example's (unit's) gradient: see :func:`dpkit.training.clipped_sum`. An ``AdaptiveClip``
            moves with each release; sum and count are one event, and gradients of zero (padding) are not counted.
        noise_multiplier: noise standard deviation / clipping bound, > 0; or a schedule from the step's number
            (0, 1, ...) to that, which must not look at data and is asked once for each step.
        expected_batch_size: the public number that the noisy sum is divided by, > 0; not the size of any actual batch.
        sampling: the batches (``dpkit.batches``) that ``for rows in privatizer`` goes through; it gives the recorded
            event its sampling. None: every event is recorded unsampled.
        noise: instead of ``noise_multiplier`` a stream of :mod:`dpkit.correlated`, made with the clip's bound, the
            number of steps and ``like=dict(model.named_parameters())``, of trainable ones: a row for each release.
        participation: with ``noise`` and without ``sampling``: the steps that one example (unit) may take part in. None
            takes what ``sampling`` says, or the worst, an example in every step.
        ledger: whatever has ``record(release)``: an ``accountants.Ledger`` or a budget. None: nothing is recorded.
        entropy: source of the noise. None: the operating system's. A ``torch.Generator`` draws floating-point noise on
            its device, recorded as not secure: faster there, and no protection from whoever guesses its state.
        method: see :func:`dpkit.training.clipped_sum`.
        process_group: processes that train one model together, each on its part of every batch; the first draws
            batches and noise, all write the same gradient. The same arguments are to be given in each.

    Raises:
        ParameterError: a parameter is out of its domain.
        BoundError: the stream was made for a smaller bound than the clip's.

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
        Abadi et al. 2016, Algorithm 1; Kairouz et al. 2021 (arXiv 2103.00039) for correlated noise.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        clip: Clip,
        noise_multiplier: float | Schedule | None = None,
        expected_batch_size: float,
        sampling: Any = None,
        noise: NoiseStream | None = None,
        participation: Participation | None = None,
        ledger: Any = None,
        entropy: Any = None,
        method: Method = "auto",
        process_group: Any = None,
    ) -> None:
        require_clip(clip)
        if method not in METHODS:
            raise ParameterError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
        self._expected = check_positive("expected_batch_size", expected_batch_size, "it is public and has no default.")
        require_methods("sampling", sampling, ("sampled", "__iter__"), "PoissonBatches(...)")
        require_methods("ledger", ledger, ("record",), "accountants.Ledger(...)")
        self._noise = choose_noise(clip, noise_multiplier, entropy, noise, participation, sampling)
        self._processes = choose_processes(process_group)
        self._clip, self._method = clip, method
        self._sampling, self._ledger, self._witness = sampling, ledger, Witness(ledger)
        self._tape = Tape(model)
        self._steps = 0
        self._latest: float | None = None
        self._drawn = self._closed = False
        self._probe, self._room = Probe(), 0
        self._pending = NOTHING
        self._written: dict[str, weakref.ref[Tensor]] = {}

    def __enter__(self) -> Privatizer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        """How many batches ``sampling`` has, drawn or not."""
        if self._sampling is None:
            raise StateError("there is nothing to count: give the Privatizer a sampling, as PoissonBatches(...)")
        return len(self._sampling)

    def __iter__(self) -> Iterator[Any]:
        """Go through the batches of ``sampling``, or this process's part of them: each is released before the next."""
        source: Iterator[Any] | None = None

        def draw() -> Any:
            nonlocal source
            if self._sampling is None:
                raise StateError("there is nothing to iterate: give the Privatizer a sampling, as PoissonBatches(...)")
            self._require_released()
            if not self._processes.first:
                return None
            source = iter(self._sampling) if source is None else source
            return next(source, None)

        while (rows := self._processes.gathered("iteration", draw)[0]) is not None:
            part = self._processes.part(rows)
            self._drawn, self._room = True, max(len(part), getattr(self._sampling, "max_batch_size", 0))
            yield part

    def backward(self, losses: Tensor, units: Tensor | None = None) -> None:
        """Add the clipped gradients of these examples; no gradient is written to ``p.grad``.

        May be called several times before a release, for parts of one batch that fit into memory. No example, and no
        unit, may be in two of them. A ``p.grad`` that an earlier ``release()`` wrote becomes None.

        Args:
            losses: shape (batch,), one loss for each example, from a forward pass of the model; their graph is freed.
            units: integer tensor of shape (batch,): the unit of each example; in all parts of a batch or in none.

        Raises:
            LossError: losses are not one number for each example, or mix examples.
            CoverageError: a trainable parameter reaches the losses where clipping does not see it.
            ParameterError: units do not fit, a unit was already in this release, or there are more losses than the draw
                has rows and nobody says whose they are.
            StateError: the Privatizer is closed, or has a sampling and no draw of it is open.
        """
        self._require_open()
        self._require_draw()
        require_losses(losses)
        units_now = new_units(self._pending, units)
        if self._sampling is not None and units is None:
            require_room(self._pending.losses + len(losses), self._room)
        probe = self._probe.after(self._tape, losses)
        verify = probe.is_now and self._method != "loop"
        part = clip_and_count(self._tape, losses, self._clip, units, self._method, verify=verify, clear=True)
        self._pending = self._pending.joined(*part, units_now, len(losses))
        self._probe = probe
        self._tape.clear()
        self._take_back()

    def release(self) -> Release:
        """Record the event, add noise once, divide by the expected batch size, and overwrite every ``p.grad``.

        Without a ``backward`` before it (an empty batch) it releases pure noise, as it must. If the ledger refuses,
        nothing is released: ``p.grad`` and the sum so far stay as they were.

        Returns:
            ``Release`` whose value maps each trainable parameter's name to its new ``p.grad``. It is recorded already:
            do not record it again. With ``noise`` its event is that of all steps together.

        Raises:
            StateError: the Privatizer is closed, no draw of its sampling is open, or another process has failed.
            ParameterError: no parameter is trainable, or the schedule gave a number that is not > 0.
            BoundError: with ``noise``: the trainable parameters are not those that the stream was made for.
        """
        parameters = self._tape.parameters()
        clipped = gather(lambda: self._offer(parameters), self._pending, parameters, self._clip, self._processes)
        stddev, noisy = self._noise.stddev(self._clip, self._steps), dict[str, Tensor]()
        witness, pending, drawn = self._witness, self._pending, self._drawn
        # What is summed is spent before noise is drawn, so that no interrupt can release it again.
        self._pending, self._drawn = NOTHING, False
        witness.forget()

        def act() -> tuple[Event, bool, Clip, tuple[Release, ...]]:
            release, clip = self._noise.release(
                clipped, self._clip, self._steps, sampling=self._sampling, ledger=witness
            )
            noisy.update(release.value)
            return release.event, release.secure, clip, witness.seen

        try:
            event, secure, self._clip, seen = self._processes.performed("noise", act)
        except BaseException as error:
            draw_is_gone = drawn and self._processes.first and not getattr(self._sampling, "open", True)
            spent = bool(witness.seen) or draw_is_gone or not isinstance(error, Exception)
            if not any(self._processes.gathered("what became of the sum", lambda: spent)):
                self._pending, self._drawn = pending, drawn
            raise
        self._steps, self._latest = self._steps + 1, stddev
        self._processes.gathered("account", lambda: None if self._processes.first else witness.copy(seen))
        self._written = write_means(parameters, noisy, self._expected, self._processes)
        return Release({name: value.grad for name, value in parameters.items()}, event, secure)

    @property
    def noise_stddev(self) -> float:
        """Standard deviation of the noise in each coordinate of the latest release (before the first: of that)."""
        stddev = self._noise.stddev(self._clip, self._steps) if self._latest is None else self._latest
        return stddev / self._expected

    @property
    def clip(self) -> Clip:
        """The clip of the coming step; an ``AdaptiveClip`` has moved with each release."""
        return self._clip

    def state_dict(self, key: bytes | None = None) -> dict[str, Any]:
        """What is needed to go on in another process, beside the states of model and optimizer.

        Save it after ``release()``, and before anyone sees what that step led to: steps that were released after it
        are in no account that is restored from it.

        Args:
            key: with ``noise``: 32 secret bytes that seal the rows of noise which later rows take back.

        Returns:
            Dict of numbers, strings, dicts and None, for ``torch.save``. It holds the ledger and the state of the
            sampling, no data, no gradient and no seed of noise; of ``CyclicBatches`` the key, as secret as the batches.

        Raises:
            StateError: closed, or in the middle of a step; the ledger or sampling cannot be saved; the key is missing;
                or this is not the first process of its group, which saves for all.

        Example:
            >>> import torch
            >>> from dpkit.clip import FlatClip
            >>> from dpkit.training import Privatizer
            >>> private = Privatizer(torch.nn.Linear(3, 1), clip=FlatClip(1.0), noise_multiplier=1.1,
            ...                      expected_batch_size=8)
            >>> release = private.release()
            >>> private.state_dict()["steps"]
            1
        """
        self._require_open()
        self._require_between_steps()
        if not self._processes.first:
            raise StateError("only the first process of a group can be saved, as it draws batches and noise; load it")
        return {
            "format": FORMAT,
            "steps": self._steps,
            "bound": self._clip.bound if isinstance(self._clip, AdaptiveClip) else None,
            "ledger": ledger_text(self._ledger),
            "sampling": sampling_state(self._sampling),
            "noise": self._noise.snapshot(key).hex(),
        }

    def load_state_dict(self, state: dict[str, Any], key: bytes | None = None) -> None:
        """Go on after a checkpoint: step number, adaptive bound, ledger, sampling and stream of noise.

        No noise comes twice: what is drawn from here on is fresh. A seeded source, which would repeat its first
        numbers, is left for the operating system's; so a run that goes on from a checkpoint cannot be repeated.

        An empty ledger gets what was saved; one that holds it, and perhaps later entries, is kept as it is: what was
        released stays in the account.

        Args:
            state: from :meth:`state_dict` of a Privatizer that was made with the same arguments.
            key: with ``noise``: the key that it was saved with.

        Raises:
            StateError: the state is none, does not fit, or there is an open step, or the sampling plan has been used:
                make a new one. Nothing has changed.
            ParameterError: the sampling plan is another; nothing has changed.
            EntropyError: the stream of noise has been used, or the key is wrong; nothing has changed.
            accountants.errors.AccountingError: the ledger's text is broken, or a budget refuses its entries.

        Example:
            >>> import torch
            >>> from dpkit.clip import FlatClip
            >>> from dpkit.training import Privatizer
            >>> model = torch.nn.Linear(3, 1)
            >>> private = Privatizer(model, clip=FlatClip(1.0), noise_multiplier=1.1, expected_batch_size=8)
            >>> again = Privatizer(model, clip=FlatClip(1.0), noise_multiplier=1.1, expected_batch_size=8)
            >>> again.load_state_dict(private.state_dict())
        """
        self._require_open()
        self._require_between_steps()
        saved = read_state(state)
        if (saved["bound"] is not None) != isinstance(self._clip, AdaptiveClip):
            raise StateError("clip must be an AdaptiveClip exactly if the saved one was, got the opposite")
        require_ledger(self._ledger, saved["ledger"])
        require_sampling(self._sampling, saved["sampling"])
        if self._processes.first:
            self._noise.restore(bytes.fromhex(saved["noise"]), key)
            if self._sampling is not None:
                self._sampling.load_state_dict(saved["sampling"])
        restore_ledger(self._ledger, saved["ledger"])
        if isinstance(self._clip, AdaptiveClip):
            self._clip = replace(self._clip, initial=saved["bound"])
        self._steps, self._latest, self._probe = saved["steps"], None, Probe()

    def close(self) -> None:
        """Stop recording the model, and forget a sum that was not released. Closing twice is harmless."""
        self._tape.close()
        self._tape.clear()
        self._pending, self._closed = NOTHING, True

    def _offer(self, parameters: dict[str, nn.Parameter]) -> Offer:
        """What this process brings to a release, or why there can be none."""
        self._require_open()
        self._require_draw()
        if not parameters:
            raise ParameterError("model must have at least one trainable parameter, got none; unfreeze one")
        stddev = self._noise.stddev(self._clip, self._steps)
        public = {"clip": repr(self._clip), "expected_batch_size": self._expected, "step": self._steps}
        return offered(self._pending, parameters, {**public, "noise_stddev": stddev / self._expected})

    def _take_back(self) -> None:
        """Remove the gradients of the latest release, which the optimizer has had its chance to use."""
        for name, parameter in self._tape.model.named_parameters():
            written = self._written.get(name)
            if written is not None and parameter.grad is not None and written() is parameter.grad:
                parameter.grad = None
        self._written = {}

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

    def _require_between_steps(self) -> None:
        if self._drawn or self._pending is not NOTHING:
            raise StateError("a step is under way, whose sum is private; call release() before saving or loading")
