"""dpkit: see README."""
