"""``python -m dpkit`` is the command line."""

from __future__ import annotations

import sys

from dpkit.cli import main

sys.exit(main())
