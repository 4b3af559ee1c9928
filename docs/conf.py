"""Sphinx: the pages of this folder, and the API reference from the docstrings. `make docs` builds docs/_build/html.

Neither building nor reading the pages downloads anything: formulas are MathML, which browsers draw.
"""

from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

import glow_app

project = "glow-app"
release = version = glow_app.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = project
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 3  # as GitHub makes them, which the pages link to

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # otherwise an attribute with its own docstring would appear twice
napoleon_custom_sections = ["Shape"]


def draw_formula(writer: Any, node: nodes.math) -> None:
    """Write a formula inside a line."""
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def draw_formula_block(writer: Any, node: nodes.math_block) -> None:
    """Write a formula of its own."""
    # With room for signs that are taller than their line, or the theme's wrapper would scroll.
    writer.body.append(f"<div style='padding: 0.5em 0'>{tex2mathml(node.astext(), as_block=True)}</div>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Register the formulas."""
    app.add_html_math_renderer("mathml", (draw_formula, None), (draw_formula_block, None))
