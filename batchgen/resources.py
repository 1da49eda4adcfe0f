"""Where the files are that come with batchgen, and those that it keeps for a person."""

import sys
from collections.abc import Mapping
from pathlib import Path

from batchgen.files import user_folder


def schemas_folder() -> Path:
    """Return the folder of the schemas that come with us, installed or in the repository."""
    here = Path(__file__).parent
    installed = here / "schemas"
    return installed if installed.is_dir() else here.parent / "schemas"


def docs_folder() -> Path:
    """Return the folder of the pages that `batchgen help` shows, installed or in the repository."""
    here = Path(__file__).parent
    installed = here / "docs"
    return installed if installed.is_dir() else here.parent / "docs"


def user_schemas_folder(environment: Mapping[str, str]) -> Path | None:
    """Return the folder of the schemas that the person fetched; None where there is no home.

    It is in the platform's usual place for what can be fetched again.
    """
    usual = "Library/Caches" if sys.platform == "darwin" else ".cache"
    folder = user_folder(environment, "XDG_CACHE_HOME", usual)
    return folder and folder / "batchgen" / "schemas"
