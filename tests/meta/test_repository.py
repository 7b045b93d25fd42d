"""What the repository says about itself agrees with itself."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_versions_agree():
    import dpkit

    assert dpkit.__version__ == PROJECT["version"]
    assert f"version: {PROJECT['version']}" in (ROOT / "CITATION.cff").read_text()


def test_licence_is_the_one_named():
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "license: Apache-2.0" in (ROOT / "CITATION.cff").read_text()


def test_extras_are_those_of_the_design():
    wanted = {"torch", "opacus", "he", "plot", "repro", "flower", "nvflare", "pfl", "all", "dev"}
    assert set(PROJECT["optional-dependencies"]) == wanted


def test_constraints_pin_every_direct_requirement():
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["torch"], *extras["he"], *extras["plot"], *extras["dev"]]
    names = {re.split(r"[<>=\[; ]", requirement)[0].lower() for requirement in wanted} - {"dpkit"}
    assert names - pinned == set()


def test_readme_opens_with_the_two_commands():
    opening = (ROOT / "README.md").read_text()[:1200]
    assert opening.index("make demo") < opening.index("make test")


def test_news_fragments_are_of_a_known_kind():
    kinds = {"privacy", "breaking", "feature", "fix", "docs"}
    fragments = [path for path in (ROOT / "docs" / "changes").iterdir() if path.name != "README.md"]
    assert fragments
    assert {path.suffixes[-2].lstrip(".") for path in fragments} <= kinds
