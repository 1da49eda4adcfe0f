"""How the modules hang together: those that decide touch nothing outside."""

import ast
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import certifi
import click
import pytest

import batchgen
from batchgen.cli import main
from batchgen.clock import Clock
from batchgen.journal import database, schema

PACKAGE = Path(batchgen.__file__).parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)
# What a pure module may take from the standard library and others.
HARMLESS = {
    *("bisect", "codecs", "collections", "collections.abc", "dataclasses", "datetime", "difflib"),
    *("enum", "fractions", "heapq"),
    *("email.utils", "functools", "hashlib", "http", "ipaddress", "itertools", "json", "math"),
    *("random", "re", "statistics", "types", "typing", "unicodedata", "urllib.parse"),
    *("jsonschema", "jsonschema.exceptions", "jsonschema.validators", "re2"),
    *("referencing", "referencing.exceptions", "referencing.jsonschema"),
    *(
        "base64",
        "binascii",
        "contextlib",
        "csv",
        "html",
        "operator",
        "shlex",
        "struct",
        "textwrap",
        "xml.etree",
        "zlib",
    ),
    *("aiohttp", "ssl"),  # whose exceptions are told apart
}
# These open, ask the clock or throw dice whatever module they come from.
ACTS = {
    *("open", "print", "input", "exec", "eval", "now", "today", "utcnow", "sleep", "monotonic"),
    *("random", "randint", "choice", "uniform", "urandom", "Client", "AsyncClient", "urlopen"),
    *("ClientSession", "TCPConnector"),
}


def file_of(module):
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def tree_of(module):
    return ast.parse(file_of(module).read_text(encoding="utf-8"))


def imports(module):
    """Every module that `module` imports, wherever in its text, with those they stand in."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            inner = {f"{node.module}.{name.name}" for name in node.names}
            ours = {name for name in inner if is_ours(name) and file_of(name).exists()}
            found |= ours | {node.module}
    parents = {name.rpartition(".")[0] for name in found if is_ours(name) and "." in name}
    return found | parents


def is_ours(module):
    return module.partition(".")[0] == "batchgen"


def room_of(module):
    """The folder that a module stands in; "" beside the folders."""
    name = module.split(".")[1:2]
    return name[0] if name and name[0] in ROOMS else ""


def docstring(module):
    return ast.get_docstring(tree_of(module)) or ""


def may_import(room):
    """The folders that the docstring of a folder lets it import."""
    listed = docstring(f"batchgen.{room}").partition("May import:")[2].partition(".")[0]
    return {name.strip() for name in listed.split(",")} & {*ROOMS}


def is_pure(module):
    return room_of(module) == "core" or bool(re.search(r"\bPure[.:]", docstring(module)))


PURE = [module for module in MODULES if is_pure(module)]


def test_a_newcomer_sees_the_architecture_in_one_look():
    beside = [path for path in PACKAGE.iterdir() if path.is_file()]
    large = {room: len([*(PACKAGE / room).glob("*.py")]) for room in ROOMS if room != "sandbox"}

    assert len(beside) <= 12
    assert {room: count for room, count in large.items() if count > 22} == {}


def test_what_moves_rows_does_not_know_which_service_they_are_sent_to():
    services = {f"batchgen.api.{path.stem}" for path in (PACKAGE / "api").glob("deployment_*.py")}
    services |= {"batchgen.core.targets", "batchgen.api.model_api", "batchgen.api.runcomfy"}
    rooms = ("engine", "journal", "media", "network", "notify", "report")
    knowing = {
        module for module in MODULES if room_of(module) in rooms and imports(module) & services
    }

    assert services < {*MODULES}
    assert knowing == set()


@pytest.mark.parametrize("room", ROOMS)
def test_a_folder_says_what_it_promises_and_imports_no_more_than_it_says(room):
    said = docstring(f"batchgen.{room}")
    modules = [module for module in MODULES if room_of(module) == room]
    found = {room_of(name) for module in modules for name in imports(module) if is_ours(name)}

    assert "Promise:" in said
    assert "May import:" in said
    assert found - {room, ""} <= may_import(room)


def test_imports_go_downwards_only():
    left = {room: may_import(room) & {*ROOMS} for room in ROOMS}
    while bottom := {room for room, above in left.items() if not above & left.keys()}:
        left = {room: above for room, above in left.items() if room not in bottom}

    assert left == {}, "these import each other"


def test_what_stands_beside_the_folders_imports_the_core_alone():
    allowed = {"batchgen.__main__": {"cli"}, "batchgen": {"library", "operations"}}
    for module in MODULES:
        if room_of(module) == "":
            found = {room_of(name) for name in imports(module) if is_ours(name)}
            assert found - {"", "core"} <= allowed.get(module, set()), module


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_needs_pure_modules_only(module):
    ours = {name for name in imports(module) if is_ours(name) and name not in PURE}
    # A folder's docstring, and the errors, which are values.
    ours -= {"batchgen", "batchgen.errors", *(f"batchgen.{room}" for room in ROOMS)}
    foreign = {name for name in imports(module) if not is_ours(name)}

    assert ours == set()
    assert foreign <= HARMLESS


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_takes_time_and_randomness_as_arguments_and_opens_nothing(module):
    called = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call):
            target = node.func
            handed = isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "rng"
            if not handed:
                called.add(getattr(target, "attr", None) or getattr(target, "id", ""))

    assert called & ACTS == set()


# Statements of SQL, with so much of what follows that no sentence of English is one.
SQL = re.compile(
    r"\b(SELECT\b.+\bFROM|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|PRAGMA \w"
    r"|(CREATE|DROP|ALTER) (TEMP )?(TABLE|VIEW|INDEX)|BEGIN IMMEDIATE|ATTACH)\b",
    re.DOTALL,
)


def test_all_sql_is_in_the_journal():
    # The sandbox has a ledger of its own. verify is to ask the journal as well.
    allowed = {"batchgen.operations.verify"}
    found = {
        module
        for module in MODULES
        if room_of(module) not in ("journal", "sandbox")
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.search(node.value)
    }

    assert found <= allowed


@pytest.mark.parametrize("room", ["journal", "operations", "report"])
def test_no_check_is_an_assert_which_python_can_be_told_to_leave_out(room):
    modules = [module for module in MODULES if room_of(module) == room]

    found = {m for m in modules for node in ast.walk(tree_of(m)) if isinstance(node, ast.Assert)}
    assert found == set()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_logs_by_its_own_name(module):
    text = file_of(module).read_text(encoding="utf-8")
    if module != "batchgen.log":
        assert {*re.findall(r"getLogger\((.*?)\)", text)} <= {"__name__"}


def test_the_journal_is_written_by_the_standard_library_only():
    for name in ("database", "requests", "writer", "recovery", "reconcile", "group_commit"):
        assert "sqlite_utils" not in imports(f"batchgen.journal.{name}")


# -- the commands ----------------------------------------------------------------------------------


def commands(command, name=()):
    """Every command that does something, with its words."""
    if isinstance(command, click.Group):
        for word, inner in command.commands.items():
            yield from commands(inner, (*name, word))
    else:
        yield name, command


COMMANDS = {" ".join(name): command for name, command in commands(main.cli)}
DOCUMENTED = sorted(COMMANDS.keys() - {"sandbox"})


def test_the_commands_are_found():
    assert {"run", "validate", "status", "retry", "models show", "sandbox"} <= COMMANDS.keys()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_command_says_what_it_does_with_an_example_and_its_exit_codes(name):
    text = COMMANDS[name].help or ""

    assert text.partition("\n")[0].rstrip().endswith(".")
    assert "Exit codes:\n" in text
    assert "Examples:\n" in text
    assert f"    batchgen {name}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_is_explained(name):
    options = [p for p in COMMANDS[name].params if isinstance(p, click.Option)]

    assert [option.name for option in options if not option.help] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_takes_a_token_of_the_real_api(name):
    # Everybody on the computer can see the options of a process; the sandbox's token is pretend.
    names = {p.name for p in COMMANDS[name].params}

    assert name == "sandbox" or not {n for n in names if "token" in n or "key" in n}


# None of these is quick to import; each is for a run, or for a report.
HEAVY = {"aiohttp", "httpx", "PIL", "jinja2", "sqlite_utils", "jsonschema", "yaml", "uvicorn"}


def said_and_loaded(*words):
    """What a command says on stdout, and which of HEAVY it imports, in a process of its own.

    It has no token and no configuration.
    """
    code = (
        "import sys\n"
        "from batchgen.cli.main import cli\n"
        f"cli.main({list(words)}, standalone_mode=False)\n"
        f"print('loaded:', sorted({HEAVY} & sys.modules.keys()))"
    )
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=own
    )
    said, _, loaded = done.stdout.rpartition("loaded: ")
    return said, loaded.strip()


@pytest.mark.parametrize("words", [[], ["run"], ["validate"], ["sandbox"]], ids=" ".join)
def test_help_is_answered_without_loading_what_only_a_run_needs(words):
    said, loaded = said_and_loaded(*words, "--help")

    assert "Usage:" in said
    assert loaded == "[]"


@pytest.mark.parametrize("option", [[], ["--json"]], ids=" ".join)
def test_status_is_answered_without_loading_what_only_a_run_needs(tmp_path, option):
    database.Database(tmp_path / "batch.db", Clock()).close()

    said, loaded = said_and_loaded("status", str(tmp_path), *option)

    assert "rows" in said
    assert loaded == "[]"


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_plain_list_is_checked_without_loading_what_only_a_run_needs(tmp_path, command):
    path = tmp_path / "list.txt"
    path.write_text("A heron\n")

    said, loaded = said_and_loaded(command, str(path), "--model", "ideogram/ideogram-v2/generate")

    assert "1 row" in said
    assert loaded == "[]"


@pytest.mark.parametrize("of_the_command_line", [True, False])
def test_only_the_command_line_takes_its_certificates_from_aiohttp(of_the_command_line):
    # It uses none of these, and a program that calls batchgen may.
    code = (
        "import os, ssl\n"
        f"{'import batchgen.cli.main' if of_the_command_line else 'import batchgen'}\n"
        "import batchgen.operations.run, batchgen.doctor.examine, aiohttp.connector\n"
        "made = [x for x in vars(aiohttp.connector).values() if isinstance(x, ssl.SSLContext)]\n"
        "print(sum(x.cert_store_stats()['x509'] for x in made), os.environ['SSL_CERT_FILE'])"
    )
    own = {**os.environ, "SSL_CERT_FILE": certifi.where()}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=own
    )

    certificates, file = done.stdout.split()
    assert file == certifi.where()
    assert (certificates == "0") is of_the_command_line


def test_the_migrations_lead_to_the_version_that_is_read(tmp_path):
    journal = database.Database(tmp_path / "batch.db", Clock())
    with closing(journal):
        assert journal.fetch_one("PRAGMA user_version") == (schema.VERSION,)
