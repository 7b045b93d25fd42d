"""The report shows what was published and what we get, side by side, and hides nothing."""

import dataclasses

import pytest

from paper_repro import results
from paper_repro.report import as_html, as_markdown, number, rows
from paper_repro.results import Ours
from paper_repro.spec import experiments

GRID = experiments()["accounting_grid"]
RESULT = results.load(GRID)


def test_a_row_for_each_cell():
    found = rows(GRID, RESULT)
    assert [row[0] for row in found] == [cell.id for cell in GRID.cells]
    assert found[0] == (
        "abadi2016.epochs100",
        GRID.cells[0].quantity,
        "1.26",
        number(RESULT.cells["abadi2016.epochs100"].value),
        number(RESULT.cells["abadi2016.epochs100"].today),
        "digits",
        "agrees",
    )
    assert {row[-1] for row in rows(GRID, None)} == {"not run"}


def test_what_differs_is_said():
    wrong = dataclasses.replace(RESULT, cells={**RESULT.cells, "tff.clients": Ours(99.0)})
    assert "| DIFFERS |" in as_markdown([(GRID, wrong)])
    assert "1 DIFFERS" in as_markdown([(GRID, wrong)])
    assert "<td>DIFFERS</td>" in as_html([(GRID, wrong)])
    assert "DIFFERS" not in as_markdown([(GRID, RESULT)])


def test_a_recalled_number_is_not_shown():
    cell = dataclasses.replace(GRID.cells[0], confidence="recalled")
    text = as_markdown([(dataclasses.replace(GRID, cells=(cell,)), RESULT)])
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    assert "not verified" in table
    assert "1.26" not in table.replace("1.25857", "")


@pytest.mark.parametrize(("confidence", "said"), [("summary", "in a summary by others"), ("figure", "off a figure")])
def test_where_a_number_was_read_is_said(confidence, said):
    cell = dataclasses.replace(GRID.cells[0], confidence=confidence)
    assert f"1.26 ({said})" in as_markdown([(dataclasses.replace(GRID, cells=(cell,)), RESULT)])


def test_notes_reasons_and_provenance_are_in_the_report():
    text = as_markdown([(GRID, RESULT)])
    assert "an estimate, not a bound" in text
    assert "their grid ends at a privacy loss of 20" in text
    assert "python -m paper_repro run accounting_grid" in text
    assert "numpy" in text
    assert RESULT.provenance["machine"] in text
    assert "**Deviations**" in text
    assert GRID.readme in text
    assert "not run yet" in as_markdown([(GRID, None)])


def test_html_escapes():
    evil = dataclasses.replace(GRID, title="<b>&")
    assert "<b>" not in as_html([(evil, RESULT)])


def test_html_says_what_markdown_says():
    text = as_html([(GRID, RESULT)])
    assert "an estimate, not a bound" in text
    assert "<code>bu2019.clt</code>" in text
    assert "<code>python -m paper_repro run accounting_grid</code>" in text
    assert text.count("data:image/svg+xml;base64,") == 1
    assert text.count("<table>") == 2
    assert "data:image" not in as_html([(GRID, None)])
