"""The documentation site: `make docs` builds it into build/docs, and every warning is an error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

from storewriter import __version__

GOOGLE = Config(napoleon_use_rtype=False)

project = "storewriter"
author = "the authors of storewriter"
project_copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "benchmarks/local"]
suppress_warnings = [
    "ref.python",  # `type` is a field of several codecs, but in a signature it is the built-in
    "toc.not_readable",  # a page of the menu that is not written yet
]
default_role = "code"  # docstrings mark code by single backticks

myst_enable_extensions = ["attrs_block"]
myst_heading_anchors = 4  # the anchors that GitHub gives to headings: one link works in both places
myst_links_external_new_tab = False

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "show-inheritance": True}
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_title = "storewriter"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["pictures.css"]
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"sidebar_hide_name": False}


def _as_sphinx_reads_them(
    app: Sphinx, what: str, name: str, thing: object, options: dict[str, bool], lines: list[str]
) -> None:
    """Docstrings are written as Google does it: their sections become fields, their examples blocks of Python."""
    # Of the docstring of an attribute napoleon would take all before the first colon for its type.
    kind = "method" if what in {"attribute", "data", "property"} else what
    lines[:] = GoogleDocstring(list(_with_examples(lines)), GOOGLE, app, kind, name, thing, options).lines()
    lines.append("")


def _with_examples(lines: list[str]) -> Iterator[str]:
    depth: int | None = None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if depth is not None and line.strip() and indent <= depth:
            depth = None
        if line.strip() == "Example:":
            depth = indent
            yield from (line[:indent] + text for text in ("For example::", ""))
        else:
            yield line


def _with_dark_pictures(app: Sphinx, doctree: nodes.document) -> None:
    """Beside a picture `x.svg` for which there is `x-dark.svg`, show that one where the theme is dark."""
    for image in list(doctree.findall(nodes.image)):
        dark = image["uri"].removesuffix(".svg") + "-dark.svg"
        if not Path(app.srcdir, app.env.docname).parent.joinpath(dark).exists():
            continue
        beside = image.deepcopy()
        beside["uri"] = dark
        beside["classes"] = [*beside["classes"], "only-dark"]
        image["classes"] = [*image["classes"], "only-light"]
        image.parent.insert(image.parent.index(image) + 1, beside)


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", _as_sphinx_reads_them)
    app.connect("doctree-read", _with_dark_pictures, priority=400)  # before Sphinx looks for the files of pictures
