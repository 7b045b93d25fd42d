"""A linear model on scattering features."""
