"""Importing a package is cheap, and loads neither torch nor tenseal."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "tenseal", "opacus", "matplotlib", "scipy.stats", "hypothesis", "pytest")


def _run(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("package", ["accountants", "secagg", "dpkit"])
def test_import_loads_nothing_heavy(package):
    loaded = _run(f"import sys, {package}; print([name for name in {HEAVY!r} if name in sys.modules])")
    assert loaded.strip() == "[]"


def test_sums_are_imported_when_they_are_asked_for():
    lines = _run(
        "import sys, dpkit\n"
        "print('secagg' in sys.modules)\n"
        "print(dpkit.private_mean is dpkit.federated.private_mean, dpkit.MeanRelease.__name__)\n"
        "print('secagg' in sys.modules)\n"
        "from dpkit import *\n"
        "print(private_mean is dpkit.private_mean, hasattr(dpkit, 'nothing'))"
    ).splitlines()
    assert lines == ["False", "True MeanRelease", "True", "True False"]


@pytest.mark.parametrize("package", ["accountants", "secagg", "dpkit"])
def test_import_stays_under_half_a_second(package):
    # CPU seconds of the import alone, the best of three: another process on the machine must not decide a test
    code = f"import time; start = time.process_time(); import {package}; print(time.process_time() - start)"
    assert min(float(_run(code)) for _ in range(3)) < 0.5


def test_importing_touches_no_global_state():
    before_after = _run(
        "import random, logging, numpy as np, warnings\n"
        "def state():\n"
        "    numbers = random.getstate(), np.random.get_state()[1].tolist()\n"
        "    return *numbers, len(logging.getLogger().handlers), warnings.filters[:]\n"
        "before = state()\n"
        "import accountants, secagg, dpkit\n"
        "print(before == state())"
    )
    assert before_after.strip() == "True"
