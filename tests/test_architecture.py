"""How the modules hang together: those that decide touch nothing outside."""

import ast
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import click
import pytest

import batchgen
from batchgen import cli, manifest, options, storage
from batchgen.clock import Clock

PACKAGE = Path(batchgen.__file__).parent
DECIDERS = (
    *("reply", "answers", "findings", "states", "limiter", "polling", "breaker", "hosts"),
    *("retry_after", "signatures", "money", "prices", "expiry"),
    *("ending", "identity", "rows", "units", "errors", "validation", "cells", "inputschema"),
    *("wording", "stored", "hosted", "containers", "xmp", "timeline", "narrowing", "nextsteps"),
)
# What a decider may take from the standard library and others. aiohttp and ssl name exceptions.
HARMLESS = {
    *("codecs", "collections", "collections.abc", "dataclasses", "datetime", "difflib", "enum"),
    *("email.utils", "functools", "hashlib", "http", "ipaddress", "itertools", "json", "math"),
    *("random", "re", "statistics", "types", "typing", "unicodedata", "urllib.parse"),
    *("jsonschema", "jsonschema.exceptions", "referencing"),
    *("contextlib", "csv", "html", "operator", "shlex", "struct", "xml.etree", "zlib"),
}
ALLOWED = {
    "answers": HARMLESS | {"aiohttp", "ssl"},
    "inputschema": HARMLESS | {"os", "pathlib"},
    "confined": HARMLESS | {"errno", "io", "os", "pathlib", "stat"},  # opens the schema's file
}
# These open, ask the clock or throw dice whatever module they come from.
ACTS = {
    *("open", "print", "input", "exec", "eval", "now", "today", "utcnow", "sleep", "monotonic"),
    *("random", "randint", "choice", "uniform", "urandom", "Client", "AsyncClient", "urlopen"),
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


def needed(module):
    """`module` and every module of ours that it imports, directly or not."""
    found, to_visit = {module}, [module]
    while to_visit:
        new = {name for name in imports(to_visit.pop()) if is_ours(name)} - found
        found |= new
        to_visit += new
    return found


def test_every_decider_is_a_module():
    assert [name for name in DECIDERS if not (PACKAGE / f"{name}.py").is_file()] == []


@pytest.mark.parametrize("name", DECIDERS)
def test_a_decider_needs_deciders_only(name):
    deciders = {"batchgen", *(f"batchgen.{decider}" for decider in DECIDERS)}
    # Cells share the strictness about JSON and text with the readers.
    deciders |= {"batchgen.readers", "batchgen.readers.jsons", "batchgen.readers.lines"}
    deciders |= {"batchgen.confined"}  # which a schema's file is opened by

    assert needed(f"batchgen.{name}") <= deciders


@pytest.mark.parametrize("name", DECIDERS)
def test_a_decider_imports_nothing_that_acts(name):
    foreign = {
        f"{module}: {found}"
        for module in needed(f"batchgen.{name}")
        for found in imports(module)
        if not is_ours(found) and found not in ALLOWED.get(module.rpartition(".")[2], HARMLESS)
    }

    assert foreign == set()


@pytest.mark.parametrize("name", [name for name in DECIDERS if name != "inputschema"])
def test_a_decider_takes_time_and_dice_as_arguments_and_opens_nothing(name):
    called = set()
    for node in ast.walk(tree_of(f"batchgen.{name}")):
        if isinstance(node, ast.Call):
            target = node.func
            dice = isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "dice"
            if not dice:
                called.add(getattr(target, "attr", None) or getattr(target, "id", ""))

    assert called & ACTS == set()


def test_the_journal_is_written_by_the_standard_library_only():
    for name in ("journal", "intake"):
        assert "sqlite_utils" not in imports(f"batchgen.{name}")


# -- the commands ----------------------------------------------------------------------------------


def commands(command, name=()):
    """Every command that does something, with its words."""
    if isinstance(command, click.Group):
        for word, inner in command.commands.items():
            yield from commands(inner, (*name, word))
    else:
        yield name, command


COMMANDS = {" ".join(name): command for name, command in commands(cli.cli)}
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


def test_the_formats_of_the_option_are_those_that_manifests_have():
    assert options.FORMATS == manifest.FORMATS


# None of these is quick to import; each is for a run, or for a report.
HEAVY = {"aiohttp", "httpx", "PIL", "jinja2", "sqlite_utils", "jsonschema", "yaml", "starlette"}


def said_and_loaded(*words):
    """What a command says on stdout, and which of HEAVY it imports, in a process of its own."""
    code = (
        "import sys\n"
        "from batchgen.cli import cli\n"
        f"cli.main({list(words)}, standalone_mode=False)\n"
        f"print('loaded:', sorted({HEAVY} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, _, loaded = done.stdout.rpartition("loaded: ")
    return said, loaded.strip()


@pytest.mark.parametrize("words", [[], ["run"], ["validate"], ["sandbox"]], ids=" ".join)
def test_help_is_answered_without_loading_what_only_a_run_needs(words):
    said, loaded = said_and_loaded(*words, "--help")

    assert "Usage:" in said
    assert loaded == "[]"


@pytest.mark.parametrize("option", [[], ["--json"]], ids=" ".join)
def test_status_is_answered_without_loading_what_only_a_run_needs(tmp_path, option):
    storage.Storage(tmp_path / "batch.db", Clock()).close()

    said, loaded = said_and_loaded("status", str(tmp_path), *option)

    assert "rows" in said
    assert loaded == "[]"


def test_the_migrations_lead_to_the_version_that_is_read(tmp_path):
    journal = storage.Storage(tmp_path / "batch.db", Clock())
    with closing(journal):
        assert journal.one("PRAGMA user_version") == (storage.VERSION,)
