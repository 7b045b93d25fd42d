"""Pictures are drawn from results, the same each time."""

from paper_repro import plots, results
from paper_repro.spec import experiments


def test_the_same_picture_from_the_same_result(tmp_path):
    grid = experiments()["accounting_grid"]
    for name in ("one.svg", "two.svg"):
        assert plots.draw(grid, results.load(grid), tmp_path / name)
    one = (tmp_path / "one.svg").read_text()
    assert one == (tmp_path / "two.svg").read_text()
    assert "<svg" in one
    for label in ("published", "ours, as published", "ours, today"):
        assert label in one
