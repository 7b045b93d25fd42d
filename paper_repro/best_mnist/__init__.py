"""The best that five minutes can do: MNIST at epsilon 1, 2 and 3."""
