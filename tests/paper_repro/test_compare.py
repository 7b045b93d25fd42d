"""Agreement means what the spec says, and no more."""

import pytest

from paper_repro.compare import Agreement


@pytest.mark.parametrize(
    ("agree", "ours", "published", "holds"),
    [
        ("digits", 1.1949999, "1.19", True),
        ("digits", 1.1950001, "1.19", False),
        ("digits", 1.1849999, "1.19", False),
        ("digits", 7.1004, "7.10", True),
        ("digits", 7.11, "7.1", True),
        ("up", 1.181, "1.19", True),
        ("up", 1.199, "1.19", True),
        ("up", 1.2000001, "1.19", False),
        ("abs 0.5", 97.4, "97", True),
        ("abs 0.5", 97.6, "97", False),
        ("rel 0.01", 101.0, "100", True),
        ("rel 0.01", -101.0, "100", False),
        ("at least", 0.99, "1", False),
        ("at least", 1.0, "1", True),
        ("at most", 1.01, "1", False),
        ("differs 0.02 to 0.03", 19.5, "19.087", True),
        ("differs 0.02 to 0.03", 19.1, "19.087", False),
        ("differs 0.02 to 0.03", 19.7, "19.087", False),
        ("differs 0.02 to 0.03", 18.6, "19.087", False),
        ("differs -0.03 to -0.02", 18.6, "19.087", True),
        ("differs -0.03 to -0.02", 19.5, "19.087", False),
    ],
)
def test_agreement(agree, ours, published, holds):
    assert Agreement.parse(agree).holds(ours, published) is holds
    assert str(Agreement.parse(agree)) == agree


@pytest.mark.parametrize("agree", ["digits", "abs 1", "rel 1", "at least", "at most", "differs 0.1 to 1", "shown"])
def test_what_is_no_number_agrees_with_nothing(agree):
    assert not Agreement.parse(agree).holds(float("nan"), "1")
    assert not Agreement.parse(agree).holds(float("inf"), "1")


OTHERS = ["", "abs", "rel", "close", "digits 3", "abs x", "abs  ", "abs 1 to 2"]
OTHERS += ["differs", "differs 0.1", "differs 0 to 1", "differs 0.2 to 0.1", "differs -0.1 to 0.1"]


@pytest.mark.parametrize("agree", OTHERS)
def test_other_words_are_refused(agree):
    with pytest.raises(ValueError):
        Agreement.parse(agree)
