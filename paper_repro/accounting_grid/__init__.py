"""Epsilons that were printed, by every accountant that printed them."""
