"""Gaussian noise from the normal law itself, and from the classical formula."""
