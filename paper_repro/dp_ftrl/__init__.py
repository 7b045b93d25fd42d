"""DP-FTRL: what its example costs, and a short training run."""
