"""README and docs/ are the truth: what they show is run again, what is generated is compared."""

import contextlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from difflib import unified_diff
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image
from sandbox_client import Control

import batchgen
from batchgen import config
from batchgen.cli import main
from batchgen.sandbox import Address, started

ROOT = Path(batchgen.__file__).parents[1]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    + [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts]
)
# Shown with `$`, and not run here: the help is generated, the rest is sqlite-utils' own.
NOT_RUN = ("cat ", "batchgen --help", "sqlite-utils ")
_DATE, _TIME = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d:\d\d"
_REQUEST_ID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
# What is another one each time.
STAMP = re.compile(
    rf"{_DATE}T{_TIME}\.\d{{3}}Z|{_DATE} {_TIME} (UTC|\(({_DATE} )?{_TIME} UTC\))|{_REQUEST_ID}"
)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def examples(page: Path) -> Iterator[tuple[str, str]]:
    """Every command of a page that is shown with its output, and the output."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = example.partition("\n")
            yield command, output.strip()


def only(page: str, command: str) -> str:
    (output,) = (shown for found, shown in examples(ROOT / page) if found == command)
    return output


# -- what is shown ---------------------------------------------------------------------------------


class Shell:
    """A folder, the commands that were run there, and what each printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed: dict[str, str] = {}
        self.environment = {"PYTHONPATH": str(ROOT), "COLUMNS": "80", "HOME": str(folder)}

    def run(self, command: str, *hidden: str) -> None:
        """Run it in this process, which costs a third of a process of its own.

        hidden: options that the page does not show.
        """
        _, *words = shlex.split(command)
        shown = io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(shown),
            contextlib.redirect_stderr(shown),
        ):
            for name in os.environ.keys() - self.environment.keys():
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["batchgen", *words, *hidden])
            with pytest.raises(SystemExit):
                main.main()
        self.printed[command] = shown.getvalue().replace(str(self.folder), "/home/me/pictures")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def edit(self, name: str, *changes: tuple[str, str]) -> None:
        text = (self.folder / name).read_text(encoding="utf-8")
        for before, after in changes:
            text = text.replace(before, after)
        self.write(name, text)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Everything that README and docs/ show, run in the order in which it happened."""
    shell = Shell(tmp_path_factory.mktemp("pictures"))
    shell.write("list.csv", only("README.md", "cat list.csv") + "\n")
    shell.run("batchgen validate list.csv")
    row = "An owl at dusk\t16:9\tquiet"
    shell.write("prompts.tsv", f"Key\tPrompt\tRatio\tNote\n1\t{row}\n2\t{row}\n")
    shell.run("batchgen init --from prompts.tsv")
    shell.edit("list.csv", ("4:5", "4:3"), ("12a", "12"), ("realstic", "realistic"))
    shell.run("batchgen run list.csv --sandbox --out rehearsal")
    shell.run("batchgen status rehearsal")

    prompts = {
        "fox": "A fox asleep in a hollow tree [[failed:no luck]]",
        "elk": "An elk in the mist [[lost]]",
        "owl": "An owl on a mossy branch",
    }
    rows = [f"{id},{prompt}\n" for id, prompt in prompts.items()]
    shell.write("trouble.csv", "".join(["id,prompt\n", *rows]))
    shell.run("batchgen run trouble.csv --sandbox", "--rate", "100/s")
    shell.run("batchgen resolve out/trouble")
    (shell.folder / "out" / "trouble" / "images" / "owl.png").unlink()
    shell.run("batchgen verify out/trouble")
    shell.write("other.csv", "id,prompt\nbear,A bear\n")
    shell.run("batchgen run other.csv --sandbox --out out/trouble")
    shell.run("batchgen retry out/trouble")
    shell.edit("trouble.csv", ("mossy", "bare"))
    shell.run("batchgen plan trouble.csv")
    shell.edit("trouble.csv", ("bare", "mossy"))
    for path in (shell.folder / "out" / "trouble").glob("batch.db*"):
        path.unlink()
    shell.run("batchgen run trouble.csv --sandbox --out out/trouble", "--rate", "100/s")

    shell.write("clips.csv", "id,prompt,image_url\nheron,It flies,https://192.168.1.20/heron.png\n")
    image = {"type": "string", "format": "image_uri"}
    properties = {"prompt": {"type": "string"}, "image_url": image}
    shell.write("wan.json", json.dumps({"type": "object", "properties": properties}))
    shell.run(
        "batchgen validate clips.csv --model wan-ai/wan-2.7/image-to-video --schema wan.json"
        " --check-urls"
    )
    (shell.folder / "photos").mkdir()
    for name in ("heron", "owl"):
        Image.new("RGB", (8, 8), "teal").save(shell.folder / "photos" / f"{name}.png")
    shell.write("portraits.csv", only("docs/guide/manifests.md", "cat portraits.csv") + "\n")
    shell.run(
        "batchgen validate portraits.csv --model wan-ai/wan-2.7/image-to-video --schema wan.json"
    )
    for name in ("foxes.yaml", "light.txt"):
        shell.write(name, only("docs/guide/manifests.md", f"cat {name}") + "\n")
    shell.run("batchgen plan foxes.yaml")
    shell.write("captions.csv", only("docs/guide/manifests.md", "cat captions.csv") + "\n")
    shell.run("batchgen plan captions.csv --id '{Category}-{number}'")
    shell.write("list.yaml", "max_cost: 5\nrows: [a heron]\n")
    own = shell.folder / ".config" / "batchgen"
    own.mkdir(parents=True)
    (own / "config.toml").write_text('rate = "20/m"\nmax_cost = 20\nmax_cost_per_day = 30\n')
    shell.run("batchgen config show list.yaml")
    (own / "config.toml").unlink()
    shell.run("batchgen status nothing --json")
    shell.run("batchgen models show ideogram/ideogram-v2/generate")
    (shell.folder / "manifests").symlink_to(ROOT / "manifests")
    shell.run("batchgen run manifests/quickstart.yaml --sandbox", "--rate", "100/s")

    shell.write("herons.yaml", only("docs/guide/deployments.md", "cat herons.yaml") + "\n")
    with started(None, options=["--seconds", "0", "--picture-size", "64"]) as address:
        shell.environment |= {"RUNCOMFY_TOKEN": "any", "RUNCOMFY_MODEL_API_BASE": address.base_url}
        shell.run("batchgen plan herons.yaml")
        reach = ("--media-host", address.media_host, "--rate", "100/s", "--concurrency", "1")
        shell.run("batchgen run herons.yaml --media-host 127.0.0.1:8792", *reach)
    return shell


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if [*examples(page)]], ids=name_of)
def test_what_a_page_shows_is_what_is_printed(page: Path, shell: Shell) -> None:
    for command, shown in examples(page):
        if not command.startswith(NOT_RUN):
            printed = STAMP.sub("TIME", shell.printed[command]).splitlines()
            assert [x for x in STAMP.sub("TIME", shown).splitlines() if x not in printed] == []


def test_the_python_that_is_shown_does_what_is_said(
    here: Path, address: Address, sandbox: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of the page, one after the other as one program, against a sandbox."""
    page = (ROOT / "docs" / "guide" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    shell = Shell(here)
    shell.write("list.csv", "id,prompt\nheron,A heron\nowl,An owl\n")
    (here / "own" / "batchgen").mkdir(parents=True)
    shell.write("own/batchgen/config.toml", f'media_hosts = ["{address.media_host}"]\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here / "own"))
    monkeypatch.setenv("RUNCOMFY_MODEL_API_BASE", address.base_url)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=here,
        input="yes\n",
        capture_output=True,
        text=True,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "2 of 2 rows, for $0.06",
        "heron saved out/list/images/heron.png",
        "owl saved out/list/images/owl.png",
        "0 requests, $0.00? 2 of 2 saved, $0.06",
        "2 of 2 saved, $0.06",
        "done: 2 saved",
    ]


@pytest.mark.slow
def test_the_views_have_the_columns_that_are_shown(shell: Shell) -> None:
    columns = "sqlite-utils rows out/quickstart/batch.db by_hour -t"
    shown = only("docs/guide/morning.md", columns).partition("\n")[0].split()
    command = [sys.executable, "-m", "sqlite_utils", "rows", "out/quickstart/batch.db", "by_hour"]
    done = subprocess.run(command, cwd=shell.folder, capture_output=True, check=True)

    assert list(json.loads(done.stdout)[0]) == shown


def test_the_yaml_that_is_shown_is_a_valid_manifest(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "guide" / "manifests.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(# yaml-language-server.*?)```", text, re.DOTALL)
    shell = Shell(tmp_path)
    shell.write("list.yaml", block)
    shell.run("batchgen validate list.yaml")

    assert "6 rows in list.yaml, all valid." in shell.printed["batchgen validate list.yaml"]


def test_every_package_is_named_with_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    page = (ROOT / "docs" / "maintainers" / "packages.md").read_text(encoding="utf-8")

    assert set(re.findall(r"^\| \[([A-Za-z0-9-]+)\]\(https://", page, re.MULTILINE)) == needed


# -- what is named ---------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)

    assert [link for link in linked if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"\btest_\w+\.py\b", page.read_text(encoding="utf-8")))

    assert named - {path.name for path in (ROOT / "tests").rglob("test_*.py")} == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    folders = "|".join(path.parent.name for path in (ROOT / "batchgen").glob("*/__init__.py"))
    found = re.findall(rf"`(?:batchgen/)?((?:{folders})/[a-z_]+\.py)`", page.read_text("utf-8"))

    assert [name for name in found if not (ROOT / "batchgen" / name).exists()] == []


@pytest.mark.parametrize("name", [*config.VARIABLES.values(), *config.TOKEN_VARIABLES])
def test_every_variable_of_ours_is_explained(name: str) -> None:
    page = ROOT / "docs" / "reference" / "environment.md"

    assert re.search(rf"^\|.*`{name}`.*\|$", page.read_text(encoding="utf-8"), re.MULTILINE)


# -- what is generated -----------------------------------------------------------------------------


def generator() -> ModuleType:
    spec = util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_are_what_the_code_says() -> None:
    made = generator().generated_pages()
    differences = [
        line
        for path, text in made.items()
        for line in unified_diff(
            path.read_text(encoding="utf-8").splitlines(),
            text.splitlines(),
            name_of(path),
            "docs/generate.py",
            n=0,
            lineterm="",
        )
    ]

    assert differences == [], "run: python docs/generate.py"


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason=f"{package} is not installed: the extra docs has it")
    build = [sys.executable, "-m", "sphinx", "-W", "-q", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [*build, str(ROOT / "docs"), str(tmp_path / "html")], capture_output=True, text=True
    )

    assert done.stderr == ""
    assert done.returncode == 0
