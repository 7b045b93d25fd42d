"""Published numbers are computed, compared, and a wrong one would be seen."""

import tomllib

import pytest

from paper_repro import __main__ as program


def test_every_published_number_agrees(capsys):
    assert program.main(["check"]) == 0
    assert capsys.readouterr().out.count("agrees") == len(program.claims()) >= 5


def test_a_wrong_number_is_seen(capsys):
    claim = next(iter(program.claims().values())) | {"published": "1.20"}
    agrees, line = program.run(claim)
    assert not agrees
    assert "DIFFERS" in line


def test_list_and_run(capsys):
    assert program.main(["list"]) == 0
    name = capsys.readouterr().out.split()[0]
    assert program.main(["run", name]) == 0
    assert name in capsys.readouterr().out


def test_unknown_id_is_one_line(capsys):
    assert program.main(["run", "nothing"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize("path", sorted(program.HERE.glob("*/claims.toml")), ids=lambda path: path.parent.name)
def test_claims_name_their_source(path):
    table = tomllib.loads(path.read_text())
    assert table["source"]
    assert len({claim["id"] for claim in table["claim"]}) == len(table["claim"])
