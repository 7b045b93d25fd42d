"""Sphinx set-up: Markdown pages, Google docstrings with our own Guarantee section."""

import importlib
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # paper_repro is no part of the distribution

from paper_repro.report import as_markdown
from paper_repro.results import current
from paper_repro.spec import experiments

project = "dpkit"
author = "The dpkit developers"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["_build", "changes/README.md", "changes/*.*.md"]
html_theme = "furo"
html_title = "dpkit · secagg · accountants"
myst_enable_extensions = ["attrs_block", "deflist", "dollarmath"]
myst_heading_anchors = 3
napoleon_custom_sections = ["Guarantee"]
napoleon_use_rtype = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
add_module_names = False

# Links to what this project does not document: the standard library, numpy, torch.
nitpick_ignore_regex = [
    (
        "py:(class|obj|exc|meth|func|mod|data)",
        r"(enum|abc|typing|collections|numpy|np|torch|nn|decimal|fractions|threading)\..*",
    ),
    ("py:.*", r"(ABC|StrEnum|Protocol|Generic|TypeVar)"),
    ("py:obj", r"secagg\.api\.(ClientT|ServerT)"),
    ("py:class", r"dpkit\._laws\.Law"),
]

_RAISED = re.compile(r"^(\s+)(\w+Error)(?=: )")


def prepare(app, what, name, obj, options, lines):
    """The three packages name their errors alike: link each to that of its own package."""
    if what in ("property", "attribute", "data") and lines:
        lines[0] = lines[0].replace(": ", " – ")  # napoleon would read what stands before a colon as a type
    package = name.split(".")[0]
    known = vars(importlib.import_module(f"{package}.errors"))
    for number, line in enumerate(lines):
        match = _RAISED.match(line)
        if match and match[2] in known:
            lines[number] = f"{match[1]}~{package}.errors.{match[2]}{line[match.end() :]}"


def report(app, docname, source):
    """The page of published numbers holds the report of the committed results."""
    if docname == "reproductions":
        known = experiments().values()
        tables = as_markdown([(one, current(one)) for one in known], pictures="../paper_repro")
        source[0] = source[0].replace("<!-- report -->", tables)


def setup(app):
    app.connect("autodoc-process-docstring", prepare, priority=400)
    app.connect("source-read", report)
