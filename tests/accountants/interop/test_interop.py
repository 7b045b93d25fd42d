"""The libraries are imported when they are asked for, not before."""

import subprocess
import sys


def test_no_other_library_is_imported_with_the_package():
    code = (
        "import sys, accountants.interop; "
        "print([name for name in ('dp_accounting', 'opacus', 'torch', 'flwr') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
