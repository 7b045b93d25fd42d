import json
import math
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import Gaussian, Ledger, PLDAccountant, Relation
from accountants.statement import Statement, _shown

FORMS = [str, Statement.markdown, Statement.html, Statement.json]


def _statement(relation="add_remove", unit="user", seeded=0, note=""):
    ledger = Ledger(relation=relation, unit=unit)
    ledger.record(SimpleNamespace(event=Gaussian(5.0), secure=True), times=3, note=note)
    ledger.record(SimpleNamespace(event=Gaussian(5.0), secure=False), times=seeded, note=note)
    return ledger.statement(delta=1e-6)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("relation", Relation)
def test_every_form_states_what_the_epsilon_means(form, relation):
    statement = _statement(relation)
    is_json = form is Statement.json
    text = str(json.loads(form(statement))) if is_json else form(statement).replace("\\", "")
    number = repr(statement.epsilon) if is_json else _shown(statement.epsilon)
    for word in (number, "1e-06", relation.value, "user", str(PLDAccountant()), "upper bound", "3"):
        assert word in text


@pytest.mark.parametrize("form", FORMS[:3])
def test_seeded_randomness_is_said(form):
    assert "WARNING: 2 of 5 used seeded randomness" in form(_statement(seeded=2))
    assert "WARNING" not in form(_statement())


@given(epsilon=st.floats(1e-300, 1e12))
def test_an_epsilon_is_never_shown_smaller_than_it_is(epsilon):
    shown = float(_shown(epsilon))
    assert epsilon <= shown
    assert shown - epsilon <= 1.1e-3 or shown <= epsilon * 1.01


def test_extreme_epsilons():
    assert _shown(0.0) == "0"
    assert _shown(math.inf) == "inf"
    ledger = Ledger(relation="add_remove")
    ledger.record(Gaussian(1e-300))
    assert json.loads(ledger.statement(delta=1e-6).json())["epsilon"] == "inf"
    assert "(inf, 1e-06)" in str(ledger.statement(delta=1e-6))


def test_html_escapes_everything():
    tags = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)

    hostile = '<script>alert("x")</script>'
    statement = _statement(unit=hostile, note=hostile)
    Parser().feed(statement.html())
    assert set(tags) <= {"div", "p", "table", "tr", "th", "td"}
    assert "<script" not in statement.html()


def test_markdown_cells_cannot_be_broken():
    statement = _statement(unit="a|b\nc", note="| x |\n# title")
    rows = [line for line in statement.markdown().splitlines() if line.startswith("|")]
    for row in rows:
        assert row.replace("\\|", "").count("|") in (3, 4)
    assert not [line for line in statement.markdown().splitlines() if line.startswith("#")]


def test_json_holds_the_entries():
    data = json.loads(_statement(note="n").json())
    assert data["entries"] == [["Gaussian(noise_multiplier=5.0)", 3, "n"]]
    assert data["kind"] == "upper bound"
    assert data["releases"] == 3
    assert data["seeded_releases"] == 0


@pytest.mark.parametrize("noise", [1e-153, 1e-8, 1e8, 1e150])
@pytest.mark.parametrize("delta", [1.0000049e-6, 1.0 - 1e-9, 1e-300])
def test_extreme_statements_are_shown_and_nothing_is_rounded_down(noise, delta):
    ledger = Ledger(relation="add_remove")
    ledger.record(Gaussian(noise))
    statement = ledger.statement(delta=delta)
    shown = re.search(r"\((\S+), (\S+)\)-differentially", str(statement))
    assert float(shown[1]) >= statement.epsilon
    assert float(shown[2]) == delta
