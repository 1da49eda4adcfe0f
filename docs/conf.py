"""Sphinx: the documentation in docs/. Nothing is fetched from the network."""

import re
from pathlib import Path

_package = Path(__file__).parent.parent / "batchgen" / "__init__.py"
_version = re.search(r'__version__ = "(.+?)"', _package.read_text(encoding="utf-8"))
if _version is None:
    raise RuntimeError(f"{_package} does not say its version")

project = "batchgen"
author = "The batchgen authors"
project_copyright = f"{author}. Apache-2.0"
release = _version[1]
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
smartquotes = False  # "--option" is not a dash
html_theme = "furo"
html_title = f"batchgen {release}"
html_copy_source = False
