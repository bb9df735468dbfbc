"""Sphinx configuration: ``tox run -e docs``, or ``sphinx-build -W docs docs/_build/html``.

Two environment variables, both off by default: SKFAIRLATENT_DOCS_GALLERY executes the examples,
SKFAIRLATENT_DOCS_ONLINE links to the documentation of other projects.
"""

import os
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent / "examples"
GALLERY = HERE / "auto_examples"
sys.path.insert(0, str(HERE))  # gallery

project = "skfairlatent"
author = "skfairlatent developers"
project_copyright = "2026, skfairlatent developers"
release = installed_version("skfairlatent")
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # formulas show without a network
    "sphinx_copybutton",
    "numpydoc",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "auto_examples/**/*.md5", "auto_examples/**/*.ipynb"]
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]  # audit pages and pictures that examples wrote
html_css_files = ["site.css"]
html_theme_options = {
    # The tables of results need its room; a page must match one pattern only.
    "secondary_sidebar_items": {"results/**": [], "[!r]**": ["page-toc"]},
}
html_title = "skfairlatent"
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # the numpydoc sections say more
numpydoc_show_class_members = False

# An inventory that cannot be fetched is a warning, hence an error: only where there is a network.
intersphinx_mapping = (
    {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "fairlearn": ("https://fairlearn.org/main", None),
    }
    if os.environ.get("SKFAIRLATENT_DOCS_ONLINE")
    else {}
)

if any(EXAMPLES.glob("*.py")):
    extensions.append("sphinx_gallery.gen_gallery")
    sphinx_gallery_conf = {
        "examples_dirs": str(EXAMPLES),
        "gallery_dirs": GALLERY.name,
        "filename_pattern": r"plot_",
        "plot_gallery": bool(os.environ.get("SKFAIRLATENT_DOCS_GALLERY")),
        "download_all_examples": False,
        "show_memory": False,
        "abort_on_example_error": True,
        "remove_config_comments": True,
        "within_subsection_order": "gallery.ReadingOrder",
        "reset_modules": ("matplotlib", "gallery.forget_settings"),
        # The examples that use a class or a function are listed below its description.
        "backreferences_dir": "api/backreferences",
        "doc_module": ("skfairlatent",),
    }
else:  # the table of contents names this page
    GALLERY.mkdir(exist_ok=True)
    stub = "Examples\n========\n\nNone yet.\n"
    (GALLERY / "index.rst").write_text(stub, encoding="utf-8")


def skip_member(_app: Any, _what: str, name: str, _member: Any, skip: bool, _options: Any) -> bool:
    """Leave out scikit-learn's set_fit_request and the like: its text refers to its own pages."""
    return skip or bool(re.fullmatch(r"set_\w+_request", name))


def setup(app: Any) -> None:
    """Connect what is defined above."""
    app.connect("autodoc-skip-member", skip_member)
