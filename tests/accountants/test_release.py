from types import SimpleNamespace

import pytest

from accountants import Gaussian, LedgerError
from accountants._release import check_text, read_release

EVENT = Gaussian(1.0)


def test_repetitions_are_counts_and_seeds_are_told():
    assert read_release((EVENT * 5) * 2, 3) == (EVENT, 30, None)
    assert read_release(SimpleNamespace(event=EVENT * 2, secure=False), 1) == (EVENT, 2, False)
    assert read_release(SimpleNamespace(event=EVENT, secure=True), 1) == (EVENT, 1, True)
    assert read_release(EVENT * 0, 7) == (EVENT, 0, None)


def test_a_release_that_says_nothing_of_its_randomness_is_not_taken_for_secure():
    assert read_release(SimpleNamespace(event=EVENT), 1) == (EVENT, 1, None)
    assert read_release(SimpleNamespace(event=EVENT, secure=None), 1) == (EVENT, 1, None)


@pytest.mark.parametrize("what", [None, SimpleNamespace(event=3), SimpleNamespace(event=EVENT, secure="yes")])
def test_what_is_no_release_is_refused(what):
    with pytest.raises(LedgerError, match="what must be an event or a release"):
        read_release(what, 1)


@pytest.mark.parametrize("times", [-1, 1.0, True, None])
def test_what_is_no_count_is_refused(times):
    with pytest.raises(LedgerError, match="times must be"):
        read_release(EVENT, times)


def test_text_is_text():
    assert check_text("note", "kept") == "kept"
    with pytest.raises(LedgerError, match="note must be a string, got int"):
        check_text("note", 3)
