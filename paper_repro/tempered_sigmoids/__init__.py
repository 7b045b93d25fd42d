"""Tanh for ReLU, at the same budget."""
