"""Published numbers, computed again and compared: one folder for each experiment, one command for all.

A folder holds ``spec.toml`` (what was published, where, and how closely we must agree), ``run.py`` (how it is computed,
with the public API alone), ``README.md`` (settings, and every deviation from the paper), and of the last full run
``results.json`` and ``plot.svg``.
"""
