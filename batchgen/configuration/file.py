"""Reads config.toml, in the folder where `batchgen login` keeps the token."""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from batchgen.configuration.settings import Configuration, read_settings
from batchgen.core.rows import Problem
from batchgen.core.text import plural, shell_quote
from batchgen.errors import UsageError
from batchgen.files import config_folder, open_regular, who_else_writes
from batchgen.log import secrets
from batchgen.resources import schemas_folder

MAX_BYTES = 1 << 20


def configuration_file(environment: Mapping[str, str]) -> Path | None:
    """Return where the configuration is, if there is one; None where there is no home for it."""
    folder = config_folder(environment)
    return folder and folder / "batchgen" / "config.toml"


def read_configuration(environment: Mapping[str, str]) -> Configuration:
    """Return what the person's configuration says; nothing where there is none.

    Its URLs are hidden from now on, as the token is. A list's folder is compared without links, so
    trusted folders are returned without any.
    Raises UsageError for a file that cannot be read, that others can write to, or that has a
    problem.
    """
    path = configuration_file(environment)
    try:
        if path is None or not path.exists():
            return Configuration(None if path is None else str(path))
        _refuse_others(path)
        with open_regular(path) as file:
            text = file.read(MAX_BYTES).decode("utf-8-sig").replace("\r\n", "\n")
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}. Nothing was sent.", "See toml.io for TOML.") from None
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be read: {why}. Nothing was sent.") from None
    home = environment.get("HOME", "")
    read, problems = read_settings(
        document,
        text,
        str(path),
        home if Path(home).is_absolute() else "",
        schema_of_settings(),
    )
    if problems:
        raise _refused(path, problems)
    for url in (*filter(None, [read.of_run.get("ping")]), *read.of_run.get("notify", ())):
        secrets.keep_url(url)
    return replace(read, trusted=tuple(map(os.path.realpath, read.trusted)))


def _refuse_others(path: Path) -> None:
    """Raise UsageError where somebody else could have written the file. Raises OSError."""
    for place in (path, path.parent):
        if who := who_else_writes(place):
            raise UsageError(
                f"{place}: {who} can write to it too, so the configuration is not obeyed: it says"
                " which lists may run commands. Nothing was sent.",
                f"chmod go-w {shell_quote(str(place))}",
            )


def _refused(path: Path, problems: list[Problem]) -> UsageError:
    """Return the error that tells all problems, each with its line and what would be right."""
    told = []
    for one in problems:
        told.append(f"{one.place}: {one.field}: {one.what}")
        told += [f"  {line}" for line in one.remedy.splitlines()]
    what = f"{plural(len(problems), 'problem')} in {path}. Nothing was sent."
    return UsageError(what, "\n".join(told))


@cache
def schema_of_settings() -> Any:
    """Return the validator of schemas/config.schema.json."""
    from jsonschema import Draft202012Validator  # most people have no configuration
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    def load(name: str) -> Any:
        return json.loads((schemas_folder() / name).read_text(encoding="utf-8"))

    manifest = "manifest.schema.json"  # which it refers to
    known: Registry[Any] = Registry().with_resource(
        manifest, DRAFT202012.create_resource(load(manifest))
    )
    return Draft202012Validator(load("config.schema.json"), registry=known)
