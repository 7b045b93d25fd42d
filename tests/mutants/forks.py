"""One process that knows the third-party libraries and no module of ours; each run of pytest is a child forked from it.

Starting Python and importing numpy, scipy, torch, Hypothesis and pytest takes longer than most killers do. Here that is
done once a folder. A child imports the packages and the tests itself, from the folder that it is given, and ends with
its run: nothing that a test imported, patched or drew can reach another run.

Run as a program it reads requests (lines of JSON) and answers each with its number and the exit status of its child.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Third-party only: were a module of ours already there, a child would not see what was done to its file.
PRELOADED = (
    "numpy",
    "scipy.special",
    "scipy.optimize",
    "scipy.fft",
    "hypothesis.strategies",
    "mpmath",
    "cryptography.hazmat.primitives.ciphers",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "dp_accounting.pld.accountant",
    "tenseal.sealapi",
    "torch",
)
OURS = ("accountants", "dpkit", "secagg", "paper_repro", "tests")
# Exit statuses beside pytest's own (0 to 5).
STRANGER, TIMEOUT = 70, 124


@dataclass(frozen=True)
class Run:
    """What one run of pytest ended with and wrote."""

    status: int
    output: str

    @property
    def killed(self):
        """Whether a test failed: pytest counts those in its last line, and an error outside of a test is none."""
        last = self.output.rstrip().rpartition("\n")[2]
        return self.status == 1 and re.search(r"\b[1-9]\d* failed\b", last) is not None


class Forks:
    """The process that forks, and the folder in which its children run."""

    def __init__(self, folder):
        environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "CI": "true",
            "HYPOTHESIS_PROFILE": "killers",
        }
        self._asked = 0
        self._output = folder.parent / f"{folder.name}.txt"
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *tests, timeout):
        """Run these tests in a new child."""
        self._asked += 1
        self.ask(self._asked, *tests, timeout=timeout)
        number = status = None
        while number != self._asked:  # one before it, if whoever asked did not wait for the end
            answer = self._server.stdout.readline()
            if not answer:
                raise ChildProcessError(f"the process that forks ended with status {self._server.wait(10)}")
            number, status = json.loads(answer)
        return Run(status, self._output.read_text(errors="replace"))

    def ask(self, number, *tests, timeout):
        """Send a request, and wait for nothing."""
        request = {"number": number, "tests": tests, "output": str(self._output), "timeout": timeout}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()

    def close(self):
        """End the process: it ends with its input."""
        try:
            self._server.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.communicate()


def _ours():
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in OURS}


def _child(tests, output):
    """Run pytest with its input and output cut off from the requests; ends with its exit status."""
    with Path(output).open("w") as file, Path(os.devnull).open() as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # Plain assertions, because no module is rewritten then, and no module need be compiled a second time.
    options = ["-x", "-q", "--no-header", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]
    status = int(pytest.main([*options, *tests]))
    folder = Path.cwd()
    strangers = [
        name
        for name, module in _ours().items()
        if getattr(module, "__file__", None) and not Path(module.__file__).is_relative_to(folder)
    ]
    if strangers:
        sys.stdout.write(f"imported from elsewhere: {', '.join(strangers)}\n")
        status = STRANGER
    sys.stdout.flush()
    sys.exit(status)


def _answer(request):
    """The number of a request, and the exit status of a new child that runs its tests."""
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=_child, args=(request["tests"], request["output"]))
    child.start()
    child.join(request["timeout"])
    if child.is_alive():
        child.kill()
        child.join()
        return request["number"], TIMEOUT
    return request["number"], child.exitcode


def main():
    """Answer requests until the input ends."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())
    import pytest

    for _name in PRELOADED:
        with contextlib.suppress(ImportError):  # then it is up to the tests that need it
            importlib.import_module(_name)
    gc.freeze()  # a child need not look through what all of them share
    main()
