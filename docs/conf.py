"""Sphinx set-up: Markdown pages, Google docstrings with our own Guarantee section."""

project = "dpkit"
author = "The dpkit developers"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx.ext.doctest",
]
exclude_patterns = ["_build", "changes/README.md", "changes/*.*.md"]
html_theme = "furo"
html_title = "dpkit · secagg · accountants"
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
napoleon_custom_sections = ["Guarantee"]
napoleon_use_rtype = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
add_module_names = False
