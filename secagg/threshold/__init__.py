"""Sums that no single party can open: one-session lattice keys, shared among the parties."""
