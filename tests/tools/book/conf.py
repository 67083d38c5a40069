"""How the pages of the book look: the settings of Sphinx. `python -m tests.tools.book build` calls it."""

import importlib.util
from pathlib import Path

HERE = Path(__file__).parent

# MathJax with its fonts in one file, from a package that is no extension worth the name: only its file is needed.
MATHJAX = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax" / "tex-svg.js"

project, author, language = "minidiff", "The minidiff authors", "en"
extensions = ["myst_nb", "sphinx_copybutton", "sphinx.ext.githubpages"]
root_doc, exclude_patterns, templates_path = "index", ["extra"], ["templates"]

nb_execution_mode = "off"  # the stored outputs are what the tests hold
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "text/html", 0)]
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

mathjax_path = MATHJAX.name
# The menu of a formula would load more files, and would make every formula a stop of the tabulator key.
mathjax3_config = {"options": {"enableMenu": False}}

html_theme, html_title, html_favicon = "furo", "minidiff", "static/icon.svg"
html_theme_options = {"top_of_page_buttons": [], "navigation_with_keys": True}
html_static_path = [str(MATHJAX), "static"]
html_css_files, html_js_files = ["book.css"], ["book.js"]
html_extra_path = []  # set by the build: the pictures, the sounds, the notebooks to download
html_copy_source = html_show_copyright = html_show_sourcelink = False
html_use_index = False
pygments_dark_style = "a11y-dark"
copybutton_exclude = ".linenos, .gp, .go"


def levels(app, page, template, context, doctree) -> None:
    """The names of the parts at the side are headings, and the theme does not say of which level."""
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace(
        'class="caption" role="heading"', 'class="caption" role="heading" aria-level="2"'
    )


def setup(app) -> None:
    app.connect("html-page-context", levels, priority=900)  # after the theme, which makes the tree
