"""MNIST read by a network that sees ciphertexts only."""
