"""A curve at many epsilons: whatever shares work says what the one-by-one walk would."""

import numpy as np

from accountants._many import at_many


def test_one_by_one_in_rising_order_and_back_where_it_was_asked():
    asked = []

    def curve(epsilon, enough):
        asked.append((epsilon, enough))
        return -epsilon - 1.0, -epsilon

    low, high = at_many(curve, np.array([3.0, -1.0, 2.0]), np.array([-30.0, -10.0, -20.0]))
    assert asked == [(-1.0, -10.0), (2.0, -20.0), (3.0, -30.0)]
    assert low.tolist() == [-4.0, 0.0, -3.0]
    assert high.tolist() == [-3.0, 1.0, -2.0]


def test_nothing_asked_nothing_answered():
    low, high = at_many(lambda epsilon, enough: (0.0, 0.0), np.array([]), np.array([]))
    assert low.size == high.size == 0
