"""Sums under masks that cancel: the shares, masks and keys that clients and server work with."""
