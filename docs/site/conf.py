"""Settings of the documentation site (Sphinx): `make docs` builds it into build/site."""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "src"), str(HERE)]

import generated  # noqa: E402

from cordgap._version import __version__  # noqa: E402

project = "cordgap"
author = "The cordgap developers"
copyright = "the cordgap developers, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["site", "example.ipynb"]
myst_heading_anchors = 4
toc_object_entries = False  # the list at the side names pages and modules
smartquotes = False
nitpicky = False  # types of outside packages have no page here
# Two rooms each have a Plan and a Comparison; in a signature the bare name may be either.
suppress_warnings = ["ref.python"]

# Docstrings are in numpy style; types stand in the signature.
napoleon_google_docstring = False
napoleon_use_param = False  # "ndarray of shape (n, 3)" is text: no word of it is a name
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
# Packages of extras: the pages are the same whether they are installed or not.
autodoc_mock_imports = [
    "dask", "dicomweb_client", "dicompylercore", "distributed", "duckdb", "numba", "orjson",
    "psutil", "pynetdicom", "skimage", "trimesh",
]  # fmt: skip

html_theme = "furo"
html_title = f"cordgap {__version__}"
html_static_path: list[str] = []
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": False, "top_of_page_buttons": []}


def with_unlisted(app: Any, name: str, source: list[str]) -> None:
    """Put pages that no list names at the end of the first page, so that none is lost."""
    if name != "index":
        return
    folder = Path(app.srcdir)
    named = {"index"}
    for page in folder.glob("*.md"):
        for block in re.findall(r"```\{toctree\}(.*?)```", page.read_text(encoding="utf-8"), re.S):
            named |= set(re.findall(r"^[\w/-]+$", block, re.M))
    if left := sorted({page.stem for page in folder.glob("*.md")} - named):
        lines = ["", "```{toctree}", ":caption: More", ":hidden:", "", *left, "```", ""]
        source[0] += "\n".join(lines)


def with_titles(app: Any, doctree: nodes.document, name: str) -> None:
    """Name a page by its title where the source names it by its file, as a code host needs it."""
    for link in doctree.findall(nodes.reference):
        text = link.astext()
        if not (link.get("internal") and text.endswith(".md") and link.get("refuri")):
            continue
        place = link["refuri"].partition("#")[0].removesuffix(".html")
        page = posixpath.normpath(posixpath.join(posixpath.dirname(name), place))
        if page in app.env.titles:
            link.children = [nodes.inline("", app.env.titles[page].astext())]


def without_factories(*of_object: Any) -> tuple[str, str] | None:
    """Write a default that is made anew each time as ``...``: ``<factory>`` is no Python."""
    signature, result = of_object[-2:]
    return (signature.replace("<factory>", "..."), result) if signature else None


def setup(app: Any) -> dict[str, bool]:
    """Write the generated pages before the sources are listed."""
    app.connect("builder-inited", lambda app: generated.write(Path(app.srcdir) / "generated"))
    app.connect("source-read", with_unlisted)
    # Whether pages have come or gone stands in no file that Sphinx looks at.
    app.connect("env-get-outdated", lambda *of_build: ["index"])
    app.connect("doctree-resolved", with_titles)
    app.connect("autodoc-process-signature", without_factories)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
