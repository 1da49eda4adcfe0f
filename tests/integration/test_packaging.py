"""What is installed finds its schemas and templates, as a wheel and from a checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import ROOT

from batchgen.manual.topics import TOPICS
from batchgen.resources import schemas_folder

DATA = (
    "batchgen/schemas/ideogram/ideogram-v2/generate.json",
    "batchgen/schemas/manifest.schema.json",
    "batchgen/report/templates/index.html",
    "batchgen/report/templates/gallery.css",
    "batchgen/report/templates/gallery.js",
    "batchgen/report/templates/words.json",
    "batchgen/py.typed",
    *(f"batchgen/docs/{topic.page}" for topic in TOPICS.values()),
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this tree, built with what is installed and no network."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    leave_out = shutil.ignore_patterns(".*", "out", "build", "dist", "__pycache__")
    shutil.copytree(ROOT, tree, ignore=leave_out)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=tree,
        check=True,
        capture_output=True,
    )
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_holds_schemas_and_templates(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert set(DATA) <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "manifests/"))]
    # Where man(1) looks, below the folder into which it is installed.
    assert [name for name in names if name.endswith(".data/data/share/man/man1/batchgen.1")]


def test_the_wheel_finds_its_own_schemas(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = "from batchgen import resources as r; print(r.schemas_folder())"
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path / "site",
        check=True,
        capture_output=True,
        text=True,
    )

    assert Path(found.stdout.strip()) == tmp_path / "site" / "batchgen" / "schemas"


def test_an_editable_install_finds_the_schemas_at_the_root(tmp_path: Path) -> None:
    program = "from batchgen import resources as r; print(r.schemas_folder())"
    found = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},  # what an editable install comes down to
        check=True,
        capture_output=True,
        text=True,
    )

    assert Path(found.stdout.strip()) == ROOT / "schemas"


def test_each_schema_that_comes_along_is_where_its_model_id_says() -> None:
    paths = [*schemas_folder().glob("*/**/*.json")]
    assert paths
    for path in paths:
        model = path.relative_to(schemas_folder()).with_suffix("").as_posix()
        assert f'"model_id": "{model}"' in path.read_text(encoding="utf-8")
