"""The site: `make docs` builds it from these pages and from the code, and stops at any warning."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import generate  # noqa: E402 (found by the path above)

from ml import __version__  # noqa: E402

project = "RoadSense"
author = "the RoadSense authors"
project_copyright = "2026, the RoadSense authors, MIT licence"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = [  # included
    "generated/leaderboard/ranking.md",
    "generated/metrics/*",
    "generated/observation.md",
    "generated/submission.md",
]
myst_enable_extensions = ["colon_fence", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
default_role = "literal"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"RoadSense {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"source_directory": "docs/", "navigation_with_keys": True}
copybutton_prompt_text = "$ "


def setup(app):
    """Make the generated pages first, and point links that leave docs/ to the repository."""
    app.connect("config-inited", lambda *_: generate.write_pages(HERE / "generated"))
    app.connect("source-read", generate.rewrite_links)
    app.connect("autodoc-process-docstring", generate.mend_tables)
