"""A real sandbox process for each worker, and the command line against it, in this process."""

import contextlib
import fcntl
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import crash
import databases
import pytest
from helpers import ROOT, TOKEN, Outcome, PretendClock, bring_back, keep, many, table
from hypothesis import HealthCheck, settings
from sandbox_client import Control
from stores import CREDENTIALS, Store, bucket, s3_server
from xdist.scheduler import LoadScopeScheduling

from batchgen import config
from batchgen.cli import main
from batchgen.core.timing import DEFAULT_TIMING, Timing
from batchgen.sandbox import Address, started

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 1, "maximum": 16}
# Served beside the default model; their schemas are not batchgen's, so a run has to fetch them.
MODELS: dict[str, dict[str, Any]] = {
    "atelier/brush-2/text-to-image": {"prompt": TEXT},
    "atelier/series/text-to-image": {"prompt": TEXT, "num_images": COUNT},
    "atelier/clips/text-to-video": {"prompt": TEXT, "duration": {}},
    "atelier/tunes/text-to-music": {"tags": TEXT},
    "atelier/retouch/edit": {
        "prompt": TEXT,
        "image": {"type": "string", "format": "image_uri"},
        "references": {"type": "array", "format": "image_uris"},
        "film": {"type": "string", "format": "video_uri"},
    },
}

# How the names begin of tests whose module has a fixture that takes long.
SHARE_A_WORKER = (
    "tests/browser/",
    "tests/integration/test_docs.py::test_what_a_page_shows",
    "tests/integration/test_docs.py::test_the_views_have",
)

# A busy machine takes as long for an example as it likes.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")

NOWHERE = "http://127.0.0.1:9/v1"  # where no test reaches anybody unless it says whom

Command = Callable[..., Outcome]
Write = Callable[[str, str], str]
Own = Callable[[str], Path]
Once = Callable[[str, Callable[[], object]], None]


def pytest_xdist_auto_num_workers() -> int:
    """At least four: most tests wait for a server, a disk or a clock."""
    return max(4, os.cpu_count() or 1)


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The schema files of MODELS, by model."""
    folder = tmp_path_factory.mktemp("schemas")
    found = {}
    for number, (model, properties) in enumerate(MODELS.items()):
        schema = {"type": "object", "required": [*properties][:1], "properties": properties}
        found[model] = folder / f"{number}.json"
        found[model].write_text(json.dumps({"model_id": model, "input": schema, "output": None}))
    return found


@contextlib.contextmanager
def quick_sandbox(schemas: dict[str, Path]) -> Iterator[Address]:
    """A sandbox in which everything is done at once."""
    options = ["--seconds", "0", "--spread", "0", "--picture-size", "64"]
    for path in schemas.values():
        options += ["--schema", str(path)]
    with started(None, options=options) as found:
        yield found


@pytest.fixture(scope="session")
def address(schemas: dict[str, Path]) -> Iterator[Address]:
    """Where all tests of a worker find their sandbox."""
    with quick_sandbox(schemas) as found:
        yield found


@pytest.fixture
def sandbox(address: Address) -> Iterator[Control]:
    """What the API saw, and what shall go wrong there."""
    with Control(address.base_url) as found:
        found.reset()
        yield found


@pytest.fixture
def here(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The current folder, with a token in the environment and nothing else of ours. Runs of the
    crash kit end with it."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name in (
            *config.TOKEN_VARIABLES,
            *config.VARIABLES.values(),
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RUNCOMFY_CONFIG_DIR", str(tmp_path / "no-login"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("RUNCOMFY_TOKEN", TOKEN)
    monkeypatch.setenv("RUNCOMFY_MODEL_API_BASE", NOWHERE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    crash.end_runs()


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """A real S3 server in a process of its own."""
    absent = [name for name in ("obstore", "moto") if importlib.util.find_spec(name) is None]
    if absent:
        names = " and ".join(absent)
        pytest.skip(f"{names} not installed: pip install -e '.[test-anywhere]'")
    with s3_server() as port:
        yield port


@pytest.fixture
def store(s3_port: int, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty bucket, and the environment in which a run finds its way there."""
    with bucket(s3_port) as found:
        for name in [name for name in os.environ if name.startswith(config.STORE_VARIABLES)]:
            monkeypatch.delenv(name)
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
        yield found


@pytest.fixture(scope="session")
def database_server() -> Iterator[databases.Server]:
    """A real PostgreSQL server in processes of its own."""
    if names := databases.absent():
        pytest.skip(f"{names} not installed: pip install -e '.[test-anywhere]'")
    with databases.server() as found:
        yield found


@pytest.fixture
def database(database_server: databases.Server) -> Iterator[databases.Database]:
    """An empty database."""
    with databases.database(database_server) as found:
        yield found


@pytest.fixture
def folder(here: Path) -> Path:
    """The output folder of `run`."""
    return here / "out" / "list"


@pytest.fixture
def write(here: Path) -> Write:
    """Write a file into the current folder; return its name."""

    def write_file(name: str, text: str) -> str:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(text.encode())
        return name

    return write_file


@pytest.fixture
def own(here: Path) -> Own:
    """Write the person's configuration; return its path."""

    def write_it(text: str) -> Path:
        path = Path(os.environ["XDG_CONFIG_HOME"]) / "batchgen" / "config.toml"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write_it


@pytest.fixture
def clock() -> PretendClock:
    return PretendClock()


def pytest_configure(config: pytest.Config) -> None:
    # In a script's background Ctrl-C is ignored, and what it starts would ignore it too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.addinivalue_line("markers", "timing(**seconds): how long the runs of a test wait")
    config.addinivalue_line("markers", "with_processes: runs may start processes of their own")


@pytest.fixture
def timing(request: pytest.FixtureRequest) -> Timing:
    """How long runs wait; a test sets fields of it by `@pytest.mark.timing(max_polling=60.0)`."""
    marker = request.node.get_closest_marker("timing")
    return replace(DEFAULT_TIMING, **(marker.kwargs if marker else {}))


@pytest.fixture
def batchgen(
    here: Path, clock: PretendClock, timing: Timing, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Run a command in this process, as the console script would; its waits are pretend.

    Keywords are those of `main`.
    """

    def command(*words: object, timing: Timing = timing, **more: Any) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["batchgen", *map(str, words)])
        stdout, stderr = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
            pytest.raises(SystemExit) as left,
        ):
            main.main(clock=clock, timing=timing, **more)
        assert "Traceback" not in stderr.getvalue()
        return Outcome(int(left.value.code or 0), stdout.getvalue(), stderr.getvalue())

    return command


@pytest.fixture
def by_thread(batchgen: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`batchgen` by which files are checked by a thread, as by `run`."""

    def command(*words: object, **more: Any) -> Outcome:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/no/python")
            return batchgen(*words, **more)

    return command


@pytest.fixture
def reach(address: Address, sandbox: Control) -> list[str]:
    """The options that lead a command to the sandbox."""
    return ["--base-url", address.base_url, "--media-host", address.media_host]


@pytest.fixture
def run(
    request: pytest.FixtureRequest,
    batchgen: Command,
    by_thread: Command,
    folder: Path,
    reach: list[str],
) -> Command:
    """Run a manifest against the sandbox: `run("list.csv", "--limit", 1)`.

    Files are checked by a thread, as where no process can be had: what is found is the same, as
    `test_check_pool.py` shows, and a process costs more than all else in a run of a few rows. A
    test that is marked `with_processes` has them.
    """
    command = batchgen if request.node.get_closest_marker("with_processes") else by_thread

    def run_it(manifest: str, *options: object, **more: Timing) -> Outcome:
        words = ["--out", folder, "--rate", "1000/s", *reach, *options]
        return command("run", manifest, *words, **more)

    return run_it


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What runs have left, for the tests that begin with the same."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def once(here: Path, kept: Path) -> Once:
    """Do what tests of a module begin with, once for each worker: `once("batch", begin)`.

    Each test has a copy of what it left, as if it had been done there. What a sandbox knows of it
    is not kept.
    """

    def done(name: str, begin: Callable[[], object]) -> None:
        if (kept / name).exists():
            bring_back(kept / name, here)
        else:
            begin()
            keep(here, kept / name)

    return done


@pytest.fixture
def saved(
    folder: Path, run: Command, write: Write, sandbox: Control, once: Once
) -> Callable[[int], Path]:
    """Give a test list.csv of so many rows, and its batch in which all are saved: `saved(3)`.

    Each worker does the run once for a module, and each test has a copy of what it left. The
    sandbox has forgotten the requests: a test in which it is asked for them has to `run` itself.
    """

    def saved_batch(rows: int) -> Path:
        def begin() -> None:
            assert run(write("list.csv", table(many(rows)))).code == 0
            sandbox.reset()

        once(f"saved-{rows}", begin)
        return folder

    return saved_batch


@pytest.fixture
def start(here: Path, folder: Path, reach: list[str]) -> Iterator[Callable[..., Any]]:
    """Start a run as a process of its own, by the real clock; it is killed if it outlives the test.

    closing: the streams that a shell closes before it hands over, as `>&-`. Other keywords go to
    `subprocess.Popen`.
    """
    children: list[subprocess.Popen[str]] = []

    def start_it(
        manifest: str, *options: object, closing: str = "", **more: Any
    ) -> subprocess.Popen[str]:
        words = ["run", manifest, "--out", folder, "--rate", "1000/s", *reach, *options]
        command = [sys.executable, "-m", "batchgen", *map(str, words)]
        if closing:
            command = ["/bin/sh", "-c", f'exec "$0" "$@" {closing}', *command]
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"} | more
        children.append(subprocess.Popen(command, **more))
        return children[-1]

    yield start_it
    for child in children:
        child.kill()
        child.communicate()


class OneWorkerForAFixture(LoadScopeScheduling):
    """Tests whose module has a fixture that takes long share a worker; all others go anywhere.

    Not `--dist loadgroup`: with pytest 9.2 the marks of its groups are not seen.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0] if nodeid.startswith(SHARE_A_WORKER) else nodeid

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        super().mark_test_complete(node, item_index, duration)
        # What is done would be counted after each test: a minute of CPU for eight thousand.
        work = self.assigned_work[node]
        scope = self._split_scope(self.registered_collections[node][item_index])
        if all(work[scope].values()):
            del work[scope]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """The first worker compiles the tests; the others wait, and read what it left.

    To compile them with pytest's assertions takes 20 s of CPU, in each worker that does it.
    """
    with Path(__file__).open("rb") as lock:
        if "PYTEST_XDIST_WORKER" in os.environ:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneWorkerForAFixture:
    return OneWorkerForAFixture(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder: `-m "not slow and not browser"` leaves those out."""
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder in ("crash", "benchmarks"):
            item.add_marker("slow")
        elif folder == "browser":
            item.add_marker("browser")
