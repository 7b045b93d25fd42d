"""Cells of masked sums: the table is the one that was read, a probability is counted, and a margin would notice."""

import dataclasses
from fractions import Fraction

import pytest

from paper_repro.compare import Agreement
from paper_repro.results import Ours, load, verdict
from paper_repro.spec import experiments
from tests.oracles import thresholds as oracle

KNOWN = experiments()
BYTES, GRAPHS = KNOWN["bonawitz_bytes"], KNOWN["secaggplus_parameters"]


def test_the_table_is_whole_and_as_it_was_read():
    """Typed twice: here for the experiment, and by itself for the tests of the search."""
    typed = {}
    for cell in GRAPHS.cells:
        if cell.settings["what"] in ("degree", "threshold") and cell.published:
            row = cell.settings
            key = (row["adversary"] == "semi_malicious", row["corrupt"], row["dropout"], row["num_parties"])
            typed.setdefault(key, {})[row["what"]] = int(cell.published)
    read = {
        (*terms, n): {"degree": row[0], "threshold": row[1]}
        for terms, rows in oracle.PUBLISHED.items()
        for n, row in zip(oracle.SIZES, rows, strict=True)
        if row
    }
    assert typed == read
    assert len(read) == 88


def test_rows_that_differ_are_those_that_break_their_own_rule():
    wrong = {cell.id for cell in GRAPHS.cells if cell.agreement.kind == "differs"}
    assert len(wrong) == len(oracle.BEYOND)
    for name in wrong:
        row = next(cell.settings for cell in GRAPHS.cells if cell.id == name)
        assert (False, row["corrupt"], row["dropout"], row["num_parties"]) in oracle.BEYOND


@pytest.mark.parametrize("degree", [4, 6])
def test_counted_sets_reach_the_union_bound(degree):
    """No set of dropped parties is bad for two of them at once, so the bound is the probability."""
    found = load(GRAPHS).cells[f"stuck.n10.degree{degree}"].value
    assert found == pytest.approx(float(10 * oracle.tail(10, 7, degree, range(2))), abs=1e-15)


@pytest.mark.parametrize("times", [6, 8])
def test_the_formula_is_the_only_one_that_prints_all_ratios(times):
    printed = [cell for cell in BYTES.cells if cell.settings["method"] == "formula"]
    assert len(printed) == 3
    agree = [Agreement("digits").holds(_ratio(cell.settings, times * 256), cell.published) for cell in printed]
    assert not all(agree)
    assert all(Agreement("digits").holds(_ratio(cell.settings, 7 * 256), cell.published) for cell in printed)


def test_a_bit_more_for_each_party_is_another_ratio():
    cell = next(cell for cell in BYTES.cells if cell.id == "expansion.n16384.d1048576")
    assert not Agreement("digits").holds(_ratio(cell.settings, 7 * 256 + 1), cell.published)


def _ratio(settings, each):
    """Bits of a party over those of its vector, `each` of them for each party beside the masked entries."""
    n, dim, bits = settings["parties"], settings["dim"], settings["bits"]
    width = (n * (2**bits - 1)).bit_length()
    return float(Fraction(each * n - 4 * 256 + dim * width, dim * bits))


@pytest.mark.parametrize("name", ["messages.n1024.d1048576", "messages.n16384.d16777216"])
def test_margins_notice_two_bytes_for_each_party(name):
    cell = next(cell for cell in BYTES.cells if cell.id == name)
    kept = load(BYTES).cells[name]
    more = 2 * cell.settings["parties"] * 8 / (cell.settings["dim"] * cell.settings["bits"])
    assert verdict(cell, kept) == "agrees"
    assert verdict(cell, dataclasses.replace(kept, value=kept.value + more)) == "DIFFERS"


def test_quotients_of_time_tell_growth_apart():
    """Work that does not grow, or as the square; masks as those who are gone alone."""
    cells = {cell.id: cell for cell in KNOWN["bonawitz_time"].cells}
    for name, wrong in [("client.twice", (1.0, 4.0)), ("server.gone30.over.gone10", (1.0, 3.0))]:
        assert [verdict(cells[name], Ours(value)) for value in wrong] == ["DIFFERS", "DIFFERS"]
