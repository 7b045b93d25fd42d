"""Timing of functions in turn, so that all of them meet the same machine."""

import time


def interleaved(ours, peer, repeats=7, clock=time.perf_counter):
    """The least seconds of each over `repeats` turns, after one turn to warm up."""
    return in_turn((ours, peer), repeats, clock)


def in_turn(functions, repeats=7, clock=time.perf_counter):
    """The same of any number of functions."""
    best = [float("inf")] * len(functions)
    for turn in range(repeats + 1):
        for side, function in enumerate(functions):
            start = clock()
            function()
            if turn:
                best[side] = min(best[side], clock() - start)
    return best


def row(what, against, seconds, peer_seconds, reach):
    """A row whose ratio says how many times faster we are."""
    return {
        "what": what,
        "against": against,
        "ours": f"{1e3 * seconds:.3g} ms",
        "peer": f"{1e3 * peer_seconds:.3g} ms",
        "ratio": f"{peer_seconds / seconds:.2f} × faster",
        "reach": reach,
    }
