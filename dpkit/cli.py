"""The command line: ``dpkit epsilon | calibrate | steps | plan-sum | demo``.

Plain text by default, ``--json`` for machines. Bad input gives one line on standard error and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, final

import secagg
from accountants import (
    Accountant,
    AccountingError,
    CalibrationError,
    Event,
    Gaussian,
    PLDAccountant,
    PoissonSampled,
    RDPAccountant,
    Relation,
    Repeated,
    calibrate,
    max_times,
)
from dpkit._plan_sum import add_plan_sum, plan_sum
from dpkit._text import rounded_down, rounded_up
from dpkit.errors import DPKitError, ParameterError

__all__ = ["main"]

_BAD_INPUT = 2
_TIGHT = PLDAccountant()
_ACCOUNTANTS: dict[str, Accountant] = {"pld": _TIGHT, "rdp": RDPAccountant()}


@final
class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after ``dpkit``; None takes the process's own.

    Returns:
        The exit code: 0, or 2 on bad input.

    Example:
        >>> main(["epsilon", "--noise-multiplier", "1e3", "--sampling-prob", "1", "--steps", "1", "--delta", "0.4"])
        epsilon 0 at delta 0.4 (certified in [0, 0]; upper bound; relation add_remove; unit example; PLD accountant)
        0
    """
    options = _parser().parse_args(arguments)
    try:
        text = options.command(options)
    except (AccountingError, DPKitError, secagg.SecAggError, OSError) as error:
        message = " ".join(str(error).split())
        print(f"dpkit {options.name}: {message}", file=sys.stderr)
        return _BAD_INPUT
    print(text)
    return 0


def _parser() -> _Parser:
    """Every command and option."""
    parser = _Parser(prog="dpkit", description="Differential privacy, secure sums, and what they cost.")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_epsilon(_command(commands, "epsilon", _epsilon, "what a sampled Gaussian costs"))
    _add_calibrate(_command(commands, "calibrate", _calibrate, "the least noise that meets a budget"))
    _add_steps(_command(commands, "steps", _steps, "the most steps within a budget"))
    add_plan_sum(_command(commands, "plan-sum", _plan_sum, "sum protocols side by side"))
    _add_demo(_command(commands, "demo", _demo, "ten parties train on MNIST; every sum is encrypted"))
    return parser


def _command(
    commands: Any, name: str, function: Callable[[argparse.Namespace], str], text: str
) -> argparse.ArgumentParser:
    """One subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=function, name=name)
    parser.add_argument("--json", action="store_true", help="for machines")
    return parser


def _add_terms(parser: argparse.ArgumentParser) -> None:
    """What epsilon, calibrate and steps share."""
    parser.add_argument(
        "--sampling-prob",
        type=float,
        required=True,
        help="that a record is in a step's Poisson batch; 1: all are",
    )
    parser.add_argument("--delta", type=float, required=True, help="well below 1 / (number of records)")
    relations = [str(relation) for relation in Relation]
    parser.add_argument(
        "--relation", choices=relations, default="add_remove", help="what neighbouring data differ by (add_remove)"
    )
    parser.add_argument("--accountant", choices=_ACCOUNTANTS, default="pld", help="pld: the tight one (default)")


def _add_epsilon(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--noise-multiplier", type=float, required=True, help="standard deviation / clip")
    parser.add_argument("--steps", type=int, required=True, help="number of releases")
    _add_terms(parser)


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--epsilon", type=float, required=True)
    parser.add_argument("--steps", type=int, required=True, help="number of releases")
    _add_terms(parser)


def _add_steps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--noise-multiplier", type=float, required=True, help="standard deviation / clip")
    parser.add_argument("--epsilon", type=float, required=True)
    _add_terms(parser)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parties", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=160)
    parser.add_argument("--protocol", default="bfv", help="bfv (encrypted) or plain (in the clear)")
    parser.add_argument(
        "--compare", action="store_true", help="sum the same shares by both protocols, compare bit by bit"
    )
    parser.add_argument("--epsilon", type=float, default=2.5, help="budget of the whole run")
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--sampling-prob", type=float, default=0.05)
    parser.add_argument("--clip", type=float, default=1.0, help="l2 bound of one example's gradient")
    parser.add_argument("--learning-rate", type=float, default=2.0)
    parser.add_argument("--momentum", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=None, help="repeatable noise, marked as such in the statement")
    parser.add_argument("--report", type=Path, default=Path("reports/demo"), help="folder for JSON and plot")


def _step(options: argparse.Namespace, noise_multiplier: float) -> Event:
    """One release."""
    return PoissonSampled(Gaussian(noise_multiplier), options.sampling_prob)


def _event(options: argparse.Namespace, noise_multiplier: float) -> Event:
    """The releases that the options describe."""
    if options.steps < 1:
        raise ParameterError(f"steps must be >= 1, got {options.steps}; count the releases.")
    return Repeated(_step(options, noise_multiplier), options.steps)


def _said(options: argparse.Namespace, values: dict[str, Any], text: str) -> str:
    """JSON, or text."""
    return json.dumps(values, allow_nan=False) if options.json else text


def _terms(options: argparse.Namespace, certified: str = "") -> str:
    """What every printed epsilon states."""
    return (
        f"at delta {options.delta!r} ({certified}upper bound; relation {options.relation}; unit example; "
        f"{options.accountant.upper()} accountant)"
    )


def _facts(options: argparse.Namespace) -> dict[str, Any]:
    """The same for machines."""
    terms = {"delta": options.delta, "relation": options.relation, "unit": "example"}
    return {**terms, "accountant": options.accountant.upper(), "kind": "upper bound"}


def _number(value: float) -> float | str:
    """A number as strict JSON has it."""
    return value if math.isfinite(value) else "inf"


def _epsilon(options: argparse.Namespace) -> str:
    """The ``epsilon`` command; the tight accountant shows both certified ends, and what they come from."""
    event, terms = _event(options, options.noise_multiplier), {"delta": options.delta, "relation": options.relation}
    if options.accountant != "pld":
        value = _ACCOUNTANTS[options.accountant].epsilon(event, **terms)
        facts = {"epsilon": _number(value), **_facts(options)}
        return _said(options, facts, f"epsilon {rounded_up(value)} {_terms(options)}")
    shown = _TIGHT.certify(event, **terms)
    upper, sources = rounded_up(shown.upper), {"upper_from": shown.upper_from, "lower_from": shown.lower_from}
    facts = {"epsilon": _number(shown.upper), "lower": _number(shown.lower), **sources, **_facts(options)}
    handed_over = shown.lower < shown.upper and shown.lower_from != shown.upper_from
    by = f", from below by {shown.lower_from}, from above by {shown.upper_from}" if handed_over else ""
    certified = f"certified in [{rounded_down(shown.lower)}, {upper}]{by}; "
    return _said(options, facts, f"epsilon {upper} {_terms(options, certified)}")


def _calibrate(options: argparse.Namespace) -> str:
    """The ``calibrate`` command."""
    _event(options, 1.0)  # what is wrong with the options is said as such, and not taken for too little noise
    try:
        value = calibrate(
            lambda noise_multiplier: _event(options, noise_multiplier),
            epsilon=options.epsilon,
            delta=options.delta,
            relation=options.relation,
            accountant=_ACCOUNTANTS[options.accountant],
        )
    except CalibrationError as reason:
        raise _out_of_reach(options, reason) from reason
    facts = {"noise_multiplier": value, "epsilon": options.epsilon, **_facts(options)}
    return _said(
        options, facts, f"noise multiplier {rounded_up(value)} keeps epsilon <= {options.epsilon!r} {_terms(options)}"
    )


def _out_of_reach(options: argparse.Namespace, reason: CalibrationError) -> ParameterError:
    """That no noise multiplier is the least one, in terms of the options."""
    terms = f"--epsilon must be within reach, got {options.epsilon!r}"
    if reason.all_meet:
        return ParameterError(
            f"{terms}, which is kept without any noise to speak of: steps {options.steps} with sampling probability "
            f"{options.sampling_prob!r} cost less at delta {options.delta!r}; lower --epsilon or --delta."
        )
    why = f" (refused on the way: {str(reason.refusal).rstrip('.')})" if reason.refusal else ""
    return ParameterError(
        f"{terms}, which no noise multiplier keeps for steps {options.steps} at delta {options.delta!r}; raise "
        f"--epsilon or --delta, or lower --steps or --sampling-prob{why}."
    )


def _steps(options: argparse.Namespace) -> str:
    """The ``steps`` command."""
    steps = max_times(
        _step(options, options.noise_multiplier),
        epsilon=options.epsilon,
        delta=options.delta,
        relation=options.relation,
        accountant=_ACCOUNTANTS[options.accountant],
    )
    facts = {"steps": steps, "epsilon": options.epsilon, **_facts(options)}
    verb = "step keeps" if steps == 1 else "steps keep"
    return _said(options, facts, f"{steps} {verb} epsilon <= {options.epsilon!r} {_terms(options)}")


def _plan_sum(options: argparse.Namespace) -> str:
    """The ``plan-sum`` command."""
    return _said(options, *plan_sum(options))


def _demo(options: argparse.Namespace) -> str:
    """The ``demo`` command; torch is imported here and nowhere above."""
    # torch's idle threads spin by default: on a machine that does anything else, that costs a factor of three
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from dpkit.demo.progress import Progress
        from dpkit.demo.report import table, write_report
        from dpkit.demo.run import Settings, run
    except ModuleNotFoundError as missing:
        raise DPKitError(
            f"the demo needs {missing.name}; install it with: pip install 'dpkit[torch,he,plot]'."
        ) from missing
    given = {name: value for name, value in vars(options).items() if name in Settings.__dataclass_fields__}
    settings = Settings(**given)
    options.report.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is said before the training
    outcome = run(settings, progress=Progress(settings.rounds))
    files = write_report(outcome, options.report)
    text = "\n\n".join(
        [table(outcome), str(outcome.statement), outcome.promise, f"report: {', '.join(files)} in {options.report}"]
    )
    return _said(options, outcome.facts(), text)


if __name__ == "__main__":
    sys.exit(main())
