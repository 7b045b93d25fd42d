"""Trees whose epochs have one order, counted node by node."""

import pytest

from paper_repro.dp_ftrl.run import example, same_order


def node_by_node(batches, epochs, extra):
    """The same from the definition: every dyadic interval within the steps, and what of one batch lies in it."""
    steps, most = batches * epochs + extra, 0
    for batch in range(batches):
        total, width = 0, 1
        while width <= steps:
            for start in range(0, steps - width + 1, width):
                inside = range(start, min(start + width, batches * epochs))
                total += sum(step % batches == batch for step in inside) ** 2
            width *= 2
        most = max(most, total)
    return most


@pytest.mark.parametrize(("batches", "epochs", "extra"), [(1, 1, 0), (3, 2, 2), (5, 4, 12), (7, 3, 0), (4, 4, 0)])
def test_one_order_in_every_epoch(batches, epochs, extra):
    assert same_order(batches, epochs, extra) == node_by_node(batches, epochs, extra)


def test_the_example():
    assert example() == (926.0, 425.0, 4129.0)
