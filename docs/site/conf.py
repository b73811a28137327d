"""The docs site: `make site`. Its source folder is the repository, so that a link means here what it means there."""

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp())  # Keras writes its settings there

import rectified

ROOT = Path(__file__).parents[2]

project = "rectified"
author = "The rectified maintainers"
version = release = rectified.__version__
root_doc = "docs/index"
# The README is the front page of the repository; docs/index.md takes what it needs from it.
PAGES = {"docs", "benchmarks", "examples", *(page.name for page in ROOT.glob("*.md") if page.name != "README.md")}
include_patterns = ["*.md", "examples/*.md", "docs/*.md", "docs/reference/*.md", "benchmarks/results/**.md"]
exclude_patterns = [*(entry.name for entry in ROOT.iterdir() if entry.name not in PAGES), "docs/studies", "docs/site"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.githubpages",  # .nojekyll
    "site_extension",
]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # named as GitHub names them
myst_links_external_new_tab = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature has them; the sentence under Args says what they mean
napoleon_numpy_docstring = False
napoleon_use_rtype = False
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
default_role = "code"
highlight_language = "text"

# A name of ours has to be found. torch's and Python's have no page here, and no inventory is fetched from the network.
nitpicky = True
nitpick_ignore_regex = [
    (
        r"py:class",
        r"rectified\.(study\.config\.controls\.MeanOmega|study\.storage\.records\.Record|workloads\..*LrSchedule)",
    ),
    (r"py:.*", r"(torch|jax|optax|keras|collections|pathlib|numpy|typing|transformers|lightning|abc)\b.*"),
]

html_theme = "furo"
html_title = "rectified"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
html_extra_path = ["front"]  # index.html, which leads to docs/index.html
html_math_renderer = "mathml"
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
