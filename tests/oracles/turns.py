"""Sums of numbers that turn in the complex plane: what both inverse transforms add up, node after node."""

import mpmath as mp
import numpy as np

ROOM = 30  # bits more than the digits asked have: an entry is off by 2^-bits more after every turn


def turning(weights, angles, digits):
    """sum_j weights_j e^{i k angles_j} for k = 0, 1, ... without end, to so many digits of the largest weights.

    In integers, as multiples of a small power of two: many times as fast as complex numbers of mpmath.
    """
    with mp.workdps(digits):
        bits = mp.mp.prec + ROOM
        turns = [mp.expj(angle) for angle in angles]
        cos, sin = _integers([turn.real for turn in turns], bits), _integers([turn.imag for turn in turns], bits)
        real, imag = _integers(weights, bits), _integers([mp.mpf(0)] * len(turns), bits)
    while True:
        with mp.workdps(digits):
            value = mp.mpc(mp.ldexp(real.sum(), -bits), mp.ldexp(imag.sum(), -bits))
        yield value
        real, imag = (real * cos - imag * sin) >> bits, (real * sin + imag * cos) >> bits


def _integers(values, bits):
    """Numbers as multiples of 2^-bits: Python's integers, in an array."""
    return np.array([int(mp.nint(mp.ldexp(value, bits))) for value in values], dtype=object)
