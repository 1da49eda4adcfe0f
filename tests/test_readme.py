"""The README is the truth: what it shows has been run, and is run again here."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def batchgen(folder: Path, *words: str) -> str:
    """Run a command there; return what a terminal would show."""
    done = subprocess.run(
        [sys.executable, "-m", "batchgen", *words],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )
    return done.stdout


def shown_after(command: str) -> str:
    """What the README shows between a command and the next, or the end of the block."""
    _, _, rest = README.partition(f"$ {command}\n")
    return re.split(r"\n\$ |\n```", rest)[0].strip()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with the README's list in it."""
    (tmp_path / "list.csv").write_text(shown_after("cat list.csv") + "\n", encoding="utf-8")
    return tmp_path


def test_the_commands_it_lists_are_those_that_there_are(tmp_path: Path) -> None:
    shown = shown_after("batchgen --help").removeprefix("…\n")

    assert shown.startswith("Commands:")
    assert shown in batchgen(tmp_path, "--help")


def test_the_problems_it_shows_are_those_of_its_list(shop: Path) -> None:
    assert batchgen(shop, "validate", "list.csv").strip() == shown_after(
        "batchgen validate list.csv"
    )


def test_the_mended_list_is_rehearsed_as_shown(shop: Path) -> None:
    path = shop / "list.csv"
    mended = path.read_text(encoding="utf-8").replace("4:5", "4:3").replace("12a", "12")
    path.write_text(mended.replace("realstic", "realistic"), encoding="utf-8")

    said = batchgen(shop, "run", "list.csv", "--sandbox", "--out", "rehearsal", "--rate", "100/s")

    assert said.strip() == shown_after("batchgen run list.csv --sandbox --out rehearsal")


def test_the_url_that_runcomfy_cannot_reach_is_told_as_shown(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text(shown_after("cat clips.csv") + "\n", encoding="utf-8")
    image = {"type": "string", "format": "image_uri"}
    properties = {"prompt": {"type": "string"}, "image_url": image}
    schema = json.dumps({"type": "object", "properties": properties})
    (tmp_path / "wan.json").write_text(schema, encoding="utf-8")
    words = (
        "validate clips.csv --model wan-ai/wan-2.7/image-to-video --schema wan.json --check-urls"
    )

    assert batchgen(tmp_path, *words.split()).strip() == shown_after(f"batchgen {words}")


def test_its_yaml_is_a_valid_manifest(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "list.yaml").write_text(block, encoding="utf-8")

    assert "6 rows in list.yaml, all valid." in batchgen(tmp_path, "validate", "list.yaml")


def test_every_package_is_named_with_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    named = set(re.findall(r"^\| \[([A-Za-z0-9-]+)\]\(https://[^)]+\) \| \S", README, re.MULTILINE))

    assert named == needed
