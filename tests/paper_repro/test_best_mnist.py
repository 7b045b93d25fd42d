"""What the best digits rest on: features from drawings alone, of length one, and digits that judged no setting."""

import torch

from dpkit.demo.data import synthetic_digits
from paper_repro.best_mnist.run import Lens, _unjudged
from paper_repro.scattering import drawings, scattering


def test_rows_have_length_one_and_know_no_other_record():
    lens = Lens.of(scattering(drawings(100)), 30)
    digits = synthetic_digits(40, 10).train_images
    rows = lens(digits)
    assert rows.shape == (40, 30)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(40))
    torch.testing.assert_close(rows[:7], lens(digits[:7]))


def test_digits_that_judged_nothing_are_not_learned_from():
    learned = torch.arange(60.0)[:, None], torch.arange(60)
    tested = 100 + torch.arange(10.0)[:, None], 100 + torch.arange(10)
    (rows, labels), (apart, truth) = _unjudged(learned, tested)
    assert truth.tolist() == list(range(20, 50))
    assert labels.tolist() == [*range(20), *range(50, 60), *range(100, 110)]
    assert torch.equal(apart[:, 0], truth.float())
    assert torch.equal(rows[:, 0], labels.float())
