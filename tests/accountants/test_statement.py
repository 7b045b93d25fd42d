import html
import json
import math
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accountants import Budget, Gaussian, Ledger, LedgerError, NonPrivate, Odometer, Plan, PLDAccountant, Relation
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


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_what_was_assumed_and_enforced(form):
    statement = _statement(seeded=2)
    text = str(json.loads(form(statement))) if form is Statement.json else html.unescape(form(statement))
    assert len(statement.assumed) > 3
    assert len(statement.enforced) > 1
    for clause in (*statement.assumed, *statement.enforced):
        assert clause in text.replace('"', "'") or clause in text
    for name in ("assumed", "enforced"):
        assert name in text.lower()


def test_what_is_assumed_stands_before_what_is_enforced():
    statement = _statement()
    lines = str(statement).splitlines()
    middle = lines.index("Enforced:")
    assert lines[1] == "Assumed:"
    assert lines[2:middle] == [f"- {clause};" for clause in statement.assumed[:-1]] + [f"- {statement.assumed[-1]}."]
    assert len(lines) == middle + 1 + len(statement.enforced)


def test_a_clause_is_one_line_whatever_its_words():
    statement = _statement(unit="user\nEnforced:\n- everything")
    for text in (str(statement), statement.markdown()):
        assert [line for line in text.splitlines() if line.startswith("- everything")] == []


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
    assert set(tags) <= {"div", "p", "table", "tr", "th", "td", "ul", "li"}
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


@pytest.mark.parametrize(
    "make",
    [
        lambda: _statement(note="n", seeded=2),
        lambda: Ledger(relation="replace_one").statement(delta=0.25),
        lambda: Budget(epsilon=1.0, delta=1e-6, relation="add_remove").statement(),
        lambda: Odometer(delta=1e-6, relation="zero_out").statement(),
        lambda: Plan(NonPrivate(), relation="add_remove").statement(delta=1e-6),
    ],
    ids=["ledger", "empty", "budget", "odometer", "infinite"],
)
def test_json_gives_the_statement_back(make):
    statement = make()
    again = Statement.from_json(statement.json())
    assert again == statement
    assert again.json() == statement.json()
    assert str(again) == str(statement)
    assert type(again.relation) is Relation


def _with(**changes):
    return json.dumps({**json.loads(_statement(note="n").json()), **changes})


def _without(*names):
    return json.dumps({name: value for name, value in json.loads(_with()).items() if name not in names})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_with(schema="accountants.statement/2"), "'accountants.statement/1', got 'accountants.statement/2'; use the"),
        (_with(schema="accountants.ledger/2"), "schema must be"),
        (_without("schema", "assumed", "enforced"), "schema must be 'accountants.statement/1', got 'None'"),
        (_without("assumed"), "exactly the keys"),
        (_with(more=1), "exactly the keys"),
        ("[]", "schema must be"),
        ("{", "text must be JSON"),
        (_with(kind="estimate"), "kind must be 'upper bound', got 'estimate'"),
        (_with(epsilon=-1.0), "epsilon must be >= 0"),
        (_with(epsilon="-inf"), "epsilon must be a finite number"),
        (_with(epsilon=True), "epsilon must be a finite number"),
        (_with(delta=0.0), "delta must be"),
        (_with(relation="remove"), "relation must be one of"),
        (_with(unit=3), "unit must be a string"),
        (_with(accountant=None), "accountant must be a string"),
        (_with(releases=-1), "releases must be"),
        (_with(seeded_releases=4), "seeded_releases must be at most"),
        (_with(entries=3), "entries must be a list"),
        (_with(entries=[["event", 1]]), "entries must be a list"),
        (_with(entries=[["event", 1.5, ""]]), "times must be"),
        (_with(assumed="all"), "assumed must be a list"),
        (_with(enforced=[1]), "enforced must be a string"),
        (_with(epsilon=3.5).replace("3.5", "NaN"), "numbers must be finite"),
    ],
)
def test_what_is_not_a_statements_json_is_refused(text, said):
    with pytest.raises(LedgerError, match=re.escape(said)):
        Statement.from_json(text)
