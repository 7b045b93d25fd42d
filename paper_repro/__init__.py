"""Published tables, run again and compared. Each folder holds a ``claims.toml`` and a ``run.py`` that computes them."""
