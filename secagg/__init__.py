"""secagg: see README."""
