"""Gaussian noise that is an integer: its variance, its tails, what it costs, and draws of it."""
