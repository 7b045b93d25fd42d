"""Private prefix sums: how much noise a tree, a square root, its bands and a few buffers leave in them."""
