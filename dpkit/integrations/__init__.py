"""Adapters to training frameworks, one file each: translation only. Nothing is imported before it is asked for.

Modules: opacus (its per-sample gradients clipped here, its steps recorded in a ledger).
"""

from __future__ import annotations

__all__: list[str] = []
