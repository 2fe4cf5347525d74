"""Configuration of the documentation: ``make docs`` builds it, without a network."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

import site_inventories  # noqa: E402
import site_math  # noqa: E402
import site_pages  # noqa: E402
import site_references  # noqa: E402

import freqlab  # noqa: E402

project = "freqlab"
author = "The freqlab developers"
release = version = freqlab.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = None
smartquotes = False  # "--verify" stays two hyphens
nitpicky = True
nitpick_ignore_regex = site_references.IGNORED

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries = False
numpydoc_show_class_members = False

# Names of other packages that the pages refer to. They are listed in site_inventories.py, so that
# a build needs no network, and a broken reference is an error.
intersphinx_mapping = site_inventories.write(DOCS / "_build" / "inventories")

html_theme = "pydata_sphinx_theme"
html_context = {"default_mode": "auto"}
html_title = "freqlab"
html_static_path = ["_static"]
html_css_files = ["freqlab.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
# Pages without pages below them need no list of these.
_WITHOUT_LIST = ("index", "gallery", "figures", "findings/index", "changelog")
html_sidebars: dict[str, list[str]] = {page: [] for page in _WITHOUT_LIST}
html_theme_options = {
    "logo": {"text": "freqlab"},
    "navbar_align": "left",
    "navbar_center": ["navbar-nav"],
    "header_links_before_dropdown": 8,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["sphinx-version"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: object) -> None:
    """Write the generated pages, and resolve references by public name."""
    site_math.set_up(app)
    site_references.set_up(app)
    app.connect("config-inited", lambda app, config: site_pages.write(DOCS))
