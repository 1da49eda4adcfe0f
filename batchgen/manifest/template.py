"""The text of a manifest that is yet to be filled in: YAML with comments, or a table.

Pure. What is written is valid as it stands, and stays so when a comment's `# ` is taken away.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from batchgen.core.rows import RESERVED
from batchgen.core.targets import deployment_id
from batchgen.core.text import escape_unprintable, is_text, truncate, yaml_escaped

MAX_COMMENT_CHARS = 1000
MAX_NAME_CHARS = 100  # YAML has a limit for names
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_PLAIN_PROMPT = re.compile(r"[A-Za-z][A-Za-z0-9_./,-]*(?: [A-Za-z0-9_./-][A-Za-z0-9_./,-]*)*")
_NOT_TEXT = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_COLUMN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_GAP = 2  # blanks before a comment


@dataclass(frozen=True, slots=True)
class InputLine:
    """An input of the model. words: what it takes. value: that fits; None where none is known.

    note: whose value it is, as in "the model's default".
    """

    name: str
    words: str
    value: Any = None
    note: str = ""


def can_be_named(name: str) -> bool:
    """Whether a manifest can give an input of this name: others mean something else there."""
    plain = is_text(name) and name.strip() == name and 0 < len(name) <= MAX_NAME_CHARS
    return plain and name not in RESERVED and not name.startswith("_") and name != "<<"


def can_be_column(name: str) -> bool:
    """Whether an input can be a column, whatever separates the cells."""
    return can_be_named(name) and _COLUMN.fullmatch(name) is not None


def yaml_value(value: Any) -> str:
    """Return a value in YAML's flow form, which every reader takes for the same value."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
            return value
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{yaml_escaped(quoted)}"'
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(yaml_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{yaml_value(n)}: {yaml_value(v)}' for n, v in value.items())}}}"
    return repr(value)


def _block_value(value: Any) -> str:
    """As `yaml_value`, where commas mean nothing."""
    plain = isinstance(value, str) and _PLAIN_PROMPT.fullmatch(value)
    return value if plain and value.lower() not in _NOT_TEXT else yaml_value(value)


def yaml_template(
    model: str,
    rows: Mapping[str, Mapping[str, Any]],
    inputs: Sequence[InputLine],
    *,
    title: Sequence[str],
    editor_schema: str,
    schema: str | None = None,
    nodes: Mapping[str, str] | None = None,
) -> str:
    """Return a YAML manifest with rows of its own.

    rows: the values of each row by its id. inputs: all that the model takes; those that no row has
        stand as comments. title: lines of comment at the top. editor_schema: the URI by which an
        editor completes it. schema, nodes: the settings of these names.
    """
    nodes = nodes or {}
    written = {nodes.get(name, name) for row in rows.values() for name in row}
    lines = [*_head(model, title, editor_schema, schema), *_nodes(nodes), *_settings()]
    lines += _inputs([one for one in inputs if one.name not in written])
    words = {one.name: one.words for one in inputs}
    words |= {name: words[place] for name, place in nodes.items() if place in words}
    lines += ["", "rows:"]
    for number, (id, row) in enumerate(rows.items()):
        told = words if number == 0 else {}
        pairs = [(f"id: {_block_value(id)}", "names the files of this row" if told else "")]
        pairs += [
            (f"{yaml_value(name)}: {_block_value(value)}", told.get(name, ""))
            for name, value in row.items()
        ]
        starts = ["  - "] + ["    "] * (len(pairs) - 1)
        lines += _aligned([(s + text, note) for s, (text, note) in zip(starts, pairs, strict=True)])
    return "\n".join(lines) + "\n"


def yaml_for_list(
    model: str,
    list_file: str,
    inputs: Sequence[InputLine],
    *,
    columns: Mapping[str, str],
    meta: Sequence[str],
    needed: Mapping[str, Any],
    title: Sequence[str],
    editor_schema: str,
    schema: str | None = None,
    format: str | None = None,
    nodes: Mapping[str, str] | None = None,
) -> str:
    """Return a YAML manifest that takes its rows from a list.

    list_file: relative to the manifest. columns, meta, format, nodes: the settings of these names.
    needed: values for what every row needs and the list does not have.
    inputs, title, editor_schema, schema: as `yaml_template` takes them, without those of the list.
    """
    lines = _head(model, title, editor_schema, schema)
    lines += ["", *_aligned([(f"from: {yaml_value(list_file)}", "relative to this file")])]
    if format:
        lines += [f"format: {format}"]
    lines += _nodes(nodes or {})
    if columns:
        lines += _aligned(
            [("columns:", "the model's input: its name in the list")]
            + [(f"  {yaml_value(n)}: {yaml_value(source)}", "") for n, source in columns.items()]
        )
    if meta:
        lines += _aligned([("meta:", "carried along into the results, not sent")])
        lines += [f"  - {yaml_value(name)}" for name in meta]
    lines += _settings()
    if needed:
        lines += ["", *_aligned([("defaults:", "inputs of every row that does not have its own")])]
        note = "an example: write your own"
        pairs = [(f"  {yaml_value(n)}: {yaml_value(value)}", note) for n, value in needed.items()]
        lines += _aligned(pairs)
        left = [one for one in inputs if one.name not in needed]
        lines += [f"# {line}" for line in _aligned([*map(_pair, left)])]
    else:
        lines += _inputs(inputs)
    return "\n".join(lines) + "\n"


def csv_template(
    model: str | None, rows: Mapping[str, Mapping[str, str]], names: Sequence[str]
) -> str:
    """Return a table with a column for each of `names`, and the rows by their ids.

    model: for a column of that name; None leaves it out.
    """
    columns = ["id", *(["model"] if model else []), *names]
    lines: list[str] = []
    writer = csv.DictWriter(
        SimpleNamespace(write=lines.append), columns, restval="", lineterminator="\n"
    )
    writer.writeheader()
    named = {"model": model} if model else {}
    writer.writerows({"id": id, **named, **row} for id, row in rows.items())
    return "".join(lines)


def _head(model: str, title: Sequence[str], editor_schema: str, schema: str | None) -> list[str]:
    comments = [f"# {_comment(line)}".rstrip() for line in title]
    lines = [f"# yaml-language-server: $schema={editor_schema}", "#", *comments, ""]
    own = deployment_id(model)
    lines += [f"model: {yaml_value(model)}" if own is None else f"deployment: {yaml_value(own)}"]
    return [*lines, f"schema: {yaml_value(schema)}"] if schema else lines


def _nodes(nodes: Mapping[str, str]) -> list[str]:
    if not nodes:
        return []
    title = "names of the list for inputs of nodes, NODE.INPUT; guessed, so look at them"
    pairs = [("nodes:", title), *((f"  {yaml_value(n)}: {p}", "") for n, p in nodes.items())]
    return ["", *_aligned(pairs)]


def _settings() -> list[str]:
    """Return the settings of a run that are most often wanted, as comments."""
    pairs = [
        ("# rate: 60/m", "at most so many submissions a minute"),
        ("# max_cost: 20", "USD; stop before the whole batch could cost more"),
        ("# price: 0.06", "USD of a request, where RunComfy does not say"),
        ("# until: 07:00", "stop submitting at this local time"),
        ("# expand: true", "unfold {a|b} and __file__ in prompts into several rows"),
    ]
    return ["", *_aligned(pairs)]


def _inputs(inputs: Sequence[InputLine]) -> list[str]:
    if not inputs:
        return []
    title = "inputs of every row that does not have its own"
    first = "defaults:" if any(one.value is not None for one in inputs) else "#"
    pairs = [(first, title), *map(_pair, inputs)]
    return ["", *(f"# {line}" for line in _aligned(pairs))]


def _pair(one: InputLine) -> tuple[str, str]:
    if one.value is None:
        return f"  # {_comment(one.name)}", one.words
    note = f"{one.words}; {one.note}" if one.note else one.words
    return f"  {yaml_value(one.name)}: {yaml_value(one.value)}", note


def _aligned(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return lines with their comments, which begin in the same column where that is not far."""
    width = min(max((len(text) for text, note in pairs if note), default=0), 40)
    return [
        f"{text:<{width}}{' ' * _GAP}# {_comment(note)}" if note else text for text, note in pairs
    ]


def _comment(text: str) -> str:
    return escape_unprintable(truncate(text, MAX_COMMENT_CHARS))
