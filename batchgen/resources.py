"""Where the files are that come with batchgen."""

from pathlib import Path


def schemas_folder() -> Path:
    """Return the folder of the schemas that come with us, installed or in the repository."""
    here = Path(__file__).parent
    installed = here / "schemas"
    return installed if installed.is_dir() else here.parent / "schemas"
